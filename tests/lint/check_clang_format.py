"""Every C file is as clang-format 14 leaves it. Other versions format differently,
so with another version, or none, this is skipped and says so."""

import pathlib
import re
import shutil
import subprocess
import tempfile

from tree import Tap, source_files, top

VERSION = "14"


def find_program():
    """(path, None) of the right version, or (None, why not)."""
    found = "clang-format is not installed"
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if not path:
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"version (\d+)", text)
        if version and version[1] == VERSION:
            return path, None
        found = f"{name} is not version {VERSION}: {text.strip()}"
    return None, found


def complaints(program, root, files):
    command = [program, "--dry-run", "--Werror", "--style=file", *map(str, files)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    lines = [line for line in run.stderr.splitlines() if "error:" in line]
    if run.returncode != 0 and not lines:
        lines = run.stderr.splitlines() or [f"exit status {run.returncode}"]
    return lines


def main():
    root = top()
    tap = Tap()
    program, why_not = find_program()
    name = "the sources are formatted"
    if not program:
        tap.skip(name, why_not)
        tap.end()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(root / ".clang-format", folder)
        pathlib.Path(folder, "x.c").write_text("int  main ( void ){return 0;}\n")
        tap.finds("a file that is not formatted", complaints(program, folder, ["x.c"]))
    tap.ok(name, complaints(program, root, source_files(root)))
    tap.end()


if __name__ == "__main__":
    main()
