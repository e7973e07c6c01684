#!/usr/bin/env python3
"""Every public header compiles alone, and all of them together, in every language
an app may be written in, without a warning.

usage: check_headers.py HEADER_DIR CC... -- CXX...
"""
import pathlib
import subprocess
import sys
import tempfile

FLAGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wstrict-prototypes",
         "-fsyntax-only"]
LANGUAGES = [("c", "c99"), ("c", "c11"), ("c++", "c++11"), ("c++", "c++17")]


def compile_text(compiler, language, standard, include, text, folder):
    source = pathlib.Path(folder, "probe.c" if language == "c" else "probe.cc")
    source.write_text(text, encoding="utf-8")
    flags = [f for f in FLAGS if language == "c" or f != "-Wstrict-prototypes"]
    return subprocess.run(
        [*compiler, "-x", language, f"-std={standard}", *flags, "-I", include,
         str(source)], capture_output=True, text=True)


def main():
    include = sys.argv[1]
    split = sys.argv.index("--")
    compilers = {"c": sys.argv[2:split], "c++": sys.argv[split + 1:]}
    headers = sorted(h.relative_to(include).as_posix()
                     for h in pathlib.Path(include).rglob("*.h"))
    probes = [[h] for h in headers] + [headers, headers[::-1], headers + headers]
    n_failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for language, standard in LANGUAGES:
            for probe in probes:
                text = "".join(f"#include <{h}>\n" for h in probe)
                # ISO C forbids an empty translation unit.
                text += "int cygnet_header_probe;\n"
                done = compile_text(compilers[language], language, standard, include,
                                    text, folder)
                if done.returncode != 0:
                    n_failed += 1
                    print(f"{standard}: {' '.join(probe)}\n{done.stderr}")
    print(f"{len(headers)} headers, {n_failed} failures")
    return 1 if n_failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
