#!/usr/bin/env python3
"""Writes tests/golden/models/*.safetensors: what PyTorch makes of whole models.

    python3 tools/make_model_golden.py [NAME]...    (needs torch; the tests do not)

Weights, inputs and labels come from the seeded hash of make_golden.py, which
tests/unit/engine has too, so a file holds results only. Three cases a model:

smooth  no kinks (act=silu): gradients in float64
real    the real activations: gradients in float64
steps   the real activations: the state after three steps of SGD in float64

A row of CASE.tensors is one tensor of CASE.names: its norm, 16 projections on
hashed signs, 8 values; of gradients also the relative error that PyTorch itself
makes in float32. CASE.loss holds the exact losses of the steps, or the exact loss and
the relative error of PyTorch's. Metadata says what was run. docs/numerics.md explains
the bounds.

A batch proves something only where the last bit decides nothing. PyTorch in float32
is run on the batch and on copies of it that differ in last bits: each of them has to
keep the bounds. The first of the streams x, x 1, x 2, ... where they do is taken. The
error of the loss is the worst of these runs.
"""

import copy
import json
import math
import pathlib
import statistics
import struct
import sys
from dataclasses import dataclass

import numpy as np
import torch

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "reference"))

import torch_zoo
from make_golden import SEED, hash_bits, hash_labels, hash_values

MAGIC, VERSION = "cygnet-model-golden", "1"
N_PROJECTIONS, N_VALUES = 16, 8
# Exact in binary, so that float and double agree on them.
LR, MOMENTUM, WEIGHT_DECAY, STEPS = 0.0009765625, 0.875, 0.0009765625, 3
SMOOTH_BOUND, STEPS_BOUND, NEGLIGIBLE = 3e-4, 1e-9, 1e-6
# What PyTorch has to keep of the bounds, so that others can keep them.
SHARE, MEDIAN_RATIO, N_DRAWS, MAX_STREAMS = 0.6, 1.5, 4, 200


@dataclass(frozen=True)
class Row:
    """smooth: the specification without kinks. shapes and batches are those of smooth,
    real and steps. The reference kernels are slow, so steps are of small images.
    Batch norm over few values amplifies rounding: who has much of it gets larger
    batches.

    streams  where the search for a batch begins"""

    name: str
    spec: str
    smooth: str
    shapes: tuple
    batches: tuple = (6, 5, 6)
    streams: tuple = (0, 0, 0)
    n_classes: int = 10


@dataclass
class Case:
    kind: str
    spec: str
    shape: tuple
    n: int
    n_classes: int
    stream: int


def image_row(name, spec, **more):
    smooth = spec + ("," if ":" in spec else ":") + "act=silu"
    return Row(name, spec, smooth, ((3, 32, 32), (3, 48, 40), (3, 20, 16)), **more)


WIDE = (12, 5, 12)
DIGITS = (1, 28, 28)
ROWS = (
    Row("logistic", "logistic", "logistic", (DIGITS, (13,), DIGITS)),
    Row("mlp", "mlp", "mlp:act=silu", (DIGITS, (3, 5, 4), DIGITS)),
    Row("mlp_2", "mlp:hidden=30,layers=2", "mlp:hidden=30,layers=2,act=silu",
        (DIGITS, (3, 5, 4), DIGITS)),
    Row("lenet5", "lenet5", "lenet5:act=silu", (DIGITS, (3, 35, 32), DIGITS)),
    Row("mcmahan_cnn", "mcmahan_cnn", "mcmahan_cnn:act=silu",
        (DIGITS, (2, 11, 13), (1, 16, 14))),
    image_row("resnet18", "resnet18"),
    image_row("resnet34", "resnet34", streams=(0, 20, 0)),
    image_row("resnet50", "resnet50", batches=WIDE, streams=(0, 1, 0)),
    image_row("mobilenet_v2", "mobilenet_v2:dropout=0", batches=WIDE),
    image_row("mobilenet_v2_half", "mobilenet_v2:width_mult=0.5,dropout=0", batches=WIDE,
              streams=(0, 2, 0)),
    image_row("mobilenet_v3_small", "mobilenet_v3_small:dropout=0", batches=WIDE),
    image_row("shufflenet_v2_x0_5", "shufflenet_v2_x0_5", batches=WIDE),
    image_row("shufflenet_v2_x1_0", "shufflenet_v2_x1_0", batches=WIDE),
    image_row("shufflenet_v2_x2_0", "shufflenet_v2_x2_0", batches=WIDE),
    Row("squeezenet1_1", "squeezenet1_1:dropout=0", "squeezenet1_1:dropout=0,act=silu",
        ((3, 32, 32), (3, 48, 40), (3, 32, 32))),
    Row("ds_cnn", "ds_cnn", "ds_cnn:act=silu", ((1, 49, 10), (1, 25, 13), (1, 49, 10)), n_classes=12),
)  # fmt: skip


# ---- Weights and batches from the hash -------------------------------------------


def weight(name, shape):
    """A function of name and shape alone, as in tests/unit/engine: filters uniform
    with variance 2/fan_in, matrices on +-1/sqrt(fan_in), scales and variances around
    1, the rest around 0; rounded to float32."""
    u = hash_values(name, math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        u = u * math.sqrt((6 if len(shape) > 2 else 1) / math.prod(shape[1:]))
    elif name.endswith((".weight", ".running_var")):
        u = 1 + 0.25 * u
    else:
        u = 0.125 * u
    return torch.from_numpy(u.astype(np.float32))


def make_net(spec, shape, n_classes):
    net = torch_zoo.without_dropout(torch_zoo.build(spec, shape, n_classes))
    state = net.state_dict()
    for name, t in state.items():
        if t.dtype == torch.float32:
            state[name] = weight(name, tuple(t.shape))
    net.load_state_dict(state)
    return net


def make_batch(case):
    name = f"x {case.stream}" if case.stream else "x"
    x = hash_values(name, case.n * math.prod(case.shape)).astype(np.float32)
    x = torch.from_numpy(x.reshape((case.n, *case.shape)))
    return x, hash_labels(case.n, case.n_classes)


def last_bits(x, draw):
    """x with each value moved by one in the last place, up or down."""
    up = hash_bits(f"draw {draw}", x.numel()) >> np.uint64(63) == 1
    limit = np.where(up, np.float32(2), np.float32(-2)).reshape(x.shape)
    return torch.from_numpy(np.nextafter(x.numpy(), limit))


# ---- Results ------------------------------------------------------------------------


def summary(t):
    """Norm, projections on hashed signs, values."""
    v = t.detach().numpy().astype(np.float64).ravel()
    bits = hash_bits("projection", len(v))
    row = [math.sqrt(math.fsum(v * v))]
    for p in range(N_PROJECTIONS):
        signs = (bits >> np.uint64(63 - p) & np.uint64(1)).astype(np.float64)
        row.append(math.fsum(v * (2 * signs - 1)))
    return row + [v[i * len(v) // N_VALUES] for i in range(N_VALUES)]


def gradients(net, x, y):
    """(loss, {name: gradient})"""
    net = copy.deepcopy(net)
    loss = torch_zoo.loss(net, x, y)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in net.named_parameters()}


def relative_error(single, exact):
    norm = exact.norm().item()
    return (single.double() - exact).norm().item() / norm if norm else 0.0


def counts(exact):
    """The tensors that are not rounding alone."""
    everything = math.sqrt(sum(t.norm().item() ** 2 for t in exact.values()))
    return [n for n, t in exact.items() if t.norm().item() > NEGLIGIBLE * everything]


class Errors:
    """Of one run in float32."""

    def __init__(self, net, x, y, loss, exact):
        single_loss, single = gradients(net, x, y)
        self.loss = abs(single_loss / loss - 1)
        self.of = {name: relative_error(single[name], t) for name, t in exact.items()}
        kept = [self.of[name] for name in counts(exact)]
        self.worst, self.median = max(kept), statistics.median(kept)

    def __str__(self):
        return f"worst {self.worst:.1e}, median {self.median:.1e}, loss {self.loss:.1e}"


def holds(case, errors, first):
    if case.kind == "smooth":
        return errors.worst <= SHARE * SMOOTH_BOUND
    return errors.median <= MEDIAN_RATIO * first.median


def try_gradients(case, net):
    """(loss, gradients, PyTorch's errors on the batch, its worst one of the loss), or
    None when a last bit decides."""
    x, y = make_batch(case)
    loss, exact = gradients(copy.deepcopy(net).double(), x.double(), y)
    first = Errors(net, x, y, loss, exact)
    worst = first.loss
    if not holds(case, first, first):
        return None
    for draw in range(N_DRAWS):
        errors = Errors(net, last_bits(x, draw), y, loss, exact)
        worst = max(worst, errors.loss)
        if not holds(case, errors, first):
            return None
    return loss, exact, first, worst


def gradient_case(golden, case):
    net = make_net(case.spec, case.shape, case.n_classes)
    found = None
    while not found and case.stream < MAX_STREAMS:
        found = try_gradients(case, net)
        case.stream += not found
    if not found:
        raise ValueError(f"{case.spec}: rounding decides on {MAX_STREAMS} batches")
    loss, exact, errors, worst_loss = found
    print(f"  {case.kind:6} stream {case.stream}, PyTorch in float32: {errors} to "
          f"{worst_loss:.1e}; "
          f"{len(exact) - len(counts(exact))} negligible", flush=True)  # fmt: skip
    golden.describe(case)
    rows = {name: [*summary(t), errors.of[name]] for name, t in exact.items()}
    golden.add(case.kind, rows, [loss, worst_loss])


def train(net, x, y):
    """(losses, state without counters)"""
    net = copy.deepcopy(net).double()
    optimiser = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM,
                                weight_decay=WEIGHT_DECAY)  # fmt: skip
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = torch_zoo.loss(net, x, y)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    state = net.state_dict()
    return losses, {k: t for k, t in state.items() if t.dtype == torch.float64}


def steps_case(golden, case):
    net = make_net(case.spec, case.shape, case.n_classes)
    x, y = make_batch(case)
    losses, state = train(net, x.double(), y)
    _, moved = train(net, x.double() * (1 + 2.0**-50), y)
    worst = max(relative_error(moved[name], t) for name, t in state.items())
    print(f"  steps  moved by {worst:.1e} when x is by 9e-16", flush=True)
    if worst > STEPS_BOUND / 10:
        raise ValueError(f"{case.spec}: three steps amplify rounding to {worst:.1e}")
    golden.describe(case)
    golden.add(case.kind, {name: summary(t) for name, t in state.items()}, losses)


class Golden:
    """A safetensors file."""

    def __init__(self):
        self.metadata = {
            "magic": MAGIC, "version": VERSION, "seed": str(SEED),
            "generator": "tools/make_model_golden.py", "torch": torch.__version__,
        }  # fmt: skip
        self.tensors = {}

    def describe(self, case):
        self.metadata[case.kind + ".spec"] = case.spec
        self.metadata[case.kind + ".input"] = "x".join(map(str, case.shape))
        self.metadata[case.kind + ".batch"] = str(case.n)
        self.metadata[case.kind + ".classes"] = str(case.n_classes)
        self.metadata[case.kind + ".stream"] = str(case.stream)

    def add(self, case, rows, losses):
        names = "\n".join(rows) + "\n"
        self.tensors[case + ".names"] = np.frombuffer(names.encode(), np.uint8)
        self.tensors[case + ".tensors"] = np.array(list(rows.values()), "<f8")
        self.tensors[case + ".loss"] = np.array(losses, "<f8")

    def write(self, path):
        header, blobs, at = {"__metadata__": self.metadata}, [], 0
        ordered = sorted(self.tensors.items(), key=lambda item: -item[1].itemsize)
        for name, array in ordered:
            blob = array.tobytes()
            dtype = "U8" if array.itemsize == 1 else "F64"
            header[name] = {"dtype": dtype, "shape": array.shape,
                            "data_offsets": [at, at + len(blob)]}  # fmt: skip
            blobs.append(blob)
            at += len(blob)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def make(row):
    print(row.name)
    golden = Golden()

    def case(i, kind, spec):
        return Case(kind, spec, row.shapes[i], row.batches[i], row.n_classes,
                    row.streams[i])  # fmt: skip

    gradient_case(golden, case(0, "smooth", row.smooth))
    gradient_case(golden, case(1, "real", row.spec))
    steps_case(golden, case(2, "steps", row.spec))
    golden.write(TOP / "tests" / "golden" / "models" / (row.name + ".safetensors"))


def main():
    torch.set_num_threads(1)
    names = sys.argv[1:] or [row.name for row in ROWS]
    unknown = set(names) - {row.name for row in ROWS}
    if unknown:
        print(f"make_model_golden: no row {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    for row in ROWS:
        if row.name in names:
            make(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
