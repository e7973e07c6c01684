#!/usr/bin/env python3
"""Reference decoder of the update container (docs/update-format.md).

As a program: update_decode.py FILE prints one JSON object {name: [values...]}.
Codec "none" needs the standard library only; "int8" needs numpy and zstandard.
"""

import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import safetensors_read  # noqa: E402


class Missing(Exception):
    """A package that this codec needs is not installed."""


def decode_none(tensors, _codec):
    out = {}
    for name, (dtype, shape, data) in tensors.items():
        if dtype != "F32":
            raise ValueError(f"{name}: {dtype}")
        out[name] = (shape, list(struct.unpack(f"<{len(data) // 4}f", data)))
    return out


def decode_int8(tensors, codec):
    try:
        import numpy
        import zstandard
    except ImportError as error:
        raise Missing("python3 numpy/zstandard is not installed") from error
    out = {}
    for name, (_dtype, _shape, data) in tensors.items():
        entry = codec["tensors"][name]
        shape, size = entry["shape"], entry["size"]
        count = 1
        for n in shape:
            count *= n
        rows = shape[0] if len(shape) >= 2 else 1
        if size != 4 * rows + count:
            raise ValueError(f"{name}: size {size}")
        payload = zstandard.ZstdDecompressor().decompress(bytes(data), size)
        scales = numpy.frombuffer(payload, "<f4", rows)
        q = numpy.frombuffer(payload, "i1", count, 4 * rows).reshape(rows, -1)
        values = scales[:, None] * q.astype(numpy.float32)
        out[name] = (shape, [float(v) for v in values.reshape(-1)])
    return out


CODECS = {"none": ([], decode_none), "int8": (["int8", "zstd"], decode_int8)}


def decode(raw):
    """(what the sender says, {name: (shape, [values])}) of a container."""
    metadata, tensors = safetensors_read.read(raw)
    update = json.loads(metadata["cygnet_update"])
    codec = json.loads(metadata["cygnet_codec"])
    if update["version"] != 1 or update["kind"] != "delta" or codec["version"] != 1:
        raise ValueError("unknown version or kind")
    stages, function = CODECS[codec["name"]]
    if codec["stages"] != stages:
        raise ValueError("unknown stages")
    return update, function(tensors, codec)


def main():
    with open(sys.argv[1], "rb") as file:
        raw = file.read()
    try:
        update, tensors = decode(raw)
    except Missing as missing:
        print(f"skip: {missing}")
        return 77
    print(json.dumps({"update": update, "tensors": tensors}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
