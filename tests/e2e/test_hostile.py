"""cygnet-client against a server that means harm, or is broken.

Whatever it answers: one line that says what was wrong, a status that is not 0,
little time and memory; and afterwards the same state directory does a round with
a server that behaves, as the same client."""

import json
import math
import signal
import socket
import ssl
import struct
import subprocess

import pytest
from conftest import make_certificate, wait_for
from hostile import (  # noqa: F401 (fixtures)
    HostileServer,
    check_update,
    client,
    endless,
    error,
    max_rss_bytes,
    one_line,
    raw,
    reply,
    run_measured,
    sanitized,
    server,
    task_json,
    unharmed,
    veteran,
    weights_file,
)

HEAD = b"HTTP/1.1 200 OK\r\n"


def parameters(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


# ---- Answers to the check-in ------------------------------------------------


def changed(path, value):
    """The task with one member changed; ... takes it away."""

    def change(task):
        *folders, last = path.split(".")
        at = task
        for name in folders:
            at = at.setdefault(name, {})
        if value is ...:
            del at[last]
        else:
            at[last] = value
        return json.dumps({"task": task}).encode()

    return change


BODIES = {
    "html": (b"<html><body>Login</body></html>", "JSON: unexpected text at byte 0"),
    "empty": (b"", "JSON: text ends early at byte 0"),
    "array": (b"[]", "not a JSON object"),
    "number": (b"7", "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "cut": (b'{"task":{"id":"x"', "at byte 17"),
    "two values": (b"{}{}", "text after the value at byte 2"),
    "a NUL": (b'{"retry":"\0"}', "control character in a string at byte 10"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "JSON: unexpected text at byte 0"),
    "UTF-16": ("{}".encode("utf-16"), "JSON: unexpected text at byte 0"),
    "invalid UTF-8": (b'{"retry":"\xc3\x28"}', "invalid UTF-8 at byte 10"),
    "surrogate": (rb'{"retry":"\ud800"}', "lone surrogate"),
    "duplicate keys": (b'{"retry":{},"retry":{}}', '"retry" appears twice'),
    "not a number": (b'{"retry":NaN}', "unexpected text at byte 9"),
    "deep lists": (b"[" * 500_000, "deeper than 16 levels"),
    "deep objects": (b'{"a":' * 100_000, "deeper than 16 levels"),
    "a million values": (b"[" + b"0," * 400_000 + b"0]", "more than 65536 values"),
    "huge string": (
        b'{"retry":{"min_s":0,"max_s":1,"reason":"' + b"a" * 1_000_000 + b'"}}',
        '"reason" is longer than 32 bytes',
    ),
    "huge key": (b'{"' + b"k" * 1_000_000 + b'":1}', "neither a task nor a retry"),
    "huge number": (b'{"retry":{"min_s":1' + b"0" * 30 + b"}}", '"min_s"'),
    "endless number": (b'{"retry":{"min_s":' + b"9" * 9999, "over-long number"),
    "neither": (b"{}", "neither a task nor a retry window"),
    "both": (b'{"task":{},"retry":{}}', "both a task and a retry window"),
    "a task that is text": (b'{"task":"x"}', '"task" must be an object'),
    "window upside down": (b'{"retry":{"min_s":9,"max_s":1}}', "min_s is above max_s"),
    "window for ever": (b'{"retry":{"min_s":0,"max_s":1e12}}', '"max_s"'),
    "negative window": (b'{"retry":{"min_s":-1,"max_s":1}}', '"min_s"'),
}


@parameters(BODIES)
def test_a_malformed_answer_to_the_check_in(server, client, unharmed, case):
    body, words = case
    server.say("check-in", reply(200, body))
    line = client.fails(server)
    assert "answer to the check-in" in line and words in line
    unharmed()


def test_an_answer_larger_than_the_limit_is_not_read(server, client, unharmed):
    server.say("check-in", reply(200, b" " * 2_000_000))
    line = client.fails(server)
    assert "2000000 bytes, more than the limit of 1048576" in line
    unharmed()


def test_an_answer_without_an_end_is_cut_off(server, client, unharmed):
    server.say("check-in", endless(HEAD + b"\r\n", b" " * 65536))
    assert "larger than the limit of 1048576 bytes" in client.fails(server)
    unharmed()


TASKS = {
    "no id": ("id", ..., 'task: "id" is missing'),
    "round 0": ("round", 0, '"round" is 0'),
    "token with a slash": ("token", "../../x", "task.token holds more than"),
    "token with a line": ("token", "a\r\nX: y", "task.token holds a control character"),
    "no deadline": ("deadline_s", 0, '"deadline_s" is 0'),
    "deadline of years": ("deadline_s", 10**9, '"deadline_s" is 1000000000'),
    "lease of text": ("lease_s", "soon", '"lease_s" must be'),
    "one class": ("model.classes", 1, '"classes" is 1'),
    "classes of half": ("model.classes", 2.5, '"classes"'),
    "five dimensions": ("model.input", [1] * 5, "task.model.input is not a list"),
    "input of zero": ("model.input", [1, 0, 2], "task.model.input holds something else"),
    "input is huge": ("model.input", [65537], "task.model.input holds something else"),
    "no weights": ("model.weights", ..., '"weights" is missing'),
    "size 0": ("model.weights.size", 0, '"size" is 0'),
    "size of 2^60": ("model.weights.size", 2**60, '"size" must be a whole number'),
    "hash in capitals": ("model.weights.sha256", "A" * 64, "64 lower-case hex digits"),
    "url elsewhere": ("model.weights.url", "https://example.org/x", "another origin"),
    "url of a file": ("model.weights.url", "file:///etc/passwd", "neither a path nor"),
    "url without scheme": ("model.weights.url", "//example.org/x", "neither a path nor"),
    "no passes": ("training.epochs", 0, "epochs and steps are both absent or 0"),
    "batch of 0": ("training.batch", 0, '"batch" is 0'),
    "batch is huge": ("training.batch", 65537, '"batch" is 65537'),
    "lr below 0": ("training.optimizer.lr", -1, '"lr" is -1'),
    "lr of text": ("training.optimizer.lr", "NaN", '"lr" must be'),
    "momentum of 1": ("training.optimizer.momentum", 1, '"momentum" is 1'),
    "no codec": ("update", {}, '"codec" is missing'),
    "a condition": ("eligibility", {"charging": "maybe"}, "task.eligibility.charging"),
    "battery": ("eligibility", {"min_battery_percent": 101}, '"min_battery_percent"'),
    "requires text": ("requires", "all", "task.requires is not a list"),
    "requires numbers": ("requires", [1], "task.requires holds something else"),
}


@parameters(TASKS)
def test_a_task_with_one_limit_broken(server, client, unharmed, case):
    path, value, words = case
    server.say("check-in", reply(200, changed(path, value)(task_json(server.weights))))
    assert words in client.fails(server)
    assert server.bodies("weights") == []
    unharmed()


IMPOSSIBLE = {
    "architecture": ("model.architecture", "gpt-9", 'architecture "gpt-9"'),
    "input for it": ("model.input", [2, 2, 2], "linear.weight"),
    "classes for it": ("model.classes", 4, "linear.weight"),
    "codec": ("update.codec", "brotli", 'codec "brotli" is not known'),
    "a large model": ("model.weights.size", 2**40, "1099511627776 bytes"),
    "collection": ("data", {"collection": "mail"}, 'no collection "mail"'),
    "too little room": ("update", {"codec": "none", "max_bytes": 10}, "10"),
}


@parameters(IMPOSSIBLE)
def test_a_task_that_cannot_be_done_here(server, client, unharmed, case):
    path, value, words = case
    server.say("check-in", reply(200, changed(path, value)(task_json(server.weights))))
    assert words in client.fails(server)
    assert server.bodies("update") == []
    unharmed()


UNKNOWN = {
    "requires": ("requires", ["quantum"], '"quantum", which is not known here'),
    "optimizer": ("training.optimizer.name", "adam", "optimizer adam"),
}


@parameters(UNKNOWN)
def test_a_task_that_needs_what_is_not_known_is_given_up(server, client, unharmed, case):
    path, value, words = case
    server.say("check-in", reply(200, changed(path, value)(task_json(server.weights))))
    assert words in client.gives_up(server)
    (told,) = [json.loads(b) for b in server.bodies("report")]
    assert told["outcome"] == "aborted" and words in told["reason"]
    unharmed()


# ---- Status codes -----------------------------------------------------------

STATUSES = {
    "500": (reply(500, b"<html>oops</html>"), "answered 500", "ESERVER"),
    "500, with words": (error(500, "on fire"), "answered 500: on fire", "ESERVER"),
    "502": (reply(502), "answered 502", "ESERVER"),
    "404": (reply(404, b"nothing here"), "answered 404", "EREFUSED"),
    "unknown population": (error(404, 'no "test" here'), 'no "test" here', "EREFUSED"),
    "401": (error(401, "who?"), "answered 401: who?", "EAUTH"),
    "403": (error(403, "never"), "answered 403: never", "EREFUSED"),
    "429": (error(429), "answered 429", "ESERVER"),
    "400": (error(400), "answered 400", "EREFUSED"),
    "204": (reply(204), "answered 204", "EPROTOCOL"),
    "302": (reply(302, Location="/v1/other"), "answered 302", "EPROTOCOL"),
    "999": (reply(999), "answered 999", "ESERVER"),
    "an endless page": (
        endless(b"HTTP/1.1 404 X\r\n\r\n", b"<p>" * 9999), "answered 404", "EREFUSED"
    ),
    "words of two lines": (error(400, "a\r\nb\x1b[2J\x07"), "answered 400: a", "EREFUSED"),
    "words of a megabyte": (error(400, "w" * 60_000), "answered 400: www", "EREFUSED"),
    "words that are no text": (error(400, ["a"]), "answered 400", "EREFUSED"),
}  # fmt: skip


@parameters(STATUSES)
def test_a_refused_check_in(server, client, unharmed, case):
    answer, words, name = case
    server.say("check-in", answer)
    line = client.fails(server)
    assert "check-in: the server " in line and words in line
    assert line.endswith(f"({name})")
    unharmed()


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_keeps_the_client_away(server, client, status):
    server.say("check-in", error(status, "busy", Retry_After="600"))
    assert f"answered {status}: busy" in client.fails(server)
    server.behave()
    server.requests.clear()
    assert "come back later" in client.gives_up(server)
    assert server.requests == []


@pytest.mark.parametrize("answer", [error(404, "no such path"), error(403, "no")])
def test_a_refusal_ends_a_run_of_rounds_at_once(server, client, unharmed, answer):
    server.say("check-in", answer)
    assert "check-in: the server answered 40" in client.fails(server, "--until-done")
    assert len(server.requests) == 1
    unharmed()


def test_a_server_that_recovers_is_waited_for(server, client):
    honest = server.honest("check-in")
    server.say("check-in", error(500, "on fire"), error(429, "slowly"), honest)
    run = client.run(server, "--rounds", "1")
    assert (run.status, run.err) == (0, ""), run
    # what it waits for can be seen meanwhile
    assert "failed: check-in: the server answered 500: on fire" in run.out
    assert "answered 429: slowly" in run.out and len(server.bodies("check-in")) == 3


# ---- Weights ----------------------------------------------------------------


def safetensors(header, data=b"", says=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    says = len(text) if says is None else says
    return struct.pack("<Q", says) + text + data


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = weights_file()
FILES = {
    "nothing": (b"\0", "shorter than 8 bytes"),
    "cut in the header": (GOOD[:40], "the header says"),
    "cut in the data": (GOOD[:-4], '"linear.bias": its data lie outside the file'),
    "longer than it says": (GOOD + b"\0" * 8, "safetensors: "),
    "huge header": (safetensors(b"{}", says=2**62), "4611686018427387904 bytes, the limit"),
    "header past the end": (safetensors(b"{}", says=3), "the header says 3 bytes"),
    "no header": (safetensors(b""), "must begin with {"),
    "header of garbage": (safetensors(b"{\xff\xfe}"), "safetensors header: JSON"),
    "header bomb": (safetensors(b'{"a":' * 50_000), "deeper than 4 levels"),
    "huge tensor": (safetensors({"a": tensor([2**40], 0, 2**42)}), "lie outside the file"),
    "overflow": (safetensors({"a": tensor([2**40, 2**40], 0, 0)}), "shape overflows"),
    "shape and size": (
        safetensors({"a": tensor([3], 0, 8)}, bytes(8)), "do not match the size"
    ),
    "negative": (safetensors({"a": tensor([-1], 0, 0)}), "must hold whole numbers"),
    "overlap": (
        safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
        "safetensors: ",
    ),
    "twice": (
        safetensors(b'{"a":' + json.dumps(tensor([1], 0, 4)).encode() + b',"a":'
                    + json.dumps(tensor([1], 0, 4)).encode() + b"}", bytes(4)),
        '"a" appears twice',
    ),
    "unknown dtype": (
        safetensors({"a": tensor([1], 0, 4, "F99")}, bytes(4)), 'dtype "F99"'
    ),
    "other dtype": (
        safetensors({"a": tensor([1], 0, 8, "F64")}, bytes(8)), '"a"'
    ),
    "a tensor is missing": (weights_file({"linear.bias": None}), "linear.bias"),
    "a tensor too many": (weights_file({"extra": ([1], [0.0])}), "extra"),
    "wrong shape": (weights_file({"linear.weight": ([4, 3], [0.0] * 12)}), "linear.weight"),
    "wrong rank": (weights_file({"linear.weight": ([12], [0.0] * 12)}), "linear.weight"),
    "wrong name": (
        weights_file({"linear.bias": None, "linear.bais": ([3], [0.0] * 3)}), "linear.bias"
    ),
    "NaN": (weights_file({"linear.bias": ([3], [0.0, math.nan, 0.0])}), "linear.bias"),
    "infinity": (weights_file({"linear.bias": ([3], [math.inf, 0.0, 0.0])}), "linear.bias"),
    "html": (b"<html>Login</html>", "safetensors: "),
}  # fmt: skip


@parameters(FILES)
def test_weights_that_are_unusable(server, client, unharmed, case):
    weights, words = case
    server.serve_weights(weights)
    line = client.fails(server)
    assert words in line
    (told,) = [json.loads(b) for b in server.bodies("report")]
    assert told["outcome"] == "aborted"
    assert server.bodies("update") == []
    unharmed()


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


TRANSFERS = {
    "wrong hash": (reply(200, flipped(GOOD)), "weights: the SHA-256 is", "EHASH"),
    "too long": (reply(200, GOOD + b"x"), "more than the", "EPROTOCOL"),
    "too long, chunked": (
        endless(HEAD + b"\r\n", b"x" * 65536), "more than the", "EPROTOCOL"
    ),
    "too short": (reply(200, GOOD[:-1]), "the transfer ended after", "ENETWORK"),
    "gone": (error(404), "weights: the blob is gone (status 404)", "EREFUSED"),
    "gone for ever": (error(410), "weights: the blob is gone (status 410)", "EREFUSED"),
    "forbidden": (error(403, "no"), "weights: the server answered 403: no", "EREFUSED"),
    "broken": (error(500, "disk"), "weights: the server answered 500: disk", "ESERVER"),
    "no content": (reply(204), "weights: the server answered 204", "EPROTOCOL"),
    "other range": (
        reply(206, GOOD, Content_Range="bytes 5-9/10"), "sent another range", "EPROTOCOL"
    ),
    "closed in the body": (
        raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD[:50]), "", "ENETWORK"
    ),
    "a length that lies": (
        raw(HEAD + b"Content-Length: 99999999999\r\n\r\n"), "99999999999 bytes", "ELIMIT"
    ),
    "elsewhere": (
        reply(302, Location="https://example.org/x"), "redirects to another origin",
        "EPROTOCOL",
    ),
    "in circles": (
        reply(302, Location="/v1/blobs/x"), "redirects more than 3 times", "EPROTOCOL"
    ),
    "to a file": (reply(302, Location="file:///etc/passwd"), "redirects to", "EPROTOCOL"),
    "one byte at a time": (
        endless(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD), GOOD[:1], 0.2), "",
        "ETIMEOUT",
    ),
    "a stall": (
        raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD), then_stall=True), "",
        "ETIMEOUT",
    ),
}  # fmt: skip


@parameters(TRANSFERS)
def test_weights_that_do_not_come(server, client, unharmed, case):
    answer, words, name = case
    server.task["deadline_s"] = 2
    server.say("weights", answer)
    line = client.fails(server)
    assert words in line and line.endswith(f"({name})")
    assert server.bodies("update") == []
    unharmed()


def test_a_cached_blob_that_was_damaged_is_fetched_again(server, client, unharmed):
    unharmed()
    (blob,) = (client.state / "cache" / "blobs").iterdir()
    for damage in (b"", blob.read_bytes()[:-1], flipped(blob.read_bytes())):
        blob.write_bytes(damage)
        unharmed()
        assert len(server.bodies("weights")) == 1
        assert blob.read_bytes() == server.weights


def test_labels_beyond_the_classes_of_the_task(server, client, unharmed):
    two = {"linear.weight": ([2, 4], [0.0] * 8), "linear.bias": ([2], [0.0] * 2)}
    server.serve_weights(weights_file(two))
    server.task["model"]["classes"] = 2
    line = client.fails(server)
    assert "label of example 2 is 2: want 0 to 1 (EDATA)" in line
    (told,) = [json.loads(b) for b in server.bodies("report")]
    assert told["reason"] == "the training data is unusable"
    unharmed()


def test_training_that_explodes(server, client, unharmed):
    server.task["training"].update(steps=2000)
    server.task["training"]["optimizer"].update(lr=1000, weight_decay=1)
    line = client.fails(server)
    assert line.endswith("(ENUMERIC)") and server.bodies("update") == []
    unharmed()


# ---- Update and report ------------------------------------------------------


@pytest.mark.parametrize("status", [409, 410])
def test_an_update_for_a_closed_round_is_too_late(server, client, unharmed, status):
    server.say("update", error(status, "closed"))
    line = client.gives_up(server)
    assert "too_late" in line and "the round closed without this update" in line
    assert len(server.bodies("update")) == 1
    unharmed()


REFUSALS = {
    "413": (error(413, "at most 10 bytes"), "answered 413: at most 10 bytes", "EREFUSED"),
    "422": (error(422, "not finite"), "answered 422: not finite", "EREFUSED"),
    "400": (error(400, "bad digest"), "answered 400: bad digest", "EREFUSED"),
    "401": (error(401), "answered 401", "EAUTH"),
    "302": (reply(302, Location="/x"), "answered 302", "EPROTOCOL"),
    "500": (error(500, "on fire"), "answered 500: on fire", "ESERVER"),
    "a stall": (raw(b"", then_stall=True), "no complete answer within", "ETIMEOUT"),
    "garbage": (raw(b"\x16\x03\x01garbage\r\n\r\n"), "the answer is not HTTP", "EPROTOCOL"),
}


@parameters(REFUSALS)
def test_an_update_that_is_refused(server, client, unharmed, case):
    answer, words, name = case
    server.task["deadline_s"] = 2
    server.say("update", answer)
    line = client.fails(server)
    assert words in line and line.endswith(f"({name})")
    (told,) = [json.loads(b) for b in server.bodies("report")]
    assert told["outcome"] == "aborted"
    unharmed()


def test_an_update_is_sent_again_after_a_passing_error(server, client):
    honest = server.honest("update")
    server.say("update", error(500), error(503, Retry_After="1"), raw(b""), honest)
    run = client.run(server)
    assert (run.status, run.err) == (0, ""), run
    updates = server.bodies("update")
    assert len(updates) == 4 and len(set(updates)) == 1
    check_update(updates[0], server)


REPORTS = {
    "garbage": raw(b"\0\1\2\3" * 100),
    "html": reply(200, b"<html>thanks</html>"),
    "json bomb": reply(200, b"[" * 100_000),
    "an endless page": endless(HEAD + b"\r\n", b"x" * 65536),
    "404": error(404),
    "redirect": reply(302, Location="https://example.org/"),
    "closed": raw(b""),
    "500": error(500),
}


@parameters(REPORTS)
def test_the_answer_to_a_report_does_not_matter(server, client, unharmed, case):
    server.say("report", case)
    run = client.run(server)
    assert (run.status, run.err) == (0, ""), run
    assert len(server.bodies("update")) == 1
    unharmed()


@pytest.mark.parametrize("answer", [error(410), raw(b"no HTTP\r\n\r\n")])
def test_the_answer_to_a_report_of_failure_does_not_matter(
    server, client, unharmed, answer
):
    server.serve_weights(GOOD[:-4])
    server.say("report", answer)
    assert "its data lie outside the file" in client.fails(server)
    unharmed()


LEASES = {
    "garbage": raw(b"\0\1\2\3" * 100),
    "for ever": reply(200, {"lease_s": 10**12}),
}


def long_lesson(server):
    """A second or so of training with a lease of one second."""
    server.task.update(lease_s=1, deadline_s=60)
    server.task["training"]["steps"] = 500_000


@parameters(LEASES)
def test_a_malformed_answer_to_a_lease_does_not_matter(server, client, unharmed, case):
    long_lesson(server)
    server.say("lease", case)
    run = client.run(server, limit_s=60)
    assert (run.status, run.err) == (0, ""), run
    assert len(server.bodies("lease")) >= 1
    unharmed()


def test_a_lease_that_was_given_away_ends_the_round(server, client, unharmed):
    long_lesson(server)
    server.say("lease", error(410, "given to another"))
    assert "the coordinator has ended the lease" in client.gives_up(server)
    assert server.bodies("update") == []
    unharmed()


# ---- The connection ---------------------------------------------------------

CONNECTIONS = {
    "garbage": (raw(b"\x16\x03\x01\x02\0\1\0\1\xfc\r\n\r\n"), "the answer is not HTTP"),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "the answer is not HTTP"),
    "nothing": (raw(b""), "Empty reply"),
    "half a status line": (raw(b"HTTP/1.1 20"), "127.0.0.1 port"),
    "closed in the body": (raw(HEAD + b"Content-Length: 99\r\n\r\n{"), "127.0.0.1 port"),
    "broken chunks": (
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), "127.0.0.1 port"
    ),
    "compressed": (
        raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\0"), ""
    ),
    "endless headers": (endless(HEAD, b"A: b\r\n" * 1000), "more than 64 header lines"),
    "an endless header": (
        endless(HEAD + b"A: ", b"b" * 65536), "header line of the answer is longer than"
    ),
    "endless early hints": (endless(b"", b"HTTP/1.1 103 X\r\n\r\n" * 100), ""),
}  # fmt: skip


@parameters(CONNECTIONS)
def test_a_connection_that_goes_wrong(server, client, unharmed, case):
    answer, words = case
    server.say("check-in", answer)
    assert words in client.fails(server)
    unharmed()


def test_a_signal_ends_a_wait_for_a_server_that_stalls(server, client, unharmed):
    server.say("check-in", raw(HEAD, then_stall=True))
    process = subprocess.Popen([str(a) for a in client.argv(server)], stderr=subprocess.PIPE)
    try:
        wait_for(lambda: server.requests, 20, "the check-in")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 4
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.stderr.close()
    unharmed()


def test_nobody_listens(client, server, unharmed):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    line = client.fails(f"http://127.0.0.1:{port}")
    assert f"127.0.0.1 port {port}" in line and "connect" in line
    unharmed()


def test_a_name_that_does_not_resolve(client, server, unharmed):
    line = client.fails("https://nowhere.invalid")
    assert "nowhere.invalid" in line and line.endswith("(ENETWORK)")
    unharmed()


def test_plain_http_is_refused_without_the_option(server, client, unharmed):
    argv = client.argv(server)
    argv.remove("--allow-loopback-http")
    run = run_measured(argv, client.folder / "logs")
    assert run.status == 1 and server.requests == []
    assert "server_url: plain http towards 127.0.0.1" in one_line(run.err)
    line = client.fails("http://example.org")
    assert "server_url: plain http towards example.org is refused" in line
    unharmed()


# ---- TLS --------------------------------------------------------------------


def expired_certificate(folder):
    """Self-signed for 127.0.0.1, of years ago; only `openssl ca` can date back."""
    folder.mkdir()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=it\n[it]\ndir=.\ndatabase=index.txt\nrand_serial=yes\n"
        "new_certs_dir=.\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
    )
    (folder / "index.txt").write_text("")
    (folder / "san.cnf").write_text("subjectAltName=IP:127.0.0.1\n")
    for args in (
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key "
        "-out old.csr -subj /CN=old",
        "ca -batch -notext -config ca.cnf -selfsign -keyfile old.key -in old.csr "
        "-out old.crt -startdate 20200101000000Z -enddate 20200201000000Z "
        "-extfile san.cnf",
    ):
        subprocess.run(
            ["openssl", *args.split()], cwd=folder, check=True, capture_output=True
        )
    return folder / "old.crt", folder / "old.key"


@pytest.fixture
def serve_tls():
    servers = []

    def start(pair):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        servers.append(HostileServer(context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_a_round_over_tls(serve_tls, certificate, client):
    server = serve_tls(certificate)
    run = client.run(server, ca=certificate[0])
    assert (run.status, run.err) == (0, ""), run


def refused_by_tls(client, server, unharmed, words, *options, **changes):
    line = client.fails(server, *options, **changes)
    assert words in line and "127.0.0.1 port" in line and line.endswith("(ETLS)")
    assert server.requests == []
    unharmed()


def test_an_expired_certificate(serve_tls, client, unharmed, tmp_path):
    pair = expired_certificate(tmp_path / "old")
    server = serve_tls(pair)
    refused_by_tls(client, server, unharmed, "certificate has expired", ca=pair[0])


def test_an_expired_certificate_ends_a_run_of_rounds_at_once(
    serve_tls, client, unharmed, tmp_path
):
    pair = expired_certificate(tmp_path / "old")
    server = serve_tls(pair)
    refused_by_tls(client, server, unharmed, "expired", "--until-done", ca=pair[0])


def test_a_certificate_of_another_host(serve_tls, client, unharmed, tmp_path):
    pair = make_certificate(tmp_path / "tls", host="elsewhere.example")
    refused_by_tls(client, serve_tls(pair), unharmed, "127.0.0.1", ca=pair[0])


def test_an_unknown_authority(serve_tls, client, unharmed, tmp_path, certificate):
    stranger = make_certificate(tmp_path / "tls", "stranger")
    refused_by_tls(client, serve_tls(certificate), unharmed, "certificate", ca=stranger[0])
    refused_by_tls(client, serve_tls(certificate), unharmed, "certificate")


def test_a_server_that_speaks_no_tls(server, client, unharmed):
    line = client.fails(server.url.replace("http:", "https:"))
    assert "127.0.0.1 port" in line and line.endswith("(ETLS)")
    unharmed()


@pytest.mark.parametrize("content", [None, b"", b"\0\1\2", b"-----BEGIN CERTIFICATE-----"])
def test_a_ca_file_without_a_certificate(
    serve_tls, client, unharmed, certificate, tmp_path, content
):
    ca = tmp_path / "roots.pem"
    if content is not None:
        ca.write_bytes(content)
    server = serve_tls(certificate)
    assert "roots.pem" in client.fails(server, ca=ca)
    assert server.requests == []
    unharmed()
