"""A strict reader of the safetensors format, with the standard library only.

Source: the format section of the safetensors project's README."""

import json
import math
import struct

SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U8": 1, "BOOL": 1,
}


def _unrepeated(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name appears twice")
    return out


def _refuse_constant(text):
    raise ValueError(f"{text} is not JSON")


def _whole(value):
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a size")
    return value


def _read_header(raw):
    if len(raw) < 8:
        raise ValueError("shorter than 8 bytes")
    (length,) = struct.unpack_from("<Q", raw, 0)
    if length > len(raw) - 8:
        raise ValueError("the header is longer than the file")
    text = raw[8 : 8 + length]
    if not text.startswith(b"{") or not text.rstrip(b" ").endswith(b"}"):
        raise ValueError("the header is not one object, padded with spaces")
    header = json.loads(
        text.decode("utf-8"), object_pairs_hook=_unrepeated,
        parse_constant=_refuse_constant)
    return header, raw[8 + length :]


def _check_metadata(metadata):
    for value in metadata.values():
        if not isinstance(value, str):
            raise ValueError("metadata must be texts")


def read(raw):
    """(metadata, {name: (dtype, shape, bytes)}) in the order of the data. Anything
    that the format does not allow is a ValueError."""
    header, body = _read_header(raw)
    metadata = header.pop("__metadata__", {})
    _check_metadata(metadata)
    for name, entry in header.items():
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name}: members {sorted(entry)}")
        if len(entry["data_offsets"]) != 2:
            raise ValueError(f"{name}: offsets")
    tensors = {}
    at = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = map(_whole, entry["data_offsets"])
        size = math.prod(map(_whole, entry["shape"])) * SIZES[entry["dtype"]]
        if begin != at or end - begin != size:
            raise ValueError(f"{name}: bytes {begin} to {end}, expected {size} from {at}")
        tensors[name] = (entry["dtype"], entry["shape"], body[begin:end])
        at = end
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes behind the last tensor")
    return metadata, tensors
