"""What the lint tests share: the files of the tree and TAP output."""

import pathlib
import re
import sys

SOURCE_ROOMS = ("base", "engine", "transport", "fl", "sdk", "examples", "tests")
SKIPPED_FOLDERS = {"__pycache__", ".pytest_cache", "corpus", "golden", "data"}


def top():
    return pathlib.Path(sys.argv[1]).resolve()


def source_files(root, suffixes=(".c", ".h", ".cpp")):
    """Every source file below the rooms, as paths relative to root."""
    found = []
    for room in SOURCE_ROOMS:
        for path in sorted((root / room).rglob("*")):
            relative = path.relative_to(root)
            if path.suffix in suffixes and not SKIPPED_FOLDERS & set(relative.parts[:-1]):
                found.append(relative)
    return found


def read(root, relative):
    return (root / relative).read_text(encoding="utf-8")


BLANKED = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)


def blank(match):
    text = match.group()
    if text[0] in "\"'":
        return text[0] + " " * (len(text) - 2) + text[-1]
    return re.sub(r"[^\n]", " ", text)


def code_only(text):
    """The text with comments, strings and characters blanked, same lengths."""
    return BLANKED.sub(blank, text)


class Tap:
    """Results as TAP; `ok` takes the violations, and none is a pass."""

    def __init__(self):
        self.n_tests = 0
        self.n_failed = 0

    def ok(self, name, violations):
        self.n_tests += 1
        self.n_failed += bool(violations)
        print(f"{'not ok' if violations else 'ok'} {self.n_tests} - {name}")
        for violation in violations:
            print(f"# {violation}")

    def finds(self, name, violations):
        """A self-test: the planted violation must have been found."""
        self.ok(f"self-test: {name}", [] if violations else ["was not found"])

    def skip(self, name, reason):
        self.n_tests += 1
        print(f"ok {self.n_tests} - {name} # SKIP {reason}")

    def end(self):
        print(f"1..{self.n_tests}")
        sys.exit(1 if self.n_failed else 0)
