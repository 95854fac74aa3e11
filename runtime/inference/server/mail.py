"""How a policy server's messages come and go: by its ROUTER socket, and by a lane for each rig of this host."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from runtime.inference.door import Door
from runtime.inference.server.relief import Relief
from runtime.inference.server.session import SessionTable
from runtime.net.frames import Buffer
from runtime.net.lane import LaneClosedError
from runtime.net.sockets import readable, receive

POLL_MS: Final = 20
MESSAGES_PER_TURN: Final = 64

Answer = Callable[[bytes, list[Buffer]], Sequence[Buffer] | None]
"""Given a message's sender and frames, returns the frames of what is said at once, if anything is."""


class Mail:
    """Reads messages, has each answered, and sends; one thread at a time reads, any may send.

    With a `door` clients of this host may share their pictures' memory and have a lane, which their session keeps.
    """

    def __init__(
        self, router: zmq.Socket[bytes], sessions: SessionTable, answer: Answer, *, door: Door | None = None
    ) -> None:
        self._router = router
        self._sessions = sessions
        self._answer = answer
        self._door = door
        # The router is used by one thread at a time; to wait for it takes its descriptor only.
        self._router_lock = threading.Lock()
        self._router_fd = int(router.getsockopt(zmq.FD))

    def turn(self, enough: Callable[[], bool], kick: Relief | None, on_turn: Callable[[], None] | None) -> None:
        """Wait for messages, or for a `kick`, for `POLL_MS` at most, and have them answered until it is `enough`.

        That is asked with the router in hand: who has had enough does not touch it any more, so that whoever waits for
        it next is woken by what comes then. `on_turn` is called likewise.
        """
        with self._router_lock:
            if enough():
                return
            if on_turn is not None:
                on_turn()
            waiting = readable(self._router)
        ready = set() if waiting else self._wait(kick)
        if self._door is not None and (waiting or self._door.fileno() in ready):
            self._door.answer(self._sessions.attach)
        for _ in range(MESSAGES_PER_TURN):
            with self._router_lock:
                # Both: who floods one way keeps nobody from the other.
                if enough() or not any((self._read_lanes(), self._read())):
                    return

    def send(self, sender: bytes, frames: Sequence[Buffer]) -> None:
        """Send a message without waiting."""
        with self._router_lock:
            self._put(sender, frames)

    def close_lanes(self) -> None:
        """Let every rig of this host know that nothing more comes."""
        for sender, _ in self._sessions.lanes:
            self._sessions.part(sender)

    def _wait(self, kick: Relief | None) -> set[int]:
        poller = select.poll()
        poller.register(self._router_fd, select.POLLIN)
        for source in (self._door, kick):
            if source is not None:
                poller.register(source.fileno(), select.POLLIN)
        for _, lane in self._sessions.lanes:
            # The other thread may close one meanwhile: then it has no number, or one that only wakes this one once.
            if (fd := lane.fileno()) >= 0:
                poller.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(POLL_MS)}
        if kick is not None and kick.fileno() in ready:
            kick.rest()
        return ready

    def _read(self) -> bool:
        """Have a message of the router's answered; returns whether there was one."""
        received = receive(self._router, identified=True)
        if received is None:
            return False
        self._have_answered(*received)
        return True

    def _read_lanes(self) -> bool:
        """Have a message of each rig of this host answered; returns whether there was one."""
        read = False
        for sender, lane in self._sessions.lanes:
            try:
                frames = lane.receive()
            except LaneClosedError:
                self._sessions.part(sender)
                continue
            if frames is not None:
                self._have_answered(sender, frames)
                read = True
        return read

    def _have_answered(self, sender: bytes, frames: list[Buffer]) -> None:
        reply = self._answer(sender, frames)
        if reply is not None:
            self._put(sender, reply)

    def _put(self, sender: bytes, frames: Sequence[Buffer]) -> None:
        lane = self._sessions.lane(sender)
        if lane is not None and lane.send(frames):
            return
        # A client that left or does not read is not waited for: the router drops what it cannot deliver.
        self._router.send_multipart([sender, *frames], zmq.NOBLOCK, copy=False)
