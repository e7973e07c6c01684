#!/usr/bin/env python3
"""Writes tests/golden/nn/zoo.golden: the zoo's models as PyTorch has them.

    python3 tools/make_zoo_golden.py     (needs torch 2.14.1 and torchvision 0.29.1;
                                          the tests do not)

Per case: the spec, the classes, the input, the trainable parameters and the
operations of the convolutions and dense layers for one example. Then the
state_dict in its order, a line each:

    tensor NAME SHAPE normal|uniform|constant VALUE     (deviation, bound or value)
    norm NAME CHANNELS EPS MOMENTUM                     (five tensors)

First values are what the constructors asked for, not what they drew.
"""

import math
import pathlib

import torch
import torchvision
from torch import nn

VERSION = 1
PATH = pathlib.Path(__file__).parent.parent / "tests/golden/nn/zoo.golden"


class Draws:
    """The last in-place initialisation of each tensor."""

    METHODS = ("uniform_", "normal_", "fill_", "zero_")

    def __enter__(self):
        self.last = {}
        self.keep = []
        self.original = {name: getattr(torch.Tensor, name) for name in self.METHODS}
        for name in self.METHODS:
            setattr(torch.Tensor, name, self.wrapped(name))
        return self

    def __exit__(self, *exc):
        for name, method in self.original.items():
            setattr(torch.Tensor, name, method)

    def wrapped(self, name):
        original = self.original[name]

        def method(tensor, *args, **kwargs):
            kwargs = {k: v for k, v in kwargs.items() if k != "generator"}
            self.last[tensor.data_ptr()] = self.describe(name, *args, **kwargs)
            self.keep.append(tensor)  # or its address would be used again
            return original(tensor, *args, **kwargs)

        return method

    @staticmethod
    def describe(name, *args, **kwargs):
        if name == "zero_":
            return "constant", 0.0
        if name == "fill_":
            return "constant", float(args[0])
        a, b = args if args else (kwargs["mean"], kwargs["std"])
        if name == "uniform_":
            assert a == -b
        else:
            assert a == 0
        return name.rstrip("_"), float(b)


class Mlp(nn.Module):
    def __init__(self, n_in, n_classes, hidden=200, layers=1):
        super().__init__()
        for i in range(1, layers + 1):
            setattr(self, f"fc{i}", nn.Linear(n_in if i == 1 else hidden, hidden))
        setattr(self, f"fc{layers + 1}", nn.Linear(hidden, n_classes))
        self.layers = layers

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.layers + 1):
            x = getattr(self, f"fc{i}")(x).relu()
        return getattr(self, f"fc{self.layers + 1}")(x)


class Logistic(nn.Module):
    def __init__(self, n_in, n_classes):
        super().__init__()
        self.linear = nn.Linear(n_in, n_classes)

    def forward(self, x):
        return self.linear(x.flatten(1))


class Convolutional(nn.Module):
    """Two 5x5 convolutions, each with relu and `pool`, then dense layers."""

    def __init__(self, shape, n_classes, channels, padding, pool, dense):
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], channels[0], 5, padding=padding[0])
        self.conv2 = nn.Conv2d(channels[0], channels[1], 5, padding=padding[1])
        self.pool = pool
        with torch.no_grad():
            n = self.features(torch.zeros(1, *shape)).shape[1]
        for i, size in enumerate([*dense, n_classes], 1):
            setattr(self, f"fc{i}", nn.Linear(n, size))
            n = size
        self.n_dense = len(dense)

    def features(self, x):
        x = self.pool(self.conv1(x).relu())
        return self.pool(self.conv2(x).relu()).flatten(1)

    def forward(self, x):
        x = self.features(x)
        for i in range(1, self.n_dense + 1):
            x = getattr(self, f"fc{i}")(x).relu()
        return getattr(self, f"fc{self.n_dense + 1}")(x)


class Separable(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = self.bn1(self.depthwise(x)).relu()
        return self.bn2(self.pointwise(x)).relu()


class DsCnn(nn.Module):
    def __init__(self, c_in, n_classes, channels=64, layers=4):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, channels, (10, 4), 2, (5, 1), bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        for i in range(1, layers + 1):
            setattr(self, f"block{i}", Separable(channels))
        self.fc = nn.Linear(channels, n_classes)
        self.layers = layers

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        for i in range(1, self.layers + 1):
            x = getattr(self, f"block{i}")(x)
        return self.fc(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, name, layer, n_classes, symbols, embedding, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding)
        setattr(self, name, layer(embedding, hidden, layers, batch_first=True))
        self.linear = nn.Linear(hidden, n_classes)
        self.name = name

    def forward(self, x):
        y, _ = getattr(self, self.name)(self.embedding(x.long()))
        return self.linear(y[:, -1])


def lenet5(shape, n_classes):
    padding = (2 if min(shape[1:]) < 32 else 0, 0)
    return Convolutional(shape, n_classes, (6, 16), padding, nn.MaxPool2d(2), (120, 84))


def mcmahan_cnn(shape, n_classes):
    return Convolutional(shape, n_classes, (32, 64), (2, 2), nn.MaxPool2d(2), (512,))


def mcmahan_cifar_cnn(shape, n_classes):
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return Convolutional(shape, n_classes, (64, 64), (2, 2), pool, (384, 192))


def char_lstm(shape, n_classes, symbols=80, embedding=8, hidden=256, layers=2):
    return Recurrent("lstm", nn.LSTM, n_classes, symbols, embedding, hidden, layers)


def gru(shape, n_classes, symbols=80, embedding=32, hidden=128, layers=1):
    return Recurrent("gru", nn.GRU, n_classes, symbols, embedding, hidden, layers)


OWN = {
    "logistic": lambda shape, k: Logistic(math.prod(shape), k),
    "mlp": lambda shape, k, **a: Mlp(math.prod(shape), k, **a),
    "lenet5": lenet5,
    "mcmahan_cnn": mcmahan_cnn,
    "mcmahan_cifar_cnn": mcmahan_cifar_cnn,
    "ds_cnn": lambda shape, k, **a: DsCnn(shape[0], k, **a),
    "char_lstm": char_lstm,
    "gru": gru,
}


def other_channels(model, channels):
    """torchvision's models take three; the first convolution made anew, with the
    initialisation that the constructor gave it."""
    name, old = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    if isinstance(model, torchvision.models.SqueezeNet):
        nn.init.kaiming_uniform_(new.weight)
        nn.init.zeros_(new.bias)
    elif not isinstance(model, torchvision.models.ShuffleNetV2):
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def make(spec, n_classes, shape):
    """The model of a spec of the zoo."""
    name, _, rest = spec.partition(":")
    arguments = dict(pair.split("=") for pair in rest.split(",") if pair)
    arguments = {k: float(v) if "." in v else int(v) for k, v in arguments.items() if k != "act"}
    if name in OWN:
        return OWN[name](shape, n_classes, **arguments)
    model = getattr(torchvision.models, name)(num_classes=n_classes, **arguments)
    if shape[0] != 3:
        other_channels(model, shape[0])
    return model


def count_flops(model, shape):
    """A multiplication and an addition per tap and output."""
    total = 0

    def hook(module, inputs, output):
        nonlocal total
        total += 2 * math.prod(module.weight.shape[1:]) * math.prod(output.shape[1:])

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return total


def norm_line(name, module, draws):
    first = {key: draws[t.data_ptr()] for key, t in module.state_dict().items()}
    zero, one = ("constant", 0.0), ("constant", 1.0)
    assert list(first.items()) == [
        ("weight", one),
        ("bias", zero),
        ("running_mean", zero),
        ("running_var", one),
        ("num_batches_tracked", zero),
    ]
    return f"norm {name} {module.num_features} {module.eps!r} {module.momentum!r}"


def state_lines(model, draws):
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    lines = []
    for name, t in model.state_dict().items():
        owner, _, last = name.rpartition(".")
        if owner in norms:
            if last == "weight":
                lines.append(norm_line(owner, norms[owner], draws))
            continue
        assert t.dtype == torch.float32
        kind, value = draws[t.data_ptr()]
        size = "x".join(map(str, t.shape))
        lines.append(f"tensor {name} {size} {kind} {value!r}")
    return lines


def case(spec, n_classes, *shape):
    with Draws() as draws:
        model = make(spec, n_classes, shape)
    n_parameters = sum(p.numel() for p in model.parameters())
    size = "x".join(map(str, shape))
    head = f"case {spec} {n_classes} {size} {n_parameters} {count_flops(model, shape)}"
    return [head, *state_lines(model, draws.last)]


def main():
    lines = [f"cygnet-zoo-golden {VERSION}"]
    lines += case("logistic", 10, 1, 28, 28)
    lines += case("logistic", 4, 13)
    lines += case("mlp", 10, 1, 28, 28)
    lines += case("mlp:hidden=30,layers=3,act=silu", 7, 3, 5, 4)
    lines += case("lenet5", 10, 1, 28, 28)
    lines += case("lenet5:act=silu", 100, 3, 32, 45)
    lines += case("mcmahan_cnn", 10, 1, 28, 28)
    lines += case("mcmahan_cnn", 62, 2, 11, 13)
    lines += case("mcmahan_cifar_cnn", 10, 3, 24, 24)
    lines += case("mcmahan_cifar_cnn:act=silu", 100, 1, 31, 17)
    lines += case("resnet18", 1000, 3, 224, 224)
    lines += case("resnet18:act=silu", 10, 1, 28, 28)
    lines += case("resnet34", 10, 3, 32, 32)
    lines += case("resnet50", 1000, 3, 65, 97)
    lines += case("mobilenet_v2", 1000, 3, 224, 224)
    lines += case("mobilenet_v2:width_mult=0.5", 10, 3, 32, 32)
    lines += case("mobilenet_v2:width_mult=0.75,act=silu", 10, 1, 28, 28)
    lines += case("mobilenet_v2:dropout=0.0,width_mult=1.4", 62, 3, 33, 47)
    lines += case("mobilenet_v2:width_mult=0.35", 2, 3, 64, 64)
    lines += case("mobilenet_v3_small", 1000, 3, 224, 224)
    lines += case("mobilenet_v3_small:width_mult=0.75", 10, 1, 28, 28)
    lines += case("mobilenet_v3_small:width_mult=0.5,act=silu", 10, 3, 33, 47)
    lines += case("shufflenet_v2_x0_5", 10, 1, 28, 28)
    lines += case("shufflenet_v2_x1_0", 1000, 3, 224, 224)
    lines += case("shufflenet_v2_x1_5", 10, 3, 33, 47)
    lines += case("shufflenet_v2_x2_0:act=silu", 10, 3, 32, 32)
    lines += case("squeezenet1_1", 1000, 3, 224, 224)
    lines += case("squeezenet1_1:dropout=0.25,act=silu", 10, 1, 28, 33)
    lines += case("ds_cnn", 12, 1, 49, 10)
    lines += case("ds_cnn:channels=172,layers=3", 35, 2, 61, 13)
    lines += case("char_lstm", 80, 80)
    lines += case("char_lstm:symbols=90,embedding=5,hidden=33,layers=3", 10, 7)
    lines += case("gru", 10, 80)
    lines += case("gru:symbols=2000,embedding=6,hidden=20,layers=2", 3, 11)
    PATH.write_text("\n".join([*lines, "end"]) + "\n")


if __name__ == "__main__":
    main()
