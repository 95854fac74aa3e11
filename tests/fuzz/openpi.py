"""`python -m tests.fuzz.openpi --messages N [--seed S]`: `serve --protocol openpi` under N malformed messages.

A real server process and raw sockets: damaged observations, frames that break the websocket protocol, requests that are
no handshake, and connections that say nothing. A healthy client in a process of its own asks for chunks all the while.
The server must live, say nothing of its host, keep its memory and its open files, and answer the healthy client.

Each message takes a connection, which is most of its time. `--front N` gives as many damaged observations to the same
server's front in this process, without sockets: all that it does with a message once the library has unpacked a frame.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.inference.policy import load_policy
from runtime.inference.sampler import load_sampler
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.openpi_server import INTERNAL_ERROR, Front
from tests.fuzz.damage import Damager
from tests.fuzz.storm import FILES_MAX, ROOT, Report, bystander, files
from tests.fuzz.websocket_frames import Frames
from tests.process.serving import TINY

AT_ONCE: Final = 8
"""Connections under way; the server has 32 places, of which the healthy client needs one."""
WARM_UP: Final = 2000
PATIENCE_S: Final = 20.0
ANSWER_BYTES_MAX: Final = 65_536
IDLE: Final = 40
"""Connections that are opened to say nothing, now and then."""
IDLE_EVERY: Final = 5000
HOST_WORDS: Final = tuple(
    word.encode() for word in ("Traceback", "File ", ".py", "site-packages", str(Path.home()), str(ROOT))
)
ANSWERS: Final = {b"bad request": "bad request", b"the model failed": "failed", b"server_timing": "chunk"}


class Flight:
    """One connection: what it sends, how far it is with that, and what has come back."""

    def __init__(self, port: int, message: bytes, *, answered: bool) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.left = memoryview(message)
        self._answered = answered
        self.heard = b""
        self.until_s = time.monotonic() + PATIENCE_S

    def step(self, events: int) -> bool:
        """Send and read what can be; returns whether there is an answer or the server has ended the connection."""
        try:
            if events & selectors.EVENT_WRITE and self.left:
                self.left = self.left[self.socket.send(self.left[: 1 << 18]) :]
                if not self.left and not self._answered:
                    # What is left open by half a message shall not wait for the rest.
                    self.socket.shutdown(socket.SHUT_WR)
            if events & selectors.EVENT_READ:
                came = self.socket.recv(1 << 16)
                self.heard = (self.heard + came)[:ANSWER_BYTES_MAX]
                return not came or (self._answered and any(mark in self.heard for mark in ANSWERS))
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server of the tiny policy; yields its process and port."""
    command = [sys.executable, "-m", "runtime", "serve", "--policy", str(TINY), "--protocol", "openpi"]
    with subprocess.Popen(
        [*command, "--bind", "tcp://127.0.0.1:*"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"ws://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found is not None
            yield process, int(found[1])
        finally:
            process.kill()


def storm(messages: int, seed: int = 1) -> Report:
    """Send so many malformed messages; returns what they did. Fails as said above."""
    report = Report(messages)
    with serving() as (process, port):
        with bystander("tests.fuzz.openpi_bystander", str(port), report=report, patience_s=PATIENCE_S):
            _send_all(process.pid, port, report, seed)
        assert process.poll() is None, "the server has ended"
    report.check()
    return report


def _send_all(pid: int, port: int, report: Report, seed: int) -> None:
    made, selector = Frames(Damager(seed)), selectors.DefaultSelector()
    warm_up, sent, ended = min(WARM_UP, report.messages // 2), 0, 0
    idle: list[socket.socket] = []
    began = time.monotonic()
    while ended < report.messages:
        while len(selector.get_map()) < AT_ONCE and sent < report.messages:
            message, answered = made.next()
            flight = Flight(port, message, answered=answered)
            selector.register(flight.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, flight)
            sent += 1
            if sent % IDLE_EVERY == IDLE_EVERY // 2:
                idle = _idle(port, idle)
        for key, events in selector.select(0.1):
            flight = key.data
            if flight.step(events):
                selector.unregister(flight.socket)
                flight.socket.close()
                _note(flight.heard, report)
                ended += 1
                if ended == warm_up:
                    report.warm(pid)
                if ended >= warm_up and ended % 500 == 0:
                    report.look(pid)
            elif not flight.left:
                selector.modify(flight.socket, selectors.EVENT_READ, flight)
            assert time.monotonic() < flight.until_s, f"the server does not end a connection: {flight.heard[:200]!r}"
    for each in idle:
        each.close()
    report.seconds = time.monotonic() - began
    deadline = time.monotonic() + PATIENCE_S
    while files(pid) - report.files_warm > FILES_MAX and time.monotonic() < deadline:
        time.sleep(0.1)
    report.end(pid)
    report.sorts = made.counts


def _idle(port: int, before: list[socket.socket]) -> list[socket.socket]:
    """Open connections that say nothing in place of those before, more than the server takes at once."""
    for each in before:
        each.close()
    return [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in range(IDLE)]


def _note(heard: bytes, report: Report) -> None:
    assert not any(word in heard for word in HOST_WORDS), heard[:500]
    kinds = {**ANSWERS, b"101 Switching": "websocket ended", b"HTTP/1.1 ": "no handshake"}
    kind = next((name for mark, name in kinds.items() if mark in heard), "closed")
    report.answers[kind] = report.answers.get(kind, 0) + 1


class Wire:
    """Stands for a connection of the library: gives damaged observations until one ends it, takes what is said."""

    def __init__(self, observations: Frames, report: Report) -> None:
        self.socket = socket.socket()
        self._observations = observations
        self._report = report
        self._met = False

    def recv(self) -> bytes:
        """Return the next observation."""
        return self._observations.observation()

    def send(self, message: bytes | str) -> None:
        """Take an answer; the first is what a client is greeted with."""
        if self._met:
            _note(message.encode() if isinstance(message, str) else message, self._report)
        self._met = True

    def close(self, code: int, reason: str) -> None:
        """End."""
        assert (code, bool(reason)) == (INTERNAL_ERROR, True)


def front_storm(messages: int, seed: int = 1) -> Report:
    """Give so many damaged observations to a front in this process; returns what they did. Fails as said above."""
    report, made = Report(messages), Frames(Damager(seed))
    loaded = load_policy(str(TINY))
    samplers = {task: load_sampler(loaded, task) for task in loaded.tasks}
    pid, warm_up, began = os.getpid(), min(10 * WARM_UP, messages // 2), time.monotonic()
    with ThreadPoolExecutor(1) as inference:
        front = Front(loaded, samplers, parse_latency("none"), inference)
        while (done := sum(report.answers.values())) < messages:
            wire = Wire(made, report)
            front.handle(wire)  # type: ignore[arg-type]
            wire.socket.close()
            if done >= warm_up and not report.rss_warm_bytes:
                report.warm(pid)
            if done >= warm_up and done % 500 == 0:
                report.look(pid)
    report.seconds, report.sorts = time.monotonic() - began, made.counts
    report.end(pid)
    assert set(report.answers) <= {"bad request", "chunk"}, report.answers
    report.check()
    return report


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description="An openpi server of ours under malformed messages.")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--front", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(front_storm(given.front, given.seed).text())
    print(storm(given.messages, given.seed).text())


if __name__ == "__main__":
    main()
