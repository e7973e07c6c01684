"""cygnet-bench grad: gradients for given weights and batch, or one line that says
what is wrong with them. Held against PyTorch itself by compare_grad.py."""

import json
import math
import os
import pathlib
import struct
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "reference"))

import safetensors_read

BENCH = pathlib.Path(os.environ["CYGNET_BUILD_DIR"]) / "tests" / "bench" / "cygnet-bench"
FORMATS = {"F32": "f", "F64": "d", "I64": "q", "I32": "i"}
N, INPUTS, CLASSES = 3, 4, 2


def save(path, tensors):
    """{name: (dtype, shape, flat values)}"""
    header, body = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        blob = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
        offsets = [len(body), len(body) + len(blob)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += blob
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def load(path):
    found = {}
    for name, (dtype, shape, blob) in safetensors_read.read(path.read_bytes())[1].items():
        count = len(blob) // struct.calcsize("<" + FORMATS[dtype])
        found[name] = (dtype, shape, struct.unpack(f"<{count}{FORMATS[dtype]}", blob))
    return found


def logistic():
    """Weights and a batch of 1x2x2 images, in eighths."""
    weight = [(7 * i % 11 - 5) / 8 for i in range(CLASSES * INPUTS)]
    weights = {"linear.weight": ("F32", [CLASSES, INPUTS], weight),
               "linear.bias": ("F32", [CLASSES], [0.25, -0.5])}  # fmt: skip
    x = [(5 * i % 13 - 6) / 8 for i in range(N * INPUTS)]
    batch = {"x": ("F32", [N, 1, 2, 2], x), "y": ("I64", [N], [1, 0, 1])}
    return weights, batch


def run(tmp_path, weights, batch, *more, model="logistic", classes=CLASSES):
    save(tmp_path / "w.safetensors", weights)
    save(tmp_path / "b.safetensors", batch)
    return subprocess.run(
        [str(BENCH), "grad", "--model", model, "--classes", str(classes), "--weights",
         tmp_path / "w.safetensors", "--batch", tmp_path / "b.safetensors", "--out",
         tmp_path / "g.safetensors", *map(str, more)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def gradients(tmp_path, *arguments, **named):
    done = run(tmp_path, *arguments, **named)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return load(tmp_path / "g.safetensors")


def by_hand(weights, batch):
    """(loss, logits, dw, db) of logistic regression, in double."""
    w, b = weights["linear.weight"][2], weights["linear.bias"][2]
    loss, logits = 0, []
    dw, db = [0.0] * (CLASSES * INPUTS), [0.0] * CLASSES
    for n in range(N):
        x = batch["x"][2][n * INPUTS : (n + 1) * INPUTS]
        rows = [w[k * INPUTS : (k + 1) * INPUTS] for k in range(CLASSES)]
        z = [b[k] + sum(map(math.prod, zip(rows[k], x))) for k in range(CLASSES)]
        total = sum(map(math.exp, z))
        label = batch["y"][2][n]
        loss += (math.log(total) - z[label]) / N
        logits += z
        for k in range(CLASSES):
            dz = (math.exp(z[k]) / total - (k == label)) / N
            db[k] += dz
            for i in range(INPUTS):
                dw[k * INPUTS + i] += dz * x[i]
    return loss, logits, dw, db


def test_loss_logits_and_gradients_are_those_counted_by_hand(tmp_path):
    weights, batch = logistic()
    found = gradients(tmp_path, weights, batch)
    loss, logits, dw, db = by_hand(weights, batch)
    assert list(found) == ["loss", "logits", "linear.weight", "linear.bias"]
    assert found["loss"][:2] == ("F32", [])
    assert found["logits"][:2] == ("F32", [N, CLASSES])
    assert found["linear.weight"][:2] == ("F32", [CLASSES, INPUTS])
    assert found["loss"][2] == pytest.approx([loss], rel=1e-6)
    assert found["logits"][2] == pytest.approx(logits, rel=1e-6)
    assert found["linear.weight"][2] == pytest.approx(dw, rel=1e-5, abs=1e-7)
    assert found["linear.bias"][2] == pytest.approx(db, rel=1e-5, abs=1e-7)


def test_steps_are_those_of_sgd_with_momentum_and_weight_decay(tmp_path):
    weights, batch = logistic()
    rule = ("--train-steps", 3, "--lr", 0.5, "--momentum", 0.75, "--weight-decay", 0.125)
    found = gradients(tmp_path, weights, batch, *rule)
    now = {name: list(values) for name, (_, _, values) in weights.items()}
    velocity = {name: [0.0] * len(values) for name, values in now.items()}
    for _ in range(3):
        _, _, dw, db = by_hand({n: (0, 0, v) for n, v in now.items()}, batch)
        for name, gradient in (("linear.weight", dw), ("linear.bias", db)):
            for i, g in enumerate(gradient):
                velocity[name][i] = 0.75 * velocity[name][i] + g + 0.125 * now[name][i]
                now[name][i] -= 0.5 * velocity[name][i]
    for name, values in now.items():
        assert found["after." + name][:2] == weights[name][:2]
        assert found["after." + name][2] == pytest.approx(values, rel=1e-5, abs=1e-6)
    assert found["loss"][2] == pytest.approx([by_hand(weights, batch)[0]], rel=1e-6)


def test_threads_do_not_change_a_bit(tmp_path):
    shapes = {"conv1.weight": [6, 1, 5, 5], "conv1.bias": [6],
              "conv2.weight": [16, 6, 5, 5], "conv2.bias": [16],
              "fc1.weight": [120, 400], "fc1.bias": [120], "fc2.weight": [84, 120],
              "fc2.bias": [84], "fc3.weight": [5, 84], "fc3.bias": [5]}  # fmt: skip
    weights = {
        name: ("F32", s, [(37 * i % 101 - 50) / 512 for i in range(math.prod(s))])
        for name, s in shapes.items()
    }
    x = [(29 * i % 97 - 48) / 32 for i in range(4 * 28 * 28)]
    batch = {"x": ("F32", [4, 1, 28, 28], x), "y": ("I64", [4], [4, 3, 0, 1])}
    case = {"model": "lenet5", "classes": 5}
    one = gradients(tmp_path, weights, batch, "--train-steps", 2, **case)
    assert {name: one[name][1] for name in shapes} == shapes
    assert {name: one["after." + name][1] for name in shapes} == shapes
    two = gradients(tmp_path, weights, batch, "--train-steps", 2, "--threads", 2, **case)
    assert one == two


def changed(which, name, tensor):
    weights, batch = logistic()
    tensors = {"weights": weights, "batch": batch}[which]
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    return weights, batch


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "which, name, tensor, says",
    [
        ("weights", "linear.bias", None, "tensor linear.bias is missing"),
        ("weights", "linear.bias", ("F32", [3], [0] * 3),
         "tensor linear.bias: expected F32 (2), found F32 (3)"),
        ("weights", "linear.bias", ("F64", [2], [0] * 2),
         "tensor linear.bias: expected F32 (2), found F64 (2)"),
        ("weights", "linear.bias", ("F32", [2], [0, NAN]),
         "tensor linear.bias: expected finite values, found NaN"),
        ("weights", "fc.bias", ("F32", [1], [0]), "tensor fc.bias is not one of"),
        ("batch", "x", None, "tensor x is missing"),
        ("batch", "y", None, "tensor y is missing"),
        ("batch", "z", ("F32", [1], [0]), "tensor z is not one of"),
        ("batch", "x", ("F64", [N, 1, 2, 2], [0] * 12),
         "tensor x: expected F32 (N, C, H, W), found F64 (3, 1, 2, 2)"),
        ("batch", "x", ("F32", [12], [0] * 12),
         "tensor x: expected F32 (N, C, H, W), found F32 (12)"),
        ("batch", "x", ("F32", [0, 1, 2, 2], []),
         "tensor x: expected 1 to 65536 examples, none empty, found F32 (0, 1, 2, 2)"),
        ("batch", "x", ("F32", [N, 1, 2, 2], [0] * 9 + [NAN, 0, 0]),
         "tensor x: expected finite values, found NaN in example 2"),
        ("batch", "x", ("F32", [N, 1, 2, 2], [0] * 5 + [INF] + [0] * 6),
         "tensor x: expected finite values, found infinity in example 1"),
        ("batch", "x", ("F32", [N, 1, 1, 1], [0] * 3),
         "tensor linear.weight: expected F32 (2, 1), found F32 (2, 4)"),
        ("batch", "y", ("I32", [N], [0] * N), "tensor y: expected I64 (3), found I32 (3)"),
        ("batch", "y", ("I64", [2], [0] * 2), "tensor y: expected I64 (3), found I64 (2)"),
        ("batch", "y", ("I64", [N], [0, 2, 1]),
         "tensor y: expected labels 0 to 1, found 2 in example 1"),
        ("batch", "y", ("I64", [N], [0, 1, -1]),
         "tensor y: expected labels 0 to 1, found -1 in example 2"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_one_line(tmp_path, which, name, tensor, says):
    done = run(tmp_path, *changed(which, name, tensor))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cygnet-bench: ") and done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (tmp_path / "g.safetensors").exists()


def test_a_loss_that_is_not_finite_writes_nothing(tmp_path):
    weights, batch = logistic()
    huge = [3e38] * (CLASSES * INPUTS)
    weights["linear.weight"] = ("F32", [CLASSES, INPUTS], huge)
    batch["x"] = ("F32", [N, 1, 2, 2], [2.0] * (N * INPUTS))
    done = run(tmp_path, weights, batch)
    assert (done.returncode, done.stdout) == (1, "")
    assert "layer linear gives NaN or infinity for example 0" in done.stderr
    assert not (tmp_path / "g.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ((), 2, "--model is missing"),
        (("--model", "mlp"), 2, "--weights is missing"),
        (("--model", "mlp", "--weights", "w"), 2, "--batch is missing"),
        (("--model", "mlp", "--weights", "w", "--batch", "b"), 2, "--out is missing"),
        (("--model", "mlp", "--weights", "w", "--batch", "b", "--out", "o"), 2,
         "--classes is missing"),
        (("--classes", "0"), 2, "--classes"),
        (("--model", "mlp", "--classes", "2", "--weights", "w", "--batch",
          "/nonesuch/b", "--out", "o"), 1, "/nonesuch/b: "),
    ],
)  # fmt: skip
def test_a_command_that_lacks_something_is_one_line(arguments, status, says):
    done = subprocess.run([str(BENCH), "grad", *arguments], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"cygnet-bench: {says}")
    assert done.stderr.count("\n") == 1


def test_an_unknown_model_and_a_file_that_is_none_are_one_line(tmp_path):
    weights, batch = logistic()
    done = run(tmp_path, weights, batch, model="nope")
    assert done.returncode == 1 and 'no architecture "nope"' in done.stderr
    (tmp_path / "w.safetensors").write_bytes(b"no tensors at all")
    done = subprocess.run(
        [str(BENCH), "grad", "--model", "logistic", "--classes", "2", "--weights",
         tmp_path / "w.safetensors", "--batch", tmp_path / "b.safetensors", "--out",
         tmp_path / "g"], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "w.safetensors: " in done.stderr


# ---- Models with batch norm and dropout -----------------------------------------


def normed(name):
    return {name + ".weight": ("F32", [2], [1.25, 0.75]),
            name + ".bias": ("F32", [2], [0.125, -0.25]),
            name + ".running_mean": ("F32", [2], [0.5, 3.0]),
            name + ".running_var": ("F32", [2], [4.0, 0.25]),
            name + ".num_batches_tracked": ("I64", [], [7])}  # fmt: skip


def filter_of(shape):
    values = [(37 * i % 101 - 50) / 64 for i in range(math.prod(shape))]
    return ("F32", shape, values)


KEYWORDS = {"model": "ds_cnn:channels=2,layers=1", "classes": 3}


def keywords():
    weights = {
        "conv1.weight": filter_of([2, 1, 10, 4]), **normed("bn1"),
        "block1.depthwise.weight": filter_of([2, 1, 3, 3]), **normed("block1.bn1"),
        "block1.pointwise.weight": filter_of([2, 2, 1, 1]), **normed("block1.bn2"),
        "fc.weight": filter_of([3, 2]), "fc.bias": ("F32", [3], [0.5, 0.0, -0.5]),
    }  # fmt: skip
    x = [(29 * i % 97 - 48) / 32 for i in range(5 * 20 * 8)]
    batch = {"x": ("F32", [5, 1, 20, 8], x), "y": ("I64", [5], [2, 0, 1, 1, 0])}
    return weights, batch


def test_batch_norm_is_in_training_mode_and_its_buffers_move(tmp_path):
    weights, batch = keywords()
    found = gradients(tmp_path, weights, batch, "--train-steps", 2, "--lr", 0, **KEYWORDS)
    logits, labels = found["logits"][2], batch["y"][2]
    total = 0
    for row, label in enumerate(labels):
        z = logits[3 * row : 3 * row + 3]
        total += math.log(sum(map(math.exp, z))) - z[label]
    assert found["loss"][2] == pytest.approx([total / 5], rel=1e-5)
    for name in ("bn1", "block1.bn1", "block1.bn2"):
        assert found[f"after.{name}.num_batches_tracked"] == ("I64", [], (9,))
        moved = found[f"after.{name}.running_var"][2]
        assert all(a != b for a, b in zip(moved, [4.0, 0.25]))
        weights[name + ".running_mean"] = ("F32", [2], [-9.0, 9.0])
        weights[name + ".running_var"] = ("F32", [2], [0.0, 100.0])
    other = gradients(tmp_path, weights, batch, **KEYWORDS)
    assert other == {n: t for n, t in found.items() if not n.startswith("after.")}


@pytest.mark.parametrize(
    "name, tensor, says",
    [
        ("bn1.num_batches_tracked", None, "tensor bn1.num_batches_tracked is missing"),
        ("bn1.num_batches_tracked", ("F32", [], [0.0]),
         "tensor bn1.num_batches_tracked: expected I64 (), found F32 ()"),
        ("bn1.num_batches_tracked", ("I64", [], [-1]),
         "tensor bn1.num_batches_tracked: expected 0 or more, found less"),
        ("block1.bn1.running_mean", None, "tensor block1.bn1.running_mean is missing"),
        ("block1.bn2.running_var", ("F32", [2], [1.0, -1.0]),
         "tensor block1.bn2.running_var: expected 0 or more, found less"),
    ],
)  # fmt: skip
def test_buffers_that_do_not_fit_are_one_line(tmp_path, name, tensor, says):
    weights, batch = keywords()
    del weights[name]
    if tensor:
        weights[name] = tensor
    done = run(tmp_path, weights, batch, **KEYWORDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


def state_of(spec):
    """(classes, weights) of a case of zoo.golden."""
    text = (TOP / "tests" / "golden" / "nn" / "zoo.golden").read_text()
    lines = text.partition(f"case {spec} ")[2].partition("\ncase ")[0].splitlines()
    weights = {}
    for line in lines[1:]:
        word, name, size, *_ = line.split()
        if word == "tensor":
            weights[name] = filter_of([int(dim) for dim in size.split("x")])
            continue
        assert word == "norm"
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0),
                            ("running_var", 1)):  # fmt: skip
            weights[f"{name}.{part}"] = ("F32", [int(size)], [value] * int(size))
        weights[name + ".num_batches_tracked"] = ("I64", [], [0])
    return int(lines[0].split()[0]), weights


def test_nothing_is_dropped_out_in_the_steps(tmp_path):
    spec = "mobilenet_v2:width_mult=0.35"
    classes, weights = state_of(spec)
    x = [(29 * i % 97 - 48) / 32 for i in range(4 * 3 * 32 * 32)]
    batch = {"x": ("F32", [4, 3, 32, 32], x), "y": ("I64", [4], [0, 1, 0, 1])}
    found = [
        gradients(tmp_path, weights, batch, "--train-steps", 1, classes=classes,
                  model=f"{spec},dropout={rate}")
        for rate in ("0", "0.5")
    ]  # fmt: skip
    assert "after.classifier.1.weight" in found[0]
    assert found[0] == found[1]
