"""Where a rig keeps its cameras' newest pictures: in memory that a policy server of its host can be let read.

A picture is copied once, off the camera's ring into this memory, and read there by whoever is asked about it: the rig
itself, and the server where it runs on the same host and was handed the descriptor (runtime.inference.door). It is
sealed (memfd_create(2), fcntl(2)): against shrinking, so that no rig can take it away from under a server, and against
being written by anybody else, for the rig looks at these pictures too. Only bytes of pictures lie there: whatever a rig
writes while a server reads is a wrong picture and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.inference.region import SEALS, address
from runtime.inference.wire import ArrayPlace

SEAL_FUTURE_WRITE: Final = 0x10
"""F_SEAL_FUTURE_WRITE of linux/fcntl.h: nobody but who has the memory mapped already may write to it."""
FRAMES_KEPT: Final = 4
"""Of each camera: the newest few, of which a rig's sensors choose."""
SPARE_ROWS: Final = 4
"""Besides those and one for each request under way: the next frame before the oldest goes, what an eye compares it
with, and the pictures of two answers that were given up, which stay until those are due."""
SAME_MOMENT_NS: Final = 8 * NS_PER_MS
"""Pictures whose stamps are no further apart lie in one row: half a period at 60 Hz."""


@dataclass(frozen=True)
class Kept:
    """A picture of a time: `alive` is what every view of it keeps alive."""

    t_ns: int
    alive: weakref.ref[NDArray[Any]]

    @property
    def gone(self) -> bool:
        """Whether nobody has it any more."""
        return self.alive() is None


def rows_for(requests: int) -> int:
    """Return how many rows a rig needs that has up to so many requests under way."""
    return FRAMES_KEPT + requests + SPARE_ROWS


class Gallery:
    """Memory for `rows` pictures of each of some cameras, given as name -> (width, height) in pixels.

    `fd` is its descriptor and `size_bytes` its size. A picture's place is used again when nobody holds the picture, or
    a view of it, any more. In a row the cameras' pictures lie one behind the other, and those of about one time come
    into one row, so that those of one size are one array to a model.

    Raises:
        OSError: there is no memory for it.
    """

    def __init__(self, cameras: Mapping[str, tuple[int, int]], rows: int) -> None:
        self._shapes = {name: (height, width, 3) for name, (width, height) in cameras.items()}
        self._offsets: dict[str, int] = {}
        end = 0
        for name, (height, width, depth) in self._shapes.items():
            self._offsets[name] = end
            end += height * width * depth
        self._stride = max(-(-end // mmap.PAGESIZE), 1) * mmap.PAGESIZE
        self._rows: list[dict[str, Kept]] = [{} for _ in range(rows)]
        self.size_bytes = self._stride * rows
        self.fd = os.memfd_create("leadtime-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self.size_bytes)
            self._memory = mmap.mmap(self.fd, self.size_bytes)
            with contextlib.suppress(OSError):  # Linux has this seal from 5.1 on
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEAL_FUTURE_WRITE)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        except OSError:
            os.close(self.fd)
            raise
        self._begin = address(np.frombuffer(self._memory, dtype=np.uint8))

    def take(self, camera: str, picture: NDArray[Any], t_ns: int) -> NDArray[Any]:
        """Return a copy of a camera's picture of a time, read-only: here where there is room, else somewhere else."""
        shape = self._shapes[camera]
        if picture.shape != shape:
            raise ValueError(f"a picture of camera {camera!r} is {shape}, not {picture.shape}")
        row = self._room(camera, t_ns)
        if row is None:
            kept = np.array(picture, dtype=np.uint8)
        else:
            # Of its own, so that every view of it keeps this one alive and no other.
            offset = row * self._stride + self._offsets[camera]
            whole: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8, picture.size, offset)
            kept = whole.reshape(shape)
            np.copyto(kept, picture)
            whole.flags.writeable = False
            self._rows[row][camera] = Kept(t_ns, weakref.ref(whole))
        kept.flags.writeable = False
        return kept

    def places(self, pictures: Mapping[str, NDArray[Any]]) -> tuple[ArrayPlace, ...] | None:
        """Return where pictures lie in the memory, None unless all do."""
        places = []
        for name, picture in pictures.items():
            offset = address(picture) - self._begin
            if not 0 <= offset <= self.size_bytes - picture.nbytes or not picture.flags.c_contiguous:
                return None
            places.append(ArrayPlace(name, picture.shape, offset))
        return tuple(places)

    def close(self) -> None:
        """Give up the descriptor; whoever holds a picture keeps the memory until it is done."""
        os.close(self.fd)

    def _room(self, camera: str, t_ns: int) -> int | None:
        """Return a row with room for a camera's picture, best one where the others' are of about the same time."""
        free = [i for i, row in enumerate(self._rows) if camera not in row or row[camera].gone]

        def preference(i: int) -> int:
            others = [kept for name, kept in self._rows[i].items() if name != camera and not kept.gone]
            return 2 if any(abs(kept.t_ns - t_ns) <= SAME_MOMENT_NS for kept in others) else int(not others)

        return max(free, key=preference, default=None)
