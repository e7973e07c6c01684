"""cygnet-fleet live from outside: real processes, real training."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import wait_for
from fake_aggregator import FakeAggregator
from fedscale_job import logistic

SMALL = ["--clients", "3", "--rounds", "3", "--seed", "7"]
LIMIT_S = 90


@pytest.fixture
def fleet(program, tmp_path):
    """fleet(options, **popen) -> Popen with its files below tmp_path."""
    started = []

    def start(*options, **extra):
        environment = dict(os.environ, TMPDIR=str(tmp_path), TERM="dumb")
        process = subprocess.Popen(
            [str(program("cygnet-fleet")), "live", *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            **extra,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def finish(process):
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def children(process):
    """{pid: command line} of the fleet's processes."""
    found = {}
    listing = f"/proc/{process.pid}/task/{process.pid}/children"
    try:
        pids = open(listing).read().split()
    except FileNotFoundError:
        return {}
    for pid in pids:
        try:
            found[int(pid)] = open(f"/proc/{pid}/cmdline").read().split("\0")
        except FileNotFoundError:
            pass
    return found


def child(process, name, option=""):
    for pid, words in children(process).items():
        if words[0].endswith(name) and any(w.startswith(option) for w in words):
            return pid
    return None


def leftovers(tmp_path):
    return [p for p in tmp_path.iterdir() if p.name.startswith("cygnet-fleet-")]


def test_clients_follow_the_policy_of_the_tasks(fleet, tmp_path):
    run = fleet("--clients", "2", "--rounds", "1000", "--policy", "efficient",
                "--max-round-mj", "900000000")  # fmt: skip
    pattern = "cygnet-fleet-*/client-*/explain"
    wait_for(lambda: len(list(tmp_path.glob(pattern))) == 2, 60, "two explanations")
    coordinator = children(run)[child(run, "cygnet-coordinator")]
    assert "--max-round-mj=900000000" in coordinator
    for path in tmp_path.glob(pattern):
        assert json.loads(path.read_text())["policy"] == "efficient"
    run.send_signal(signal.SIGTERM)
    assert finish(run)[0] == 4


def test_the_same_seed_gives_the_same_model_and_a_full_summary(fleet, tmp_path):
    summaries = []
    for name in ("a", "b"):
        status, out, err = finish(fleet(*SMALL, "--out", tmp_path / name))
        assert status == 0, err
        assert "\033" not in out
        summaries.append(json.loads((tmp_path / name / "summary.json").read_text()))
    first, second = summaries
    assert first["model_sha256"] == second["model_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", first["model_sha256"])
    assert (first["clients"], first["model"], first["codec"], first["seed"]) == (
        3, "lenet5", "int8", 7)  # fmt: skip
    assert [r["round"] for r in first["rounds"]] == [1, 2, 3]
    for row in first["rounds"]:
        assert row["participants"] == 3 and row["failed"] == 0
        assert row["loss"] > 0 and row["seconds"] > 0
        assert row["bytes_up"] > 0 and row["bytes_down"] > row["bytes_up"]
    accuracies = [r["accuracy"] for r in first["rounds"]]
    assert accuracies[-1] > accuracies[0]
    assert first["final_accuracy"] == accuracies[-1] >= 0.7
    kept = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert kept == ["clients", "coordinator.log", "model.safetensors", "summary.json"]
    assert len(list((tmp_path / "a" / "clients").iterdir())) == 3
    assert leftovers(tmp_path) == []


def test_another_seed_gives_another_model(fleet, tmp_path):
    hashes = set()
    for seed in (1, 2):
        status, _, err = finish(
            fleet("--clients", 2, "--rounds", 1, "--seed", seed, "--model", "logistic",
                  "--out", tmp_path / str(seed))
        )  # fmt: skip
        assert status == 0, err
        summary = json.loads((tmp_path / str(seed) / "summary.json").read_text())
        hashes.add(summary["model_sha256"])
    assert len(hashes) == 2


def test_a_killed_client_is_shown_and_the_run_goes_on(fleet, tmp_path):
    run = fleet(*SMALL, "--lease", "3", "--epochs", "30", "--out", tmp_path / "out")
    log = tmp_path / "out" / "clients" / "client-1.log"
    wait_for(lambda: log.exists() and "training" in log.read_text(), 30, "training")
    os.kill(child(run, "cygnet-client", "--shard=1/"), signal.SIGKILL)
    status, out, err = finish(run)
    assert status == 0, err
    assert "client 1 died: killed by signal 9" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["clients_died"] == 1
    assert len(summary["rounds"]) == 3
    assert summary["rounds"][0]["failed"] == 1
    assert summary["rounds"][-1]["participants"] == 2


def test_a_dead_coordinator_is_an_error_with_its_last_lines(fleet, tmp_path):
    run = fleet("--clients", 2, "--rounds", 500, "--seed", 1, "--model", "logistic")
    pid = wait_for(lambda: child(run, "cygnet-coordinator"), 30, "a coordinator")
    wait_for(lambda: child(run, "cygnet-client"), 30, "a client")
    others = list(children(run))
    os.kill(pid, signal.SIGKILL)
    status, _, err = finish(run)
    assert status == 1
    assert "listening on https://127.0.0.1:" in err
    assert "the coordinator ended too early (killed by signal 9)" in err
    assert leftovers(tmp_path) == []
    assert not [p for p in others if os.path.exists(f"/proc/{p}")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process_and_removes_the_files(fleet, tmp_path, number):
    run = fleet("--clients", 3, "--rounds", 500, "--seed", 1, "--model", "logistic")
    wait_for(lambda: len(children(run)) == 4, 30, "every process")
    others = list(children(run))
    run.send_signal(number)
    status, _, err = finish(run)
    assert status == 4
    assert "stopped" in err
    assert leftovers(tmp_path) == []
    assert not [p for p in others if os.path.exists(f"/proc/{p}")]


def test_children_do_not_outlive_a_killed_fleet(fleet, tmp_path):
    run = fleet("--clients", 2, "--rounds", 500, "--seed", 1, "--model", "logistic")
    wait_for(lambda: len(children(run)) == 3, 30, "every process")
    others = list(children(run))
    run.kill()
    run.communicate(timeout=20)

    def gone(pid):
        try:
            return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_for(lambda: all(gone(p) for p in others), 10, "the end of the children")


def test_a_target_accuracy_ends_the_run_early(fleet, tmp_path):
    status, _, err = finish(
        fleet("--clients", 2, "--rounds", 50, "--seed", 1, "--partition", "iid",
              "--target-accuracy", "0.8", "--out", tmp_path / "out")
    )  # fmt: skip
    assert status == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["final_accuracy"] >= 0.8
    assert len(summary["rounds"]) < 50


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--klients", "3"], 2, 'unknown option "--klients"'),
        (["--clients", "0"], 2, '--clients: "0" is not a whole number in 1..1000'),
        (["--alpha", "1", "--partition", "iid"], 2, "exclude each other"),
        (["--participants", "4", "--clients", "3"], 2, "more than the 3 clients"),
        (["--policy", "bold"], 2, "is not swan, greedy, fixed or efficient"),
        (["--model", "nonesuch"], 1, "nonesuch"),
        (["--coordinator", "https://x"], 2, "is not fedscale:// or fedscales://"),
        (["--coordinator", "fedscale://x:1", "--rounds", "3"], 2, "it says --rounds"),
        (["--steps", "3"], 2, "--steps and --ca need --coordinator"),
        (["--coordinator", "fedscale://x:1", "--clients", "60", "--partition", "iid"], 1,
         "would have 24 examples; a FedScale job takes devices with 32"),
        (["--data", "idx:/nonesuch"], 1, "/nonesuch: has no {train,t10k}-"),
        (["--data", "nonesuch"], 1, "is not digits, idx:DIR or cifar10:DIR"),
        (["--clients", "1000", "--partition", "shards:2"], 1, "cannot be cut into"),
        (["--bin-dir", "/nonesuch"], 1, "cygnet-client is not in /nonesuch"),
    ],
)
def test_bad_options_are_one_line(fleet, tmp_path, options, status, message):
    got, _, err = finish(fleet(*options))
    assert got == status
    assert message in err
    assert err.count("\n") == 1
    assert leftovers(tmp_path) == []


def join(fleet, aggregator, *options):
    return fleet("--coordinator", f"fedscale://127.0.0.1:{aggregator.port}",
                 "--model", "logistic", "--input", "1x8x8", "--partition", "iid",
                 "--clients", "3", "--seed", "7", *options)  # fmt: skip


def test_a_fleet_joins_a_job_of_fedscale_and_ends_with_it(fleet, tmp_path):
    settings = dict(model=logistic(), participants=3, rounds=4, eval_interval=2)
    with FakeAggregator(**settings) as aggregator:
        run = join(fleet, aggregator, "--steps", "20", "--out", tmp_path / "out")
        status, out, err = finish(run)
    assert (status, err) == (0, "") and aggregator.died is None
    assert [len(row["uploads"]) for row in aggregator.job.history] == [3, 3, 3]
    assert "3 clients of fedscale://" in out and "3 rounds in" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [r["round"] for r in summary["rounds"]] == [1, 2, 3]
    tested = {p["round"]: p for p in aggregator.job.performance}
    for row in summary["rounds"]:
        assert (row["participants"], row["failed"]) == (3, 0)
        assert row["bytes_up"] > 3 * 2600 and row["bytes_down"] > 0
        assert (row["accuracy"] is None) == (row["round"] not in tested)
        if row["round"] in tested:
            there = tested[row["round"]]
            assert abs(row["accuracy"] - there["top_1"]) < 1e-6
            assert abs(row["loss"] - there["test_loss"]) < 1e-4
    assert "model_sha256" not in summary and summary["steps"] == 20
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clients", "summary.json"]
    assert leftovers(tmp_path) == []


def test_a_fleet_that_cannot_join_says_why(fleet, tmp_path):
    with FakeAggregator(model=logistic(), participants=3) as aggregator:
        status, out, err = finish(join(fleet, aggregator, "--model", "mlp"))
    assert status == 1
    assert "client 0 died: exit status 1" in out
    assert "the aggregator's weights" in err and "every client has died" in err
    assert leftovers(tmp_path) == []


def test_a_signal_ends_a_fleet_that_has_joined(fleet, tmp_path):
    with FakeAggregator(model=logistic(), participants=4) as aggregator:
        run = join(fleet, aggregator)
        wait_for(lambda: len(aggregator.job.registered) == 3, 30, "three devices")
        others = list(children(run))
        assert len(others) == 3
        run.send_signal(signal.SIGTERM)
        assert finish(run)[0] == 4
    assert leftovers(tmp_path) == []
    assert not [p for p in others if os.path.exists(f"/proc/{p}")]


def test_a_terminal_sees_the_running_round_redrawn(program, tmp_path):
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", TMPDIR=str(tmp_path))
        os.execv(program("cygnet-fleet"),
                 ["cygnet-fleet", "live", "--clients=2", "--rounds=2", "--seed=1"])  # fmt: skip
    text = b""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\r\033[K" in text and b"running: round 1 of 2" in text
