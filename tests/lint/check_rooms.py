"""Holds every #include against the room table of ARCHITECTURE.md.

The table's third column lists what a room may include besides itself, its fourth
the headers from outside the project; both are `code spans`: a folder with a
slash at its end, a file, or a pattern with `*`. `POSIX` stands for the headers
below. The longest room that a file lies in decides. A third-party header belongs
to one library room only."""

import fnmatch
import re

from tree import Tap, read, source_files, top

C_HEADERS = set(
    """assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp
    signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn
    string tgmath time uchar wchar wctype""".split()
)
POSIX_HEADERS = set(
    """arpa/inet dirent fcntl ftw getopt glob grp libgen net/if netdb netinet/in poll
    pthread pwd sched spawn strings sys/eventfd sys/file sys/ioctl sys/mman sys/random
    sys/resource sys/select sys/socket sys/stat sys/statvfs sys/syscall sys/sysinfo sys/time
    sys/types sys/un sys/utsname sys/wait syslog termios unistd""".split()
)
LIBRARY_ROOMS = ("base/", "engine/", "transport/", "fl/", "sdk/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")


def parse_table(text):
    """{room: (patterns of the project, patterns from outside)}"""
    rooms = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not line.startswith("| `") or len(cells) != 4:
            continue
        room = SPAN.findall(cells[0])[0]
        rooms[room] = (SPAN.findall(cells[2]), SPAN.findall(cells[3]))
    return rooms


def table_violations(rooms):
    """A library room's third-party headers are no other library room's."""
    owner, violations = {}, []
    for room, (_, outside) in rooms.items():
        if not room.startswith(LIBRARY_ROOMS):
            continue
        for pattern in set(outside) - {"POSIX"}:
            if pattern in owner:
                violations.append(f"{pattern} is in {owner[pattern]} and {room}")
            owner[pattern] = room
    return violations


def room_of(path, rooms):
    inside = [room for room in rooms if path.startswith(room)]
    return max(inside, key=len) if inside else None


def resolve(root, path, kind, header):
    """The included file as a path of the project, or None when it is not ours."""
    if kind == '"':
        beside = (root / path).parent / header
        common = root / "examples/common" / header  # on the programs' include path
        for file in (beside, common) if path.startswith("examples/") else (beside,):
            if file.exists():
                return file.resolve().relative_to(root).as_posix()
        return header
    return f"sdk/include/{header}" if header.startswith("cygnet/") else None


def matches(name, patterns):
    return any(
        name.startswith(pattern)
        if pattern.endswith("/")
        else fnmatch.fnmatch(name, pattern)
        for pattern in patterns
    )


def allowed_outside(header, patterns):
    stem = header.removesuffix(".h")
    if stem in C_HEADERS or matches(header, patterns):
        return True
    return "POSIX" in patterns and stem in POSIX_HEADERS


def include_violations(root, rooms, path, text):
    room = room_of(path, rooms)
    if room is None:
        return [f"{path}: lies in no room of the table"]
    inside, outside = rooms[room]
    violations = []
    for match in INCLUDE.finditer(text):
        kind, header = match.groups()
        target = resolve(root, path, kind, header)
        if target is None:
            good = allowed_outside(header, outside)
        else:
            shown = target.removeprefix("sdk/include/")
            good = room_of(target, rooms) == room or matches(shown, inside)
        if not good:
            line = text.count("\n", 0, match.start()) + 1
            violations.append(f"{path}:{line}: {room} may not include {header}")
    return violations


def self_test(tap, root):
    rooms = {
        "a/": (["b/", "cygnet/x.h"], ["lib/*"]),
        "b/": ([], ["POSIX"]),
        "sdk/include/": ([], []),
    }

    def check(path, text):
        return include_violations(root, rooms, path, text)

    tap.finds("a room that is not in the list", check("b/f.c", '#include "a/g.h"\n'))
    tap.finds("a public header not in the list", check("a/f.c", "#include <cygnet/y.h>"))
    tap.finds("a third-party header elsewhere", check("b/f.c", "#include <lib/l.h>\n"))
    tap.finds("POSIX where it is not listed", check("a/f.c", "# include <unistd.h>\n"))
    tap.finds("a file outside every room", check("c/f.c", ""))
    fine = '#include "b/g.h"\n#include "a/h.h"\n#include <cygnet/x.h>\n#include <lib/l.h>'
    found = check("a/f.c", fine) + check("b/f.c", "#include <poll.h>\n")
    tap.ok("self-test: what the table allows passes", found)
    twice = {"base/": ([], ["z.h"]), "fl/": ([], ["z.h"])}
    tap.finds("a third-party header of two rooms", table_violations(twice))


def main():
    root = top()
    tap = Tap()
    self_test(tap, root)
    rooms = parse_table(read(root, "ARCHITECTURE.md"))
    expected = ("base/", "engine/nn/", "transport/", "fl/", "sdk/")
    missing = [room for room in expected if room not in rooms]
    tap.ok("the table of ARCHITECTURE.md has the rooms", missing)
    tap.ok("a third-party header belongs to one library room", table_violations(rooms))
    violations = []
    for path in source_files(root):
        text = read(root, path)
        violations += include_violations(root, rooms, path.as_posix(), text)
    tap.ok("every #include is one that its room may have", violations)
    tap.end()


if __name__ == "__main__":
    main()
