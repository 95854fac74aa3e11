"""A ZeroMQ request socket to a policy server: a lost answer costs its deadline and no more.

A request socket that has not had its answer can send nothing again, and one that nobody listens to says nothing. So the
socket's own events are read for connections that ended or were refused, and after any failure it is thrown away.
"""

from __future__ import annotations

import re
import time
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ENDED: Final = zmq.EVENT_DISCONNECTED
_REFUSED: Final = zmq.EVENT_CONNECT_RETRIED


def host_and_port(text: str, port: int, shown: str) -> tuple[str, int]:
    """Return the parts of HOST or HOST:PORT; UsageError, with what is right in `shown`, for any other text."""
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found[2] or port) < 65_536:
        raise UsageError(f"{text[:80]!r} is no host and port; write {shown}")
    return found[1], int(found[2] or port)


class ZmqLink:
    """A request socket that is opened when it is needed; `peer` is what errors call the other side."""

    def __init__(self, host: str, port: int, peer: str, message_bytes_max: int) -> None:
        """Note where the peer is; nothing is sent."""
        self._at, self._peer, self._bytes_max = f"{host}:{port}", peer, message_bytes_max
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None

    def ask(self, message: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer to it.

        Raises:
            AdapterError: nobody listens, the connection ended, there is no answer in time, or it is no single frame.
        """
        try:
            return self._exchange(message, time.monotonic() + timeout_s)
        except zmq.Again:
            raise self.failed("cannot be reached, or did not answer in time") from None
        except zmq.ZMQError as error:
            raise self.failed(f"cannot be asked: {error.strerror}") from None

    def error(self, what: str) -> AdapterError:
        """Return the error with the peer's name before it."""
        return AdapterError(f"{self._peer} at {self._at} {what}")

    def failed(self, what: str) -> AdapterError:
        """Return the error for a peer whose socket is of no more use, and throw that away."""
        self.close()
        return self.error(what)

    def close(self) -> None:
        """Let go of the peer; what it still says is not heard."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(0)
        if self._monitor is not None:
            self._monitor.close(0)
        if self._context is not None:
            self._context.term()
        self._socket = self._monitor = self._context = None

    def _exchange(self, message: bytes, until_s: float) -> bytes:
        if self._socket is not None and self._ended():
            self.close()
        socket, monitor = self._open()
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        socket.send(message, zmq.NOBLOCK)
        while (left_s := until_s - time.monotonic()) > 0.0:
            ready = dict(poller.poll(max(int(left_s * 1000), 1)))
            if socket in ready:
                answer = socket.recv(zmq.NOBLOCK)
                if socket.getsockopt(zmq.RCVMORE):
                    raise self.failed("answered in more than one frame")
                return answer
            if monitor in ready and self._ended():
                raise self.failed("cannot be reached, or ended the connection")
        raise zmq.Again

    def _open(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        if self._socket is None or self._monitor is None:
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.REQ)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.MAXMSGSIZE, self._bytes_max)
            self._socket.setsockopt(zmq.IPV6, "[" in self._at)
            self._monitor = self._socket.get_monitor_socket(_ENDED | _REFUSED)
            self._socket.connect(f"tcp://{self._at}")
        return self._socket, self._monitor

    def _ended(self) -> bool:
        """Whether the connection ended or was refused since it was last asked."""
        ended = False
        while self._monitor is not None and self._monitor.poll(0):
            ended = recv_monitor_message(self._monitor)["event"] in (_ENDED, _REFUSED) or ended
        return ended
