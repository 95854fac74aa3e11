"""A socket pair between a rig and a policy server of its host, for messages that are short.

A message through the library's sockets wakes a thread of its own on each side before it wakes whom it is for. With the
pictures in shared memory the rest of a request fits into one packet of the kernel's (unix(7), SOCK_SEQPACKET), which
wakes that one only. A packet is the message's frames (runtime.inference.wire): how many, the length of each, and they
themselves. What is too long for one goes as ever. Nothing here waits.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from runtime.net.frames import FRAMES_MAX, Buffer

PACKET_BYTES_MAX: Final = 64 * 1024
_LENGTH: Final = 4


class LaneClosedError(Exception):
    """The other end is gone."""


class Lane:
    """One end of the pair; `fileno` makes it pollable. Takes the descriptor over.

    Raises:
        OSError: it is the end of no such pair.
    """

    def __init__(self, fd: int) -> None:
        try:
            self._socket = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        if (self._socket.family, self._socket.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            self._socket.close()
            raise OSError("no packets of this host come by this descriptor")
        self._packet = memoryview(bytearray(PACKET_BYTES_MAX))

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def send(self, frames: Sequence[Buffer]) -> bool:
        """Send a message; False where it has to go another way: too long, no room now, or nobody there."""
        lengths = [len(frame) for frame in frames]
        head = struct.pack(f"<{1 + len(lengths)}I", len(lengths), *lengths)
        if len(head) + sum(lengths) > PACKET_BYTES_MAX:
            return False
        try:
            # Whoever made the pair may have made its ends wait.
            self._socket.sendmsg([head, *frames], (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def receive(self) -> list[Buffer] | None:
        """Return the frames of the next message, none of one that is not whole; None when none has come.

        Raises:
            LaneClosedError: none will.
        """
        try:
            size = self._socket.recv_into(self._packet, 0, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        except BlockingIOError:
            return None
        except OSError:
            size = 0
        if size == 0:
            raise LaneClosedError
        return [] if size > PACKET_BYTES_MAX else _frames(bytes(self._packet[:size]))

    def close(self) -> None:
        """Say and hear no more."""
        self._socket.close()


def new_pair() -> tuple[Lane, int]:
    """Return one end, and the descriptor of the other, to be handed over and closed."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Lane(here.detach()), there.detach()


def _frames(packet: bytes) -> list[Buffer]:
    if len(packet) < _LENGTH:
        return []
    (count,) = struct.unpack_from("<I", packet)
    begin = _LENGTH * (1 + count)
    if count > FRAMES_MAX or begin > len(packet):
        return []
    lengths = struct.unpack_from(f"<{count}I", packet, _LENGTH)
    if begin + sum(lengths) != len(packet):
        return []
    frames: list[Buffer] = []
    whole = memoryview(packet)
    for length in lengths:
        frames.append(whole[begin : begin + length])
        begin += length
    return frames
