"""Requests that a server understands and that are wrong in what they carry, one thing in each.

Pictures as JPEG, places in memory that was handed over, and what a policy with a memory is told was executed.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.inference.client.gallery import Gallery
from runtime.inference.jpeg import ROW_BYTES, encode_pictures
from runtime.layout import CAMERAS

SIZE_PX: Final = (240, 320)
PICTURE_BYTES: Final = SIZE_PX[0] * SIZE_PX[1] * 3
KEY_PX: Final = (12, 16)
MANY_SCANS: Final = 2000

Arrays = dict[str, NDArray[Any]]


@dataclass
class Request:
    """Header fields besides those of any request, its arrays, and what a refusal of it has to name, "" for nothing."""

    arrays: Arrays
    about: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def shaded(height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture that is not of one colour."""
    rows = np.arange(height)[:, None, None] + np.arange(width)[None, :, None] * np.array((1, 2, 3))
    return (rows % 256).astype(np.uint8)


def memory() -> Gallery:
    """Return memory with a picture of each camera in it, to be handed over."""
    kept = Gallery(dict.fromkeys(CAMERAS, SIZE_PX[::-1]), 2)
    for name in CAMERAS:
        kept.take(name, shaded(*SIZE_PX), 0)
    return kept


MEMORY_BYTES: Final = memory().size_bytes


class Requests:
    """Makes them, from `draw`; `sorts` are the ways in which they are wrong."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._state = {"state": np.full(14, 0.1, np.float32), "velocity": np.zeros(14, np.float32)}
        self._pictures = encode_pictures({f"image/{name}": shaded(*SIZE_PX) for name in CAMERAS})
        self._file = self._pictures[f"jpeg/{CAMERAS[0]}"].tobytes().rstrip(b"\0")
        self._others = _other_files()
        self._key_file = _file(shaded(*KEY_PX))
        self._tick = 0
        self.sorts = (self.jpeg_bent, self.jpeg_other, self.jpeg_rows, self.placed, self.key_views, self.executed)

    def jpeg_bent(self) -> Request:
        """A picture's file damaged: nothing of it may be left, or a picture that looks otherwise."""
        return self._with_picture(_rows(self._bent(self._file)))

    def jpeg_other(self) -> Request:
        """A file that is whole, and of another size, colours or kind; or says that it is of some size."""
        draw, file = self._draw, self._file
        start = file.index(b"\xff\xc0") + 5
        claimed = b"".join(draw.choice((0, 1, 239, 241, 2400, 65_535)).to_bytes(2, "big") for _ in range(2))
        last = self._others[-1].rindex(b"\xff\xda")
        scans = self._others[-1][:-2] + self._others[-1][last:-2] * draw.choice((1, MANY_SCANS)) + b"\xff\xd9"
        return self._with_picture(
            _rows(draw.choice((*self._others, scans, file[:start] + claimed + file[start + 4 :], b"", b"\xff\xd8")))
        )

    def jpeg_rows(self) -> Request:
        """A file in an array of another shape or type, or besides it, or in place of it, another."""
        draw = self._draw
        rows = _rows(self._file)
        whole = rows.reshape(-1)
        made = self._with_picture(
            draw.choice((whole, rows[None], rows[:0], whole[:0], whole[:4096].view(np.float32), rows[:1, :1]))
        )
        match draw.randrange(4):
            case 0:
                made.arrays[f"image/{CAMERAS[0]}"] = np.zeros((2, 2, 3), np.uint8)
            case 1:
                del made.arrays[f"jpeg/{CAMERAS[0]}"]
            case 2:
                made.arrays[draw.choice(("jpeg/", "jpeg/nobody", "jpeg-key/nobody", "jpeg/jpeg/cam_high"))] = rows
            case _:
                pass
        return made

    def placed(self) -> Request:
        """Pictures in memory that was handed over: where they are, or somewhere else, or as something else."""
        draw = self._draw
        places: list[list[Any]] = [
            [f"image/{name}", [*SIZE_PX, 3], i * PICTURE_BYTES] for i, name in enumerate(CAMERAS)
        ]
        which = draw.choice(places)
        about = str(which[0]).removeprefix("image/")
        match draw.randrange(9):
            case 0:
                # What is no offset is refused before it is known of which request.
                which[2], about = draw.choice((-1, -PICTURE_BYTES, 2**63, 2**64 - 1)), ""
            case 1:
                which[2] = draw.choice((MEMORY_BYTES - PICTURE_BYTES + 1, MEMORY_BYTES, 2**62, 2**63 - 1))
            case 2:
                which[1] = draw.choice(([8192] * 4, [8192, 8192, 3], [MEMORY_BYTES // 8192 + 1, 8192]))
            case 3:
                which[1] = draw.choice(([], [0], [0, 320, 3], [PICTURE_BYTES // 8192], [240, 320], [240, 320, 3, 1]))
            case 4:
                places.append([*which])
            case 5:
                about = draw.choice(("state", "jpeg/cam_high", "key_tick", "executed", "prefix", "x"))
                places.append([about, *which[1:]])
            case 6:
                # One over another, or anywhere inside: pictures all the same.
                which[2], about = draw.randrange(MEMORY_BYTES - PICTURE_BYTES + 1), ""
            case 7:
                places.remove(which)
            case _:
                about = ""
        return Request(dict(self._state), about, {"shared": places})

    def key_views(self) -> Request:
        """Key views, raw or as JPEG, of which one camera's are not what was agreed."""
        draw = self._draw
        views = draw.choice((1, 2, 3))
        made = self._remembered(views, coded=draw.random() < 0.7)
        camera = draw.choice(CAMERAS)
        name = next(name for name in made.arrays if name.endswith(f"key/{camera}"))
        stack, made.about = made.arrays[name], camera
        match draw.randrange(7):
            case 0:
                file = self._bent(self._key_file)
                made.arrays.pop(name)
                rows = _rows(file)
                made.arrays[f"jpeg-key/{camera}"] = np.stack([rows] * views)
            case 1:
                made.arrays[name] = draw.choice((stack[:0], stack[0], stack[None][:, :1], np.repeat(stack, 2, axis=0)))
            case 2:
                made.arrays[name] = draw.choice((stack[..., :1], stack[:, :0], stack.astype(np.float32)))
            case 3:
                del made.arrays[name]
            case 4:
                made.arrays.pop(name)
                files = [_rows(self._key_file), _rows(_file(shaded(8, 8)))]
                made.arrays[f"jpeg-key/{camera}"] = np.stack([draw.choice(files) for _ in range(views)])
            case 5:
                states = np.full((views, 14), draw.choice((np.nan, np.inf)), np.float32)
                made.arrays["key_state"] = draw.choice((states, states[:, :13], states[:0], np.zeros(14)))
                made.about = "key_state"
            case _:
                made.about = ""
        return made

    def executed(self) -> Request:
        """What was executed, and at which of its ticks views were seen: of other shapes, not finite, out of range."""
        draw = self._draw
        made = self._remembered(draw.choice((0, 1, 3)), coded=False)
        rows, made.about = made.arrays["executed"], "executed"
        match draw.randrange(7):
            case 0:
                made.arrays["executed"] = draw.choice(
                    (rows[:, :13], rows[..., None], rows.astype(np.float64), rows[0], rows.reshape(-1), rows[0, 0])
                )
            case 1:
                made.arrays["executed"] = np.full_like(rows, draw.choice((np.nan, np.inf, -np.inf)))
            case 2:
                made.arrays["executed"] = np.zeros((draw.choice((0, 513, 8192)), 14), np.float32)
                made.about = ""
            case 3 | 4:
                made.arrays["key_tick"], made.about = self._strange_ticks(len(rows)), "key"
            case 5:
                made.fields["executed_tick"] = draw.choice((0, 1, 2**31, 2**63 - 1))
                made.about = ""
            case _:
                made.about = ""
        return made

    def _strange_ticks(self, rows: int) -> NDArray[Any]:
        return self._draw.choice(
            (
                np.array([-1]),
                np.array([rows, rows + 1, 2**63 - 1]),
                np.array([-(2**63), 0, 1]),
                np.array([2, 1, 0]),
                np.array([1, 1, 1]),
                np.array(1),
                np.array([[0], [1], [2]]),
                np.array([0.0, np.nan, 1.0]),
                np.array([np.inf], np.float32),
                np.zeros(100_000, np.uint8),
                np.arange(9000),
            )
        )

    def _remembered(self, views: int, *, coded: bool) -> Request:
        """What a policy with a memory is told, as it should be."""
        draw = self._draw
        count = draw.choice((3, 4, 9))
        told: Arrays = {"executed": np.full((count, 14), 0.1, np.float32)}
        if views:
            stack = np.stack([shaded(*KEY_PX)] * views)
            told |= {f"key/{name}": stack for name in CAMERAS}
            told |= {"key_state": np.zeros((views, 14), np.float32), "key_tick": np.arange(views)}
        first, self._tick = self._tick, self._tick + count
        told = encode_pictures(told) | {n: a for n, a in told.items() if not n.startswith("key/")} if coded else told
        return Request(self._pictures | self._state | told, fields={"executed_tick": first})

    def _with_picture(self, rows: NDArray[Any]) -> Request:
        return Request(self._pictures | self._state | {f"jpeg/{CAMERAS[0]}": rows}, CAMERAS[0])

    def _bent(self, file: bytes) -> bytes:
        draw = self._draw
        bent = bytearray(file)
        match draw.randrange(4):
            case 0:
                for _ in range(draw.randint(1, 8)):
                    # The tables and sizes are in front.
                    bent[draw.randrange(draw.choice((len(bent), min(len(bent), 640))))] = draw.randrange(256)
            case 1:
                bent = bent[: draw.randrange(len(bent))]
            case 2:
                at = draw.randrange(len(bent))
                bent[at:at] = draw.choice((b"\xff", b"\xff\xd9", b"\xff\xda", b"\xff\xc2", b"\xff\x01", bytes(70)))
            case _:
                at = draw.randrange(len(bent))
                del bent[at : at + draw.choice((1, 2, 20, 300))]
        return bytes(bent)


def _other_files() -> list[bytes]:
    """Return files that are not what a camera gives: the last has many scans."""
    sizes = [_file(shaded(*size)) for size in ((1, 1), (240, 321), (7, 4000), (480, 640))]
    whole = Image.fromarray(shaded(*SIZE_PX))
    modes = [_saved(whole.convert(mode), "JPEG") for mode in ("L", "CMYK")]
    return [*sizes, *modes, _saved(whole, "PNG"), _saved(whole, "JPEG", progressive=True)]


def _file(picture: NDArray[np.uint8]) -> bytes:
    return _saved(Image.fromarray(picture), "JPEG")


def _saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    made = io.BytesIO()
    picture.save(made, kind, **how)
    return made.getvalue()


def _rows(file: bytes) -> NDArray[np.uint8]:
    rows = np.zeros((max(-(-len(file) // ROW_BYTES), 1), ROW_BYTES), np.uint8)
    rows.reshape(-1)[: len(file)] = np.frombuffer(file, np.uint8)
    return rows
