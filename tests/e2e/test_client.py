"""cygnet-client against a real coordinator: interruptions and bad input."""

import gzip
import json
import os
import resource
import signal
import struct
import subprocess

import pytest
from conftest import wait_for

OPTIONS = [
    "--model", "logistic", "--classes", "10", "--input", "1x8x8", "--population", "test",
    "--codec", "none", "--seed", "3", "--eval", "digits", "--batch", "16",
]  # fmt: skip


@pytest.fixture
def coordinator(start_coordinator):
    """coordinator("--rounds", "2", ...) serves the digits."""
    return lambda *options, **extra: start_coordinator(
        *OPTIONS, *options, defaults=False, **extra
    )


@pytest.fixture
def client(program, spawn, tmp_path):
    """client(server, i, n, "--until-done", ...) -> Process; i names its state."""

    def start(server, i=0, n=1, *options, url=None):
        argv = [program("cygnet-client"), "--server", url or server.url]
        argv += ["--population", "test", "--ca", server.ca_file, "--shard", f"{i}/{n}"]
        argv += ["--state-dir", tmp_path / f"client-{i}", "--seed", "5"]
        argv += ["--assume", "charging,idle,unmetered", "--full-priority", *options]
        return spawn(argv, f"client-{i}")

    return start


def one_line(process):
    assert process.stderr.count("\n") == 1, process.stderr
    return process.stderr


def run_client(program, *options, **extra):
    return subprocess.run(
        [str(program("cygnet-client")), *map(str, options)],
        capture_output=True, text=True, timeout=60, **extra,
    )  # fmt: skip


def idx(folder, n=20, bad_label=None, cut=0):
    labels = bytearray(i % 10 for i in range(n))
    if bad_label is not None:
        labels[n // 2] = bad_label
    images = struct.pack(">4I", 0x803, n, 8, 8) + bytes(n * 64)
    folder.mkdir()
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(images[: len(images) - cut])
    with gzip.open(folder / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">2I", 0x801, n) + bytes(labels))
    return f"idx:{folder}"


def test_json_lines_tell_a_round_from_start_to_end(coordinator, client):
    server = coordinator("--rounds", "1", "--participants", "1")
    process = client(server, 0, 1, "--rounds", "1", "--log", "json")
    assert process.wait() == 0
    events = [json.loads(line) for line in process.stdout.splitlines()]
    phases = [e["phase"] for e in events]
    for phase in ("checked_in", "assigned", "fetched", "trained", "reported"):
        assert phase in phases
    last = events[-1]
    assert last["outcome"] == "completed" and last["round"] == 1
    assert last["bytes_up"] > 0 and last["loss_last"] > 0


def read_model(path):
    """{name: (dtype, raw bytes)} of a safetensors file."""
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    at = 8 + n
    return {
        name: (e["dtype"], raw[at + e["data_offsets"][0] : at + e["data_offsets"][1]])
        for name, e in header.items()
    }


BATCH_NORMS = [
    "--model", "ds_cnn:channels=8,layers=1", "--classes", "10", "--input", "1x8x8",
    "--population", "test", "--seed", "3", "--eval", "digits", "--rounds", "3",
    "--participants", "2", "--epochs", "1", "--batch", "16", "--lr", "0.1",
]  # fmt: skip


@pytest.mark.parametrize("codec", ["none", "int8", "weights"])
def test_a_model_with_batch_norms_is_trained(start_coordinator, client, tmp_path, codec):
    out = tmp_path / "model.safetensors"
    server = start_coordinator(
        *BATCH_NORMS, "--codec", codec, "--out-model", out, "--exit-when-finished",
        defaults=False,
    )  # fmt: skip
    clients = [client(server, i, 2, "--until-done", "--log", "json") for i in range(2)]
    steps = 0
    for process in clients:
        assert process.wait() == 0, process.stderr
        events = [json.loads(line) for line in process.stdout.splitlines()]
        done = [e for e in events if e["outcome"] == "completed"]
        assert done and all(e["step"] == done[0]["step"] for e in done)
        steps = done[0]["step"]
    assert server.process.wait() == 0
    model = read_model(out)
    dtype, count = model["bn1.num_batches_tracked"]
    assert dtype == "I64"
    assert struct.unpack("<q", count)[0] == 3 * steps
    dtype, variances = model["bn1.running_var"]
    assert dtype == "F32"
    assert all(v > 0 for v in struct.unpack(f"<{len(variances) // 4}f", variances))


@pytest.mark.parametrize("policy", ["swan", "greedy", "fixed", "efficient"])
def test_what_the_engine_learns_is_kept(coordinator, client, tmp_path, policy):
    server = coordinator("--rounds", "2", "--participants", "1")
    state = tmp_path / "client-0"
    state.mkdir(mode=0o700)
    (state / "profile").write_bytes(b"{ not a profile")
    process = client(server, 0, 1, "--until-done", "--policy", policy)
    assert process.wait() == 0
    profile = json.loads((state / "profile").read_text())
    assert sum(e.get("n", 0) for e in profile["entries"]) > 0
    explain = json.loads((state / "explain").read_text())
    assert explain["policy"] == policy and explain["why"]


@pytest.mark.parametrize(
    "own, expected",
    [((), "efficient"), (("--policy", "greedy"), "greedy"), (("--policy", "swan"), "swan")],
)
def test_a_task_chooses_the_policy_unless_the_client_does(
    coordinator, client, tmp_path, own, expected
):
    server = coordinator("--rounds", "1", "--participants", "1", "--policy", "efficient")
    process = client(server, 0, 1, "--until-done", *own)
    assert process.wait() == 0
    explain = json.loads((tmp_path / "client-0" / "explain").read_text())
    assert explain["policy"] == expected


def power_model(program, folder, watts):
    """Every core of this machine draws so much."""
    soc = subprocess.run(
        [program("cygnet-swan"), "soc", "--json"], capture_output=True, text=True
    )
    names = [c["name"] for c in json.loads(soc.stdout)["clusters"]]
    path = folder / "power-model.json"
    path.write_text(json.dumps({"core_w": {name: watts for name in names}}))
    return path


def test_training_on_the_battery_leaves_a_debt(coordinator, client, program, tmp_path):
    server = coordinator("--rounds", "3", "--participants", "1")
    lent = [
        "--assume", "no-charging,battery=80", "--energy", "loan",
        "--battery-mwh", "10000", "--power-model", power_model(program, tmp_path, 2),
    ]  # fmt: skip
    plugged = client(server, 0, 1, *lent[:2])
    assert plugged.wait() == 3
    assert "charging is required and is false" in plugged.stdout
    first = client(server, 0, 1, *lent)
    assert first.wait() == 0
    second = client(server, 0, 1, *lent)
    assert second.wait() == 3
    assert "is not paid back by charging yet" in second.stdout
    charged = client(server, 0, 1, *lent, "--assume", "charging,battery=100")
    assert charged.wait() == 0


def test_a_killed_client_owes_what_it_has_booked(
    coordinator, client, program, tmp_path
):
    server = coordinator("--rounds", "1", "--participants", "1", "--epochs", "9000")
    lent = [
        "--assume", "no-charging,battery=80", "--energy", "loan",
        "--battery-mwh", "10000", "--power-model", power_model(program, tmp_path, 2),
    ]  # fmt: skip
    process = client(server, 0, 1, *lent)
    wait_for(lambda: "training" in process.stdout, 30, "training")
    wait_for(lambda: (tmp_path / "client-0" / "loan").exists(), 30, "a booking")
    process.kill()
    process.wait()
    again = client(server, 0, 1, *lent)
    assert again.wait() == 3
    assert "is not paid back by charging yet" in again.stdout


def test_a_round_s_energy_budget_ends_its_training(
    coordinator, client, program, tmp_path
):
    server = coordinator("--rounds", "1", "--participants", "1", "--epochs", "3000")
    process = client(
        server, 0, 1, "--max-round-mj", "2000",
        "--power-model", power_model(program, tmp_path, 100),
    )  # fmt: skip
    assert process.wait() == 0
    assert "the energy budget of the round is spent" in process.stdout


def test_a_task_s_energy_budget_ends_its_training(
    coordinator, client, program, tmp_path
):
    server = coordinator(
        "--rounds", "1", "--participants", "1", "--epochs", "3000",
        "--max-round-mj", "2000",
    )  # fmt: skip
    model = power_model(program, tmp_path, 100)
    process = client(
        server, 0, 1, "--power-model", model, "--max-round-mj", "1000000000"
    )
    assert process.wait() == 0
    assert "the energy budget of the round is spent" in process.stdout


def test_a_killed_client_does_not_stop_the_round(coordinator, client):
    server = coordinator(
        "--rounds", "1", "--participants", "3", "--lease", "3", "--epochs", "4000"
    )
    clients = [client(server, i, 3, "--until-done") for i in range(3)]
    wait_for(lambda: "training" in clients[2].stdout, 30, "training")
    clients[2].kill()
    wait_for(lambda: server.status()["state"] == "finished", 60, "the end")
    row = server.status()["history"][0]
    assert (row["participants"], row["failed"]) == (2, 1)
    assert [c.wait() for c in clients[:2]] == [0, 0]


def test_a_killed_coordinator_goes_on_and_counts_each_update_once(
    coordinator, client, tmp_path
):
    options = ["--rounds", "3", "--participants", "3", "--epochs", "1500"]
    server = coordinator(*options)
    clients = [client(server, i, 3, "--until-done") for i in range(3)]
    last = clients[2]
    wait_for(lambda: "training" in last.stdout, 30, "training")
    last.popen.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: server.status()["accepted"] == 2, 60, "two updates")
        assert server.status()["round"] == 1
        server.process.kill()
    finally:
        last.popen.send_signal(signal.SIGCONT)
    again = coordinator(*options, "--listen", f"127.0.0.1:{server.port}")
    after = again.status()
    assert after["round"] == 1 and after["accepted"] >= 2
    wait_for(lambda: again.status()["state"] == "finished", 90, "the end")
    history = again.status()["history"]
    assert [row["round"] for row in history] == [1, 2, 3]
    assert [row["participants"] for row in history] == [3, 3, 3]
    assert all(row["failed"] == 0 for row in history)
    assert [c.wait() for c in clients] == [0, 0, 0]


def test_a_second_client_on_the_same_state_is_turned_away(coordinator, client):
    server = coordinator("--participants", "2", "--min-clients", "2")
    first = client(server, 0, 1, "--until-done")
    wait_for(lambda: "checked_in" in first.stdout, 30, "the first client")
    second = client(server, 0, 1, "--until-done")
    # both write to the same log; the first has nothing to complain about
    assert second.wait() == 1
    assert "EBUSY" in one_line(second)
    assert first.running()


def test_a_full_disk_is_one_line_and_harms_nothing(coordinator, program, tmp_path):
    server = coordinator("--rounds", "1", "--participants", "1")
    argv = ["--server", server.url, "--population", "test", "--ca", server.ca_file]
    argv += ["--state-dir", tmp_path / "state", "--assume", "charging,idle,unmetered"]

    def small_files():
        # a file may not grow past this: the stand-in for a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))

    full = run_client(program, *argv, preexec_fn=small_files)
    assert full.returncode == 1
    assert "ENOSPC" in full.stderr and full.stderr.count("\n") == 1
    assert server.status()["history"] == []
    room = run_client(program, *argv, "--rounds", "1")
    assert room.returncode == 0, room.stderr


def test_a_signal_stops_a_waiting_client(coordinator, client):
    server = coordinator("--participants", "2", "--min-clients", "2")
    process = client(server, 0, 1, "--until-done")
    wait_for(lambda: "declined" in process.stdout, 30, "a retry window")
    assert process.stop(5) == 4


def test_a_device_that_does_not_qualify_does_nothing(coordinator, program, tmp_path):
    server = coordinator()
    done = run_client(
        program, "--server", server.url, "--population", "test", "--ca", server.ca_file,
        "--state-dir", tmp_path / "s", "--assume", "no-charging,unmetered",
    )  # fmt: skip
    assert done.returncode == 3
    assert "not_eligible" in done.stdout
    assert server.status()["checked_in"] == 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda d: idx(d, cut=1), "truncated or damaged: 1279 bytes of 1280 are there"),
        (lambda d: idx(d, bad_label=10), "has label 10, but labels must be below 10"),
        (lambda d: f"idx:{d}", "has no {train,t10k}-"),
        (lambda d: f"cifar10:{d}", "has no data_batch_N.bin"),
    ],
)
def test_bad_data_is_one_line_before_any_request(program, tmp_path, make, message):
    done = run_client(
        program, "--server", "https://127.0.0.1:9", "--population", "p",
        "--state-dir", tmp_path / "s", "--data", make(tmp_path / "data"),
    )  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "No such file"),
        ("{", "power_model: "),
        ('{"core_w": {"none such": 1}}', 'the SoC has no cluster "none such"'),
        (" " * 65537, "power-model"),
    ],
)
def test_a_bad_power_model_is_one_line(program, tmp_path, text, message):
    model = tmp_path / "power-model.json"
    if text:
        model.write_text(text)
    done = run_client(
        program, "--server", "https://127.0.0.1:9", "--population", "p",
        "--state-dir", tmp_path / "s", "--power-model", model,
    )  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--server is required"),
        (["--server", "https://x"], "--population is required"),
        (["--shard", "2/2"], '--shard: "2/2" is not I/N'),
        (["--assume", "charging,slow"], "is not a list of [no-]charging"),
        (["--partition", "even"], 'partition "even" is not dirichlet:A'),
        (["--rounds"], "--rounds needs a value"),
        (["--assume", "idle", "--assume-file", "x"], "exclude each other"),
        (["--energy", "battery"], '--energy: "battery" is not plugged or loan'),
        (["--max-round-mj", "-1"], '--max-round-mj: "-1" is not a whole number'),
        (["--battery-mwh", "0"], '--battery-mwh: "0" is not a whole number in 1..1000000'),
        (["--steps", "3"], "need --model"),
        (["--model", "lenet5", "--steps", "3", "--epochs", "1"], "exclude each other"),
        (["extra"], 'unknown option "extra"'),
    ],
)
def test_a_bad_command_line_is_one_line(program, options, message):
    if "model" in "".join(options) or "model" in message or "--assume-file" in options:
        options = ["--server", "https://x", "--population", "p", *options]
    done = run_client(program, *options)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_job_that_cannot_be_is_one_line(program, tmp_path):
    done = run_client(
        program, "--server", "https://127.0.0.1:1", "--population", "test",
        "--state-dir", tmp_path / "state", "--model", "perceptron9000",
    )  # fmt: skip
    assert done.returncode == 1
    assert "job: " in done.stderr and "perceptron9000" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_says_what_there_is(program):
    for name in ("cygnet-client", "cygnet-fleet"):
        done = subprocess.run([program(name), "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(f"usage: {name}")
