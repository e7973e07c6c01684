"""examples/train: the training library on its own, from pictures to safetensors."""

import re
import struct
import subprocess
import sys

import pytest

LINE = re.compile(r"epoch (\d+): loss (\S+), held out (\S+), accuracy (\S+) %")


def run_train(program, *arguments):
    return subprocess.run(
        [str(program("train")), *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def epochs(done):
    """[(loss, held out, accuracy)] of a run that went well."""
    assert (done.returncode, done.stderr) == (0, "")
    rows = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert [int(row[1]) for row in rows] == list(range(1, len(rows) + 1))
    return [tuple(float(text) for text in row.groups()[1:]) for row in rows]


@pytest.mark.parametrize(
    "model, shape, n_epochs", [("lenet5", "1x28x28", 5), ("mlp", "1x8x8", 3)]
)
def test_a_model_learns_the_digits(program, model, shape, n_epochs):
    rows = epochs(run_train(program, "digits", model, shape, n_epochs))
    assert len(rows) == n_epochs
    assert rows[-1][0] < rows[0][0] and rows[-1][1] < rows[0][1]
    assert rows[-1][2] >= 90


def test_an_idx_folder_of_the_digits_trains_as_the_digits_do(program, source_dir):
    folder = source_dir / "examples" / "data" / "digits"
    bundled = run_train(program, "digits", "mlp", "1x8x8", 2)
    from_folder = run_train(program, f"idx:{folder}", "mlp", "1x8x8", 2)
    assert epochs(bundled) == epochs(from_folder)


def test_the_saved_weights_are_finite_and_named_as_in_pytorch(
    program, source_dir, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(source_dir / "tests" / "reference"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import safetensors_read

    path = tmp_path / "weights.safetensors"
    epochs(run_train(program, "digits", "mlp:hidden=20", "1x8x8", 1, path))
    _, tensors = safetensors_read.read(path.read_bytes())
    assert {name: (kind, shape) for name, (kind, shape, _) in tensors.items()} == {
        "fc1.weight": ("F32", [20, 64]), "fc1.bias": ("F32", [20]),
        "fc2.weight": ("F32", [10, 20]), "fc2.bias": ("F32", [10]),
    }  # fmt: skip
    for _, _, data in tensors.values():
        values = struct.unpack(f"<{len(data) // 4}f", data)
        assert any(values) and all(abs(value) < 100 for value in values)


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ((), 2, "usage: train "),
        (("digits", "mlp", "64", 1), 2, "usage: train "),
        (("digits", "mlp", "1x8x8", 0), 2, "usage: train "),
        (("digits", "lenet9", "1x8x8", 1), 1, 'train: no architecture "lenet9"'),
        (("digits", "lenet5", "1x8x8", 1), 1, "train: lenet5: conv2: "),
        (("idx:/nonesuch", "mlp", "1x8x8", 1), 1, "train: /nonesuch"),
        (("digits", "logistic", "1x8x8", 1, "/nonesuch/w"), 1, "train: /nonesuch/w"),
    ],
)
def test_what_cannot_be_done_is_one_line(program, arguments, status, says):
    done = run_train(program, *arguments)
    assert done.returncode == status
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1
