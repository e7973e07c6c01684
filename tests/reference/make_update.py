#!/usr/bin/env python3
"""Writes the golden values of codec "int8" (standard library only).

An independent writing-down of docs/update-format.md and of the Philox streams of
base/rng.h, for the model that tests/unit/fl/test_update.c makes. Usage:
make_update.py FOLDER  (tests/golden/update)
"""

import math
import pathlib
import struct
import sys

SEED = 12345
MASK = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def stream(seed, name, index):
    """Uniform numbers in [0, 1) with 24 bits."""
    hash64 = 0xCBF29CE484222325
    for byte in name.encode() + struct.pack("<Q", index):
        hash64 = ((hash64 ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    n = 0
    while True:
        counter = (n & MASK, n >> 32, hash64 & MASK, hash64 >> 32)
        for word in philox(counter, (seed & MASK, seed >> 32)):
            yield (word >> 8) * 2.0**-24
        n += 1


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def quantised(delta, rows, index):
    columns = len(delta) // rows
    u = stream(SEED, "int8", index)
    out = []
    for r in range(rows):
        row = delta[r * columns : (r + 1) * columns]
        scale = f32(max(abs(x) for x in row) / 127.0)
        for x in row:
            q = max(-127, min(127, math.floor(x / scale + next(u)))) if scale else 0
            out.append(f32(scale * q))
    return out


def tensor(n, base, step):
    return [base + step * ((i * 7) % 11) for i in range(n)]


def main():
    folder = pathlib.Path(sys.argv[1])
    values = quantised(tensor(15, 0.25, -0.0625), 3, 0)
    values += tensor(4, 0.25, 0.0625) + tensor(1, 0.25, -0.0625)  # exact: no matrices
    (folder / "int8.f32").write_bytes(struct.pack(f"<{len(values)}f", *values))


if __name__ == "__main__":
    main()
