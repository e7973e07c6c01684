#!/usr/bin/env python3
"""The training side of `cygnet-bench interference` in PyTorch: greedy, on all cores, in
the faster of its layouts, with its fused SGD and malloc's thresholds raised.

    pytorch_trainer.py --model mobilenet_v2 --input 3x32x32 --batch 16 [--idle]

Reads windows from standard input, FROM and UNTIL in milliseconds of the monotonic
clock; trains until UNTIL, then prints each step (`step END_MS STEP_MS CPU_S THREADS`)
and `done BATCH 0 0`. --idle: all its threads give way to everybody (SCHED_IDLE). Exit
status: 0 done, 1 no such model or not with this input, 2 a bad command line, 77 skipped
because there is no torch.
"""

import argparse
import os
import pathlib
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import pytorch_step

N_WARM_UP, N_TRIED = 3, 5
LAYOUTS = ("nchw", "channels_last")
MALLOC = {  # as in compare.py
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}


def parse(argv):
    parser = argparse.ArgumentParser(description="Training beside a foreground.")
    parser.add_argument("--model", required=True, help="of the zoo, with arguments")
    parser.add_argument("--input", type=pytorch_step.shape, default=(3, 32, 32))
    parser.add_argument("--batch", type=pytorch_step.count, default=16)
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args(argv)
    options.classes = pytorch_step.default_classes(options.model)
    options.threads = len(os.sched_getaffinity(0))
    options.seed, options.lr = 0, 0.01
    options.optimiser = "fused"
    return options


def tried_layout(torch, torch_zoo, options, layout):
    """(ns of its best step, layout, case)"""
    options.layout = layout
    case = pytorch_step.Case(torch, torch_zoo, options)
    for _ in range(N_WARM_UP):
        case.step()
    return min(case.measured_step()[0] for _ in range(N_TRIED)), layout, case


def train_until(case, until_ms):
    """(end, duration, CPU time by then) of each; the first says when training began."""
    steps = [(time.monotonic() * 1e3, 0.0, time.process_time())]
    while (began_ms := time.monotonic() * 1e3) < until_ms:
        case.step()
        end_ms = time.monotonic() * 1e3
        steps.append((end_ms, end_ms - began_ms, time.process_time()))
    return steps


def serve(case, options):
    for line in sys.stdin:
        for end_ms, step_ms, cpu_s in train_until(case, float(line.split()[1])):
            print(f"step {end_ms:.3f} {step_ms:.4f} {cpu_s:.6f} {options.threads}")
        print(f"done {options.batch} 0 0", flush=True)


def main():
    options = parse(sys.argv[1:])
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
    if options.idle:  # before torch has threads: they inherit it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    sys.path.insert(0, str(pytorch_step.REFERENCE))
    try:
        import torch
        import torch_zoo
    except ImportError:
        print("skip: python3 torch is not installed")
        return pytorch_step.SKIP
    pytorch_step.set_threads(torch, options.threads)
    try:
        _, layout, case = min(
            (tried_layout(torch, torch_zoo, options, name) for name in LAYOUTS),
            key=lambda tried: tried[0],
        )
    except (KeyError, RuntimeError, ValueError) as error:
        print(f"{options.model}: {error}")
        return 1
    print(f"ready pytorch {torch.__version__} {layout}", flush=True)
    serve(case, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
