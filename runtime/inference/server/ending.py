"""How a server's process ends: by SIGINT or SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Until `catch` a signal ends the process at once, which may be minutes into loading or building a model.

    From then on it sets `asked`, and the server ends itself. Of the main thread.
    """

    def __init__(self) -> None:
        self.asked = False
        # A handler of Python's would run after the call into a library that is under way.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def catch(self) -> None:
        """Let no signal end the process any more."""
        for number in _SIGNALS:
            signal.signal(number, self._ask)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        # No lock: a second signal may come within the first.
        self.asked = True
