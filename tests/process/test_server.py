"""The policy server over real sockets: schema first, newest request wins, honest latency, nobody harmed."""

from __future__ import annotations

import gc
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from runtime.config import load_rig
from runtime.devices import PoseLeader
from runtime.drivers.base import DriverError
from runtime.drivers.leaders.poses import check_access
from runtime.errors import LeadtimeError, UsageError
from runtime.inference import wire
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.handshake import rig_schema
from runtime.inference.sampler import Sampler
from runtime.inference.server import local, mail
from runtime.inference.server.load import loader
from runtime.inference.server.mail import Mail
from runtime.inference.server.server import serve_model
from runtime.inference.server.session import SessionTable
from runtime.layout import JOINT_NAMES
from runtime.net.frames import Buffer
from runtime.net.sockets import QUEUE_MESSAGES_MAX, check_endpoint, open_router
from tests.fuzz.stray import GREETING, READY
from tests.process import streaming
from tests.process.serving import TINY, PlainClient, ServerProcess, named_policy, server

NOISE_GAIN = 0.001


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


@pytest.fixture(scope="module")
def fast() -> Iterator[ServerProcess]:
    with server("tcp://127.0.0.1:*") as running:
        yield running


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a policy folder that knows one task."""
    folder = named_policy(tmp_path_factory.mktemp("tiny") / "policy")
    with server("tcp://127.0.0.1:*", policy=folder) as running:
        yield running


_SLOW_SERVER = """
import sys, time, zmq
from runtime.net.sockets import HEARTBEAT_INTERVAL_MS, open_router, receive

with zmq.Context() as context, open_router(context, "tcp://127.0.0.1:*") as router:
    print(router.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    sys.stdin.readline()
    time.sleep(2.0 * HEARTBEAT_INTERVAL_MS / 1000.0)
    read = 0
    while router.poll(500):
        read += receive(router, identified=True) is not None
    print(read)
"""


def test_a_client_that_is_gone_before_a_busy_server_has_read_it_does_not_end_the_server() -> None:
    pipe, messages = subprocess.PIPE, 2 * QUEUE_MESSAGES_MAX
    with subprocess.Popen([sys.executable, "-c", _SLOW_SERVER], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            link.sendall(GREETING)
            link.recv(len(GREETING), socket.MSG_WAITALL)
            link.sendall(READY)
            link.recv(1)
            link.sendall(b"\x00\x03abc" * messages)
            time.sleep(0.2)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        said, _ = process.communicate("\n", timeout=30)
    assert (process.returncode, said) == (0, f"{messages}\n")


def test_an_observation_gives_the_chunk_of_its_own_request(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess
) -> None:
    with PlainClient(context, fast.endpoint) as client:
        welcome = client.hello()
        assert isinstance(welcome, wire.Welcome)
        assert (welcome.schema.horizon, welcome.schema.prefix_max) == (50, 25)
        client.ask(7, prefix=np.full((4, 14), 0.9, dtype=np.float32))
        chunk, arrays = client.answer()
        assert isinstance(chunk, wire.Chunk)
        assert (chunk.request_seq, chunk.obs_seq) == (7, 107)
        assert chunk.server_ns >= chunk.infer_ns > 0
        noise = np.random.default_rng((5, 7)).standard_normal((50, 14), dtype=np.float32)
        assert np.allclose(arrays["actions"][:4], 0.9)
        assert np.allclose(arrays["actions"][4:], 0.1 + NOISE_GAIN * noise[4:], atol=1e-6)
        assert np.allclose(arrays["object_state"], [10, 20, 30])


def test_the_same_request_gives_the_same_chunk_and_another_seed_another(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess
) -> None:
    with PlainClient(context, fast.endpoint) as client:
        client.hello()
        chunks = []
        for seed in (5, 5, 6):
            client.ask(7, seed=seed)
            chunks.append(client.answer()[1]["actions"])
        assert np.array_equal(chunks[0], chunks[1])
        assert not np.array_equal(chunks[0], chunks[2])


@pytest.mark.parametrize(
    ("change", "task", "part"),
    [
        ({"rate_hz": 25}, "transfer", "25 Hz"),
        ({"cameras": {"cam_high": (320, 240)}}, "transfer", "'cam_left_wrist'"),
        ({"joint_names": JOINT_NAMES[::-1]}, "transfer", "joint 0"),
        ({}, "juggle", "'juggle'; its tasks: transfer"),
    ],
)
def test_a_rig_or_task_that_does_not_fit_is_refused_before_any_motion(
    context: zmq.Context[zmq.Socket[bytes]], named: ServerProcess, change: dict[str, object], task: str, part: str
) -> None:
    rig = msgspec.structs.replace(rig_schema(load_rig("sim-x5")), **change)
    with PlainClient(context, named.endpoint) as client:
        client.send(wire.Hello(client="x", rig=rig, task=task))
        refused, _ = client.answer()
        assert isinstance(refused, wire.Refused)
        assert part in refused.reason


@pytest.mark.parametrize(
    ("replace", "part"),
    [
        ({"state": None}, "'state' is missing"),
        ({"state": np.zeros(7, dtype=np.float32)}, "'state' is f4 (7,); f4 (14,) was agreed"),
        ({"state": np.full(14, np.nan, dtype=np.float32)}, "'state' holds NaN"),
        ({"image/cam_high": np.zeros((240, 320), dtype=np.uint8)}, "'image/cam_high' is u1 (240, 320)"),
        ({"prefix": np.zeros((26, 14), dtype=np.float32)}, "prefix of 26 steps; at most 25"),
        ({"prefix": np.zeros((3, 7), dtype=np.float32)}, "'prefix' is f4 (3, 7)"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it_and_nothing_of_the_host(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess, replace: dict[str, object], part: str
) -> None:
    with PlainClient(context, fast.endpoint) as client:
        client.hello()
        client.ask(1, **replace)
        error, _ = client.answer()
        assert isinstance(error, wire.Error)
        assert (error.code, error.request_seq) == ("bad_request", 1)
        assert part in error.reason
        assert "/" not in error.reason.replace("image/", "")
        client.ask(2)
        assert isinstance(client.answer()[0], wire.Chunk)


def test_garbage_is_answered_and_a_healthy_client_beside_it_is_unharmed(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess
) -> None:
    rng = np.random.default_rng(0)
    with (
        PlainClient(context, fast.endpoint, "good") as good,
        PlainClient(context, fast.endpoint, "bad") as bad,
    ):
        good.hello()
        for _ in range(200):
            parts = [rng.bytes(int(rng.integers(0, 300))) for _ in range(int(rng.integers(1, 30)))]
            bad.socket.send_multipart(parts)
        good.ask(1)
        assert isinstance(good.answer()[0], wire.Chunk)
        error, _ = bad.answer()
        assert isinstance(error, wire.Error)


def test_a_request_without_a_session_is_sent_back_to_the_handshake(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess
) -> None:
    with PlainClient(context, fast.endpoint) as client:
        client.session = "s999"
        client.ask(1)
        error, _ = client.answer()
        assert isinstance(error, wire.Error)
        assert error.code == "no_session"


def test_one_at_a_time_newest_wins_and_none_is_answered_before_its_latency(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    with server(f"ipc://{tmp_path}/s", "constant:150") as slow, PlainClient(context, slow.endpoint) as client:
        client.hello()
        start = time.monotonic()
        client.ask(1)
        time.sleep(0.03)
        for seq in (2, 3):
            client.ask(seq)
        answers = [client.answer()[0] for _ in range(3)]
        elapsed = time.monotonic() - start
        assert isinstance(answers[0], wire.Superseded)
        assert answers[0].request_seq == 2
        first, third = answers[1:]
        assert isinstance(first, wire.Chunk)
        assert isinstance(third, wire.Chunk)
        assert (first.request_seq, third.request_seq) == (1, 3)
        assert first.server_ns >= 150e6
        assert third.server_ns >= 150e6
        assert elapsed >= 0.3  # the second was begun when the first had left


def test_a_request_whose_deadline_passed_in_the_queue_is_not_worked_on(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    with server(f"ipc://{tmp_path}/s", "constant:150") as slow, PlainClient(context, slow.endpoint) as client:
        client.hello()
        client.ask(1)
        time.sleep(0.03)
        client.ask(2, deadline_ms=20.0)
        answers = [client.answer()[0] for _ in range(2)]
        assert isinstance(answers[0], wire.Chunk)
        assert isinstance(answers[1], wire.Error)
        assert (answers[1].code, answers[1].request_seq) == ("expired", 2)


def test_two_rigs_take_turns(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    with (
        server(f"ipc://{tmp_path}/s", "constant:40") as slow,
        PlainClient(context, slow.endpoint, "a") as a,
        PlainClient(context, slow.endpoint, "b") as b,
    ):
        a.hello()
        b.hello()
        b.ask(1)
        for seq in range(1, 20):
            a.ask(seq)
        chunk, _ = b.answer()
        assert isinstance(chunk, wire.Chunk)


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_an_endpoint_in_use_is_one_clear_line(
    context: zmq.Context[zmq.Socket[bytes]], fast: ServerProcess, tmp_path: Path, kind: str
) -> None:
    endpoint = fast.endpoint if kind == "tcp" else f"ipc://{tmp_path}/s"
    first = None if kind == "tcp" else open_router(context, endpoint)
    with pytest.raises(LeadtimeError) as caught:
        open_router(context, endpoint)
    assert "is in use by another" in str(caught.value)
    assert "\n" not in str(caught.value)
    if first is not None:
        first.close()


def test_the_file_of_a_dead_ipc_server_does_not_block_the_next(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    with server(endpoint) as dead:
        dead.kill()
    assert (tmp_path / "s").exists()
    open_router(context, endpoint).close()


def test_a_file_at_the_path_of_an_endpoint_is_not_taken_for_a_dead_server_s(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    there = tmp_path / "notes.txt"
    there.write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt is there and is no socket; give a path of its own"):
        open_router(context, f"ipc://{there}")
    assert there.read_text() == "mine"
    with pytest.raises(DriverError, match="is no socket"):
        check_access(PoseLeader(endpoint=f"ipc://{there}"))


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.4:5555", "tcp://robot.local:5555"]
)
def test_a_server_that_other_hosts_could_reach_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="would serve other hosts"):
        check_endpoint(endpoint, bind=True)


@pytest.mark.parametrize(
    "endpoint", ["5555", "http://127.0.0.1:80", "tcp://127.0.0.1:70000", "tcp://127.0.0.1", "ipc://"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="endpoint"):
        check_endpoint(endpoint, bind=True)


def test_three_rigs_under_load_each_get_their_share(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    """Whoever asks more often than the others is not answered more often."""
    with server(f"ipc://{tmp_path}/s", "constant:20") as slow:
        rigs = [PlainClient(context, slow.endpoint, name) for name in "abc"]
        served = dict.fromkeys("abc", 0)
        for rig in rigs:
            rig.hello()
        asked = 0
        while sum(served.values()) < 30:
            for i, rig in enumerate(rigs):
                for _ in range(2 * i + 1):
                    asked += 1
                    rig.ask(asked)
                while rig.socket.poll(4):
                    served[rig.name] += isinstance(rig.answer()[0], wire.Chunk)
        for rig in rigs:
            rig.socket.close()
    assert min(served.values()) >= max(served.values()) - 3


def test_a_cancelled_request_that_waits_is_not_worked_on(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    with server(f"ipc://{tmp_path}/s", "constant:150") as slow, PlainClient(context, slow.endpoint) as client:
        client.hello()
        client.ask(1)
        time.sleep(0.03)
        client.ask(2)
        client.send(wire.Cancel(session=client.session, request_seq=2))
        assert isinstance(client.answer()[0], wire.Chunk)
        client.ask(3)
        third, _ = client.answer()
        assert isinstance(third, wire.Chunk)
        assert third.request_seq == 3


def test_a_cancelled_request_that_is_being_worked_on_is_not_answered(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    with server(f"ipc://{tmp_path}/s", "constant:700") as slow, PlainClient(context, slow.endpoint) as client:
        client.hello()
        client.ask(1)
        time.sleep(0.1)
        client.send(wire.Cancel(session=client.session, request_seq=1))
        client.ask(2)
        second, _ = client.answer()
        assert isinstance(second, wire.Chunk)
        assert second.request_seq == 2
        # It was taken up long before the first would have been answered.
        assert second.queue_ns < second.server_ns / 2


def test_who_floods_keeps_nobody_from_an_answer(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def flood(_router: object, identified: bool) -> tuple[bytes, list[Buffer]]:
        nonlocal read
        read += 1
        assert read <= mail.MESSAGES_PER_TURN, "it reads on and on"
        return b"me", [b"x"]

    monkeypatch.setattr(mail, "receive", flood)
    with open_router(context, f"ipc://{tmp_path}/s") as router:
        Mail(router, SessionTable(), lambda _sender, frames: frames).turn(lambda: False, None, None)
    assert read == mail.MESSAGES_PER_TURN


_LOADS = """
import sys
import time

from runtime.cli import Serve
from runtime.commands.serve import serve
from runtime.inference import lerobot_host
from runtime.inference.server import local, openpi_server


def load(*_, **__):
    print("loading", flush=True)
    time.sleep(60.0)


lerobot_host._load = local.load_sampler = openpi_server.load_sampler = load
if sys.argv[1] == "lerobot":
    lerobot_host.main(["--policy", "act", "--bind", "tcp://127.0.0.1:*"])
else:
    serve(Serve(policy=sys.argv[2], protocol=sys.argv[1], bind="tcp://127.0.0.1:*"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("protocol", ["leadtime", "openpi", "lerobot"])
def test_a_server_that_still_loads_ends_when_it_is_told_to(protocol: str, number: signal.Signals) -> None:
    """To build an engine takes minutes, and so does a peer that compiles its model on the first request."""
    command = [sys.executable, "-c", _LOADS, protocol, str(TINY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "loading\n"
            process.send_signal(number)
            assert process.communicate(timeout=10.0) == ("", "")
        finally:
            process.kill()
    assert process.returncode == -number


_FREEZE = """
import gc
import sys

from runtime.inference.sampler import Sampler
from runtime.inference.server.load import loader
from runtime.inference.server.openpi_server import serve_openpi
from runtime.inference.server.server import serve_model

frozen, warm_up = [], Sampler.warm_up


def warmed(sampler):
    taken_ns = warm_up(sampler)
    frozen.append(gc.get_freeze_count())
    return taken_ns


Sampler.warm_up = warmed
server, policy = {
    "leadtime": (serve_model, loader(sys.argv[2])),
    "openpi": (serve_openpi, sys.argv[2]),
}[sys.argv[1]]
ready = lambda line: frozen.append(gc.get_freeze_count())
server(policy, bind="tcp://127.0.0.1:*", stop=lambda: True, on_ready=ready)
print(*frozen)
"""


@pytest.mark.parametrize("protocol", ["leadtime", "openpi"])
def test_what_a_warm_server_holds_is_kept_from_the_garbage_collector(protocol: str) -> None:
    """Frozen after the warm-up, which makes what is to be kept, and before a client is answered."""
    command = [sys.executable, "-c", _FREEZE, protocol, str(TINY)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    *warming, ready = [int(word) for word in ended.stdout.split()]
    assert warming
    assert max(warming) < 1000 < ready


class Noting:
    """Notes which threads call what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: dict[str, set[threading.Thread]] = {}
        self._patch = monkeypatch
        # This process goes on.
        monkeypatch.setattr(gc, "freeze", lambda: None)

    def note(self, where: Any, name: str) -> None:
        """Note the callers of a function from now on, and who takes each part of what it yields."""
        function, seen = getattr(where, name), self.threads.setdefault(name, set())

        def noted(*arguments: Any, **keywords: Any) -> Any:
            seen.add(threading.current_thread())
            result = function(*arguments, **keywords)
            return parts(result) if isinstance(result, Iterator) else result

        def parts(result: Iterator[Any]) -> Iterator[Any]:
            for part in result:
                seen.add(threading.current_thread())
                yield part

        self._patch.setattr(where, name, noted)

    def serve(self, server: Callable[..., None], policy: Any, requests: int) -> None:
        """Serve two clients meanwhile, each of which asks anew while the other's chunk is made."""
        ended, ready = threading.Event(), queue.Queue[str]()
        how = {"bind": "tcp://127.0.0.1:*", "stop": ended.is_set, "on_ready": ready.put}
        thread = threading.Thread(target=server, args=(policy,), kwargs=how)
        thread.start()
        try:
            where = ready.get(timeout=10.0).partition(" on ")[2].partition(" : ")[0]
            with zmq.Context() as context, ExitStack() as stack:
                clients = [stack.enter_context(PlainClient(context, where, name)) for name in ("one", "two")]
                for client in clients:
                    assert isinstance(client.hello(), wire.Welcome)
                for seq in range(requests):
                    for client in clients:
                        client.ask(seq)
                    for client in clients:
                        assert isinstance(client.answer()[0], wire.Chunk)
        finally:
            ended.set()
            thread.join()
        assert set.union(*self.threads.values()) == {thread}
        assert all(self.threads.values())


def test_a_model_is_loaded_warmed_up_and_run_in_the_one_thread_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph is one thread's, and on a GPU ONNX Runtime keeps a context for every thread that ran a model."""
    noting = Noting(monkeypatch)
    noting.note(local, "load_sampler")
    for name in ("warm_up", "sample", "stream"):
        noting.note(Sampler, name)
    for name in ("__init__", "infer"):
        noting.note(OnnxBackend, name)
    noting.serve(serve_model, loader(str(TINY)), requests=3)


def test_a_model_that_gives_its_chunk_in_parts_writes_each_in_that_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    noting = Noting(monkeypatch)
    for name in ("__init__", "stream"):
        noting.note(streaming.Writer, name)
    noting.serve(serve_model, lambda _median_ms: streaming.policy(), requests=2)
