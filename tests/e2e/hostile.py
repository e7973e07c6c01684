"""A coordinator in the standard library that misbehaves on request, and runs of
cygnet-client that are measured.

Untold, the server is honest: it has one task, takes its update and its report.
`say` replaces what it answers to one kind of request."""

import hashlib
import http.server
import json
import math
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import threading
import time

import pytest
from updates import read_safetensors, write_safetensors

KINDS = {"check-in": "check-in", "blobs": "weights", "updates": "update",
         "leases": "lease", "reports": "report"}  # fmt: skip
CLASSES = 3
PIXELS = 4


def weights_file(changes=()):
    """Weights of a logistic model for 2x2 pictures and three classes."""
    tensors = {
        "linear.weight": ([CLASSES, PIXELS], [0.125] * (CLASSES * PIXELS)),
        "linear.bias": ([CLASSES], [0.0] * CLASSES),
    }
    for name, change in dict(changes).items():
        if change is None:
            del tensors[name]
        else:
            tensors[name] = change
    return write_safetensors([(n, s, v) for n, (s, v) in tensors.items()])


def task_json(weights):
    """A task that asks for one small step; tests change what they want wrong."""
    digest = hashlib.sha256(weights).hexdigest()
    return {
        "id": "test-1",
        "round": 1,
        "token": "token-1",
        "lease_s": 0,
        "deadline_s": 20,
        "model": {
            "architecture": "logistic",
            "classes": CLASSES,
            "input": [1, 2, 2],
            "weights": {
                "url": f"/v1/blobs/{digest}",
                "size": len(weights),
                "sha256": digest,
            },
        },
        "training": {
            "epochs": 1,
            "batch": 4,
            "seed": 7,
            "optimizer": {"name": "sgd", "lr": 0.1},
        },
        "update": {"codec": "none"},
    }


# ---- Answers ----------------------------------------------------------------


def reply(status, body=b"", **headers):
    """An answer in good form, whatever it says."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def error(status, message="no", **headers):
    return reply(status, {"error": {"code": "x", "message": message}}, **headers)


def raw(data, then_stall=False):
    """Bytes as they are, then the end of the connection."""

    def answer(handler):
        handler.close_connection = True
        handler.wfile.write(data)
        if then_stall:
            handler.server.owner.ended.wait(60)

    return answer


def endless(head, piece, pause_s=0.0):
    """`piece` again and again until the other side has had enough."""

    def answer(handler):
        handler.close_connection = True
        handler.wfile.write(head)
        while not handler.server.owner.ended.wait(pause_s):
            handler.wfile.write(piece)

    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "test", ""

    def handle_any(self):
        owner = self.server.owner
        kind = next((k for part, k in KINDS.items() if f"/{part}" in self.path), "?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner.requests.append((kind, body))
        owner.next_answer(kind)(self)

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, *args):
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """The client hangs up on a hostile server: that is the purpose."""


class HostileServer:
    """`requests` holds (kind, body) of all that came, in order."""

    def __init__(self, context=None):
        self.ended = threading.Event()
        self.requests = []
        self.httpd = QuietServer(("127.0.0.1", 0), Handler)
        self.httpd.owner = self
        if context:
            # the handshake belongs to the connection's thread: it may fail
            self.httpd.socket = context.wrap_socket(
                self.httpd.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.httpd.server_address[1]}"
        self.behave()
        threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def behave(self):
        """Forgets all that was said; a new task that nobody has done."""
        self.said = {}
        self.serve_weights(weights_file())

    def serve_weights(self, weights):
        self.weights = weights
        self.task = task_json(weights)

    def say(self, kind, *answers):
        """These answers in turn; the last one for ever."""
        self.said[kind] = list(answers)

    def next_answer(self, kind):
        answers = self.said.get(kind)
        if not answers:
            return self.honest(kind)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def honest(self, kind):
        if kind == "check-in":
            return reply(200, {"task": self.task})
        if kind == "weights":
            return reply(200, self.weights)
        return reply({"update": 200, "report": 204}.get(kind, 404))

    def bodies(self, kind):
        return [body for k, body in self.requests if k == kind]

    def close(self):
        self.ended.set()
        self.httpd.shutdown()
        self.httpd.server_close()


def check_update(body, server):
    """The update is one of the honest task: all tensors, finite, none other."""
    tensors = {name: (shape, values) for name, shape, values in read_safetensors(body)}
    want = {name: shape for name, shape, _ in read_safetensors(server.weights)}
    assert {name: shape for name, (shape, _) in tensors.items()} == want
    assert all(math.isfinite(v) for _, values in tensors.values() for v in values)


# ---- Data -------------------------------------------------------------------


def write_idx(folder, images=None, labels=None, n=12):
    """An IDX directory of 2x2 pictures; `images`, `labels`: files as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = bytes((i * 37) % 256 for i in range(n * PIXELS))
    if images is None:
        images = struct.pack(">4I", 0x803, n, 2, 2) + pixels
    if labels is None:
        labels = struct.pack(">2I", 0x801, n) + bytes(i % CLASSES for i in range(n))
    for kind, data in (("images-idx3", images), ("labels-idx1", labels)):
        ending = ".gz" if data[:2] == b"\x1f\x8b" else ""
        (folder / f"train-{kind}-ubyte{ending}").write_bytes(data)
    return f"idx:{folder}"


# ---- Runs -------------------------------------------------------------------


class Run:
    """A program that has ended."""

    def __init__(self, status, out, err, max_rss_bytes):
        self.status = status
        self.out = out
        self.err = err
        self.max_rss_bytes = max_rss_bytes

    def __repr__(self):
        return f"status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def peak_bytes(pid):
    """The most memory a program has held since it was started; 0 once it has ended.
    (What wait4 tells includes what the test process held when it forked.)"""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def run_measured(argv, folder, limit_s=25.0, env=None, before=None):
    """Runs it to its end, with its peak of memory; too slow fails the test."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "run.out", folder / "run.err"
    with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
        popen = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=dict(os.environ, **(env or {})), preexec_fn=before,
        )  # fmt: skip
    end = time.monotonic() + limit_s
    peak = 0
    while True:
        peak = max(peak, peak_bytes(popen.pid))
        pid, wait_status = os.waitpid(popen.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            popen.kill()
            popen.wait()
            raise AssertionError(
                f"{argv[0]} still runs after {limit_s} s: "
                f"{paths[0].read_text()}{paths[1].read_text()}"
            )
        time.sleep(0.005)
    popen.returncode = os.waitstatus_to_exitcode(wait_status)
    out, err = (p.read_bytes().decode("utf-8") for p in paths)
    return Run(popen.returncode, out, err, peak)


class Client:
    """cygnet-client with a state directory of its own."""

    def __init__(self, binary, folder, data, max_rss_bytes):
        self.binary = binary
        self.folder = folder
        self.state = folder / "state"
        self.data = data
        self.max_rss_bytes = max_rss_bytes

    def argv(self, server, *options, **changes):
        given = {
            "server": getattr(server, "url", server),
            "population": "test",
            "state-dir": self.state,
            "data": self.data,
            "classes": CLASSES,
            "assume": "charging,idle,unmetered",
        }
        given.update({k.replace("_", "-"): v for k, v in changes.items()})
        pairs = [a for k, v in given.items() if v is not None for a in (f"--{k}", v)]
        loopback = ["--allow-loopback-http"] if str(given["server"])[:5] == "http:" else []
        return [self.binary, "--full-priority", *pairs, *loopback, *options]

    def run(self, server, *options, before=None, limit_s=25.0, **changes):
        run = run_measured(
            self.argv(server, *options, **changes), self.folder / "logs", limit_s,
            before=before,
        )  # fmt: skip
        assert run.status >= 0, f"ended by {signal.Signals(-run.status).name}: {run}"
        assert run.max_rss_bytes <= self.max_rss_bytes, run
        return run

    def fails(self, server, *options, **changes):
        """An error: status 1 and one line; returns the line."""
        run = self.run(server, *options, **changes)
        assert run.status == 1, run
        return one_line(run.err)

    def gives_up(self, server, *options, **changes):
        """Nothing done, which is no error: status 3; returns the last line."""
        run = self.run(server, *options, **changes)
        assert (run.status, run.err) == (3, ""), run
        return run.out.splitlines()[-1]


def one_line(text):
    assert text.startswith("cygnet-client: ") and text.endswith(")\n"), text
    assert text.count("\n") == 1, text
    line = text[len("cygnet-client: ") : -1]
    assert line.isprintable() and len(line) > 20, line
    return line


def ids_at(server):
    """The client ids of all check-ins."""
    return {json.loads(b)["client_id"] for b in server.bodies("check-in")}


def snapshot(folder):
    """Every file below a folder with its bytes."""
    root = pathlib.Path(folder)
    return {
        str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()
    }


# ---- A disk that takes nothing ----------------------------------------------

PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """A file system of a few pages."""

    def __init__(self, folder, n_pages=256):
        self.folder = folder
        folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={n_pages * PAGE}", "none", folder],
            check=True, capture_output=True,
        )  # fmt: skip

    def leave(self, n_pages):
        """Fills the disk up to so many pages."""
        self.free()
        info = os.statvfs(self.folder)
        free = info.f_bavail * info.f_frsize
        (self.folder / "filler").write_bytes(bytes(max(0, free - n_pages * PAGE)))

    def free(self):
        (self.folder / "filler").unlink(missing_ok=True)

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


# ---- Fixtures; test files import those that they use ------------------------


@pytest.fixture
def server():
    server = HostileServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def sanitized(build_dir):
    """Sanitizers keep what was freed for a while: bounds of memory are wider."""
    options = json.loads((build_dir / "meson-info/intro-buildoptions.json").read_text())
    return [o["value"] for o in options if o["name"] == "b_sanitize"] != ["none"]


@pytest.fixture(scope="session")
def max_rss_bytes(sanitized):
    """Somewhat above the peak of a small run; the runs of large lies must keep it."""
    return (1024 if sanitized else 160) << 20


@pytest.fixture(scope="session")
def veteran(program, tmp_path_factory, max_rss_bytes):
    """(state directory, client id) of a client that has done a round."""
    folder = tmp_path_factory.mktemp("veteran")
    data = write_idx(folder / "data")
    client = Client(program("cygnet-client"), folder, data, max_rss_bytes)
    server = HostileServer()
    try:
        run = client.run(server)
        assert (run.status, run.err) == (0, ""), run
        (known_id,) = ids_at(server)
    finally:
        server.close()
    shutil.rmtree(client.state / "cache")
    return client.state, known_id


@pytest.fixture
def client(program, tmp_path, veteran, max_rss_bytes):
    """A client whose state directory has done a round; nothing is cached."""
    data = write_idx(tmp_path / "data")
    client = Client(program("cygnet-client"), tmp_path, data, max_rss_bytes)
    state, client.known_id = veteran
    shutil.copytree(state, client.state)
    return client


@pytest.fixture
def unharmed(server, client):
    """To be called after the harm: the same client does a round."""

    def check():
        server.behave()
        server.requests.clear()
        run = client.run(server)
        assert (run.status, run.err) == (0, ""), run
        assert ids_at(server) == {client.known_id}
        (update,) = server.bodies("update")
        check_update(update, server)
        left = {p.name for p in client.state.iterdir()}
        assert left - {"profile", "explain"} == {".lock", "round", "cache"}

    return check


@pytest.fixture
def disk(tmp_path):
    try:
        disk = SmallDisk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not permitted")
    yield disk
    disk.close()
