"""Pictures in memory that a rig and a policy server on one host share: written once, read where they lie.

The rig makes an anonymous memory of a few slots, one for the pictures of each request under way, and hands its
descriptor to the server (runtime.inference.door). It is sealed against shrinking (memfd_create(2), fcntl(2)), so that
no rig can take the memory away from under a server that reads it. Only bytes of pictures travel so: whatever a rig
writes there while the server reads is a wrong picture and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.wire import ArrayMap, ArrayPlace, WireError

REGION_BYTES_MAX: Final = 256 * 1024 * 1024
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class RegionError(Exception):
    """A descriptor is no memory that may be read in place; the text says why."""


@dataclass(frozen=True)
class Taken:
    """The request whose pictures a slot holds, and when they are of no use any more."""

    request_seq: int
    until_ns: int


class Slots:
    """The rig's side: `count` slots for one picture each of some cameras, given as name -> (width, height) in pixels.

    `fd` is the memory's descriptor. The pictures of a slot lie one behind the other, so that those of one size are one
    array to the model.
    """

    def __init__(self, cameras: Mapping[str, tuple[int, int]], count: int) -> None:
        self._shapes = {name: (height, width, 3) for name, (width, height) in cameras.items()}
        slot_bytes = sum(height * width * 3 for height, width, _ in self._shapes.values())
        self._stride = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._taken: list[Taken | None] = [None] * count
        self.fd = os.memfd_create("leadtime-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self._stride * count)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
            self._bytes = np.frombuffer(mmap.mmap(self.fd, self._stride * count), dtype=np.uint8)
        except OSError:
            os.close(self.fd)
            raise

    def put(
        self, request_seq: int, pictures: Mapping[str, NDArray[Any]], until_ns: int, now_ns: int
    ) -> tuple[ArrayPlace, ...] | None:
        """Copy a request's pictures into a free slot and say where they are; None where they cannot be put there.

        The slot is free again when the request is answered (`free`) or at `until_ns`.
        """
        slot = next((i for i, taken in enumerate(self._taken) if taken is None or taken.until_ns <= now_ns), None)
        if slot is None or {name: picture.shape for name, picture in pictures.items()} != self._shapes:
            return None
        self._taken[slot] = Taken(request_seq, until_ns)
        places, offset = [], slot * self._stride
        for name, shape in self._shapes.items():
            picture = pictures[name]
            np.copyto(self._bytes[offset : offset + picture.nbytes].reshape(shape), picture)
            places.append(ArrayPlace(name, shape, offset))
            offset += picture.nbytes
        return tuple(places)

    def free(self, request_seq: int) -> None:
        """Let the slot of a request that was answered be used again."""
        self._taken = [
            None if taken is not None and taken.request_seq == request_seq else taken for taken in self._taken
        ]

    def close(self) -> None:
        """Give up the memory; a server that reads from it keeps it until it is done."""
        os.close(self.fd)


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
    whole, begin = _whole(first), _address(first)
    for i, picture in enumerate(pictures):
        # Of one buffer, not of two that happen to be neighbours: the first's is what the whole keeps alive.
        there = _address(picture) == begin + i * first.nbytes and _whole(picture) is whole
        if not there or not picture.flags.c_contiguous:
            return np.stack(pictures)
    shape = (len(pictures), *first.shape)
    together = np.ndarray(shape, first.dtype, whole.data, begin - _address(whole))
    together.flags.writeable = False
    return together


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
