"""Writes the table of a fleet's run into README.md.

    readme_result.py SUMMARY README COMMAND

COMMAND is the command line that made the run, as a reader would type it."""

import json
import pathlib
import re
import sys

PLACE = re.compile(
    r"(<!-- demo result: begin[^\n]*-->\n).*?(<!-- demo result: end -->)", re.DOTALL
)


def size(n_bytes):
    return f"{n_bytes / 1e6:.2f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.1f} kB"


def table(summary):
    lines = [
        "| round | participants | failed | loss | accuracy | up | down | seconds |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rounds"]:
        lines.append(
            f"| {row['round']} | {row['participants']} | {row['failed']} "
            f"| {row['loss']:.3f} | {row['accuracy']:.1%} | {size(row['bytes_up'])} "
            f"| {size(row['bytes_down'])} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def text_of(summary, command):
    seconds = sum(row["seconds"] for row in summary["rounds"])
    return (
        f"`{command}` on two cores: {summary['clients']} clients, model "
        f"`{summary['model']}`, codec `{summary['codec']}`, seed {summary['seed']}; "
        f"{summary['final_accuracy']:.1%} on the held-out images "
        f"after {seconds:.0f} seconds.\n\n{table(summary)}\n"
    )


def main(summary_path, readme_path, command):
    summary = json.loads(pathlib.Path(summary_path).read_text(encoding="utf-8"))
    readme = pathlib.Path(readme_path)
    text = text_of(summary, command)
    old = readme.read_text(encoding="utf-8")
    readme.write_text(PLACE.sub(lambda m: m[1] + text + m[2], old), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])
