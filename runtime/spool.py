"""Files that are appended to by a thread of its own, one after the other: a slow or full disk delays no one."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

RETRY_S: Final = 0.5
"""Pause after a write that failed."""


class Spool:
    """Appends bytes to a file from memory; what the disk does not take yet waits there.

    It has no bound of its own: the appender looks at `backlog_bytes` and appends less.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """The newest file."""
        self._fd = _create(path)
        self._queue: deque[memoryview | Path] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._abandoned = False
        self._appended = 0
        self._before = 0
        self._written = 0
        self._error = ""
        self._began_s = 0.0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def write(self, data: bytes, /) -> int:
        """Append bytes."""
        if data:
            with self._wake:
                self._queue.append(memoryview(bytes(data)))
                self._appended += len(data)
                self._wake.notify()
        return len(data)

    def begin(self, path: Path) -> None:
        """Go on in a new file, which is made when the disk has taken what was appended so far."""
        with self._wake:
            self.path = path
            self._before = self._appended
            self._queue.append(path)
            self._wake.notify()

    def tell(self) -> int:
        """Return the bytes appended to the newest file."""
        return self._appended - self._before

    def flush(self) -> None:
        """Do nothing: the thread writes as fast as the disk takes it."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._appended - self._written

    @property
    def error(self) -> str:
        """What the disk last refused with; empty while it takes what it is given."""
        return self._error

    @property
    def writing_s(self) -> float:
        """How long the disk has had what it was given last; 0 when it has taken everything."""
        began_s = self._began_s
        return time.monotonic() - began_s if began_s else 0.0

    def close(self, timeout_s: float) -> int:
        """Wait for the disk to take the rest, at most `timeout_s`; return the bytes that it did not take."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        with self._wake:
            self._abandoned = True
            self._wake.notify()
        return self.backlog_bytes

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if not (self._turn(item) if isinstance(item, Path) else self._write_all(item)):
                    break
        finally:
            os.close(self._fd)

    def _next(self) -> memoryview | Path | None:
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            return self._queue.popleft() if self._queue else None

    def _write_all(self, data: memoryview) -> bool:
        self._began_s = time.monotonic()
        while len(data):
            count = self._insist(partial(os.write, self._fd, data))
            if count is None:
                return False
            self._written += count
            data = data[count:]
        self._began_s = 0.0
        return True

    def _turn(self, path: Path) -> bool:
        fd = self._insist(partial(_create, path))
        if fd is None:
            return False
        os.close(self._fd)
        self._fd = fd
        return True

    def _insist(self, act: Callable[[], int]) -> int | None:
        """Return what the disk says once it takes what it is given; None where nobody waits for that any more."""
        while True:
            try:
                done = act()
            except OSError as error:
                self._error = error.strerror or str(error)
                with self._wake:
                    if self._abandoned:
                        return None
                    self._wake.wait(RETRY_S)
            else:
                self._error = ""
                return done


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
