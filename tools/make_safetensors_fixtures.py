"""Writes tests/golden/safetensors with the Python safetensors package.

Run with the folder as argument; needs numpy and safetensors. The fixtures are what
the reader must accept, byte for byte as that package wrote them."""

import pathlib
import sys

import numpy
from safetensors.numpy import save_file


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "f64": numpy.float64, "f32": numpy.float32, "f16": numpy.float16,
        "i64": numpy.int64, "i32": numpy.int32, "i16": numpy.int16,
        "i8": numpy.int8, "u8": numpy.uint8,
    }
    mixed = {name: numpy.arange(6, dtype=kind).reshape(2, 3) for name, kind in kinds.items()}
    mixed["bool"] = numpy.array([True, False, True])
    save_file(mixed, folder / "mixed.safetensors", metadata={"format": "pt", "note": "häl\"f"})
    save_file(
        {"scalar": numpy.array(2.5, dtype=numpy.float32),
         "empty": numpy.zeros((0, 4), dtype=numpy.float32),
         "after": numpy.array([7], dtype=numpy.int32)},
        folder / "odd_shapes.safetensors")
    save_file({}, folder / "none.safetensors")


if __name__ == "__main__":
    main()
