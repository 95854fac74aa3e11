"""Endpoints and sockets: where a policy server may listen, and reading a message without trusting its size."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

import zmq

from runtime.errors import LeadtimeError, UsageError
from runtime.net.frames import FRAME_BYTES_MAX, FRAMES_MAX, Buffer
from runtime.net.keys import ClientKeys, ServerKeys

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
ABSTRACT: Final = "@"
"""First character of an ipc path that is a name of the kernel's, not of the file system."""
IPC_PATH_BYTES_MAX: Final = 107
HEARTBEAT_INTERVAL_MS: Final = 500
HEARTBEAT_TIMEOUT_MS: Final = 1500
QUEUE_MESSAGES_MAX: Final = 16
_TCP: Final = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+):(?P<port>\d{1,5}|\*)")


def of_this_host(endpoint: str) -> bool:
    """Whether only this host reaches an endpoint: `ipc://PATH`, or a loopback address."""
    return endpoint.startswith("ipc://") or endpoint.removeprefix("tcp://").rpartition(":")[0] in LOOPBACK


def check_endpoint(endpoint: str, *, bind: bool, exposed: bool = False, keyless: bool = False) -> str:
    """Return the endpoint if it is well formed and, to `bind`, reachable from this host only unless `exposed`.

    `keyless`: the program that binds has no keys to offer.

    Raises:
        UsageError: the text is no endpoint, or a server would listen beyond this host.
    """
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        if not path or len(path.encode()) > IPC_PATH_BYTES_MAX:
            raise UsageError(f"endpoint {endpoint!r}: give a path of 1 to {IPC_PATH_BYTES_MAX} bytes")
        if not path.startswith(ABSTRACT) and not Path(path).parent.is_dir():
            raise UsageError(f"endpoint {endpoint!r}: folder {Path(path).parent} does not exist")
        # The library unlinks whatever it finds at the path before it binds.
        if bind and not path.startswith(ABSTRACT) and Path(path).exists() and not Path(path).is_socket():
            raise UsageError(f"endpoint {endpoint!r}: {path} is there and is no socket; give a path of its own")
        return endpoint
    match = _TCP.fullmatch(endpoint)
    port = match["port"] if match else ""
    if match is None or (port == "*" and not bind) or (port != "*" and not 0 < int(port) <= 65_535):
        raise UsageError(f"{endpoint!r} is no endpoint; write tcp://127.0.0.1:PORT or ipc://PATH")
    if bind and not exposed and match["host"] not in LOOPBACK:
        if keyless:
            raise UsageError(
                f"endpoint {endpoint!r} would serve other hosts, and this server has no keys: anyone could connect and "
                f"read along; bind tcp://127.0.0.1:{port}, or accept it with --insecure"
            )
        raise UsageError(
            f"endpoint {endpoint!r} would serve other hosts, and without keys anyone could connect and read along; "
            f"give --keys DIR, bind tcp://127.0.0.1:{port} or ipc://PATH, or accept it with --insecure"
        )
    return endpoint


def open_router(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    keys: ServerKeys | None = None,
    *,
    insecure: bool = False,
) -> zmq.Socket[bytes]:
    """Return a bound server socket. With `keys`, or if told to be `insecure`, it may serve other hosts.

    Raises:
        UsageError: the endpoint may not be bound.
        LeadtimeError: another process has it.
    """
    check_endpoint(endpoint, bind=True, exposed=insecure or keys is not None)
    if endpoint.startswith("ipc://") and _ipc_in_use(Path(endpoint.removeprefix("ipc://"))):
        raise LeadtimeError(f"{endpoint} is in use by another server; stop it or bind another path")
    router = _socket(context, zmq.ROUTER, endpoint)
    if keys is not None:
        keys.guard(router)
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        router.close()
        if error.errno == zmq.EADDRINUSE:
            raise LeadtimeError(f"{endpoint} is in use by another process; stop it or bind another port") from None
        raise LeadtimeError(f"cannot bind {endpoint}: {error.strerror}") from None
    return router


def make_dealer(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: ClientKeys | None = None
) -> zmq.Socket[bytes]:
    """Return a client socket for an endpoint that is not connected yet, so that its connecting can be watched.

    It connects once: whoever owns it decides when to try again.
    """
    dealer = _socket(context, zmq.DEALER, endpoint)
    if keys is not None:
        keys.present(dealer)
    dealer.setsockopt(zmq.RECONNECT_IVL, -1)
    return dealer


def readable(link: zmq.Socket[bytes]) -> bool:
    """Return whether there is a message; only after this has said no may one wait on the socket's own descriptor."""
    return bool(int(link.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def receive(link: zmq.Socket[bytes], identified: bool) -> tuple[bytes, list[Buffer]] | None:
    """Return (sender, frames) of the next message without waiting; None when there is none.

    `identified` says whether the first frame is the sender's identity. Frames beyond the protocol's count are
    read off the socket but not kept, so a message costs no more than its bound.
    """
    keep = FRAMES_MAX + 1 + identified
    if not readable(link):
        return None
    frames: list[Buffer] = []
    part = link.recv(copy=False)
    frames.append(part.buffer)
    while part.more:
        part = link.recv(copy=False)
        if len(frames) < keep:
            frames.append(part.buffer)
    sender = bytes(frames.pop(0)) if identified else b""
    return sender, frames


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str) -> zmq.Socket[bytes]:
    link = context.socket(kind)
    link.setsockopt(zmq.LINGER, 0)
    link.setsockopt(zmq.IPV6, "[" in endpoint)
    link.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    link.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES_MAX)
    link.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES_MAX)
    if kind == zmq.DEALER:
        # Asked by one side for both. A server's own timer ends its process (libzmq 4.3.5, issues 4364 and 4841) where a
        # client is gone and more of its messages wait than are read ahead.
        link.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
        link.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        link.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    return link


def _ipc_in_use(path: Path) -> bool:
    # Unlinked as well, it would lose its place to us.
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
