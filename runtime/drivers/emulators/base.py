"""What every emulator of an arm's device offers, and the arm that it has behind its bus."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.board import Board
from runtime.layout import ARM_JOINTS, Side
from runtime.shm import blank

BUS_STEP_RAD: Final = {"piper": math.radians(0.001), "interbotix": 2 * math.pi / 4096}
"""The smallest step of a target, by the driver whose bus carries it; a gripper's, as a fraction, is no larger."""
ROUNDED_RAD: Final = 1e-6
SENT_MAX: Final = 64


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
    """An arm of the simulated rig, reached as its own driver would; implements `Behind`."""

    def __init__(self, board: Board, side: Side) -> None:
        self._commands = board[f"device/{side}/command"]
        self._states = board[f"device/{side}/state"]
        self._statuses, self._cursor = board[f"guardian/{side}"], 0
        self._sent: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=SENT_MAX)
        self._near = 0.5 * BUS_STEP_RAD.get(board.spec.rig.arms[side].driver, 0.0) + ROUNDED_RAD
        self._record: Any = blank(records.DEVICE_COMMAND)

    def state(self) -> NDArray[Any] | None:
        """Return the newest measured state; None before the physics' first step."""
        return self._states.latest()

    def command(self, position: NDArray[np.float64], now_ns: int) -> None:
        """Hand a position target to the physics, with the tick that its guardian counts it as."""
        record = self._record
        record["seq"] += 1
        record["servo_tick"] = self._tick(position)
        record["t_ns"] = now_ns
        record["position"] = position
        self._commands.push(record)

    def _tick(self, position: NDArray[np.float64]) -> int:
        """Return the device tick of a target, which no bus carries: some wait in a queue, and some are left out.

        It is the first that the guardian sent since the last one and that looks like this on the bus; the last one
        again where nothing has changed; else the next.
        """
        statuses, self._cursor, _ = self._statuses.since(self._cursor)
        last = int(self._record["servo_tick"])
        self._sent.extend((int(status["device_tick"]), status["target"][:ARM_JOINTS]) for status in statuses)
        while self._sent and self._sent[0][0] <= last:
            self._sent.popleft()
        for tick, target in self._sent:
            if np.abs(target - position[:ARM_JOINTS]).max() <= self._near:
                return tick
        return last if (position == self._record["position"]).all() else last + 1
