#!/usr/bin/env python3
"""Real FedScale jobs, with cygnet-client and with a PyTorch client side by side.

    FEDSCALE=/path/to/FedScale job.py BUILD_DIR --images FOLDER [--model lr]...
        [--seeds 3] [--rounds 9] [--steps 20] [--lr 0.05] [--python PYTHON] [--json FILE]

FEDSCALE is an unpacked source tree of FedScale; --python one that can import what its
aggregator imports (torch, torchvision, grpc, numpy). FOLDER holds images in IDX files
(MNIST's, say). They are dealt out to three clients; each tests with images of its own
that nobody trains with. A job is one aggregator, three clients, --rounds rounds and an
evaluation every second one; the seeds use the pickle protocols 3, 4 and 5 in turn.
Prints a Markdown table: the top-1 accuracy that the aggregator logged last, of both
kinds of clients, and their difference. Exit status: 0 all jobs ended well and each mean
is within --within points of PyTorch's; 1 not; 2 a bad command line, or no FEDSCALE.
"""

import argparse
import ast
import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy

from torch_client import find, read_idx

HERE = pathlib.Path(__file__).resolve().parent
N_CLIENTS = 3
PROTOCOLS = (3, 4, 5)
LIMIT_S = 1800

# FedScale's name: its zoo, ours, the input
MODELS = {
    "lr": ("torchcv", "logistic", "784"),
    "resnet18": ("torchcv", "resnet18", "3x32x32"),
    "shufflenet_v2_x0_5": ("torchcv", "shufflenet_v2_x0_5", "3x32x32"),
}


# ---- Data --------------------------------------------------------------------


def write_idx(path, values):
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(head + values.tobytes())


def deal(images, folder):
    """A folder for each client, with files of train and of t10k."""
    stem = "train" if any(p.name.startswith("train-") for p in images.iterdir()) else "t10k"
    x = read_idx(find(images, f"{stem}-images"))
    y = read_idx(find(images, f"{stem}-labels"))
    order = numpy.random.default_rng(0).permutation(len(y))
    tests = order[: len(y) // 5]
    for client in range(N_CLIENTS):
        own = folder / f"client-{client}"
        own.mkdir()
        for name, rows in (("train", order[len(tests) :]), ("t10k", tests)):
            mine = rows[client::N_CLIENTS]
            write_idx(own / f"{name}-images-idx3-ubyte", x[mine])
            write_idx(own / f"{name}-labels-idx1-ubyte", y[mine])


# ---- A job -------------------------------------------------------------------


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(argv, log, **env):
    with open(log, "wb") as file:
        return subprocess.Popen(
            [str(a) for a in argv], stdout=file, stderr=subprocess.STDOUT,
            env=dict(os.environ, OMP_NUM_THREADS="1", **env),
        )  # fmt: skip


def start_aggregator(options, model, port, seed, folder):
    argv = [
        options.python, HERE / "aggregator.py",
        "--pickle-protocol", PROTOCOLS[seed % len(PROTOCOLS)], "--",
        "--experiment_mode", "deployment", "--engine", "pytorch", "--use_cuda", "False",
        "--task", "cv", "--job_name", "job", "--time_stamp", "now", "--log_path", folder,
        "--ps_ip", "127.0.0.1", "--ps_port", port, "--this_rank", "0",
        "--num_participants", N_CLIENTS, "--rounds", options.rounds,
        "--eval_interval", "2", "--model", model, "--model_zoo", MODELS[model][0],
        "--data_set", "Mnist", "--input_dim", "784",
        "--learning_rate", options.lr, "--device_conf_file", folder / "none",
    ]  # fmt: skip
    return start(argv, folder / "aggregator.log")


def cygnet_argv(options, model, port, client, seed, folder):
    zoo, shape = MODELS[model][1:]
    return [
        options.build_dir / "examples/client/cygnet-client",
        "--server", f"fedscale://127.0.0.1:{port}", "--model", zoo, "--classes", "10",
        "--input", shape, "--data", f"idx:{folder / f'client-{client}'}",
        "--steps", options.steps, "--batch", options.batch, "--seed", seed,
        "--state-dir", folder / f"state-{client}", "--threads", "1",
        "--assume", "charging,idle,unmetered", "--until-done",
    ]  # fmt: skip


def torch_argv(options, model, port, client, seed, folder):
    zoo, shape = MODELS[model][1:]
    return [
        options.python, HERE / "torch_client.py", "--server", f"127.0.0.1:{port}",
        "--id", f"client-{client}", "--model", zoo, "--classes", "10", "--input", shape,
        "--data", folder / f"client-{client}", "--steps", options.steps,
        "--batch", options.batch, "--seed", seed,
    ]  # fmt: skip


def wait_for_port(port, aggregator):
    for _ in range(600):
        with contextlib.closing(socket.socket()) as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if aggregator.poll() is not None:
            raise RuntimeError("the aggregator did not start")
        time.sleep(0.1)
    raise RuntimeError("the aggregator does not listen")


def tests_logged(log):
    """[(round, {"top_1": ..., ...})] of the aggregator's log."""
    found = re.findall(r"FL Testing in round: (\d+),.*?results: (\{.*?\})", log)
    return [(int(n), ast.literal_eval(results)) for n, results in found]


def run_job(options, kind, model, seed):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        deal(options.images, folder)
        port = free_port()
        argv = {"cygnet": cygnet_argv, "pytorch": torch_argv}[kind]
        processes = [start_aggregator(options, model, port, seed, folder)]
        try:
            wait_for_port(port, processes[0])
            for client in range(N_CLIENTS):
                words = argv(options, model, port, client, 10 * seed + client, folder)
                processes.append(start(words, folder / f"client-{client}.log"))
            codes = [process.wait(LIMIT_S) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        log = (folder / "aggregator.log").read_text(errors="replace")
        tests = tests_logged(log)
        if any(codes) or not tests:
            for path in sorted(folder.glob("*.log")):
                text = path.read_text(errors="replace")
                print(f"--- {path.name}\n{text[-3000:]}", file=sys.stderr)
            raise RuntimeError(f"{kind}, {model}, seed {seed}: exit statuses {codes}")
        return {"clients": kind, "model": model, "seed": seed,
                "protocol": PROTOCOLS[seed % len(PROTOCOLS)],
                "top_1": [[n, 100 * result["top_1"]] for n, result in tests]}  # fmt: skip


# ---- Report --------------------------------------------------------------------


def table(rows, options):
    """(Markdown, whether each model's mean is near enough)."""
    lines = ["| model | rounds, rate | Cygnet top-1 % | PyTorch top-1 % "
             "| difference of means |", "|---|---|---|---|---|"]  # fmt: skip
    near = True
    for model in options.model:
        last = {
            kind: [r["top_1"][-1][1] for r in rows
                   if r["model"] == model and r["clients"] == kind]
            for kind in ("cygnet", "pytorch")
        }  # fmt: skip
        difference = statistics.mean(last["cygnet"]) - statistics.mean(last["pytorch"])
        near = near and abs(difference) <= options.within
        texts = [", ".join(f"{v:.1f}" for v in last[k]) for k in ("cygnet", "pytorch")]
        lines.append(f"| {model} | {options.rounds}, {options.lr} | {texts[0]} "
                     f"| {texts[1]} | {difference:+.2f} |")  # fmt: skip
    return "\n".join(lines), near


def main():
    parser = argparse.ArgumentParser(description="Real FedScale jobs.")
    parser.add_argument("build_dir", type=pathlib.Path)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--model", action="append", choices=sorted(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--within", type=float, default=2.0)
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.model = options.model or sorted(MODELS)
    if "FEDSCALE" not in os.environ:
        parser.error("FEDSCALE must name a source tree of FedScale")
    rows = []
    for model in options.model:
        for seed in range(options.seeds):
            for kind in ("cygnet", "pytorch"):
                rows.append(run_job(options, kind, model, seed))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    text, near = table(rows, options)
    print(text)
    return 0 if near else 1


if __name__ == "__main__":
    sys.exit(main())
