"""examples/minimal, the client that the README shows, against a real coordinator."""

import subprocess

from conftest import wait_for

CLASSES, WIDTH = 3, 4


def csv(path, n=60):
    """Examples whose class is the place of their largest number."""
    rows = []
    for i in range(n):
        label = i % CLASSES
        row = [((i * 7 + j * 3) % 10) / 20 for j in range(WIDTH)]
        row[label] += 1
        rows.append(",".join([str(label), *map(str, row)]))
    path.write_text("\n".join(rows) + "\n")
    return path


def run_minimal(program, *arguments):
    return subprocess.run(
        [str(program("minimal")), *map(str, arguments)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_minimal_takes_part_in_one_round_and_then_another(
    program, start_coordinator, tmp_path
):
    server = start_coordinator(
        "--rounds", "2", "--participants", "1", "--epochs", "2", "--batch", "8"
    )
    data = csv(tmp_path / "data.csv")
    for n in (1, 2):
        wait_for(lambda n=n: server.status()["round"] == n, 20, f"round {n}")
        done = run_minimal(
            program, server.url, "test", tmp_path / "state", data, server.ca_file
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[-1].strip() == "completed"
        phases = [line.split()[0] for line in lines[:-1]]
        assert phases[:4] == ["eligible", "checked_in", "assigned", "fetched"]
        assert "trained 16/16" in lines
        assert phases[-2:] == ["reported", "idle"]
    wait_for(lambda: server.status()["state"] == "finished", 20, "the end")
    status = server.status()
    assert [row["participants"] for row in status["history"]] == [1, 1]
    assert status["history"][0]["model_sha256"] != status["history"][1]["model_sha256"]


def test_minimal_says_when_training_is_over(program, start_coordinator, tmp_path):
    server = start_coordinator("--rounds", "1", "--participants", "1")
    data = csv(tmp_path / "data.csv")
    arguments = (server.url, "test", tmp_path / "state", data, server.ca_file)
    assert run_minimal(program, *arguments).returncode == 0
    wait_for(lambda: server.status()["state"] == "finished", 20, "the end")
    done = run_minimal(program, *arguments)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("finished ")


def test_minimal_does_not_trust_a_certificate_by_itself(
    program, start_coordinator, tmp_path
):
    server = start_coordinator("--rounds", "1", "--participants", "1")
    data = csv(tmp_path / "data.csv")
    done = run_minimal(program, server.url, "test", tmp_path / "state", data)
    assert done.returncode == 1
    assert done.stderr.startswith("minimal: 127.0.0.1 port")
    assert "certificate" in done.stderr
    assert done.stderr.count("\n") == 1
    assert server.status()["checked_in"] == 0


def test_minimal_without_arguments_says_how_it_is_used(program):
    done = run_minimal(program)
    assert done.returncode == 2
    assert done.stderr == "usage: minimal URL POPULATION STATE_DIR CSV [CA]\n"
