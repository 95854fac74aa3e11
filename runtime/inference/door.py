"""Where a rig on the same host hands its pictures' memory to a policy server: a datagram socket of the kernel's own.

The socket has a random abstract name, which a rig learns in its welcome, and with it a secret of its session. It sends
that secret with two descriptors (unix(7), SCM_RIGHTS), the memory's and its server's end of a lane
(runtime.net.lane), and is told whether they were taken. A rig on another host finds no such socket. Nothing here
waits.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runtime.inference.region import Region, RegionError
from runtime.net.lane import Lane
from runtime.net.sockets import of_this_host

TAKEN: Final = b"taken"
NOT_TAKEN: Final = b"not taken"
TOKEN_BYTES: Final = 16
READS_PER_TURN: Final = 8
HANDED: Final = 2


def new_secret() -> str:
    """Return what a session's memory is known by; nobody guesses it."""
    return secrets.token_hex(TOKEN_BYTES)


class Door:
    """The server's socket; `name` is what a rig is told, and `fileno` makes it pollable."""

    def __init__(self) -> None:
        self.name = f"leadtime-{secrets.token_hex(8)}"
        self._socket = _datagrams()
        self._socket.bind(f"\0{self.name}")

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def answer(self, take: Callable[[str, Region, Lane], bool]) -> None:
        """Offer `take(secret, region, lane)` what has come and tell each rig whether it was taken."""
        for _ in range(READS_PER_TURN):
            try:
                data, fds, _, sender = socket.recv_fds(self._socket, 2 * TOKEN_BYTES, HANDED)
            except BlockingIOError:
                return
            taken = self._offer(take, data.decode("ascii", "replace"), fds)
            if sender:
                with contextlib.suppress(OSError):
                    self._socket.sendto(TAKEN if taken else NOT_TAKEN, sender)

    @staticmethod
    def _offer(take: Callable[[str, Region, Lane], bool], secret: str, fds: list[int]) -> bool:
        """Whether descriptors are a memory and a lane, and are taken; they are let go where not."""
        if len(fds) != HANDED:
            for fd in fds:
                os.close(fd)
            return False
        memory_fd, lane_fd = fds
        try:
            lane = Lane(lane_fd)
        except OSError:
            os.close(memory_fd)
            return False
        with contextlib.suppress(RegionError):
            if take(secret, Region(memory_fd), lane):
                return True
        lane.close()
        return False

    def close(self) -> None:
        """Take no more."""
        self._socket.close()


@contextmanager
def door_for(endpoint: str) -> Iterator[Door | None]:
    """Have a door where only this host reaches the endpoint, else None."""
    door = Door() if of_this_host(endpoint) else None
    try:
        yield door
    finally:
        if door is not None:
            door.close()


class Knock:
    """The rig's side: memory and a lane's end handed over, and the answer to come. `fileno` makes it pollable.

    Raises:
        OSError: there is no such door on this host, or it takes nothing more.
    """

    def __init__(self, door: str, secret: str, memory_fd: int, lane_fd: int) -> None:
        self._socket = _datagrams()
        try:
            self._socket.bind("")  # the kernel chooses a name to answer to
            self._socket.connect(f"\0{door}")
            socket.send_fds(self._socket, [secret.encode()], [memory_fd, lane_fd])
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def answer(self) -> bool | None:
        """Whether the memory was taken; None while nothing was said."""
        try:
            return self._socket.recv(len(NOT_TAKEN)) == TAKEN
        except BlockingIOError:
            return None
        except OSError:
            return False

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
