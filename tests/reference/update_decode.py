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


def plain(name, dtype, shape, data):
    """A tensor that is stored as it is; integers and what is no matrix are, in every
    codec."""
    if dtype == "I64":
        return shape, list(struct.unpack(f"<{len(data) // 8}q", data))
    if dtype != "F32":
        raise ValueError(f"{name}: {dtype}")
    return shape, list(struct.unpack(f"<{len(data) // 4}f", data))


def decode_none(tensors, _codec):
    return {name: plain(name, *tensor) for name, tensor in tensors.items()}


def decode_int8(tensors, codec):
    try:
        import numpy
        import zstandard
    except ImportError as error:
        raise Missing("python3 numpy/zstandard is not installed") from error
    out = {}
    for name, (dtype, stored_shape, data) in tensors.items():
        if dtype == "I64" or (dtype == "F32" and len(stored_shape) < 2):
            out[name] = plain(name, dtype, stored_shape, data)
            continue
        if dtype != "U8":
            raise ValueError(f"{name}: {dtype}")
        entry = codec["tensors"][name]
        shape, size = entry["shape"], entry["size"]
        count = 1
        for n in shape:
            count *= n
        rows = shape[0]
        if len(shape) < 2 or size != 4 * rows + count:
            raise ValueError(f"{name}: shape {shape}, size {size}")
        payload = zstandard.ZstdDecompressor().decompress(bytes(data), size)
        scales = numpy.frombuffer(payload, "<f4", rows)
        q = numpy.frombuffer(payload, "i1", count, 4 * rows).reshape(rows, -1)
        values = scales[:, None] * q.astype(numpy.float32)
        out[name] = (shape, [float(v) for v in values.reshape(-1)])
    return out


CODECS = {
    "none": ("delta", [], decode_none),
    "int8": ("delta", ["int8", "zstd"], decode_int8),
    "weights": ("weights", [], decode_none),
}


def decode(raw):
    """(what the sender says, {name: (shape, [values])}) of a container. The values are
    local weights where it says kind "weights", else local - global."""
    metadata, tensors = safetensors_read.read(raw)
    update = json.loads(metadata["cygnet_update"])
    codec = json.loads(metadata["cygnet_codec"])
    if update["version"] != 1 or codec["version"] != 1:
        raise ValueError("unknown version")
    kind, stages, function = CODECS[codec["name"]]
    if update["kind"] != kind or codec["stages"] != stages:
        raise ValueError("unknown kind or stages")
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
