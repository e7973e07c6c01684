#!/usr/bin/env python3
"""The same training step as `cygnet-bench step`, in PyTorch: one JSON object.

    pytorch_step.py --model lenet5 --input 1x28x28 --batch 32 --threads 1

The same layers (tests/reference/torch_zoo.py) in training mode, the same optimiser,
kind of data and way of counting (docs/performance.md). Exit status: 0 done, 1 no
such model or not with this input, 2 a bad command line, 77 skipped because there is
no torch.
"""

import argparse
import inspect
import json
import os
import pathlib
import resource
import sys
import time

N_WARM_UP = 3  # as in step.c
MAX_WAIT_SHARE, MIN_KEPT = 0.02, 5  # as in measure.c
SKIP = 77
TUNING = ("OPENBLAS_", "OMP_", "MKL_")
REFERENCE = pathlib.Path(__file__).resolve().parent.parent / "reference"


def status_mb(key):
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024e-6
    return 0.0


def waited_ns():
    """How long threads of this process were ready while others had their cores."""
    total = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError):
            continue
    return total


def quantile(ordered, q):
    at = q * (len(ordered) - 1)
    low, high = int(at), min(int(at) + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def spread(samples):
    """Quartiles in ms of the (wall, waited) pairs that were not contended."""
    kept = [wall for wall, waited in samples if waited <= MAX_WAIT_SHARE * wall]
    dropped = len(samples) - len(kept)
    contended = dropped > 0 and len(kept) < MIN_KEPT
    if contended:
        kept, dropped = [wall for wall, _ in samples], 0
    low, median, high = (quantile(sorted(kept), q) * 1e-6 for q in (0.25, 0.5, 0.75))
    return {"ms_per_step": median, "ms_quartile_1": low, "ms_quartile_3": high,
            "dropped": dropped, "contended": contended}  # fmt: skip


def set_threads(torch, n_threads):
    """Once in a process, before anything runs."""
    torch.set_num_threads(n_threads)
    torch.set_num_interop_threads(1)


def optimiser_of(torch, wanted):
    """The way of SGD wanted or, where this PyTorch is too old for it, the next best."""
    ways = ["fused", "foreach", "loop"]
    known = inspect.signature(torch.optim.SGD.__init__).parameters
    return next(w for w in ways[ways.index(wanted) :] if w == "loop" or w in known)


class Case:
    def __init__(self, torch, torch_zoo, options):
        torch.manual_seed(options.seed)
        self.net = torch_zoo.build(options.model, options.input, options.classes)
        self.net.train()
        self.x = torch_zoo.inputs(self.net, options.batch, options.input)
        self.y = torch.randint(options.classes, (options.batch,))
        if options.layout == "channels_last" and self.x.dim() == 4:
            self.net = self.net.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.how = optimiser_of(torch, options.optimiser)
        self.optimiser = torch.optim.SGD(
            self.net.parameters(), lr=options.lr, momentum=0.9, weight_decay=0.0005,
            **{self.how: True} if self.how != "loop" else {},
        )  # fmt: skip
        self.loss = torch_zoo.loss

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.net, self.x, self.y)
        loss.backward()
        self.optimiser.step()
        return loss

    def measured_step(self):
        """((wall, waited, cpu) in ns, page faults, loss)"""
        waited = waited_ns()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        cpu, start = time.process_time_ns(), time.perf_counter_ns()
        loss = self.step()
        wall, cpu = time.perf_counter_ns() - start, time.process_time_ns() - cpu
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        return wall, waited_ns() - waited, cpu, faults, loss.item()


def measure(torch, torch_zoo, options):
    idle = status_mb("VmRSS")
    set_threads(torch, options.threads)
    case = Case(torch, torch_zoo, options)
    first = [case.measured_step() for _ in range(N_WARM_UP)][0]
    steps = [case.measured_step() for _ in range(options.steps)]
    peak = status_mb("VmHWM")
    times = spread([(wall, waited) for wall, waited, *_ in steps])
    return {
        "engine": f"pytorch {torch.__version__}",
        "layout": options.layout,
        "optimiser": case.how,
        "model": options.model,
        "input": "x".join(map(str, options.input)),
        "classes": options.classes,
        "batch": options.batch,
        "threads": options.threads,
        "steps": options.steps,
        **times,
        "first_step_ms": first[0] * 1e-6,
        "cpu_ms_per_step": sum(step[2] for step in steps) * 1e-6 / len(steps),
        "samples_per_s": options.batch / (times["ms_per_step"] * 1e-3),
        "peak_rss_mb": peak,
        "idle_rss_mb": idle,
        "page_faults_per_step": sum(step[3] for step in steps) / len(steps),
        "loss_first": first[4],
        "loss_last": steps[-1][4],
    }


def default_classes(model):
    """What the models were published with, as in step.c."""
    name = model.partition(":")[0]
    small = {"logistic": 10, "mlp": 10, "lenet5": 10, "mcmahan_cnn": 10,
             "mcmahan_cifar_cnn": 10, "ds_cnn": 12}  # fmt: skip
    return small.get(name, 1000)


def shape(text):
    dims = tuple(int(part) for part in text.split("x"))
    if len(dims) not in (1, 3) or min(dims) < 1:
        raise ValueError(text)
    return dims


def count(text):
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def parse(argv):
    parser = argparse.ArgumentParser(description="A training step in PyTorch.")
    parser.add_argument("--model", required=True, help="of the zoo, with arguments")
    parser.add_argument("--input", type=shape, default=(1, 28, 28), metavar="CxHxW")
    parser.add_argument("--batch", type=count, default=16)
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--steps", type=count, default=100)
    parser.add_argument("--classes", type=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--layout", choices=("nchw", "channels_last"), default="nchw")
    parser.add_argument("--optimiser", choices=("fused", "foreach", "loop"),
                        default="fused")  # fmt: skip
    options = parser.parse_args(argv)
    options.classes = options.classes or default_classes(options.model)
    return options


def main():
    options = parse(sys.argv[1:])
    if any(name.startswith(TUNING) for name in os.environ):
        env = {k: v for k, v in os.environ.items() if not k.startswith(TUNING)}
        os.execve(sys.executable, [sys.executable, *sys.argv], env)
    sys.path.insert(0, str(REFERENCE))
    try:
        import torch
        import torch_zoo
    except ImportError:
        print("skip: python3 torch is not installed")
        return SKIP
    try:
        print(json.dumps(measure(torch, torch_zoo, options)))
    except (KeyError, RuntimeError, ValueError) as error:
        print(f"pytorch_step: {options.model}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
