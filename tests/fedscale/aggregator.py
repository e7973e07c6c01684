#!/usr/bin/env python3
"""Starts FedScale's own aggregator, unmodified, from its source tree.

    FEDSCALE=/path/to/FedScale aggregator.py --pickle-protocol 4 -- FEDSCALE'S OPTIONS

FedScale imports packages that a job with PyTorch vision models never uses (wandb,
tensorflow, transformers, overrides, tensorboard); where one is not installed an empty
module takes its place. The protocol of the pickles it sends is that of the Python it
runs under; another one may be asked for, to stand for another Python.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pickle
import runpy
import sys


class Nothing:
    """Can be made, called, subclassed and asked for anything."""

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


def attributes():
    writer = type("SummaryWriter", (Nothing,), {})
    keras = Nothing()
    keras.metrics = Nothing()
    keras.metrics.Metric = keras.Model = Nothing
    return {
        "wandb": {"run": None},
        "tensorflow": {"keras": keras, "__path__": []},
        "transformers": {"BertModel": Nothing},
        "overrides": {"overrides": lambda function: function},
        "torch.utils.tensorboard": {"SummaryWriter": writer},
    }


class Placeholder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so only for what is not installed."""

    def __init__(self):
        self.known = attributes()

    def find_spec(self, name, path=None, target=None):
        if name in self.known:
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        vars(module).update(self.known[module.__name__])


def prefer_placeholder_for_tensorboard():
    """torch has that module, but it fails to load without the package."""
    if importlib.util.find_spec("tensorboard") is None:
        placeholder = Placeholder()
        placeholder.known = {
            name: found for name, found in placeholder.known.items() if "." in name
        }
        sys.meta_path.insert(0, placeholder)


def send_protocol(number):
    dumps = pickle.dumps
    pickle.dumps = lambda value, protocol=None, **rest: dumps(
        value, number if protocol is None else protocol, **rest
    )


def main():
    parser = argparse.ArgumentParser(description="FedScale's aggregator.")
    parser.add_argument("--pickle-protocol", type=int)
    parser.add_argument("options", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    root = os.environ["FEDSCALE"]
    program = os.path.join(root, "fedscale/cloud/aggregation/aggregator.py")

    sys.path.insert(0, root)
    sys.meta_path.append(Placeholder())
    prefer_placeholder_for_tensorboard()
    if options.pickle_protocol:
        send_protocol(options.pickle_protocol)
    sys.argv = [program] + [option for option in options.options if option != "--"]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
