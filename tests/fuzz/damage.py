"""Messages damaged, from a seed: their bytes, the tree that they hold, and made-up ones that claim to be huge."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from typing import Any, Final

import msgpack

STRANGE: Final[tuple[Any, ...]] = (
    *(-1, 0, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, 1e308, -1e308, float("nan"), float("inf")),
    *(None, True, "", "\0", "é" * 3000, "<f4", "|O", "|V8", "<f8", "{}"),
    *([], [[]], [2**31] * 3, [2**62, 4], [-1, 14], [0, 2**40], [1] * 40, {}, {"": {}}, {"a": [1, {"b": None}]}),
)
"""What a value of a tree is replaced with: numbers at the edges, types that may not be, shapes that cannot be."""
MSGPACK_ONLY: Final[tuple[Any, ...]] = (
    b"",
    b"\xff" * 100,
    {b"__ndarray__": True},
    {b"nd": True, b"kind": b"O"},
    {1: 2},
)
CODES: Final = (0xC1, 0xC6, 0xC7, 0xC9, 0xD4, 0xD8, 0xDB, 0xDD, 0xDF, 0x80, 0x90, 0xA0, 0xFF)
"""Codes of msgpack: none, bytes, extensions, text, lists and maps, with lengths of their own."""
LENGTHS: Final = (
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x80\x00\x00\x00",
    b"\x00\x0f\xff\xff",
)


class Damager:
    """An endless, repeatable sequence of damage; `counts` says how much there was of each sort."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 repeatable, not secret
        self.counts: dict[str, int] = {}

    def of(self, data: bytes, kind: str = "msgpack") -> bytes:
        """Return a message in place of a healthy one, which is `msgpack`, `json` or an `archive` of torch."""
        on_trees = {"msgpack": self._msgpack, "json": self._json, "archive": self._archive}[kind]
        sorts = (self._flipped, self._cut, self._spliced, self._lengths, on_trees, on_trees, on_trees, self._made_up)
        sort = self.draw.choice(sorts)
        name = sort.__name__.lstrip("_")
        self.counts[name] = self.counts.get(name, 0) + 1
        return sort(data)

    def _flipped(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(self.draw.randint(1, 8)):
            damaged[self._place(data)] = self.draw.choice((self.draw.randrange(256), *CODES))
        return bytes(damaged)

    def _cut(self, data: bytes) -> bytes:
        kept = data[: self._place(data)]
        return kept + self.draw.randbytes(self.draw.choice((0, 0, 1, 40)))

    def _spliced(self, data: bytes) -> bytes:
        first, second = sorted((self._place(data), self._place(data)))
        piece = data[first : first + self.draw.choice((1, 4, 60))]
        return self.draw.choice((data[:first] + data[second:], data[:second] + piece * 3 + data[second:]))

    def _lengths(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.draw.choice(LENGTHS) + data[place + 4 :]

    def _made_up(self, data: bytes) -> bytes:
        draw = self.draw
        opening = draw.choice((b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"[", b'{"a":'))
        return draw.choice(
            (
                draw.randbytes(draw.choice((0, 1, 9, 300))),
                opening * draw.choice((10, 100, 3000)) + b"\xc0",
                bytes([draw.choice(CODES)]) + draw.choice(LENGTHS) + draw.randbytes(draw.choice((0, 30))),
                b"\x81\xa7actions" + bytes([draw.choice(CODES)]) + draw.choice(LENGTHS),
                b"[" + b"0," * draw.choice((10, 70_000)) + b"0]",
                data + draw.randbytes(3),
            )
        )

    def _msgpack(self, data: bytes) -> bytes:
        try:
            tree = msgpack.unpackb(data, strict_map_key=False)
        except ValueError:
            # A text that stands for itself.
            return self._flipped(data)
        try:
            return bytes(msgpack.packb(self.tree(tree, (*STRANGE, *MSGPACK_ONLY))))
        except (OverflowError, ValueError):
            return b"\xcf" + b"\xff" * 8

    def _json(self, data: bytes) -> bytes:
        return json.dumps(self.tree(json.loads(data), STRANGE)).encode()

    def _archive(self, data: bytes) -> bytes:
        """Damage the files of a zip and put it together again, so that its own checks pass."""
        out, draw = io.BytesIO(), self.draw
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", draw.choice((0, 0, 0, 8))) as new:
            entries = old.infolist()
            which = draw.choice(entries)
            for entry in entries:
                content = old.read(entry)
                if entry is which or entry.filename.endswith("data.pkl"):
                    content = draw.choice((self._flipped, self._cut, self._spliced, self._lengths))(content or b"\0")
                new.writestr(entry.filename, content)
            if draw.random() < 0.1:
                new.writestr(draw.choice(("archive/data/9", "../x", "archive/data.pkl2")), b"\0" * 9)
        return out.getvalue()

    def tree(self, tree: Any, strange: tuple[Any, ...]) -> Any:
        """Return a tree of which one to three values are others, or gone."""
        whole = [copy.deepcopy(tree)]
        for _ in range(self.draw.randint(1, 3)):
            box: Any = whole
            key: Any = 0
            while isinstance(box[key], dict | list) and box[key] and self.draw.random() < 0.8:
                box = box[key]
                key = self.draw.choice([*box]) if isinstance(box, dict) else self.draw.randrange(len(box))
            if self.draw.random() < 0.15 and box is not whole:
                del box[key]
            else:
                box[key] = copy.deepcopy(self.draw.choice(strange))
        return whole[0]

    def _place(self, data: bytes) -> int:
        # Twice as often near the front, where the headers are.
        return self.draw.randrange(min(len(data), self.draw.choice((64, max(len(data), 1)))) or 1) if data else 0
