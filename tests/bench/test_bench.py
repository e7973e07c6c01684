"""cygnet-bench prints what docs/performance.md says, and refuses what it cannot do."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import pytorch_step

BENCH = pathlib.Path(os.environ["CYGNET_BUILD_DIR"]) / "tests" / "bench" / "cygnet-bench"
FIELDS = {
    "engine": str, "model": str, "input": str, "classes": int, "batch": int,
    "threads": int, "steps": int, "ms_per_step": float, "ms_quartile_1": float,
    "ms_quartile_3": float, "first_step_ms": float, "cpu_ms_per_step": float,
    "samples_per_s": float, "contended": bool, "peak_rss_mb": float,
    "idle_rss_mb": float, "planned_mb": float, "bound_mb": float,
    "allocs_per_step": float, "page_faults_per_step": float, "gflop_per_step": float,
    "gflop_effective": float, "gflops": float, "peak_gflops": float,
    "pct_of_peak": float, "loss_first": float, "loss_last": float,
}  # fmt: skip


def run(*arguments, env=None):
    return subprocess.run(
        [str(BENCH), *map(str, arguments)], capture_output=True, text=True, timeout=120,
        env=dict(os.environ, **(env or {})),
    )  # fmt: skip


def rows(done):
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def quick():
    return rows(
        run("step", "--model", "lenet5", "--model", "mlp:hidden=16", "--batch", "4",
            "--threads", "1", "--threads", "2", "--steps", "2", "--json", "-")
    )  # fmt: skip


def test_each_case_is_one_object_with_every_field(quick):
    assert [(row["model"], row["threads"]) for row in quick] == [
        ("lenet5", 1), ("lenet5", 2), ("mlp:hidden=16", 1), ("mlp:hidden=16", 2)
    ]  # fmt: skip
    for row in quick:
        assert set(row) == set(FIELDS) | {"dropped"}
        for name, kind in FIELDS.items():
            assert isinstance(row[name], (int, float) if kind is float else kind), name
        assert row["dropped"] is None or 0 <= row["dropped"] <= row["steps"]
        assert (row["engine"], row["input"], row["batch"]) == ("cygnet", "1x28x28", 4)


def test_a_model_has_as_many_classes_as_on_the_pytorch_side(quick):
    for row in quick:
        assert row["classes"] == pytorch_step.default_classes(row["model"]) == 10
    for model, classes in (("ds_cnn", 12), ("mobilenet_v2:width_mult=0.35", 1000)):
        size = "1x49x10" if classes == 12 else "3x32x32"
        row = rows(run("step", "--model", model, "--input", size, "--steps", "1"))[0]
        assert row["classes"] == pytorch_step.default_classes(model) == classes
    done = rows(run("step", "--model", "mlp", "--classes", "7", "--steps", "1"))
    assert done[0]["classes"] == 7


def test_the_figures_of_a_case_agree_with_each_other(quick):
    for row in quick:
        assert 0 < row["ms_quartile_1"] <= row["ms_per_step"] <= row["ms_quartile_3"]
        assert row["samples_per_s"] == pytest.approx(4000 / row["ms_per_step"])
        assert row["gflops"] == pytest.approx(
            row["gflop_effective"] / row["ms_per_step"] * 1e3
        )
        assert row["pct_of_peak"] == pytest.approx(
            100 * row["gflops"] / row["peak_gflops"]
        )
        assert 0 < row["gflop_effective"] <= row["gflop_per_step"]
        assert 0 < row["idle_rss_mb"] < row["peak_rss_mb"]


def test_a_step_allocates_nothing_and_learns(quick):
    for row in quick:
        assert row["allocs_per_step"] == 0
        assert row["loss_last"] < row["loss_first"]


def test_threads_do_not_change_the_losses(quick):
    for one, two in zip(quick[::2], quick[1::2]):
        assert one["loss_first"] == two["loss_first"]
        assert one["loss_last"] == two["loss_last"]


def test_work_and_memory_bounds_are_those_counted_by_hand():
    row = rows(
        run("step", "--model", "logistic", "--input", "1x2x3", "--classes", "4",
            "--batch", "5", "--steps", "2")
    )[0]  # fmt: skip
    forward, weight_gradient = 2 * 5 * 6 * 4, 2 * 5 * 6 * 4
    counted = (forward + weight_gradient) * 1e-9
    assert row["gflop_effective"] >= counted
    assert row["gflop_effective"] < 2 * counted  # bias, softmax and its gradient
    logits, weights = 4 * 5 * 4, 4 * (6 * 4 + 4)
    pair = 4 * 5 * (4 + 1)  # the loss reads logits and writes one number
    assert row["bound_mb"] == pytest.approx((logits + 2 * weights + pair) * 1e-6)


def test_buffers_of_batch_norm_count_once_in_the_bound():
    row = rows(
        run("step", "--model", "ds_cnn:channels=2,layers=1", "--input", "1x20x8",
            "--classes", "3", "--batch", "5", "--steps", "1")
    )[0]  # fmt: skip
    plane = 11 * 4  # of every convolution
    saved = 5 * (3 * 2 * plane + 3)
    weights = 2 * 40 + 2 * 9 + 2 * 2 + 3 * 2 * 2 + (3 * 2 + 3)
    pair = 5 * 2 * 2 * plane
    assert row["bound_mb"] == pytest.approx(
        4e-6 * (saved + 2 * weights + 3 * 2 * 2 + pair)
    )


def test_padding_of_a_convolution_is_not_counted_as_effective_work():
    padded, unpadded = rows(
        run("step", "--model", "lenet5", "--input", "1x28x28", "--steps", "1")
    ) + rows(run("step", "--model", "lenet5", "--input", "1x32x32", "--steps", "1"))
    assert padded["gflop_effective"] < padded["gflop_per_step"]
    assert unpadded["gflop_effective"] == pytest.approx(unpadded["gflop_per_step"])


def test_the_file_of_json_is_replaced(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("old\n")
    done = run("step", "--model", "logistic", "--steps", "1", "--json", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [json.loads(line)["model"] for line in path.open()] == ["logistic"]


def test_peak_prints_each_core_and_then_all_together():
    found = rows(run("peak", "--megabytes", "1"))
    single = [row for row in found if row["core"] is not None]
    assert [row["core"] for row in single] == list(range(len(single)))
    assert len(found) == len(single) + (len(single) > 1)
    for row in found:
        assert row["threads"] == (1 if row["core"] is not None else len(single))
        assert row["fma_gflops"] > 0 and row["triad_gb_per_s"] > 0
        assert row["isa"] in ("avx512", "avx2", "baseline")


def test_explore_prints_a_line_and_a_row_for_each_phone_and_workload(tmp_path):
    devices = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "devices"
    out = tmp_path / "rows.json"
    done = run("explore", "--devices", devices, "--seeds", 2, "--rounds", 1, "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("modelled: 2 devices a row")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(found) == 18 == len(done.stdout.splitlines()) - 2
    for row in found:
        assert row["modelled"] is True and row["seeds"] == 2 and row["steps"] == 60
        assert row["aim"] == "fastest" and row["deadline"] is None
        assert row["regret"]["mean"] < 0.5 and 0 < row["lost"]["mean"] < 0.5


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ((), 2, "want step, peak, grad, explore, interference, controller or asymmetry"),
        (("leap",), 2, "want step, peak, grad, explore, interference, controller or asymmetry"),
        (("step",), 2, "--model is missing"),
        (("step", "--model"), 2, "--model needs a value"),
        (("step", "--model", "mlp", "--steps", "0"), 2, "--steps"),
        (("step", "--model", "mlp", "--threads", "65"), 2, "--threads"),
        (("step", "--model", "mlp", "--input", "4x"), 2, "--input"),
        (("step", "--model", "mlp", "--colour", "red"), 2, 'unknown option "--colour"'),
        (("step", "--model", "nope"), 1, 'no architecture "nope"'),
        (("step", "--model", "lenet5", "--input", "1x4x4"), 1, "lenet5: conv2"),
        (("step", "--model", "mlp", "--json", "/nonesuch/x"), 1, "/nonesuch/x"),
        (("peak", "--megabytes", "0"), 2, "--megabytes"),
        (("explore", "--seeds", "0"), 2, "--seeds"),
        (("explore", "--devices", "/nonesuch"), 1, "/nonesuch/pixel_3.json"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, status, says):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"cygnet-bench: {says}")
    assert done.stderr.count("\n") == 1


def test_help_is_printed():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: cygnet-bench step|peak|grad|explore|interference|")
