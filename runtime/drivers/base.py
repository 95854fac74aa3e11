"""What every device driver offers, simulated or real: the guardian and the camera process know no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError


class DriverError(LeadtimeError):
    """A device could not be opened or answered wrongly; says which device and what to check."""


class ArmDriver(Protocol):
    """One arm. Positions follow `runtime.layout`, shape (7,): rad, gripper as a fraction of its opening."""

    def open(self) -> None:
        """Connect and verify the device; raises DriverError. The arm does not move."""

    def read(self) -> NDArray[Any] | None:
        """Return the newest ARM_STATE record, stamped when it was measured; None before the first."""

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:
        """Send a position target and keep the torque on."""

    def close(self) -> None:
        """Disconnect; the arm keeps holding its last target where the device can."""


@dataclass(frozen=True)
class Frame:
    """One RGB picture, uint8 (height, width, 3), stamped at mid-exposure on the host's monotonic clock."""

    camera: str
    t_capture_ns: int
    image: NDArray[np.uint8]


class CameraDriver(Protocol):
    """One or more cameras that are read together."""

    def open(self) -> None:
        """Connect; raises DriverError."""

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Return the frames that arrived since the last call, empty when none did within the timeout."""

    def close(self) -> None:
        """Disconnect."""
