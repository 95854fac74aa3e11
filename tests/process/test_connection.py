"""The client's connection: it learns at once that a server died, comes back by itself, and takes a no."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from runtime.clock import NS_PER_MS, MonotonicClock
from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.client.carrier import FIRST_PROBE_BYTES
from runtime.inference.client.connection import (
    BACKOFF_MAX_NS,
    CORRUPT_MAX,
    HANDSHAKE_NS,
    SILENCE_NS,
    Connection,
    Inbound,
)
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import load_policy
from runtime.net.frames import Buffer
from runtime.net.sockets import open_router, receive
from runtime.states import Carriage, Link
from tests.process.serving import TINY, PlainClient, observation, server

CLOCK = MonotonicClock()
PATIENCE_S = 20.0


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


def turn(connection: Connection, until: Callable[[], bool], ahead_ns: int = 0) -> list[Inbound]:
    """Step the connection, its time ahead of the clock, until something holds; returns all that came meanwhile."""
    end = time.monotonic() + PATIENCE_S
    inbound: list[Inbound] = []
    while not until():
        assert time.monotonic() < end, f"still {connection.link.name}: {connection.text}"
        inbound += connection.step(CLOCK.now_ns() + ahead_ns)
        connection.wait(5)
    return inbound


def connect(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, rig: str = "sim-x5") -> Connection:
    return Connection(context, endpoint, rig_schema(load_rig(rig)), "transfer", "hand it over")


class StandIn:
    """A server that says what a test tells it to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.router = open_router(context, endpoint)
        self.sender = b""

    def hears(self, kind: type[wire.Message]) -> bool:
        received = receive(self.router, identified=True)
        if received is None:
            return False
        self.sender = received[0]
        return isinstance(wire.decode(received[1])[0], kind)

    def says(self, *frames: Buffer) -> None:
        self.router.send_multipart([self.sender, *frames])

    def welcomes(self, horizon: int = 50, latency_ms: float = 0.0, decodes: tuple[str, ...] = ()) -> None:
        agreed = policy_schema(load_policy(str(TINY)), "transfer", latency_ms)
        schema = msgspec.structs.replace(agreed, horizon=horizon)
        self.says(*wire.encode(wire.Welcome(session="s1", schema=schema, decodes=decodes)))


def seen(connection: Connection) -> wire.ArrayMap:
    """An observation as a rig's sensors keep it."""
    gallery = connection.gallery
    assert gallery is not None
    return {
        name: gallery.take(name.removeprefix("image/"), array, 0) if name.startswith("image/") else array
        for name, array in observation().items()
    }


def test_it_comes_up_before_its_server_and_survives_its_death(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    connection = connect(context, endpoint)
    connection.step(CLOCK.now_ns())
    connection.step(CLOCK.now_ns())
    assert connection.link is Link.CONNECTING
    with server(endpoint) as first:
        turn(connection, lambda: connection.link is Link.READY)
        agreed = connection.schema
        first.kill()
        turn(connection, lambda: connection.link is Link.LOST)
        assert "lost the connection" in connection.text
        assert not connection.send(wire.Ping(session="s1"), {}, CLOCK.now_ns())
    with server(endpoint):
        turn(connection, lambda: connection.link is Link.READY)
        assert agreed is not None
        assert connection.schema is not None
        assert connection.schema.cameras == agreed.cameras
        assert connection.reconnects > 0
    connection.close()


@pytest.mark.parametrize(
    ("endpoint", "way"),
    [
        ("ipc://@{name}", Carriage.SHARED),
        ("tcp://127.0.0.1:*", Carriage.SHARED),
        ("ipc://@{name}?pictures=raw", Carriage.RAW),
        ("ipc://@{name}?pictures=jpeg", Carriage.JPEG),
    ],
)
def test_pictures_go_as_the_link_has_it_and_every_way_gives_the_same_chunk(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, way: Carriage
) -> None:
    address, mark, query = endpoint.format(name=f"leadtime-test-{uuid.uuid4().hex}").partition("?")
    with server(address) as running:
        connection = connect(context, running.endpoint + mark + query)
        turn(connection, lambda: connection.link is Link.READY)
        assert connection.carriage is way
        assert connection.schema is not None
        for seq in range(1, 8):
            asked = wire.Infer(session=connection.session, request_seq=seq, obs_seq=seq, deadline_ms=10_000.0, seed=5)
            frames = connection.pack(asked, seen(connection), CLOCK.now_ns())
            assert (sum(map(len, frames)) < observation()["image/cam_high"].nbytes) is (way is not Carriage.RAW)
            assert connection.put(frames, CLOCK.now_ns())
            inbound: list[Inbound] = []
            while not inbound:
                inbound = turn(connection, lambda: True) + connection.step(CLOCK.now_ns())
            chunk, arrays = inbound[0]
            assert isinstance(chunk, wire.Chunk), chunk
            assert chunk.request_seq == seq
            noise = np.random.default_rng((5, seq)).standard_normal((50, 14), dtype=np.float32)
            assert np.allclose(arrays["actions"], 0.1 + 0.001 * noise, atol=1e-6)
            assert np.allclose(arrays["object_state"], [10, 20, 30], atol=2.0)
        connection.close()


def test_a_rig_whose_lane_is_gone_is_answered_all_the_same(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with server(f"ipc://@leadtime-test-{uuid.uuid4().hex}") as running:
        connection = connect(context, running.endpoint)
        turn(connection, lambda: connection.link is Link.READY)
        carrier = connection._carrier
        assert carrier is not None
        lane, dealer = carrier.lane, connection._dealer
        assert lane is not None
        assert dealer is not None
        for seq, gone in ((1, False), (2, True)):
            if gone:
                lane.close()
                carrier._lane = None
            asked = wire.Infer(session=connection.session, request_seq=seq, obs_seq=seq, deadline_ms=10_000.0)
            assert connection.send(asked, seen(connection), CLOCK.now_ns())
            assert bool(dealer.poll(10_000 if gone else 200)) is gone
            inbound = turn(connection, lambda: True)
            while not inbound:
                inbound = connection.step(CLOCK.now_ns())
            assert isinstance(inbound[0][0], wire.Chunk)
        connection.close()


def test_what_comes_by_a_lane_and_is_no_message_harms_nobody(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    rng = np.random.default_rng(0)
    with (
        server(f"ipc://@leadtime-test-{uuid.uuid4().hex}") as running,
        PlainClient(context, running.endpoint) as healthy,
    ):
        healthy.hello()
        connection = connect(context, running.endpoint)
        turn(connection, lambda: connection.link is Link.READY)
        carrier = connection._carrier
        assert carrier is not None
        lane = carrier.lane
        assert lane is not None
        whole = b"".join(wire.encode(wire.Ping(session=connection.session)))
        ended, sent = threading.Event(), 0

        def flood(raw: socket.socket) -> None:
            nonlocal sent
            while not ended.is_set():
                random = rng.bytes(int(rng.integers(1, 300)))
                packet = bytearray(random if sent % 2 else struct.pack("<II", 1, len(whole)) + whole)
                packet[int(rng.integers(len(packet)))] ^= 1 << int(rng.integers(8))
                raw.send(packet)
                sent += 1
                while lane.receive() is not None:
                    pass

        with socket.socket(fileno=os.dup(lane.fileno())) as raw:
            thread = threading.Thread(target=flood, args=(raw,))
            thread.start()
            try:
                for seq in range(1, 101):
                    healthy.ask(seq)
                    chunk, _ = healthy.answer()
                    assert isinstance(chunk, wire.Chunk), chunk
                    assert chunk.request_seq == seq
            finally:
                ended.set()
                thread.join()
        assert sent > 100
        connection.close()


def test_pictures_in_memory_that_was_not_handed_over_are_refused_to_their_sender(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    with server("tcp://127.0.0.1:*") as running, PlainClient(context, running.endpoint) as client:
        client.hello()
        place = wire.ArrayPlace("image/cam_high", (4, 4, 3), 0)
        client.send(wire.Infer(session=client.session, request_seq=3, obs_seq=3, deadline_ms=100.0, shared=(place,)))
        error, _ = client.answer()
        assert isinstance(error, wire.Error)
        assert (error.code, error.request_seq) == ("bad_request", 3)
        assert "none was handed over" in error.reason


@pytest.mark.parametrize("name", ["jpeg/cam_high", "state", "key_tick"])
def test_nothing_but_pixels_is_read_from_memory_that_a_rig_may_write_to_meanwhile(
    context: zmq.Context[zmq.Socket[bytes]], name: str
) -> None:
    with server("tcp://127.0.0.1:*") as running:
        connection = connect(context, running.endpoint)
        turn(connection, lambda: connection.link is Link.READY)
        place = wire.ArrayPlace(name, (1, 56), 0)
        asked = wire.Infer(session=connection.session, request_seq=1, obs_seq=1, deadline_ms=10_000.0, shared=(place,))
        assert connection.put(wire.encode(asked), CLOCK.now_ns())
        inbound: list[Inbound] = []
        while not inbound:
            inbound = turn(connection, lambda: True) + connection.step(CLOCK.now_ns())
        error = inbound[0][0]
        assert isinstance(error, wire.Error)
        assert error.reason == f"array {name!r} in shared memory; image/CAMERA may lie there, nothing else"
        connection.close()


def test_a_refusal_is_final_and_carries_the_reason(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    rig = msgspec.structs.replace(rig_schema(load_rig("sim-x5")), rate_hz=25)
    with server(f"ipc://{tmp_path}/s") as running:
        connection = Connection(context, running.endpoint, rig, "transfer")
        turn(connection, lambda: connection.link is Link.REFUSED)
        assert "50 Hz" in connection.text
        for _ in range(5):
            assert connection.step(CLOCK.now_ns() + 10 * BACKOFF_MAX_NS) == []
        assert connection.link is Link.REFUSED
    connection.close()


def test_a_server_that_comes_back_with_another_schema_is_refused(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    for horizon in (50, 32):
        turn(connection, lambda: stand_in.hears(wire.Hello))
        stand_in.welcomes(horizon)
        turn(connection, lambda: connection.link in {Link.READY, Link.REFUSED})
        if horizon == 50:
            connection.drop(CLOCK.now_ns(), "test")
    assert connection.link is Link.REFUSED
    assert "another policy or schema" in connection.text
    connection.close()
    stand_in.router.close()


@pytest.mark.parametrize("latency_ms", [np.nan, np.inf, 1e300, -1.0])
def test_a_welcome_that_is_out_of_bounds_is_said_and_the_next_is_taken(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path, latency_ms: float
) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    turn(connection, lambda: stand_in.hears(wire.Hello))
    stand_in.welcomes(latency_ms=latency_ms)
    turn(connection, lambda: "answers the handshake with what is not understood" in connection.text)
    assert connection.text.endswith("- at `$.schema.latency_ms`")
    assert (connection.link, connection.schema) == (Link.CONNECTING, None)
    turn(connection, lambda: stand_in.hears(wire.Hello))
    stand_in.welcomes(latency_ms=80.0)
    turn(connection, lambda: connection.link is Link.READY)
    connection.close()
    stand_in.router.close()


def test_three_messages_in_a_row_that_make_no_sense_end_the_session(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    turn(connection, lambda: stand_in.hears(wire.Hello))
    stand_in.welcomes()
    turn(connection, lambda: connection.link is Link.READY)
    whole = wire.encode(wire.Error(code="bad_request", reason="of what was asked"))
    for frames in ([b"\xff"], [b"\xff"], whole, [b"\xff"], [b"\xff"]):
        stand_in.says(*frames)
    inbound: list[Inbound] = []
    while len(inbound) < 2 * (CORRUPT_MAX - 1) + 1:
        inbound += turn(connection, lambda: True) + connection.step(CLOCK.now_ns())
    assert [message is None for message, _ in inbound] == [True, True, False, True, True]
    assert connection.link is Link.READY
    # A short message that comes whole says nothing of the long ones.
    stand_in.says(*wire.encode(wire.Pong(session="s1")))
    stand_in.says(b"\xff")
    turn(connection, lambda: connection.link is Link.LOST)
    connection.close()
    stand_in.router.close()


def test_a_session_that_the_server_forgot_is_opened_anew(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    turn(connection, lambda: stand_in.hears(wire.Hello))
    stand_in.welcomes()
    turn(connection, lambda: connection.link is Link.READY)
    stand_in.says(*wire.encode(wire.Error(code="no_session", reason="who?")))
    turn(connection, lambda: connection.link is Link.LOST)
    turn(connection, lambda: stand_in.hears(wire.Hello))
    connection.close()
    stand_in.router.close()


def test_the_pauses_between_attempts_double_up_to_a_bound(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    turn(connection, lambda: stand_in.hears(wire.Hello))
    now_ns = CLOCK.now_ns()
    for pause_ms in (50, 100, 200, 400, 800, 1000, 1000):
        connection.drop(now_ns, "test")
        connection.step(now_ns + pause_ms * NS_PER_MS - 1)
        assert not stand_in.router.poll(10)
        now_ns += pause_ms * NS_PER_MS
        connection.step(now_ns)
        assert stand_in.router.poll(1000 * PATIENCE_S)
        assert stand_in.hears(wire.Hello)
    connection.close()
    stand_in.router.close()


def test_a_link_that_is_lost_while_it_is_measured_is_not_measured_again(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    stand_in = StandIn(context, "tcp://127.0.0.1:*")
    endpoint = stand_in.router.getsockopt_string(zmq.LAST_ENDPOINT)
    connection = connect(context, endpoint)
    turn(connection, lambda: stand_in.hears(wire.Hello))
    stand_in.welcomes(decodes=("jpeg",))
    loads: list[int] = []

    def choked() -> bool:
        received = receive(stand_in.router, identified=True)
        if received is not None:
            loads.append(sum(len(frame) for frame in received[1][1:]))
            if loads[-1] <= FIRST_PROBE_BYTES:
                stand_in.says(*wire.encode(wire.Pong(session="s1")))
        return bool(loads) and loads[-1] > FIRST_PROBE_BYTES

    turn(connection, choked)
    stand_in.router.close(0)
    turn(connection, lambda: connection.link is Link.LOST)

    def comes_back() -> StandIn:
        server = StandIn(context, endpoint)
        turn(connection, lambda: server.hears(wire.Hello))
        server.welcomes(decodes=("jpeg",))
        return server

    # Nor once it has been lost again, for another reason.
    for _ in range(2):
        stand_in = comes_back()
        turn(connection, lambda: connection.link is Link.READY)
        assert connection.carriage is Carriage.JPEG
        assert connection.pictures == "pictures as JPEG (the link was lost while it was measured)"
        stand_in.router.close(0)
        turn(connection, lambda: connection.link is Link.LOST)
    connection.close()


def test_a_server_that_says_nothing_is_left(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    stand_in = StandIn(context, f"ipc://{tmp_path}/s")
    connection = connect(context, f"ipc://{tmp_path}/s")
    turn(connection, lambda: stand_in.hears(wire.Hello))
    connection.step(CLOCK.now_ns() + HANDSHAKE_NS)
    assert "does not answer the handshake" in connection.text
    turn(connection, lambda: stand_in.hears(wire.Hello), HANDSHAKE_NS)
    stand_in.welcomes()
    turn(connection, lambda: connection.link is Link.READY, HANDSHAKE_NS)
    connection.step(CLOCK.now_ns() + HANDSHAKE_NS + SILENCE_NS)
    assert connection.link is Link.LOST
    assert "is silent" in connection.text
    connection.close()
    stand_in.router.close()
