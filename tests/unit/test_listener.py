"""The listening socket of the openpi server: what strangers do to its accept does not end it, and is bounded."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.inference.server import listener
from runtime.inference.server.listener import Listener

BOUND = 3


@pytest.fixture
def listening() -> Iterator[Listener]:
    with Listener(socket.create_server(("127.0.0.1", 0)), BOUND) as made:
        yield made


def client(made: Listener) -> socket.socket:
    return socket.create_connection(made.getsockname(), timeout=10)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_an_accept_that_fails_for_now_is_tried_again(
    listening: Listener, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = socket.socket.accept, [OSError(number, "for now")] * 2

    def accept(self: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr(listener, "PAUSE_S", 0.0)
    with client(listening):
        connection, _ = listening.accept()
        connection.close()
    assert not failures


def test_an_accept_that_fails_for_good_says_so(listening: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(self: socket.socket) -> Any:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(socket.socket, "accept", accept)
    with client(listening), pytest.raises(OSError, match="no"):
        listening.accept()


def test_a_connection_beyond_the_bound_is_closed_and_there_is_room_again_when_one_ends(listening: Listener) -> None:
    clients = [client(listening) for _ in range(BOUND)]
    held = [listening.accept()[0] for _ in range(BOUND)]
    taken: list[socket.socket] = []
    accepting = threading.Thread(target=lambda: taken.append(listening.accept()[0]), daemon=True)
    accepting.start()
    with client(listening) as refused:
        assert refused.recv(1) == b""
    held.pop().close()
    with client(listening):
        accepting.join(10)
        assert len(taken) == 1
    for each in (*clients, *held, *taken):
        each.close()


def test_who_waits_for_a_connection_is_told_when_the_socket_is_closed(listening: Listener) -> None:
    ended = threading.Event()

    def accept() -> None:
        with pytest.raises(OSError, match="closed"):
            listening.accept()
        ended.set()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    listening.close()
    assert ended.wait(10)
