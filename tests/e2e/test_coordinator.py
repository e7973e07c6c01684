"""The coordinator as a process: the protocol, selection, exact sums, durability.

Every test speaks HTTP(S) to a real cygnet-coordinator; updates are written with
the standard library alone."""

import concurrent.futures
import hashlib
import json
import signal

import pytest
from conftest import ONE, wait_for
from updates import (
    check_in,
    get_weights,
    put_update,
    read_safetensors,
    update_for,
    write_safetensors,
)


def rounds(n_rounds, participants, over_commitment=1.0):
    return [
        "--rounds", str(n_rounds), "--participants", str(participants),
        "--over-commitment", str(over_commitment),
    ]  # fmt: skip


def tasks_of(coordinator, numbers):
    """Checks all in until each that is selected has its task."""
    answers = {n: check_in(coordinator, n) for n in numbers}
    for n in numbers:
        if "task" not in answers[n]:
            answers[n] = check_in(coordinator, n)
    return {n: a["task"] for n, a in answers.items() if "task" in a}


def wait_finished(coordinator):
    def finished():
        status = coordinator.status()
        return status if status["state"] == "finished" else None

    return wait_for(finished, 8, "the end of the run")


def wait_round(coordinator, number):
    def reached():
        status = coordinator.status()
        return status if len(status["history"]) >= number else None

    return wait_for(reached, 8, f"the end of round {number}")


def report(coordinator, task, outcome):
    return coordinator.post_json(
        f"/v1/rounds/{task['round']}/reports/{task['token']}",
        {"outcome": outcome, "reason": "", "metrics": None},
    )


# ---- The protocol -----------------------------------------------------------


def test_check_in_answers_with_a_complete_task(start_coordinator):
    coordinator = start_coordinator(*ONE, "--lr", "0.25", "--lease", "17")
    task = check_in(coordinator, 1)["task"]
    assert task["id"] == "test-1"
    assert task["round"] == 1
    assert 1 <= len(task["token"]) <= 64
    assert task["lease_s"] == 17
    assert 0 < task["deadline_s"] <= 600
    model = task["model"]
    assert (model["architecture"], model["classes"]) == ("logistic", 3)
    assert model["input"] == [4]
    weights = get_weights(coordinator, task)
    assert hashlib.sha256(weights).hexdigest() == model["weights"]["sha256"]
    assert len(weights) == model["weights"]["size"]
    assert task["training"]["optimizer"]["lr"] == 0.25
    assert task["training"]["epochs"] == 1
    assert task["update"]["codec"] == "none"
    assert task["eligibility"]["charging"] == "ignored"
    assert task["requires"] == []
    assert "execution" not in task


def test_tasks_say_how_they_are_to_be_executed(start_coordinator):
    coordinator = start_coordinator(
        *ONE, "--policy", "fixed", "--policy-threads", "3", "--max-round-mj", "5000"
    )
    task = check_in(coordinator, 1)["task"]
    assert task["execution"] == {"policy": "fixed", "threads": 3, "max_round_mj": 5000}


def test_a_round_closes_and_the_run_finishes(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    before = read_safetensors(get_weights(coordinator, task))
    body = update_for(coordinator, task, step=0.5)
    answer = put_update(coordinator, task, body)
    assert answer.status == 200, answer.body
    status = wait_finished(coordinator)
    blob = coordinator.request("GET", f"/v1/blobs/{status['model_sha256']}")
    after = read_safetensors(blob.body)
    for (name, _, old), (_, _, new) in zip(before, after):
        for i, (a, b) in enumerate(zip(old, new)):
            assert b == pytest.approx(a + 0.5 * (1 + i % 5), rel=1e-6), name
    row = status["history"][0]
    assert (row["participants"], row["failed"]) == (1, 0)
    assert row["bytes_up"] == len(body)
    assert row["bytes_down"] == 2 * len(blob.body)
    assert row["accuracy"] is None
    retry = check_in(coordinator, 1)["retry"]
    assert retry["reason"] == "finished"


def test_updates_are_weighted_by_examples(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 2))
    tasks = tasks_of(coordinator, [1, 2])
    before = read_safetensors(get_weights(coordinator, tasks[1]))
    for number, step, examples in ((1, 1.0, 30), (2, -1.0, 10)):
        body = update_for(coordinator, tasks[number], step, examples)
        assert put_update(coordinator, tasks[number], body).status == 200
    status = wait_finished(coordinator)
    blob = coordinator.request("GET", f"/v1/blobs/{status['model_sha256']}").body
    old, new = before[0][2][0], read_safetensors(blob)[0][2][0]
    assert new - old == pytest.approx(0.5, abs=1e-6)


def test_the_update_is_idempotent(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 2))
    task = tasks_of(coordinator, [1, 2])[1]
    body = update_for(coordinator, task)
    assert put_update(coordinator, task, body).status == 200
    assert put_update(coordinator, task, body).status == 200
    assert coordinator.status()["accepted"] == 1
    other = update_for(coordinator, task, step=0.25)
    answer = put_update(coordinator, task, other)
    assert (answer.status, answer.error_code()) == (422, "other_bytes")
    assert coordinator.status()["accepted"] == 1


def test_a_repeat_after_the_round_has_closed_is_still_accepted(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    body = update_for(coordinator, task)
    assert put_update(coordinator, task, body).status == 200
    wait_finished(coordinator)
    assert put_update(coordinator, task, body).status == 200
    assert len(coordinator.status()["history"]) == 1


def test_a_late_update_is_refused_with_409(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 1, 2), "--min-clients", "2")
    tasks = tasks_of(coordinator, [1, 2])
    assert len(tasks) == 2
    first, late = tasks[1], tasks[2]
    late_body = update_for(coordinator, late)
    assert put_update(coordinator, first, update_for(coordinator, first)).status == 200
    status = wait_finished(coordinator)
    answer = put_update(coordinator, late, late_body)
    assert (answer.status, answer.error_code()) == (409, "round_closed")
    assert status["history"][0]["failed"] == 0


def test_the_lease_can_be_renewed_and_the_report_is_taken(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    path = f"/v1/rounds/1/leases/{task['token']}"
    answer = coordinator.request("POST", path)
    assert (answer.status, answer.json()) == (200, {"lease_s": 30})
    assert coordinator.request("POST", "/v1/rounds/1/leases/nobody").status == 410
    assert (
        coordinator.request("POST", f"/v1/rounds/2/leases/{task['token']}").status == 409
    )
    put_update(coordinator, task, update_for(coordinator, task))
    assert report(coordinator, task, "completed").status == 204
    assert report(coordinator, task, "exploded").status == 400


def test_blobs_support_etag_range_and_if_range(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    url, sha = task["model"]["weights"]["url"], task["model"]["weights"]["sha256"]
    whole = coordinator.request("GET", url)
    assert whole.headers["ETag"] == f'"{sha}"'
    part = coordinator.request(
        "GET", url, headers={"Range": "bytes=10-", "If-Range": f'"{sha}"'}
    )
    assert (part.status, part.body) == (206, whole.body[10:])
    total = len(whole.body)
    assert part.headers["Content-Range"] == f"bytes 10-{total - 1}/{total}"
    middle = coordinator.request("GET", url, headers={"Range": "bytes=4-7"})
    assert (middle.status, middle.body) == (206, whole.body[4:8])
    changed = coordinator.request(
        "GET", url, headers={"Range": "bytes=10-", "If-Range": '"other"'}
    )
    assert (changed.status, changed.body) == (200, whole.body)
    beyond = coordinator.request("GET", url, headers={"Range": f"bytes={total}-"})
    assert beyond.status == 416
    fresh = coordinator.request("GET", url, headers={"If-None-Match": f'"{sha}"'})
    assert (fresh.status, fresh.body) == (304, b"")
    assert coordinator.request("GET", "/v1/blobs/" + "0" * 64).status == 404


def test_status_tells_the_run(start_coordinator):
    coordinator = start_coordinator(*rounds(3, 2))
    check_in(coordinator, 1)
    status = coordinator.status()
    assert status["population"] == "test"
    assert (status["state"], status["round"], status["rounds"]) == ("running", 1, 3)
    assert (status["participants"], status["accepted"], status["checked_in"]) == (2, 0, 1)
    assert status["history"] == []
    assert status["current"]["state"] == "waiting"


def test_a_client_that_asks_again_gets_its_task_again(start_coordinator):
    coordinator = start_coordinator(*ONE)
    first = check_in(coordinator, 1)["task"]
    again = check_in(coordinator, 1)["task"]
    assert again["token"] == first["token"]


def test_a_client_that_cannot_do_the_task_is_sent_away(start_coordinator):
    coordinator = start_coordinator(*ONE)
    for lack in ({"codecs": ["int8"]}, {"architectures": ["mlp"]}, {"max_model_bytes": 9}):
        answer = check_in(coordinator, 1, capabilities=lack)
        assert answer["retry"]["reason"] == "stay_away"


def test_a_client_without_examples_is_sent_away_and_not_counted(start_coordinator):
    coordinator = start_coordinator(*ONE)
    assert check_in(coordinator, 1, examples=0)["retry"]["reason"] == "stay_away"
    assert coordinator.status()["checked_in"] == 0
    assert "task" in check_in(coordinator, 1, examples=None)


def test_a_claim_of_many_examples_is_capped(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 2), "--max-examples-weight", "30")
    tasks = tasks_of(coordinator, [1, 2])
    before = read_safetensors(get_weights(coordinator, tasks[1]))
    for number, step, examples in ((1, 1.0, 2**31), (2, -1.0, 10)):
        body = update_for(coordinator, tasks[number], step, examples)
        assert put_update(coordinator, tasks[number], body).status == 200
    status = wait_finished(coordinator)
    blob = coordinator.request("GET", f"/v1/blobs/{status['model_sha256']}").body
    old, new = before[0][2][0], read_safetensors(blob)[0][2][0]
    assert new - old == pytest.approx(0.5, abs=1e-6)


def test_weights_without_a_finite_loss_do_not_end_the_run(start_coordinator, tmp_path):
    """What clients send must not be able to stop the coordinator."""
    wild = tmp_path / "wild.safetensors"
    seed = start_coordinator(
        "--population", "test", "--model", "logistic", "--input", "1x8x8",
        "--codec", "none", *ONE, state="shape", defaults=False,
    )  # fmt: skip
    weights = read_safetensors(get_weights(seed, check_in(seed, 1)["task"]))
    wild.write_bytes(
        write_safetensors([(n, s, [3e38 for _ in v]) for n, s, v in weights])
    )
    coordinator = start_coordinator(
        "--population", "test", "--model", "logistic", "--input", "1x8x8",
        "--codec", "none", "--eval", "digits", "--initial-weights", wild,
        "--log", "json", *ONE, defaults=False,
    )  # fmt: skip
    task = check_in(coordinator, 1)["task"]
    assert put_update(coordinator, task, update_for(coordinator, task, 0.0)).status == 200
    (row,) = wait_finished(coordinator)["history"]
    assert (row["loss"], row["accuracy"]) == (None, None)
    assert coordinator.process.running()
    assert json.loads(coordinator.process.stdout.splitlines()[-1])["loss"] is None


# ---- Selection, leases, deadlines -------------------------------------------


def select(start_coordinator, state, order):
    coordinator = start_coordinator(*rounds(1, 3), "--min-clients", "8", state=state)
    for number in order:
        check_in(coordinator, number)
    chosen = {n: t for n, t in tasks_of(coordinator, order).items()}
    return {n: t["training"]["seed"] for n, t in chosen.items()}


def test_selection_depends_on_the_seed_and_not_on_arrival(start_coordinator):
    one = select(start_coordinator, "one", range(8))
    two = select(start_coordinator, "two", [5, 2, 7, 0, 1, 6, 3, 4])
    assert len(one) == 3
    assert one == two


def test_over_commitment_asks_more_than_it_needs(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 4, 1.5), "--min-clients", "8")
    tasks = tasks_of(coordinator, range(8))
    assert len(tasks) == 6
    for task in list(tasks.values())[:4]:
        assert put_update(coordinator, task, update_for(coordinator, task)).status == 200
    row = wait_finished(coordinator)["history"][0]
    assert (row["participants"], row["asked"]) == (4, 6)


def test_an_expired_lease_is_given_to_another(start_coordinator):
    coordinator = start_coordinator(
        *rounds(1, 1), "--min-clients", "2", "--lease", "1", "--grace", "60"
    )
    tasks = tasks_of(coordinator, [1, 2])
    assert len(tasks) == 1
    ((lost, task),) = tasks.items()
    body = update_for(coordinator, task)
    other = 3 - lost
    second = wait_for(lambda: check_in(coordinator, other).get("task"), 8, "replacement")
    assert put_update(coordinator, task, body).status == 410
    assert coordinator.request("POST", f"/v1/rounds/1/leases/{task['token']}").status == 410
    put_update(coordinator, second, update_for(coordinator, second))
    row = wait_finished(coordinator)["history"][0]
    assert (row["participants"], row["failed"]) == (1, 1)


def test_a_lease_that_nobody_wants_is_kept(start_coordinator):
    coordinator = start_coordinator(*ONE, "--lease", "1")
    task = check_in(coordinator, 1)["task"]
    wait_for(lambda: coordinator.status()["current"]["failed"] == 1, 5, "expiry")
    assert put_update(coordinator, task, update_for(coordinator, task)).status == 200
    assert wait_finished(coordinator)["history"][0]["failed"] == 0


def test_a_client_that_gives_up_is_replaced_at_once(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 1), "--min-clients", "2")
    ((first, task),) = tasks_of(coordinator, [1, 2]).items()
    assert report(coordinator, task, "aborted").status == 204
    second = check_in(coordinator, 3 - first)["task"]
    assert second["token"] != task["token"]
    assert put_update(coordinator, task, update_for(coordinator, task)).status == 410


def test_a_selected_client_that_stays_away_is_replaced(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 1), "--min-clients", "2", "--grace", "1")
    check_in(coordinator, 1)
    answer = check_in(coordinator, 2)  # opens the round; seed 1 draws client 1
    assert "retry" in answer
    assert coordinator.status()["current"]["state"] == "open"
    task = wait_for(lambda: check_in(coordinator, 2).get("task"), 8, "replacement")
    body = update_for(coordinator, task)
    assert put_update(coordinator, task, body).status == 200
    row = wait_finished(coordinator)["history"][0]
    assert (row["participants"], row["failed"]) == (1, 1)


def test_the_deadline_closes_a_round_with_enough_updates(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 2), "--deadline", "2")
    tasks = tasks_of(coordinator, [1, 2])
    put_update(coordinator, tasks[1], update_for(coordinator, tasks[1]))
    row = wait_finished(coordinator)["history"][0]
    assert (row["participants"], row["failed"]) == (1, 1)


def test_a_round_with_too_few_updates_is_repeated(start_coordinator):
    coordinator = start_coordinator(
        *rounds(1, 2), "--deadline", "1", "--min-fraction", "1"
    )
    tasks = tasks_of(coordinator, [1, 2])
    before = coordinator.status()["model_sha256"]
    put_update(coordinator, tasks[1], update_for(coordinator, tasks[1]))
    wait_for(lambda: coordinator.status()["failed_rounds"] >= 1, 5, "the failure")
    status = coordinator.status()
    assert (status["round"], status["history"]) == (1, [])
    assert status["model_sha256"] == before
    again = tasks_of(coordinator, [1, 2])
    assert again[1]["token"] != tasks[1]["token"]


# ---- Exact sums, durability -------------------------------------------------


def run_in_order(start_coordinator, state, order):
    coordinator = start_coordinator(*rounds(1, 6), state=state)
    tasks = tasks_of(coordinator, range(6))
    bodies = {
        n: update_for(coordinator, t, step=10.0 ** (n - 4), examples=7 * n + 1)
        for n, t in tasks.items()
    }
    for n in order:
        assert put_update(coordinator, tasks[n], bodies[n]).status == 200
    return wait_finished(coordinator)["model_sha256"]


def test_the_result_does_not_depend_on_the_order_of_arrival(start_coordinator):
    one = run_in_order(start_coordinator, "a", [0, 1, 2, 3, 4, 5])
    two = run_in_order(start_coordinator, "b", [4, 1, 5, 0, 3, 2])
    assert one == two


def test_many_uploads_at_once_are_each_counted_once(start_coordinator):
    coordinator = start_coordinator(*rounds(1, 12))
    tasks = tasks_of(coordinator, range(12))
    bodies = {n: update_for(coordinator, t) for n, t in tasks.items()}

    def send(n):
        return [put_update(coordinator, tasks[n], bodies[n]).status for _ in range(2)]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert all(s == [200, 200] for s in pool.map(send, tasks))
    assert wait_finished(coordinator)["history"][0]["participants"] == 12


def test_a_killed_coordinator_resumes_the_round(start_coordinator, tmp_path):
    expected = run_in_order(start_coordinator, "whole", range(6))
    options = rounds(1, 6)
    coordinator = start_coordinator(*options, state="cut")
    tasks = tasks_of(coordinator, range(6))
    bodies = {
        n: update_for(coordinator, t, step=10.0 ** (n - 4), examples=7 * n + 1)
        for n, t in tasks.items()
    }
    for n in (2, 0, 5):
        assert put_update(coordinator, tasks[n], bodies[n]).status == 200
    coordinator.process.kill()

    coordinator = start_coordinator(*options, state="cut")
    status = coordinator.status()
    assert (status["round"], status["accepted"], status["checked_in"]) == (1, 3, 6)
    for n in (5, 1, 3, 4):  # one of them again
        assert put_update(coordinator, tasks[n], bodies[n]).status == 200
    status = wait_finished(coordinator)
    assert status["history"][0]["participants"] == 6
    assert status["model_sha256"] == expected
    updates = tmp_path / "cut" / "updates"
    wait_for(lambda: not list(updates.iterdir()), 5, "the updates' removal")


def test_a_finished_run_is_still_finished_after_a_restart(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    put_update(coordinator, task, update_for(coordinator, task))
    before = wait_finished(coordinator)
    assert coordinator.process.stop() == 0
    after = start_coordinator(*ONE).status()
    assert after["state"] == "finished"
    assert after["model_sha256"] == before["model_sha256"]
    assert after["history"] == before["history"]


def test_exit_when_finished_waits_until_clients_know(start_coordinator, tmp_path):
    out = tmp_path / "final.safetensors"
    coordinator = start_coordinator(
        *ONE, "--exit-when-finished", "--linger", "60", "--out-model", out
    )
    task = check_in(coordinator, 1)["task"]
    put_update(coordinator, task, update_for(coordinator, task))
    sha = wait_finished(coordinator)["model_sha256"]
    assert coordinator.process.running()
    assert check_in(coordinator, 1)["retry"]["reason"] == "finished"
    assert coordinator.process.wait(5) == 0
    assert hashlib.sha256(out.read_bytes()).hexdigest() == sha


def test_sigterm_and_sigint_end_it_cleanly(start_coordinator):
    for number, state in ((signal.SIGTERM, "term"), (signal.SIGINT, "int")):
        coordinator = start_coordinator(*ONE, state=state)
        check_in(coordinator, 1)
        coordinator.process.popen.send_signal(number)
        assert coordinator.process.wait(5) == 0
        assert coordinator.process.stderr == ""


def test_the_held_out_split_is_evaluated_and_ends_the_run(start_coordinator):
    coordinator = start_coordinator(
        "--population", "test", "--model", "logistic", "--input", "1x8x8",
        "--codec", "none", "--eval", "digits", "--target-accuracy", "0.01",
        *rounds(5, 1), "--log", "json", defaults=False,
    )  # fmt: skip
    task = check_in(coordinator, 1)["task"]
    assert put_update(coordinator, task, update_for(coordinator, task, 0.0)).status == 200
    (row,) = wait_finished(coordinator)["history"]
    assert 0.01 <= row["accuracy"] <= 0.5  # untrained, ten classes
    assert 1.5 < row["loss"] < 5.0
    lines = [json.loads(line) for line in coordinator.process.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["listening", "round"]
    assert lines[1]["accuracy"] == pytest.approx(row["accuracy"], abs=1e-6)
