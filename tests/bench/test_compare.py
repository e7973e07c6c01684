"""The comparison with PyTorch counts as it says, with and without torch."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import compare
import pytorch_step


def row(ms, contended=False, **more):
    return {"ms_per_step": ms, "cpu_ms_per_step": 2 * ms, "peak_rss_mb": 10.0,
            "dropped": 1, "steps": 20, "contended": contended, **more}  # fmt: skip


def test_contended_rounds_do_not_count_when_there_are_others():
    assert compare.figure([row(9, True), row(2), row(4)], "ms_per_step") == 3
    assert compare.figure([row(9, True), row(5, True)], "ms_per_step") == 7


def test_pytorch_is_taken_at_its_better_layout_figure_by_figure():
    theirs = {
        "nchw": [row(8, cpu_ms_per_step=3.0, peak_rss_mb=300)],
        "channels_last": [row(6, cpu_ms_per_step=5.0, peak_rss_mb=200)],
    }
    s = compare.summarise([row(2, cpu_ms_per_step=1.5), row(2)], theirs)
    assert (s["pytorch_ms"], s["layout"]) == (6, "channels_last")
    assert s["time_ratio"] == 3
    assert s["cpu_ratio"] == pytest.approx(3.0 / 2.75)
    assert s["memory_ratio"] == pytest.approx(10 / 200)
    assert (s["dropped"], s["steps"], s["contended_rounds"]) == (4, 80, 0)


def test_a_row_of_the_table_has_a_cell_for_each_heading():
    case = compare.read_cases(["mlp:hidden=8:1x8x8:4:20"], [2])[0]
    assert case == compare.Case("mlp:hidden=8", "1x8x8", 4, 20, 2)
    theirs = {"nchw": [row(5)], "channels_last": [row(6, True)]}
    text = compare.table_row(case, compare.summarise([row(10)], theirs))
    assert text.count("|") == len(compare.HEADINGS) + 1
    assert compare.table_head().count("|") == 2 * (len(compare.HEADINGS) + 1)
    assert "| 0.50x |" in text  # slower than PyTorch is shown as it is
    assert "3 of 60, 1 rounds whole" in text


def test_two_builds_of_pytorch_count_as_the_better_one():
    theirs = {"nchw 1": [row(8)], "nchw 2": [row(4)], "channels_last 2": [row(5)]}
    s = compare.summarise([row(2)], theirs)
    assert (s["pytorch_ms"], s["layout"], s["time_ratio"]) == (4, "nchw 2", 2)


def test_rows_of_different_cases_are_not_compared():
    same = {"model": "mlp", "input": "1x8x8", "classes": 10, "batch": 4, "threads": 1,
            "steps": 5}  # fmt: skip
    compare.check_alike(same, dict(same))
    with pytest.raises(RuntimeError, match="classes: 10 here, 1000 there"):
        compare.check_alike(same, {**same, "classes": 1000})


def test_the_sets_have_the_models_of_the_paper_at_both_sizes():
    cases = compare.read_cases(compare.SETS["all"], [1, 2])
    assert len(cases) == len(set(cases)) == 2 * (len(compare.SMALL) + 8)
    for size in ("3x32x32", "3x128x128"):
        found = {case.model for case in cases if (case.input, case.batch) == (size, 16)}
        assert found == {"resnet34", "mobilenet_v2", "shufflenet_v2_x1_0",
                         "shufflenet_v2_x2_0"}  # fmt: skip


def test_both_sides_drop_the_same_samples():
    ms = 1_000_000
    samples = [(i * ms, 0) for i in range(1, 8)] + [(90 * ms, 2 * ms)]
    found = pytorch_step.spread(samples)
    assert (found["ms_per_step"], found["dropped"], found["contended"]) == (4, 1, False)
    assert (found["ms_quartile_1"], found["ms_quartile_3"]) == (2.5, 5.5)
    few = pytorch_step.spread(samples[:4] + samples[-1:])
    assert (few["ms_per_step"], few["dropped"], few["contended"]) == (3, 0, True)


def run_step(*arguments):
    script = pathlib.Path(__file__).with_name("pytorch_step.py")
    return subprocess.run(
        [sys.executable, "-B", str(script), *arguments], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_without_torch_it_says_so():
    blocked = run_step("--model", "mlp", "--steps", "1")
    if importlib.util.find_spec("torch"):
        assert blocked.returncode == 0
    else:
        assert blocked.returncode == pytorch_step.SKIP
        assert blocked.stdout == "skip: python3 torch is not installed\n"


def test_a_step_of_pytorch_has_the_fields_that_are_compared():
    if not importlib.util.find_spec("torch"):
        pytest.skip("python3 torch is not installed")
    done = run_step("--model", "lenet5", "--steps", "2", "--batch", "4")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours = row(1)
    assert set(ours) <= set(found)
    assert found["loss_last"] < found["loss_first"]
    done = run_step("--model", "nope")
    assert done.returncode == 1 and "pytorch_step: nope: " in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--model", "mlp", "--input", "3x")]
)
def test_a_bad_command_line_is_refused(arguments):
    done = run_step(*arguments)
    assert done.returncode == 2 and "error: " in done.stderr
