"""What the coordinator says is accepted stays accepted: killed at any moment, on a
disk that is full."""

import contextlib
import http.client
import random
import resource
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest
from conftest import wait_for
from hostile import SmallDisk
from updates import (
    check_in,
    digest,
    get_weights,
    make_update,
    put_update,
    read_safetensors,
)

N_CLIENTS = 4
N_ROUNDS = 14  # the participants of the last 16 are kept
N_KILLS = 10
ACCEPTED = 2  # enum seat_state
SHORT_LIFE_S = 0.2
TRAINING_S = 0.3  # so that the run outlasts its kills
NETWORK = (OSError, http.client.HTTPException, ssl.SSLError)
OPTIONS = [
    "--rounds", str(N_ROUNDS), "--participants", str(N_CLIENTS),
    "--over-commitment", "1", "--min-fraction", "1", "--lease", "0", "--grace", "600",
]  # fmt: skip


def update_of(coordinator, number, task):
    """Depends on the round and the client alone."""
    draw = random.Random(1000 * task["round"] + number)
    deltas = [
        (name, shape, [draw.uniform(-1, 1) for _ in values])
        for name, shape, values in read_safetensors(get_weights(coordinator, task))
    ]
    return make_update(deltas, task["round"], 10 + 7 * number)


class Fleet:
    """Clients that never give an update up; the coordinator comes and goes."""

    def __init__(self):
        self.coordinator = None
        self.accepted = {}  # token -> (round, base64 of the hash, bytes)
        self.n_repeats = 0
        self.faults = []
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self.live, args=(n,)) for n in range(N_CLIENTS)
        ]

    def live(self, number):
        while not self.over.is_set():
            try:
                answer = check_in(self.coordinator, number)
                if "task" in answer:
                    self.take_part(number, answer["task"])
                elif answer["retry"]["reason"] == "finished":
                    return
                time.sleep(0.01)
            except NETWORK:
                time.sleep(0.01)
            except Exception as fault:  # shown by the test
                self.faults.append(fault)
                return

    def take_part(self, number, task):
        body = update_of(self.coordinator, number, task)
        time.sleep(TRAINING_S)
        while not self.over.is_set():
            with contextlib.suppress(*NETWORK):
                answer = put_update(self.coordinator, task, body)
                assert answer.status in (200, 503), (answer.status, answer.body)
                if answer.status == 200:
                    self.remember(task, body)
                    return
            with self.lock:
                self.n_repeats += 1
            time.sleep(0.01)

    def remember(self, task, body):
        with self.lock:
            entry = (task["round"], digest(body), len(body))
            assert self.accepted.setdefault(task["token"], entry) == entry

    def start(self, coordinator):
        self.coordinator = coordinator
        for thread in self.threads:
            thread.start()

    def end(self, limit_s):
        for thread in self.threads:
            thread.join(limit_s)
        alive = any(thread.is_alive() for thread in self.threads)
        self.over.set()
        for thread in self.threads:
            thread.join(20)
        assert not alive and self.faults == []


@pytest.fixture
def fleet():
    fleet = Fleet()
    yield fleet
    fleet.over.set()
    for thread in fleet.threads:
        if thread.is_alive():
            thread.join(20)


def undisturbed(start_coordinator):
    fleet = Fleet()
    fleet.start(start_coordinator(*OPTIONS, state="whole", tls=False))
    fleet.end(60)
    return fleet.coordinator.status()


def check_counted_once(status, fleet, database):
    """Every update that was accepted is in exactly one round's result."""
    db = sqlite3.connect(database)
    rows = db.execute(
        "SELECT s.token, s.round, r.state, r.n_accepted, r.bytes_up FROM seats s"
        " JOIN rounds r ON r.round = s.round AND r.attempt = s.attempt"
        " WHERE s.state = ?",
        (ACCEPTED,),
    ).fetchall()
    db.close()
    assert sorted(row[0] for row in rows) == sorted(fleet.accepted)
    for token, number, state, n_accepted, bytes_up in rows:
        mine = [e for e in fleet.accepted.values() if e[0] == number]
        assert fleet.accepted[token][0] == number
        assert (state, n_accepted, len(mine)) == (1, N_CLIENTS, N_CLIENTS)
        assert bytes_up == sum(entry[2] for entry in mine)
    assert [row["round"] for row in status["history"]] == list(range(1, N_ROUNDS + 1))
    assert all(row["participants"] == N_CLIENTS for row in status["history"])


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_it_loses_nothing(
    start_coordinator, spawn, fleet, tmp_path, seed
):
    expected = undisturbed(start_coordinator)
    moments = random.Random(seed)
    fleet.start(start_coordinator(*OPTIONS, state="cut", tls=False))
    for _ in range(N_KILLS):
        time.sleep(moments.uniform(0, SHORT_LIFE_S))
        fleet.coordinator.process.kill()
        young = spawn(fleet.coordinator.process.argv, "young")
        time.sleep(moments.uniform(0, 0.05))
        young.kill()  # while it starts, or just after
        fleet.coordinator = start_coordinator(*OPTIONS, state="cut", tls=False)
    n_before_the_end = len(fleet.coordinator.status()["history"])
    fleet.end(60)
    status = fleet.coordinator.status()
    assert n_before_the_end < N_ROUNDS, "it was killed after the end only"
    assert fleet.n_repeats > 0, "no upload was ever disturbed"
    assert status["state"] == "finished"
    check_counted_once(status, fleet, tmp_path / "cut" / "coordinator.db")
    assert status["model_sha256"] == expected["model_sha256"]


# ---- A full disk ------------------------------------------------------------


class SmallFiles:
    """No file may grow: a full disk for those who cannot mount one."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.pid = None

    def leave(self, n_pages):
        self.limit(4096 * n_pages)

    def free(self):
        self.limit(resource.RLIM_INFINITY)

    def limit(self, soft):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def close(self):
        pass


def small_disk(folder, n_pages):
    try:
        return SmallDisk(folder, n_pages)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not permitted")


@pytest.fixture(params=["tmpfs", "limit"])
def small(request, tmp_path):
    if request.param == "limit":
        disk = SmallFiles(tmp_path / "disk")
    else:
        disk = small_disk(tmp_path / "disk", n_pages=1024)
    yield disk
    disk.close()


def two_tasks(coordinator):
    check_in(coordinator, 1)
    tasks = {n: check_in(coordinator, n)["task"] for n in (2, 1)}
    return {n: (t, update_of(coordinator, n, t)) for n, t in tasks.items()}


def run_of_two(start_coordinator, state):
    options = ["--rounds", "1", "--participants", "2", "--over-commitment", "1"]
    coordinator = start_coordinator(*options, state=state, tls=False)
    return coordinator, two_tasks(coordinator)


def says_full(answer):
    codes = {507: "disk_full", 503: "overloaded"}
    assert answer.status in codes, (answer.status, answer.body)
    assert answer.error_code() == codes[answer.status]
    assert answer.json()["error"]["message"]


def finished(coordinator):
    status = coordinator.status()
    return status if status["state"] == "finished" else None


def test_a_full_disk_refuses_updates_and_loses_none(start_coordinator, small):
    whole, tasks = run_of_two(start_coordinator, "whole")
    for task, body in tasks.values():
        assert put_update(whole, task, body).status == 200
    expected = wait_for(lambda: finished(whole), 8, "the end")["model_sha256"]

    state = "disk/state"
    coordinator, tasks = run_of_two(start_coordinator, state)
    small.pid = coordinator.process.popen.pid
    task, body = tasks[1]
    small.leave(0)
    for _ in range(3):
        says_full(put_update(coordinator, task, body))
    body_of_new = {"population": "test", "client_id": "new"}
    says_full(coordinator.post_json("/v1/check-in", body_of_new))
    assert coordinator.status()["accepted"] == 0
    small.free()
    assert put_update(coordinator, task, body).status == 200
    small.leave(0)  # what is known needs no disk
    assert put_update(coordinator, task, body).status == 200
    assert coordinator.status()["accepted"] == 1
    # The room grows page by page, so that it lacks at every step of the way.
    task, body = tasks[2]
    for n_pages in range(64):
        small.free()
        small.leave(n_pages)
        answer = put_update(coordinator, task, body)
        if answer.status == 200:
            break
        says_full(answer)
    assert answer.status == 200
    time.sleep(0.3)  # the round may fail to close now
    assert coordinator.process.running()
    small.free()
    status = wait_for(lambda: finished(coordinator), 8, "the end")
    assert (status["history"][0]["participants"], status["failed_rounds"]) == (2, 0)
    assert status["model_sha256"] == expected
    coordinator.process.kill()
    again = run_again(start_coordinator, state)
    assert again["model_sha256"] == expected
    assert again["history"] == status["history"]


def run_again(start_coordinator, state):
    options = ["--rounds", "1", "--participants", "2", "--over-commitment", "1"]
    return start_coordinator(*options, state=state, tls=False).status()


def test_a_round_that_cannot_be_closed_is_closed_later(start_coordinator, tmp_path):
    disk = small_disk(tmp_path / "disk", n_pages=16)
    try:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "blobs").symlink_to(disk.folder)
        coordinator, tasks = run_of_two(start_coordinator, "state")
        disk.leave(0)
        for task, body in tasks.values():
            assert put_update(coordinator, task, body).status == 200
        wait_for(lambda: "No space left" in coordinator.process.stderr, 5, "the line")
        time.sleep(0.3)
        assert coordinator.status()["current"]["state"] == "closing"
        assert coordinator.process.stderr.count("\n") == 1  # it is said once
        disk.free()
        status = wait_for(lambda: finished(coordinator), 8, "the end")
        assert (status["history"][0]["participants"], status["failed_rounds"]) == (2, 0)
        assert coordinator.process.stop() == 0
    finally:
        disk.close()
