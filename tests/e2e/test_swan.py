"""cygnet-swan: the cores of known devices, and of this machine."""

import json
import os
import re
import subprocess

import pytest

CPUS = "sys/devices/system/cpu/"


def run_swan(program, *arguments):
    return subprocess.run(
        [str(program("cygnet-swan")), *map(str, arguments)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def run_well(program, *arguments):
    done = run_swan(program, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def unpack(text, root):
    """A fixture of tests/fixtures/soc as files; tests/fakes/fake_soc.h has the format."""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        path, _, content = line.partition(" ")
        path = path[1:] if path.startswith("/") else CPUS + path
        match = re.search(r"\{(\d+)-(\d+)\}", path)
        numbers = range(int(match[1]), int(match[2]) + 1) if match else [None]
        for number in numbers:
            name = path if number is None else path.replace(match[0], str(number))
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "a") as out:
                out.write(f"{number if content == '*' else content}\n")


@pytest.fixture
def device(source_dir, tmp_path):
    def make(name):
        root = tmp_path / name
        unpack((source_dir / "tests/fixtures/soc" / f"{name}.txt").read_text(), root)
        return root

    return make


def tables(text):
    """The rows of the two tables, each a list of its words."""
    clusters, cores = (part.splitlines()[1:] for part in text.split("\n\n")[:2])
    return [row.split() for row in clusters], [row.split() for row in cores]


def test_the_tables_of_a_phone_in_the_heat(program, device):
    text = run_well(program, "soc", "--root", device("mi_10"))
    clusters, cores = tables(text)
    assert clusters == [
        ["prime", "1", "1", "0", "1024", "2.84", "-", "-", "7"],
        ["big", "3", "3", "3", "871", "2.42"]
        + ["256", "KiB", "4", "MiB", "/", "7", "4-6"],
        ["LITTLE", "4", "4", "4", "284", "1.80"]
        + ["128", "KiB", "4", "MiB", "/", "7", "0-3"],
    ]
    assert cores[0] == ["0", "LITTLE", "0", "284", "1.80", "-", "-", "yes"]
    assert cores[5] == ["5", "big", "5", "871", "2.42", "1.57", "-", "yes"]
    assert cores[7][-2:] == ["no:", "offline"]
    assert "offline: the kernel does not run it" in text
    assert "not-allowed" not in text
    assert re.search(r"^fingerprint [0-9a-f]{64}$", text, re.MULTILINE)


def test_siblings_and_shared_caches_of_a_hybrid(program, device):
    clusters, cores = tables(run_well(program, "soc", "--root", device("hybrid_i7_1260p")))
    assert clusters[0][:4] == ["big", "4", "8", "8"] and clusters[0][-1] == "0-7"
    assert clusters[0][6:10] == ["1.25", "MiB", "/", "2"]
    assert clusters[1][:4] == ["LITTLE", "8", "8", "8"] and clusters[1][-1] == "8-15"
    assert [row[2] for row in cores[:4]] == ["0", "0", "2", "2"]


def test_a_container_says_why_its_cores_are_barred(program, device):
    text = run_well(program, "soc", f"--root={device('container_cpuset')}")
    _, cores = tables(text)
    usable = [row[0] for row in cores if row[-1] == "yes"]
    assert usable == ["4", "5"]
    assert cores[6][-2:] == ["no:", "isolated"]
    assert cores[7][-2:] == ["no:", "not-allowed"]


def test_the_json_says_what_the_tables_say(program, device):
    soc = json.loads(run_well(program, "soc", "--json", "--root", device("galaxy_tab_s6")))
    assert [c["name"] for c in soc["clusters"]] == ["prime", "big", "LITTLE"]
    assert [c["n_usable"] for c in soc["clusters"]] == [0, 0, 4]
    assert [c["cpu"] for c in soc["cores"] if c["usable"]] == [0, 1, 2, 3]
    assert soc["cores"][7]["cluster"] == "prime" and soc["cores"][7]["khz"] is None


def test_this_machine_has_the_cores_that_the_system_says(program):
    soc = json.loads(run_well(program, "soc", "--json"))
    allowed = {core["cpu"] for core in soc["cores"] if core["allowed"]}
    assert allowed == os.sched_getaffinity(0)
    assert sum(c["n_cores"] for c in soc["clusters"]) == len(soc["cores"])
    clusters, cores = tables(run_well(program, "soc"))
    assert len(clusters) == len(soc["clusters"]) and len(cores) == len(soc["cores"])


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ((), 2, "usage: cygnet-swan SUBCOMMAND"),
        (("sock",), 2, 'cygnet-swan: unknown subcommand "sock"'),
        (("soc", "--rot", "x"), 2, 'cygnet-swan soc: unknown option "--rot"'),
        (("soc", "--root"), 2, "cygnet-swan soc: --root needs a value"),
        (("soc", "--root", "x" * 5000), 1, "cygnet-swan soc: the root folder's name"),
    ],
)
def test_what_cannot_be_done_is_said(program, arguments, status, says):
    done = run_swan(program, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(says)


def test_a_root_of_nonsense_is_one_line(program, tmp_path):
    unpack("present 0-\n", tmp_path)
    done = run_swan(program, "soc", "--root", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"cygnet-swan soc: {CPUS}present: not a list of CPUs (EFORMAT)\n"
    )


def test_help_lists_the_subcommands(program):
    text = run_well(program, "--help")
    assert re.search(r"^  soc +\w+", text, re.MULTILINE)
    assert run_well(program, "soc", "--help").startswith("usage: cygnet-swan soc")
    assert run_well(program, "--version").startswith("cygnet-swan ")
