"""grpc_probe, the C client's gRPC and FedScale's messages, against the fake aggregator
over real sockets: a whole job, faults of the server, and servers that speak no gRPC."""

import contextlib
import json
import os
import pathlib
import pickle
import socket
import struct
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.environ["CYGNET_E2E_DIR"])

import fake_aggregator as fake  # noqa: E402
import fedscale_wire as wire  # noqa: E402
from conftest import certificate  # noqa: E402, F401

PROBE = pathlib.Path(os.environ["CYGNET_GRPC_PROBE"])
SLACK = int(os.environ.get("CYGNET_TIME_SLACK", "1"))
CANCEL_LIMIT_MS = 200 + 300 * SLACK


def model():
    return [
        wire.Tensor((2, 3), [1, 2, 3, 4, 5, 6], "f4", "w"),
        wire.Tensor((2,), [7, 8], "f4", "b"),
        wire.Tensor((), [9], "i8", "n"),
    ]


@pytest.fixture
def job():
    with contextlib.ExitStack() as stack:

        def start(**settings):
            settings.setdefault("model", model())
            return stack.enter_context(fake.FakeAggregator(**settings))

        yield start


def calls(url, *commands, options=()):
    """What each call said, with its error message as "message"."""
    done = subprocess.run(
        [PROBE, *[str(o) for o in options], url, *commands],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    lines = done.stdout.split("\n")
    return [{**json.loads(a), "message": b} for a, b in zip(lines[::2], lines[1::2])]


def events(results):
    return [r["event"] or r["status"] for r in results]


# ---- Pickles of a client, as few bytes as do ---------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"G" + struct.pack(">d", value)


def write_upload(path, client, tensors, loss=0.5):
    """Each tensor is (shape, values)."""
    out = b"\x80\x02}(" + text("client_id")
    out += text(client) if isinstance(client, str) else b"J" + struct.pack("<i", client)
    out += text("moving_loss") + number(loss) + text("utility") + number(10)
    out += text("update_weight") + b"]("
    for shape, values in tensors:
        dims = b"".join(b"J" + struct.pack("<i", n) for n in shape)
        raw = struct.pack(f"<{len(values)}f", *values)
        out += b"cnumpy\nndarray\n((" + dims + b"t" + text("<f4")
        out += b"B" + struct.pack("<I", len(raw)) + raw + b"tR"
    path.write_bytes(out + b"eu.")
    return path


def write_result(path, correct=3, count=10):
    out = b"\x80\x02}(" + text("executorId") + text("x") + text("results") + b"}("
    for name, value in (("top_1", correct), ("test_loss", 5), ("test_len", count)):
        out += text(name) + number(value)
    path.write_bytes(out + b"uu.")
    return path


def like_model(value):
    return [((2, 3), [value] * 6), ((2,), [value] * 2), ((), [value])]


# ---- A job -------------------------------------------------------------------


def test_a_job_runs_from_registration_to_its_end(job, tmp_path):
    server = job(rounds=3, life_s=0.3)
    result = write_result(tmp_path / "result")
    upload = write_upload(tmp_path / "upload", "probe", like_model(2))
    got = calls(
        server.url, "register:100", "sleep:300", "ping", "ping", f"model_test:{result}",
        "sleep:300", "ping", f"upload_model:{upload}", "sleep:300", "ping", "ping",
        f"upload_model:{upload}", "sleep:250", "ping",
    )  # fmt: skip
    assert events(got) == [
        "dummy_event", "update_model", "model_test", "dummy_event", "client_train",
        "dummy_event", "update_model", "client_train", "dummy_event",
        "terminate_executor",
    ]  # fmt: skip
    assert server.ended.wait(5 * SLACK)
    assert server.died is None
    assert [t.values.tolist() for t in server.job.model] == [[2] * 6, [2] * 2, [2]]
    assert server.job.performance[0]["top_1"] == 0.3


def test_the_mean_of_two_clients_is_the_next_model(job, tmp_path):
    server = job(rounds=2, participants=2, eval_interval=5, life_s=0.1)
    for name, value in (("a", 1), ("b", 4)):
        calls(server.url, "register:50", options=["--id", name])
        write_upload(tmp_path / name, name, like_model(value))
    result = write_result(tmp_path / "result")
    for name in "ab":
        got = calls(server.url, "sleep:300", "ping", "ping", f"model_test:{result}",
                    options=["--id", name])  # fmt: skip
        assert events(got)[:2] == ["update_model", "model_test"]
    for name in "ab":
        got = calls(server.url, "sleep:300", "ping", f"upload_model:{tmp_path / name}",
                    options=["--id", name])  # fmt: skip
        assert events(got)[0] == "client_train"
    assert server.ended.wait(5 * SLACK)
    assert [t.values.tolist() for t in server.job.model] == [[2.5] * 6, [2.5] * 2, [2]]
    assert server.job.history == [{"round": 1, "uploads": ["a", "b"]}]


def test_the_weights_arrive_whole(job, tmp_path):
    big = wire.Tensor((1000, 3000), [i % 251 for i in range(3_000_000)], "f4", "w")
    server = job(model=[big])
    saved = tmp_path / "weights"
    got = calls(server.url, "register:32", "sleep:300", "ping", f"save:{saved}")
    assert got[-1]["event"] == "update_model"
    assert saved.read_bytes() == wire.write_weights([big], 4)


def test_a_large_upload_arrives_whole(job, tmp_path):
    server = job()
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * (40_000_000 // 256))
    got = calls(server.url, "register:32", f"unheard_of:{big}")
    assert got[-1]["status"] == "OK"
    assert got[-1]["up"] > 40_000_000
    assert server.job.log[-1]["event"] == "unheard_of"


def test_fewer_than_32_examples_are_never_selected(job):
    server = job()
    got = calls(server.url, "register:31", "sleep:300", "ping")
    assert events(got) == ["dummy_event", "dummy_event"]


def test_a_second_registration_starts_the_next_round(job):
    server = job(participants=4)
    for name in "abcdd":
        calls(server.url, "register:100", options=["--id", name])
    assert server.job.round == 2
    assert server.job.selected == ["a", "b", "c", "d", "d"]


def test_a_ping_before_the_registration_fails_that_call_only(job):
    got = calls(job().url, "ping", "register:100")
    assert (got[0]["status"], got[0]["grpc"], got[0]["sent"]) == ("ESERVER", 2, 1)
    assert "UNKNOWN: Exception calling application: 'probe'" in got[0]["message"]
    assert got[1]["status"] == "OK"


def test_weights_sent_back_as_received_are_noticed(job, tmp_path):
    server = job(rounds=2, life_s=0.1)
    same = [(t.shape, t.values) for t in model()]
    upload = write_upload(tmp_path / "upload", "probe", same)
    calls(server.url, "register:100", f"upload_model:{upload}")
    assert server.ended.wait(5 * SLACK)
    received = server.job.received[0]
    assert (received["unchanged"], received["utility"]) == (True, 10)


@pytest.mark.parametrize("what", ["fewer", "shape", "loss", "id", "garbage"])
def test_a_bad_upload_ends_the_job_for_all(job, tmp_path, what):
    server = job(eval_interval=100, rounds=9)
    path, good = tmp_path / "upload", like_model(1)
    if what == "garbage":
        path.write_bytes(b"\x80\x02garbage")
    else:
        write_upload(
            path, "stranger" if what == "id" else "probe",
            {"fewer": good[:2], "shape": [((3, 2), [1] * 6), *good[1:]]}.get(what, good),
            loss=-1 if what == "loss" else 1,
        )  # fmt: skip
    calls(server.url, "register:100", f"upload_model:{path}")
    assert server.ended.wait(5 * SLACK)
    assert server.died.startswith("upload_model")
    assert calls(server.url, "ping")[0]["status"] == "ENETWORK"


def test_a_test_without_examples_ends_the_job_for_all(job, tmp_path):
    server = job()
    result = write_result(tmp_path / "result", count=0)
    calls(server.url, "register:100", f"model_test:{result}")
    assert server.ended.wait(5 * SLACK)
    assert "ZeroDivisionError" in server.died


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_are_of_the_protocol_asked_for(job, tmp_path, protocol):
    saved = tmp_path / "weights"
    calls(job(protocol=protocol).url, "register:32", "sleep:300", "ping", f"save:{saved}")
    assert saved.read_bytes()[:2] == bytes([0x80, protocol])


def test_numbers_can_take_the_place_of_names(job, tmp_path):
    server = job(int_ids=True, rounds=2, life_s=0.1)
    result = write_result(tmp_path / "result")
    upload = write_upload(tmp_path / "upload", 1, like_model(1))
    calls(server.url, "register:32", "sleep:300", f"model_test:{result}",
          f"upload_model:{upload}")  # fmt: skip
    assert server.ended.wait(5 * SLACK)
    assert server.died is None


@pytest.fixture
def program():
    """The fake as a process of its own: (process, url)."""
    with contextlib.ExitStack() as stack:

        def start(*options):
            command = [sys.executable, fake.__file__, "--tensors", "w:2x3,b:2", *options]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True)
            )  # fmt: skip
            stack.callback(process.kill)
            return process, f"http://127.0.0.1:{int(process.stdout.readline())}"

        yield start


def test_the_program_says_why_it_died(program, tmp_path):
    process, url = program()
    bad = tmp_path / "bad"
    bad.write_bytes(b"no pickle")
    calls(url, "register:100", f"upload_model:{bad}")
    assert process.wait(timeout=20 * SLACK) == 1
    assert process.stderr.read().startswith("upload_model: UnpicklingError")


# ---- Faults ------------------------------------------------------------------


def fault(**fields):
    return [fake.Fault(**fields)]


def first_update(server, *options):
    return calls(server.url, "register:32", "sleep:300", "ping", options=options)[-1]


def test_a_message_that_is_cut_is_refused(job):
    got = first_update(job(faults=fault(on="update_model", kind="cut")))
    assert got["status"] == "EPROTOCOL"
    assert "longer than the message" in got["message"]


def test_an_answer_beyond_the_limit_is_refused(job):
    server = job(faults=fault(on="update_model", kind="huge", arg=5_000_000))
    got = first_update(server, "--max-answer", 1_000_000)
    assert got["status"] == "ELIMIT"
    assert "more than the limit of 1000000" in got["message"]


def test_a_lost_reply_is_a_timeout_and_the_event_is_gone(job):
    server = job(faults=fault(on="update_model", kind="lost"))
    got = calls(server.url, "register:32", "sleep:300", "ping", "ping",
                options=["--timeout-ms", 500])  # fmt: skip
    assert (got[1]["status"], got[1]["sent"]) == ("ETIMEOUT", 1)
    assert got[2]["event"] == "model_test"


def test_a_slow_reply_is_waited_for(job):
    server = job(faults=fault(on="update_model", kind="slow", arg=1))
    assert first_update(server)["event"] == "update_model"


def test_cancel_ends_a_call_in_time(job):
    server = job(faults=fault(on="ping", kind="lost", times=0))
    got = calls(server.url, "register:32", "ping", options=["--cancel-ms", 500])
    assert got[-1]["status"] == "ECANCELLED"
    assert got[-1]["late_ms"] <= CANCEL_LIMIT_MS


def test_an_error_of_the_server_leaves_the_event(job):
    server = job(faults=fault(on="ping", kind="error"))
    got = calls(server.url, "register:32", "sleep:300", "ping", "ping")
    assert events(got) == ["dummy_event", "ESERVER", "update_model"]


def test_a_server_that_dies_is_network_trouble(program):
    process, url = program("--fault", "on=update_model,kind=die")
    got = calls(url, "register:32", "sleep:300", "ping")
    assert process.wait(timeout=20 * SLACK) == 1
    assert (got[1]["status"], got[1]["sent"]) == ("ENETWORK", 1)
    got = calls(url, "ping")[0]
    assert (got["status"], got["sent"]) == ("ENETWORK", 0)


def test_an_unknown_event_is_read_and_an_absent_one_refused(job):
    faults = fault(on="update_model", kind="unknown-event")
    got = first_update(job(faults=faults))
    assert (got["status"], got["event"]) == ("OK", "mystery")
    got = first_update(job(faults=fault(on="update_model", kind="no-event")))
    assert got["status"] == "EPROTOCOL"


@pytest.mark.parametrize("kind", ["truncated", "garbage", "evil", "fewer", "more", "shape",
                                  "dtype", "nan", "no-data"])  # fmt: skip
def test_spoilt_weights_differ_from_good_ones(job, tmp_path, kind):
    """What the pickle's reader must then refuse."""
    saved = tmp_path / "weights"
    server = job(faults=fault(on="update_model", kind=kind))
    got = calls(server.url, "register:32", "sleep:300", "ping", f"save:{saved}")
    assert got[-1]["event"] == "update_model"
    assert saved.read_bytes() != wire.write_weights(model(), 4)


# ---- TLS and other servers ---------------------------------------------------


def test_a_job_behind_tls(job, certificate):
    server = job(tls=certificate)
    got = calls(server.url, "register:32", "sleep:300", "ping",
                options=["--ca", certificate[0]])  # fmt: skip
    assert events(got) == ["dummy_event", "update_model"]


def test_an_unknown_authority_is_refused_before_anything_is_sent(job, certificate):
    server = job(tls=certificate)
    got = calls(server.url, "register:32")
    assert (got[0]["status"], got[0]["sent"]) == ("ETLS", 0)
    assert server.calls == []


def test_cleartext_to_elsewhere_must_be_allowed():
    refused = calls("http://198.51.100.1:50051", "ping")
    assert (refused[0]["status"], refused[0]["sent"]) == ("EINVAL", 0)
    assert "plain http" in refused[0]["message"]
    tried = calls("http://198.51.100.1:50051", "ping",
                  options=["--anywhere", "--timeout-ms", "300"])  # fmt: skip
    assert tried[0]["status"] in ("ETIMEOUT", "ENETWORK")
    assert tried[0]["sent"] == 0


@contextlib.contextmanager
def raw_server(talk):
    """Hands each connection to `talk`, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), connection:
                    talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_of_http_1_is_told_from_grpc():
    def talk(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with raw_server(talk) as url:
        got = calls(url, "ping")[0]
    assert got["status"] in ("ENETWORK", "EPROTOCOL")
    assert got["message"]


def test_a_server_that_hangs_up_is_network_trouble():
    with raw_server(lambda connection: connection.recv(65536)) as url:
        got = calls(url, "ping")[0]
    assert got["status"] == "ENETWORK"


def test_a_server_that_says_nothing_is_given_up():
    ended = threading.Event()
    with raw_server(lambda connection: ended.wait(20)) as url:
        got = calls(url, "ping", options=["--stall-ms", "300"])[0]
        ended.set()
    assert (got["status"], got["event"]) == ("ETIMEOUT", "")


# ---- Frames by hand ----------------------------------------------------------
# A server that speaks just enough HTTP/2 to say the wrong thing.

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
MESSAGE = b"\0\0\0\0\x0d\x0a\x0bdummy_event"


def frame(kind, flags, stream, payload=b""):
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def hpack_size(n):
    """A length of HPACK, 7 bits and more."""
    if n < 127:
        return bytes([n])
    return b"\x7f" + wire.varint(n - 127)


def fields(*pairs, status=None):
    """Header fields without compression; 0x88 is ":status: 200"."""
    out = {None: b"", 200: b"\x88"}.get(status)
    if out is None:
        out = b"\x08\x03" + str(status).encode()
    for name, value in pairs:
        out += b"\0" + hpack_size(len(name)) + name.encode()
        out += hpack_size(len(value)) + value.encode()
    return out


def headers(*pairs, status=200, flags=END_HEADERS):
    pairs = pairs or (("content-type", "application/grpc"),)
    return frame(HEADERS, flags, 1, fields(*pairs, status=status))


def trailers(*pairs):
    pairs = pairs or (("grpc-status", "0"),)
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(*pairs))


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


@contextlib.contextmanager
def h2_server(*frames):
    """Sends the frames when a request has arrived whole."""

    def talk(connection):
        receive(connection, 24)
        connection.sendall(frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
        while True:
            head = receive(connection, 9)
            receive(connection, int.from_bytes(head[:3], "big"))
            if head[3] == DATA and head[4] & END_STREAM:
                break
        connection.sendall(b"".join(frames))
        connection.settimeout(5)
        while connection.recv(65536):
            pass

    with raw_server(talk) as url:
        yield url


def answer_of(*frames, options=()):
    with h2_server(*frames) as url:
        return calls(url, "ping", options=["--timeout-ms", "4000", *options])[0]


def test_a_hand_made_answer_is_read():
    got = answer_of(headers(), frame(DATA, 0, 1, MESSAGE), trailers())
    assert (got["status"], got["event"], got["grpc"]) == ("OK", "dummy_event", 0)


def test_a_message_in_many_frames_is_read():
    pieces = [frame(DATA, 0, 1, MESSAGE[i : i + 1]) for i in range(len(MESSAGE))]
    assert answer_of(headers(), *pieces, trailers())["event"] == "dummy_event"


def test_hints_before_an_answer_are_passed_over():
    hints = headers(("link", "</x>"), status=103)
    got = answer_of(hints, headers(), frame(DATA, 0, 1, MESSAGE), trailers())
    assert got["event"] == "dummy_event"


def test_trailers_alone_are_an_answer():
    pairs = (("content-type", "application/grpc"), ("grpc-status", "8"),
             ("grpc-message", "too%20much"))  # fmt: skip
    got = answer_of(headers(*pairs, flags=END_HEADERS | END_STREAM))
    assert (got["status"], got["grpc"]) == ("ELIMIT", 8)
    assert "RESOURCE_EXHAUSTED: too much" in got["message"]


def test_an_answer_without_trailers_is_cut_off():
    got = answer_of(headers(), frame(DATA, END_STREAM, 1, MESSAGE))
    assert got["status"] == "ENETWORK"
    assert "without a grpc-status" in got["message"]


def test_a_stream_that_is_reset_is_network_trouble():
    reset = frame(RST_STREAM, 0, 1, struct.pack(">I", 2))
    assert answer_of(headers(), frame(DATA, 0, 1, MESSAGE[:9]), reset)["status"] == "ENETWORK"
    assert answer_of(reset)["status"] == "ENETWORK"


def test_a_refused_stream_is_not_tried_again():
    """libcurl would, on its own."""
    seen = []

    def talk(connection):
        receive(connection, 24)
        connection.sendall(frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
        kind = None
        while kind != HEADERS:
            head = receive(connection, 9)
            kind = head[3]
            receive(connection, int.from_bytes(head[:3], "big"))
        seen.append(connection)
        connection.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", 7)))
        connection.settimeout(2)
        while connection.recv(65536):
            pass

    with raw_server(talk) as url:
        got = calls(url, "ping", options=["--timeout-ms", "4000"])[0]
    assert (got["status"], got["sent"], len(seen)) == ("ENETWORK", 1, 1)
    assert "sent only once" in got["message"]


def test_a_connection_that_goes_away_is_network_trouble():
    away = frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))
    assert answer_of(away)["status"] in ("ENETWORK", "ETIMEOUT")


def test_a_compressed_answer_is_refused():
    got = answer_of(headers(), frame(DATA, 0, 1, b"\1" + MESSAGE[1:]), trailers())
    assert got["status"] == "EPROTOCOL"
    assert "compressed" in got["message"]


def test_a_length_that_lies_is_refused():
    short = b"\0\0\0\0\x0c" + MESSAGE[5:]
    got = answer_of(headers(), frame(DATA, 0, 1, short), trailers())
    assert got["status"] == "EPROTOCOL"
    long = b"\0\0\0\0\x0e" + MESSAGE[5:]
    got = answer_of(headers(), frame(DATA, 0, 1, long), trailers())
    assert (got["status"], got["grpc"]) == ("EPROTOCOL", 0)
    huge = b"\0\xff\xff\xff\xff" + MESSAGE[5:]
    assert answer_of(headers(), frame(DATA, 0, 1, huge), trailers())["status"] == "ELIMIT"


def test_too_many_trailers_are_refused():
    many = [(f"x-{i}", "y") for i in range(100)]
    got = answer_of(headers(), frame(DATA, 0, 1, MESSAGE), trailers(*many))
    assert got["status"] == "ELIMIT"
    assert "more than 64 header lines" in got["message"]


def test_a_long_trailer_is_refused():
    long = trailers(("grpc-status", "0"), ("grpc-message", "y" * 9000))
    got = answer_of(headers(), frame(DATA, 0, 1, MESSAGE), long)
    assert got["status"] == "ELIMIT"
    assert "longer than 8192 bytes" in got["message"]


def test_a_page_is_no_answer():
    page = headers(("content-type", "text/html"), status=502)
    got = answer_of(page, frame(DATA, END_STREAM, 1, b"<html>"))
    assert got["status"] == "ESERVER"
    assert "HTTP 502 and no gRPC" in got["message"]


def test_an_evil_pickle_is_one():
    """The fake's own: whoever loads it makes a folder."""
    data = fake.spoil_data("evil", 0, b"")
    assert b"mkdir" in data
    with pytest.raises(pickle.UnpicklingError):
        wire.read_pickle(data)
