"""Malformed messages for a policy server, one after the other from a seed: real ones damaged, and made-up ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.handshake import rig_schema
from tests.fuzz.requests import Request, Requests
from tests.process.serving import observation

SESSION: Final = "@session"
"""Stands for the name of the sender's own session in a header."""
FULL_EVERY: Final = 150
"""One in so many messages carries whole pictures, so that what the model reads is wrong in one place only."""
NUMBERS: Final = 2**40
"""Requests are numbered from here on: no damage to another's number makes one of these."""
REQUESTS: Final = 0.2
"""How many of the others are requests that a model would be asked about."""

Header = dict[str, Any]
_STATE: Final = np.zeros(14, dtype=np.float32).tobytes()
_NUMBERS: Final = (-1, -(2**31), -(2**63), 2**31, 2**63 - 1, 2**63, 2**64 - 1, 0.5, -0.0, 1e308, -1e308)
_STRANGE: Final = (
    *_NUMBERS,
    float("nan"),
    float("inf"),
    float("-inf"),
    None,
    True,
    "",
    "s1",
    "s2",
    "\0",
    "é" * 3000,
    "x" * 15_000,
    b"",
    b"\xff" * 100,
    [],
    [[[[]]]],
    [1] * 500,
    {},
    {"": ""},
    {"a": {"b": {"c": [1, 2, 3]}}},
)
_SHAPES: Final = ([], [0], [14], [15], [-1], [8192, 8192, 8192, 8192], [8193], [2**63], [1] * 5, [0, 8192], [2.5], "14")
_DTYPES: Final = ("f4", "f8", "u1", "i8", "O", "V8", "f2", ">f4", "", "f4f4", None, 4)


def _headers() -> list[Header]:
    """Return a well-formed header of every kind, those that only a server sends too."""
    rig = rig_schema(load_rig("sim-x5"))
    state = wire.ArraySpec("state", "f4", (14,))
    schema = wire.Schema(
        policy="p",
        policy_class="VLA",
        joint_names=rig.joint_names,
        rate_hz=50,
        horizon=50,
        execute_steps=8,
        prefix_max=25,
        cameras=("cam_high",),
        width_px=320,
        height_px=240,
        velocity=True,
        object_state=0,
        latency_ms=10.0,
    )
    messages: list[wire.Message] = [
        wire.Hello(client="fuzz", rig=rig, task="transfer", prompt="hand it over"),
        wire.Welcome(session=SESSION, schema=schema),
        wire.Refused(reason="no"),
        wire.Infer(session=SESSION, request_seq=7, obs_seq=9, deadline_ms=500.0, arrays=(state,)),
        wire.Chunk(session=SESSION, request_seq=7, obs_seq=9, server_ns=1, infer_ns=1, arrays=(state,)),
        wire.Superseded(session=SESSION, request_seq=7),
        wire.Error(code="failed", reason="no"),
        wire.Cancel(session=SESSION, request_seq=7),
        wire.Ping(session=SESSION),
        wire.Pong(session=SESSION),
    ]
    return [msgspec.to_builtins(message) for message in messages]


class Malformer:
    """An endless, repeatable sequence of messages; `counts` says how many there were of each sort.

    `about` is what a refusal of a request has to name, by the request's number.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 repeatable, not secret
        self._headers = _headers()
        self._infer = next(header for header in self._headers if header["kind"] == "infer")
        self._full = {name: array.tobytes() for name, array in observation().items()}
        self._specs = [[name, array.dtype.str[1:], list(array.shape)] for name, array in observation().items()]
        self._made = NUMBERS
        self._sorts: tuple[Callable[[], list[bytes]], ...] = (
            self._noise,
            self._flipped,
            self._cut,
            self._strange_field,
            self._strange_field,
            self._nested,
            self._overclaimed,
            self._strange_arrays,
            self._many_frames,
            self._long_header,
            self._well_formed,
            self._cancel,
        )
        self._requests = Requests(self._random).sorts
        self.counts: dict[str, int] = {}
        self.about: dict[int, str] = {}

    def next(self, session: str) -> list[bytes]:
        """Return the frames of the next message of a client whose session has this name."""
        self._made += 1
        sort: Callable[[], list[bytes] | Request] = self._almost_right
        if self._made % FULL_EVERY:
            sort = self._random.choice(self._requests if self._random.random() < REQUESTS else self._sorts)
        name = sort.__name__.lstrip("_")
        self.counts[name] = self.counts.get(name, 0) + 1
        self._session = session
        made = sort()
        return self._packed(made) if isinstance(made, Request) else made

    def _pack(self, header: Any) -> bytes:
        if isinstance(header, dict) and header.get("session") == SESSION:
            header = header | {"session": self._session}
        if isinstance(header, dict) and header.get("kind") == "hello" and header.get("client") == "fuzz":
            # Not one name for all: each connection would end the session of the one before.
            header = header | {"client": f"fuzz-{self._session}"}
        try:
            return msgspec.msgpack.encode(header)
        except OverflowError:
            return b"\xcf" + b"\xff" * 8

    def _packed(self, request: Request) -> list[bytes]:
        specs = [[name, array.dtype.str[1:], list(array.shape)] for name, array in request.arrays.items()]
        number = {"request_seq": self._made, "epoch": int(self._random.random() < 0.1), "arrays": specs}
        if request.about:
            self.about[self._made] = request.about
        header = self._pack(self._infer | number | request.fields)
        return [header, *(array.tobytes() for array in request.arrays.values())]

    def _real(self) -> list[bytes]:
        header = self._random.choice(self._headers)
        return [self._pack(header), *([_STATE] if header["arrays"] else [])]

    def _noise(self) -> list[bytes]:
        draw = self._random
        return [draw.randbytes(draw.choice((0, 1, 5, 40, 300))) for _ in range(draw.randint(1, 6))]

    def _flipped(self) -> list[bytes]:
        frames = self._real()
        header = bytearray(frames[0])
        for _ in range(self._random.randint(1, 8)):
            header[self._random.randrange(len(header))] = self._random.randrange(256)
        return [bytes(header), *frames[1:]]

    def _cut(self) -> list[bytes]:
        frames = self._real()
        which = self._random.randrange(len(frames))
        frames[which] = frames[which][: self._random.randrange(len(frames[which]))]
        if self._random.random() < 0.3:
            frames[which] += self._random.randbytes(50)
        return frames[: self._random.randint(1, len(frames))]

    def _strange_field(self) -> list[bytes]:
        draw = self._random
        header = dict(draw.choice(self._headers))
        for _ in range(draw.randint(1, 3)):
            key = draw.choice([*header])
            if isinstance(header[key], dict) and header[key] and draw.random() < 0.7:
                header[key] = header[key] | {draw.choice([*header[key]]): draw.choice(_STRANGE)}
            elif draw.random() < 0.2 and len(header) > 1:
                del header[key]
            else:
                header[key] = draw.choice(_STRANGE)
        return [self._pack(header), *([_STATE] if header.get("arrays") else [])]

    def _nested(self) -> list[bytes]:
        draw = self._random
        opening = draw.choice((b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\x92\xc0"))
        depth = draw.choice((10, 500, 5000))
        key = draw.choice((b"arrays", b"rig", b"x"))
        inside = opening * depth + b"\xc0"
        return [b"\x83\xa1v\x01\xa4kind\xa5" + b"hello" + bytes([0xA0 | len(key)]) + key + inside]

    def _overclaimed(self) -> list[bytes]:
        draw = self._random
        claim = draw.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")) + b"\xff\xff\xff\xff"
        key = draw.choice((b"arrays", b"session", b"x"))
        header = b"\x83\xa1v\x01\xa4kind\xa4ping" + bytes([0xA0 | len(key)]) + key + claim
        return [draw.choice((header, claim)) + draw.randbytes(draw.choice((0, 30)))]

    def _strange_arrays(self) -> list[bytes]:
        draw = self._random
        specs = [
            [draw.choice(("state", "prefix", "", "x" * 65, None)), draw.choice(_DTYPES), draw.choice(_SHAPES)]
            for _ in range(draw.choice((1, 1, 2, 16, 17, 300)))
        ]
        header = draw.choice([header for header in self._headers if header["arrays"]]) | {"arrays": specs}
        sizes = (0, 1, 56, 60, 112)
        return [self._pack(header), *(bytes(draw.choice(sizes)) for _ in range(min(len(specs), draw.randint(0, 18))))]

    def _many_frames(self) -> list[bytes]:
        return [*self._real(), *[b"x" * self._random.choice((0, 9))] * self._random.choice((1, 16, 17, 18, 100, 400))]

    def _long_header(self) -> list[bytes]:
        header = self._random.choice(self._headers)
        return [self._pack(header | {"more": "x" * self._random.choice((16_000, 16_400, 70_000))})]

    def _well_formed(self) -> list[bytes]:
        return self._real()

    def _cancel(self) -> list[bytes]:
        """Say that an answer is of no use any more: one that was asked for last, or another client's."""
        draw = self._random
        whose = draw.choice((SESSION, SESSION, "s1", "s2", f"s{draw.randrange(1000)}"))
        which = draw.choice((self._made - draw.randrange(9), draw.randrange(1, 2000), 2**63 - 1))
        return [self._pack({"v": 1, "kind": "cancel", "session": whose, "request_seq": which, "arrays": []})]

    def _almost_right(self) -> list[bytes]:
        """A request with every array that was agreed, and one thing wrong with it (or, now and then, nothing)."""
        draw = self._random
        arrays, specs = dict(self._full), {name: [name, code, list(shape)] for name, code, shape in self._specs}
        header = self._infer | {"request_seq": self._made, "seed": draw.choice((0, 5, 2**63 - 1))}
        name = draw.choice(("state", "velocity"))
        match draw.randrange(8):
            case 0:
                row = np.full(14, draw.choice((np.nan, np.inf, -np.inf, 3e38)), dtype=np.float32)
                arrays[name] = row.tobytes()
            case 1:
                arrays[name], specs[name] = bytes(8 * 14), [name, "f8", [14]]
            case 2:
                specs[name] = [name, "f4", draw.choice(([7, 2], [1, 14], [2, 7, 1]))]
            case 3:
                del arrays[draw.choice([*arrays])]
            case 4:
                rows = draw.choice((1, 25, 26, 50, 51, 8192))
                arrays["prefix"], specs["prefix"] = bytes(rows * 56), ["prefix", "f4", [rows, 14]]
                header["condition"] = draw.choice(("prefix", "guided", "plain"))
                header["committed"] = draw.choice((0, rows, rows + 1, 2**63 - 1))
            case 5:
                header["condition"] = draw.choice(("guided", "prefix"))
                header["committed"], header["execute"] = draw.choice(((0, 2**63 - 1), (2**63 - 1, 0), (0, 0)))
            case 6:
                header["deadline_ms"] = draw.choice((1e-300, 1e-6, 3_600_000.0))
            case _:
                pass
        return [self._pack(header | {"arrays": [specs[name] for name in arrays]}), *arrays.values()]
