"""`python -m tests.fuzz.wire --messages N [--seed S] [--served own|peer]`: a policy server under N malformed messages.

A real server process, of a policy of our own files or of a stand-in for a peer with a memory, real sockets, memory that
is handed over, and a healthy client in a process of its own that shares its memory and asks for chunks all the while.
The server must live, answer every sender in the protocol, name what is wrong with a request and say nothing of its
host, keep its memory and its open files, and give the healthy client every chunk that it asks for.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.client.gallery import Gallery
from runtime.inference.door import Knock
from runtime.inference.handshake import rig_schema
from runtime.net.frames import Buffer
from runtime.net.lane import Lane, LaneClosedError, new_pair
from runtime.net.sockets import receive
from tests.fuzz.messages import Malformer
from tests.fuzz.requests import memory
from tests.fuzz.storm import ROOT, Report, bystander
from tests.fuzz.stray import stray, stray_knock
from tests.process.serving import PlainClient, ServerProcess, server

SENDERS: Final = 4
STRAY_EVERY: Final = 500
RECONNECT_EVERY: Final = 2000
DRAIN_EVERY: Final = 8
WARM_UP: Final = 10_000
"""Messages before memory is measured for the first time: pools and caches are full by then."""
SETTLE: Final = 2**61
"""Request numbers from here on, which no message of the storm has, find out whether all before them was read."""
PATIENCE_S: Final = 60.0
HOST_WORDS: Final = ("Traceback", "File ", ".py", "site-packages", str(Path.home()), str(ROOT))
NOT_HANDED_OVER: Final = "none was handed over for this session"
"""Whatever else is wrong with places: the memory comes by another way than the requests about it."""
ANSWERS: Final = (wire.Welcome, wire.Refused, wire.Chunk, wire.Superseded, wire.Error, wire.Pong)
SERVED: Final[dict[str, tuple[str | None, float]]] = {"own": (None, 0.001), "peer": ("tests.fuzz.remembering", 0.0)}
"""What is served -> the module that stands in for the server, if any, and how much of the noise is in its actions."""
GIVEN_BACK: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "8192", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Has glibc (mallopt(3)) give memory back at once, so that what a process has is what it holds on to."""


class Sender:
    """One connection that sends what it is given, however slowly the server takes it, and reads every answer.

    It hands `gallery` over for each session that it is given, and sends every other message by the lane that it has
    then. `about` is what a refusal has to name, by the number of the request.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        name: str,
        report: Report,
        about: dict[int, str],
        gallery: Gallery,
    ) -> None:
        # Who floods hears of heartbeats late, and hangs up then with one unread: what docs/server.md warns of.
        self._client = PlainClient(context, endpoint, name, beats=False)
        self._report = report
        self._about = about
        self._gallery = gallery
        self._knock: Knock | None = None
        self._lane: Lane | None = None
        self._by_lane = False
        self._probe = SETTLE
        self._settled = False
        self._welcome: wire.Welcome | None = None

    @property
    def session(self) -> str:
        """The name of its session, as far as it knows."""
        return self._client.session

    def send(self, frames: list[bytes]) -> None:
        """Send a message, reading while there is no room for it."""
        self._by_lane = not self._by_lane
        if self._by_lane and self._lane is not None and self._lane.send(frames):
            return
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.socket.send_multipart(frames, zmq.NOBLOCK)
                return
            except zmq.Again:
                assert time.monotonic() < deadline, "the server has stopped reading"
                self._wait(zmq.POLLOUT | zmq.POLLIN)
                self.drain()

    def stray(self, draw: random.Random) -> None:
        """Hand the server over what is no memory."""
        if self._welcome is not None:
            stray_knock(self._welcome.door, self._welcome.secret, draw)

    def drain(self) -> None:
        """Read what is there; every answer is one of the protocol, names what is wrong and nothing of the host."""
        if self._knock is not None and (taken := self._knock.answer()) is not None:
            self._count("taken" if taken else "not taken")
            self._knock.close()
            self._knock = None
        while (frames := self._received()) is not None:
            message, _ = wire.decode(frames)
            assert isinstance(message, ANSWERS)
            kind = type(message).__name__.lower()
            if isinstance(message, wire.Error | wire.Refused):
                assert message.reason
                assert not any(word in message.reason for word in HOST_WORDS), message.reason
            if isinstance(message, wire.Error):
                kind = message.code
                about = self._about.pop(message.request_seq, "")
                named = about in message.reason or NOT_HANDED_OVER in message.reason
                assert kind != "bad_request" or named, (about, message.reason)
                self._settled |= message.request_seq == self._probe
            if isinstance(message, wire.Welcome):
                self._client.session = message.session
                self._welcome = message
                self._hand_over(message)
            self._count(kind)

    def _wait(self, events: int) -> None:
        poller = zmq.Poller()
        poller.register(self._client.socket, events)
        if self._lane is not None:
            poller.register(self._lane.fileno(), zmq.POLLIN)
        poller.poll(1000)

    def _received(self) -> list[Buffer] | None:
        try:
            frames = None if self._lane is None else self._lane.receive()
        except LaneClosedError:
            self._part()
            frames = None
        if frames is not None:
            return frames
        received = receive(self._client.socket, identified=False)
        return None if received is None else received[1]

    def _count(self, kind: str) -> None:
        self._report.answers[kind] = self._report.answers.get(kind, 0) + 1

    def _hand_over(self, welcome: wire.Welcome) -> None:
        self._part()
        self._lane, theirs = new_pair()
        try:
            self._knock = Knock(welcome.door, welcome.secret, self._gallery.fd, theirs)
        except BlockingIOError:
            # Its door is beset.
            self._part()
        finally:
            os.close(theirs)

    def _part(self) -> None:
        for way in (self._knock, self._lane):
            if way is not None:
                way.close()
        self._knock = self._lane = None

    def settle(self) -> None:
        """Return when the server has dealt with all that was sent."""
        self._probe += 1
        probe = wire.Infer(session="nobody's", request_seq=self._probe, obs_seq=0, deadline_ms=1.0)
        deadline = time.monotonic() + PATIENCE_S
        self._settled = False
        while not self._settled:
            assert time.monotonic() < deadline, "the server does not answer any more"
            # Once more each time: a server drops what a client with too many answers under way has no room for.
            self.send([bytes(frame) for frame in wire.encode(probe)])
            self._wait(zmq.POLLIN)
            self.drain()

    def greet(self) -> None:
        """Open a session in place of any older one under this name; tried again as long as the server is full."""
        self._welcome = None
        hello = wire.Hello(client=self._client.name, rig=rig_schema(load_rig("sim-x5")), task="transfer")
        deadline = time.monotonic() + PATIENCE_S
        while self._welcome is None:
            assert time.monotonic() < deadline, "the server opens no session any more"
            self.send([bytes(frame) for frame in wire.encode(hello)])
            self._wait(zmq.POLLIN)
            self.drain()

    def leave(self) -> None:
        """End what is under way, and let the session be one that the next connection under this name replaces."""
        self.settle()
        self.greet()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._part()
        self._client.socket.close()


def storm(messages: int, seed: int = 1, served: str = "own") -> Report:
    """Send so many malformed messages to a server; returns what it did. Fails as said above."""
    report, (stand_in, noise_gain) = Report(messages), SERVED[served]
    with server("tcp://127.0.0.1:*", stand_in=stand_in, environment=GIVEN_BACK) as running, zmq.Context() as context:
        client = ("tests.fuzz.bystander", running.endpoint, str(noise_gain))
        with bystander(*client, report=report, patience_s=PATIENCE_S):
            _send_all(context, running, report, seed)
        assert running.process.poll() is None, "the server has ended"
    report.check()
    return report


def _send_all(context: zmq.Context[zmq.Socket[bytes]], running: ServerProcess, report: Report, seed: int) -> None:
    made, draw, gallery = Malformer(seed), random.Random(seed), memory()  # noqa: S311 repeatable, not secret

    def sender(which: int) -> Sender:
        opened = Sender(context, running.endpoint, f"fuzz-{which}", report, made.about, gallery)
        opened.greet()
        return opened

    senders: list[Sender] = []
    try:
        senders += [sender(i) for i in range(SENDERS)]
        _send_each(running, report, senders, sender, made, draw)
    finally:
        for each in senders:
            each.close()
        gallery.close()
    report.sorts = made.counts


def _send_each(
    running: ServerProcess,
    report: Report,
    senders: list[Sender],
    another: Callable[[int], Sender],
    made: Malformer,
    draw: random.Random,
) -> None:
    warm_up, pid = min(WARM_UP, report.messages // 2), running.process.pid
    began = time.monotonic()
    for i in range(report.messages):
        which = draw.randrange(SENDERS)
        sender = senders[which]
        sender.send(made.next(sender.session))
        if i % DRAIN_EVERY == 0:
            for each in senders:
                each.drain()
        if i % STRAY_EVERY == 0:
            stray(running.endpoint, draw)
            sender.stray(draw)
        if i % RECONNECT_EVERY == RECONNECT_EVERY - 1:
            sender.leave()
            senders[which] = another(which)
        if i == warm_up:
            report.warm(pid)
        if i >= warm_up and i % 1000 == 0:
            report.look(pid)
    for sender in senders:
        sender.leave()
    report.seconds = time.monotonic() - began
    report.end(pid)


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description="A policy server under malformed messages.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--served", choices=list(SERVED), default="own")
    given = parser.parse_args()
    print(storm(given.messages, given.seed, given.served).text())


if __name__ == "__main__":
    main()
