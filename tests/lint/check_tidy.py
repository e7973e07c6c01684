"""clang-tidy with the checks of .clang-tidy over every file of a build directory.

    check_tidy.py ROOT BUILD_DIR"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from tree import Tap, top

ROOMS = ("base", "engine", "transport", "fl", "sdk", "examples")
ASSERTS = ("--extra-arg=-UNDEBUG",)  # what they guarantee, clang-tidy may believe
PLANTED = "int f(int *p);\nint f(int *p)\n{\n    p = 0;\n    return *p;\n}\n"


def sources(root, build_dir):
    """The C files of the library and the programs that were compiled here."""
    entries = json.loads((build_dir / "compile_commands.json").read_text())
    paths = {(pathlib.Path(e["directory"]) / e["file"]).resolve() for e in entries}
    inside = [p for p in paths if p.suffix == ".c" and root in p.parents]
    return sorted(p for p in inside if p.relative_to(root).parts[0] in ROOMS)


def complaints(arguments, path):
    run = subprocess.run(
        ["clang-tidy", "--quiet", *arguments[:-1], str(path), *arguments[-1]],
        capture_output=True, text=True, errors="replace")
    lines = [line for line in run.stdout.splitlines() if ": error:" in line]
    if run.returncode != 0 and not lines:
        lines = [run.stderr.strip() or f"{path}: exit status {run.returncode}"]
    return lines


def main():
    root, build_dir = top(), pathlib.Path(sys.argv[2])
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        planted = pathlib.Path(folder, "planted.c")
        planted.write_text(PLANTED)
        config = f"--config-file={root / '.clang-tidy'}"
        tap.finds("a null pointer that is read", complaints([config, ["--"]], planted))
    n_cpus = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(n_cpus) as pool:
        paths = sources(root, build_dir)
        found = pool.map(lambda p: complaints([f"-p={build_dir}", *ASSERTS, []], p), paths)
        for path, lines in zip(paths, found):
            tap.ok(path.relative_to(root).as_posix(), lines)
    tap.end()


if __name__ == "__main__":
    main()
