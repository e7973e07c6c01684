"""FedScale jobs of the end-to-end tests: a fake aggregator with cygnet-clients of it."""

import collections
import json
import random

import fake_aggregator as fake
import fedscale_wire as wire
from conftest import Process

LIMIT_S = 100  # for a client to end; generous, machines are shared


def uniform(rng, shape, fan_in):
    n, bound = 1, fan_in**-0.5
    for size in shape:
        n *= size
    return wire.Tensor(shape, [rng.uniform(-bound, bound) for _ in range(n)])


def layers(*shapes, seed=1):
    """Weight and bias of layers with these weights, as PyTorch draws them."""
    rng, tensors = random.Random(seed), []
    for shape in shapes:
        fan_in = 1
        for size in shape[1:]:
            fan_in *= size
        tensors += [uniform(rng, shape, fan_in), uniform(rng, shape[:1], fan_in)]
    return tensors


def logistic():
    """For pictures of 8x8."""
    return layers((10, 64))


def lenet5():
    """For pictures of 1x12x12: two pools and a 5x5 leave 16x1x1."""
    return layers((6, 1, 5, 5), (16, 6, 5, 5), (120, 16), (84, 120), (10, 84))


def batch_norm(channels):
    ones, zeros = [1] * channels, [0] * channels
    floats = [wire.Tensor((channels,), v) for v in (ones, zeros, zeros, ones)]
    return [*floats, wire.Tensor((), [0], "i8")]


def ds_cnn(channels=8):
    """Of one block."""
    rng = random.Random(1)
    return [
        uniform(rng, (channels, 1, 10, 4), 40), *batch_norm(channels),
        uniform(rng, (channels, 1, 3, 3), 9), *batch_norm(channels),
        uniform(rng, (channels, channels, 1, 1), channels), *batch_norm(channels),
        *layers((10, channels)),
    ]  # fmt: skip


class Party:
    """A job and the clients that were started for it. After stop() nothing runs."""

    def __init__(self, program, folder, **settings):
        settings.setdefault("model", logistic())
        self.program, self.folder = program("cygnet-client"), folder
        self.aggregator = fake.FakeAggregator(**settings).start()
        self.job = self.aggregator.job
        self.clients = []

    def client(self, *options, i=0, n=1, model="logistic", image="1x8x8", scheme=None,
               until_done=True, assume="charging,idle,unmetered"):  # fmt: skip
        """Starts one; the last of options that are given twice counts. The state is
        that of client i."""
        server = f"{scheme or 'fedscale'}://127.0.0.1:{self.aggregator.port}"
        argv = [
            self.program, "--server", server, "--model", model, "--input", image,
            "--shard", f"{i}/{n}", "--state-dir", self.folder / f"state-{i}",
            "--seed", "5", "--steps", "4", "--batch", "16", "--threads", "1",
            "--full-priority", "--log", "json",
        ]  # fmt: skip
        argv += ["--assume", assume] if assume else []
        argv += ["--until-done"] if until_done else []
        name = f"client-{i}-{len(self.clients)}"
        process = Process(argv + list(options), self.folder / "logs", name)
        self.clients.append(process)
        return process

    def stop(self):
        for process in self.clients:
            process.kill()
        self.aggregator.stop()

    # What was seen of them

    def uploads(self, n_round=0):
        """What the aggregator has taken for an upload, in this round."""
        return [e for e in list(self.job.received)
                if e["event"] == "upload_model" and n_round in (0, e["round"])]  # fmt: skip

    def n_completions(self, event):
        """How many of each round were sent, taken or not."""
        log = [e["round"] for e in list(self.job.log) if e["event"] == event]
        return dict(collections.Counter(log))

    def methods(self, since=0):
        return [method for method, _, _ in list(self.aggregator.calls)[since:]]


def events(process):
    """The JSON lines of a client; the last may be on its way."""
    lines = process.stdout.split("\n")[:-1]
    return [json.loads(line) for line in lines]


def outcomes(process):
    """Those of its rounds, in order."""
    found = [(e["round"], e["outcome"]) for e in events(process) if e["outcome"] != "none"]
    return [outcome for i, (n, outcome) in enumerate(found)
            if i == 0 or found[i - 1] != (n, outcome)]  # fmt: skip


def n_trainings(process):
    """How often it has begun to train or to evaluate."""
    return sum(e["phase"] == "training" for e in events(process))


def one_line(process):
    """What an error looks like."""
    assert process.stderr.count("\n") == 1, process.stderr
    assert process.stderr.startswith("cygnet-client: ")
    return process.stderr
