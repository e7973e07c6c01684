#!/usr/bin/env python3
"""Holds the reference decoder against the golden containers, as TAP."""

import os
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import update_decode  # noqa: E402

GOLDEN = pathlib.Path(os.environ["CYGNET_SOURCE_ROOT"]) / "tests/golden/update"


def model():
    """local - global of the model that tests/unit/fl/test_update.c makes."""

    def values(n, step):
        return [0.25 + step * ((i * 7) % 11) for i in range(n)]

    return {
        "fc.weight": ([3, 5], values(15, -0.0625)),
        "fc.bias": ([4], values(4, 0.0625)),
        "scale": ([], values(1, -0.0625)),
    }


COUNTS = "bn.num_batches_tracked"


def weights():
    """The local weights, with a count; the global ones are 0 but for a count of 40."""
    return {**model(), COUNTS: ([], [43])}


def int8_values():
    raw = (GOLDEN / "int8.f32").read_bytes()
    flat = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    out = {}
    for name, (shape, values) in model().items():
        out[name] = (shape, flat[: len(values)])
        flat = flat[len(values) :]
    return out


def check(number, file, expected):
    name = f"{number} - the reference decoder reads {file}"
    try:
        raw = (GOLDEN / f"{file}.safetensors").read_bytes()
        update, tensors = update_decode.decode(raw)
    except update_decode.Missing as missing:
        print(f"ok {name} # SKIP {missing}")
        return
    same = tensors == expected and list(tensors) == list(expected)
    same = same and (update["round"], update["examples"], update["steps"]) == (3, 143, 5)
    print(f"{'ok' if same else 'not ok'} {name}")
    if not same:
        print(f"# got {tensors}")


print("1..5")
check(1, "none", model())
check(2, "int8", int8_values())
check(3, "weights", weights())
check(4, "none_counts", {**model(), COUNTS: ([], [3])})
check(5, "int8_counts", {**int8_values(), COUNTS: ([], [3])})
