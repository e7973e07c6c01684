"""cygnet-client in FedScale jobs that go well, or that it cannot take its part in: against
an aggregator that behaves like the stock one, over real sockets."""

import math
import struct

import pytest
from conftest import wait_for
from fedscale_job import (
    LIMIT_S, Party, ds_cnn, events, lenet5, logistic, n_trainings, one_line, outcomes,
)  # fmt: skip


@pytest.fixture
def party(program, tmp_path):
    """party(rounds=2, ...) -> Party that ends with the test."""
    started = []

    def start(**settings):
        started.append(Party(program, tmp_path / f"party-{len(started)}", **settings))
        return started[-1]

    yield start
    for p in started:
        p.stop()


# ---- Whole jobs ----------------------------------------------------------------

JOBS = {
    "logistic": dict(
        weights=logistic, n=2, rounds=4, eval_interval=3, protocol=4, steps=20),
    "lenet5": dict(
        weights=lenet5, image="1x12x12", n=3, rounds=3, protocol=3, int_ids=True, steps=8),
    "ds_cnn:channels=8,layers=1": dict(
        weights=ds_cnn, n=2, rounds=3, eval_interval=1, protocol=5, test_weights=False,
        steps=5),
}  # fmt: skip


def start_job(program, folder, model, n, weights, steps, image="1x8x8", **settings):
    p = Party(program, folder, model=weights(), participants=n, **settings)
    for i in range(n):
        p.client("--steps", str(steps), i=i, n=n, model=model, image=image)
    return p


@pytest.fixture(scope="module")
def jobs(program, tmp_path_factory):
    """All of JOBS side by side, at their end: they wait more than they work."""
    started = {
        model: start_job(program, tmp_path_factory.mktemp("job"), model, **settings)
        for model, settings in JOBS.items()
    }
    try:
        for p in started.values():
            for client in p.clients:
                client.wait(LIMIT_S)
        yield started
    finally:
        for p in started.values():
            p.stop()


@pytest.mark.parametrize("model", JOBS)
def test_a_job_ends_well_for_everybody(jobs, model):
    p, settings = jobs[model], JOBS[model]
    trained = settings["rounds"] - 1
    assert [c.popen.returncode for c in p.clients] == [0] * settings["n"]
    assert all(c.stderr == "" for c in p.clients)
    assert p.aggregator.died is None
    assert [r["round"] for r in p.job.history] == list(range(1, trained + 1))
    assert p.n_completions("upload_model") == {r: settings["n"] for r in range(1, trained + 1)}
    for client in p.clients:
        assert outcomes(client).count("completed") == trained
        assert outcomes(client)[-1] == "finished"


@pytest.mark.parametrize("model", JOBS)
def test_each_round_s_uploads_are_what_was_trained(jobs, model):
    p, settings = jobs[model], JOBS[model]
    ids = {e["client_id"] for e in p.uploads()}
    assert len(ids) == settings["n"]
    assert all(type(i) is (int if settings.get("int_ids") else str) for i in ids)
    for upload in p.uploads():
        assert not upload["unchanged"] and upload["success"]
        assert upload["trained_size"] == 16 * settings["steps"]
        assert 0 < upload["moving_loss"] < 10 and upload["utility"] > 0
        assert upload["wall_duration"] >= 0


@pytest.mark.parametrize("model", JOBS)
def test_held_out_rows_are_tested_where_the_aggregator_asks(jobs, model):
    p, settings = jobs[model], JOBS[model]
    every = settings.get("eval_interval", 5)
    wanted = [r for r in range(1, settings["rounds"]) if r == 1 or r % every == 0]
    assert [r["round"] for r in p.job.performance] == wanted
    for row in p.job.performance:  # the digits that are held out, each by one client
        assert row["test_len"] == 359
        assert 0 <= row["top_1"] <= row["top_5"] <= 1 and row["test_loss"] > 0
    for client in p.clients:
        assert outcomes(client).count("evaluated") == len(wanted)


def test_a_job_learns(jobs):
    first, last = jobs["logistic"].job.performance
    assert last["top_1"] > first["top_1"] + 0.3
    assert last["test_loss"] < first["test_loss"]


def test_counts_of_batch_norms_are_averaged_as_they_are(jobs):
    p = jobs["ds_cnn:channels=8,layers=1"]
    counts = [t for t in p.job.model if t.kind == "i8"]
    assert [list(t.values) for t in counts] == [[2 * 5]] * 3
    moved = [t for t in p.job.model if t.shape == (8,)]
    assert all(math.isfinite(v) for t in moved for v in t.values)


# ---- What is sent, computed again -------------------------------------------------


def write_idx(folder, stem, pixels, labels):
    n = len(labels)
    images = struct.pack(">4I", 0x803, n, 8, 8) + bytes(pixels)
    (folder / f"{stem}-images-idx3-ubyte").write_bytes(images)
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(
        struct.pack(">2I", 0x801, n) + bytes(labels)
    )


def make_data(folder, n_train, n_test=7):
    """[(pixels, label)] of both parts; the folder is one of IDX files."""
    folder.mkdir()
    parts = []
    for stem, n, salt in (("train", n_train, 3), ("t10k", n_test, 5)):
        rows = [([(salt * i * i + 7 * j * i + j) % 256 for j in range(64)], i % 10)
                for i in range(n)]  # fmt: skip
        write_idx(folder, stem, [p for row, _ in rows for p in row], [y for _, y in rows])
        parts.append(rows)
    return parts


def softmax_row(weights, bias, pixels):
    """The input and the softmax of a row."""
    x = [(p / 255 - 0.5) / 0.5 for p in pixels]
    z = [sum(w * v for w, v in zip(weights[64 * k : 64 * k + 64], x)) + bias[k]
         for k in range(10)]  # fmt: skip
    exp = [math.exp(v - max(z)) for v in z]
    return x, [e / sum(exp) for e in exp]


def one_step(model, rows, lr, decay):
    """Losses of the rows, and the weights after a step of SGD on all of them."""
    weights, bias = (list(t.values) for t in model)
    grad_w, grad_b, losses = [0.0] * 640, [0.0] * 10, []
    for pixels, label in rows:
        x, p = softmax_row(weights, bias, pixels)
        losses.append(-math.log(p[label]))
        for k in range(10):
            d = (p[k] - (k == label)) / len(rows)
            grad_b[k] += d
            for j in range(64):
                grad_w[64 * k + j] += d * x[j]
    after = [[v - lr * (g + decay * v) for v, g in zip(values, grads)]
             for values, grads in ((weights, grad_w), (bias, grad_b))]  # fmt: skip
    return losses, after


def test_results_and_weights_are_those_of_a_computation_in_python(party, tmp_path):
    train, test = make_data(tmp_path / "data", 40)
    p = party(rounds=2)
    client = p.client(
        "--data", f"idx:{tmp_path / 'data'}", "--steps", "1", "--batch", "40"
    )
    assert client.wait(LIMIT_S) == 0
    before = logistic()
    losses, after = one_step(before, train, 0.05, 5e-4)
    for got, wanted in zip(p.job.model, after):
        assert list(got.values) == pytest.approx(wanted, abs=2e-6)
    (upload,) = p.uploads()
    mean_square = sum(v * v for v in losses) / 40
    assert upload["utility"] == pytest.approx(40 * math.sqrt(mean_square), rel=1e-5)
    assert upload["moving_loss"] == pytest.approx(sum(losses) / 40, rel=1e-5)
    rows = [softmax_row(*(list(t.values) for t in before), x)[1] for x, _ in test]
    losses = [-math.log(row[y]) for row, (_, y) in zip(rows, test)]
    ranks = [sorted(row, reverse=True).index(row[y]) for row, (_, y) in zip(rows, test)]
    results = p.job.received[0]["results"]
    assert results["test_len"] == 7
    assert results["test_loss"] == pytest.approx(sum(losses), rel=1e-5)
    assert results["top_1"] == sum(r < 1 for r in ranks)
    assert results["top_5"] == sum(r < 5 for r in ranks)


# ---- Devices that cannot ----------------------------------------------------------


def evaluate_only(p, *options, **more):
    """Runs a client up to its round's training."""
    first = p.client(*options, until_done=False, **more)
    assert first.wait(LIMIT_S) == 0
    assert outcomes(first) == ["evaluated"]


def assert_weights_came_back(p):
    (upload,) = wait_for(lambda: p.uploads(1), what="an upload")
    assert upload["unchanged"]
    assert (upload["utility"], upload["trained_size"]) == (0, 0)
    assert list(p.job.model[0].values) == list(logistic()[0].values)


def assert_job_ends(p, **more):
    last = p.client(until_done=False, **more)
    assert last.wait(LIMIT_S) == 0
    assert outcomes(last) == ["finished"]
    assert p.aggregator.died is None


def test_a_device_that_stops_qualifying_sends_the_weights_back(party, tmp_path):
    state = tmp_path / "device"
    state.write_text("charging,idle,unmetered\n")
    options = ["--assume-file", str(state), "--steps", "1000000"]
    p = party(rounds=2, life_s=30)
    evaluate_only(p, *options, assume=None)
    client = p.client(*options, until_done=False, assume=None)
    wait_for(lambda: n_trainings(client) == 1, LIMIT_S, "training")
    state.write_text("no-charging,idle,unmetered\n")
    assert client.wait(LIMIT_S) == 4
    assert outcomes(client) == ["interrupted"]
    assert "charging is required and is false" in events(client)[-1]["message"]
    assert_weights_came_back(p)
    assert_job_ends(p)


def test_a_deadline_too_short_sends_the_weights_back(party):
    options = ["--deadline", "3", "--steps", "1000000", "--batch", "1000"]
    p = party(rounds=2, life_s=30)
    evaluate_only(p, *options)
    client = p.client(*options, until_done=False)
    assert client.wait(LIMIT_S) == 3
    assert outcomes(client) == ["aborted"]
    assert "training needs about" in events(client)[-1]["message"]
    assert_weights_came_back(p)
    assert_job_ends(p)


def test_the_deadline_begins_with_the_task(party):
    """The first of two waits for the second longer than its rounds may take."""
    p = party(participants=2, rounds=2)
    first = p.client("--deadline", "2", i=0, n=2)
    wait_for(lambda: p.methods().count("CLIENT_PING") >= 5, LIMIT_S, "five pings")
    second = p.client("--deadline", "60", i=1, n=2)
    assert (first.wait(LIMIT_S), second.wait(LIMIT_S)) == (0, 0)
    assert p.job.performance[0]["test_len"] == 359
    assert [u["unchanged"] for u in p.uploads(1)] == [False, False]


def test_too_few_examples_are_told_before_a_word_is_sent(party, tmp_path):
    make_data(tmp_path / "data", 31)
    p = party()
    client = p.client("--data", f"idx:{tmp_path / 'data'}")
    assert client.wait(LIMIT_S) == 1
    assert "takes devices with 32 examples or more" in one_line(client)
    assert "EDATA" in one_line(client)
    assert p.aggregator.calls == []


def test_another_model_than_the_job_s_is_told_before_training(party):
    p = party()
    client = p.client(model="mlp:hidden=8")
    assert client.wait(LIMIT_S) == 1
    assert "the aggregator's weights" in one_line(client)
    assert "ESHAPE" in one_line(client)
    assert n_trainings(client) == 0 and p.job.received == []


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "weights without names; the options must say which architecture"),
        (("--model", "nonesuch"), "nonesuch"),
        (("--model", "logistic", "--path", "/job"), "an aggregator's address has no path"),
    ],
)
def test_a_job_that_cannot_be_is_one_line(program, spawn, tmp_path, options, message):
    url, options = "fedscale://127.0.0.1:1", list(options)
    if "--path" in options:
        url += options.pop()
        options.pop()
    client = spawn(
        [program("cygnet-client"), "--server", url, "--state-dir", tmp_path / "s", *options]
    )
    assert client.wait(LIMIT_S) == 1
    assert message in one_line(client)


# ---- TLS in front -----------------------------------------------------------------


def test_a_job_over_tls(party, certificate):
    p = party(rounds=2, tls=certificate)
    client = p.client("--ca", str(certificate[0]), scheme="fedscales")
    assert client.wait(LIMIT_S) == 0
    assert outcomes(client) == ["evaluated", "completed", "finished"]


@pytest.mark.parametrize("scheme, word", [("fedscales", "ertificate"), ("fedscale", "")])
def test_neither_a_stranger_nor_plain_text_gets_in(party, certificate, scheme, word):
    p = party(tls=certificate)
    client = p.client(scheme=scheme, until_done=False)
    assert client.wait(LIMIT_S) == 1
    assert word in one_line(client)
    assert p.aggregator.calls == []


