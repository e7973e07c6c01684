"""Builds Cygnet in several ways and runs every test: what CI runs.

    ./check [--full] [--only STAGE]

Each stage builds one directory and runs some suites in it within a budget, given
for two cores; CYGNET_CHECK_SLOW=2 doubles every budget on a slower machine. The
end is a table of suites and the line "N passed, N failed". A failed build, a
budget that ran out, a suite without tests, a test of a suite that no stage runs,
and a skip that tests/allowed_skips.txt does not list each count as a failure.
Exit status: 0 when nothing failed.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

TOP = pathlib.Path(__file__).resolve().parent.parent
ALLOWED_SKIPS = TOP / "tests" / "allowed_skips.txt"
LOG_TAIL_LINES = 40
FAILURE_LINES = 400  # of one test program's failed tests
SLOW_SUITE = "slow"  # tests that only --full runs
NATIVE_SUITE = "native"  # a mark of tests that an emulator does not run


@dataclass(frozen=True)
class Stage:
    """One build directory and the suites that run in it.

    options      of meson setup; the compiler is chosen by `env`
    test_setup   of meson test: environment and wrapper, see tests/meson.build
    without      marks of tests that the stage leaves out
    needs        commands and files of the tree without which the stage is skipped,
                 which is a failure unless allowed for the system: tools/setup.sh
                 cannot bring them everywhere
    """

    name: str
    build_dir: str
    budget_min: float
    suites: tuple
    options: tuple = ()
    test_setup: str = ""
    env: tuple = ()
    without: tuple = ()
    needs: tuple = ()
    full_only: bool = False


LIBRARY_SUITES = ("unit", "kernels", "protocol", "fuzz")
RELEASE = ("-Dbench=enabled",)
SANITIZER = ("--buildtype=debugoptimized", "-Db_lundef=false")

STAGES = (
    Stage("release", "build-check", 5, LIBRARY_SUITES + ("lint", "abi"),
          RELEASE),
    Stage("asan", "build-asan", 10, LIBRARY_SUITES,
          SANITIZER + ("-Db_sanitize=address,undefined",), "asan"),
    Stage("tsan", "build-tsan", 6, ("threads",),
          SANITIZER + ("-Db_sanitize=thread",), "tsan"),
    Stage("arm64", "build-arm64", 8, ("unit", "kernels"),
          ("--buildtype=debugoptimized", "--cross-file=build-arm64/arm64.ini",
           "-Drooms=engine"), "emulated",
          without=(NATIVE_SUITE,),
          needs=("aarch64-linux-gnu-gcc", "qemu-aarch64", "build-arm64/sysroot/.done")),
    Stage("musl", "build-musl", 2, ("unit",),
          ("--buildtype=debugoptimized", "-Drooms=bare"),
          env=(("CC", "musl-gcc"),), needs=("musl-gcc",)),
    Stage("e2e", "build-check", 6, ("e2e",), RELEASE),
    Stage("torture", "build-check", 4, ("torture",), RELEASE),
    Stage("asan-torture", "build-asan", 30, ("torture", "e2e"),
          SANITIZER + ("-Db_sanitize=address,undefined",), "asan", full_only=True),
    Stage("clang", "build-clang", 10, LIBRARY_SUITES + ("abi",),
          env=(("CC", "clang"), ("CXX", "clang++")), full_only=True),
    Stage("valgrind", "build-check", 30, ("unit", "protocol"), RELEASE,
          "valgrind", full_only=True),
    Stage("tidy", "build-clang", 30, ("tidy",),
          env=(("CC", "clang"), ("CXX", "clang++")), full_only=True),
)


@dataclass
class Result:
    """One test case: a line of TAP, or a whole test that does not speak TAP."""

    name: str
    state: str  # "passed", "failed" or "skipped"
    reason: str = ""


@dataclass
class Row:
    """One suite in one stage."""

    stage: str
    suite: str
    seconds: float = 0.0
    results: list = field(default_factory=list)

    def count(self, state):
        return sum(result.state == state for result in self.results)


# ---- What meson wrote down --------------------------------------------------

TAP_LINE = re.compile(r"^(not )?ok\b\s*\d*\s*(?:- )?\s*(.*)$")
DIRECTIVE = re.compile(r"^(.*?)\s*#\s*(skip|todo)\b[:\s]*(.*)$", re.IGNORECASE)
NAMES = (
    re.compile(r"^[^:/ ]+:(?P<suites>\S+) / (?P<name>.*)$"),  # meson 1.0 to 1.9
    re.compile(r"^(?P<suites>\S+) - [^:/ ]+:(?P<name>.*)$"),  # later
)


def split_name(name):
    """The suites and the bare name of a test in testlog.json."""
    for pattern in NAMES:
        match = pattern.match(name)
        if match:
            return match["suites"].split("+"), match["name"]
    return [], name


def tap_results(text):
    """The test cases in TAP output."""
    results = []
    for line in text.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        name, state, reason = match[2], "failed" if match[1] else "passed", ""
        directive = DIRECTIVE.match(name)
        if directive:
            name, reason = directive[1], directive[3]
            state = "skipped"
            if not name:  # cmocka puts the name where the reason belongs
                name, reason = reason, "skipped by the test"
        results.append(Result(name, state, reason))
    return results


def results_of(entry):
    """The test cases of one line of testlog.json."""
    _, name = split_name(entry["name"])
    output = entry.get("stdout") or ""
    results = [
        Result(f"{name}: {case.name}", case.state, case.reason)
        for case in tap_results(output)
    ]
    verdict = entry["result"]
    if verdict == "SKIP" and not results:
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        reason = re.sub(r"^1\.\.0\s*#\s*skip\S*\s*", "", last, flags=re.IGNORECASE)
        return [Result(name, "skipped", reason)]
    good = verdict in ("OK", "EXPECTEDFAIL", "SKIP")
    if not results:
        return [Result(name, "passed" if good else "failed", verdict)]
    if not good and all(case.state != "failed" for case in results):
        results.append(Result(f"{name}: {verdict}", "failed", verdict))
    return results


def read_log(build_dir, logbase):
    path = build_dir / "meson-logs" / f"{logbase}.json"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        return [json.loads(line) for line in file if line.strip()]


# ---- Allowed skips ----------------------------------------------------------


def read_allowed_skips():
    patterns = []
    for line in ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            test = line.split(": ", 1)[0]
            patterns += [test, test + ": *"]  # the test, or any case of it
    return patterns


def judge_skips(rows, patterns):
    """Turns every skip that is not allowed into a failure."""
    for row in rows:
        for result in row.results:
            name = f"{row.suite} / {result.name}"
            if result.state == "skipped" and not any(
                fnmatch.fnmatch(name, pattern) for pattern in patterns
            ):
                result.state = "failed"
                result.reason = f"skipped, which is not allowed: {result.reason}"


# ---- Running ----------------------------------------------------------------


class OverBudget(Exception):
    pass


def run(argv, deadline, log_path, env, show):
    """Runs a command with its output in a log. Returns the exit status."""
    with open(log_path, "a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(argv)}\n")
        log.flush()
        process = subprocess.Popen(
            argv, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1,
            start_new_session=True)
        timed_out = []

        def stop(*_):
            timed_out.append(True)
            os.killpg(process.pid, signal.SIGTERM)

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), 0.01))
        try:
            for line in process.stdout:
                log.write(line)
                if show.match(line):
                    print("  " + line.rstrip(), flush=True)
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if timed_out:
        raise OverBudget
    return status


def tail(path, n_lines=LOG_TAIL_LINES):
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join("    " + line for line in lines[-n_lines:])


NOTHING = re.compile(r"(?!)")
TEST_LINE = re.compile(r"^\s*\d+/\d+ ")


class Runner:
    def __init__(self, full, slow):
        self.full = full
        self.slow = slow
        self.rows = []
        self.known_suites = set()

    def stage(self, stage):
        """Builds and tests; every trouble becomes a failed row."""
        print(f"== {stage.name} ({stage.build_dir})", flush=True)
        build_dir = TOP / stage.build_dir
        build_dir.mkdir(exist_ok=True)
        log = build_dir / f"check-{stage.name}.log"
        log.write_text("", encoding="utf-8")
        missing = [need for need in stage.needs if not is_there(need)]
        if missing:
            self.skip(stage, "missing: " + ", ".join(missing))
            return
        start = time.monotonic()
        budget = stage.budget_min * 60 * self.slow
        deadline = start + budget
        try:
            self.build(stage, build_dir, log, deadline)
            self.known_suites |= suites_of(build_dir)
            self.test(stage, build_dir, log, deadline)
        except OverBudget:
            self.trouble(stage, f"did not end within {budget:.0f} s", log)
        except subprocess.CalledProcessError as error:
            self.trouble(stage, f"{' '.join(error.cmd[:2])} failed", log)
        print(f"   {stage.name}: {time.monotonic() - start:.0f} s", flush=True)

    def trouble(self, stage, what, log):
        print(f"   {stage.name} {what}; the end of {log}:\n{tail(log)}", flush=True)
        self.rows.append(Row(stage.name, "build", 0.0, [Result(what, "failed", what)]))

    def skip(self, stage, why):
        print(f"   {stage.name} SKIPPED: {why}", flush=True)
        name = f"packages for {stage.name} on {system_id()}"
        self.rows.append(Row(stage.name, "build", 0.0, [Result(name, "skipped", why)]))

    def build(self, stage, build_dir, log, deadline):
        start = time.monotonic()
        env = dict(os.environ, **dict(stage.env))
        commands = [["meson", "compile", "-C", str(build_dir)]]
        if not (build_dir / "build.ninja").exists():
            shutil.rmtree(build_dir / "meson-private", ignore_errors=True)
            commands.insert(0, ["meson", "setup", str(build_dir), "--werror",
                                *stage.options])
        for command in commands:
            if run(command, deadline, log, env, NOTHING) != 0:
                raise subprocess.CalledProcessError(1, command)
        print(f"   built in {time.monotonic() - start:.0f} s", flush=True)

    def test(self, stage, build_dir, log, deadline):
        test_setup = stage.test_setup or ("full" if self.full else "quick")
        logbase = f"testlog-{test_setup}"
        (build_dir / "meson-logs" / f"{logbase}.json").unlink(missing_ok=True)
        command = ["meson", "test", "-C", str(build_dir), "--no-rebuild",
                   "--setup", test_setup]
        for suite in stage.suites:
            command += ["--suite", suite]
        for suite in stage.without + (() if self.full else (SLOW_SUITE,)):
            command += ["--no-suite", suite]
        env = dict(os.environ, CYGNET_CHECK="1")
        try:
            run(command, deadline, log, env, TEST_LINE)
        finally:
            self.collect(stage, read_log(build_dir, logbase))

    def collect(self, stage, entries):
        rows = {suite: Row(stage.name, suite) for suite in stage.suites}
        for entry in entries:
            suites, name = split_name(entry["name"])
            row = rows[next(suite for suite in stage.suites if suite in suites)]
            row.seconds += entry["duration"]
            results = results_of(entry)
            row.results += results
            if any(result.state == "failed" for result in results):
                show_failure(name, entry)
        for row in rows.values():
            if not row.results:
                row.results.append(Result("(suite)", "failed", "ran no tests"))
        self.rows += rows.values()


def is_there(need):
    return (TOP / need).exists() if "/" in need else shutil.which(need) is not None


def system_id():
    """What the system calls itself: debian, ubuntu, ..."""
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return platform.system().lower()


def suites_of(build_dir):
    """The suites of every test in a build directory."""
    text = subprocess.run(["meson", "introspect", str(build_dir), "--tests"], check=True,
                          capture_output=True, text=True).stdout
    return {suite.split(":")[-1] for test in json.loads(text) for suite in test["suite"]}


def failed_lines(lines):
    """The failed tests of a TAP stream, each with the end of its comments."""
    found = []
    for i, line in enumerate(lines):
        if line.lstrip().startswith("not ok"):
            end = i + 1
            while end < len(lines) and lines[end].lstrip().startswith("#"):
                end += 1
            found += [line, *lines[i + 1:end][-LOG_TAIL_LINES:]]
    return found[:FAILURE_LINES]


def show_failure(name, entry):
    print(f"\n   FAILED {name} (exit status {entry.get('returncode')})")
    for stream in ("stdout", "stderr"):
        lines = (entry.get(stream) or "").splitlines()
        shown = failed_lines(lines)
        where = "failed tests in" if shown else "the end of"
        shown = shown or lines[-LOG_TAIL_LINES:]
        if shown:
            print(f"   --- {where} {stream}")
            print("\n".join("    " + line for line in shown))
    print(flush=True)


# ---- The end ----------------------------------------------------------------


def print_table(rows):
    print(f"\n{'stage':<14}{'suite':<12}{'tests':>7}{'failed':>8}{'skipped':>9}"
          f"{'seconds':>9}")
    for row in rows:
        print(f"{row.stage:<14}{row.suite:<12}{len(row.results):>7}"
              f"{row.count('failed'):>8}{row.count('skipped'):>9}{row.seconds:>9.1f}")
    for state in ("skipped", "failed"):
        lines = [(row, result) for row in rows for result in row.results
                 if result.state == state]
        for row, result in lines:
            print(f"{state}: {row.stage}: {row.suite} / {result.name}: {result.reason}")


def main():
    parser = argparse.ArgumentParser(
        prog="./check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true",
                        help="also what does not fit the budget")
    parser.add_argument("--only", action="append", metavar="STAGE",
                        choices=[stage.name for stage in STAGES],
                        help="run this stage (may be given several times)")
    options = parser.parse_args()

    runner = Runner(options.full, float(os.environ.get("CYGNET_CHECK_SLOW", "1")))
    start = time.monotonic()
    for stage in STAGES:
        if stage.name in options.only if options.only else (
                options.full or not stage.full_only):
            runner.stage(stage)
    covered = {suite for stage in STAGES for suite in stage.suites}
    covered |= {SLOW_SUITE, NATIVE_SUITE}
    for suite in sorted(runner.known_suites - covered):
        runner.rows.append(Row("-", suite, 0.0, [
            Result("(suite)", "failed", "no stage of tools/check.py runs it")]))

    judge_skips(runner.rows, read_allowed_skips())
    print_table(runner.rows)
    n_passed = sum(row.count("passed") for row in runner.rows)
    n_failed = sum(row.count("failed") for row in runner.rows)
    print(f"\n{time.monotonic() - start:.0f} seconds")
    print(f"{n_passed} passed, {n_failed} failed", flush=True)
    return 1 if n_failed or not n_passed else 0


if __name__ == "__main__":
    sys.exit(main())
