"""The model zoo as PyTorch modules: what the library's models are held against.

    net = torch_zoo.build("mobilenet_v2:width_mult=0.5", (3, 32, 32), 1000)

Names, order and shapes of the state_dict are those of docs/models.md, which for
the published architectures are torchvision's. Written from the papers and those
names, because a torchvision that fits the newest torch does not always install.
Weights are PyTorch's defaults for each layer: who compares sets them.

Arguments as in docs/models.md. act=silu puts SiLU in the place of every relu, relu6
and hardswish, so that rounding cannot change which side of a kink a value is on.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Activations:
    """What `relu` and its relatives are in this instance of a model."""

    def __init__(self, name):
        if name not in ("own", "silu"):
            raise ValueError(f"act={name}")
        self.smooth = name == "silu"

    def make(self, kind):
        return nn.SiLU(inplace=True) if self.smooth else kind(inplace=True)

    def relu(self):
        return self.make(nn.ReLU)

    def relu6(self):
        return self.make(nn.ReLU6)

    def hardswish(self):
        return self.make(nn.Hardswish)


def named(**layers):
    """A sequence whose parts have names."""
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    return net


# ---- Small models ---------------------------------------------------------------


def logistic(act, shape, n_classes):
    return named(flatten=nn.Flatten(), linear=nn.Linear(math.prod(shape), n_classes))


def mlp(act, shape, n_classes, hidden=200, layers=1):
    parts, width = {"flatten": nn.Flatten()}, math.prod(shape)
    for i in range(1, layers + 1):
        parts[f"fc{i}"], parts[f"relu{i}"] = nn.Linear(width, hidden), act.relu()
        width = hidden
    return named(**parts, **{f"fc{layers + 1}": nn.Linear(width, n_classes)})


def lenet5(act, shape, n_classes):
    c, h, w = shape
    pad = 2 if min(h, w) < 32 else 0
    h, w = (((side + 2 * pad - 4) // 2 - 4) // 2 for side in (h, w))
    return named(
        conv1=nn.Conv2d(c, 6, 5, padding=pad), relu1=act.relu(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5), relu2=act.relu(), pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(), fc1=nn.Linear(16 * h * w, 120), relu3=act.relu(),
        fc2=nn.Linear(120, 84), relu4=act.relu(), fc3=nn.Linear(84, n_classes),
    )  # fmt: skip


def mcmahan_cnn(act, shape, n_classes):
    c, h, w = shape
    return named(
        conv1=nn.Conv2d(c, 32, 5, padding=2), relu1=act.relu(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 5, padding=2), relu2=act.relu(), pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(), fc1=nn.Linear(64 * (h // 4) * (w // 4), 512),
        relu3=act.relu(), fc2=nn.Linear(512, n_classes),
    )  # fmt: skip


def mcmahan_cifar_cnn(act, shape, n_classes):
    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    c, h, w = shape
    h, w = ((side // 2) // 2 for side in (h, w))
    return named(
        conv1=nn.Conv2d(c, 64, 5, padding=2), relu1=act.relu(), pool1=pool(),
        conv2=nn.Conv2d(64, 64, 5, padding=2), relu2=act.relu(), pool2=pool(),
        flatten=nn.Flatten(), fc1=nn.Linear(64 * h * w, 384), relu3=act.relu(),
        fc2=nn.Linear(384, 192), relu4=act.relu(), fc3=nn.Linear(192, n_classes),
    )  # fmt: skip


# ---- ResNet: He et al., 2015; the stride of a bottleneck is in its 3x3 ----------


class Residual(nn.Module):
    """Convolutions with batch norm, added to the input or its projection.

    layers  (channels, kernel, stride) of each convolution
    """

    def __init__(self, act, c_in, layers):
        super().__init__()
        self.n_layers, width = len(layers), c_in
        for i, (c_out, kernel, stride) in enumerate(layers, 1):
            conv = nn.Conv2d(width, c_out, kernel, stride, kernel // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(c_out))
            width = c_out
        self.relu = act.relu()
        stride = math.prod(layer[2] for layer in layers)
        self.downsample = None
        if stride != 1 or width != c_in:
            conv = nn.Conv2d(c_in, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x):
        y = x
        for i in range(1, self.n_layers + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.n_layers:
                y = self.relu(y)
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def resnet(depths, bottleneck):
    def block(act, c_in, width, stride):
        if bottleneck:
            layers = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
        else:
            layers = [(width, 3, stride), (width, 3, 1)]
        return Residual(act, c_in, layers)

    def build(act, shape, n_classes):
        parts = {
            "conv1": nn.Conv2d(shape[0], 64, 7, 2, 3, bias=False),
            "bn1": nn.BatchNorm2d(64),
            "relu": act.relu(),
            "maxpool": nn.MaxPool2d(3, 2, 1),
        }
        c_in = 64
        for i, depth in enumerate(depths):
            layer, width = [], 64 << i
            for j in range(depth):
                layer.append(block(act, c_in, width, 2 if i > 0 and j == 0 else 1))
                c_in = 4 * width if bottleneck else width
            parts[f"layer{i + 1}"] = nn.Sequential(*layer)
        return named(**parts, avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
                     fc=nn.Linear(c_in, n_classes))  # fmt: skip

    return build


# ---- MobileNet v2 and v3: Sandler et al., 2018; Howard et al., 2019 -------------


def multiple_of_8(value):
    """The nearest multiple of 8 that is not below 0.9 of the value."""
    near = max(8, int(value + 4) // 8 * 8)
    return near + 8 if near < 0.9 * value else near


def conv_norm(c_in, c_out, kernel, stride=1, groups=1, act=None, norm=nn.BatchNorm2d):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(c_out), *([act] if act else []))


class Skip(nn.Module):
    """Layers under a name, added to their input where both are alike."""

    def __init__(self, name, layers, adds):
        super().__init__()
        self.name, self.adds = name, adds
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        y = getattr(self, self.name)(x)
        return x + y if self.adds else y


# expansion, channels, blocks, stride of the first
MOBILENET_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
    (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v2(act, shape, n_classes, width_mult=1.0, dropout=0.2):
    width = multiple_of_8(32 * width_mult)
    last = multiple_of_8(1280 * max(1.0, width_mult))
    features = [conv_norm(shape[0], width, 3, 2, act=act.relu6())]
    for expansion, channels, blocks, first_stride in MOBILENET_V2:
        c_out = multiple_of_8(channels * width_mult)
        for i in range(blocks):
            stride, wide = first_stride if i == 0 else 1, width * expansion
            layers = [conv_norm(width, wide, 1, act=act.relu6())] if expansion > 1 else []
            layers += [conv_norm(wide, wide, 3, stride, wide, act.relu6())]
            layers += [nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
            features.append(Skip("conv", layers, stride == 1 and width == c_out))
            width = c_out
    features.append(conv_norm(width, last, 1, act=act.relu6()))
    return named(
        features=nn.Sequential(*features), avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Sequential(nn.Dropout(dropout), nn.Linear(last, n_classes)),
    )  # fmt: skip


class SqueezeExcite(nn.Module):
    """Scales each channel by what two dense layers make of all channels' means."""

    def __init__(self, act, channels, squeezed):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.relu = nn.Conv2d(channels, squeezed, 1), act.relu()
        self.fc2, self.gate = nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.fc2(self.relu(self.fc1(self.avgpool(x)))))


# kernel, expanded, channels, squeeze-excite, hardswish, stride
MOBILENET_V3_SMALL = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)  # fmt: skip


def mobilenet_v3_small(act, shape, n_classes, width_mult=1.0, dropout=0.2):
    def norm(channels):
        return nn.BatchNorm2d(channels, eps=0.001, momentum=0.01)

    width, last = multiple_of_8(16 * width_mult), multiple_of_8(1024 * width_mult)
    features = [conv_norm(shape[0], width, 3, 2, act=act.hardswish(), norm=norm)]
    for kernel, wide, c_out, squeezes, is_hard, stride in MOBILENET_V3_SMALL:
        wide, c_out = multiple_of_8(wide * width_mult), multiple_of_8(c_out * width_mult)
        make = act.hardswish if is_hard else act.relu
        layers = []
        if wide != width:
            layers.append(conv_norm(width, wide, 1, act=make(), norm=norm))
        layers.append(conv_norm(wide, wide, kernel, stride, wide, make(), norm))
        if squeezes:
            layers.append(SqueezeExcite(act, wide, multiple_of_8(wide // 4)))
        layers.append(conv_norm(wide, c_out, 1, norm=norm))
        features.append(Skip("block", layers, stride == 1 and width == c_out))
        width = c_out
    features.append(conv_norm(width, 6 * width, 1, act=act.hardswish(), norm=norm))
    classifier = nn.Sequential(
        nn.Linear(6 * width, last), act.hardswish(), nn.Dropout(dropout),
        nn.Linear(last, n_classes),
    )  # fmt: skip
    return named(features=nn.Sequential(*features), avgpool=nn.AdaptiveAvgPool2d(1),
                 flatten=nn.Flatten(), classifier=classifier)  # fmt: skip


# ---- ShuffleNet v2: Ma et al., 2018 ---------------------------------------------


def depthwise(channels, stride):
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def pointwise(act, c_in, c_out):
    conv = nn.Conv2d(c_in, c_out, 1, bias=False)
    return [conv, nn.BatchNorm2d(c_out), act.relu()]


class Shuffle(nn.Module):
    """Two branches whose channels are dealt out alternately afterwards. With stride
    1 the first branch is nothing and each gets half of the input's channels."""

    def __init__(self, act, c_in, c_out, stride):
        super().__init__()
        half = c_out // 2
        first = [*depthwise(c_in, stride), *pointwise(act, c_in, half)]
        self.branch1 = nn.Sequential(*(first if stride > 1 else []))
        self.branch2 = nn.Sequential(
            *pointwise(act, c_in if stride > 1 else half, half),
            *depthwise(half, stride), *pointwise(act, half, half),
        )  # fmt: skip
        self.splits = stride == 1

    def forward(self, x):
        if self.splits:
            left, x = x.chunk(2, dim=1)
        else:
            left = self.branch1(x)
        y = torch.cat((left, self.branch2(x)), dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class GlobalMean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def shufflenet_v2(widths):
    def build(act, shape, n_classes):
        width = widths[0]
        first = [nn.Conv2d(shape[0], width, 3, 2, 1, bias=False)]
        parts = {
            "conv1": nn.Sequential(*first, nn.BatchNorm2d(width), act.relu()),
            "maxpool": nn.MaxPool2d(3, 2, 1),
        }
        for stage, (blocks, c_out) in enumerate(zip((4, 8, 4), widths[1:4]), 2):
            layers = [Shuffle(act, width, c_out, 2)]
            layers += [Shuffle(act, c_out, c_out, 1) for _ in range(blocks - 1)]
            parts[f"stage{stage}"], width = nn.Sequential(*layers), c_out
        parts["conv5"] = nn.Sequential(*pointwise(act, width, widths[4]))
        return named(**parts, mean=GlobalMean(), fc=nn.Linear(widths[4], n_classes))

    return build


# ---- SqueezeNet 1.1: Iandola et al., 2016 ---------------------------------------


class Fire(nn.Module):
    def __init__(self, act, c_in, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.squeeze_activation = act.relu()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = act.relu()
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = act.relu()

    def forward(self, x):
        x = self.squeeze_activation(self.squeeze(x))
        left = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat((left, self.expand3x3_activation(self.expand3x3(x))), dim=1)


def squeezenet1_1(act, shape, n_classes, dropout=0.5):
    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    features = nn.Sequential(
        nn.Conv2d(shape[0], 64, 3, 2), act.relu(), pool(),
        Fire(act, 64, 16, 64), Fire(act, 128, 16, 64), pool(),
        Fire(act, 128, 32, 128), Fire(act, 256, 32, 128), pool(),
        Fire(act, 256, 48, 192), Fire(act, 384, 48, 192),
        Fire(act, 384, 64, 256), Fire(act, 512, 64, 256),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Dropout(dropout), nn.Conv2d(512, n_classes, 1), act.relu(),
        nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    return named(features=features, classifier=classifier, flatten=nn.Flatten())


# ---- DS-CNN: Zhang et al., "Hello Edge", 2017 -----------------------------------


def ds_cnn(act, shape, n_classes, channels=64, layers=4):
    """Of the paper's sizes the small one. Its first layer is padded unevenly there;
    by 5 and 1 gives the same 25x5 for 49x10."""
    parts = {
        "conv1": nn.Conv2d(shape[0], channels, (10, 4), 2, (5, 1), bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu1": act.relu(),
    }
    for i in range(1, layers + 1):
        parts[f"block{i}"] = named(
            depthwise=nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
            bn1=nn.BatchNorm2d(channels), relu1=act.relu(),
            pointwise=nn.Conv2d(channels, channels, 1, bias=False),
            bn2=nn.BatchNorm2d(channels), relu2=act.relu(),
        )  # fmt: skip
    return named(**parts, avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
                 fc=nn.Linear(channels, n_classes))  # fmt: skip


# ---- Sequences of symbols: Caldas et al., "LEAF", 2018 --------------------------


class Recurrent(nn.Module):
    """The class from the last state. Symbols come as floats, as images do."""

    def __init__(self, kind, n_classes, symbols, embedding, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding)
        self.name = kind.__name__.lower()
        self.add_module(self.name, kind(embedding, hidden, layers, batch_first=True))
        self.linear = nn.Linear(hidden, n_classes)

    def forward(self, x):
        states, _ = getattr(self, self.name)(self.embedding(x.long()))
        return self.linear(states[:, -1])


def char_lstm(act, shape, n_classes, symbols=80, embedding=8, hidden=256, layers=2):
    return Recurrent(nn.LSTM, n_classes, symbols, embedding, hidden, layers)


def gru(act, shape, n_classes, symbols=80, embedding=32, hidden=128, layers=1):
    return Recurrent(nn.GRU, n_classes, symbols, embedding, hidden, layers)


MODELS = {
    "logistic": logistic,
    "mlp": mlp,
    "lenet5": lenet5,
    "mcmahan_cnn": mcmahan_cnn,
    "mcmahan_cifar_cnn": mcmahan_cifar_cnn,
    "resnet18": resnet((2, 2, 2, 2), False),
    "resnet34": resnet((3, 4, 6, 3), False),
    "resnet50": resnet((3, 4, 6, 3), True),
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "shufflenet_v2_x0_5": shufflenet_v2((24, 48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": shufflenet_v2((24, 116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": shufflenet_v2((24, 176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": shufflenet_v2((24, 244, 488, 976, 2048)),
    "squeezenet1_1": squeezenet1_1,
    "ds_cnn": ds_cnn,
    "char_lstm": char_lstm,
    "gru": gru,
}
ARGUMENTS = {"hidden": int, "layers": int, "channels": int, "width_mult": float,
             "dropout": float, "symbols": int, "embedding": int}  # fmt: skip


def split(spec):
    """("mlp", {"hidden": 30}, "silu") from "mlp:hidden=30,act=silu"."""
    name, _, rest = spec.partition(":")
    if name not in MODELS:
        raise ValueError(f'no model "{name}"; known are {", ".join(MODELS)}')
    given = dict(pair.split("=", 1) for pair in rest.split(",") if pair)
    act = given.pop("act", "own")
    unknown = set(given) - set(ARGUMENTS)
    if unknown:
        raise ValueError(f"no argument {', '.join(sorted(unknown))}")
    return name, {key: ARGUMENTS[key](value) for key, value in given.items()}, act


def build(spec, shape, n_classes):
    """A module in training mode that takes a batch of `shape` and gives logits."""
    name, arguments, act = split(spec)
    return MODELS[name](Activations(act), tuple(shape), n_classes, **arguments)


def inputs(net, batch, shape):
    """Random ones: images, or symbols as floats."""
    if isinstance(net, Recurrent):
        return torch.randint(net.embedding.num_embeddings, (batch, *shape)).float()
    return torch.randn(batch, *shape)


def without_dropout(net):
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return net


def loss(net, x, y):
    return F.cross_entropy(net(x), y)
