"""Fixtures of the end-to-end tests: real processes over real sockets.

The build directory comes from CYGNET_BUILD_DIR. Only the standard library,
pytest and the openssl command are used. Every process that a test starts is
ended with it, and whatever it wrote to stderr is shown when the test fails.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import time
import urllib.parse

import pytest

START_LIMIT_S = 20.0

# A round of one client.
ONE = ["--rounds", "1", "--participants", "1", "--over-commitment", "1"]


def wait_for(condition, limit_s=10.0, what="the condition"):
    """Polls until `condition()` is true and returns its value."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit_s} s")
        time.sleep(0.02)


class Process:
    """A program under test with its output in files."""

    def __init__(self, argv, folder, name, env=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.argv = [str(a) for a in argv]
        self.stdout_path = folder / f"{name}.out"
        self.stderr_path = folder / f"{name}.err"
        with open(self.stdout_path, "ab") as out, open(self.stderr_path, "ab") as err:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(os.environ, **(env or {})),
            )

    @property
    def stdout(self):
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def running(self):
        return self.popen.poll() is None

    def wait(self, limit_s=30.0):
        """The exit status; fails the test when the program does not end."""
        return self.popen.wait(timeout=limit_s)

    def stop(self, limit_s=15.0):
        """Asks politely (SIGTERM) and returns the exit status."""
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
        return self.wait(limit_s)

    def kill(self):
        """SIGKILL: no chance to tidy up."""
        if self.running():
            self.popen.kill()
        return self.popen.wait(timeout=15)


class Answer:
    """What the server said."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    def error_code(self):
        return self.json()["error"]["code"]


class Coordinator:
    """A running cygnet-coordinator and a plain HTTP(S) client for it."""

    def __init__(self, process, url, ca_file):
        self.process = process
        self.url = url
        self.ca_file = ca_file
        parts = urllib.parse.urlsplit(url)
        self.scheme, self.host, self.port = parts.scheme, parts.hostname, parts.port

    def connect(self, timeout_s=10):
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca_file))
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=timeout_s, context=context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post_json(self, path, value):
        return self.request(
            "POST", path, json.dumps(value), {"Content-Type": "application/json"}
        )

    def status(self):
        answer = self.request("GET", "/v1/status")
        assert answer.status == 200
        return answer.json()


@pytest.fixture(scope="session")
def build_dir():
    folder = os.environ.get("CYGNET_BUILD_DIR")
    if not folder:
        pytest.exit("CYGNET_BUILD_DIR does not name the build directory", 2)
    return pathlib.Path(folder).resolve()


@pytest.fixture(scope="session")
def source_dir():
    return pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program(build_dir):
    """program("cygnet-coordinator") -> path of the built binary."""

    def find(name):
        for path in sorted(build_dir.glob(f"examples/**/{name}")):
            if path.is_file() and os.access(path, os.X_OK):
                return path
        raise AssertionError(f"{name} is not built below {build_dir}/examples")

    return find


def make_certificate(folder, name="server", host="127.0.0.1", days=2):
    """A self-signed certificate for `host`; returns (certificate, key)."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=cygnet test", "-days", str(days),
            "-addext", f"subjectAltName={kind}:{host},DNS:localhost",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) for 127.0.0.1, valid while the session lasts."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def spawn(tmp_path, request):
    """spawn(argv, name) starts a program that ends with the test."""
    started = []

    def start(argv, name="program", env=None):
        process = Process(argv, tmp_path / "logs", name, env)
        started.append((name, process))
        return process

    yield start
    for name, process in started:
        process.kill()
        if process.stderr:
            request.node.add_report_section("call", f"stderr of {name}", process.stderr)


@pytest.fixture
def start_coordinator(program, spawn, tmp_path, certificate):
    """start_coordinator("--rounds", "2", state="a") -> Coordinator.

    Defaults: a small logistic model, TLS on a free port, a fresh state
    directory per `state` name (the same name again is a restart)."""

    def start(*options, state="state", tls=True, defaults=True):
        port_file = tmp_path / f"{state}.port"
        port_file.unlink(missing_ok=True)
        argv = [program("cygnet-coordinator"), "--listen", "127.0.0.1:0"]
        argv += ["--port-file", port_file, "--state-dir", tmp_path / state]
        if tls:
            argv += ["--tls-cert", certificate[0], "--tls-key", certificate[1]]
        else:
            argv += ["--plain-http"]
        if defaults:
            argv += ["--population", "test", "--model", "logistic", "--classes", "3"]
            argv += ["--input", "4", "--codec", "none", "--seed", "1"]
        name = f"coordinator-{state}".replace("/", "-")
        process = spawn(argv + list(options), name)

        def ready():
            assert process.running(), f"the coordinator ended: {process.stderr}"
            return port_file.exists() and port_file.read_text().strip()

        port = wait_for(ready, START_LIMIT_S, "the coordinator's port file")
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        return Coordinator(process, url, certificate[0])

    return start
