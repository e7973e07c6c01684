"""cygnet-swan: stored profiles as tables, decisions explained, traces replayed."""

import json
import subprocess

import pytest


def run_swan(program, *arguments):
    return subprocess.run(
        [str(program("cygnet-swan")), *map(str, arguments)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def run_well(program, *arguments):
    done = run_swan(program, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def traces(source_dir):
    return source_dir / "tests/fixtures/traces"


def test_a_trace_is_a_line_a_step(program, traces):
    lines = run_well(program, "replay", traces / "a_busy_phone.json").splitlines()
    assert len(lines) == 10
    words = [line.split(maxsplit=2)[2] for line in lines]
    assert words[0].startswith("2 big   ") and "least energy" in words[0]
    assert "to the free cores of 1 big + 4 LITTLE (104 ms)" in words[2]
    assert words[5].startswith("1 big + 1 LITTLE   ") and "severity 2" in words[5]
    assert words[6].startswith("4 LITTLE   ")
    assert words[7].endswith("the data hook is slow: no other choice helps")
    assert words[9].startswith("(pause)")


def test_replays_are_the_same_each_time_and_for_programs(program, traces):
    text = run_well(program, "replay", traces / "a_busy_phone.json", "--json")
    assert text == run_well(program, "replay", traces / "a_busy_phone.json", "--json")
    steps = json.loads(text)["steps"]
    assert [step["at_ms"] for step in steps[:3]] == [0, 80, 160]
    assert steps[2]["reason"] == "leave"
    assert steps[9]["choice"] is None and steps[9]["reason"] == "pause"


def test_a_profile_is_a_line_a_choice(program, traces):
    text = run_well(program, "profile", traces / "profile.json")
    rows = text.split("\n\n")[0].splitlines()[1:]
    assert len(rows) == 39
    assert rows[0].split()[:4] == ["1", "1", "LITTLE", "~662.4"]
    assert rows[3].split()[3] == "192.5" and rows[3].endswith("kept")
    assert rows[-1].endswith("pruned by 1 prime + 2 big")
    assert "the frontier is not measured yet" in text
    answer = json.loads(run_well(program, "profile", traces / "profile.json", "--json"))
    assert [row["cost_rank"] for row in answer["choices"]] == list(range(1, 40))
    assert answer["choices"][0]["measured"] is False


def test_a_choice_is_explained(program, traces):
    arguments = ("explain", traces / "profile.json", "--steps", 60, "--seconds", 6)
    lines = run_well(program, *arguments).splitlines()
    assert lines[0] == "2 big (least energy)"
    assert lines[1].endswith("60 steps in 5.37 s of 6 s")
    assert lines[2] == "144.9 mJ a step (host)"
    assert "  not 4 LITTLE                     needs 11.6 s, and 6 s are left" in lines
    assert json.loads(run_well(program, *arguments, "--json"))["choice"] == "2 big"
    greedy = run_well(program, "explain", traces / "profile.json", "--policy", "greedy")
    assert greedy.startswith("1 prime + 3 big (greedy)")


def test_a_state_folder_stands_for_its_profile(program, traces, tmp_path):
    (tmp_path / "profile").write_bytes((traces / "profile.json").read_bytes())
    assert run_well(program, "profile", tmp_path) == run_well(
        program, "profile", traces / "profile.json"
    )
    (tmp_path / "profile").unlink()
    done = run_swan(program, "profile", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/profile" in done.stderr


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (("replay",), 2, "cygnet-swan replay: want a trace"),
        (("profile", "--json"), 2, "cygnet-swan profile: want a profile"),
        (("explain", "nothing.json"), 1, "cygnet-swan explain: nothing.json: "),
        (("replay", "{profile}"), 1, 'cygnet-swan replay: trace: "profile" is missing'),
        (("profile", "{trace}"), 1, "cygnet-swan profile: profile: "),
        (("explain", "{profile}", "--policy", "fixed"), 2, "cygnet-swan explain: "),
        (("explain", "{profile}", "--policy", "bold"), 2, "cygnet-swan explain: "),
        (("explain", "{profile}", "--root", "/"), 1, "cygnet-swan explain: "),
    ],
)
def test_what_cannot_be_done_is_said(program, traces, arguments, status, says):
    files = {"profile": traces / "profile.json", "trace": traces / "a_busy_phone.json"}
    done = run_swan(program, *(word.format(**files) for word in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1


def test_each_has_help(program):
    for name in ("replay", "profile", "explain"):
        assert run_well(program, name, "--help").startswith(f"usage: cygnet-swan {name}")
