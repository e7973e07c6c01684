"""tools/check.py must not pass what did not pass: planted projects go through it.

    check_check.py ROOT"""

import contextlib
import importlib.util
import io
import pathlib
import re
import sys
import tempfile

from tree import Tap, top

# NAME: (what the test program prints and does, must ./check fail?)
PLANTED = {
    "a test that passes": ("print('ok 1 - adds\\n1..1')", False),
    "a skip that is listed": ("print('ok 1 - a\\nok 2 - listed # SKIP why\\n1..2')", False),
    "a failing case": ("print('ok 1 - a\\nnot ok 2 - b\\n1..2')", True),
    "a skip that is not listed": ("print('ok 1 - a\\nok 2 - b # SKIP tired\\n1..2')", True),
    "a whole test skipped": ("print('1..0 # SKIP tired')", True),
    "a crash": ("print('ok 1 - a\\n1..1', flush=True); os.abort()", True),
    "a crash before any output": ("os.abort()", True),
    "a bad exit status": ("print('ok 1 - a\\n1..1'); sys.exit(3)", True),
    "a missing case": ("print('ok 1 - a\\n1..2')", True),
    "a timeout": ("print('ok 1 - a\\n1..1', flush=True); time.sleep(60)", True),
}
MESON = """project('planted', meson_version: '>=1.0.0')
add_test_setup('quick', is_default: true)
add_test_setup('full')
test('%s', find_program('python3'),
  args: files('planted.py'), protocol: 'tap', suite: '%s', timeout: 2)
"""
LAST_LINE = re.compile(r"^(\d+) passed, (\d+) failed$")


def load(root):
    """tools/check.py as a module."""
    spec = importlib.util.spec_from_file_location("check", root / "tools" / "check.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["check"] = module
    spec.loader.exec_module(module)
    return module


def plant(folder, body, suite="unit"):
    test = "listed" if "listed # SKIP" in body else "planted"
    (folder / "meson.build").write_text(MESON % (test, suite))
    (folder / "planted.py").write_text(f"import os, sys, time\n{body}\n")
    (folder / "skips.txt").write_text("# a comment\nunit / listed: why it may be skipped\n")


def run_check(check, folder, budget_min=1.0, needs=()):
    """The exit status of ./check on a folder, and its last line."""
    check.TOP = folder
    check.ALLOWED_SKIPS = folder / "skips.txt"
    check.STAGES = (check.Stage("planted", "build", budget_min, ("unit",), needs=needs),)
    sys.argv = ["check"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = check.main()
    return status, out.getvalue().strip().splitlines()[-1]


def dishonest(status, last, must_fail):
    """What is wrong with an exit status and a last line."""
    match = LAST_LINE.match(last)
    if not match:
        return [f"the last line is {last!r}"]
    n_passed, n_failed = map(int, match.groups())
    wrong = []
    if bool(status) != must_fail:
        wrong.append(f"exit status {status}")
    if bool(n_failed) != must_fail or (not must_fail and n_passed + n_failed == 0):
        wrong.append(f"the last line is {last!r}")
    return wrong


def check_planted(tap, check, name, body, must_fail, suite="unit", **more):
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)
        plant(folder, body, suite)
        status, last = run_check(check, folder, **more)
    tap.ok(f"{name} {'fails' if must_fail else 'passes'}",
           dishonest(status, last, must_fail))


def check_parsing(tap, check):
    cases = check.tap_results(
        "TAP version 13\nok 1 - a b\nnot ok 2 - c\nok 3 # SKIP d\nok 4 - e # skip: f\n"
        "# ok 5 - a comment\n1..4\n")
    found = [(case.name, case.state, case.reason) for case in cases]
    wanted = [("a b", "passed", ""), ("c", "failed", ""),
              ("d", "skipped", "skipped by the test"), ("e", "skipped", "f")]
    tap.ok("TAP lines are read", [] if found == wanted else [str(found)])
    for written in ("cygnet:unit+slow / base json", "unit+slow - cygnet:base json"):
        found = check.split_name(written)
        tap.ok(f"the test name of {written} is read",
               [] if found == (["unit", "slow"], "base json") else [str(found)])


def main():
    tap = Tap()
    check = load(top())
    check_parsing(tap, check)
    for name, (body, must_fail) in PLANTED.items():
        check_planted(tap, check, name, body, must_fail)
    passing = PLANTED["a test that passes"][0]
    check_planted(tap, check, "a suite that no stage runs", passing, True, "forgotten")
    check_planted(tap, check, "a budget that runs out", passing, True, budget_min=0.0001)
    check_planted(tap, check, "a stage that lacks a command", passing, True,
                  needs=("no-such-command",))
    check_planted(tap, check, "a stage that lacks a file", passing, True,
                  needs=("no/such-file",))
    check_planted(tap, check, "a stage that has what it needs", passing, False,
                  needs=("sh", "./planted.py"))
    tap.finds("an exit status of 0 after a failure", dishonest(0, "1 passed, 1 failed", True))
    tap.finds("a last line without the failure", dishonest(1, "1 passed, 0 failed", True))
    tap.finds("no last line", dishonest(1, "Traceback", True))
    tap.end()


if __name__ == "__main__":
    main()
