"""An arm whose joints and gripper are corrected by what `leadtime calibrate` found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.devices import Correction
from runtime.drivers.base import ArmDriver
from runtime.layout import ARM_GRIPPER, ARM_JOINTS

Array = NDArray[np.float64]


class CorrectedArm:
    """A driver seen through a correction; implements `ArmDriver`.

    What the device reads becomes what is true, and a target the reading at which the arm is there.
    """

    def __init__(self, arm: ArmDriver, correction: Correction) -> None:
        self._arm = arm
        self._offset_rad = np.array(correction.zero_offset_rad)
        self._closed, self._span = correction.gripper_closed, correction.gripper_open - correction.gripper_closed

    def open(self) -> None:
        """Connect; raises DriverError."""
        self._arm.open()

    def read(self) -> NDArray[Any] | None:
        """Return the newest ARM_STATE, corrected; one of zeros only stays one, so that it is refused as such."""
        state = self._arm.read()
        if state is None or not (state["position"].any() or state["velocity"].any()):
            return state
        corrected: Any = state.copy()
        corrected["position"][:ARM_JOINTS] += self._offset_rad
        corrected["position"][ARM_GRIPPER] = (state["position"][ARM_GRIPPER] - self._closed) / self._span
        corrected["velocity"][ARM_GRIPPER] = state["velocity"][ARM_GRIPPER] / self._span
        found: NDArray[Any] = corrected
        return found

    def command(self, servo_tick: int, position: Array, now_ns: int) -> None:
        """Send a target (7,) as the device reads it."""
        reading = np.array(position)
        reading[:ARM_JOINTS] -= self._offset_rad
        reading[ARM_GRIPPER] = self._closed + position[ARM_GRIPPER] * self._span
        self._arm.command(servo_tick, reading, now_ns)

    def close(self) -> None:
        """Disconnect; the arm holds."""
        self._arm.close()
