#!/usr/bin/env python3
"""Converts the UCI handwritten digits to the IDX files of examples/data/digits.

    make_digits.py digits.csv.gz examples/data/digits

The input has one row per digit: 64 pixels (8 x 8, 0..16) and the label. Pixels
become bytes as round(p * 255 / 16). Of each label a fifth (rounded) is held out
as the t10k pair; which one is drawn by a generator with a fixed seed, so the
output is the same byte for byte each time (gzip carries no name and no date).
Standard library only."""

import gzip
import pathlib
import random
import struct
import sys

SEED = 20
SIDE = 8
CLASSES = 10


def read_rows(path):
    rows = []
    with gzip.open(path, "rt", encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            values = [int(float(v)) for v in line.split(",")]
            pixels, label = values[:-1], values[-1]
            if len(pixels) != SIDE * SIDE or not 0 <= label < CLASSES:
                raise SystemExit(f"{path}: line {number} is not 64 pixels and a digit")
            if not all(0 <= p <= 16 for p in pixels):
                raise SystemExit(f"{path}: line {number} has a pixel outside 0..16")
            rows.append((bytes((p * 255 + 8) // 16 for p in pixels), label))
    return rows


def split(rows):
    """(train, test): stratified, 80 to 20, each in the order of the input."""
    rng = random.Random(SEED)
    held_out = set()
    for label in range(CLASSES):
        own = [i for i, row in enumerate(rows) if row[1] == label]
        order = sorted(own, key=lambda _: rng.random())
        held_out.update(order[: round(len(own) / 5)])
    train = [row for i, row in enumerate(rows) if i not in held_out]
    test = [row for i, row in enumerate(rows) if i in held_out]
    return train, test


def write(path, data):
    packed = gzip.compress(data, 9, mtime=0)
    path.write_bytes(packed)
    print(f"{path}: {len(packed)} bytes")


def write_pair(folder, prefix, rows):
    n = len(rows)
    images = struct.pack(">4I", 0x803, n, SIDE, SIDE) + b"".join(r[0] for r in rows)
    labels = struct.pack(">2I", 0x801, n) + bytes(r[1] for r in rows)
    write(folder / f"{prefix}-images-idx3-ubyte.gz", images)
    write(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: make_digits.py digits.csv.gz FOLDER")
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    train, test = split(read_rows(sys.argv[1]))
    write_pair(folder, "train", train)
    write_pair(folder, "t10k", test)


if __name__ == "__main__":
    main()
