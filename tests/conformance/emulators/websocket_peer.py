"""A websocket server in a thread that speaks one system's protocol, well or ill as the test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.conformance.emulators.numpy_msgpack import openpi_default, openpi_hook, packb, unpackb
from tests.conformance.suite import HIDDEN

TRACEBACK = (
    "Traceback (most recent call last):\n"
    f'  File "{HIDDEN}/server.py", line 71, in _handler\n'
    "    action = self._policy.infer(obs)\n"
    f"KeyError: no such camera in {HIDDEN}/config.yaml\n"
)
MALFORMED = ("garbage", "cut", "deep", "many", "objects", "huge", "nan", "shape", "number")
SLOW_S = 0.15


class Protocol:
    """What a system's server says; a subclass is written from its released source."""

    default: Callable[[Any], Any] = staticmethod(openpi_default)
    hook: Callable[[Any], Any] = staticmethod(openpi_hook)

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.episodes = 0

    def hello(self) -> bytes | None:
        """Return the frame that a connection begins with, if there is one."""
        return packb({})

    def answer(self, request: Any) -> Any:
        """Return the tree that answers a request, or a text."""
        raise NotImplementedError

    def failure(self, request: Any) -> tuple[bytes | str, bool]:
        """Return what is sent when the model fails, and whether the connection is then closed with 1011."""
        return TRACEBACK, True

    def fake(self, dtype: str, shape: list[int], data: bytes) -> dict[Any, Any]:
        """Return an array as this protocol writes it, of a type or size that may not be."""
        return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}

    def reply(self, message: bytes, how: str) -> bytes | str:
        """Return the frame for a message."""
        request = unpackb(message, self.hook)
        self.requests.append(request)
        match how:
            case "garbage":
                return b"\xc1\xc1\xc1"
            case "deep":
                return b"\x91" * 200 + b"\xc0"
            case "many":
                return packb([[0] * 4000] * 40)
        tree = self.answer(request)
        if isinstance(tree, str):
            return tree
        match how:
            case "cut":
                return packb(tree, self.default)[:-5]
            case "objects":
                tree = _replaced(tree, lambda _: self.fake("|O", [1], b"\0" * 8))
            case "huge":
                tree = _replaced(tree, lambda _: self.fake("<f4", [2**31, 2**31, 2**31], b"\0" * 8))
            case "nan":
                tree = _replaced(
                    tree, lambda array: np.where(np.arange(array.size).reshape(array.shape), array, np.nan)
                )
            case "shape":
                tree = _replaced(tree, lambda array: array[..., :-1])
            case "number":
                tree = _replaced(tree, lambda _: 7)
        return packb(tree, self.default)


def _replaced(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _replaced(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_replaced(value, change) for value in tree]
    if isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
        return change(tree)
    return tree


class WebsocketPeer:
    """A server on a port of its own; see Peer. `protocol` is that of its present life."""

    def __init__(self, make: Callable[[], Protocol]) -> None:
        self._make = make
        self._port = 0
        self._how = "answer"
        self._held = threading.Event()
        self._connections: set[ServerConnection] = set()
        self.revive()

    @property
    def endpoint(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Any]:
        """What was asked in this life, decoded, oldest first."""
        return self.protocol.requests

    def behave(self, how: str) -> None:
        self._how = how

    def release(self) -> None:
        self._held.set()

    def kill(self) -> None:
        """Close all sockets at once, without a word of goodbye."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        self._held.set()
        self._server.shutdown()
        self._thread.join()

    def revive(self) -> None:
        self.protocol = self._make()
        self._held = threading.Event()
        self._how = "answer"
        self._server: Server = serve(
            self._handle, "127.0.0.1", self._port, compression=None, max_size=None, close_timeout=0.1
        )
        self._port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.kill()

    def _handle(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        protocol, held = self.protocol, self._held
        request = connection.request
        protocol.headers.append(dict(request.headers.raw_items()) if request is not None else {})
        try:
            if self._how == "silent":
                held.wait()
                return
            hello = protocol.hello()
            if hello is not None:
                connection.send(hello)
            while True:
                message = connection.recv()
                assert isinstance(message, bytes)
                self._react(connection, message, protocol, held)
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._connections.discard(connection)

    def _react(self, connection: ServerConnection, message: bytes, protocol: Protocol, held: threading.Event) -> None:
        how = self._how
        if how == "silent":
            held.wait()
            return
        if how == "error":
            frame, closes = protocol.failure(unpackb(message, protocol.hook))
            connection.send(frame)
            if closes:
                connection.close(1011, "Internal server error. Traceback included in previous frame.")
            return
        frame = protocol.reply(message, how)
        if how == "slow":
            held.wait(SLOW_S)
        if how == "late":
            held.wait()
        connection.send(frame)


def running(make: Callable[[], Protocol]) -> contextlib.closing[WebsocketPeer]:
    """A peer for as long as a test talks to it."""
    return contextlib.closing(WebsocketPeer(make))
