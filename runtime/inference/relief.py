"""A second thread of a server, which keeps the socket while the first one is at the model.

A request is worked on by the thread that read it: to hand it to another costs the time until that one gets a processor,
which on a busy host is a few milliseconds. Who is woken in place of that is nobody's answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Relief:
    """Calls `turn` again and again while the first thread is away; `fileno` is readable when it is back.

    `turn` waits on that descriptor too. What it raises is raised in the first thread, when that comes back.
    """

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._away = threading.Event()
        self._ended = False
        self._failure: BaseException | None = None
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="relief", daemon=True)

    def fileno(self) -> int:
        """The descriptor."""
        return self._kick_fd

    @property
    def on_duty(self) -> bool:
        """Whether the first thread is away."""
        return self._away.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @contextmanager
    def duty(self) -> Iterator[None]:
        """Be on duty meanwhile."""
        self._away.set()
        try:
            yield
        finally:
            self._away.clear()
            self.kick()
        if self._failure is not None:
            raise self._failure

    def kick(self) -> None:
        """Let a turn under way look again."""
        os.eventfd_write(self._kick_fd, 1)

    def rest(self) -> None:
        """Take note of a kick."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._kick_fd)

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._away.set()
        self.kick()
        self._thread.join()
        os.close(self._kick_fd)

    def _run(self) -> None:
        while True:
            self._away.wait()
            if self._ended:
                return
            try:
                self._turn()
            except BaseException as failure:
                self._failure = failure
                return
