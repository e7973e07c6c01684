"""interference, controller and asymmetry measure what docs/swan-measured.md says, and refuse
what they cannot do. Tiny runs: their shape and what must be true on any machine, however
busy; never how fast."""

import json
import math
import os
import pathlib
import subprocess
import time
import xml.etree.ElementTree

import pytest

BENCH = pathlib.Path(os.environ["CYGNET_BUILD_DIR"]) / "tests" / "bench" / "cygnet-bench"
SMALL = ("--model", "mlp:hidden=16", "--input", "1x8x8", "--batch", "4")
PRINTED = 0.001  # ms; times are rounded to that
N_CORES = len(os.sched_getaffinity(0))
needs_two_cores = pytest.mark.skipif(
    os.sysconf("SC_NPROCESSORS_ONLN") < 2, reason="it takes two cores"
)


def run(*arguments, env=None):
    return subprocess.run(
        [str(BENCH), *map(str, arguments)], capture_output=True, text=True, timeout=110,
        env=dict(os.environ, **(env or {})),
    )  # fmt: skip


def rows(*arguments):
    done = run(*arguments, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---- Foreground and trainer, as the commands use them ---------------------------


class Program:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [str(BENCH), *map(str, arguments)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ready = self.process.stdout.readline().split()

    def window(self, lead_ms, window_ms):
        """(FROM, the lines)"""
        begin = time.monotonic() * 1e3 + lead_ms
        self.process.stdin.write(f"{begin} {begin + window_ms}\n")
        self.process.stdin.flush()
        lines = []
        while not lines or lines[-1][0] != "done":
            lines.append(self.process.stdout.readline().split())
        return begin, lines

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=60) == 0


def frames_of(lines):
    return [dict(zip(("due", "took", "waited", "cpu", "missed"), map(float, line[1:])))
            for line in lines[:-1]]  # fmt: skip


def test_frames_are_due_at_fixed_times_and_late_ones_are_missed():
    foreground = Program("foreground", "--core", min(os.sched_getaffinity(0)))
    assert foreground.ready[0] == "ready" and int(foreground.ready[1]) > 0
    begin, lines = foreground.window(50, 1000)
    foreground.end()
    frames = frames_of(lines)
    assert frames
    for frame in frames:
        assert begin - PRINTED <= frame["due"] <= begin + 1000 + PRINTED
        assert 0 < frame["cpu"] and 0 < frame["took"]
        assert frame["missed"] in (math.floor((frame["took"] - PRINTED) * 60 / 1000),
                                   math.floor((frame["took"] + PRINTED) * 60 / 1000))
    for one, two in zip(frames, frames[1:]):
        slots = (two["due"] - one["due"]) * 60 / 1000
        assert slots == pytest.approx(1 + one["missed"], abs=0.01)


def test_bursts_begin_with_a_pause():
    foreground = Program("foreground", "--chunks", 1, "--on", 0.1, "--off", 0.15)
    begin, lines = foreground.window(0, 1250)
    foreground.end()
    since = [frame["due"] - begin for frame in frames_of(lines)]
    assert since
    for at in since:
        assert at % 250 >= 149.99


@pytest.mark.parametrize("policy", ["swan", "greedy", "fixed"])
def test_a_trainer_tells_each_step_and_who_trained(policy):
    trainer = Program("trainer", *SMALL, "--policy", policy, "--threads", 1, "--normal")
    assert trainer.ready == ["ready", "cygnet"]
    for _ in range(2):  # the second goes on with the profile of the first
        begin, lines = trainer.window(0, 150)
        steps = [list(map(float, line[1:])) for line in lines[:-1]]
        assert lines[-1][:2] == ["done", "4"]
        assert steps[0][1] == 0 and len(steps) > 1
        for (end, _, cpu, _), (next_end, took, next_cpu, threads) in zip(steps, steps[1:]):
            assert begin <= next_end - took + 0.01 and end <= next_end - took + 0.01
            assert took > 0 and next_cpu >= cpu and threads == 1
        assert steps[-1][0] >= begin + 150 - PRINTED
    trainer.end()


def test_a_load_takes_its_core_for_its_time():
    load = Program("load", "--core", min(os.sched_getaffinity(0)), "--duty", 0.5)
    assert load.ready == ["ready"]
    begin, lines = load.window(20, 60)
    assert lines == [["done"]]
    assert time.monotonic() * 1e3 >= begin + 58
    load.end()


# ---- Interference -----------------------------------------------------------------

QUICK = ("--pairs", 2, "--seconds", 0.5, "--lead", 0.1, "--burst", 0.25,
         "--onset", 0.1)  # fmt: skip
NUMBERS = {
    "frame_wait_ms_p50", "frame_wait_ms_p99", "frame_wait_ms_p50_over_alone",
    "alone_frame_wait_ms_p50", "frame_p50_ms", "frame_p99_ms", "alone_frame_p99_ms",
    "frame_p99_ratio", "frame_cpu_ms_p50", "frames", "missed_frames", "alone_frames",
    "alone_missed_frames", "samples_per_s", "samples_of_best_fixed_ci95",
    "samples_per_s_foreground_on", "samples_per_s_foreground_off",
    "samples_of_best_fixed", "samples_of_pytorch", "cpu_s_per_sample", "switches",
    "explored_steps",
}  # fmt: skip
CASE = {"scenario", "foreground", "window", "pairs", "window_s", "model", "input", "batch"}


@pytest.fixture(scope="module")
def quick():
    return rows("interference", *SMALL, *QUICK, "--set", "alone,pytorch,greedy,fixed-1,swan",
                "--pytorch", "no-such-python")  # fmt: skip


def test_each_scenario_is_one_object_a_foreground_and_window(quick):
    windows = [("pinned", "steady"), ("free", "steady"), ("bursts", "steady"),
               ("bursts", "onset")]  # fmt: skip
    names = ["alone", "pytorch", "greedy", "fixed-1", "swan"]
    assert [(row["foreground"], row["window"], row["scenario"]) for row in quick] == [
        (*window, name) for window in windows for name in names
    ]
    for row in quick:
        assert (row["model"], row["input"], row["batch"]) == (SMALL[1], SMALL[3], 4)
        window_s = 0.75 if row["foreground"] == "bursts" else 0.5
        assert (row["pairs"], row["window_s"]) == (2, window_s)


def test_a_peer_that_is_not_there_is_said(quick):
    for row in quick:
        if row["scenario"] == "pytorch":
            assert set(row) == CASE | {"absent"}
            assert "no-such-python" in row["absent"]
        else:
            assert set(row) - {"engine"} == CASE | NUMBERS | {"ci95"}


def test_the_figures_of_a_scenario_agree_with_each_other(quick):
    for row in (row for row in quick if "absent" not in row):
        if row["frame_p99_ratio"] is None:  # so late that a side has no frame
            assert 0 in (row["frames"], row["alone_frames"])
            assert row["ci95"] == [None, None]
            continue
        assert row["frames"] > 0 and row["missed_frames"] >= 0
        assert row["alone_frames"] > 0 and row["alone_missed_frames"] >= 0
        assert 0 < row["frame_p50_ms"] <= row["frame_p99_ms"]
        assert 0 <= row["frame_wait_ms_p50"] <= row["frame_wait_ms_p99"]
        assert row["frame_wait_ms_p50_over_alone"] == pytest.approx(
            row["frame_wait_ms_p50"] - row["alone_frame_wait_ms_p50"]
        )
        low, high = row["ci95"]
        assert 0 < low <= high
        assert row["samples_of_pytorch"] is None
        if row["scenario"] == "alone":
            assert row["frame_p99_ratio"] == low == high == 1
            assert row["samples_per_s"] is None
        else:
            assert row["engine"] == "cygnet"
            assert row["samples_per_s"] > 0 and row["cpu_s_per_sample"] > 0
            low, high = row["samples_of_best_fixed_ci95"]
            assert 0 < low <= row["samples_of_best_fixed"] * (1 + 1e-9)
            assert row["samples_of_best_fixed"] <= high * (1 + 1e-9)


def test_rates_with_and_without_the_foreground_add_up(quick):
    for row in (row for row in quick if row.get("samples_per_s")):
        on, off = row["samples_per_s_foreground_on"], row["samples_per_s_foreground_off"]
        if row["foreground"] == "bursts":
            assert min(on, off) <= row["samples_per_s"] * (1 + 1e-9)
            assert row["samples_per_s"] <= max(on, off) * (1 + 1e-9)
        else:
            assert on == pytest.approx(row["samples_per_s"]) and off is None


def test_the_best_fixed_choice_is_what_others_are_held_against(quick):
    for row in (row for row in quick if row["scenario"] == "fixed-1"):
        assert row["samples_of_best_fixed"] == 1
        assert row["samples_of_best_fixed_ci95"] == [1, 1]
        swan = next(other for other in quick if other["scenario"] == "swan"
                    and all(other[key] == row[key] for key in ("foreground", "window")))  # fmt: skip
        assert swan["samples_of_best_fixed"] == pytest.approx(
            swan["samples_per_s"] / row["samples_per_s"]
        )


def test_fixed_choices_do_not_switch(quick):
    for row in (row for row in quick if row["scenario"] in ("greedy", "fixed-1")):
        assert row["switches"] == row["explored_steps"] == 0


def test_a_table_and_a_plot_for_people(tmp_path):
    path = tmp_path / "plot.svg"
    done = run("interference", *SMALL, *QUICK, "--pairs", 1, "--foreground", "free",
               "--set", "pytorch,fixed-1-core-0", "--pytorch", "no-such-python",
               "--plot", path)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Foreground free, steady: 1 pairs, mlp:hidden=16 at 1x8x8")
    assert lines[3].startswith("pytorch") and "not here: no-such-python" in lines[3]
    assert lines[4].startswith("fixed-1-core-0")
    svg = xml.etree.ElementTree.parse(path).getroot()
    texts = [node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    for label in ("step, ms", "threads in use", "foreground frame, ms", "seconds"):
        assert label in texts
    assert "nan" not in path.read_text() and "inf" not in path.read_text()


# ---- Controller ---------------------------------------------------------------------


def ordered(row, name):
    values = [row[f"{name}_{q}"] for q in ("p50", "p95", "p99", "max")]
    return all(value >= 0 for value in values) and values == sorted(values)


@pytest.fixture(scope="module")
def overhead():
    (row,) = rows("controller", *SMALL, "--set", "overhead", "--pairs", 3, "--seconds", 0.05)
    return row


def test_overhead_is_held_against_the_best_fixed_choice(overhead):
    assert overhead["measure"] == "overhead" and overhead["pairs"] == 3
    assert overhead["priority"] == "idle"
    assert overhead["steps_per_block"] >= 4
    step_ms = {name[8:]: value for name, value in overhead.items()
               if name.startswith("step_ms_")}  # fmt: skip
    assert set(step_ms) >= {"fixed-1", "fixed-1-placed"} and min(step_ms.values()) > 0
    assert step_ms[overhead["best_fixed"]] == min(step_ms.values())


def test_overhead_says_how_sure_it_is_and_what_it_could_tell_apart(overhead):
    for name in ("overhead_wall", "overhead_cpu", "null_wall", "null_cpu"):
        low, high = overhead[f"{name}_ci95"]
        assert -100 < low <= overhead[f"{name}_pct"] <= high
    assert overhead["looks_cpu_pct"] > 0
    assert 0 <= overhead["same_threads_pct"] <= 100


def test_four_blocks_alone_have_no_interval():
    (row,) = rows("controller", *SMALL, "--set", "overhead", "--pairs", 1, "--seconds", 0.02,
                  "--normal")  # fmt: skip
    assert row["priority"] == "normal"
    assert row["overhead_wall_pct"] > -100
    assert row["overhead_wall_ci95"] == [None, None]


@pytest.mark.parametrize(
    "pairs, verdicts",
    [
        (2, ("too few to tell",)),
        (10, ("at most 1 %", "more than 1 %", "1 % cannot be told apart here")),
    ],
)
def test_a_table_says_what_the_interval_says(pairs, verdicts):
    done = run("controller", *SMALL, "--set", "overhead", "--pairs", pairs, "--seconds",
               0.02, "--normal")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("the best fixed choice\n") == 1
    for what in ("wall", "CPU "):
        assert done.stdout.count(f"overhead of swan, {what} time:") == 1
    assert sum(done.stdout.count(f"]: {verdict};") for verdict in verdicts) == 2


@needs_two_cores
def test_every_revocation_is_timed():
    mask, number = rows("controller", *SMALL, "--set", "vacate", "--revocations", 10)
    assert (mask["how"], number["how"]) == ("mask", "number")
    assert mask["revocations"] == number["revocations"] == 10
    assert ordered(mask, "vacated_ms") and ordered(mask, "last_block_ms")
    assert ordered(number, "last_block_ms")


def test_blocks_are_fewer_than_their_step():
    (row,) = rows("controller", "--model", "lenet5", "--input", "1x28x28", "--set",
                  "blocks", "--steps", 2)  # fmt: skip
    assert (row["measure"], row["model"], row["input"]) == ("blocks", "lenet5", "1x28x28")
    assert row["blocks"] >= row["runs"] > 0
    assert 0 < row["longest_block_ms"] < row["step_ms"]
    assert 0 <= row["longest_block_run"] < row["runs"]
    assert 0 <= row["blocks_over_5_ms"] <= row["blocks"]


@needs_two_cores
def test_reactions_to_a_load_are_timed_or_left_out():
    (row,) = rows("controller", *SMALL, "--set", "react", "--loads", 2, "--attempts", 3,
                  "--load-seconds", 0.4, "--patience", 3)  # fmt: skip
    assert row["loads"] == 2 and 2 <= row["attempts"] <= 3
    n = row["loads_that_count"]
    assert n == len(row["trials"]) == row["attempts"] - row["loads_left_out"]
    assert n == 2 or row["attempts"] == 3
    for count, name in (("diagnosed", "diagnosed_ms"), ("decided", "decided_ms"),
                        ("returned", "back_ms")):  # fmt: skip
        times = [trial[name] for trial in row["trials"] if trial[name] is not None]
        assert row[count] == len(times)
        if times:
            assert ordered(row, name) and row[f"{name}_max"] == max(times)
        else:
            assert row[f"{name}_p50"] is None
    for trial in row["trials"]:  # who never left does not come back
        assert trial["decided_ms"] is not None or trial["back_ms"] is None


# ---- Asymmetry ----------------------------------------------------------------------


ASYMMETRY = ("asymmetry", *SMALL, "--steps", 12, "--rounds", 2, "--trainings", 2)


def groups():
    return list(pathlib.Path("/sys/fs/cgroup").glob("**/cygnet-bench-*"))


@needs_two_cores
def test_asymmetry_has_every_way_to_slow_a_core_and_leaves_nothing_behind(tmp_path):
    done = run(*ASYMMETRY, "--json", "-", env={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    alike, load, quota = map(json.loads, done.stdout.splitlines())
    assert (alike["cores"], alike["slowed_by"], alike["load"]) == ("alike", "none", 0)
    assert (load["cores"], load["slowed_by"], load["load"]) == ("unlike", "load", 0.6)
    assert (quota["cores"], quota["slowed_by"], quota["load"]) == ("unlike", "quota", 0.6)
    for row in (row for row in (alike, load, quota) if "absent" not in row):
        choices = [entry["choice"] for entry in row["profile"]]
        assert choices == ["1 LITTLE", "1 big", "1 big + 1 LITTLE"]
        assert any(entry["on_frontier"] for entry in row["profile"])
        assert sum(entry["measured_steps"] for entry in row["profile"]) <= 24
        for way in ("fast", "slow", "both", "halves"):
            assert row[f"{way}_ms"] > 0
        for way in ("slow", "both", "halves"):
            low, high = row[f"{way}_over_fast_ci95"]
            assert 0 < low <= row[f"{way}_over_fast"] <= high
    assert "absent" not in alike and "absent" not in load
    assert quota.get("absent", "-") != ""
    assert list(tmp_path.iterdir()) == [] and groups() == []


@needs_two_cores
def test_asymmetry_prints_a_row_for_each_way():
    done = run(*ASYMMETRY)
    assert (done.returncode, done.stderr) == (0, "")
    head, _, _, *table = done.stdout.splitlines()
    assert head.startswith("mlp:hidden=16 at 1x8x8, batch 4, core 1 slower by 60 %")
    assert [line.split()[0] for line in table] == ["none", "load", "quota"]


# ---- What is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (("interference", "--set", "alone,lame"), 2, '--set: no scenario "lame"'),
        (("interference", "--set", "swan,swan"), 2, "--set: swan twice"),
        (("interference", "--set", "fixed-0"), 2, '--set: no scenario "fixed-0"'),
        (("interference", "--set", "fixed-1-core-"), 2, "--set: no scenario"),
        (("interference", "--foreground", "loud"), 2, "--foreground loud"),
        (("interference", "--burst", "1", "--onset", "2"), 2, "--onset is longer"),
        (("interference", "--pairs", "0"), 2, "--pairs"),
        (("interference", "--set", "swan", "--model", "nope"), 1, "swan: "),
        (("interference", "--json", "/nonesuch/x"), 1, "/nonesuch/x"),
        (("controller", "--set", "overhead,lame"), 2, "--set lame"),
        (("controller", "--set", "blocks", "--model", "nope"), 1, 'no architecture "nope"'),
        (("asymmetry", "--duty", "1"), 2, "--duty"),
        (("trainer", "--policy", "swan"), 2, "--model is missing"),
        (("trainer", "--model", "mlp", "--policy", "none"), 1, "--policy none"),
        (("foreground", "--core", "1023"), 1, "core 1023"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, status, says):
    done = run(*arguments)
    assert done.returncode == status
    assert f"cygnet-bench: {says}" in done.stderr
