"""Pastes examples/minimal into the README, in place of its first C block.

    readme_client.py PROGRAM README"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```c\n.*?^```$", re.MULTILINE | re.DOTALL)


def main(program, readme):
    path = pathlib.Path(readme)
    code = pathlib.Path(program).read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda _: f"```c\n{code}```", text, 1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
