#!/usr/bin/python3
"""A FedScale aggregator as its clients see it: the stock one's flow and its quirks.

As in the original, registrations are counted by name, events go away when they are
sent, nothing times out, and a bad result from one client ends the job for all. It is
stricter in two places: an upload with more tensors than the model has, or with a shape
that would only be broadcast, is bad here. Faults can be put into single replies.

    fake_aggregator.py --port 0 --participants 3 --rounds 4 --tensors w:10x784,b:10

prints its port and ends as the stock one does: 0 when the job is over, 1 (and a line
that says why) when it dies. As a class: `with FakeAggregator(...) as job`.
"""

import argparse
import collections
import dataclasses
import math
import operator
import os
import pathlib
import pickle
import random
import sys
import threading
from concurrent import futures

import grpc

import fedscale_wire as wire

MAX_MESSAGE = 1 << 30
POLL_S = 0.1
LOST_S = 3600.0
SERVICE = "/fedscale.JobService/"
KINDS = (
    "truncated cut garbage evil huge fewer more shape dtype nan no-data no-meta no-lr "
    "odd-lr bad-id unknown-event no-event lost slow error error-after die"
).split()


class Death(Exception):
    """What would end the stock aggregator's main loop."""


@dataclasses.dataclass
class Fault:
    """One thing that goes wrong.

    on      an event (update_model, model_test, client_train, dummy_event,
            terminate_executor), a method (register, ping), or upload_model,
            model_test!, client_train! for the reply to that completion
    kind    one of KINDS
    arg     seconds of slow, bytes of huge
    times   how often; 0: always
    client  only for this name
    round   only in this round
    """

    on: str
    kind: str
    arg: float = 0
    times: int = 1
    client: str = ""
    round: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind}")
        self.left = self.times or math.inf

    @classmethod
    def parse(cls, text):
        """"on=client_train,kind=nan,times=2" """
        fields = dict(item.split("=", 1) for item in text.split(","))
        types = {"arg": float, "times": int, "round": int}
        return cls(**{k: types.get(k, str)(v) for k, v in fields.items()})


@dataclasses.dataclass
class Settings:
    """The stock options that matter, with their defaults, and our own.

    model         the first weights: Tensors in state_dict order
    protocol      of the pickles: 3, 4 or 5
    int_ids       meta carries the client's number as an int, as in simulations, and the
                  upload must echo that
    test_weights  False: model_test comes without weights, as before December 2023
    life_s        how long it answers after the end
    tls           (certificate, key): PEM files
    """

    model: list = dataclasses.field(default_factory=list)
    participants: int = 1
    rounds: int = 3
    eval_interval: int = 5
    learning_rate: float = 0.05
    min_learning_rate: float = 5e-5
    decay_factor: float = 0.98
    decay_round: int = 10
    filter_less: float = 32
    filter_more: float = 1e15
    overcommitment: float = 1.3
    protocol: int = 4
    int_ids: bool = False
    test_weights: bool = True
    life_s: float = 5.0
    port: int = 0
    tls: tuple = ()
    faults: list = dataclasses.field(default_factory=list)


# ---- The job -----------------------------------------------------------------


class Job:
    """Rounds, selection and aggregation. Its main loop is one thread's; the calls of
    clients come from others, unlocked where the stock one has no lock."""

    def __init__(self, settings):
        self.settings = settings
        self.model = list(settings.model)
        self.learning_rate = settings.learning_rate
        self.round = 0
        self.events = {}
        self.broadcast = collections.deque()
        self.results = collections.deque()
        self.registered = set()
        self.feasible = []
        self.numbers = {}
        self.selected = []
        self.to_run = []
        self.tasks = 0
        self.running = {}
        self.uploads = []
        self.sum = None
        self.tests = []
        self.rng = random.Random(233)
        self.history = []
        self.performance = []
        self.lock = threading.Lock()
        self.log = []
        self.received = []

    # What clients do

    def register(self, name, info):
        info = wire.read_pickle(info)
        self.events.setdefault(name, collections.deque())
        self.registered.add(name)
        for size in info["size"]:
            self.numbers.setdefault(name, len(self.numbers) + 1)
            if self.settings.filter_less <= size <= self.settings.filter_more:
                self.feasible.append(name)
        if len(self.registered) == self.settings.participants:
            self.next_round()

    def next_event(self, request):
        """The event that is due, its meta and its data, as Python objects."""
        name = request.executor_id
        if not self.events[name]:
            return "dummy_event", "N", "N"
        event = self.events[name].popleft()
        if event == "client_train":
            with self.lock:
                mine = name in self.to_run
                if mine:
                    self.to_run.remove(name)
            if not mine:  # asked for again, as the stock one does
                self.events[name].append("client_train")
                return "dummy_event", None, self.model
            config = {"learning_rate": self.learning_rate}
            return event, {"client_id": self.id_of(name), "task_config": config}, self.model
        if event == "model_test":
            weights = self.model if self.settings.test_weights else "N"
            return event, {"client_id": request.client_id}, weights
        if event == "update_model":
            return event, "N", self.model
        return event, {"client_id": name}, "N"

    def complete(self, request):
        name, event = request.executor_id, request.event.decode()
        self.log.append({"round": self.round, "client": name, "event": event})
        if event == "client_train":
            if name in self.to_run and "client_train" not in self.events[name]:
                self.events[name].append("client_train")
        elif event in ("model_test", "upload_model"):
            self.results.append((event, request.data))

    def id_of(self, name):
        return self.numbers[name] if self.settings.int_ids else name

    # The main loop

    def step(self):
        """Handles one thing; False when there is none, None when the job is over."""
        if self.broadcast:
            event = self.broadcast.popleft()
            for name in self.selected:
                self.events[name].append(event)
            return None if event == "terminate_executor" else True
        if not self.results:
            return False
        event, data = self.results.popleft()
        try:
            result = wire.read_pickle(data)
            self.note(event, result)
            if event == "upload_model":
                self.take_upload(result)
            else:
                self.take_test(result)
        except Death:
            raise
        except Exception as error:
            raise Death(f"{event}: {type(error).__name__}: {error}") from error
        return True

    @staticmethod
    def listed(weights):
        """A dict's names are ignored, only their order counts."""
        return list(weights.values()) if isinstance(weights, dict) else weights

    def note(self, event, result):
        """Keeps what a test may want to look at; `unchanged` is how a client declines."""
        entry = {"round": self.round, "event": event}
        if event == "upload_model":
            weights = self.listed(result["update_weight"])
            entry.update((k, v) for k, v in result.items() if k != "update_weight")
            entry["unchanged"] = len(weights) == len(self.model) and all(
                list(got.values) == list(mine.values)
                for got, mine in zip(weights, self.model)
            )
        else:
            entry.update(result)
        self.received.append(entry)

    def take_upload(self, result):
        loss = result["moving_loss"]
        self.uploads.append((result["utility"], loss, result["client_id"]))
        math.sqrt(loss)
        if type(result["utility"]) not in (int, float):
            raise Death("upload_model: utility is no number")
        key = result["client_id"]
        if key not in self.running or type(key) is not type(self.running[key]):
            raise Death(f"upload_model: KeyError: {key!r}")
        self.add(self.listed(result["update_weight"]))
        if len(self.uploads) == self.tasks:
            self.model = [
                t.like([x / self.tasks for x in s] if t.kind == "f4"
                       else [int(x / self.tasks) for x in s])
                for t, s in zip(self.model, self.sum)
            ]  # fmt: skip
            self.next_round()

    def add(self, weights):
        """Float by float, as float32; later uploads are added to the first."""
        if len(weights) != len(self.model):
            raise Death(f"upload_model: {len(weights)} tensors, not {len(self.model)}")
        for i, (got, mine) in enumerate(zip(weights, self.model)):
            if not isinstance(got, wire.Array) or got.shape != mine.shape:
                raise Death(f"upload_model: tensor {i} is not of shape {mine.shape}")
        if len(self.uploads) == 1:
            self.sum = [w.values for w in weights]
            return
        self.sum = [
            type(a)(a.typecode, map(operator.add, a, w.values))
            for a, w in zip(self.sum, weights)
        ]

    def take_test(self, result):
        self.tests.append(dict(result["results"]))
        if len(self.tests) != self.settings.participants:
            return
        total = self.tests[0]
        for other in self.tests[1:]:
            for key in total:
                total[key] += other[key]
        count = total["test_len"]
        found = {k: v / count for k, v in total.items() if k != "test_len"}
        self.performance.append({"round": self.round, "test_len": count, **found})
        self.broadcast.append("client_train")

    def select(self):
        wanted = int(self.settings.participants * self.settings.overcommitment)
        if len(self.feasible) <= wanted:
            return sorted(self.feasible)
        self.rng.shuffle(self.feasible)
        return sorted(self.feasible[: min(wanted, len(self.feasible) - 1)])

    def next_round(self):
        if self.round:
            clients = sorted(str(u[2]) for u in self.uploads)
            self.history.append({"round": self.round, "uploads": clients})
        self.round += 1
        self.selected = self.select()
        self.to_run = list(self.selected)
        self.tasks = len(self.selected)
        self.running = {self.id_of(name): self.id_of(name) for name in self.selected}
        self.uploads, self.tests = [], []
        if self.round % self.settings.decay_round == 0:
            lower = self.learning_rate * self.settings.decay_factor
            self.learning_rate = max(lower, self.settings.min_learning_rate)
        if self.round >= self.settings.rounds:
            self.broadcast.append("terminate_executor")
        elif self.round % self.settings.eval_interval == 0 or self.round == 1:
            self.broadcast.extend(["update_model", "model_test"])
        else:
            self.broadcast.extend(["update_model", "client_train"])


# ---- Replies and their faults ------------------------------------------------


class _Evil:
    """Unpickled by a careless client, it makes a file."""

    def __reduce__(self):
        return os.mkdir, ("fedscale-evil-pickle",)


def spoil_weights(kind, tensors):
    """The tensors with something wrong in them."""
    first = tensors[0]
    if kind == "fewer":
        return tensors[:-1]
    if kind == "more":
        return [*tensors, first]
    if kind == "shape":
        return [wire.Tensor((len(first.values), 1), first.values), *tensors[1:]]
    if kind == "dtype":
        other = "i8" if first.kind == "f4" else "f4"
        zeros = [0] * len(first.values)
        return [wire.Tensor(first.shape, zeros, other), *tensors[1:]]
    if kind == "nan":
        return [first.like([math.nan, *first.values[1:]]), *tensors[1:]]
    return tensors


def spoil_meta(kind, meta):
    if kind == "no-meta":
        return "N"
    if kind == "no-lr":
        return {k: v for k, v in meta.items() if k != "task_config"}
    if kind == "odd-lr":
        return {**meta, "task_config": {"learning_rate": math.nan}}
    if kind == "bad-id":
        return {**meta, "client_id": "x" * 100_000}
    return meta


def spoil_data(kind, arg, data):
    """The pickle of the weights with something wrong in it."""
    if kind == "truncated":
        return data[: len(data) // 2]
    if kind == "garbage":
        return random.Random(len(data)).randbytes(len(data))
    if kind == "evil":
        return pickle.dumps(_Evil(), 4)
    if kind == "huge":
        return pickle.dumps(bytes(int(arg) or 64 << 20), 4)
    return b"" if kind == "no-data" else data


class FakeAggregator(grpc.GenericRpcHandler):
    """A job behind a port. Start and stop it by hand or with `with`.

    died   why the main loop ended, or None
    ended  set when the job is over or has died
    """

    def __init__(self, **settings):
        self.settings = Settings(**settings)
        self.job = Job(self.settings)
        self.died = None
        self.ended = threading.Event()
        self.stopping = threading.Event()
        self.calls = []
        self.faults_lock = threading.Lock()
        self.server = None
        self.port = None
        self.is_process = False

    # Serving

    def start(self):
        sizes = [("grpc.max_send_message_length", MAX_MESSAGE),
                 ("grpc.max_receive_message_length", MAX_MESSAGE),
                 ("grpc.so_reuseport", 0)]  # fmt: skip
        pool = futures.ThreadPoolExecutor(max_workers=20)
        self.server = grpc.server(pool, handlers=[self], options=sizes)
        address = f"127.0.0.1:{self.settings.port}"
        if self.settings.tls:
            certificate, key = (pathlib.Path(p).read_bytes() for p in self.settings.tls)
            credentials = grpc.ssl_server_credentials([(key, certificate)])
            self.port = self.server.add_secure_port(address, credentials)
        else:
            self.port = self.server.add_insecure_port(address)
        if not self.port:
            raise OSError(f"{address} is taken")
        self.server.start()
        threading.Thread(target=self.main, daemon=True).start()
        return self

    @property
    def url(self):
        return f"http{'s' if self.settings.tls else ''}://127.0.0.1:{self.port}"

    def stop(self):
        """Closes the socket at once."""
        self.stopping.set()
        self.server.stop(None).wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def main(self):
        try:
            while not self.stopping.is_set():
                more = self.job.step()
                if more is None:
                    self.stopping.wait(self.settings.life_s)
                    break
                if not more:
                    self.stopping.wait(POLL_S)
        except Death as death:
            self.died = str(death)
        self.server.stop(None)
        self.ended.set()

    # Calls

    def service(self, details):
        method = details.method.removeprefix(SERVICE)
        if method not in ("CLIENT_REGISTER", "CLIENT_PING", "CLIENT_EXECUTE_COMPLETION"):
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda message, context: self.answer(method, message)
        )

    def die(self, why):
        """As if the process were killed."""
        self.died = self.died or why
        if self.is_process:
            os._exit(1)
        self.stopping.set()

    def find_fault(self, on, client):
        with self.faults_lock:
            for fault in self.settings.faults:
                if (fault.left > 0 and fault.on == on and fault.client in ("", client)
                        and fault.round in (0, self.job.round)):  # fmt: skip
                    fault.left -= 1
                    return fault
        return None

    @staticmethod
    def name_of(method, request):
        """What Fault.on calls this call."""
        if method == "CLIENT_EXECUTE_COMPLETION":
            event = request.event.decode()
            return event if event == "upload_model" else event + "!"
        return {"CLIENT_REGISTER": "register", "CLIENT_PING": "ping"}[method]

    def answer(self, method, message):
        request = wire.Request(message)
        name = request.executor_id
        self.calls.append((method, name, self.job.round))
        fault = self.find_fault(self.name_of(method, request), name)
        if fault and fault.kind == "error":
            raise RuntimeError("an injected error")
        if method == "CLIENT_REGISTER":
            self.job.register(name, request.info)
            event, meta, data = "dummy_event", "N", "N"
        else:
            if method != "CLIENT_PING":
                self.job.complete(request)
            event, meta, data = self.job.next_event(request)
        return self.reply(event, meta, data, fault or self.find_fault(event, name))

    def reply(self, event, meta, data, fault):
        kind = fault.kind if fault else ""
        if kind in ("lost", "slow"):
            self.stopping.wait(LOST_S if kind == "lost" else fault.arg)
        if kind == "error-after":
            raise RuntimeError("an injected error")
        if kind == "die":
            self.die("told to die")
        meta = pickle.dumps(spoil_meta(kind, meta), self.settings.protocol)
        if isinstance(data, list):
            data = wire.write_weights(spoil_weights(kind, data), self.settings.protocol)
        else:
            data = pickle.dumps(data, self.settings.protocol)
        data = spoil_data(kind, fault.arg if fault else 0, data)
        name = {"unknown-event": "mystery", "no-event": ""}.get(kind, event)
        message = wire.write_response(name, meta, data)
        return message[: len(message) // 2] if kind == "cut" else message


# ---- Command line ------------------------------------------------------------


def parse_tensors(text, seed):
    """"weight:10x784,bias:10,n:scalar:i8": random values as PyTorch's linear layers
    have them, zeros for integers."""
    rng, tensors = random.Random(seed), []
    for item in text.split(","):
        name, shape, *kind = item.split(":")
        shape = () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        n, bound = math.prod(shape), 1 / math.sqrt(math.prod(shape[1:]) or 1)
        if kind == ["i8"]:
            tensors.append(wire.Tensor(shape, [0] * n, "i8", name))
        else:
            values = [rng.uniform(-bound, bound) for _ in range(n)]
            tensors.append(wire.Tensor(shape, values, "f4", name))
    return tensors


def parse(argv):
    known = {f.name: f for f in dataclasses.fields(Settings)}
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name, field in known.items():
        if field.type in (int, float):
            option = "--" + name.replace("_", "-")
            p.add_argument(option, type=field.type, default=field.default)
    p.add_argument("--tensors", required=True, help="NAME:SHAPE[:i8],..., for instance w:10x784,b:10")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), default=())
    p.add_argument("--fault", dest="faults", type=Fault.parse, action="append", default=[],
                   help="on=EVENT,kind=KIND[,arg=..][,times=N][,client=NAME][,round=N]")
    args = p.parse_args(argv)
    settings = {name: getattr(args, name) for name in known if hasattr(args, name)}
    return settings | {"model": parse_tensors(args.tensors, args.seed)}


def main(argv):
    aggregator = FakeAggregator(**parse(argv))
    aggregator.is_process = True
    aggregator.start()
    print(aggregator.port, flush=True)
    try:
        while not aggregator.ended.wait(0.1):
            pass
    except KeyboardInterrupt:
        aggregator.died = "interrupted"
    if aggregator.died:
        print(aggregator.died, file=sys.stderr)
    sys.stderr.flush()
    os._exit(1 if aggregator.died else 0)  # not waiting for calls that hang


if __name__ == "__main__":
    main(sys.argv[1:])
