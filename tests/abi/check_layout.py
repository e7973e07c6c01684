#!/usr/bin/env python3
"""Sizes, offsets and enumerators of the public structs are those of layout.golden.

usage: check_layout.py [--write] HEADER_DIR GOLDEN CC...

The program that prints them is made from the headers, so that a struct cannot be
forgotten. The golden file is of LP64 little-endian machines; elsewhere the test is
skipped (exit code 77).
"""
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

COMMENT = re.compile(r"/\*.*?\*/", re.S)
STRUCT = re.compile(r"typedef struct \w+ \{(.*?)\n\} (cygnet_\w+);", re.S)
ENUM = re.compile(r"typedef enum \w+ \{(.*?)\n\} (cygnet_\w+);", re.S)
CONSTANT = re.compile(r"^#define (CYGNET_[A-Z0-9_]+) \d+", re.M)


def members(body):
    for declaration in body.split(";"):
        pointer = re.search(r"\(\*(\w+)\)\s*\(", declaration)
        plain = re.search(r"(\w+)\s*(\[\w+( \+ \d+)?\])*\s*$", declaration.strip())
        if pointer:
            yield pointer.group(1)
        elif plain:
            yield plain.group(1)


def program(include):
    headers = sorted(pathlib.Path(include).rglob("*.h"))
    lines = ["#include <stddef.h>", "#include <stdio.h>"]
    lines += [f"#include <{h.relative_to(include).as_posix()}>" for h in headers]
    lines.append("int main(void)\n{")
    for header in headers:
        text = COMMENT.sub(" ", header.read_text(encoding="utf-8"))
        for name in CONSTANT.findall(text):
            lines.append(f'printf("{name} = %ld\\n", (long){name});')
        for body, name in ENUM.findall(text):
            for item in re.findall(r"\b(CYGNET_\w+)\s*=", body):
                lines.append(f'printf("{name} {item} = %d\\n", (int){item});')
        for body, name in STRUCT.findall(text):
            lines.append(f'printf("{name} size %zu\\n", sizeof({name}));')
            for member in members(body):
                lines.append(f'printf("{name}.{member} at %zu\\n", '
                             f"offsetof({name}, {member}));")
    lines.append("return 0;\n}\n")
    return "\n".join(lines)


def measure(include, compiler):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "layout.c")
        source.write_text(program(include), encoding="utf-8")
        binary = str(pathlib.Path(folder, "layout"))
        subprocess.run([*compiler, "-std=c11", "-I", include, str(source), "-o", binary],
                       check=True)
        return subprocess.run([binary], check=True, capture_output=True,
                              text=True).stdout.splitlines()


def main():
    args = sys.argv[1:]
    write = args[0] == "--write"
    include, golden, *compiler = args[1:] if write else args
    if struct.calcsize("P") != 8 or sys.byteorder != "little":
        print("skip: layout.golden is of 64-bit little-endian machines")
        return 77
    found = measure(include, compiler)
    if write:
        pathlib.Path(golden).write_text("\n".join(found) + "\n", encoding="utf-8")
        return 0
    expected = pathlib.Path(golden).read_text(encoding="utf-8").splitlines()
    for line in sorted(set(expected) - set(found)):
        print(f"was   {line}")
    for line in sorted(set(found) - set(expected)):
        print(f"is    {line}")
    print(f"{len(found)} lines of layout, {len(expected)} expected")
    return 0 if found == expected and len(found) > 100 else 1


if __name__ == "__main__":
    sys.exit(main())
