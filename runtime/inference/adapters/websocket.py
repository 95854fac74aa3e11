"""A websocket to a policy server: each request has a deadline and gets its own answer, never that of another.

A peer that runs its model in its event loop answers no pings meanwhile, so none are sent; what ends a silent connection
is the deadline of a request. After a deadline the connection is closed: what comes late on it would be taken for the
answer to the next request.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Mapping
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.msgpack_bounds import MESSAGE_BYTES_MAX

CLOSE_TIMEOUT_S: Final = 0.2
LINE_CHARACTERS_MAX: Final = 160
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.+~-]+){2,}[\\/]?")
_ENDPOINT: Final = re.compile(r"wss?://(\[[0-9a-fA-F:]+\]|[^:/?#\s\[\]]+)(?::(\d{1,5}))?(/[^\s#]*)?")


def check_websocket(endpoint: str) -> str:
    """Return the endpoint if it is a websocket's.

    Raises:
        UsageError: it is none; the message shows one.
    """
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or not 0 < int(found[2] or 80) < 65_536:
        raise UsageError(f"{endpoint!r} is no websocket; write ws://HOST:PORT or wss://HOST:PORT")
    return endpoint


def one_line(text: str) -> str:
    """Return what a peer's error text says: its exception's line if it is a traceback, else its first line.

    Bounded, printable, and without file names.
    """
    lines = [line for line in text[:65_536].splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    ends = [line for line in lines[1:] if not line[0].isspace()] if lines[0].startswith("Traceback") else lines[:1]
    said = ends[-1].strip() if ends else "an error"
    plain = "".join(character if character.isprintable() else " " for character in _PATH.sub("(file)", said))
    return plain[:LINE_CHARACTERS_MAX]


class Link:
    """A connection that is opened when it is needed; `peer` is what errors call the other side."""

    def __init__(self, endpoint: str, peer: str, headers: Mapping[str, str] | None = None) -> None:
        """Note where the peer is. UsageError for an endpoint that is none."""
        self._endpoint = check_websocket(endpoint)
        self._peer = peer
        self._headers = dict(headers or {})
        self._connection: ClientConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection that has not failed."""
        return self._connection is not None

    def connect(self, timeout_s: float) -> None:
        """Connect anew.

        Raises:
            AdapterError: nobody listens, the peer does not speak websocket or refuses, or it does not answer in time.
        """
        self.close()
        try:
            self._connection = connect(
                self._endpoint,
                open_timeout=max(timeout_s, 0.001),
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,
                compression=None,
                max_size=MESSAGE_BYTES_MAX,
                additional_headers=self._headers,
                proxy=None,
                legacy=True,
            )
        except TimeoutError:
            raise self.error(f"did not answer within {timeout_s:.1f} s") from None
        except InvalidURI:
            raise self.error("is no websocket; write ws://HOST:PORT") from None
        except (InvalidHandshake, EOFError) as error:
            raise self.error(f"does not open a websocket: {one_line(str(error))}") from None
        except OSError as error:
            raise self.error(f"cannot be reached: {error.strerror or type(error).__name__}") from None

    def exchange(self, message: bytes, timeout_s: float) -> bytes | str:
        """Send a request and return the frame that answers it, text as str.

        Raises:
            AdapterError: the peer had spoken unasked, did not take or answer the request in time, or the connection
                ended. It is closed then.
        """
        until_s = time.monotonic() + timeout_s
        self.send(message, timeout_s)
        return self.receive(until_s - time.monotonic())

    def send(self, message: bytes, timeout_s: float) -> None:
        """Send one binary frame; AdapterError if something had come unasked, or the peer does not take it in time."""
        connection = self._open_connection()
        try:
            unasked = connection.recv(timeout=0)
        except TimeoutError:
            unasked = None
        except WebSocketException as error:
            raise self._ended(error) from None
        if unasked is not None:
            raise self.failed("spoke unasked" + (f": {one_line(unasked)}" if isinstance(unasked, str) else ""))
        whole_s, rest_s = divmod(max(timeout_s, 0.001), 1)
        limit = struct.pack("ll", int(whole_s), max(int(rest_s * 1e6), 1))
        try:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except OSError:
            # The thread that reads has closed it since it was looked at.
            raise self.failed("closed the connection") from None
        try:
            connection.send(message)
        except ConnectionClosed as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise self.failed(f"did not take a request within {timeout_s:.1f} s") from None
            raise self._ended(error) from None

    def receive(self, timeout_s: float) -> bytes | str:
        """Return the next frame; AdapterError if there is none in time or the connection ended, which closes it."""
        connection = self._open_connection()
        try:
            return connection.recv(timeout=max(timeout_s, 0.0))
        except TimeoutError:
            raise self.failed("did not answer in time") from None
        except WebSocketException as error:
            raise self._ended(error) from None

    def error(self, what: str) -> AdapterError:
        """Return the error that says `what` the peer did."""
        return AdapterError(f"{self._peer} at {self._endpoint} {what}")

    def failed(self, what: str) -> AdapterError:
        """Close the connection and return the error that says `what` the peer did."""
        self.close()
        return self.error(what)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open_connection(self) -> ClientConnection:
        if self._connection is None:
            raise self.error("is not connected")
        return self._connection

    def _ended(self, error: WebSocketException) -> AdapterError:
        if not isinstance(error, ConnectionClosed):
            return self.failed("broke the connection")
        sent, received = error.sent, error.rcvd
        if received is not None:
            said = f": {one_line(received.reason)}" if received.reason else ""
            return self.failed(f"closed the connection (code {received.code}){said}")
        if sent is not None and sent.code == 1009:
            return self.failed(f"sent more than {MESSAGE_BYTES_MAX} bytes")
        return self.failed("broke the connection" if sent is None else "broke the websocket protocol")
