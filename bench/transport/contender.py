"""Who is measured: the programs of each contender, started as processes, and why one is absent."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import bench
from bench.transport.relay import GIGABIT, HOST
from runtime.errors import LeadtimeError

ROOT: Final = Path(bench.__file__).parent.parent
START_S: Final = 60.0
"""How long a program may take to be there; LeRobot's imports take a while."""
TURN_S: Final = 120.0
PORT: Final = "{port}"
"""Stands in a command for the TCP port that the bench chooses."""


class AbsentError(LeadtimeError):
    """A contender cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Contender:
    """Two programs, by the Python that runs them and their arguments; `{port}` in them is a TCP port.

    `link` is `host`, or `gigabit` for an emulated link of 1 Gbit/s between the two.
    """

    name: str
    label: str
    python: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    link: str = "host"


class Program:
    """A running program that speaks in lines; what it says on standard error is kept for the case that it fails."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self._name = name
        self._errors = (folder / "stderr.txt").open("w+", encoding="utf-8", errors="replace")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=self._errors
            )
        except OSError:
            self._errors.close()
            raise
        self._left = b""

    def say(self, line: str) -> None:
        """Write a line to the program."""
        _pipe(self._process.stdin).write(f"{line}\n".encode())
        _pipe(self._process.stdin).flush()

    def hear(self, timeout_s: float) -> str:
        """Return the program's next line.

        Raises:
            AbsentError: it ended or said nothing in time; with the last line of what it complained about.
        """
        pipe = _pipe(self._process.stdout)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._left:
            ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0.0))
            data = os.read(pipe.fileno(), 1 << 20) if ready else b""
            if not data:
                raise AbsentError(self._complaint("ended" if ready else f"said nothing in {timeout_s:.0f} s"))
            self._left += data
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def listens(self, port: int, timeout_s: float) -> None:
        """Return once a port of this host is open; AbsentError when the program ends before."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1.0).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AbsentError(self._complaint("did not open its port")) from None
                time.sleep(0.05)
            else:
                return

    def close(self) -> None:
        """End the program and free what it had."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._errors.close()

    def _complaint(self, what: str) -> str:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return f"{self._name} {what}" + (f": {lines[-1][:200]}" if lines else "")


class Seat:
    """A contender that is connected and takes turns; `note` is what its client said of the connection."""

    def __init__(self, contender: Contender, client: Program, link: Program | None = None, note: str = "") -> None:
        self.contender = contender
        self.note = note
        self._client = client
        self._link = link

    def carried_bytes(self) -> int:
        """Return how many bytes the emulated link has carried so far, 0 where there is none."""
        if self._link is None:
            return 0
        self._link.say("")
        return int(self._link.hear(START_S))

    def turn(self, count: int) -> tuple[list[int], list[int]]:
        """Make as many requests, one after the other.

        Returns how long each took and, where servers say so, what of that they spent outside the model, ns.
        """
        self._client.say(str(count))
        took_ns, outside_ns = json.loads(self._client.hear(TURN_S))
        return took_ns, outside_ns


@contextmanager
def seated(contender: Contender) -> Iterator[Seat]:
    """Run a contender's server and client, with an emulated link between them where it says so.

    Raises:
        AbsentError: one of its programs does not start here.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadtime-")))
        port = _free_port()

        def start(role: str, python: str, arguments: tuple[str, ...], at: int) -> Program:
            place = folder / role
            place.mkdir()
            command = [python, "-W", "ignore", "-m", *(part.replace(PORT, str(at)) for part in arguments)]
            try:
                program = Program(f"{contender.label}, {role}", command, place)
            except OSError as error:
                raise AbsentError(f"{contender.label}: cannot run {python}: {error.strerror}") from None
            stack.callback(program.close)
            return program

        server = start("server", contender.python, contender.server, port)
        if any(PORT in part for part in contender.server):
            server.listens(port, START_S)
        else:
            server.hear(START_S)
        relay = None
        if contender.link == "gigabit":
            relay = start("link", sys.executable, ("bench.transport.relay", PORT, str(GIGABIT)), port)
            port = int(relay.hear(START_S).split()[1])
        client = start("client", contender.python, contender.client, port)
        note = client.hear(START_S).partition(" ")[2]
        yield Seat(contender, client, relay, note)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the program was started without pipes")
    return stream
