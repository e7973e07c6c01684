"""cygnet-client on a device in a bad way: unusable data, a damaged, full or
read-only state directory. One line each, and nothing of the device is harmed."""

import gzip
import os
import resource
import shutil
import struct
import subprocess
import threading

import pytest
from conftest import wait_for
from hostile import (  # noqa: F401 (fixtures)
    CLASSES,
    PAGE,
    PIXELS,
    client,
    disk,
    max_rss_bytes,
    one_line,
    run_measured,
    sanitized,
    server,
    snapshot,
    unharmed,
    veteran,
    weights_file,
    write_idx,
)


def parameters(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


# ---- Data -------------------------------------------------------------------

N = 12
IMAGES = struct.pack(">4I", 0x803, N, 2, 2) + bytes(range(N * PIXELS))
LABELS = struct.pack(">2I", 0x801, N) + bytes(i % CLASSES for i in range(N))


def images(n, height=2, width=2, magic=0x803, body=None):
    body = bytes(n * height * width) if body is None else body
    return struct.pack(">4I", magic, n, height, width) + body


DATA = {
    "empty": (b"", LABELS, "truncated or damaged before its 16 header bytes end"),
    "header cut": (IMAGES[:15], LABELS, "truncated or damaged before its 16 header"),
    "images cut": (IMAGES[:-1], LABELS, "truncated: 47 bytes of 48 are there"),
    "images too long": (IMAGES + b"\0", LABELS, "longer than the 48 bytes"),
    "labels cut": (IMAGES, LABELS[:-1], "truncated: 11 bytes of 12 are there"),
    "no labels": (IMAGES, LABELS[:8], "truncated: 0 bytes of 12 are there"),
    "wrong magic": (images(N, magic=0x804), LABELS, "magic number is 0x00000804"),
    "swapped": (LABELS, IMAGES, "magic number is 0x00000801, expected 0x00000803"),
    "little-endian": (
        struct.pack("<4I", 0x803, N, 2, 2), LABELS, "magic number is 0x03080000"
    ),
    "text": (b"this is not a picture", LABELS, "magic number is 0x74686973"),
    "fewer labels": (images(N + 1), LABELS, "has 12 labels, but"),
    "no images": (images(0), LABELS, "says that it is empty"),
    "no pixels": (images(N, 0, 2), LABELS, "says that it is empty"),
    "a lie of a size": (images(2**32 - 1, body=b""), LABELS, "is more than"),
    "a lie of a side": (images(N, 2**31, 2, body=b""), LABELS, "is more than"),
    "a lie within the limits": (images(10**6, 64, 64, body=b""), LABELS, "images-idx3"),
    "gzip cut": (gzip.compress(IMAGES)[:-20], LABELS, "truncated or damaged"),
    "gzip checksum": (
        gzip.compress(IMAGES)[:-8] + bytes(8), LABELS, "damaged or longer than"
    ),
    "gzip with more behind": (gzip.compress(IMAGES) + b"x", LABELS, "damaged or longer"),
    "gzip bomb": (
        gzip.compress(IMAGES + bytes(200 << 20), 9), LABELS, "longer than the 48 bytes"
    ),
    "gzip bomb of labels": (
        IMAGES, gzip.compress(LABELS + bytes(200 << 20), 9), "longer than the 12 bytes"
    ),
    "gzip of nothing": (gzip.compress(b""), LABELS, "before its 16 header bytes end"),
    "label out of range": (IMAGES, LABELS[:-1] + b"\3", "has label 3"),
    "label of 255": (IMAGES, LABELS[:8] + b"\xff" * N, "has label 255"),
}  # fmt: skip


@parameters(DATA)
def test_unusable_data(server, client, unharmed, case, tmp_path):
    image_file, label_file, words = case
    spec = write_idx(tmp_path / "bad", image_file, label_file)
    before = snapshot(client.state)
    line = client.fails(server, data=spec)
    assert words in line and "/bad" in line
    assert server.requests == [] and snapshot(client.state) == before


def test_data_that_is_no_file(server, client, tmp_path):
    for make in (os.mkfifo, os.mkdir):
        spec = write_idx(tmp_path / make.__name__)
        path = tmp_path / make.__name__ / "train-labels-idx1-ubyte"
        path.unlink()
        make(path)
        assert "is not a regular file" in client.fails(server, data=spec)
    assert server.requests == []


def test_a_long_path_does_not_hide_what_is_wrong(server, client, tmp_path):
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    line = client.fails(server, data=write_idx(folder, IMAGES[:-1]))
    assert "truncated: 47 bytes of 48 are there" in line and "images-idx3" in line


# ---- A damaged state --------------------------------------------------------

DAMAGES = {
    "empty": (lambda good: b"", "it is too short"),
    "cut short": (lambda good: good[:40], "it is too short"),
    "cut": (lambda good: good[:-1], "its checksum does not match"),
    "longer": (lambda good: good + b"\0", "its checksum does not match"),
    "zeros": (lambda good: bytes(len(good)), "it is not a round record"),
    "text": (lambda good: b"hello world\n" * 99, "it is not a round record"),
    "one bit": (
        lambda good: good[:99] + bytes([good[99] ^ 1]) + good[100:], "its checksum"
    ),
    "a megabyte": (lambda good: good + bytes(1 << 20), "it is too long"),
}  # fmt: skip


@parameters(DAMAGES)
def test_a_damaged_record_is_reported_and_left_alone(server, client, unharmed, case):
    damage, words = case
    record = client.state / "round"
    good = record.read_bytes()
    record.write_bytes(damage(good))
    before = snapshot(client.state)
    for _ in range(2):
        line = client.fails(server)
        assert 'saved state "round" is damaged' in line and words in line
        assert str(client.state)[:60] in line and line.endswith("(EFORMAT)")
    assert server.requests == [] and snapshot(client.state) == before
    record.write_bytes(good)
    unharmed()


def test_a_record_that_is_a_folder(server, client, unharmed):
    record = client.state / "round"
    good = record.read_bytes()
    record.unlink()
    record.mkdir()
    line = client.fails(server)
    assert "round: is a folder" in line and line.endswith("(ESTORAGE)")
    record.rmdir()
    record.write_bytes(good)
    unharmed()


def test_what_is_in_the_lock_file_and_left_over_files_do_not_matter(
    client, unharmed
):
    (client.state / ".lock").write_bytes(os.urandom(5000))
    (client.state / ".cygnet-tmp-abcdef").write_bytes(b"half a record")
    unharmed()


def test_a_cache_that_cannot_be_made_does_not_matter(client, unharmed):
    (client.state / "cache").write_text("in the way")
    unharmed()
    assert (client.state / "cache").read_text() == "in the way"


def test_a_cache_that_cannot_be_written_does_not_matter(client, unharmed):
    (client.state / "cache").mkdir()
    (client.state / "cache" / "blobs").write_text("in the way")
    unharmed()


@pytest.fixture
def cut_off(server, client):
    """A client that was killed while it sent its update."""
    release = threading.Event()

    def never(handler):
        release.wait(30)

    server.say("update", never)
    process = subprocess.Popen([str(a) for a in client.argv(server)])
    try:
        wait_for(lambda: server.bodies("update"), 20, "the update")
    finally:
        process.kill()
        process.wait()
        release.set()
    (sent,) = server.bodies("update")
    assert (client.state / "update").read_bytes() == sent
    server.said = {}
    server.requests.clear()
    return client, sent


def test_an_update_that_was_cut_off_is_sent_again(server, cut_off, unharmed):
    client, sent = cut_off
    run = client.run(server)
    assert (run.status, run.err) == (0, ""), run
    assert server.bodies("update") == [sent] and server.bodies("check-in") == []
    unharmed()


UPDATES = {
    "gone": None,
    "empty": lambda good: b"",
    "cut": lambda good: good[:-1],
    "longer": lambda good: good + b"\0",
    "one bit": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
}


@parameters(UPDATES)
def test_a_damaged_update_is_not_sent(server, cut_off, unharmed, case):
    client, sent = cut_off
    update = client.state / "update"
    if case:
        update.write_bytes(case(sent))
    else:
        update.unlink()
    line = client.fails(server)
    assert 'saved update "update" is damaged' in line and line.endswith("(EFORMAT)")
    assert server.bodies("update") == [] and len(server.bodies("report")) == 1
    unharmed()


def test_a_second_client_on_the_same_state_directory(server, client, unharmed):
    go_on = threading.Event()
    honest = server.honest("update")

    def late(handler):
        go_on.wait(30)
        honest(handler)

    server.say("update", late)
    first = subprocess.Popen([str(a) for a in client.argv(server)])
    try:
        wait_for(lambda: server.bodies("update"), 20, "the update of the first")
        before = snapshot(client.state)
        line = client.fails(server)
        assert "in use by another client" in line and line.endswith("(EBUSY)")
        assert snapshot(client.state) == before
        go_on.set()
        assert first.wait(20) == 0
    finally:
        go_on.set()
        first.kill()
        first.wait()
    assert len(server.bodies("check-in")) == 1
    unharmed()


# ---- A disk that takes nothing ----------------------------------------------

FULL = "(ENOSPC)"


def wide(server):
    """A task whose update takes two pages."""
    sizes = {"fc1": (200, PIXELS), "fc2": (CLASSES, 200)}
    tensors = {"linear.weight": None, "linear.bias": None}
    for name, (n_out, n_in) in sizes.items():
        tensors[f"{name}.weight"] = ([n_out, n_in], [0.125] * (n_out * n_in))
        tensors[f"{name}.bias"] = ([n_out], [0.0] * n_out)
    server.serve_weights(weights_file(tensors))
    server.task["model"]["architecture"] = "mlp"


def test_a_disk_that_is_full_at_the_first_start(server, client, disk):
    client.state = disk.folder / "state"
    disk.leave(0)
    line = client.fails(server)
    assert "No space left on device" in line and line.endswith(FULL)
    assert server.requests == []
    assert {p.name for p in client.state.iterdir()} <= {".lock", "cache"}
    disk.free()
    run = client.run(server)
    assert (run.status, run.err) == (0, ""), run


def test_a_disk_that_is_full_before_the_check_in(server, client, unharmed, disk):
    client.state = shutil.copytree(client.state, disk.folder / "state")
    disk.leave(0)
    before = snapshot(client.state)
    line = client.fails(server)
    assert "No space left on device" in line and line.endswith(FULL)
    assert snapshot(client.state) == before
    disk.free()
    unharmed()


def test_a_disk_that_is_full_when_the_update_is_kept(server, client, unharmed, disk):
    client.state = shutil.copytree(client.state, disk.folder / "state")
    wide(server)
    disk.leave(1)
    line = client.fails(server)
    assert "update: cannot write: No space left on device" in line
    assert line.endswith(FULL)
    assert server.bodies("update") == [] and len(server.bodies("report")) == 1
    assert not (client.state / "update").exists()
    disk.free()
    unharmed()


def test_a_disk_that_becomes_read_only(server, client, unharmed, disk):
    client.state = shutil.copytree(client.state, disk.folder / "state")
    disk.remount("ro")
    before = snapshot(client.state)
    line = client.fails(server)
    assert "Read-only file system" in line and line.endswith("(ESTORAGE)")
    assert server.requests == [] and snapshot(client.state) == before
    disk.remount("rw")
    unharmed()


def fails_with_small_files(client, server, limit):
    """No file may grow beyond the limit: a full disk for those who cannot mount one.
    The client must live through the signal that comes with it."""
    done = subprocess.run(
        [str(a) for a in client.argv(server)], capture_output=True, text=True, timeout=25,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done
    line = one_line(done.stderr)
    assert "cannot write: File too large" in line and line.endswith(FULL)
    return line


def test_files_that_may_not_grow(server, client, unharmed):
    before = snapshot(client.state)
    assert "state/round" in fails_with_small_files(client, server, 100)
    assert server.bodies("weights") == [] and snapshot(client.state) == before
    wide(server)  # the record fits, the update of two pages does not
    assert "state/update" in fails_with_small_files(client, server, PAGE)
    assert server.bodies("update") == []
    unharmed()


def test_a_state_directory_that_cannot_be_made(server, client, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "state", "/proc/nothing/here"):
        line = client.fails(server, state_dir=path)
        assert f"state_dir: {str(path)[:60]}" in line
    assert server.requests == [] and (tmp_path / "file").read_text() == "in the way"


def test_a_state_directory_without_permission(server, client, unharmed):
    argv = client.argv(server)
    if os.geteuid() == 0:  # root may do anything until it drops that
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
        if subprocess.run([*argv[:2], "true"]).returncode != 0:
            pytest.skip("dropping root's capabilities is not permitted")
    before = snapshot(client.state)
    client.state.chmod(0o500)
    run = run_measured(argv, client.folder / "logs")
    client.state.chmod(0o700)
    assert run.status == 1 and "Permission denied" in one_line(run.err)
    assert server.requests == [] and snapshot(client.state) == before
    unharmed()


# ---- The fleet --------------------------------------------------------------


def run_fleet(program, tmp_path, *options):
    argv = [program("cygnet-fleet"), "live", "--model", "logistic", "--rounds", "1"]
    argv += ["--clients", "2", "--classes", CLASSES, *options]
    return subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, timeout=60,
        env=dict(os.environ, TMPDIR=str(tmp_path)),
    )  # fmt: skip


FLEET_DATA = ["images cut", "labels cut", "swapped", "fewer labels", "gzip bomb",
              "a lie of a size", "label out of range"]  # fmt: skip


@pytest.mark.parametrize("name", FLEET_DATA)
def test_the_fleet_refuses_unusable_data(program, tmp_path, name):
    image_file, label_file, words = DATA[name]
    spec = write_idx(tmp_path / "bad", image_file, label_file)
    done = run_fleet(program, tmp_path, "--data", spec)
    assert done.returncode == 1 and words in done.stderr, done
    assert done.stderr.startswith("cygnet-fleet live: ")
    assert done.stderr.count("\n") == 1 and {p.name for p in tmp_path.iterdir()} == {"bad"}


def test_the_fleet_says_when_its_folder_is_full(program, tmp_path, disk):
    data = write_idx(tmp_path / "data")
    disk.leave(0)
    done = run_fleet(program, tmp_path, "--data", data, "--out", disk.folder / "out")
    assert done.returncode == 1, done
    assert "has not saved the model" in done.stderr.splitlines()[-1]
    disk.free()
    done = run_fleet(program, tmp_path, "--data", data, "--out", disk.folder / "out")
    assert done.returncode == 0, done
