"""Where a rig keeps its cameras' newest pictures: in memory that a policy server of its host can be let read.

A picture is copied once, off the camera's ring into this memory, and read there by whoever is asked about it: the rig
itself, and the server where it runs on the same host and was handed the descriptor (runtime.inference.door). The memory
is sealed against shrinking (memfd_create(2), fcntl(2)), so that no rig can take it away from under a server. Only bytes
of pictures lie there: whatever a rig writes while a server reads is a wrong picture and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.inference.region import SEALS, address
from runtime.inference.wire import ArrayPlace

SAME_MOMENT_NS: Final = 8 * NS_PER_MS
"""Pictures whose stamps are no further apart lie side by side: half a period at 60 Hz."""


@dataclass
class Moment:
    """The pictures taken at about one time, side by side in memory: by camera, what is alive while one is in use."""

    t_ns: int = 0
    pictures: dict[str, weakref.ref[NDArray[Any]]] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether nobody has any of its pictures any more."""
        return all(held() is None for held in self.pictures.values())


class Gallery:
    """Memory for `moments` pictures of each of some cameras, given as name -> (width, height) in pixels.

    `fd` is its descriptor and `size_bytes` its size. A picture's place is used again when nobody holds the picture, or
    a view of it, any more. The pictures of a moment lie one behind the other, so that those of one size are one array
    to a model.

    Raises:
        OSError: there is no memory for it.
    """

    def __init__(self, cameras: Mapping[str, tuple[int, int]], moments: int) -> None:
        self._shapes = {name: (height, width, 3) for name, (width, height) in cameras.items()}
        self._offsets: dict[str, int] = {}
        end = 0
        for name, (height, width, depth) in self._shapes.items():
            self._offsets[name] = end
            end += height * width * depth
        self._stride = max(-(-end // mmap.PAGESIZE), 1) * mmap.PAGESIZE
        self._moments = [Moment() for _ in range(moments)]
        self.size_bytes = self._stride * moments
        self.fd = os.memfd_create("leadtime-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self.size_bytes)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
            self._memory = mmap.mmap(self.fd, self.size_bytes)
        except OSError:
            os.close(self.fd)
            raise
        self._begin = address(np.frombuffer(self._memory, dtype=np.uint8))

    def take(self, camera: str, picture: NDArray[Any], t_ns: int) -> NDArray[Any]:
        """Return a copy of a camera's picture of a time, read-only: here where there is room, else somewhere else."""
        shape = self._shapes[camera]
        if picture.shape != shape:
            raise ValueError(f"a picture of camera {camera!r} is {shape}, not {picture.shape}")
        i = self._room(camera, t_ns)
        if i is None:
            kept = np.array(picture, dtype=np.uint8)
        else:
            # Of its own, so that every view of it keeps this one alive and no other.
            offset = i * self._stride + self._offsets[camera]
            whole: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8, picture.size, offset)
            kept = whole.reshape(shape)
            np.copyto(kept, picture)
            whole.flags.writeable = False
            self._moments[i].pictures[camera] = weakref.ref(whole)
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
        """Return the moment that a picture belongs to: one under way that has none of this camera, or a new one."""
        free = None
        for i, moment in enumerate(self._moments):
            if moment.free:
                free = i if free is None else free
            elif camera not in moment.pictures and abs(moment.t_ns - t_ns) <= SAME_MOMENT_NS:
                return i
        if free is not None:
            self._moments[free] = Moment(t_ns)
        return free
