#!/usr/bin/env python3
"""Writes files as one C source: an array per file and a table of them.

    embed.py OUTPUT.c HEADER TABLE FILE...

HEADER declares `struct embedded_file {const char *name; const unsigned char
*data; size_t len;}` and `extern const struct embedded_file TABLE[]`, which ends
with a NULL name."""

import pathlib
import sys


def main():
    output, header, table, *files = sys.argv[1:]
    lines = [f'#include "{header}"', "#include <stddef.h>", ""]
    rows = []
    for number, file in enumerate(files):
        data = pathlib.Path(file).read_bytes()
        lines.append(f"static const unsigned char file_{number}[] = {{")
        for start in range(0, len(data), 20):
            lines.append(" ".join(f"{b}," for b in data[start : start + 20]))
        lines.append("};")
        name = pathlib.Path(file).name
        rows.append(f'    {{"{name}", file_{number}, sizeof(file_{number})}},')
    lines += [f"const struct embedded_file {table}[] = {{", *rows, "    {NULL, NULL, 0},", "};"]
    pathlib.Path(output).write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
