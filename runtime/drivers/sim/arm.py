"""The simulated arm as a device: commands go to the physics process, measured states come back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.board import Board
from runtime.layout import Side
from runtime.shm import blank


class SimArm:
    """One arm of the simulated rig; implements `ArmDriver`."""

    def __init__(self, board: Board, side: Side) -> None:
        self._commands = board[f"device/{side}/command"]
        self._states = board[f"device/{side}/state"]
        self._record: Any = blank(records.DEVICE_COMMAND)

    def open(self) -> None:
        """Nothing to connect: the physics process is up before the guardians begin."""

    def read(self) -> NDArray[Any] | None:
        """Return the newest measured state; None before the physics' first step."""
        return self._states.latest()

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:
        """Hand a position target to the physics, which takes it up at its next step."""
        record = self._record
        record["seq"] += 1
        record["servo_tick"] = servo_tick
        record["t_ns"] = now_ns
        record["position"] = position
        self._commands.push(record)

    def close(self) -> None:
        """The physics goes on holding the last target."""
