"""A descriptor that a time makes readable: to set it wakes nobody, as to tell a thread would."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
from typing import Final

from runtime.clock import NS_PER_S, Timespec, libc


class _Setting(ctypes.Structure):
    _fields_ = (("interval", Timespec), ("value", Timespec))


class Alarm:
    """A timer of the kernel (timerfd_create(2)), on the monotonic clock.

    Raises:
        OSError: the system gives none.
    """

    _FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC

    def __init__(self) -> None:
        self._fd = libc.timerfd_create(time.CLOCK_MONOTONIC, self._FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer descriptor")

    def set(self, after_ns: int) -> None:
        """Go off once after a time; 0 for not at all."""
        setting = _Setting(Timespec(0, 0), Timespec(*divmod(after_ns, NS_PER_S)))
        libc.timerfd_settime(self._fd, 0, ctypes.byref(setting), None)

    def wait(self) -> None:
        """Return when it has gone off since the last time."""
        while True:
            select.select([self._fd], [], [])
            # It may have been set anew meanwhile.
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 8)
                return

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
