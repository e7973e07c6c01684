"""cygnet-client in FedScale jobs that go wrong: replies that no aggregator should send, an
aggregator that ends or says nothing, and clients killed at bad moments.

Such jobs wait more than they work, so that all of them run side by side, each in a thread
of this process; a test asks how its own has ended."""

import concurrent.futures
import itertools
import shutil

import pytest
from conftest import wait_for
from fake_aggregator import Fault
from fedscale_job import LIMIT_S, Party, n_trainings, one_line, outcomes

MIB = 1 << 20
SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__.replace("_", " ")] = function
    return function


# ---- Replies that mean harm, or nothing --------------------------------------------

BAD = {
    ("client_train", "truncated"): ("ends within", "EFORMAT"),
    ("client_train", "cut"): ("a field is longer than the message", "EPROTOCOL"),
    ("client_train", "garbage"): ("does not begin with PROTO", "EFORMAT"),
    ("client_train", "evil"): ('global "posix mkdir" is not allowed', "EUNSUPPORTED"),
    ("client_train", "huge"): ("not a list of tensors", "EFORMAT"),
    ("client_train", "fewer"): ("expected 2 tensors, found 1", "ESHAPE"),
    ("client_train", "more"): ("expected 2 tensors, found 3", "ESHAPE"),
    ("client_train", "shape"): ("expected F32 (10, 64), found F32 (640, 1)", "ESHAPE"),
    ("client_train", "dtype"): ("expected F32 (10, 64), found I64 (10, 64)", "ESHAPE"),
    ("client_train", "nan"): ("linear.weight: expected finite values", "ENUMERIC"),
    ("client_train", "no-data"): ("ends after 0 bytes", "EFORMAT"),
    ("client_train", "no-meta"): ("client_train has no learning rate", "EPROTOCOL"),
    ("client_train", "no-lr"): ("client_train has no learning rate", "EPROTOCOL"),
    ("client_train", "odd-lr"): ('"learning_rate" is not a finite number', "EFORMAT"),
    ("client_train", "bad-id"): ('"client_id" is neither a short string', "EFORMAT"),
    ("client_train", "no-event"): ("the event has no usable name", "EPROTOCOL"),
    ("client_train", "error-after"): ("no longer knows this client", "EREFUSED"),
    ("update_model", "fewer"): ("expected 2 tensors, found 1", "ESHAPE"),
    ("model_test", "bad-id"): ('"client_id" is neither a short string', "EFORMAT"),
    ("model_test", "nan"): ("linear.weight: expected finite values", "ENUMERIC"),
}  # fmt: skip


def is_refused(party, on, kind):
    """One line, no crash, and nothing goes out that would end the job for all."""
    message, status = BAD[on, kind]
    p = party(rounds=2, faults=[Fault(on, kind, arg=8 * MIB)])
    client = p.client()
    assert client.wait(LIMIT_S) == 1
    assert message in one_line(client) and status in one_line(client)
    assert outcomes(client)[-1] == "failed"
    assert p.n_completions("upload_model") == {}
    assert p.aggregator.died is None


HARMLESS = [
    ("client_train", "slow"),
    ("dummy_event", "unknown-event"),
    ("model_test", "no-meta"),
    ("model_test", "garbage"),  # the weights of update_model are there
    ("ping", "error"),  # as of a client that is not known
    ("register", "error"),
    ("register", "error-after"),
    ("upload_model", "slow"),
]


def is_passed_over(party, on, kind):
    """The job ends as if nothing had been."""
    p = party(rounds=2, faults=[Fault(on, kind, arg=1)])
    client = p.client()
    assert client.wait(LIMIT_S) == 0
    assert outcomes(client)[-2:] == ["completed", "finished"]
    assert p.n_completions("upload_model") == p.n_completions("model_test") == {1: 1}
    assert len(p.job.feasible) == 1
    assert p.aggregator.died is None


@scenario
def an_upload_whose_reply_fails_is_not_sent_again(party):
    p = party(rounds=3, faults=[Fault("upload_model", "error-after")])
    client = p.client()
    assert client.wait(LIMIT_S) == 0
    assert outcomes(client) == ["evaluated", "failed", "completed", "finished"]
    assert p.n_completions("upload_model") == {1: 1, 2: 1}
    assert [u["unchanged"] for u in p.uploads()] == [False, False]


@scenario
def a_reply_to_an_upload_that_is_damaged_is_told(party):
    p = party(rounds=2, faults=[Fault("upload_model", "cut")])
    client = p.client()
    assert client.wait(LIMIT_S) == 1
    assert "whether it was received is not known" in one_line(client)
    assert p.n_completions("upload_model") == {1: 1}


@scenario
def training_that_diverges_sends_the_weights_back(party):
    p = party(rounds=2, learning_rate=1e37)
    client = p.client()
    assert client.wait(LIMIT_S) == 1
    assert "ENUMERIC" in one_line(client)
    assert [u["unchanged"] for u in p.uploads()] == [True]
    assert p.aggregator.died is None


@scenario
def a_client_that_hears_nothing_can_be_stopped(party):
    p = party(rounds=2, faults=[Fault("client_train", "lost")])
    client = p.client()
    wait_for(lambda: p.aggregator.settings.faults[0].left == 0, LIMIT_S, "the fault")
    assert client.stop(10) == 4
    assert client.stderr == "" and p.n_completions("upload_model") == {}


# ---- An aggregator that ends -------------------------------------------------------

ENDS = ["update_model", "client_train", "model_test!", "upload_model"]


def is_over(party, on):
    """Whoever has joined takes a closed socket for the end of the job."""
    p = party(rounds=2, faults=[Fault(on, "die")])
    client = p.client()
    assert client.wait(LIMIT_S) == 0, client.stderr
    assert outcomes(client)[-1] == "finished" and client.stderr == ""
    assert p.n_completions("upload_model") in ({}, {1: 1})


@scenario
def one_that_was_never_there_is_an_error(party):
    p = party()
    p.aggregator.stop()
    client = p.client(until_done=False)
    assert client.wait(LIMIT_S) == 1
    assert "ENETWORK" in one_line(client)


# ---- Killed ------------------------------------------------------------------------


def goes_on(p, *options, rounds):
    """The next process ends the job, and nobody's answer came twice."""
    before = len(p.methods())
    client = p.client(*options)
    assert client.wait(LIMIT_S) == 0, client.stderr
    assert outcomes(client)[-1] == "finished"
    assert p.methods(before)[0] == "CLIENT_PING"
    assert "CLIENT_REGISTER" not in p.methods(before)
    assert p.n_completions("upload_model") == {n: 1 for n in range(1, rounds)}
    assert p.n_completions("model_test") == {1: 1}
    assert len(p.job.feasible) == 1 and p.aggregator.died is None
    return client


@scenario
def killed_in_training_the_weights_go_back(party):
    p = party(rounds=3)
    client = p.client("--steps", "1000000", "--batch", "1000")
    wait_for(lambda: n_trainings(client) == 2, LIMIT_S, "training")
    client.kill()
    goes_on(p, rounds=3)
    assert [u["unchanged"] for u in p.uploads()] == [True, False]


@scenario
def killed_while_sending_the_update_nothing_is_sent_again(party):
    p = party(rounds=3, faults=[Fault("upload_model", "slow", arg=60)])
    client = p.client()
    wait_for(lambda: p.n_completions("upload_model"), LIMIT_S, "an upload")
    client.kill()
    goes_on(p, rounds=3)
    assert [u["unchanged"] for u in p.uploads()] == [False, False]


@scenario
def killed_while_sending_results_nothing_is_sent_again(party):
    p = party(rounds=2, faults=[Fault("model_test!", "slow", arg=60)])
    client = p.client()
    wait_for(lambda: p.n_completions("model_test"), LIMIT_S, "results")
    client.kill()
    again = goes_on(p, rounds=2)
    assert outcomes(again) == ["completed", "finished"]


@scenario
def killed_between_an_event_and_the_record_of_it_the_task_is_done(party):
    """The record is put back as it was before the event came."""
    p = party(rounds=2)
    client = p.client("--steps", "1000000", "--batch", "1000")
    record = p.folder / "state-0" / "round"
    wait_for(lambda: outcomes(client) == ["evaluated"], LIMIT_S, "the evaluation")
    shutil.copy(record, p.folder / "before")
    wait_for(lambda: n_trainings(client) == 2, LIMIT_S, "training")
    client.kill()
    shutil.copy(p.folder / "before", record)
    again = goes_on(p, rounds=2)
    assert outcomes(again) == ["completed", "finished"]
    assert [u["unchanged"] for u in p.uploads()] == [False]


@scenario
def killed_while_waiting_it_asks_before_it_registers(party):
    p = party(participants=2, rounds=2)
    client = p.client(i=0, n=2)
    wait_for(lambda: p.methods().count("CLIENT_PING") >= 3, LIMIT_S, "pings")
    client.kill()
    before = len(p.methods())
    clients = [p.client(i=0, n=2)]
    wait_for(lambda: len(p.methods()) > before + 1, LIMIT_S, "pings")
    assert p.methods(before)[:2] == ["CLIENT_PING"] * 2
    clients.append(p.client(i=1, n=2))
    assert [c.wait(LIMIT_S) for c in clients] == [0, 0]
    assert len(p.job.feasible) == 2
    assert p.n_completions("upload_model") == {1: 2}


# ---- The tests ----------------------------------------------------------------------


def bind(check, *arguments):
    return lambda party: check(party, *arguments)


SCENARIOS |= {f"{on} {kind}": bind(is_refused, on, kind) for on, kind in BAD}
SCENARIOS |= {f"{on} {kind}": bind(is_passed_over, on, kind) for on, kind in HARMLESS}
SCENARIOS |= {f"ends at {on}": bind(is_over, on) for on in ENDS}


@pytest.fixture(scope="module")
def played(program, tmp_path_factory, request):
    """{name: future} of all scenarios that are to be tested."""
    wanted = [item.callspec.params["name"] for item in request.session.items
              if getattr(item, "callspec", None) and item.path == request.path]  # fmt: skip
    parties = []
    root = tmp_path_factory.mktemp("parties")
    numbers = itertools.count()

    def party(**settings):
        folder = root / str(next(numbers))
        folder.mkdir()
        parties.append(Party(program, folder, **settings))
        return parties[-1]

    with concurrent.futures.ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        try:
            yield {name: pool.submit(SCENARIOS[name], party) for name in wanted}
        finally:
            for p in parties:
                p.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_that_goes_wrong(played, name):
    played[name].result(LIMIT_S)
