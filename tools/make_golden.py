#!/usr/bin/env python3
"""Writes tests/golden/nn/{ops,models,optimizers}.golden: what PyTorch computes in float64.

    python3 tools/make_golden.py        (needs torch; the tests do not)

Weights, inputs and labels come from a seeded hash that tests/unit/engine/fixture.c
has too, so a file holds results only: per tensor its size, norm, 16 projections on
hashed directions and 8 values, as hexadecimal floats. docs/numerics.md explains
the tolerances.
"""

import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20260101
VERSION = 1
MASK = (1 << 64) - 1
N_PROJECTIONS, N_VALUES = 16, 8
# Exact in binary, so that float and double agree on them.
LR, MOMENTUM, WEIGHT_DECAY, STEPS = 0.0625, 0.875, 0.0009765625, 3


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def hash_bits(name, n):
    """n 64-bit words: splitmix64 from a start that seed and name choose."""
    start = np.uint64(SEED ^ fnv1a(name))
    with np.errstate(over="ignore"):
        z = start + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_values(name, n):
    """n values in [-1, 1), multiples of 2^-23: exact in float."""
    return (hash_bits(name, n) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0


def hash_tensor(name, shape, scale=1.0):
    values = hash_values(name, math.prod(shape)) * scale
    return torch.from_numpy(values).reshape(tuple(shape))


def weight_scale(fan_in):
    """The largest 2^-k that is at most 1/sqrt(fan_in)."""
    k = 0
    while 4**k < fan_in:
        k += 1
    return 2.0**-k


def hash_labels(n, n_classes):
    bits = hash_bits("labels", n) >> np.uint64(33)
    return torch.from_numpy((bits % np.uint64(n_classes)).astype(np.int64))


class File:
    def __init__(self, name):
        self.path = pathlib.Path(__file__).parent.parent / "tests/golden/nn" / name
        self.lines = [f"cygnet-golden {VERSION} {SEED}"]

    def case(self, kind, spec, params):
        self.lines.append(" ".join(["case", kind, spec, str(len(params)), *map(str, params)]))

    def tensor(self, name, t):
        v = t.detach().numpy().astype(np.float64).ravel()
        n = len(v)
        row = [math.sqrt(math.fsum(v * v))]
        row += [math.fsum(v * hash_values(f"projection {p}", n)) for p in range(N_PROJECTIONS)]
        row += [v[i * n // N_VALUES] for i in range(N_VALUES)]
        self.lines.append(" ".join(["tensor", name, str(n), *(float(x).hex() for x in row)]))

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([*self.lines, "end"]) + "\n")


def leaf(name, shape, scale=1.0):
    return hash_tensor(name, shape, scale).requires_grad_()


def run_op(file, leaves, y):
    """Gradients for the output gradient "dy"."""
    y.backward(hash_tensor("dy", y.shape))
    file.tensor("y", y)
    for name, t in leaves.items():
        file.tensor("d" + name, t.grad)


def linear_case(file, n, n_in, n_out):
    file.case("linear", "-", [n, n_in, n_out])
    s = weight_scale(n_in)
    t = {"x": leaf("x", (n, n_in)), "w": leaf("op.weight", (n_out, n_in), s), "b": leaf("op.bias", (n_out,), s)}
    run_op(file, t, F.linear(t["x"], t["w"], t["b"]))


def conv_case(file, n, c_in, h, w, c_out, kernel, stride, pad, dilation, groups):
    file.case("conv2d", "-", [n, c_in, h, w, c_out, *kernel, *stride, *pad, *dilation, groups])
    s = weight_scale(c_in // groups * kernel[0] * kernel[1])
    t = {
        "x": leaf("x", (n, c_in, h, w)),
        "w": leaf("op.weight", (c_out, c_in // groups, *kernel), s),
        "b": leaf("op.bias", (c_out,), s),
    }
    run_op(file, t, F.conv2d(t["x"], t["w"], t["b"], stride, pad, dilation, groups))


def pool_case(file, n, c, h, w, kernel, stride, pad):
    file.case("max_pool2d", "-", [n, c, h, w, *kernel, *stride, *pad])
    t = {"x": leaf("x", (n, c, h, w))}
    run_op(file, t, F.max_pool2d(t["x"], kernel, stride, pad))


def relu_case(file, n, elements):
    file.case("relu", "-", [n, elements])
    t = {"x": leaf("x", (n, elements))}
    run_op(file, t, F.relu(t["x"]))


def around(name, n, centre):
    """For tensors that begin as a constant: hashed around it."""
    return hash_tensor(name, (n,), 0.5) + centre


def batch_norm_case(file, n, c, h, w):
    file.case("batch_norm2d", "-", [n, c, h, w])
    mean, var = around("op.running_mean", c, 0), around("op.running_var", c, 1)
    t = {
        "x": leaf("x", (n, c, h, w)),
        "w": around("op.weight", c, 1).requires_grad_(),
        "b": around("op.bias", c, 0).requires_grad_(),
    }
    run_op(file, t, F.batch_norm(t["x"], mean, var, t["w"], t["b"], training=True))
    file.tensor("running_mean", mean)
    file.tensor("running_var", var)
    file.tensor("eval", F.batch_norm(t["x"], mean, var, t["w"], t["b"]))


def relu6_case(file, n, elements):
    file.case("relu6", "-", [n, elements])
    t = {"x": leaf("x", (n, elements), 8)}
    run_op(file, t, F.relu6(t["x"]))


def avg_pool_case(file, n, c, h, w, size):
    file.case("avg_pool2d", "-", [n, c, h, w, *size])
    t = {"x": leaf("x", (n, c, h, w))}
    run_op(file, t, F.adaptive_avg_pool2d(t["x"], size))


def cross_entropy_case(file, n, n_classes, scale):
    file.case("cross_entropy", "-", [n, n_classes, scale])
    x = leaf("x", (n, n_classes), scale)
    losses = F.cross_entropy(x, hash_labels(n, n_classes), reduction="none")
    losses.mean().backward()
    file.tensor("y", losses)
    file.tensor("dx", x.grad)


def make_ops():
    file = File("ops.golden")
    linear_case(file, 1, 1, 1)
    linear_case(file, 7, 33, 5)
    linear_case(file, 67, 131, 47)
    linear_case(file, 32, 784, 200)
    conv_case(file, 1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0), (1, 1), 1)
    conv_case(file, 3, 1, 28, 28, 6, (5, 5), (1, 1), (2, 2), (1, 1), 1)
    conv_case(file, 11, 6, 14, 14, 16, (5, 5), (1, 1), (0, 0), (1, 1), 1)
    conv_case(file, 2, 3, 9, 7, 4, (3, 2), (2, 3), (1, 0), (1, 1), 1)
    conv_case(file, 2, 4, 11, 13, 6, (3, 3), (1, 2), (2, 1), (2, 3), 2)
    conv_case(file, 9, 5, 6, 8, 5, (3, 3), (1, 1), (1, 1), (1, 1), 5)
    conv_case(file, 4, 7, 5, 3, 9, (1, 1), (1, 1), (0, 0), (1, 1), 1)
    conv_case(file, 2, 3, 8, 8, 2, (1, 1), (2, 2), (0, 0), (1, 1), 1)
    conv_case(file, 2, 2, 3, 3, 3, (5, 5), (1, 1), (4, 3), (1, 1), 1)
    pool_case(file, 3, 2, 8, 8, (2, 2), (2, 2), (0, 0))
    pool_case(file, 2, 3, 9, 7, (3, 2), (2, 1), (1, 1))
    pool_case(file, 2, 1, 5, 6, (3, 3), (1, 1), (1, 1))
    relu_case(file, 5, 1237)
    cross_entropy_case(file, 9, 10, 1)
    cross_entropy_case(file, 65, 3, 64)
    cross_entropy_case(file, 4, 1, 1)
    batch_norm_case(file, 2, 1, 1, 1)
    batch_norm_case(file, 1, 3, 5, 7)
    batch_norm_case(file, 9, 17, 3, 3)
    batch_norm_case(file, 13, 131, 1, 1)
    batch_norm_case(file, 5, 6, 33, 15)
    relu6_case(file, 5, 1237)
    avg_pool_case(file, 3, 5, 7, 9, (1, 1))
    avg_pool_case(file, 2, 3, 5, 8, (3, 5))
    avg_pool_case(file, 2, 3, 2, 3, (3, 4))
    conv_case(file, 3, 7, 9, 11, 7, (3, 3), (2, 2), (1, 1), (1, 1), 7)
    conv_case(file, 2, 18, 21, 35, 18, (3, 3), (1, 1), (1, 1), (1, 1), 18)
    conv_case(file, 2, 5, 9, 8, 5, (5, 3), (2, 1), (2, 3), (1, 2), 5)
    conv_case(file, 2, 4, 1, 1, 4, (3, 3), (1, 1), (1, 1), (1, 1), 4)
    # Winograd's: tiles over the edge, few and many of them, more inputs than are summed at once
    conv_case(file, 3, 16, 4, 4, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 2, 19, 9, 11, 37, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 1, 33, 8, 8, 16, (3, 3), (1, 1), (0, 0), (1, 1), 1)
    conv_case(file, 11, 20, 7, 5, 17, (3, 3), (1, 1), (2, 2), (1, 1), 1)
    conv_case(file, 2, 48, 17, 30, 70, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 3, 32, 28, 20, 32, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 33, 144, 4, 6, 33, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 5, 33, 6, 4, 272, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    conv_case(file, 1, 64, 41, 41, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    file.write()


class Model:
    """Parameters by name in state_dict order; forward as in docs/models.md."""

    def __init__(self):
        self.weights = {}

    def layer(self, name, shape):
        fan_in = math.prod(shape[1:])
        for key, size in ((name + ".weight", shape), (name + ".bias", shape[:1])):
            self.weights.setdefault(key, leaf(key, size, weight_scale(fan_in)))
        return self.weights[name + ".weight"], self.weights[name + ".bias"]

    def linear(self, name, x, n_out):
        x = x.flatten(1)
        return F.linear(x, *self.layer(name, (n_out, x.shape[1])))

    def block(self, name, x, c_out, pad):
        x = F.conv2d(x, *self.layer(name, (c_out, x.shape[1], 5, 5)), padding=pad)
        return F.max_pool2d(F.relu(x), 2)


def logistic(m, x, n_classes):
    return m.linear("linear", x, n_classes)


def mlp(hidden, layers):
    def forward(m, x, n_classes):
        for i in range(layers):
            x = F.relu(m.linear(f"fc{i + 1}", x, hidden))
        return m.linear(f"fc{layers + 1}", x, n_classes)

    return forward


def lenet5(m, x, n_classes):
    x = m.block("conv1", x, 6, 2 if min(x.shape[2:]) < 32 else 0)
    x = m.block("conv2", x, 16, 0)
    x = F.relu(m.linear("fc1", x, 120))
    x = F.relu(m.linear("fc2", x, 84))
    return m.linear("fc3", x, n_classes)


def mcmahan_cnn(m, x, n_classes):
    x = m.block("conv1", x, 32, 2)
    x = m.block("conv2", x, 64, 2)
    return m.linear("fc2", F.relu(m.linear("fc1", x, 512)), n_classes)


def model_case(file, spec, forward, n, n_classes, shape):
    file.case("model", spec, [n, n_classes, *shape])
    m = Model()
    x, y = hash_tensor("x", (n, *shape)), hash_labels(n, n_classes)
    forward(m, x, n_classes)  # makes the weights
    optimiser = torch.optim.SGD(m.weights.values(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = F.cross_entropy(forward(m, x, n_classes), y)
        loss.backward()
        losses.append(loss.detach().reshape(1))
        for name, w in m.weights.items():
            if step == 0:
                file.tensor("grad:" + name, w.grad)
        optimiser.step()
    for name, w in m.weights.items():
        file.tensor("weight:" + name, w)
    file.tensor("losses", torch.cat(losses))


def make_models():
    file = File("models.golden")
    model_case(file, "logistic", logistic, 5, 10, (1, 28, 28))
    model_case(file, "logistic", logistic, 3, 4, (13,))
    model_case(file, "mlp", mlp(200, 1), 7, 10, (1, 28, 28))
    model_case(file, "mlp:hidden=30,layers=2", mlp(30, 2), 6, 7, (3, 5, 4))
    model_case(file, "lenet5", lenet5, 10, 10, (1, 28, 28))
    model_case(file, "lenet5", lenet5, 3, 5, (3, 32, 32))
    model_case(file, "mcmahan_cnn", mcmahan_cnn, 3, 10, (1, 16, 16))
    model_case(file, "mcmahan_cnn", mcmahan_cnn, 4, 6, (2, 11, 13))
    file.write()


# Settings travel as whole numbers of this, so that both sides have the same double.
UNIT = 2.0**-30
# As cygnet_optimizer_kind and cygnet_schedule_kind.
SGD, PLAIN_SGD, ADAM, ADAMW = range(4)
COSINE, STEP = 1, 2


def make_optimizer(weights, kind, s):
    settings = {"lr": s["lr"], "weight_decay": s["decay"]}
    if kind in (SGD, PLAIN_SGD):
        return torch.optim.SGD(weights, momentum=s["momentum"], nesterov=bool(s["nesterov"]), **settings)
    make = torch.optim.AdamW if kind == ADAMW else torch.optim.Adam
    return make(weights, betas=(s["beta1"], s["beta2"]), eps=s["eps"], **settings)


def optimizer_case(file, kind, **given):
    """Steps on one batch; an mlp with 7 hidden units. The proximal term pulls to the first weights."""
    n, n_classes, shape, n_steps = 6, 5, (2, 3, 3), 4
    s = {"lr": 1 / 16, "momentum": 0, "nesterov": 0, "decay": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
         "max_norm": 0, "mu": 0, "smoothing": 0, **given}
    units = {key: round(value / UNIT) for key, value in s.items()}
    s = {key: value * UNIT for key, value in units.items()}
    file.case("optimizer", "mlp:hidden=7", [kind, n, n_classes, *shape, n_steps, *units.values()])
    m, forward = Model(), mlp(7, 1)
    x, y = hash_tensor("x", (n, *shape)), hash_labels(n, n_classes)
    forward(m, x, n_classes)  # makes the weights
    weights = list(m.weights.values())
    first = [w.detach().clone() for w in weights]
    optimizer = make_optimizer(weights, kind, s)
    losses, norms = [], []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(m, x, n_classes), y, label_smoothing=s["smoothing"])
        losses.append(loss.detach().reshape(1))
        pull = sum(((w - w0) ** 2).sum() for w, w0 in zip(weights, first))
        (loss + s["mu"] / 2 * pull).backward()
        if s["max_norm"] > 0:
            norms.append(torch.nn.utils.clip_grad_norm_(weights, s["max_norm"]).reshape(1))
        optimizer.step()
    for name, w in m.weights.items():
        file.tensor(name, w)
    file.tensor("losses", torch.cat(losses))
    if norms:
        file.tensor("norms", torch.cat(norms))


def schedule_case(file, kind, warmup, total, step_size):
    """Learning rates of steps 0 to total, both included."""
    lr, min_lr, gamma = 0.75, 0.0625, 0.625  # exact in binary
    units = [round(value / UNIT) for value in (lr, min_lr, gamma)]
    file.case("schedule", "-", [kind, *units, warmup, total, step_size])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    if kind == COSINE:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warmup, min_lr)
    else:
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size, gamma)
    if warmup:
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1, warmup)
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, schedule], [warmup])
    rates = []
    for _ in range(total + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    file.tensor("lr", torch.tensor(rates, dtype=torch.float64))


def make_optimizers():
    file = File("optimizers.golden")
    optimizer_case(file, PLAIN_SGD, decay=1e-3)
    optimizer_case(file, SGD, momentum=0.9, decay=1e-3)
    optimizer_case(file, SGD, momentum=0.9, decay=1e-3, nesterov=1)
    optimizer_case(file, ADAM, lr=1e-2)
    optimizer_case(file, ADAM, lr=1e-2, decay=1e-2)
    optimizer_case(file, ADAM, lr=1e-2, beta1=0.25, beta2=0.5, eps=1e-3)
    optimizer_case(file, ADAMW, lr=1e-2, decay=0.5)
    optimizer_case(file, SGD, momentum=0.9, max_norm=0.25)
    optimizer_case(file, ADAMW, lr=1e-2, decay=1e-2, max_norm=0.32, smoothing=0.25)
    optimizer_case(file, PLAIN_SGD, smoothing=0.1)
    optimizer_case(file, SGD, momentum=0.5, mu=2)
    optimizer_case(file, SGD, momentum=0.5, decay=1e-2, mu=2, max_norm=0.25)
    schedule_case(file, COSINE, 0, 10, 1)
    schedule_case(file, COSINE, 4, 17, 1)
    schedule_case(file, STEP, 0, 10, 3)
    schedule_case(file, STEP, 5, 20, 4)
    file.write()


if __name__ == "__main__":
    make_ops()
    make_models()
    make_optimizers()
