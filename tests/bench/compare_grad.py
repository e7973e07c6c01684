#!/usr/bin/env python3
"""One batch through PyTorch and through `cygnet-bench grad`: prints the errors.

    compare_grad.py BUILD_DIR --model M [--input CxHxW] [--batch B] [--classes K]
                    [--seed S] [--train-steps N] [--lr L] [--momentum U]
                    [--weight-decay D] [--threads T] [--all]

Weights and batch are PyTorch's random ones. Each line is the norm of the error
against PyTorch in float64, relative to the norm of the exact tensor: Cygnet's, and
PyTorch's own in float32; "zero" marks gradients (and states) of a norm below 1e-6 of
that of all, whose errors are relative to that of all. --all shows every tensor, otherwise the
worst ten. Needs torch and numpy. Exit status: 0 done, 1 an error, 77 skipped.
"""

import argparse
import copy
import json
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

REFERENCE = pathlib.Path(__file__).resolve().parent.parent / "reference"
SKIP, NEGLIGIBLE = 77, 1e-6
DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}


def save(path, tensors):
    """Writes {name: array} as safetensors."""
    header, blobs, at = {}, [], 0
    for name, array in tensors.items():
        kind = next(k for k, v in DTYPES.items() if v == array.dtype.str)
        blob = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape),
                        "data_offsets": [at, at + len(blob)]}  # fmt: skip
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load(path):
    import numpy

    data = path.read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    found = {}
    for name, entry in json.loads(data[8 : 8 + n]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            array = numpy.frombuffer(data[8 + n + begin : 8 + n + end], DTYPES[entry["dtype"]])
            found[name] = array.reshape(entry["shape"])
    return found


def arrays(state):
    return {name: t.detach().numpy().copy() for name, t in state.items()}


def run_torch(torch, net, x, y):
    """Loss, logits, gradients and, with steps, the state after them."""
    logits = net(x)
    loss = torch.nn.functional.cross_entropy(logits, y)
    loss.backward()
    found = {"loss": loss.detach().numpy(), "logits": logits.detach().numpy().copy()}
    found |= {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
    return found


def train_torch(torch, torch_zoo, net, x, y, options):
    optimiser = torch.optim.SGD(net.parameters(), lr=options.lr,
                                momentum=options.momentum,
                                weight_decay=options.weight_decay)  # fmt: skip
    for _ in range(options.train_steps):
        optimiser.zero_grad()
        torch_zoo.loss(net, x, y).backward()
        optimiser.step()
    return {"after." + name: t for name, t in arrays(net.state_dict()).items()}


def run_both(torch, torch_zoo, net, x, y, options):
    trained = copy.deepcopy(net)
    found = run_torch(torch, net, x, y)
    if options.train_steps:
        found |= train_torch(torch, torch_zoo, trained, x, y, options)
    return found


def run_cygnet(state, x, y, options):
    bench = pathlib.Path(options.build_dir, "tests", "bench", "cygnet-bench")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save(folder / "weights", state)
        save(folder / "batch", {"x": x.numpy(), "y": y.numpy()})
        subprocess.run(
            [bench, "grad", "--model", options.model, "--classes", str(options.classes),
             "--weights", folder / "weights", "--batch", folder / "batch", "--out",
             folder / "out", "--threads", str(options.threads), "--train-steps",
             str(options.train_steps), "--lr", str(options.lr), "--momentum",
             str(options.momentum), "--weight-decay", str(options.weight_decay)],
            check=True,
        )  # fmt: skip
        return load(folder / "out")


def norm(array):
    import numpy

    return float(numpy.linalg.norm(array.ravel()))


def kind_of(name):
    if name in ("loss", "logits"):
        return name
    return "state" if name.startswith("after.") else "gradient"


def report(ours, single, exact, show_all):
    if set(ours) != set(exact):
        raise ValueError(f"other tensors: {sorted(set(ours) ^ set(exact))}")
    whole = {}
    for name, want in exact.items():
        whole[kind_of(name)] = whole.get(kind_of(name), 0) + norm(want) ** 2
    rows, zeros = [], []
    for name, want in exact.items():
        if ours[name].shape != want.shape:
            raise ValueError(f"{name}: {ours[name].shape} is not {want.shape}")
        everything = whole[kind_of(name)] ** 0.5
        vanishes = norm(want) < NEGLIGIBLE * everything
        size = everything if vanishes else norm(want) or 1.0
        row = [norm(found[name] - want) / size for found in (ours, single)]
        (zeros if vanishes else rows).append((*row, name))
    for kind, part in (("", rows), (" zero", zeros)):
        for mine, theirs, name in part if show_all else sorted(part, reverse=True)[:10]:
            print(f"{mine:9.2e} {theirs:9.2e} {name}{kind}")
    medians = [statistics.median(row[i] for row in rows) for i in (0, 1)]
    print(f"{medians[0]:9.2e} {medians[1]:9.2e} median of {len(rows)} tensors")


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir")
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", default="3x32x32")
    for name, default in (("batch", 6), ("classes", 10), ("seed", 0), ("threads", 1),
                          ("train-steps", 0)):  # fmt: skip
        parser.add_argument("--" + name, type=int, default=default)
    for name, default in (("lr", 0.01), ("momentum", 0.9), ("weight-decay", 0.0005)):
        parser.add_argument("--" + name, type=float, default=default)
    parser.add_argument("--all", action="store_true")
    return parser.parse_args(argv)


def main():
    options = parse(sys.argv[1:])
    sys.path.insert(0, str(REFERENCE))
    try:
        import torch
        import torch_zoo
    except ImportError:
        print("skip: python3 torch is not installed")
        return SKIP
    torch.manual_seed(options.seed)
    shape = tuple(map(int, options.input.split("x")))
    net = torch_zoo.build(options.model, shape, options.classes)
    net = torch_zoo.without_dropout(net)
    x = torch_zoo.inputs(net, options.batch, shape)
    y = torch.randint(options.classes, (options.batch,))
    state = arrays(net.state_dict())
    try:
        ours = run_cygnet(state, x, y, options)
        double = copy.deepcopy(net).double()
        exact = run_both(torch, torch_zoo, double, x.double(), y, options)
        single = run_both(torch, torch_zoo, net, x, y, options)
        report(ours, single, exact, options.all)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"compare_grad: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
