#!/usr/bin/env python3
"""A FedScale client in PyTorch, to hold cygnet-client against: the same data, model,
steps and optimiser, over the same protocol. Needs torch, numpy and grpc.

    torch_client.py --server 127.0.0.1:29500 --id a --model resnet18 --classes 10 \\
        --input 3x32x32 --data FOLDER-OF-IDX-FILES --steps 20 --batch 30 --seed 1
"""

import argparse
import collections
import gzip
import math
import pathlib
import pickle
import sys
import time

import grpc
import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reference"))
sys.path.insert(0, str(HERE.parent / "e2e"))

import fedscale_wire as wire  # noqa: E402
import torch_zoo  # noqa: E402

SERVICE = "/fedscale.JobService/"
PING_S = 0.5
LOSS_DECAY = 0.2  # FedScale's default


def read_idx(path):
    data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    dims = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * data[3]).reshape(dims)


def find(folder, name):
    return next(path for path in sorted(folder.iterdir()) if path.name.startswith(name))


def read_images(folder, split, shape):
    """(x, y) as cygnet-client makes them: resized, -1..1, grey repeated."""
    x = torch.from_numpy(read_idx(find(folder, f"{split}-images")).astype(numpy.float32))
    y = torch.from_numpy(read_idx(find(folder, f"{split}-labels")).astype(numpy.int64))
    x = x[:, None]
    if len(shape) == 3:
        x = torch.nn.functional.interpolate(
            x, shape[1:], mode="bilinear", align_corners=False
        ).repeat(1, shape[0], 1, 1)
    x = (x / 255 - 0.5) / 0.5
    return x if len(shape) == 3 else x.flatten(1), y


class Client:
    def __init__(self, options):
        self.options = options
        torch.manual_seed(options.seed)
        shape = tuple(int(n) for n in options.input.split("x"))
        self.net = torch_zoo.build(options.model, shape, options.classes)
        self.train_set = read_images(options.data, "train", shape)
        self.test_set = read_images(options.data, "t10k", shape)
        self.events = collections.deque()
        self.channel = grpc.insecure_channel(
            options.server,
            [("grpc.max_send_message_length", 1 << 30),
             ("grpc.max_receive_message_length", 1 << 30)],
        )  # fmt: skip

    def call(self, method, *fields):
        name = self.options.id.encode()
        message = wire.bytes_field(1, name) + wire.bytes_field(2, name) + b"".join(fields)
        answer = wire.read_fields(self.channel.unary_unary(SERVICE + method)(message))
        self.events.append((answer[1].decode(), answer.get(2, b""), answer.get(3, b"")))

    def complete(self, event, result):
        self.call(
            "CLIENT_EXECUTE_COMPLETION",
            wire.bytes_field(3, event.encode()),
            b"\x20\x01",  # status: true
            wire.bytes_field(7, pickle.dumps(result)),
        )

    def load(self, weights):
        with torch.no_grad():
            for mine, theirs in zip(self.net.state_dict().values(), weights, strict=True):
                mine.copy_(theirs)

    def batches(self):
        x, y = self.train_set
        while True:
            order = torch.randperm(len(y))
            for at in range(0, len(y), self.options.batch):
                rows = order[at : at + self.options.batch]
                if len(rows) > 1:
                    yield x[rows], y[rows]

    def train(self, meta, weights):
        """As FedScale's own client counts: torch_client.py of its commit 7ec441c."""
        options, moving, squared = self.options, None, 0.0
        self.load(weights)
        self.net.train()
        optimiser = torch.optim.SGD(
            self.net.parameters(), lr=meta["task_config"]["learning_rate"],
            momentum=options.momentum, weight_decay=options.weight_decay,
        )  # fmt: skip
        for step, (x, y) in enumerate(self.batches()):
            if step == options.steps:
                break
            losses = torch.nn.functional.cross_entropy(self.net(x), y, reduction="none")
            mean = losses.mean()
            squared = (losses.detach() ** 2).mean().item()
            if step * options.batch < len(self.train_set[1]):
                old = mean.item() if moving is None else moving
                moving = (1 - LOSS_DECAY) * old + LOSS_DECAY * mean.item()
            optimiser.zero_grad()
            mean.backward()
            optimiser.step()
        seen = min(len(self.train_set[1]), options.steps * options.batch)
        self.complete("upload_model", {
            "client_id": meta["client_id"], "moving_loss": moving,
            "utility": math.sqrt(squared) * seen,
            "trained_size": options.steps * options.batch, "success": True,
            "wall_duration": 0,
            "update_weight": [t.numpy() for t in self.net.state_dict().values()],
        })  # fmt: skip

    def test(self, weights):
        x, y = self.test_set
        self.load(weights)
        self.net.eval()
        with torch.no_grad():
            out = torch.cat([self.net(x[at : at + 128]) for at in range(0, len(y), 128)])
            loss = torch.nn.functional.cross_entropy(out, y, reduction="sum").item()
        top = out.topk(5).indices == y[:, None]
        self.complete("model_test", {"executorId": self.options.id, "results": {
            "top_1": top[:, :1].sum().item(), "top_5": top.sum().item(),
            "test_loss": loss, "test_len": len(y)}})  # fmt: skip

    def handle(self, event, meta, data):
        if event == "client_train":
            self.train(pickle.loads(meta), pickle.loads(data))
        elif event == "model_test":
            self.test(pickle.loads(data))
        return event != "terminate_executor"

    def run(self):
        info = pickle.dumps({"size": [len(self.train_set[1])]})
        self.call("CLIENT_REGISTER", wire.bytes_field(3, info))
        while True:
            while self.events:
                if not self.handle(*self.events.popleft()):
                    return
            time.sleep(PING_S)
            self.call("CLIENT_PING")


def main():
    parser = argparse.ArgumentParser(description="A FedScale client in PyTorch.")
    parser.add_argument("--server", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--input", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    torch.set_num_threads(1)
    client = Client(parser.parse_args())
    try:
        client.run()
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise


if __name__ == "__main__":
    main()
