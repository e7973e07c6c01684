"""The README tells the truth: the client it shows is examples/minimal, and the
files that the documents link to exist."""

import re

from tree import Tap, read, top

PROGRAM = "examples/minimal/main.c"
BLOCK = re.compile(r"^```c\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def different(readme, program):
    blocks = BLOCK.findall(readme)
    if program in blocks:
        return []
    return [f"no C block of the README equals {PROGRAM}; paste the file again"]


def dead_links(root, name, text):
    folder = (root / name).parent
    return [
        f"{name}: links to {target}, which does not exist"
        for target in LINK.findall(text)
        if "://" not in target and not (folder / target).exists()
    ]


def unlisted(index, pages):
    linked = set(LINK.findall(index)) | {"README.md"}
    return [f"docs/README.md does not list {page}" for page in pages if page not in linked]


def main():
    root = top()
    tap = Tap()
    tap.finds("a client that differs", different("```c\nint x;\n```\n", "int y;\n"))
    tap.ok("self-test: the same client", different("```c\nint x;\n```\n", "int x;\n"))
    tap.finds("a dead link", dead_links(root, "README.md", "[x](no/such.md)"))
    readme = read(root, "README.md")
    if (root / PROGRAM).exists():
        tap.ok("README shows the minimal client", different(readme, read(root, PROGRAM)))
    else:
        tap.ok("README shows the minimal client", [f"{PROGRAM} does not exist"])
    dead = []
    for path in sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")]):
        name = path.relative_to(root).as_posix()
        dead += dead_links(root, name, read(root, name))
    index = read(root, "docs/README.md")
    pages = sorted(p.relative_to(root / "docs").as_posix() for p in root.glob("docs/**/*.md"))
    tap.finds("a page that the index forgets", unlisted("[a](a.md)", ["a.md", "b.md"]))
    tap.ok("docs/README.md lists every page", unlisted(index, pages))
    tap.ok("links between documents lead somewhere", dead)
    tap.end()


if __name__ == "__main__":
    main()
