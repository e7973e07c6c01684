#!/usr/bin/env python3
"""Installs the library into an empty folder and builds examples/minimal against what
lies there, with pkg-config alone, shared and static; then runs both.

usage: check_install.py BUILD_DIR MAIN_C CC...
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MAX_LINES = 99


def run(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        print(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        raise SystemExit(1)
    return done.stdout


def meson_command():
    introspected = os.environ.get("MESONINTROSPECT", "")
    if introspected.endswith(" introspect"):
        return introspected[:-len(" introspect")].split()
    return [shutil.which("meson") or sys.exit("meson is not on PATH")]


def install(build, folder):
    environment = dict(os.environ, DESTDIR=str(folder))
    run([*meson_command(), "install", "-C", build, "--no-rebuild"], env=environment)
    found = list(pathlib.Path(folder).rglob("cygnet.pc"))
    assert len(found) == 1, f"pkg-config files: {found}"
    return found[0]


def flags(pc_file, folder, *options):
    """pkg-config's answer with every path moved below the folder."""
    prefix = pathlib.Path(run(["pkg-config", "--variable=prefix", str(pc_file)]).strip())
    environment = dict(os.environ)
    environment["PKG_CONFIG_PATH"] = str(pc_file.parent)
    where = f"{folder}{prefix}"
    return run(["pkg-config", f"--define-variable=prefix={where}", "--cflags", "--libs",
                *options, "cygnet"], env=environment).split()


def only_static(options, library_dir):
    """The linker takes a shared library when it finds one; name the archive."""
    archive = str(library_dir / "libcygnet.a")
    return [archive if option == "-lcygnet" else option for option in options]


def sanitizers(build):
    """A library built with a sanitizer needs it at the consumer's link too."""
    text = run([*meson_command(), "introspect", "--buildoptions", build])
    import json
    for option in json.loads(text):
        if option["name"] == "b_sanitize":
            value = option["value"]
            names = value if isinstance(value, str) else ",".join(value)
            return [] if names in ("", "none") else [f"-fsanitize={names}"]
    return []


def check_program(program, folder, library_dir):
    """Without arguments: how it is used. With a server that must be refused: why."""
    environment = dict(os.environ, LD_LIBRARY_PATH=str(library_dir))
    done = subprocess.run([program], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "usage: minimal" in done.stderr, done
    data = folder / "data.csv"
    data.write_text("1,0.5,0.25\n0,0.1,0.2\n", encoding="utf-8")
    done = subprocess.run(
        [program, "http://example.org/", "test", folder / "state", data],
        capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done
    assert done.stderr.startswith("minimal: server_url: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def needs_library(program):
    return "libcygnet.so" in run(["readelf", "-d", program])


def main():
    build, source, *compiler = sys.argv[1:]
    n_lines = len(pathlib.Path(source).read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{source} has {n_lines} lines, at most {MAX_LINES} pass"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        root = folder / "root"
        pc_file = install(build, root)
        library_dir = pc_file.parent.parent
        extra = sanitizers(build)
        build_line = [*compiler, *extra, "-std=c11", "-Wall", "-Wextra", "-Werror",
                      source, "-o"]
        shared = folder / "minimal-shared"
        run([*build_line, shared, *flags(pc_file, root)])
        assert needs_library(shared)
        check_program(shared, folder, library_dir)
        static = folder / "minimal-static"
        run([*build_line, static,
             *only_static(flags(pc_file, root, "--static"), library_dir)])
        assert not needs_library(static)
        check_program(static, folder, library_dir)
    print(f"installed, built and ran minimal ({n_lines} lines), shared and static")


if __name__ == "__main__":
    main()
