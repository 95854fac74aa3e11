"""`python -m tests.fuzz.wire --messages N [--seed S]`: a policy server under N malformed messages.

A real server process, real sockets, and a healthy client in a process of its own that asks for chunks all the while.
The server must live, answer every sender in the protocol, say nothing of its host, keep its memory and its open files,
and give the healthy client every chunk that it asks for.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Final

import zmq

from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.handshake import rig_schema
from runtime.net.sockets import receive
from tests.fuzz.messages import Malformer
from tests.fuzz.storm import ROOT, Report, bystander
from tests.fuzz.stray import stray
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
ANSWERS: Final = (wire.Welcome, wire.Refused, wire.Chunk, wire.Superseded, wire.Error, wire.Pong)


class Sender:
    """One connection that sends what it is given, however slowly the server takes it, and reads every answer."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, name: str, report: Report) -> None:
        self._client = PlainClient(context, endpoint, name)
        self._report = report
        self._probe = SETTLE
        self._settled = False
        self._welcomed = False

    @property
    def session(self) -> str:
        """The name of its session, as far as it knows."""
        return self._client.session

    def send(self, frames: list[bytes]) -> None:
        """Send a message, reading while there is no room for it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.socket.send_multipart(frames, zmq.NOBLOCK)
                return
            except zmq.Again:
                assert time.monotonic() < deadline, "the server has stopped reading"
                self._client.socket.poll(1000, zmq.POLLOUT | zmq.POLLIN)
                self.drain()

    def drain(self) -> None:
        """Read what is there; every answer is one of the protocol and says nothing of the host."""
        while (received := receive(self._client.socket, identified=False)) is not None:
            message, _ = wire.decode(received[1])
            assert isinstance(message, ANSWERS)
            kind = type(message).__name__.lower()
            if isinstance(message, wire.Error | wire.Refused):
                assert not any(word in message.reason for word in HOST_WORDS), message.reason
            if isinstance(message, wire.Error):
                kind = message.code
                self._settled |= message.request_seq == self._probe
            if isinstance(message, wire.Welcome):
                self._client.session = message.session
                self._welcomed = True
            self._report.answers[kind] = self._report.answers.get(kind, 0) + 1

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
            self._client.socket.poll(1000)
            self.drain()

    def greet(self) -> None:
        """Open a session in place of any older one under this name; tried again as long as the server is full."""
        self._welcomed = False
        hello = wire.Hello(client=self._client.name, rig=rig_schema(load_rig("sim-x5")), task="transfer")
        deadline = time.monotonic() + PATIENCE_S
        while not self._welcomed:
            assert time.monotonic() < deadline, "the server opens no session any more"
            self.send([bytes(frame) for frame in wire.encode(hello)])
            self._client.socket.poll(1000)
            self.drain()

    def leave(self) -> None:
        """End what is under way, and let the session be one that the next connection under this name replaces."""
        self.settle()
        self.greet()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.socket.close()


def storm(messages: int, seed: int = 1) -> Report:
    """Send so many malformed messages to a server of the tiny policy; returns what it did. Fails as said above."""
    report = Report(messages)
    with server("tcp://127.0.0.1:*") as running, zmq.Context() as context:
        with bystander("tests.fuzz.bystander", running.endpoint, report, PATIENCE_S):
            _send_all(context, running, report, seed)
        assert running.process.poll() is None, "the server has ended"
    report.check()
    return report


def _send_all(context: zmq.Context[zmq.Socket[bytes]], running: ServerProcess, report: Report, seed: int) -> None:
    made, draw = Malformer(seed), random.Random(seed)  # noqa: S311 repeatable, not secret
    senders = [Sender(context, running.endpoint, f"fuzz-{i}", report) for i in range(SENDERS)]
    try:
        for sender in senders:
            sender.greet()
        _send_each(context, running, report, senders, made, draw)
    finally:
        for sender in senders:
            sender.close()
    report.sorts = made.counts


def _send_each(
    context: zmq.Context[zmq.Socket[bytes]],
    running: ServerProcess,
    report: Report,
    senders: list[Sender],
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
        if i % RECONNECT_EVERY == RECONNECT_EVERY - 1:
            sender.leave()
            senders[which] = Sender(context, running.endpoint, f"fuzz-{which}", report)
            senders[which].greet()
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
    given = parser.parse_args()
    print(storm(given.messages, given.seed).text())


if __name__ == "__main__":
    main()
