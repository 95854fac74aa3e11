"""Shared-memory rings and latest-value slots between the processes of one run.

The memory is an anonymous memfd that the supervisor creates and every child inherits: it has no name, so the
kernel frees it with the last process, however that process ends. Every ring has one writer. An entry carries
its index before and after the payload and, except for frames, a CRC-32 of it, so a reader never takes a record
that was overwritten while it was being copied, on processors with weak store ordering either.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from runtime.clock import NS_PER_S, Timespec, libc

ALIGNMENT = 64
READ_ATTEMPTS = 8

_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
_FUTEX_WAIT = 0
_FUTEX_WAKE = 1
_EVERYONE = 2**31 - 1


class TornReadError(Exception):
    """A record could not be read whole: its writer kept overwriting it, or died half-way through it."""


@dataclass(frozen=True)
class Topic:
    """One ring of a board: its name, record dtype, number of entries, and whether entries carry a CRC."""

    name: str
    dtype: np.dtype[Any]
    capacity: int
    checksum: bool = True

    @property
    def entry_dtype(self) -> np.dtype[Any]:
        """The record between its two indices; `begin` and `end` hold index + 1 of the entry, 0 when empty."""
        return np.dtype([("begin", "<u8"), ("payload", self.dtype), ("crc", "<u4"), ("end", "<u8")], align=True)

    @property
    def size_bytes(self) -> int:
        """Bytes the ring takes: the head counter's line, then the entries, rounded up to whole lines."""
        size = ALIGNMENT + self.entry_dtype.itemsize * self.capacity
        return -(-size // ALIGNMENT) * ALIGNMENT


class Ring:
    """A single-writer ring: the writer never waits, a slow reader loses the oldest and is told how many."""

    def __init__(self, topic: Topic, buffer: memoryview) -> None:
        self.topic = topic
        entry = topic.entry_dtype
        self._head: NDArray[np.uint64] = np.frombuffer(buffer, dtype="<u8", count=1)
        self._entries: NDArray[Any] = np.frombuffer(buffer, dtype=entry, count=topic.capacity, offset=ALIGNMENT)
        self._begin = self._entries["begin"]
        self._payload = self._entries["payload"]
        # Whole payloads byte by byte: copying a record field by field would leave its padding undefined.
        self._bytes: NDArray[np.uint8] = np.ndarray(
            (topic.capacity, topic.dtype.itemsize),
            np.uint8,
            buffer,
            offset=ALIGNMENT + entry.fields["payload"][1],  # type: ignore[index]
            strides=(entry.itemsize, 1),
        )
        self._crc = self._entries["crc"]
        self._end = self._entries["end"]
        # The low word of the head counter (little-endian) doubles as the futex that readers wait on.
        self._futex = ctypes.c_uint32.from_buffer(buffer)
        self._futex_address = ctypes.byref(self._futex)

    @property
    def head(self) -> int:
        """Number of records written so far."""
        return int(self._head[0])

    def push(self, record: Any) -> None:
        """Write the next record (a `numpy.void` or 0-d array of the topic's dtype)."""
        index = int(self._head[0])
        i = index % self.topic.capacity
        self._end[i] = 0
        self._begin[i] = index + 1
        self._payload[i] = record
        if self.topic.checksum:
            self._crc[i] = zlib.crc32(self._bytes[i])
        self._end[i] = index + 1
        self._head[0] = index + 1

    def wake(self) -> None:
        """Wake the readers that wait on this ring; a writer calls it after `push` where readers may wait."""
        libc.syscall(_SYS_FUTEX, self._futex_address, _FUTEX_WAKE, _EVERYONE, None, None, 0)

    def wait(self, head: int, timeout_ns: int) -> None:
        """Sleep until the ring's head differs from `head` or the timeout has passed."""
        timeout = Timespec(*divmod(max(timeout_ns, 0), NS_PER_S))
        value = ctypes.c_uint32(head & 0xFFFFFFFF)
        libc.syscall(_SYS_FUTEX, self._futex_address, _FUTEX_WAIT, value, ctypes.byref(timeout), None, 0)

    def peek(self, index: int) -> Any | None:
        """Return record `index` where it lies; None as for `read`.

        What was copied from it counts only where the ring still `holds` it afterwards.
        """
        return self._payload[index % self.topic.capacity] if self._whole(index) else None

    def holds(self, index: int) -> bool:
        """Whether record `index` has not begun to be overwritten."""
        return int(self._begin[index % self.topic.capacity]) == index + 1

    def _whole(self, index: int) -> bool:
        return index >= 0 and int(self._end[index % self.topic.capacity]) == index + 1 and self.holds(index)

    def read(self, index: int) -> NDArray[Any] | None:
        """Copy record `index` as a 0-d array; None when it is overwritten, unfinished or not yet written."""
        if not self._whole(index):
            return None
        i = index % self.topic.capacity
        copied = self._bytes[i].copy()
        crc = int(self._crc[i])
        if not self.holds(index):
            return None
        if self.topic.checksum and zlib.crc32(copied) != crc:
            return None
        record: NDArray[Any] = copied.view(self.topic.dtype).reshape(())
        return record

    def latest(self) -> NDArray[Any] | None:
        """Copy the newest record; None before the first.

        Raises:
            TornReadError: no whole record could be copied in `READ_ATTEMPTS` tries.
        """
        for _ in range(READ_ATTEMPTS):
            head = self.head
            if head == 0:
                return None
            record = self.read(head - 1)
            if record is not None:
                return record
        raise TornReadError(f"{self.topic.name}: no whole record in {READ_ATTEMPTS} attempts")

    def since(self, cursor: int, limit: int | None = None) -> tuple[list[NDArray[Any]], int, int]:
        """Copy the records from `cursor` on, oldest first.

        Returns:
            the records (at most `limit`), the cursor to go on from, and how many were lost to overwriting.
        """
        head = self.head
        start = max(cursor, head - self.topic.capacity + 1, 0)
        stop = head if limit is None else min(head, start + limit)
        lost = start - cursor
        records = []
        for index in range(start, stop):
            record = self.read(index)
            if record is None:
                lost += 1
            else:
                records.append(record)
        return records, max(stop, start), lost


class Segment:
    """The anonymous shared memory of a run, cut into rings by a table of topics.

    Every process lays the same table over the same descriptor, so no offsets travel.
    """

    def __init__(self, topics: tuple[Topic, ...], fd: int) -> None:
        self.fd = fd
        size = sum(topic.size_bytes for topic in topics)
        if os.fstat(fd).st_size < size:
            raise ValueError(f"shared memory holds {os.fstat(fd).st_size} bytes, its topics need {size}")
        self._map = mmap.mmap(fd, size)
        view = memoryview(self._map)
        self.rings: dict[str, Ring] = {}
        offset = 0
        for topic in topics:
            self.rings[topic.name] = Ring(topic, view[offset : offset + topic.size_bytes])
            offset += topic.size_bytes

    @classmethod
    def create(cls, topics: tuple[Topic, ...]) -> Segment:
        """Allocate the memory; the descriptor is inheritable by the children it is passed to."""
        fd = os.memfd_create("leadtime", 0)
        os.ftruncate(fd, sum(topic.size_bytes for topic in topics))
        return cls(topics, fd)


def blank(dtype: DTypeLike) -> NDArray[Any]:
    """Return a zeroed 0-d record of a dtype, to be filled field by field."""
    dtype = np.dtype(dtype)
    return np.ndarray((), dtype, bytearray(dtype.itemsize))


def duplicate(record: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of a 0-d record, its padding included: numpy's own copies leave that undefined."""
    return np.ndarray((), record.dtype, bytearray(record.tobytes()))
