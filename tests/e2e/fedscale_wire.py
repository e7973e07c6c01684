"""What a FedScale job says on the wire, without FedScale, PyTorch or NumPy.

Protobuf for the four messages of JobService, and the pickles of both directions. A
tensor is a Tensor here.
"""

import array
import collections
import contextlib
import io
import math
import pickle
import struct
import sys
import types

# ---- Protobuf ----------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint is too long")


def bytes_field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_response(event, meta, data):
    """A ServerResponse."""
    return bytes_field(1, event.encode()) + bytes_field(2, meta) + bytes_field(3, data)


def read_fields(data):
    """{number: value} of a message; of two with one number the last counts."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            fields[tag >> 3], at = read_varint(data, at)
        elif tag & 7 == 2:
            size, at = read_varint(data, at)
            if at + size > len(data):
                raise ValueError("a field is cut off")
            fields[tag >> 3], at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {tag & 7}")
    return fields


class Request:
    """A RegisterRequest, PingRequest or CompleteRequest."""

    def __init__(self, data):
        fields = read_fields(data)
        self.client_id = fields.get(1, b"").decode()
        self.executor_id = fields.get(2, b"").decode()
        self.info = self.event = fields.get(3, b"")
        self.status = bool(fields.get(4, 0))
        self.message = fields.get(5, b"").decode()
        self.data = fields.get(7, b"")


# ---- Tensors -----------------------------------------------------------------

TYPES = {"f4": ("f", 4), "i8": ("q", 8)}


class Tensor:
    """Values in row-major order; `kind` is f4 or i8."""

    def __init__(self, shape, values, kind="f4", name=""):
        self.shape = tuple(shape)
        self.kind = kind
        self.name = name
        self.values = array.array(TYPES[kind][0], values)
        if len(self.values) != math.prod(self.shape):
            raise ValueError(f"{len(self.values)} values for {self.shape}")

    def like(self, values):
        return Tensor(self.shape, values, self.kind, self.name)


# ---- Pickles to the client ---------------------------------------------------
# Python's own pickler writes them. All it needs from PyTorch are names to refer to.


def _stand_in(module, name):
    def function():
        raise AssertionError(f"{module}.{name} is a name only")

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


_rebuild = _stand_in("torch._utils", "_rebuild_tensor_v2")
_load = _stand_in("torch.storage", "_load_from_bytes")
_storages = {
    "f4": type("FloatStorage", (), {"__module__": "torch"}),
    "i8": type("LongStorage", (), {"__module__": "torch"}),
}


@contextlib.contextmanager
def _names_of_torch():
    """Lets the pickler find the stand-ins where it looks names up."""
    modules = {name: types.ModuleType(name) for name in
               ("torch", "torch._utils", "torch.storage")}  # fmt: skip
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild
    modules["torch.storage"]._load_from_bytes = _load
    for kind in _storages.values():
        setattr(modules["torch"], kind.__name__, kind)
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in saved.items():
            sys.modules.pop(name)
            if module:
                sys.modules[name] = module


class _Storage:
    """The memory of a tensor; the key is unique in its pickle."""

    def __init__(self, tensor, key):
        self.tensor, self.key = tensor, key

    def blob(self):
        """What torch.save writes for a storage in its older format."""
        out = io.BytesIO()
        sizes = {"short": 2, "int": 4, "long": 4}
        head = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
        for value in (0x1950A86A20F9469CFC6C, 1001, head):
            pickle.dump(value, out, protocol=2)
        kind = _storages[self.tensor.kind]
        n = len(self.tensor.values)

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if isinstance(value, _Storage):
                    return ("storage", kind, value.key, "cpu", n, None)
                return None

        Pickler(out, protocol=2).dump(self)
        pickle.dump([self.key], out, protocol=2)
        out.write(struct.pack("<q", n) + self.tensor.values.tobytes())
        return out.getvalue()

    def __reduce__(self):
        return _load, (self.blob(),)


class _Rebuilt:
    def __init__(self, tensor, key):
        self.tensor, self.key = tensor, key

    def __reduce__(self):
        shape, stride, step = self.tensor.shape, [], 1
        for size in reversed(shape):
            stride.insert(0, step)
            step *= size
        storage = _Storage(self.tensor, self.key)
        hooks = collections.OrderedDict()
        return _rebuild, (storage, 0, shape, tuple(stride), False, hooks)


def write_weights(tensors, protocol, keys=None):
    """The pickle of a list of torch.Tensor, as state_dict().values() gives them."""
    keys = keys or [str(94112000000000 + 64 * i) for i in range(len(tensors))]
    with _names_of_torch():
        return pickle.dumps([_Rebuilt(t, k) for t, k in zip(tensors, keys)], protocol)


# ---- Pickles from the client -------------------------------------------------


class Array:
    """numpy.ndarray(shape, dtype, buffer), as far as a client may call it."""

    def __init__(self, shape, dtype, buffer):
        if dtype not in ("<f4", "<i8"):
            raise TypeError(f"dtype {dtype!r}")
        if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
            raise TypeError(f"shape {shape!r}")
        self.shape, self.dtype = shape, dtype
        self.values = array.array(TYPES[dtype[1:]][0], buffer)
        if len(self.values) != math.prod(shape):
            raise TypeError("buffer is too small or too large for the requested array")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("numpy", "ndarray"):
            return Array
        raise pickle.UnpicklingError(f"global {module}.{name}")


def read_pickle(data):
    return _Unpickler(io.BytesIO(data)).load()
