"""cygnet-coordinator under clients that mean harm and on a disk that fails; what
test_coordinator*.py does not ask. It refuses with a reason, keeps its memory, and
the round that goes on is not harmed."""

import json
import pathlib
import socket
import struct

import pytest
from conftest import ONE, Answer, wait_for
from hostile import disk, sanitized, snapshot  # noqa: F401 (fixtures)
from updates import (
    check_in,
    client_id,
    get_weights,
    make_update,
    put_update,
    read_safetensors,
    update_for,
    write_safetensors,
)

TWO = ["--rounds", "1", "--participants", "2", "--over-commitment", "1"]


def parameters(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def peak_bytes(process):
    status = pathlib.Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture
def room_bytes(sanitized):
    return (1024 if sanitized else 64) << 20


@pytest.fixture
def unharmed(room_bytes):
    """To be called after the harm: the round of one participant is done, and no
    more memory was used than a few bodies are large."""

    def check(coordinator, before):
        assert peak_bytes(coordinator.process) - before < room_bytes
        task = check_in(coordinator, 1)["task"]
        body = update_for(coordinator, task)
        assert put_update(coordinator, task, body).status == 200
        wait_for(lambda: coordinator.status()["state"] == "finished", 8, "the end")
        assert coordinator.status()["history"][0]["participants"] == 1

    return check


def hello(**members):
    body = {"population": "test", "client_id": client_id(1), **members}
    return json.dumps(body).encode()


CHECK_INS = {
    "a million values": (b'{"a":[' + b"0," * 500_000 + b"0]}", 400),
    "deep objects": (b'{"a":' * 100_000, 400),
    "huge string": (hello(population="p" * 1_000_000), 404),
    "huge id": (hello(client_id="c" * 1_000_000), 400),
    "id of control characters": (hello(client_id="a\r\nb"), 400),
    "lone surrogate": (b'{"population":"\\ud800","client_id":"a"}', 400),
    "invalid UTF-8": (b'{"population":"\xc3\x28","client_id":"a"}', 400),
    "UTF-16": (hello().decode().encode("utf-16"), 400),
    "number as text": (hello(client_id=7), 400),
    "two texts": (hello() + hello(), 400),
}


@parameters(CHECK_INS)
def test_a_hostile_check_in(start_coordinator, unharmed, case):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    body, status = case
    answer = coordinator.request("POST", "/v1/check-in", body)
    assert answer.status == status, answer.body
    assert len(answer.body) < 1000 and b"\n" not in answer.body.strip()
    assert coordinator.status()["checked_in"] == 0
    unharmed(coordinator, before)


def announce(coordinator, method, path, n_bytes):
    """The answer to a body that is announced and never sent."""
    connection = coordinator.connect()
    try:
        connection.putrequest(method, path)
        connection.putheader("Content-Length", str(n_bytes))
        connection.endheaders()
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_a_large_body_is_refused_before_it_comes(start_coordinator, unharmed):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    task = check_in(coordinator, 1)["task"]
    for method, path in (("POST", "/v1/check-in"), ("POST", "/v1/rounds/1/reports/%s"),
                         ("POST", "/v1/rounds/1/leases/%s"),
                         ("PUT", "/v1/rounds/1/updates/%s")):  # fmt: skip
        path = path.replace("%s", task["token"])
        answer = announce(coordinator, method, path, 2 << 20)
        assert (answer.status, answer.error_code()) == (413, "too_large"), path
    unharmed(coordinator, before)


WHIMS = {
    "device": {"device": []},
    "examples": {"examples": -1},
    "examples of text": {"examples": "many"},
    "last round": {"last_round": {"round": -1, "utility": 1e308, "samples_per_s": "x"}},
    "capabilities": {"capabilities": {"architectures": {"a": 1}, "codecs": [None] * 9999}},
    "model bytes": {"capabilities": {"max_model_bytes": -1}},
    "version": {"sdk_version": "9" * 100_000},
}


@parameters(WHIMS)
def test_a_check_in_with_a_senseless_member(start_coordinator, unharmed, case):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    answer = coordinator.request("POST", "/v1/check-in", hello(**case))
    assert answer.status in (200, 400), answer.body
    unharmed(coordinator, before)


def test_hostile_reports_and_leases(start_coordinator, unharmed):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    task = check_in(coordinator, 1)["task"]
    report = f"/v1/rounds/1/reports/{task['token']}"
    for body in (b"", b"\0", b"[]", b"{}", b'{"outcome":7}', b'{"outcome":"won"}',
                 b'{"outcome":' * 9999, b'{"outcome":"completed","x":[' + b"1," * 400_000,
                 json.dumps({"outcome": "completed", "reason": "r" * 5000}).encode()):  # fmt: skip
        answer = coordinator.request("POST", report, body)
        assert (answer.status, answer.error_code()) == (400, "malformed"), body[:40]
    odd = {"outcome": "completed", "reason": 7, "metrics": {"loss_last": "x", "steps": []}}
    assert coordinator.post_json(report, odd).status in (204, 400)
    stranger = {"outcome": "aborted", "reason": ""}
    for token in ("A" * 32, "-", "_" * 64):
        assert coordinator.post_json(f"/v1/rounds/1/reports/{token}", stranger).status == 410
        assert coordinator.post_json(f"/v1/rounds/1/leases/{token}", {}).status == 410
    lease = f"/v1/rounds/1/leases/{task['token']}"
    assert coordinator.request("POST", lease, b"[" * 100_000).status in (200, 400)
    assert coordinator.status()["accepted"] == 0
    assert coordinator.status()["current"]["failed"] == 0
    unharmed(coordinator, before)


def rle_frame(n_blocks, content_size):
    """A zstd frame of `n_blocks` times 128 KiB zeros in four bytes each."""
    head = struct.pack("<IBQ", 0xFD2FB528, 0xE0, content_size)
    block = 128 << 10
    blocks = b"".join(
        (block << 3 | 1 << 1 | (i == n_blocks - 1)).to_bytes(3, "little") + b"\0"
        for i in range(n_blocks)
    )
    return head + blocks


def int8_update(weights, payload, size_of=None):
    """An int8 container whose every matrix has this payload."""
    header, body, about = {}, b"", {}
    for name, shape, values in weights:
        if len(shape) < 2:
            ends = [len(body), len(body) + 4 * len(values)]
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": ends}
            body += bytes(4 * len(values))
            continue
        size = 4 * shape[0] + len(values) if size_of is None else size_of
        about[name] = {"shape": shape, "size": size}
        ends = [len(body), len(body) + len(payload)]
        header[name] = {"dtype": "U8", "shape": [len(payload)], "data_offsets": ends}
        body += payload
    codec = {
        "version": 1, "name": "int8", "stages": ["int8", "zstd"], "tensors": about,
        "parameters": {"granularity": "row", "rounding": "stochastic", "seed": 1},
    }  # fmt: skip
    update = {"version": 1, "kind": "delta", "round": 1, "examples": 1, "steps": 1}
    header["__metadata__"] = {
        "cygnet_update": json.dumps(update),
        "cygnet_codec": json.dumps(codec),
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_decompression_bomb_in_an_update(start_coordinator, room_bytes):
    coordinator = start_coordinator(*ONE, "--codec", "int8")
    before = peak_bytes(coordinator.process)
    task = check_in(coordinator, 1)["task"]
    weights = read_safetensors(get_weights(coordinator, task))
    giga = 8192 * (128 << 10)
    bombs = [
        int8_update(weights, rle_frame(8192, giga)),
        int8_update(weights, rle_frame(8192, giga), giga),
        int8_update(weights, rle_frame(8192, 24)),
        int8_update(weights, rle_frame(8192, 2**63)),
        int8_update(weights, b""),
        int8_update(weights, b"\x28\xb5\x2f\xfd" + b"\xff" * 40),
    ]
    for i, body in enumerate(bombs):
        answer = put_update(coordinator, task, body)
        assert (answer.status, answer.error_code()) == (422, "unusable_update"), i
    assert peak_bytes(coordinator.process) - before < room_bytes
    zeros = [(n, s, [0.0] * len(v)) for n, s, v in weights]
    answer = put_update(coordinator, task, make_update(zeros, 1, 1))
    assert "codec" in answer.json()["error"]["message"]
    assert coordinator.status()["accepted"] == 0


def container(header, body=b"", says=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if says is None else says) + text + body


def test_hostile_containers(start_coordinator, unharmed):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    task = check_in(coordinator, 1)["task"]
    weights = read_safetensors(get_weights(coordinator, task))
    zeros = [(n, s, [0.0] * len(v)) for n, s, v in weights]
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    deep = "[" * 100_000
    codec = {"version": 1, "name": "none", "stages": [], "parameters": {}, "tensors": {}}
    good = json.dumps(codec)
    bodies = {
        "html": b"<html>" * 100,
        "header bomb": container(b'{"a":' * 50_000),
        "header beyond": container(b"{}", says=2**62),
        "huge tensor": container({"x": entry}),
        "no metadata": write_safetensors(zeros),
        "update bomb": write_safetensors(zeros, {"cygnet_update": deep, "cygnet_codec": good}),
        "codec bomb": write_safetensors(
            zeros, {"cygnet_update": '{"version":1}', "cygnet_codec": deep}
        ),
        "examples of text": make_update(zeros, 1, "many"),
        "examples of half": make_update(zeros, 1, 0.5),
        "examples below 0": make_update(zeros, 1, -1),
        "more tensors": make_update(zeros + [("x", [1], [0.0])], 1, 1),
        "twice the tensors": make_update(zeros, 1, 1).replace(b"linear.bias", b"linear.bia\0"),
    }  # fmt: skip
    for what, body in bodies.items():
        answer = put_update(coordinator, task, body)
        assert (answer.status, answer.error_code()) == (422, "unusable_update"), what
        message = answer.json()["error"]["message"]
        assert message and "\n" not in message and len(message) < 300
    assert coordinator.status()["accepted"] == 0
    unharmed(coordinator, before)


def test_bytes_that_are_no_tls(start_coordinator, unharmed):
    coordinator = start_coordinator(*ONE)
    before = peak_bytes(coordinator.process)
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(9999),
                 b"", bytes(100_000)):  # fmt: skip
        with socket.create_connection((coordinator.host, coordinator.port), 5) as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
    unharmed(coordinator, before)


def test_idle_connections_do_not_keep_others_out(start_coordinator, unharmed):
    coordinator = start_coordinator(*ONE, tls=False)
    before = peak_bytes(coordinator.process)
    idle = [
        socket.create_connection((coordinator.host, coordinator.port), 5)
        for _ in range(300)
    ]
    try:
        for s in idle[::2]:
            s.sendall(b"POST /v1/check-in HTTP/1.1\r\nContent-Length: 1000000\r\n")
        unharmed(coordinator, before)
    finally:
        for s in idle:
            s.close()


# ---- The disk ---------------------------------------------------------------


def test_an_update_that_does_not_fit_on_the_disk_may_come_again(
    start_coordinator, disk
):
    state = disk.folder / "coordinator"
    coordinator = start_coordinator(*ONE, "--state-dir", state)
    task = check_in(coordinator, 1)["task"]
    body = update_for(coordinator, task)
    disk.leave(0)
    answer = put_update(coordinator, task, body)
    assert (answer.status, answer.error_code()) == (507, "disk_full"), answer.body
    assert coordinator.status()["accepted"] == 0
    disk.free()
    assert put_update(coordinator, task, body).status == 200
    wait_for(lambda: coordinator.status()["state"] == "finished", 8, "the end")


@pytest.mark.parametrize("n_pages", [1, 2, 3, 4, 6, 8, 12])
def test_a_disk_that_fills_up_in_a_round(start_coordinator, disk, n_pages):
    state = disk.folder / "coordinator"
    coordinator = start_coordinator(*ONE, "--state-dir", state)
    task = check_in(coordinator, 1)["task"]
    body = update_for(coordinator, task)
    disk.leave(n_pages)
    status = put_update(coordinator, task, body).status
    assert status in (200, 507)
    disk.free()
    if not coordinator.process.running():
        # it may give up with one line, if nothing that was accepted is lost
        assert coordinator.process.wait() == 1
        assert "No space left on device" in coordinator.process.stderr
        assert coordinator.process.stderr.count("\n") == 1
        coordinator = start_coordinator(*ONE, "--state-dir", state)
    if status != 200:
        assert put_update(coordinator, task, body).status == 200
    wait_for(lambda: coordinator.status()["state"] == "finished", 8, "the end")
    assert coordinator.status()["history"][0]["participants"] == 1


DAMAGES = {
    "empty": lambda good: b"",
    "cut": lambda good: good[:-1],
    "one bit": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
    "gone": None,
}


@pytest.mark.parametrize("folder", ["blobs", "updates"])
@parameters(DAMAGES)
def test_a_damaged_file_of_the_open_round(start_coordinator, tmp_path, folder, case):
    coordinator = start_coordinator(*TWO, tls=False)
    check_in(coordinator, 1)
    check_in(coordinator, 2)
    task = check_in(coordinator, 1)["task"]
    assert put_update(coordinator, task, update_for(coordinator, task)).status == 200
    coordinator.process.kill()
    (path,) = (tmp_path / "state" / folder).iterdir()
    good = path.read_bytes()
    if case:
        path.write_bytes(case(good))
    else:
        path.unlink()
    before = snapshot(path.parent)
    with pytest.raises(AssertionError) as e:
        start_coordinator(*TWO, tls=False)
    line = str(e.value).splitlines()[0]
    assert "the coordinator ended: cygnet-coordinator: " in line
    assert path.name[-16:] in line and ("damaged" in line or "No such file" in line)
    assert snapshot(path.parent) == before
    path.write_bytes(good)
    assert start_coordinator(*TWO, tls=False).status()["accepted"] == 1
