"""The house rules on C source that a compiler does not know.

Banned calls, sizes (file, function, line, parameters), comments in public
headers, TODO without an issue, trailing blanks, paths of one machine."""

import re

from tree import Tap, code_only, read, source_files, top

LIBRARY = ("base/", "engine/", "transport/", "fl/", "sdk/")
PROGRAMS = ("examples/",)
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 60
MAX_COLUMNS = 90
MAX_PARAMETERS = 6
SHORT = ("examples/minimal/", "examples/train/")
MAX_SHORT_LINES = 99

UNSAFE = "strcpy strcat sprintf vsprintf gets atoi atol atof strtok"
HEAP = "malloc calloc realloc free strdup strndup asprintf vasprintf aligned_alloc"
SPEAKING = "exit _exit abort printf fprintf puts perror putchar"
BANNED = (
    # (rooms, names, files that may, why)
    (LIBRARY + PROGRAMS + ("tests/",), UNSAFE, (), "is unsafe"),
    (LIBRARY, HEAP, ("base/alloc.c",), "goes around base/alloc.h"),
    (LIBRARY, SPEAKING, (), "exits or prints in library code"),
)
# Kernels take outputs, inputs, parameters and sizes; tables of kernels as well.
KERNELS = re.compile(r"engine/nn/(kernel)[^/]*$|engine/nn/[^/]*kernels?[^/]*$")
MANY_PARAMETERS = {
    "on_request": "as libmicrohttpd has it",
    "json_read_u64": "the allowed range, and what the message speaks of",
    "json_read_u32": "as json_read_u64",
    "json_read_double": "as json_read_u64",
}
TEXT_FILES = (".c", ".h", ".cpp", ".py", ".md", ".build", ".sh", ".txt")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home/\w+|Users/\w+)/")
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\)|: ?#\d+| #\d+)")
FUNCTION = re.compile(r"^[A-Za-z_][^;{}#=]*?\b(\w+)\(([^;{}]*)\)[^;{}()]*\n\{", re.MULTILINE)
PROTOTYPE = re.compile(r"^CYGNET_API\b[^;]*;", re.MULTILINE)


def line_of(text, index):
    return text.count("\n", 0, index) + 1


def banned_calls(path, code):
    found = []
    for rooms, names, files, why in BANNED:
        if not path.startswith(rooms) or path in files:
            continue
        call = re.compile(r"(?<![\w.>])(" + names.replace(" ", "|") + r")\s*\(")
        for match in call.finditer(code):
            found.append(f"{path}:{line_of(code, match.start())}: {match[1]} {why}")
    return found


def n_parameters(text):
    """The number of commas outside brackets, plus one; the error that comes last
    everywhere does not count."""
    text = re.sub(r",\s*cygnet_error \*err\s*$", "", text)
    depth, n = 0, 1
    for char in text:
        depth += (char in "([") - (char in ")]")
        n += char == "," and depth == 0
    return n


def function_sizes(path, code):
    found = []
    for match in FUNCTION.finditer(code):
        name, parameters = match.groups()
        end = code.find("\n}", match.end())
        first = line_of(code, match.start())
        n_lines = line_of(code, end + 1) - first + 1
        if n_lines > MAX_FUNCTION_LINES:
            found.append(f"{path}:{first}: {name} has {n_lines} lines")
        if name in MANY_PARAMETERS or KERNELS.match(path):
            continue
        if n_parameters(parameters) > MAX_PARAMETERS:
            found.append(f"{path}:{first}: {name} has {n_parameters(parameters)} parameters")
    return found


def line_rules(path, text):
    found = []
    lines = text.split("\n")
    if len(lines) - 1 > MAX_FILE_LINES:
        found.append(f"{path}: has {len(lines) - 1} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            found.append(f"{path}:{number}: has {len(line)} columns")
    return found


def text_rules(path, text):
    """Rules for every text file, also scripts and documents."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}:"
        if line != line.rstrip():
            found.append(f"{where} ends with blanks")
        if MACHINE_PATH.search(line):
            found.append(f"{where} names a path of one machine")
        if TODO.search(line) and path != "tests/lint/check_style.py":
            found.append(f"{where} TODO without an issue number")
    if text and not text.endswith("\n"):
        found.append(f"{path}: does not end with a line feed")
    return found


def undocumented(path, text):
    """Exported functions without a comment. One comment may stand before several
    that follow each other without a blank line."""
    found = []
    for match in PROTOTYPE.finditer(text):
        block = text[: match.start()].rsplit("\n\n", 1)[-1]
        if "*/" not in block:
            name = re.search(r"(\w+)\(", match.group())
            shown = name[1] if name else match.group()
            found.append(f"{path}:{line_of(text, match.start())}: {shown} has no comment")
    return found


def source_rules(path, text):
    code = code_only(text)
    found = banned_calls(path, code) + line_rules(path, text)
    if path.endswith(".c"):
        found += function_sizes(path, code)
    return found


def self_test(tap):
    tap.finds("a banned call", banned_calls("tests/x.c", "strcpy(a, b);"))
    tap.finds("malloc in the library", banned_calls("fl/x.c", "p = malloc(3);"))
    tap.finds("printing in the library", banned_calls("sdk/x.c", "    printf(s);"))
    fine = 'x = my_free(p); hooks->free(p); /* exit(1) */ s = "printf(";'
    tap.ok("self-test: names alike are allowed", banned_calls("fl/x.c", code_only(fine)))
    tap.ok("self-test: base/alloc.c may", banned_calls("base/alloc.c", "free(p);"))
    long = "static int f(int a,\n             int b)\n{\n" + "    a++;\n" * 60 + "}\n"
    tap.finds("a long function", function_sizes("fl/x.c", long))
    many = "int f(int a, int b, int c, int d, int e, int f, int (*g)(int, int))\n{\n}\n"
    tap.finds("many parameters", function_sizes("fl/x.c", many))
    tap.ok("self-test: a kernel may", function_sizes("engine/nn/kernels_rest.c", many))
    six = "int f(int a, int b, int c, int d, int e, int (*g)(int, int))\n{\n}\n"
    tap.ok("self-test: six parameters pass", function_sizes("fl/x.c", six))
    seven = "int f(int a, int b, int c, int d, int e, int f,\n cygnet_error *err)\n{\n}\n"
    tap.ok("self-test: the error does not count", function_sizes("fl/x.c", seven))
    tap.finds("a long line", line_rules("fl/x.c", "x" * 91 + "\n"))
    tap.finds("a long file", line_rules("fl/x.c", "\n" * 801))
    tap.finds("a blank at the end", text_rules("a.md", "x \n"))
    tap.finds("a missing line feed", text_rules("a.md", "x"))
    tap.finds("a TODO", text_rules("a.c", "/* TO" + "DO: later */\n"))
    tap.ok("self-test: a TODO with its issue", text_rules("a.c", "/* TO" + "DO(#12): x */\n"))
    tap.finds("a machine path", text_rules("a.md", "see /ho" + "me/anna/x\n"))
    bare = "\nCYGNET_API int\ncygnet_f(void);\n"
    tap.finds("a public function without a comment", undocumented("x.h", bare))
    told = "\n/* Says f. */\nCYGNET_API int cygnet_f(void);\nCYGNET_API int cygnet_g(void);\n"
    tap.ok("self-test: one comment for two functions", undocumented("x.h", told))


def text_files(root):
    folders = [p for p in root.iterdir() if p.is_dir() and p.name not in (".git",)]
    folders = [p for p in folders if not p.name.startswith(("build", "install", "run"))]
    files = [p for p in root.iterdir() if p.is_file()]
    files += [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    kept = [p for p in files if p.suffix in TEXT_FILES or p.name in ("demo", "check", "run")]
    return sorted(p for p in kept if not {"corpus", "golden"} & set(p.parts))


def main():
    root = top()
    tap = Tap()
    self_test(tap)
    sources = {path.as_posix(): read(root, path) for path in source_files(root)}
    violations = [v for path, text in sources.items() for v in source_rules(path, text)]
    tap.ok("the sources keep the house rules", violations)
    violations = []
    for path in text_files(root):
        name = path.relative_to(root).as_posix()
        violations += text_rules(name, path.read_text(encoding="utf-8", errors="replace"))
    tap.ok("text files are tidy and speak of no one's machine", violations)
    public = {p: t for p, t in sources.items() if p.startswith("sdk/include/")}
    violations = [v for path, text in public.items() for v in undocumented(path, text)]
    tap.ok("every public function has a comment", violations)
    violations = []
    for path, text in sources.items():
        n_lines = text.count("\n")
        if path.startswith(SHORT) and n_lines > MAX_SHORT_LINES:
            violations.append(f"{path}: has {n_lines} lines, 100 are too many")
    tap.ok("examples/minimal and train have fewer than 100 lines", violations)
    tap.end()


if __name__ == "__main__":
    main()
