"""What a hostile client of a websocket server sends, one connection after the other from a seed, as bytes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from runtime.layout import CAMERAS
from tests.conformance.emulators.numpy_msgpack import packb
from tests.fuzz.damage import Damager

UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BINARY: Final = 2
CLOSE: Final = 8
SMALL_PX: Final = 4
LARGE_EVERY: Final = 200


def frame(payload: bytes, opcode: int = BINARY, *, first: int | None = None, claim: int | None = None) -> bytes:
    """Return a masked frame (RFC 6455, 5.2) under a mask of zeros; `first` byte and claimed length as given."""
    size = len(payload) if claim is None else claim
    head = bytes([0x80 | opcode if first is None else first])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + (size & (2**64 - 1)).to_bytes(8, "big")
    return head + bytes(4) + payload


def observation(side_px: int) -> bytes:
    """Return a healthy observation with pictures of a size, which the server brings to its own."""
    images = {name: np.full((3, side_px, side_px), 90, np.uint8) for name in CAMERAS}
    tree: dict[str, Any] = {"state": np.full(14, 0.1, np.float32), "images": images, "prompt": "hand it over"}
    return packb(tree)


class Frames:
    """An endless, repeatable sequence; `counts` says how many there were of each sort."""

    def __init__(self, damage: Damager) -> None:
        self._damage, self._draw = damage, damage.draw
        self._small, self._large = observation(SMALL_PX), observation(224)
        self._made = 0
        self.counts: dict[str, int] = {}

    def next(self) -> tuple[bytes, bool]:
        """Return all that the next connection sends, and whether that is a whole message, which is answered."""
        self._made += 1
        observed = self._damaged
        sorts = (observed, observed, observed, observed, observed, self._framing, self._handshake)
        sort = self._draw.choice(sorts)
        name = sort.__name__.lstrip("_")
        self.counts[name] = self.counts.get(name, 0) + 1
        return sort(), sort == observed

    def observation(self) -> bytes:
        """Return the next damaged observation, as the library hands it over."""
        self._made += 1
        self.counts["damaged"] = self.counts.get("damaged", 0) + 1
        return self._damage.of(self._large if self._made % LARGE_EVERY == 0 else self._small)

    def _damaged(self) -> bytes:
        whole = self._large if self._made % LARGE_EVERY == 0 else self._small
        damaged = frame(self._damage.of(whole))
        if self._draw.random() < 0.05:
            damaged = frame(whole) + damaged
        return UPGRADE + damaged

    def _framing(self) -> bytes:
        draw, small = self._draw, self._small
        choices = (
            frame(small, first=draw.choice((0xF2, 0xC2, 0x83, 0x8F, 0x80, 0x02, 0x0B))),
            frame(small, claim=draw.choice((2**24, 2**24 + 1, 2**31, 2**63 - 1, 2**64 - 1, 5))),
            bytes([0x82, 5]) + b"plain",
            frame(b"\xff\xfe\xfa" * 5, 1),
            frame("é".encode() * 900, 1),
            frame(b"x" * 126, 9),
            frame(b"x" * 5, first=0x09),
            b"".join(frame(b"ping", 9) for _ in range(50)),
            frame(small[:40], first=0x02) + b"".join(frame(b"", first=0x00) for _ in range(draw.choice((1, 500)))),
            frame(small[:40], first=0x02) + frame(small[40:], first=0x82),
            frame(draw.choice((b"", b"\x00", b"\x03\xe8\xff", b"\x00\x01", b"\x03\xe8" + b"x" * 123)), CLOSE),
            draw.randbytes(draw.choice((1, 20, 500))),
        )
        return UPGRADE + draw.choice(choices)

    def _handshake(self) -> bytes:
        draw = self._draw
        choices = (
            draw.randbytes(draw.choice((1, 30, 2000))),
            UPGRADE[: draw.randrange(len(UPGRADE))],
            UPGRADE.replace(b"AAAA", b"A" * draw.choice((0, 1, 9000))),
            UPGRADE.replace(b"Host", b"Origin: http://evil.example\r\nHost"),
            UPGRADE.replace(b"13\r\n", draw.choice((b"12\r\n", b"-1\r\n", b"x\r\n"))),
            UPGRADE.replace(
                b"GET /", draw.choice((b"GET /" + b"a" * 9000, b"POST /", b"GET /healthz", b"GET http://x/"))
            ),
            UPGRADE.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * draw.choice((10, 300)) + b"\r\n"),
            UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: \xff\xfe\x00"),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(200),
            b"",
        )
        return draw.choice(choices)
