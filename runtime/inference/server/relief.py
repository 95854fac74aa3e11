"""A second thread of a server, which keeps the socket while the first one is long at the model.

A request is worked on by the thread that read it: to hand it to another costs the time until that one gets a processor,
which on a busy host is a few milliseconds. Who is woken in place of that is nobody's answer, and of a short work nobody
is: a timer of the kernel wakes the second thread, and by then it is known to be worth it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runtime.clock import NS_PER_MS
from runtime.inference.server.alarm import Alarm

LONG_NS: Final = 1 * NS_PER_MS
"""How long the first thread is away before the second one takes its place."""


class Relief:
    """Calls `turn` again and again while the first thread is long away; `fileno` is readable when it is back.

    `turn` waits on that descriptor too. What it raises is raised in the first thread, when that comes back.
    """

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._alarm = Alarm()
        self._away = self._turning = self._ended = False
        self._failure: BaseException | None = None
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="relief", daemon=True)

    def fileno(self) -> int:
        """The descriptor."""
        return self._kick_fd

    @property
    def on_duty(self) -> bool:
        """Whether the first thread is away."""
        return self._away

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @contextmanager
    def duty(self) -> Iterator[None]:
        """Be on duty meanwhile."""
        self._away = True
        self._alarm.set(LONG_NS)
        try:
            yield
        finally:
            self._away = False
            self._alarm.set(0)
            self.kick()
        if self._failure is not None:
            raise self._failure

    def kick(self) -> None:
        """Let a turn under way look again."""
        if self._turning:
            os.eventfd_write(self._kick_fd, 1)

    def rest(self) -> None:
        """Take note of a kick."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._kick_fd)

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._alarm.set(1)
        self._thread.join()
        self._alarm.close()
        os.close(self._kick_fd)

    def _run(self) -> None:
        while not self._ended:
            self._alarm.wait()
            # Before it is seen whether the first thread is away: it comes back without a kick where nobody turns.
            self._turning = True
            try:
                while self._away:
                    self._turn()
            except BaseException as failure:
                self._failure = failure
                return
            self._turning = False
