"""Reads a fleet's summary.json and says how the demo ended.

    demo_result.py SUMMARY TARGET

Exit status: 0 when the final accuracy reaches TARGET, 1 when it does not."""

import json
import os
import sys

NEXT = """
Try next:
  ./demo --model mlp --alpha 0.1        another model, very uneven data
  ./demo --codec none                   updates as full 32-bit numbers
  ./demo --data idx:DIR                 your own MNIST-style directory
  examples/minimal                      the client that an app embeds, under 100 lines
  ./check                               every test"""


def main(path, target):
    with open(path, encoding="utf-8") as file:
        summary = json.load(file)
    accuracy = summary["final_accuracy"]
    n_rounds = len(summary["rounds"])
    folder = os.path.dirname(os.path.abspath(path))
    if not accuracy >= target:
        print(
            f"demo: accuracy {accuracy:.1%} after {n_rounds} rounds is below "
            f"{target:.0%}; logs are in {folder}",
            file=sys.stderr,
        )
        return 1
    print(f"\nReached {accuracy:.1%} in {n_rounds} rounds.")
    print(f"Result: {folder} (summary.json, model.safetensors, a log per client)")
    print(NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
