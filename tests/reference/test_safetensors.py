#!/usr/bin/env python3
"""Holds our safetensors files against a strict reader and, where it is installed,
the Python safetensors package, in both directions. TAP.

  test_safetensors.py PROBE    tests/unit/base/safetensors_probe.c"""

import ctypes
import math
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import safetensors_read  # noqa: E402

try:
    import numpy  # noqa: F401  safe_open needs it
    import safetensors
except ImportError:
    safetensors = None

# In the order of the enumeration cygnet_dtype; the package's own words for each.
DTYPES = {
    "F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "BOOL": "bool",
}
METADATA = {
    "format": "pt", "nothing": "", "": "an empty key", "hälf": '"\n\\\x1f\U0001f9a2',
}


def tensor(dtype, shape):
    """As fill() of the probe fills it."""
    n = math.prod(shape) * safetensors_read.SIZES[dtype]
    if dtype == "BOOL":
        return dtype, shape, bytes(i % 2 for i in range(n))
    start = 11 * list(DTYPES).index(dtype) + 1
    return dtype, shape, bytes((37 * i + start) % 256 for i in range(n))


def expected():
    out = {dtype: tensor(dtype, [2, 3]) for dtype in DTYPES}
    out["scalar"] = tensor("F32", [])
    out["empty"] = tensor("F64", [0, 4])
    out["eight dims"] = tensor("I16", [1, 2, 1, 3, 1, 2, 1, 1])
    out["größe.权重.\U0001f9a2"] = tensor("U8", [3])
    out['"quoted"\\\n\t\x01/'] = tensor("U8", [2])
    out["n" * 255] = tensor("I8", [1])
    out.update({f"many.{i}": tensor("U8", [i % 4]) for i in range(3000)})
    return out


def same(got, want):
    """Fails with the first difference."""
    for name in want:
        if got.get(name) != want[name]:
            raise AssertionError(f"{name!r}: {got.get(name)} is not {want[name]}")
    if len(got) != len(want):
        raise AssertionError(f"{sorted(set(got) - set(want))} beyond what was expected")


def probe(*args):
    done = subprocess.run([sys.argv[1], *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"the probe says {done.stderr.strip()!r}")


def check_strict_reader(folder):
    probe("write", folder / "ours")
    metadata, tensors = safetensors_read.read((folder / "ours").read_bytes())
    same(metadata, METADATA)
    same(tensors, expected())


def read_with_package(path):
    tensors = {
        name: (entry["dtype"], list(entry["shape"]), bytes(entry["data"]))
        for name, entry in safetensors.deserialize(path.read_bytes())}
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata(), tensors


def check_package_reads_ours(folder):
    probe("write", folder / "ours")
    metadata, tensors = read_with_package(folder / "ours")
    same(metadata, METADATA)
    same(tensors, expected())


def write_with_package(path, tensors):
    """Releases before 0.8 take dictionaries, later ones addresses."""
    spec = getattr(safetensors, "TensorSpec", None)
    entries = {}
    alive = []
    for name, (dtype, shape, data) in tensors.items():
        entries[name] = {"dtype": DTYPES[dtype], "shape": shape, "data": data}
        if spec:
            alive.append(ctypes.create_string_buffer(data, len(data) + 1))
            entries[name] = spec(
                dtype=DTYPES[dtype], shape=shape, data_ptr=ctypes.addressof(alive[-1]),
                data_len=len(data))
    safetensors.serialize_file(entries, path, METADATA)


def check_we_read_the_packages(folder):
    write_with_package(folder / "theirs", expected())
    probe("copy", folder / "theirs", folder / "copy")
    metadata, tensors = safetensors_read.read((folder / "copy").read_bytes())
    same(metadata, METADATA)
    same(tensors, expected())


def check_strict_reader_refuses(folder):
    """A reader that accepts anything would prove nothing."""
    probe("write", folder / "ours")
    raw = (folder / "ours").read_bytes()
    n_refused = 0
    spoilt = [raw[:-1], raw + b"x", raw[:7], raw.replace(b'"scalar"', b'"empty" ', 1),
              raw.replace(b'"shape":[2,3]', b'"shape":[2,2]', 1)]
    for text in spoilt:
        try:
            safetensors_read.read(text)
        except ValueError:
            n_refused += 1
    if n_refused != len(spoilt):
        raise AssertionError(f"{n_refused} of {len(spoilt)} spoilt files are refused")


CHECKS = {
    "a strict reader reads what is written": check_strict_reader,
    "the strict reader refuses spoilt files": check_strict_reader_refuses,
    "the Python package reads what is written": check_package_reads_ours,
    "what the Python package writes is read": check_we_read_the_packages,
}


def main():
    print(f"1..{len(CHECKS)}")
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        if "package" in name and not safetensors:
            print(f"ok {number} - {name} # SKIP python3 safetensors is not installed")
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="cygnet-") as folder:
                check(pathlib.Path(folder))
            print(f"ok {number} - {name}")
        except Exception as error:  # each is this check's failure
            print(f"not ok {number} - {name}")
            print(f"# {type(error).__name__}: {error}")


main()
