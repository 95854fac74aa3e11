"""Pictures read where a rig of the same host keeps them: a server's side of runtime.inference.client.gallery."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.wire import ArrayMap, ArrayPlace, WireError

REGION_BYTES_MAX: Final = 256 * 1024 * 1024
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class RegionError(Exception):
    """A descriptor is no memory that may be read in place; the text says why."""


class Region:
    """The server's side: memory that a rig has handed over, mapped to be read only. Takes the descriptor over.

    Raises:
        RegionError: it is no sealed memory, or larger than a rig may make it.
    """

    def __init__(self, fd: int) -> None:
        try:
            self._bytes = _mapped(fd)
        except OSError as error:
            raise RegionError(f"the pictures' memory cannot be read: {error.strerror}") from None
        finally:
            os.close(fd)

    def views(self, places: tuple[ArrayPlace, ...]) -> ArrayMap:
        """Return the pictures at some places, read-only and without a copy.

        Raises:
            WireError: one is named twice, or lies beyond the memory.
        """
        views: ArrayMap = {}
        for place in places:
            end = place.offset + place.size_bytes
            if end > len(self._bytes) or place.name in views:
                raise WireError(f"picture {place.name!r} ends at byte {end} of {len(self._bytes)}, or came twice")
            views[place.name] = self._bytes[place.offset : end].reshape(place.shape)
        return views


def _mapped(fd: int) -> NDArray[np.uint8]:
    # What is no memfd has no seals to ask for. Huge pages are refused because they can run out while they are read.
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK == 0:
        raise RegionError("the pictures' memory is not sealed against shrinking")
    about = os.fstat(fd)
    if about.st_blksize != mmap.PAGESIZE or not 0 < about.st_size <= REGION_BYTES_MAX:
        raise RegionError(f"the pictures' memory has {about.st_size} bytes; ordinary pages up to {REGION_BYTES_MAX} go")
    return np.frombuffer(mmap.mmap(fd, about.st_size, prot=mmap.PROT_READ), dtype=np.uint8)


def stacked(pictures: list[NDArray[Any]]) -> NDArray[Any]:
    """Return pictures of one size as (n, height, width, 3): without a copy where each begins where the last ends."""
    first = pictures[0]
    whole, begin = _whole(first), address(first)
    for i, picture in enumerate(pictures):
        # Of one buffer, not of two that happen to be neighbours: the first's is what the whole keeps alive.
        there = address(picture) == begin + i * first.nbytes and _whole(picture) is whole
        if not there or not picture.flags.c_contiguous:
            return np.stack(pictures)
    shape = (len(pictures), *first.shape)
    together = np.ndarray(shape, first.dtype, whole.data, begin - address(whole))
    together.flags.writeable = False
    return together


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address(array: NDArray[Any]) -> int:
    """Return where in this process's memory an array begins."""
    begin: int = array.__array_interface__["data"][0]
    return begin
