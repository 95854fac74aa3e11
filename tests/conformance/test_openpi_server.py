"""`leadtime serve --protocol openpi`: programs written for openpi's client are served, and nobody is harmed."""

from __future__ import annotations

import errno
import http.client
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from runtime.errors import LeadtimeError, UsageError
from runtime.inference.adapters.openpi import OpenPi
from runtime.inference.policy import load_policy
from runtime.inference.sampler import Sampler, load_sampler
from runtime.inference.server import openpi_server
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.openpi_server import CLIENTS_MAX, Front, serve_openpi
from runtime.layout import CAMERAS
from tests.conformance.emulators.numpy_msgpack import packb, unpackb
from tests.conformance.suite import ANSWER_S, PROMPT, question
from tests.process.harness import leadtime
from tests.process.serving import TINY

HORIZON = 50
NOISE = 0.01
STATE = np.full(14, 0.1, dtype=np.float32)


class Served:
    """A server of the tiny policy in a process of its own."""

    def __init__(self, *arguments: str, bind: str = "tcp://127.0.0.1:*") -> None:
        command = [sys.executable, "-m", "runtime", "serve", "--policy", str(TINY), "--protocol", "openpi"]
        self.process = subprocess.Popen(
            [*command, "--bind", bind, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        found = re.search(r"ws://[0-9.]+:(\d+)", self.process.stdout.readline())
        assert found is not None
        self.port = int(found[1])

    def close(self) -> tuple[int, str]:
        """Ask it to end; return its exit status and what it said on stderr."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=ANSWER_S)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served()
    yield running
    assert running.close() == (0, "")


def joined(port: int, host: str = "127.0.0.1", **keywords: Any) -> ClientConnection:
    return connect(f"ws://{host}:{port}", compression=None, max_size=None, proxy=None, legacy=True, **keywords)


def observation(**replace: Any) -> dict[str, Any]:
    images = {name: np.full((3, 224, 224), 90, dtype=np.uint8) for name in CAMERAS}
    whole = {"state": STATE, "images": images, "prompt": PROMPT, **replace}
    return {name: value for name, value in whole.items() if value is not None}


def asked(client: ClientConnection, **replace: Any) -> dict[str, Any]:
    client.send(packb(observation(**replace)))
    answer = client.recv(timeout=ANSWER_S)
    assert isinstance(answer, bytes), answer
    result: dict[str, Any] = unpackb(answer)
    return result


def test_metadata_then_a_result_for_each_observation(served: Served) -> None:
    with joined(served.port) as client:
        hello = client.recv(timeout=ANSWER_S)
        assert isinstance(hello, bytes)
        metadata = unpackb(hello)
        assert (metadata["action_horizon"], metadata["image_resolution"]) == (HORIZON, [240, 320])
        first, second = asked(client), asked(client, state=STATE + 0.2)
    assert (first["actions"].shape, first["actions"].dtype) == ((HORIZON, 14), np.float32)
    assert np.abs(first["actions"] - 0.1).max() < NOISE
    assert np.abs(second["actions"] - 0.3).max() < NOISE
    assert np.allclose(second["state"], 0.3)
    assert first["policy_timing"]["infer_ms"] > 0
    assert set(first["server_timing"]) == {"infer_ms"}
    assert second["server_timing"]["prev_total_ms"] >= first["policy_timing"]["infer_ms"]


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_the_genuine_client_is_served(served: Served) -> None:
    name = "openpi_client.websocket_client_policy"
    client = pytest.importorskip(name, reason="openpi-client is not installed").WebsocketClientPolicy(
        host="127.0.0.1", port=served.port
    )
    try:
        assert client.get_server_metadata()["joint_names"][0] == "left_joint1"
        result = client.infer(observation())
        assert np.abs(result["actions"] - 0.1).max() < NOISE
    finally:
        client._ws.close()


def test_our_own_adapter_is_served(served: Served) -> None:
    adapter = OpenPi(f"ws://127.0.0.1:{served.port}")
    try:
        assert adapter.open(ANSWER_S).horizon == HORIZON
        asked_about = question(3)
        reply = adapter.infer(asked_about)
        assert np.abs(reply.actions - asked_about.view.position).max() < NOISE
    finally:
        adapter.close()


def test_float_pictures_and_pictures_with_channels_last_are_taken(served: Served) -> None:
    with joined(served.port) as client:
        client.recv(timeout=ANSWER_S)
        images = {
            "cam_high": np.full((240, 320, 3), 90, dtype=np.uint8),
            "cam_left_wrist": np.full((3, 100, 50), 0.4, dtype=np.float32),
            "cam_right_wrist": np.full((3, 224, 224), 90, dtype=np.uint8),
        }
        assert asked(client, images=images)["actions"].shape == (HORIZON, 14)


IMAGE = np.zeros((3, 224, 224), dtype=np.uint8)
BAD: dict[str, tuple[Any, str]] = {
    "text": ("hello", "a text"),
    "garbage": (b"\xc1", "0xc1"),
    "cut": (packb(observation())[:-9], "cut short"),
    "no map": (packb([1, 2]), "no map"),
    "no state": (packb(observation(state=None)), "'state'"),
    "short state": (packb(observation(state=STATE[:7])), r"shape \(7,\)"),
    "not finite": (packb(observation(state=STATE * np.nan)), "NaN"),
    "words": (packb(observation(state="standing")), "'state' is no row"),
    "no picture": (packb(observation(images={"cam_high": IMAGE})), "'cam_left_wrist'"),
    "flat picture": (packb(observation(images=dict.fromkeys(CAMERAS, IMAGE[0]))), r"shape \(224, 224\)"),
    "wide picture": (packb(observation(images=dict.fromkeys(CAMERAS, IMAGE.astype(np.int64)))), "uint8 is needed"),
    "empty picture": (packb(observation(images=dict.fromkeys(CAMERAS, IMAGE[:, :0]))), "a side"),
    "objects": (
        packb(observation(state={b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [14]})),
        "not taken",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_request_is_answered_by_one_line_and_harms_nobody_else(served: Served, how: str) -> None:
    message, part = BAD[how]
    with joined(served.port) as healthy, joined(served.port) as client:
        healthy.recv(timeout=ANSWER_S)
        client.recv(timeout=ANSWER_S)
        client.send(message)
        said = client.recv(timeout=ANSWER_S)
        assert isinstance(said, str)
        assert re.search(part, said)
        assert "\n" not in said
        assert "Traceback" not in said
        assert str(Path.cwd()) not in said
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(timeout=ANSWER_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert asked(healthy)["actions"].shape == (HORIZON, 14)


def test_clients_that_ask_in_turn_get_their_own_answers(served: Served) -> None:
    with joined(served.port) as one, joined(served.port) as two, joined(served.port) as three:
        clients = (one, two, three)
        for i, client in enumerate(clients):
            client.recv(timeout=ANSWER_S)
            client.send(packb(observation(state=STATE * (i + 1))))
        for i, client in enumerate(clients):
            answer = client.recv(timeout=ANSWER_S)
            assert isinstance(answer, bytes)
            assert np.abs(unpackb(answer)["actions"] - 0.1 * (i + 1)).max() < NOISE


class Gone:
    """A connection whose client is gone already."""

    def __init__(self) -> None:
        self.socket = self
        self.code = 0

    def setsockopt(self, *_: Any) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def close(self, code: int, _reason: str) -> None:
        self.code = code


def test_a_client_that_is_gone_before_it_is_served_leaves_its_place_to_others() -> None:
    front = Front(load_policy(str(TINY)), {}, parse_latency("none"), ThreadPoolExecutor(1))
    for _ in range(CLIENTS_MAX + 1):
        gone: Any = Gone()
        with pytest.raises(OSError, match="not connected"):
            front.handle(gone)
        assert gone.code == 0


@contextmanager
def serving(**options: Any) -> Iterator[int]:
    """Serve the tiny policy in this process meanwhile, on the port that is given."""
    ended, lines = threading.Event(), queue.Queue[str]()
    options |= {"stop": ended.is_set, "on_ready": lines.put}
    thread = threading.Thread(
        target=serve_openpi, args=(str(TINY),), kwargs={"bind": "tcp://127.0.0.1:*", **options}, name="server"
    )
    thread.start()
    try:
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", lines.get(timeout=ANSWER_S))
        assert found is not None
        yield int(found[1])
    finally:
        ended.set()
        thread.join(ANSWER_S)
        assert not thread.is_alive()


def test_a_model_is_loaded_warmed_up_and_run_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[threading.Thread]] = {}

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **keywords: Any) -> Any:
            seen.setdefault(function.__name__, set()).add(threading.current_thread())
            return function(*arguments, **keywords)

        return noted

    monkeypatch.setattr(openpi_server, "load_sampler", noting(load_sampler))
    monkeypatch.setattr(Sampler, "warm_up", noting(Sampler.warm_up))
    monkeypatch.setattr(Sampler, "sample", noting(Sampler.sample))
    with serving() as port:
        for _ in range(3):
            with joined(port) as client:
                client.recv(timeout=ANSWER_S)
                asked(client)
    assert seen.keys() == {"load_sampler", "warm_up", "sample"}
    (thread,) = set.union(*seen.values())
    assert not thread.is_alive()


def test_a_model_that_fails_ends_the_connection_and_answers_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as port, joined(port) as client:
        client.recv(timeout=ANSWER_S)
        with monkeypatch.context() as failing:
            failing.setattr(Sampler, "sample", lambda *_: 1 // 0)
            client.send(packb(observation()))
            assert client.recv(timeout=ANSWER_S) == "the model failed"
        assert "ZeroDivisionError" in caplog.text
        with joined(port) as other:
            other.recv(timeout=ANSWER_S)
            assert asked(other)["actions"].shape == (HORIZON, 14)


def test_a_model_that_fails_while_it_warms_up_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sampler, "sample", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        serve_openpi(str(TINY), bind="tcp://127.0.0.1:*")


def test_an_answer_that_is_held_back_keeps_no_server_from_its_end() -> None:
    with serving(latency="constant:60000") as port, joined(port) as one, joined(port) as two:
        for client in (one, two):
            client.recv(timeout=ANSWER_S)
            client.send(packb(observation()))
        with pytest.raises(TimeoutError):
            one.recv(timeout=0.2)


def test_requests_that_wait_for_the_model_keep_no_server_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, begun = Sampler.sample, queue.Queue[int]()
    with ExitStack() as stack, serving() as port:

        def slowly(*arguments: Any) -> Any:
            begun.put(1)
            time.sleep(0.3)
            return sample(*arguments)

        monkeypatch.setattr(Sampler, "sample", slowly)
        for client in [stack.enter_context(joined(port)) for _ in range(6)]:
            client.recv(timeout=ANSWER_S)
            client.send(packb(observation()))
        begun.get(timeout=ANSWER_S)
    assert begun.qsize() <= 2


def test_health_is_answered_over_http(served: Served) -> None:
    asker = http.client.HTTPConnection("127.0.0.1", served.port, timeout=ANSWER_S)
    try:
        asker.request("GET", "/healthz")
        answer = asker.getresponse()
        assert (answer.status, answer.read()) == (200, b"OK\n")
    finally:
        asker.close()


def test_a_web_page_may_not_connect(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        joined(served.port, origin="http://example.org")
    assert refused.value.response.status_code == 403


def test_answers_are_held_back_to_the_latency_profile() -> None:
    slow = Served("--latency", "constant:120")
    try:
        with joined(slow.port) as client:
            client.recv(timeout=ANSWER_S)
            before_s = time.monotonic()
            asked(client)
            assert time.monotonic() - before_s >= 0.12
    finally:
        assert slow.close() == (0, "")


def test_only_this_host_is_served_and_a_taken_port_is_said(served: Served) -> None:
    for any_host in ("tcp://0.0.0.0:8000", "tcp://*:8000", "tcp://[::]:8000"):
        with pytest.raises(UsageError, match=r"would serve other hosts, .* with --insecure"):
            serve_openpi(str(TINY), bind=any_host)
    with pytest.raises(UsageError, match="needs a port"):
        serve_openpi(str(TINY), bind="ipc://@openpi")
    with pytest.raises(LeadtimeError, match="in use"):
        serve_openpi(str(TINY), bind=f"tcp://127.0.0.1:{served.port}")


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:*", "tcp://*:*"])
def test_other_hosts_are_served_where_that_is_accepted(bind: str) -> None:
    open_to_all = Served("--insecure", bind=bind)
    try:
        with joined(open_to_all.port, host="127.0.0.2") as client:
            client.recv(timeout=ANSWER_S)
            asked(client)
    finally:
        assert open_to_all.close() == (0, "")


def test_keys_are_for_our_own_protocol(tmp_path: Path) -> None:
    done = leadtime("serve", "--policy", str(TINY), "--protocol", "openpi", "--keys", str(tmp_path))
    assert (done.returncode, done.stderr.strip()) == (2, "leadtime: --protocol openpi has no keys; leave out --keys")


def test_a_policy_that_reads_the_objects_is_not_served() -> None:
    with pytest.raises(UsageError, match="objects' state"):
        serve_openpi("demo-state", bind="tcp://127.0.0.1:*")
