"""What reaches a server besides its clients' messages: bytes on a plain TCP connection, and descriptors at its door."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
from typing import Final

from runtime.inference.region import REGION_BYTES_MAX, SEALS

GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
"""ZMTP 3.0's (ZeroMQ RFC 23): signature, version, mechanism, as a client."""
_PROPERTIES: Final = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
READY: Final = bytes([4, len(_PROPERTIES)]) + _PROPERTIES
"""The command that ends the handshake."""


def stray_bytes(draw: random.Random) -> bytes:
    """Return what one such connection sends: noise, half a greeting, or a frame that claims to be huge."""
    hello = GREETING + READY
    size = draw.choice((2**24 + 1, 2**31, 2**62, 2**64 - 1)).to_bytes(8, "big")
    return draw.choice(
        (
            draw.randbytes(draw.choice((1, 20, 500))),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            hello[: draw.randrange(len(hello))],
            hello + draw.choice((b"\x02", b"\x03", b"\x06")) + size + draw.randbytes(100),
            hello + draw.randbytes(300),
            GREETING + b"\x06" + size,
            GREETING + b"\x04\xff" + draw.randbytes(255),
        )
    )


def stray(endpoint: str, draw: random.Random) -> None:
    """Connect to a tcp endpoint, send such bytes and leave."""
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as link:
        link.sendall(stray_bytes(draw))


def stray_knock(door: str, secret: str, draw: random.Random) -> None:
    """Hand a server's door what is no memory and no lane, or none of this session, and leave without an answer."""
    unsealed, huge = (os.memfd_create("stray", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) for _ in range(2))
    os.ftruncate(unsealed, 4096)
    os.ftruncate(huge, REGION_BYTES_MAX + 4096)
    fcntl.fcntl(huge, fcntl.F_ADD_SEALS, SEALS)
    fds = [unsealed, huge, *os.pipe(), os.open("/dev/zero", os.O_RDONLY), os.open("/", os.O_RDONLY)]
    fds += [each.detach() for each in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    said = draw.choice((secret.encode(), secret.encode()[:-1], b"", b"\xff" * 32, draw.randbytes(100)))
    handed = draw.sample(fds, draw.choice((0, 1, 2, 2, 2, 3, 6)))
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    # The door of a server that is behind takes nothing more.
    with link, contextlib.suppress(BlockingIOError):
        link.connect(f"\0{door}")
        socket.send_fds(link, [said], handed)
    for fd in fds:
        os.close(fd)
