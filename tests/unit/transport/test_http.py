"""The libcurl stack against real servers on loopback, driven by http_probe.

Certificates are made with the openssl command when the tests run. Servers bind
port 0 and misbehave in the ways their paths name."""

import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading

import pytest

PROBE = pathlib.Path(os.environ["CYGNET_HTTP_PROBE"])

# perform promises 200 ms; the rest is for a busy machine.
CANCEL_LIMIT_MS = 200 + 300 * int(os.environ.get("CYGNET_TIME_SLACK", "1"))


# ---- Certificates ----------------------------------------------------------


def openssl(folder, *args):
    done = subprocess.run(
        ["openssl", *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def make_ca(folder, name):
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30",
        "-subj", f"/CN=Test {name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip


CA_CONFIG = """
[ca]
default_ca = it
[it]
dir = .
database = index.txt
rand_serial = yes
new_certs_dir = .
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
"""


def make_leaf(folder, ca, name, san, start="20200101000000Z", end="20991231235959Z"):
    """A server certificate of exactly those dates (only `openssl ca` can)."""
    (folder / "ca.cnf").write_text(CA_CONFIG)
    (folder / "index.txt").write_text("")
    (folder / "san.cnf").write_text(f"subjectAltName={san}\n")
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
    )  # fmt: skip
    openssl(
        folder, "ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", f"{ca}.pem",
        "-keyfile", f"{ca}.key", "-in", f"{name}.csr", "-out", f"{name}.pem",
        "-startdate", start, "-enddate", end, "-extfile", "san.cnf",
    )  # fmt: skip


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    make_ca(folder, "ca")
    make_ca(folder, "stranger")
    here = "IP:127.0.0.1,DNS:localhost"
    make_leaf(folder, "ca", "good", here)
    make_leaf(folder, "ca", "expired", here, end="20200201000000Z")
    make_leaf(folder, "ca", "elsewhere", "DNS:elsewhere.example")
    make_leaf(folder, "stranger", "unknown", here)
    return folder


# ---- Servers ---------------------------------------------------------------


class Server:
    """Answers each connection's first request by its path, then closes."""

    def __init__(self, context=None):
        self.context = context
        self.requests = []
        self.ended = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.other = None  # another server, for redirects
        threading.Thread(target=self.serve, daemon=True).start()

    def url(self, path="/ok", host="127.0.0.1"):
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        try:
            with connection:
                if self.context:
                    connection = self.context.wrap_socket(connection, server_side=True)
                head, rest = self.read_head(connection)
                self.requests.append(head)
                method, path = head.split(" ")[:2]
                self.answer(connection, method, path, head, rest)
                connection.close()
        except (OSError, ValueError):
            pass

    @staticmethod
    def read_head(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ValueError("no request")
            data += piece
        head, rest = data.split(b"\r\n\r\n", 1)
        return head.decode("latin-1"), rest

    def answer(self, c, method, path, head, rest):
        def reply(status, body=b"", *headers):
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
            sent_body = b"" if method == "HEAD" else body
            c.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + sent_body)

        if path == "/ok":
            reply(200, b"hello")
        elif path == "/early-hints":
            c.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            reply(200, b"hello")
        elif path == "/missing":
            reply(404, b"no such thing")
        elif path == "/big":
            c.sendall(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
            c.sendall(b"x" * 300_000)
        elif path == "/big-length":
            c.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 5000000000\r\n\r\n")
            self.ended.wait(20)
        elif path == "/gzip":
            reply(200, b"\x1f\x8bnot really", "Content-Encoding: gzip")
        elif path == "/stall":
            c.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n0123456789")
            self.ended.wait(20)
        elif path == "/silent":
            self.ended.wait(20)
        elif path == "/drip":
            c.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
            while not self.ended.wait(0.1):
                c.sendall(b".")
        elif path == "/headers":
            reply(200, b"", *[f"X-{i}: {i}" for i in range(1000)])
        elif path == "/long-header":
            reply(200, b"", "X-Long: " + "y" * 9000)
        elif path == "/huge-header":
            reply(200, b"", "X-Huge: " + "y" * 300_000)
        elif path == "/endless-hints":
            while not self.ended.is_set():
                c.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
        elif path == "/endless-trailers":
            c.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            c.sendall(b"5\r\nhello\r\n0\r\n")
            while not self.ended.is_set():
                c.sendall(b"X-Trailer: more\r\n" * 100)
        elif path == "/trailers":
            c.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            c.sendall(b"5\r\nhello\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n")
        elif path == "/endless-redirect":
            c.sendall(b"HTTP/1.1 302 X\r\nLocation: /ok\r\nConnection: close\r\n\r\n")
            while not self.ended.is_set():
                c.sendall(b"x" * 10_000)
        elif path == "/refused-early":
            reply(413, b"too much")
            self.ended.wait(20)
        elif path == "/garbage":
            c.sendall(b"\x00\xff\x13\x37 this is not HTTP at all\n" * 50)
        elif path == "/cut":
            c.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n0123456789")
        elif path == "/one-hop":
            reply(302, b"moved", "Location: /ok")
        elif path.startswith("/hop/"):
            n = int(path[5:])
            reply(307, b"moved", f"Location: {'/hop/' + str(n - 1) if n > 1 else '/ok'}")
        elif path == "/to-other":
            reply(302, b"", f"Location: {self.other.url('/ok')}")
        elif path == "/to-file":
            reply(302, b"", "Location: file:///etc/passwd")
        elif path == "/slam":
            c.close()
        elif path == "/sink":
            want = int(head.lower().split("content-length:")[1].split()[0])
            if "expect: 100-continue" in head.lower():
                c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(rest) < want:
                rest += c.recv(1 << 20)
            reply(201, str(len(rest)).encode())
        else:
            reply(500, b"unknown path")

    def close(self):
        self.ended.set()
        self.listener.close()


def tls(certs, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / f"{name}.pem", certs / f"{name}.key")
    return context


@pytest.fixture
def serve(certs):
    servers = []

    def start(name=None):
        servers.append(Server(tls(certs, name) if name else None))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


# ---- The probe -------------------------------------------------------------


def probe(url, *args, env=None):
    done = subprocess.run(
        [PROBE, *[str(a) for a in args], url], capture_output=True, text=True,
        timeout=60, check=False, env=dict(os.environ, **(env or {})),
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    line, message = done.stdout.split("\n", 1)
    result = json.loads(line)
    result["message"] = message.rstrip("\n")
    assert "\n" not in result["message"], "an error is one line"
    return result


def secure(certs, server, path="/ok", *args, **kwargs):
    return probe(server.url(path), "--ca", certs / "ca.pem", *args, **kwargs)


# ---- TLS -------------------------------------------------------------------


def test_a_good_certificate_is_accepted(certs, serve):
    got = secure(certs, serve("good"))
    assert (got["status"], got["http"], got["body"]) == ("OK", 200, 5)


def test_an_expired_certificate_is_refused_and_named(certs, serve):
    server = serve("expired")
    got = secure(certs, server)
    assert got["status"] == "ETLS"
    assert "certificate has expired" in got["message"]
    assert server.requests == []


def test_a_certificate_of_another_host_is_refused_and_named(certs, serve):
    server = serve("elsewhere")
    got = secure(certs, server)
    assert got["status"] == "ETLS"
    assert "127.0.0.1" in got["message"] and "match" in got["message"]
    assert server.requests == []


def test_an_unknown_authority_is_refused(certs, serve):
    server = serve("unknown")
    got = secure(certs, server)
    assert got["status"] == "ETLS"
    assert "certificate" in got["message"]
    assert server.requests == []


def test_the_system_store_does_not_know_our_authority(certs, serve):
    got = probe(serve("good").url())
    assert got["status"] == "ETLS"


def test_old_tls_is_refused(certs, serve):
    server = serve("good")
    server.context.minimum_version = ssl.TLSVersion.TLSv1
    server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    server.context.set_ciphers("DEFAULT:@SECLEVEL=0")
    assert secure(certs, server)["status"] == "ETLS"


def test_a_missing_ca_file_is_a_clear_error(serve, tmp_path):
    got = probe(serve("good").url(), "--ca", tmp_path / "none.pem")
    assert got["status"] == "EINVAL"
    assert "none.pem" in got["message"]


def test_a_ca_file_without_certificates_is_a_tls_error(serve, tmp_path):
    (tmp_path / "empty.pem").write_text("nothing here\n")
    got = probe(serve("good").url(), "--ca", tmp_path / "empty.pem")
    assert got["status"] == "ETLS"


def test_a_peer_that_speaks_no_tls_is_a_tls_error(certs):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer():
            connection, _ = plain.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        url = f"https://127.0.0.1:{plain.getsockname()[1]}/"
        got = probe(url, "--ca", certs / "ca.pem")
    assert got["status"] == "ETLS"


# ---- HTTP/2 and trailers ---------------------------------------------------
# Its frames are tested in test_grpc.py.


def test_trailers_are_handed_out(certs, serve):
    got = secure(certs, serve("good"), "/trailers")
    assert (got["status"], got["body"], got["trailers"]) == ("OK", 5, 2)
    assert got["headers"] == 1


def test_a_server_without_http2_is_refused_when_it_is_needed(certs, serve):
    got = secure(certs, serve("good"), "/ok", "--http2")
    assert got["status"] == "EPROTOCOL"
    assert "speaks HTTP/1.1 where HTTP/2 is needed" in got["message"]


def test_a_libcurl_without_http2_says_so_before_connecting(certs, serve):
    server = serve("good")
    got = secure(certs, server, "/ok", "--http2", "--no-http2")
    assert (got["status"], got["connected"]) == ("EUNSUPPORTED", 0)
    assert "built without HTTP/2" in got["message"]
    assert server.requests == []
    assert secure(certs, server, "/ok", "--no-http2")["status"] == "OK"


def test_it_is_known_whether_a_request_may_have_left(certs, serve):
    assert secure(certs, serve("unknown"))["connected"] == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    got = probe(f"https://127.0.0.1:{port}/ok")
    assert (got["status"], got["connected"]) == ("ENETWORK", 0)
    got = secure(certs, serve("good"), "/slam", "--method", "POST", "--body", 10)
    assert (got["status"], got["connected"]) == ("ENETWORK", 1)


# ---- Plain http ------------------------------------------------------------


def test_plain_http_is_refused_before_connecting(serve):
    server = serve()
    got = probe(server.url())
    assert got["status"] == "EINVAL"
    assert "http" in got["message"]
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_plain_http_to_loopback_is_an_option(serve, host):
    got = probe(serve().url(host=host), "--loopback")
    assert (got["status"], got["http"]) == ("OK", 200)


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "10.0.0.1", "128.0.0.1", "127.1",
             "localhost.example.com", "0.0.0.0", "[::2]"]
)  # fmt: skip
def test_plain_http_elsewhere_is_refused_even_with_the_option(host):
    got = probe(f"http://{host}:9/", "--loopback")
    assert got["status"] == "EINVAL"


def test_credentials_in_the_address_are_refused():
    assert probe("https://user:secret@127.0.0.1:9/")["status"] == "EINVAL"


def test_proxies_of_the_environment_are_not_used(certs, serve):
    env = {"https_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert secure(certs, serve("good"), env=env)["status"] == "OK"


# ---- Redirects -------------------------------------------------------------


def test_a_redirect_on_the_same_origin_is_followed(certs, serve):
    got = secure(certs, serve("good"), "/one-hop")
    assert (got["status"], got["http"], got["body"]) == ("OK", 200, 5)


def test_three_redirects_are_followed_and_a_fourth_is_not(certs, serve):
    server = serve("good")
    assert secure(certs, server, "/hop/3")["status"] == "OK"
    got = secure(certs, server, "/hop/4")
    assert got["status"] == "EPROTOCOL"
    assert "more than 3" in got["message"]


def test_a_redirect_to_another_origin_is_refused(certs, serve):
    server = serve("good")
    server.other = serve("good")
    got = secure(certs, server, "/to-other")
    assert got["status"] == "EPROTOCOL"
    assert "another origin" in got["message"]
    assert server.other.requests == []


def test_a_redirect_down_to_http_is_refused(certs, serve):
    server = serve("good")
    server.other = serve()
    got = secure(certs, server, "/to-other", "--loopback")
    assert got["status"] == "EPROTOCOL"
    assert server.other.requests == []


def test_a_redirect_to_a_file_is_refused(certs, serve):
    assert secure(certs, serve("good"), "/to-file")["status"] == "EPROTOCOL"


def test_a_redirected_post_is_handed_back(certs, serve):
    got = secure(certs, serve("good"), "/one-hop", "--method", "POST", "--body", "4")
    assert (got["status"], got["http"]) == ("OK", 302)


# ---- Answers ---------------------------------------------------------------


def test_any_http_status_is_an_answer(certs, serve):
    got = secure(certs, serve("good"), "/missing")
    assert (got["status"], got["http"], got["body"]) == ("OK", 404, 13)


def test_informational_answers_are_passed_over(certs, serve):
    got = secure(certs, serve("good"), "/early-hints")
    assert (got["status"], got["http"], got["headers"]) == ("OK", 200, 1)


def test_head_has_no_body(certs, serve):
    got = secure(certs, serve("good"), "/ok", "--method", "HEAD", "--max-body", "0")
    assert (got["status"], got["http"], got["body"]) == ("OK", 200, 0)


def test_nothing_is_decompressed_and_no_compression_is_asked_for(certs, serve):
    server = serve("good")
    got = secure(certs, server, "/gzip")
    assert (got["status"], got["body"]) == ("OK", 12)
    assert "accept-encoding" not in server.requests[0].lower()


def test_a_body_beyond_the_limit_ends_the_exchange(certs, serve):
    got = secure(certs, serve("good"), "/big", "--max-body", "1000")
    assert (got["status"], got["http"]) == ("ELIMIT", 200)
    assert "1000" in got["message"]
    assert got["body"] <= 1000


def test_an_announced_oversized_body_ends_the_exchange_at_once(certs, serve):
    got = secure(certs, serve("good"), "/big-length")
    assert (got["status"], got["body"]) == ("ELIMIT", 0)


def test_a_thousand_headers_are_refused(certs, serve):
    got = secure(certs, serve("good"), "/headers")
    assert got["status"] == "ELIMIT"
    assert "64" in got["message"] and got["headers"] <= 64


def test_a_header_line_beyond_the_limit_is_refused(certs, serve):
    got = secure(certs, serve("good"), "/long-header")
    assert got["status"] == "ELIMIT"
    assert "8192" in got["message"]


def test_a_header_line_beyond_what_libcurl_takes_is_no_lack_of_memory(certs, serve):
    got = secure(certs, serve("good"), "/huge-header")
    assert got["status"] == "ELIMIT"
    assert "header" in got["message"]


@pytest.mark.parametrize("what", ["hints", "trailers", "redirect"])
def test_what_is_passed_over_has_an_end_too(certs, serve, what):
    got = secure(certs, serve("good"), f"/endless-{what}")
    assert got["status"] == "ELIMIT"
    assert "limit" in got["message"] or "more than" in got["message"]


def test_only_http_1_1_is_offered(certs, serve):
    """HTTP/2 has nothing to give to one exchange at a time."""
    server = serve("good")
    server.context.set_alpn_protocols(["h2", "http/1.1"])
    got = secure(certs, server)
    assert (got["status"], got["http"]) == ("OK", 200)


def test_a_body_that_did_not_leave_is_not_counted_as_sent(certs, serve):
    args = ["--method", "PUT", "--body", 64_000_000, "--timeout-ms", 3000]
    got = secure(certs, serve("good"), "/refused-early", *args)
    assert got["http"] == 413
    assert got["sent"] < 64_000_000


def test_garbage_is_a_protocol_error(certs, serve):
    got = secure(certs, serve("good"), "/garbage")
    assert got["status"] == "EPROTOCOL"
    assert "not HTTP" in got["message"]


def test_a_body_that_is_cut_short_is_a_network_error(certs, serve):
    got = secure(certs, serve("good"), "/cut")
    assert (got["status"], got["http"], got["body"]) == ("ENETWORK", 200, 10)


def test_a_refused_connection_is_a_network_error(serve):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    got = probe(f"https://127.0.0.1:{port}/")
    assert got["status"] == "ENETWORK"
    assert str(port) in got["message"]


# ---- Uploads ---------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_an_upload_arrives_whole_and_its_progress_ends_at_its_size(certs, serve, size):
    got = secure(certs, serve("good"), "/sink", "--method", "PUT", "--body", size)
    assert (got["status"], got["http"]) == ("OK", 201)
    assert got["sent"] == size
    assert got["body"] == len(str(size))


def test_an_upload_is_not_called_a_web_form(certs, serve):
    server = serve("good")
    secure(certs, server, "/sink", "--method", "PUT", "--body", "10")
    assert "x-www-form-urlencoded" not in server.requests[0]


def test_a_server_that_hangs_up_on_an_upload_is_a_network_error(certs, serve):
    got = secure(certs, serve("good"), "/slam", "--method", "PUT", "--body", "900000")
    assert got["status"] == "ENETWORK"


# ---- Time ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/stall", "/silent"])
def test_a_stalled_server_times_out(certs, serve, path):
    got = secure(certs, serve("good"), path, "--stall-ms", "300")
    assert got["status"] == "ETIMEOUT"
    assert "no byte moved for 300 ms" in got["message"]


def test_a_dripping_server_hits_the_total_limit(certs, serve):
    got = secure(certs, serve("good"), "/drip", "--stall-ms", "1000", "--timeout-ms", "600")
    assert got["status"] == "ETIMEOUT"
    assert "600 ms" in got["message"]


@pytest.mark.parametrize("path", ["/stall", "/silent", "/drip"])
def test_cancel_ends_a_transfer_in_time(certs, serve, path):
    got = secure(certs, serve("good"), path, "--cancel-ms", "250")
    assert got["status"] == "ECANCELLED"
    assert got["late_ms"] <= CANCEL_LIMIT_MS
    assert got["destroyed_ms"] <= CANCEL_LIMIT_MS


def test_cancel_ends_a_tls_handshake_in_time(certs):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        got = probe(f"https://127.0.0.1:{mute.getsockname()[1]}/", "--cancel-ms", "150")
    assert got["status"] == "ECANCELLED"
    assert got["late_ms"] <= CANCEL_LIMIT_MS


def test_cancel_ends_connecting_in_time():
    """A full accept queue drops SYNs: connect() hangs without any network."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        got = probe(f"https://127.0.0.1:{address[1]}/", "--cancel-ms", "150")
        for filler in fillers:
            filler.close()
    assert got["status"] == "ECANCELLED"
    assert got["late_ms"] <= CANCEL_LIMIT_MS


def test_cancel_ends_a_name_look_up_in_time():
    got = probe("https://slow.example/", "--slow-resolver", "--cancel-ms", "150")
    assert got["status"] == "ECANCELLED"
    assert got["late_ms"] <= CANCEL_LIMIT_MS
    assert got["destroyed_ms"] <= CANCEL_LIMIT_MS


def test_a_stop_word_set_before_the_start_sends_nothing(certs, serve):
    server = serve("good")
    got = secure(certs, server, "/ok", "--cancel-ms", "0")
    assert got["status"] == "ECANCELLED"
    assert server.requests == []


def test_a_stack_is_good_for_many_exchanges(certs, serve):
    server = serve("good")
    got = secure(certs, server, "/ok", "--times", "5")
    assert (got["status"], got["body"]) == ("OK", 5)
    assert len(server.requests) == 5
