"""Sessions of a policy server and what waits in them: the newest request of each client, taken in fair turns."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from runtime.clock import NS_PER_S
from runtime.inference.door import new_secret
from runtime.inference.region import Region
from runtime.inference.wire import ArrayMap, Hello, Infer, Schema
from runtime.net.lane import Lane

CLIENTS_MAX: Final = 32
IDLE_NS: Final = 10 * NS_PER_S
"""A session that says nothing for this long may lose its place to a new client."""


@dataclass(frozen=True)
class Job:
    """One request for a chunk: `sender` is the connection it came by, `hello` how its session began.

    Times are the server's own clock.
    """

    sender: bytes
    request: Infer
    arrays: ArrayMap
    hello: Hello
    schema: Schema
    t_receipt_ns: int

    @property
    def t_deadline_ns(self) -> int:
        """When the answer stops being of use."""
        return self.t_receipt_ns + round(self.request.deadline_ms * 1e6)


@dataclass
class Session:
    """One client's agreed schema and the request that waits, if any.

    `region` is the pictures' memory, and `lane` the way for short messages, that were handed over for it under its
    `secret`.
    """

    name: str
    hello: Hello
    schema: Schema
    t_seen_ns: int
    waiting: Job | None = field(default=None)
    secret: str = field(default_factory=new_secret)
    region: Region | None = None
    lane: Lane | None = None


class SessionTable:
    """All sessions, at most `places`, in the order in which they are served next; any thread may ask."""

    def __init__(self, places: int = CLIENTS_MAX) -> None:
        self._places = places
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._opened = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._sessions)

    def open(self, sender: bytes, hello: Hello, schema: Schema, now_ns: int) -> Session | None:
        """Open a session and end any older one of the same client; None when every place is taken."""
        with self._lock:
            for other, session in list(self._sessions.items()):
                if session.hello.client == hello.client or other == sender:
                    self._end(other)
            if len(self._sessions) >= self._places:
                quiet = min(self._sessions, key=lambda key: self._sessions[key].t_seen_ns)
                if now_ns - self._sessions[quiet].t_seen_ns < IDLE_NS:
                    return None
                self._end(quiet)
            self._opened += 1
            session = Session(f"s{self._opened}", hello, schema, now_ns)
            self._sessions[sender] = session
            return session

    def find(self, sender: bytes, name: str, now_ns: int) -> Session | None:
        """Return the open session of a connection and note that it was heard of; None if it has no such one."""
        with self._lock:
            session = self._sessions.get(sender)
            if session is None or session.name != name:
                return None
            session.t_seen_ns = now_ns
            return session

    def attach(self, secret: str, region: Region, lane: Lane) -> bool:
        """Let the session of a secret have what was handed over for it; False where none has it, or it has some."""
        with self._lock:
            for session in self._sessions.values():
                if session.region is None and secrets.compare_digest(session.secret.encode(), secret.encode()):
                    session.region, session.lane = region, lane
                    return True
            return False

    def lane(self, sender: bytes) -> Lane | None:
        """Return the lane of a connection's session, if it has one."""
        with self._lock:
            session = self._sessions.get(sender)
            return None if session is None else session.lane

    @property
    def lanes(self) -> list[tuple[bytes, Lane]]:
        """The lanes of all sessions, each with its connection."""
        with self._lock:
            return [(sender, session.lane) for sender, session in self._sessions.items() if session.lane is not None]

    def part(self, sender: bytes) -> None:
        """Close the lane of a connection's session, if it has one; it goes on without."""
        with self._lock:
            self._part(sender)

    @property
    def waits(self) -> bool:
        """Whether a request waits."""
        with self._lock:
            return any(session.waiting is not None for session in self._sessions.values())

    def put(self, job: Job) -> Job | None:
        """Let a request wait in its session; return the older one whose place it took."""
        with self._lock:
            session = self._sessions[job.sender]
            superseded, session.waiting = session.waiting, job
            return superseded

    def cancel(self, sender: bytes, request_seq: int) -> None:
        """Drop a request that waits; of one that is being worked on the worker knows."""
        with self._lock:
            session = self._sessions.get(sender)
            waiting = None if session is None else session.waiting
            if session is not None and waiting is not None and waiting.request.request_seq == request_seq:
                session.waiting = None

    def take(self, now_ns: int) -> tuple[Job | None, list[Job]]:
        """Return the next request to work on and those whose deadline has passed while they waited.

        The session served goes to the end of the turn, so no client can keep another from its answer.
        """
        expired: list[Job] = []
        with self._lock:
            for sender, session in list(self._sessions.items()):
                job, session.waiting = session.waiting, None
                if job is None:
                    continue
                if job.t_deadline_ns <= now_ns:
                    expired.append(job)
                    continue
                self._sessions.move_to_end(sender)
                return job, expired
            return None, expired

    def _end(self, sender: bytes) -> None:
        self._part(sender)
        del self._sessions[sender]

    def _part(self, sender: bytes) -> None:
        session = self._sessions.get(sender)
        if session is not None and session.lane is not None:
            session.lane.close()
            session.lane = None
