#!/usr/bin/env python3
"""Holds our pickles against Python's own, in both directions. TAP.

  test_pickle.py PROBE    tests/reference/pickle_probe.c

The packages torch and numpy are what fedscale_wire.py makes of them; what the installed
torch writes is read as well."""

import collections
import io
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
import fedscale_wire as wire  # noqa: E402
import safetensors_read  # noqa: E402

try:
    import torch as real_torch
except ImportError:
    real_torch = None

PROTOCOLS = range(2, 6)
CODES = {"F32": "f", "I64": "q"}
KINDS = {"F32": "f4", "I64": "i8"}


def probe(*args, text=b""):
    done = subprocess.run([PROBE, *map(str, args)], input=text, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"the probe says {done.stderr.decode().strip()!r}")
    return done.stdout


def load(texts):
    """What our reader sees in each."""
    stream = b"".join(b"%d\n%b" % (len(text), text) for text in texts)
    lines = probe("load", text=stream).splitlines()
    must_equal(len(lines), len(texts))
    return [normal(json.loads(line)) for line in lines]


def must_equal(got, want):
    if got != want:
        raise AssertionError(f"{got!r} is not {want!r}")


# Values, as the probe prints them.


def canonical(value):
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, str):
        return ["text", value.encode().hex()]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, collections.OrderedDict):
        return ["call", 2]
    if isinstance(value, dict):
        return ["dict"] + [canonical(x) for pair in value.items() for x in pair]
    return [type(value).__name__] + [canonical(x) for x in value]


def normal(printed):
    """C's %a and Python's hex() may spell a number in two ways."""
    if isinstance(printed, list):
        if printed[0] == "float":
            return ["float", float.fromhex(printed[1]).hex()]
        return [normal(x) for x in printed]
    return printed


VALUES = [
    None, True, False, 0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -1, -2**31,
    -2**31 - 1, 2**63 - 1, -2**63, 0.0, -0.1, 1e300, 5e-324, "", "a", "größe 权重",
    "x" * 255, "x" * 256, "x" * 70000, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4),
    [], [[], [()]], {}, {"a": 1}, {"a": {"b": [1, "c"]}, "d": (1.5, None)},
    list(range(2500)), [f"text {i}" for i in range(700)], ["same"] * 3,
    {str(i): i for i in range(64)}, collections.OrderedDict(),
    {"client_id": "1", "task_config": {"learning_rate": 0.05}},
]
BYTES = [b"", b"abc", b"x" * 255, b"x" * 256, [b"x" * 100000, 1]]
REFUSED = [2**63, 2**70, {1: 2}, {1, 2}, 1j, len, object(), bytearray(b"x"),
           collections.deque(), {str(i): i for i in range(65)},
           collections.OrderedDict(a=1)]


def check_all_values(dumps):
    for protocol in PROTOCOLS:
        values = VALUES + (BYTES if protocol > 2 else [])
        seen = load([dumps(value, protocol) for value in values])
        for got, value in zip(seen, values, strict=True):
            must_equal(got, canonical(value))


def check_values(folder):
    check_all_values(pickle.dumps)


def check_values_of_the_other_pickler(folder):
    """The one in Python numbers its memo otherwise."""
    check_all_values(pickle._dumps)


def check_the_rest_is_refused(folder):
    for protocol in range(6):
        values = REFUSED if protocol > 1 else VALUES
        seen = load([pickle.dumps(value, protocol) for value in values])
        for got, value in zip(seen, values, strict=True):
            if not isinstance(got, dict):
                raise AssertionError(f"{value!r} is read from protocol {protocol}")


MODEL = {
    "conv": ("F32", [4, 1, 3, 3], [0.25 * i for i in range(36)]),
    "volume": ("F32", [2, 3, 4], [-1.5 * i for i in range(24)]),
    "matrix": ("F32", [7, 5], [float("nan") if i == 3 else i / 7 for i in range(35)]),
    "scale": ("F32", [1], [3.5]),
    "scalar": ("F32", [], [2.5]),
    "batches": ("I64", [], [2**40]),
    "none": ("F32", [0, 3], []),
    "large": ("F32", [300, 300], [float(i) for i in range(90000)]),
}


def packed(entry):
    dtype, shape, values = entry
    return dtype, shape, struct.pack(f"<{len(values)}{CODES[dtype]}", *values)


def write_safetensors(path, model):
    header, data = {}, b""
    for name, (dtype, shape, raw) in model.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def blank(entry):
    dtype, shape, raw = entry
    return dtype, shape, bytes(len(raw))


def read_back(folder, text, model):
    """The model's layout goes in without its numbers; they come from the pickle."""
    path = folder / "weights"
    write_safetensors(path, {name: blank(entry) for name, entry in model.items()})
    got = json.loads(probe("weights", path, text=text))
    if got is not True:
        raise AssertionError(got)
    must_equal(safetensors_read.read(path.read_bytes())[1], model)


def check_weights(folder):
    model = {name: packed(entry) for name, entry in MODEL.items()}
    tensors = [wire.Tensor(shape, values, KINDS[dtype])
               for dtype, shape, values in MODEL.values()]
    for protocol in PROTOCOLS:
        if protocol > 2:
            read_back(folder, wire.write_weights(tensors, protocol), model)


def check_weights_of_torch(folder):
    kinds = {"F32": real_torch.float32, "I64": real_torch.int64}
    model = {name: packed(entry) for name, entry in MODEL.items()}
    tensors = [real_torch.tensor(values, dtype=kinds[dtype]).reshape(shape)
               for dtype, shape, values in MODEL.values()]
    for protocol in PROTOCOLS:
        if protocol > 2:
            read_back(folder, pickle.dumps(tensors, protocol), model)


def check_views_of_torch_are_refused(folder):
    whole = real_torch.arange(12, dtype=real_torch.float32).reshape(3, 4)
    path = folder / "weights"
    for view in (whole.t(), whole[1:], whole[:, :2]):
        write_safetensors(
            path, {"view": ("F32", list(view.shape), bytes(4 * view.numel()))})
        got = json.loads(probe("weights", path, text=pickle.dumps([view], 4)))
        must_equal(got, {"error": "EFORMAT"})


def sent(folder, model):
    """The three messages of the probe."""
    path = folder / "model"
    write_safetensors(path, model)
    stream = io.BytesIO(probe("send", path))
    return [stream.read(int(stream.readline())) for _ in range(3)]


def finite_model():
    return {name: packed(entry) for name, entry in MODEL.items() if name != "matrix"}


def check_upload(folder):
    model = finite_model()
    upload, info, results = sent(folder, model)
    upload = wire.read_pickle(upload)
    arrays = upload.pop("update_weight")
    must_equal(upload, {"client_id": "grüß", "moving_loss": 0.1, "trained_size": 2**40,
                        "success": False, "utility": 12.0, "wall_duration": 1.5})
    must_equal(type(upload["utility"]), float)
    must_equal([(a.shape, a.dtype, a.values.tobytes()) for a in arrays],
               [(tuple(shape), "<" + KINDS[dtype], raw)
                for dtype, shape, raw in model.values()])
    must_equal(pickle.loads(info), {"size": [3000000000]})
    must_equal(pickle.loads(results), {"executorId": "7", "results": {
        "top_1": 25, "top_5": 126, "test_loss": 632.5, "test_len": 1e-9}})


def check_upload_with_numpy(folder):
    model = finite_model()
    arrays = pickle.loads(sent(folder, model)[0])["update_weight"]
    for array, (dtype, shape, raw) in zip(arrays, model.values(), strict=True):
        must_equal((list(array.shape), array.tobytes()), (shape, raw))


CHECKS = {
    "values of each protocol are read": check_values,
    "so are those of the pickler in Python": check_values_of_the_other_pickler,
    "what is no plain value is refused": check_the_rest_is_refused,
    "weights are read": check_weights,
    "Python reads what is sent": check_upload,
    "the package torch: its tensors are read": check_weights_of_torch,
    "the package torch: its views are refused": check_views_of_torch_are_refused,
    "the package numpy: it takes what is sent": check_upload_with_numpy,
}


def missing(name):
    """The package that the check needs and that is not there."""
    if "package torch" in name and not real_torch:
        return "torch"
    if "package numpy" in name:
        try:
            import numpy  # noqa: F401
        except ImportError:
            return "numpy"
    return None


def main():
    print(f"1..{len(CHECKS)}")
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        if missing(name):
            print(f"ok {number} - {name} # SKIP python3 {missing(name)} is not installed")
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="cygnet-") as folder:
                check(pathlib.Path(folder))
            print(f"ok {number} - {name}")
        except Exception as error:  # each is this check's failure
            print(f"not ok {number} - {name}")
            print(f"# {type(error).__name__}: {str(error)[:2000]}")


PROBE = sys.argv[1]
main()
