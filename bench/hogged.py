"""A process of a run with a thread in it that never lets the interpreter go; a drop-in for `runtime.process`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from runtime import realtime
from runtime.process import run


def hog() -> None:
    """Hold the interpreter lock as much as a pure Python loop can."""
    while True:
        pass


if __name__ == "__main__":
    realtime.die_with_parent(signal.SIGKILL, int(sys.argv[4]))
    threading.Thread(target=hog, daemon=True).start()
    sys.exit(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
