"""What every device driver offers, simulated or real: the guardian and the camera process know no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError
from runtime.layout import Side
from runtime.states import Mode


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
        """Return the frames that arrived since the last call, empty when none did within the timeout.

        Raises DriverError when a camera is lost.
        """

    def close(self) -> None:
        """Disconnect, also what is half open or lost; never raises."""


@dataclass(frozen=True)
class LeaderSample:
    """Where a leader wants one arm: `position` (7,) in rad and a fraction of the gripper, taken at `t_ns`.

    `clutch`: the device's own dead-man is held; True for a leader that has none.
    """

    side: Side
    t_ns: int
    position: NDArray[np.float64]
    clutch: bool


@dataclass(frozen=True)
class LeaderReading:
    """What a leader device said since the last reading.

    `clutch`: a dead-man for every arm (pedal, pad), None from a device without one. `want`: the mode the operator
    asked for with a button, None when no button was pressed; `clear`: the operator acknowledged the faults.
    """

    samples: tuple[LeaderSample, ...] = ()
    clutch: bool | None = None
    want: Mode | None = None
    clear: bool = False


class LeaderDriver(Protocol):
    """A device that a person leads the arms with: another arm, a pad, a pedal, hand poses.

    One that gives hand poses or their changes turns them into joints itself, from the follower's.
    """

    def open(self) -> None:
        """Connect; raises DriverError."""

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return what came since the last call, without waiting; `follower` (14,) are the measured joints.

        Raises DriverError when the device is lost.
        """

    def close(self) -> None:
        """Disconnect."""
