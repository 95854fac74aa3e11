"""What every emulator of an arm's device offers, and the arm that it has behind its bus."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.board import Board
from runtime.layout import Side
from runtime.shm import blank

MISSING: Final = 4.0
"""Servo periods between two targets from which on some must be missing: a guardian sends one each, or bridges it."""


class Behind(Protocol):
    """The arm behind an emulated bus: positions (7,) in rad and a fraction of the gripper's opening."""

    def state(self) -> NDArray[Any] | None:
        """Return the newest ARM_STATE record of the arm itself; None before the first."""

    def command(self, position: NDArray[np.float64], now_ns: int) -> None:
        """Move the arm's motors to a target (7,)."""


class ArmEmulator(Protocol):
    """An arm's device on an emulated bus."""

    def open(self) -> None:
        """Bring the bus up, so that a driver finds it; raises DriverError."""

    def step(self, now_ns: int) -> None:
        """Take what the driver sent since the last step, send what the device would; never waits."""

    def close(self) -> None:
        """Take the bus down."""


class BoardArm:
    """An arm of the simulated rig, reached as its own driver would; implements `Behind`.

    `missing`: servo periods between two targets from which on some are missing, for the bus in front of it.
    """

    def __init__(self, board: Board, side: Side, missing: float = MISSING) -> None:
        self._missing = missing
        self._commands = board[f"device/{side}/command"]
        self._states = board[f"device/{side}/state"]
        self._record: Any = blank(records.DEVICE_COMMAND)
        self._period_ns = board.spec.tick_base(board.t0_ns).servo_period_ns
        self._t_ns = 0

    def state(self) -> NDArray[Any] | None:
        """Return the newest measured state; None before the physics' first step."""
        return self._states.latest()

    def command(self, position: NDArray[np.float64], now_ns: int) -> None:
        """Hand a position target to the physics.

        A bus carries no tick, and targets wait in its queue while this process does not run: each counts as the next
        tick's, unless the last came so long ago that some are missing.
        """
        record = self._record
        record["seq"] += 1
        elapsed_ns = now_ns - self._t_ns
        record["servo_tick"] += (
            1 if elapsed_ns < self._missing * self._period_ns else round(elapsed_ns / self._period_ns)
        )
        self._t_ns = now_ns
        record["t_ns"] = now_ns
        record["position"] = position
        self._commands.push(record)


def bus_name(run_dir: str, side: Side) -> str:
    """Return the name of a run's emulated bus, the same in the emulator and in the driver."""
    return f"leadtime-{hashlib.sha256(run_dir.encode()).hexdigest()[:16]}-{side}"
