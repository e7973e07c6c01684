#!/usr/bin/env python3
"""Cygnet beside PyTorch, interleaved: prints a Markdown table of ratios.

    compare.py BUILD_DIR [--case MODEL:CxHxW:BATCH:STEPS]... [--set small|paper|all]
               [--rounds N] [--threads T]... [--python PYTHON]... [--json FILE]

Each measurement is a process of its own, in the order A B B' A B B' ...: Cygnet,
PyTorch with NCHW, PyTorch with channels_last (malloc's thresholds raised for
PyTorch). A figure is the median over the rounds, of those rounds only that were
not contended if there are any; PyTorch's is the best of its layouts, and of its
builds when several --python are given, figure by figure. Classes are 10 for the
small models and 1000 for those of the paper. --set chooses the cases when there is
no --case: the small ones, those of the Swan paper at 32x32 and 128x128 with batch
16, or both. --json keeps every row. Exit status: 0 done, 1 an error, 77 skipped.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from dataclasses import dataclass

SKIP = 77
LAYOUTS = ("nchw", "channels_last")
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}
TUNING = ("OPENBLAS_", "OMP_", "MKL_", "MALLOC_")
SMALL = (
    "logistic:1x28x28:32:300", "mlp:1x28x28:32:300", "lenet5:1x28x28:32:100",
    "mcmahan_cnn:1x28x28:32:20",
)  # fmt: skip
PAPER = (
    "mobilenet_v2:3x32x32:16:30", "shufflenet_v2_x1_0:3x32x32:16:30",
    "shufflenet_v2_x2_0:3x32x32:16:30", "resnet34:3x32x32:16:20",
    "mobilenet_v2:3x128x128:16:12", "shufflenet_v2_x1_0:3x128x128:16:12",
    "shufflenet_v2_x2_0:3x128x128:16:12", "resnet34:3x128x128:16:8",
)  # fmt: skip
SETS = {"small": SMALL, "paper": PAPER, "all": SMALL + PAPER}
HEADINGS = (
    "model", "input", "batch", "threads", "Cygnet ms", "PyTorch ms", "time",
    "CPU time", "Cygnet MB", "PyTorch MB", "memory", "dropped",
)  # fmt: skip


class Skip(Exception):
    pass


@dataclass(frozen=True)
class Case:
    model: str
    input: str
    batch: int
    steps: int
    threads: int

    def arguments(self):
        return ["--model", self.model, "--input", self.input, "--batch",
                str(self.batch), "--steps", str(self.steps), "--threads",
                str(self.threads)]  # fmt: skip


def read_cases(texts, threads):
    cases = []
    for text in texts:
        model, shape, batch, steps = text.rsplit(":", 3)
        cases += [Case(model, shape, int(batch), int(steps), t) for t in threads]
    return cases


# ---- Figures from rows --------------------------------------------------------


def figure(rows, key):
    """Median over the rounds that were not contended, or over all."""
    calm = [row[key] for row in rows if not row["contended"]]
    return statistics.median(calm or [row[key] for row in rows])


def summarise(ours, theirs):
    """ours: rows of a case; theirs: {layout: rows}. Ratios of time and CPU time
    above 1: Cygnet wins; that of memory is Cygnet's part of PyTorch's."""
    mine = {key: figure(ours, key) for key in
            ("ms_per_step", "cpu_ms_per_step", "peak_rss_mb")}  # fmt: skip
    best = {}
    for key in mine:
        best[key] = min((figure(rows, key), layout) for layout, rows in theirs.items())
    everything = ours + [row for rows in theirs.values() for row in rows]
    return {
        "cygnet_ms": mine["ms_per_step"],
        "pytorch_ms": best["ms_per_step"][0],
        "layout": best["ms_per_step"][1],
        "time_ratio": best["ms_per_step"][0] / mine["ms_per_step"],
        "cpu_ratio": best["cpu_ms_per_step"][0] / mine["cpu_ms_per_step"],
        "cygnet_mb": mine["peak_rss_mb"],
        "pytorch_mb": best["peak_rss_mb"][0],
        "memory_ratio": mine["peak_rss_mb"] / best["peak_rss_mb"][0],
        "dropped": sum(row["dropped"] or 0 for row in everything),
        "steps": sum(row["steps"] for row in everything),
        "contended_rounds": sum(row["contended"] for row in everything),
    }


def table_row(case, s):
    note = f"{s['dropped']} of {s['steps']}"
    if s["contended_rounds"]:
        note += f", {s['contended_rounds']} rounds whole"
    cells = (
        case.model, case.input, case.batch, case.threads, f"{s['cygnet_ms']:.3g}",
        f"{s['pytorch_ms']:.3g} ({s['layout']})", f"{s['time_ratio']:.2f}x",
        f"{s['cpu_ratio']:.2f}x", f"{s['cygnet_mb']:.1f}", f"{s['pytorch_mb']:.0f}",
        f"{s['memory_ratio']:.3f}", note,
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def table_head():
    return ("| " + " | ".join(HEADINGS) + " |\n" + "|" + "---|" * len(HEADINGS))


# ---- Running ------------------------------------------------------------------


def run(argv, extra_env=None):
    """The JSON object that a program prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(TUNING)}
    done = subprocess.run(argv, env={**env, **(extra_env or {})}, text=True,
                          stdout=subprocess.PIPE, check=False)  # fmt: skip
    if done.returncode == SKIP:
        raise Skip(done.stdout.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with status {done.returncode}")
    return json.loads(done.stdout)


def check_alike(ours, theirs):
    for key in ("model", "input", "classes", "batch", "threads", "steps"):
        if ours[key] != theirs[key]:
            raise RuntimeError(f"{key}: {ours[key]} here, {theirs[key]} there")


def measure(case, options):
    bench = str(pathlib.Path(options.build_dir, "tests", "bench", "cygnet-bench"))
    script = str(pathlib.Path(__file__).with_name("pytorch_step.py"))
    ours, theirs = [], {}
    for _ in range(options.rounds):
        ours.append(run([bench, "step", *case.arguments()]))
        for number, python in enumerate(options.python):
            for layout in LAYOUTS:
                row = run([python, script, *case.arguments(), "--layout", layout], MALLOC)
                check_alike(ours[-1], row)
                name = f"{layout} {number + 1}" if len(options.python) > 1 else layout
                theirs.setdefault(name, []).append(row)
    return ours, theirs


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir")
    parser.add_argument("--case", action="append", metavar="MODEL:CxHxW:BATCH:STEPS")
    parser.add_argument("--set", choices=sorted(SETS), default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--python", action="append", help="one that has torch (python3)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(argv)
    options.python = options.python or ["python3"]
    return options


def main():
    options = parse(sys.argv[1:])
    kept = []
    try:
        for case in read_cases(options.case or SETS[options.set], options.threads or [1, 2]):
            ours, theirs = measure(case, options)
            if not kept:
                peers = sorted({rows[0]["engine"] for rows in theirs.values()})
                print(f"Peer: {', '.join(peers)}\n\n{table_head()}")
            summary = summarise(ours, theirs)
            kept.append({"case": vars(case), "summary": summary, "cygnet": ours,
                         "pytorch": theirs})  # fmt: skip
            print(table_row(case, summary), flush=True)
    except Skip as reason:
        print(reason)
        return SKIP
    except (OSError, RuntimeError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(kept, indent=1) + "\n",
                                              encoding="utf-8")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
