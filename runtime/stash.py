"""Bytes that may be more than memory holds: kept there while they are few, else in a file without a name."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Final

from runtime.net.frames import Buffer

MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024


class Stash:
    """Bytes that grow at their end. A file lies in `folder` where that can be written to, else, as for None, where the
    system has it.

    Raises:
        OSError: there is no room for them, from `append` or `whole`.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def append(self, data: Buffer) -> None:
        """Add bytes."""
        self.size += len(data)
        if self._file is None and self.size > MEMORY_BYTES_MAX:
            writable = self._folder is not None and os.access(self._folder, os.W_OK)
            self._file = tempfile.TemporaryFile(dir=self._folder if writable else None)  # noqa: SIM115 (closed once it is whole)
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    def whole(self) -> memoryview:
        """Return all of them; whoever changes what is returned changes no file. Nothing may be added afterwards."""
        if self._file is None:
            return memoryview(self._memory)
        with self._file as file:
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_COPY))
