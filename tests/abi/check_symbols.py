#!/usr/bin/env python3
"""The library exports what the public headers declare: no more and no less.

usage: check_symbols.py LIBRARY HEADER_DIR
"""
import pathlib
import re
import subprocess
import sys

DECLARATION = re.compile(r"CYGNET_API\b[^;{]*?\b(cygnet_\w+)\s*\(", re.S)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
FUNCTION = re.compile(r"^[^\s#/*}][^;{]*?\b(cygnet_\w+)\s*\([^;{]*\)[^;{]*;", re.S | re.M)


def declared(header_dir):
    names = set()
    for header in sorted(pathlib.Path(header_dir).rglob("*.h")):
        text = COMMENT.sub(" ", header.read_text(encoding="utf-8"))
        names.update(DECLARATION.findall(text))
    return names


def unmarked(header_dir):
    """Function prototypes at the left margin that lack CYGNET_API."""
    found = set()
    for header in sorted(pathlib.Path(header_dir).rglob("*.h")):
        text = COMMENT.sub(" ", header.read_text(encoding="utf-8"))
        for match in FUNCTION.finditer(text):
            words = match.group(0)
            if "CYGNET_API" not in words and "typedef" not in words:
                found.add(match.group(1))
    return found


def exported(library):
    out = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", library],
        check=True, capture_output=True, text=True).stdout
    return {line.split()[0].split("@")[0] for line in out.splitlines()}


def main():
    library, header_dir = sys.argv[1:]
    in_headers = declared(header_dir)
    in_library = exported(library)
    problems = [f"exported, but in no public header: {n}"
                for n in sorted(in_library - in_headers)]
    problems += [f"declared, but not exported: {n}"
                 for n in sorted(in_headers - in_library)]
    problems += [f"declared without CYGNET_API: {n}"
                 for n in sorted(unmarked(header_dir))]
    if len(in_headers) < 10:
        problems.append(f"only {len(in_headers)} declarations found: wrong folder?")
    for problem in problems:
        print(problem)
    print(f"{len(in_library)} symbols exported, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
