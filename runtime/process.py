"""The entry of every child process of a run: `python -m runtime.process ROLE SPEC_FILE MEMORY_FD PARENT_PID`."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

from runtime import realtime
from runtime.board import ROLES, Board, Heart
from runtime.clock import NS_PER_MS, MonotonicClock
from runtime.errors import LeadtimeError
from runtime.spec import RunSpec
from runtime.states import Life

MAINS: Final[dict[str, str]] = {
    "sim": "runtime.drivers.sim.physics:run_physics",
    "emulator": "runtime.drivers.emulators.run:run_emulator",
    "camera": "runtime.drivers.capture:run_capture",
    "leader": "runtime.drivers.lead:run_lead",
    "guardian-left": "runtime.drivers.guard:run_guard_left",
    "guardian-right": "runtime.drivers.guard:run_guard_right",
    "server": "runtime.inference.server.process:run_server",
    "client": "runtime.inference.client.process:run_client",
    "ros2": "runtime.ros2.bridge:run_bridge",
    "recorder": "runtime.recorder:run_recorder",
    "control": "runtime.control.loop:run_control",
}
"""Each role's main, called with (board, clock, heart); imported while the process waits for its turn."""

STAGE_POLL_NS: Final = 2 * NS_PER_MS


class Log(io.TextIOBase):
    """Standard error on a disk that may be full: what cannot be written is lost, and nobody fails for it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def fileno(self) -> int:
        """The descriptor."""
        return self._stream.fileno()


def run(role: str, spec_file: Path, fd: int) -> int:
    """Run one role until the run stops; returns the exit status, and its one-line reason goes to stderr."""
    with contextlib.redirect_stderr(Log(sys.stderr)):
        return _run(role, spec_file, fd)


def _run(role: str, spec_file: Path, fd: int) -> int:
    module, function = MAINS[role].split(":")
    main = getattr(importlib.import_module(module), function)
    board = Board.attach(RunSpec.load(spec_file), fd)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        board.stop_here()

    signal.signal(signal.SIGTERM, stop)
    clock = MonotonicClock(realtime.SPIN_NS if role == "control" else 0)
    heart = Heart(board[f"heartbeat/{role}"], os.getpid())
    heart.beat(clock.now_ns(), Life.STARTING)
    turn = ROLES.index(role) + 1
    while board.stage < turn and not board.stopping:
        clock.sleep_until_ns(clock.now_ns() + STAGE_POLL_NS)
    if board.stopping:
        return 0
    try:
        main(board, clock, heart)
    except LeadtimeError as error:
        heart.beat(clock.now_ns(), Life.FAILED)
        sys.stderr.write(f"{role}: {error}\n")
        return error.exit_status
    finally:
        realtime.leave()
    heart.beat(clock.now_ns(), Life.STOPPING)
    return 0


if __name__ == "__main__":
    # Guardians get to hold their arm before they go, the recorder to end its file; whatever else is orphaned just ends.
    orphaned = signal.SIGTERM if sys.argv[1].startswith(("guardian", "recorder")) else signal.SIGKILL
    realtime.die_with_parent(orphaned, int(sys.argv[4]))
    sys.exit(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
