"""A client of the protocol in the standard library: check-in, the update
container with codec none, upload."""

import base64
import hashlib
import json
import struct


def read_safetensors(data):
    """[(name, shape, [floats])] of an F32 file, in file order."""
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    tensors = []
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = data[8 + n + begin : 8 + n + end]
        values = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        tensors.append((name, entry["shape"], values))
    return tensors


def write_safetensors(tensors, metadata=None):
    header, body = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, shape, values in tensors:
        raw = struct.pack(f"<{len(values)}f", *values)
        offsets = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def make_update(deltas, round_number, examples, **changes):
    """The container of docs/update-format.md with codec `none`."""
    update = {
        "version": 1,
        "kind": "delta",
        "round": round_number,
        "examples": examples,
        "steps": 1,
    }
    codec = {
        "version": 1,
        "name": "none",
        "stages": [],
        "parameters": {},
        "tensors": {},
    }
    update.update(changes)
    metadata = {"cygnet_update": json.dumps(update), "cygnet_codec": json.dumps(codec)}
    return write_safetensors(deltas, metadata)


def client_id(number):
    return f"{number:032x}"


def check_in(coordinator, number, **changes):
    """The parsed answer of client `number`."""
    body = {"population": "test", "client_id": client_id(number), **changes}
    answer = coordinator.post_json("/v1/check-in", body)
    assert answer.status == 200, answer.body
    return answer.json()


def get_weights(coordinator, task):
    answer = coordinator.request("GET", task["model"]["weights"]["url"])
    assert answer.status == 200
    return answer.body


def digest(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def put_update(coordinator, task, body, headers=None, round_number=None):
    n = task["round"] if round_number is None else round_number
    sent = {
        "Content-Type": "application/vnd.cygnet.update",
        "Repr-Digest": f"sha-256=:{digest(body)}:",
    }
    sent.update(headers or {})
    return coordinator.request(
        "PUT", f"/v1/rounds/{n}/updates/{task['token']}", body, sent
    )


def update_for(coordinator, task, step=0.5, examples=10, **changes):
    """An update whose every delta is `step` times a pattern."""
    deltas = [
        (name, shape, [step * (1 + i % 5) for i in range(len(values))])
        for name, shape, values in read_safetensors(get_weights(coordinator, task))
    ]
    return make_update(deltas, task["round"], examples, **changes)
