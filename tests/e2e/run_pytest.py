#!/usr/bin/env python3
"""Runs one pytest file and prints its results as TAP, for `meson test`.

    run_pytest.py FILE [pytest options]

Each test is one TAP line; skips carry their reason, so that they are visible in
the test summary. Exit status: 0 when nothing failed."""

import sys

try:
    import pytest
except ImportError:
    print("1..0 # SKIP python3 pytest is not installed")
    sys.exit(0)


class Tap:
    """A pytest plug-in that writes one TAP line per test."""

    def __init__(self):
        self.n_tests = 0
        self.n_failed = 0

    def pytest_addoption(self, parser):
        # pytest asks for it to explain an assertion; the terminal would define it.
        parser.addoption("--verbose", type=int, default=0)

    def line(self, ok, name, directive=""):
        self.n_tests += 1
        self.n_failed += not ok
        word = "ok" if ok else "not ok"
        print(f"{word} {self.n_tests} - {name}{directive}", flush=True)

    def comment(self, text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    def pytest_addoption(self, parser):
        # The terminal plug-in's option, which pytest's assertion texts ask for.
        parser.addoption("--verbose", action="count", default=0)

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::", 1)[-1].replace("#", "")
        if report.skipped:
            reason = report.longrepr
            if isinstance(reason, tuple):
                reason = reason[2].removeprefix("Skipped: ")
            self.line(True, name, f" # SKIP {reason}")
        elif report.failed:
            self.line(False, name if report.when == "call" else f"{name} {report.when}")
            self.comment(report.longrepr)
            for title, text in report.sections:
                self.comment(f"--- {title}\n{text}")
        elif report.when == "call":
            self.line(True, name)

    def pytest_collectreport(self, report):
        if report.failed:
            self.line(False, f"collect {report.nodeid}")
            self.comment(report.longrepr)


def main():
    tap = Tap()
    print("TAP version 13")
    options = ["-p", "no:terminal", "-p", "no:cacheprovider", *sys.argv[1:]]
    status = pytest.main(options, plugins=[tap])
    if tap.n_tests == 0:
        tap.line(False, f"pytest found no tests (status {int(status)})")
    elif status not in (0, 1):
        tap.line(False, f"pytest ended with status {int(status)}")
    print(f"1..{tap.n_tests}")
    return 1 if tap.n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
