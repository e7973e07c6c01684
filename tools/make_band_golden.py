#!/usr/bin/env python3
"""Writes tests/golden/nn/bands.golden: where 100 steps in PyTorch end, seed by seed.

    python3 tools/make_band_golden.py        (needs torch; the tests do not)

A case is a model of tests/reference/torch_zoo.py that learns a synthetic task in
float64, once per seed of its initial weights and of the order of its batches. A class
of the task is a pattern of 4x4 fields from the seeded hash of make_golden.py, an
example the pattern of its class and noise; training and held-out examples are the
same for all seeds, and for tests/unit/engine/test_band.c. A line per run:

    run TRAIN_LOSS HELD_OUT_LOSS HELD_OUT_ERRORS

the mean of the last 10 losses in training, and the evaluation after the last step.
docs/numerics.md says what the test makes of it.
"""

import math
import pathlib
import statistics
import sys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "reference"))

import torch_zoo
from make_golden import UNIT, File, hash_labels, hash_values

N_RUNS, N_STEPS, N_LAST = 64, 100, 10
N_TRAIN, N_HELD_OUT, N_FIELDS = 320, 240, 4


def exact(value):
    """The multiple of UNIT next to it, so that both sides have the same double."""
    return round(value / UNIT) * UNIT


@dataclass(frozen=True)
class Task:
    """contrast: of the patterns; the noise is uniform in [-1, 1)."""

    spec: str
    shape: tuple
    n_classes: int
    batch: int
    contrast: float
    lr: float
    momentum: float = exact(0.9)
    decay: float = exact(0.01)

    def params(self):
        sizes = [N_RUNS, N_STEPS, N_LAST, N_TRAIN, N_HELD_OUT]
        settings = [self.contrast, self.lr, self.momentum, self.decay]
        return [*sizes, self.batch, self.n_classes, *self.shape,
                *(round(s / UNIT) for s in settings)]  # fmt: skip


TASKS = (
    Task("mlp:hidden=32", (1, 8, 8), 10, 16, 0.5, exact(0.02)),
    Task("lenet5", (1, 12, 12), 4, 16, 0.375, exact(0.05)),
    Task("ds_cnn:channels=32,layers=2", (1, 12, 12), 10, 16, 1.0, exact(0.02)),
)


def examples(task):
    c, h, w = task.shape
    n = N_TRAIN + N_HELD_OUT
    fields = hash_values("patterns", task.n_classes * c * N_FIELDS**2)
    fields = fields.reshape(task.n_classes, c, N_FIELDS, N_FIELDS)
    rows, columns = np.arange(h) * N_FIELDS // h, np.arange(w) * N_FIELDS // w
    patterns = fields[:, :, rows][:, :, :, columns]
    y = hash_labels(n, task.n_classes)
    noise = hash_values("noise", n * c * h * w).reshape(n, c, h, w)
    x = (task.contrast * patterns[y.numpy()] + noise).astype(np.float32)
    return torch.from_numpy(x).double(), y


def run(task, x, y, seed):
    """(loss in training, held-out loss, held-out errors)"""
    torch.manual_seed(seed)
    net = torch_zoo.build(task.spec, task.shape, task.n_classes).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=task.lr, momentum=task.momentum,
                                weight_decay=task.decay)  # fmt: skip
    losses, per_epoch = [], N_TRAIN // task.batch
    for step in range(N_STEPS):
        at = step % per_epoch * task.batch
        if at == 0:
            order = torch.randperm(N_TRAIN)
        chosen = order[at : at + task.batch]
        optimizer.zero_grad()
        loss = torch_zoo.loss(net, x[chosen], y[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        logits, labels = net(x[N_TRAIN:]), y[N_TRAIN:]
    errors = (logits.argmax(1) != labels).sum().item()
    held_out = F.cross_entropy(logits, labels).item()
    return statistics.mean(losses[-N_LAST:]), held_out, errors


def spread(name, values):
    return f"{name} {statistics.mean(values):.3g} +- {statistics.stdev(values):.2g}"


def add_case(file, task):
    x, y = examples(task)
    runs = [run(task, x, y, seed) for seed in range(N_RUNS)]
    file.case("band", task.spec, task.params())
    file.lines += [f"run {train:.6g} {held_out:.6g} {errors}" for train, held_out, errors in runs]
    train, held_out, errors = zip(*runs)
    print(task.spec, spread("log train loss", list(map(math.log, train))),
          spread("log held-out loss", list(map(math.log, held_out))),
          spread("log errors", [math.log1p(e) for e in errors]), sep=", ", flush=True)  # fmt: skip


def main():
    torch.set_num_threads(1)
    file = File("bands.golden")
    for task in TASKS:
        add_case(file, task)
    file.write()


if __name__ == "__main__":
    main()
