"""Trust in a policy that predicts pictures: what it foresaw against what came. Pure.

A world-action model answers with the frames that it expects while its chunk is executed. Where they part from what the
cameras see, the model no longer understands the scene, often before the arms show it: first only the near part of its
chunks is executed, and when it goes on parting the arms are handed to the operator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.records import (
    FORESEEN,
    FORESEEN_CAMERAS,
    FORESEEN_GRID,
    FORESEEN_MAX,
    FORESEEN_PICTURE,
    FORESEEN_PX,
)
from runtime.shm import blank

GRID: Final = FORESEEN_GRID
"""Rows and columns that pictures are compared at."""
NOISE: Final = 4.0
"""Mean difference (of 255) that sensor noise and compression alone may make."""
STRANGE: Final = 40.0
"""Mean difference (of 255) at which two pictures show different scenes, however wrong the model usually is."""
PARTS: Final = 3.0
"""So many times its usual difference, a prediction has parted from what came."""
LOST: Final = 3
"""Chunks in a row whose predictions parted before the policy is not trusted any more."""
USUAL: Final = 32
"""Comparisons that the usual difference is the median of."""


class Trust(IntEnum):
    """How far a policy's predictions bear its actions."""

    FULL = 0
    NEAR = 1
    """Only the near part of a chunk is executed."""
    NONE = 2
    """The arms are handed to the operator."""


@dataclass(frozen=True)
class Expected:
    """The pictures of one chunk by camera, on the grid (n, rows, columns, 3), and the tick each of them is due at.

    After `end_tick` there is nothing to compare: the arms stand, and wait for the next chunk.
    """

    chunk_id: int
    ticks: tuple[int, ...]
    pictures: Mapping[str, NDArray[np.float64]]
    end_tick: int


def coarse(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the block means (rows, columns, 3) of a picture (height, width, 3) of any size from the grid's on."""
    rows, columns = (
        np.linspace(0, size, cells + 1).astype(int)[:-1] for size, cells in zip(image.shape[:2], GRID, strict=True)
    )
    wide = np.add.reduceat(image.astype(np.float64), rows, axis=0)
    cells = np.add.reduceat(wide, columns, axis=1)
    heights = np.diff([*rows, image.shape[0]])[:, None, None]
    widths = np.diff([*columns, image.shape[1]])[None, :, None]
    means: NDArray[np.float64] = cells / (heights * widths)
    return means


def expect(
    chunk_id: int,
    first_tick: int,
    span_ticks: int,
    frames: Mapping[str, NDArray[Any]],
    *,
    halts_after: int | None = None,
) -> Expected | None:
    """Return what a chunk's frames (n, height, width, 3) by camera say of the `span_ticks` from `first_tick` on.

    The n frames divide the span evenly, the last shows its end. None where there are none that can be compared.
    `halts_after`: so many ticks of it are executed, then the arms stand.
    """
    if not all(is_film(rows) for rows in frames.values()) or len({len(rows) for rows in frames.values()}) != 1:
        return None
    count = len(next(iter(frames.values())))
    kept = chosen(count)
    ticks = tuple(first_tick + round((i + 1) * span_ticks / count) for i in kept)
    pictures = {name: np.stack([coarse(rows[i]) for i in kept]) for name, rows in frames.items()}
    return Expected(chunk_id, ticks, pictures, first_tick + (span_ticks if halts_after is None else halts_after))


def record_of(expected: Expected, cameras: Sequence[str], now_ns: int) -> NDArray[Any]:
    """Return the FORESEEN record of a chunk's predictions; `cameras` are the rig's, in its order."""
    record: Any = blank(FORESEEN)
    record["chunk_id"], record["t_received_ns"] = expected.chunk_id, now_ns
    count = len(expected.ticks)
    record["count"], record["ticks"][:count] = count, expected.ticks
    for i, name in enumerate(cameras[:FORESEEN_CAMERAS]):
        if name in expected.pictures:
            record["cameras"] |= 1 << i
            record["pictures"][i, :count] = np.round(expected.pictures[name])
    return np.array(record)


def picture_records(
    expected: Expected, frames: Mapping[str, NDArray[Any]], cameras: Sequence[str], now_ns: int
) -> Iterator[Any]:
    """Yield the FORESEEN_PICTURE record of each picture of a chunk's frames, by camera and tick: one and the same."""
    record: Any = blank(FORESEEN_PICTURE)
    record["chunk_id"], record["t_received_ns"] = expected.chunk_id, now_ns
    for i, name in enumerate(cameras[:FORESEEN_CAMERAS]):
        if name not in frames:
            continue
        for tick, picture in zip(expected.ticks, bounded(frames[name]), strict=True):
            height, width = picture.shape[:2]
            record["camera"], record["tick"], record["height"], record["width"] = i, tick, height, width
            record["image"][:height, :width] = picture
            yield record


def bounded(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """Return of pictures (n, height, width, 3) those that are compared, thinned to `FORESEEN_PX` at most."""
    apart = max(-(-rows.shape[1] // FORESEEN_PX[0]), -(-rows.shape[2] // FORESEEN_PX[1]), 1)
    return np.ascontiguousarray(rows[chosen(len(rows)), ::apart, ::apart])


def is_film(rows: NDArray[Any]) -> bool:
    """Whether an array is pictures, uint8 (n, height, width, 3), of the grid's size at least."""
    if rows.dtype != np.uint8 or rows.ndim != 4 or not len(rows):
        return False
    _, height, width, channels = rows.shape
    return bool(height >= GRID[0] and width >= GRID[1] and channels == 3)


def chosen(count: int) -> list[int]:
    """Return which of `count` pictures are compared: evenly apart, the last among them."""
    kept = min(count, FORESEEN_MAX)
    return [(i + 1) * count // kept - 1 for i in range(kept)]


class Foresight:
    """Compares what was foreseen with what came, a picture a chunk at least, and says how far to trust."""

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=USUAL)
        self._expected: Expected | None = None
        self._next = 0
        self._parted = 0
        self._judged = 0
        self.trust = Trust.FULL
        self.difference = float("nan")
        """How far the newest picture that was compared was from what came, mean of 255."""

    def open(self) -> None:
        """Begin an epoch: the operator has looked, nothing of the past counts but what is usual."""
        self._expected = None
        self._parted = self._judged = 0
        self.trust = Trust.FULL

    def follow(self, expected: Expected | None) -> None:
        """Compare with the predictions of a newer chunk from now on."""
        if expected is not None:
            self._expected, self._next = expected, 0

    def due(self, tick: int) -> bool:
        """Whether a picture that was foreseen for now, or before, has not been compared yet."""
        expected = self._expected
        if expected is None or self._next >= len(expected.ticks):
            return False
        return expected.ticks[self._next] <= min(tick, expected.end_tick)

    def see(self, tick: int, images: Mapping[str, NDArray[Any]]) -> Trust:
        """Compare what the cameras see at a tick with the newest picture foreseen for it; returns the trust."""
        expected = self._expected
        if expected is None or not self.due(tick):
            return self.trust
        index = sum(due <= min(tick, expected.end_tick) for due in expected.ticks) - 1
        self._next = index + 1
        pairs = [(rows[index], images[name]) for name, rows in expected.pictures.items() if name in images]
        if pairs:
            difference = max(float(np.abs(foreseen - coarse(seen)).mean()) for foreseen, seen in pairs)
            self._judge(expected.chunk_id, difference)
        return self.trust

    def _judge(self, chunk_id: int, difference: float) -> None:
        self.difference = difference
        usual = max(median(self._usual), NOISE) if self._usual else STRANGE / PARTS
        if difference <= min(PARTS * usual, STRANGE):
            self._usual.append(difference)
            self._parted = 0
        elif chunk_id != self._judged:
            # Counted once a chunk: many pictures of one prediction are one mistake.
            self._judged = chunk_id
            self._parted += 1
        if self._parted >= LOST:
            self.trust = Trust.NONE
        elif self.trust is not Trust.NONE:
            self.trust = Trust.NEAR if self._parted else Trust.FULL
