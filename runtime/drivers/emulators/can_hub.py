"""An emulated CAN bus: an abstract socket that every node joins, one `struct can_frame` a message."""

from __future__ import annotations

import selectors
import socket

from runtime.drivers.base import DriverError
from runtime.drivers.piper.bus import FRAME, Frame


class CanHub:
    """An emulated bus: what one node sends all others hear. One `struct can_frame` a message."""

    def __init__(self, name: str) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._server.bind("\0" + name)
        except OSError as error:
            self._server.close()
            raise DriverError(f"emulated CAN bus {name}: {error.strerror}") from None
        self._server.listen(8)
        self._server.setblocking(False)
        self._nodes: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def send(self, frames: list[Frame]) -> None:
        """Send the device's frames to every node; one whose queue is full misses them, as on a real bus."""
        for frame in frames:
            raw = FRAME.pack(frame.can_id, len(frame.data), frame.data.ljust(8, b"\0"))
            for node in list(self._nodes):
                self._give(node, raw)

    def receive(self) -> list[Frame]:
        """Return what the nodes have sent; each hears the others."""
        frames: list[Frame] = []
        for key, _ in self._selector.select(0):
            if key.fileobj is self._server:
                node, _ = self._server.accept()
                node.setblocking(False)
                self._nodes.append(node)
                self._selector.register(node, selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._nodes:
                # One that has left is dropped as soon as another's frame does not reach it.
                frames += self._drain(key.fileobj)
        return frames

    def cut(self) -> None:
        """Throw every node off the bus."""
        for node in list(self._nodes):
            self._drop(node)

    def close(self) -> None:
        """Take the bus down."""
        self.cut()
        self._selector.close()
        self._server.close()

    def _drain(self, node: socket.socket) -> list[Frame]:
        frames: list[Frame] = []
        while True:
            try:
                raw = node.recv(FRAME.size)
            except BlockingIOError:
                return frames
            except OSError:
                raw = b""
            if not raw:
                self._drop(node)
                return frames
            if len(raw) != FRAME.size:
                continue
            can_id, length, data = FRAME.unpack(raw)
            frames.append(Frame(can_id, data[:length]))
            for other in list(self._nodes):
                if other is not node:
                    self._give(other, raw)

    def _give(self, node: socket.socket, raw: bytes) -> None:
        try:
            node.send(raw)
        except BlockingIOError:
            return
        except OSError:
            self._drop(node)

    def _drop(self, node: socket.socket) -> None:
        self._selector.unregister(node)
        self._nodes.remove(node)
        node.close()
