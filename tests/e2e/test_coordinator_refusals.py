"""What the coordinator refuses: hostile input, and to start on what it is given."""

import json
import os
import socket
import sqlite3
import subprocess
import time

import pytest
from conftest import ONE
from updates import (
    check_in,
    digest,
    get_weights,
    make_update,
    put_update,
    read_safetensors,
    update_for,
)

# ---- Hostile input ----------------------------------------------------------


def test_malformed_check_ins_are_refused(start_coordinator):
    coordinator = start_coordinator(*ONE)
    bad = [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}{}", b"{}\0",
        b'{"population":"test"}', b'{"population":1,"client_id":"a"}',
        b'{"population":"test","client_id":""}',
        b'{"population":"test","client_id":"../../etc"}',
        b'{"population":"test","client_id":"' + b"a" * 65 + b'"}',
        b'{"population":"test","client_id":"a","examples":-1}',
        b'{"population":"test","client_id":"a","examples":"9"}',
        b'{"population":"test","client_id":"a","examples":1e300}',
        b"[" * 100000, b'{"a":' * 20 + b"1" + b"}" * 20,
    ]  # fmt: skip
    for body in bad:
        answer = coordinator.request("POST", "/v1/check-in", body)
        assert (answer.status, answer.error_code()) == (400, "malformed"), body[:40]
        assert "\n" not in answer.json()["error"]["message"]
    assert coordinator.status()["checked_in"] == 0


def test_unknown_population_path_and_method_are_refused(start_coordinator):
    coordinator = start_coordinator(*ONE)
    body = {"population": "other", "client_id": "a"}
    answer = coordinator.post_json("/v1/check-in", body)
    assert (answer.status, answer.error_code()) == (404, "unknown_population")
    for path in ("/", "/v1", "/v1/blobs/xyz", "/v1/rounds/1/updates/", "/v1/check-in/",
                 "/v1/rounds/x/updates/t", "/v1/rounds/1/updates/a.b", "/%2e%2e/x"):  # fmt: skip
        assert coordinator.request("GET", path).status == 404, path
    assert coordinator.request("GET", "/v1/check-in").status == 405
    assert coordinator.request("DELETE", "/v1/status").status == 405
    assert coordinator.request("POST", "/v1/rounds/1/updates/t").status == 405


def test_unusable_updates_are_refused_with_the_reason(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    weights = read_safetensors(get_weights(coordinator, task))

    def changed(value, position=0):
        return [
            (n, s, [value if i == position else 0.0 for i in range(len(v))])
            for n, s, v in weights
        ]

    zeros = changed(0.0)
    name, shape, values = zeros[0]
    bad = {
        "empty": b"",
        "garbage": b"\x00" * 64,
        "huge header": b"\xff" * 8 + b"{}",
        "cut": make_update(zeros, 1, 1)[:-4],
        "nan": make_update(changed(float("nan")), 1, 1),
        "infinite": make_update(changed(float("inf")), 1, 1),
        "too large": make_update(changed(5000.0), 1, 1),
        "no examples": make_update(zeros, 1, 0),
        "too many examples": make_update(zeros, 1, 2**31 + 1),
        "wrong round": make_update(zeros, 2, 1),
        "missing tensor": make_update(zeros[1:], 1, 1),
        "other shape": make_update([(name, shape[::-1], values)] + zeros[1:], 1, 1),
        "other name": make_update([("x", shape, values)] + zeros[1:], 1, 1),
        "other version": make_update(zeros, 1, 1, version=9),
        "other kind": make_update(zeros, 1, 1, kind="weights"),
    }
    for what, body in bad.items():
        answer = put_update(coordinator, task, body)
        assert (answer.status, answer.error_code()) == (422, "unusable_update"), what
        assert answer.json()["error"]["message"], what
    assert coordinator.status()["accepted"] == 0
    assert put_update(coordinator, task, make_update(zeros, 1, 1)).status == 200


def test_tokens_rounds_and_digests_are_checked(start_coordinator):
    coordinator = start_coordinator(*ONE)
    task = check_in(coordinator, 1)["task"]
    body = update_for(coordinator, task)
    stranger = dict(task, token="A" * 32)
    assert put_update(coordinator, stranger, body).status == 410
    assert put_update(coordinator, task, body, round_number=2).status == 409
    wrong = {"Repr-Digest": f"sha-256=:{digest(b'other')}:"}
    assert put_update(coordinator, task, body, wrong).status == 422
    for text in ("", "sha-256=:!!:", "md5=:AAAA:", "sha-256=:AAAA:"):
        answer = put_update(coordinator, task, body, {"Repr-Digest": text})
        assert (answer.status, answer.error_code()) == (400, "bad_digest"), text
    assert put_update(coordinator, task, body).status == 200


def raw_request(coordinator, data, limit_s=8):
    """Sends bytes over plain HTTP and returns what comes until the end."""
    with socket.create_connection((coordinator.host, coordinator.port), limit_s) as s:
        s.settimeout(limit_s)
        received = b""
        try:
            s.sendall(data)
            while True:
                chunk = s.recv(65536)
                if not chunk:
                    return received
                received += chunk
        except (BrokenPipeError, ConnectionResetError):
            return received


def test_oversized_bodies_are_refused(start_coordinator):
    coordinator = start_coordinator(*ONE, tls=False)
    task = check_in(coordinator, 1)["task"]
    limit = task["update"]["max_bytes"]
    path = f"/v1/rounds/1/updates/{task['token']}"
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    announced = raw_request(coordinator, head + b"Content-Length: %d\r\n\r\n" % (2**40))
    assert announced.startswith(b"HTTP/1.1 413"), announced
    body = b"\0" * (limit + 1)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)
    answer = raw_request(coordinator, head + chunked + body + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413"), answer[:80]
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "too_large"
    endless = raw_request(coordinator, head + chunked + body * 8)
    assert b" 200 " not in endless
    assert coordinator.status()["accepted"] == 0


def test_garbage_on_the_wire_does_no_harm(start_coordinator):
    coordinator = start_coordinator(*ONE, tls=False)
    for data in (
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
        b"POST /v1/check-in HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/check-in HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ):
        with socket.create_connection((coordinator.host, coordinator.port), 5) as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert coordinator.status()["state"] == "running"
    assert coordinator.process.running()


def test_a_connection_that_trickles_is_closed(start_coordinator):
    coordinator = start_coordinator(*ONE, "--request-timeout", "1", tls=False)
    started = time.monotonic()
    with socket.create_connection((coordinator.host, coordinator.port), 5) as s:
        s.sendall(b"GET /v1/status HTTP/1.1\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < started + 8:
                s.sendall(b"A: b\r\n")
                time.sleep(0.1)
    assert coordinator.status()["state"] == "running"


# ---- Starting ---------------------------------------------------------------


def run_refused(program, tmp_path, *options):
    """Runs it with options that must fail; returns its one line."""
    argv = [program("cygnet-coordinator"), "--population", "test", "--model", "logistic"]
    argv += ["--classes", "3", "--input", "4", "--state-dir", tmp_path / "refused"]
    # GnuTLS forgets a little memory when it refuses a certificate.
    known = tmp_path / "known_leaks.txt"
    known.write_text("leak:libgnutls\n")
    leaks = f"suppressions={known}:print_suppressions=0"
    done = subprocess.run(
        [str(a) for a in [*argv, *options]],
        capture_output=True,
        text=True,
        timeout=9,
        env=dict(os.environ, LSAN_OPTIONS=leaks),
    )
    assert done.returncode not in (0, None) and done.returncode > 0
    assert done.stderr.startswith("cygnet-coordinator: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (["--rounds", "0"], "--rounds"),
        (["--rounds", "x"], "--rounds"),
        (["--lr", "nan"], "--lr"),
        (["--over-commitment", "0.5"], "--over-commitment"),
        (["--input", "3xx4"], "--input"),
        (["--eligibility", "charging=maybe"], "--eligibility"),
        (["--epochs", "1", "--steps", "1"], "exclude"),
        (["--max-clients", "5"], "--max-clients"),
        (["--max-examples-weight", "2147483649"], "--max-examples-weight"),
        (["--policy", "bold"], "--policy"),
        (["--policy", "swan", "--policy-threads", "2"], "--policy-threads"),
        (["--max-round-mj", "9007199254740992"], "--max-round-mj"),
        (["--nonsense"], "unknown option"),
        (["--seed"], "needs a value"),
        (["--listen", "nowhere"], "--listen"),
        (["--listen", "example.invalid:1"], "loopback"),
        (["--model", "nonsense"], "nonsense"),
        (["--population", "a b"], "--population"),
        (["--state-dir", "/proc/nothing/here"], "/proc/nothing/here"),
        (["--initial-weights", "/nonexistent"], "/nonexistent"),
        (["--eval", "idx:/nonexistent", "--input", "1x2x2"], "/nonexistent"),
    ],
)
def test_bad_options_are_refused_in_one_line(program, tmp_path, options, words):
    assert words in run_refused(program, tmp_path, "--plain-http", *options)


def test_plain_http_works_on_loopback_only(start_coordinator, program, tmp_path):
    coordinator = start_coordinator(*ONE, tls=False)
    assert "listening on http://127.0.0.1:" in coordinator.process.stdout
    assert "task" in check_in(coordinator, 1)
    refused = run_refused(
        program, tmp_path, "--plain-http", "--listen", "0.0.0.0:0"
    )
    assert "not a loopback address" in refused


def test_bad_certificates_are_refused(program, tmp_path, certificate):
    cert, key = certificate
    junk = tmp_path / "junk.pem"
    junk.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    cases = [
        ([], "--tls-cert and --tls-key are required"),
        (["--tls-cert", "/nonexistent", "--tls-key", key], "/nonexistent"),
        (["--tls-cert", key, "--tls-key", key], "BEGIN CERTIFICATE"),
        (["--tls-cert", cert, "--tls-key", cert], "PRIVATE KEY"),
        (["--tls-cert", junk, "--tls-key", key], "junk.pem"),
    ]
    for options, words in cases:
        line = run_refused(program, tmp_path, "--listen", "127.0.0.1:0", *options)
        assert words in line


def test_a_second_coordinator_on_the_state_directory_is_refused(
    start_coordinator, program, tmp_path
):
    coordinator = start_coordinator(*ONE, tls=False, state="refused")
    line = run_refused(program, tmp_path, "--plain-http", "--listen", "127.0.0.1:0")
    assert "another coordinator uses the state directory" in line
    assert coordinator.status()["state"] == "running"


def test_a_state_directory_of_another_run_is_refused(
    start_coordinator, program, tmp_path
):
    start_coordinator(*ONE, tls=False, state="refused").process.stop()
    line = run_refused(
        program, tmp_path, "--plain-http", "--listen", "127.0.0.1:0", "--classes", "5"
    )
    assert "the state directory is of population test" in line


def test_a_damaged_database_is_refused(start_coordinator, program, tmp_path):
    start_coordinator(*ONE, tls=False, state="refused").process.stop()
    for name in ("coordinator.db-wal", "coordinator.db-shm"):
        (tmp_path / "refused" / name).unlink(missing_ok=True)
    (tmp_path / "refused" / "coordinator.db").write_bytes(b"no database" * 1000)
    line = run_refused(program, tmp_path, "--plain-http", "--listen", "127.0.0.1:0")
    assert "database" in line


def test_a_newer_database_is_refused(start_coordinator, program, tmp_path):
    start_coordinator(*ONE, tls=False, state="refused").process.stop()
    db = sqlite3.connect(tmp_path / "refused" / "coordinator.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    line = run_refused(program, tmp_path, "--plain-http", "--listen", "127.0.0.1:0")
    assert "newer" in line
