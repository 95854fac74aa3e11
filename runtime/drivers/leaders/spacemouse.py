"""A SpaceMouse through pyspacemouse 2 (extra `teleop`): its twist moves the hand of one arm."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.devices import SpaceMouseLeader
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.leaders.hand import Hand
from runtime.layout import ARM_GRIPPER, ARM_SLICE

DEAD_BAND: Final = 0.05
REPORTS_MAX: Final = 8
"""Reports that one reading takes: a device sends translation, rotation and buttons in turn."""
REST_NS: Final = 200 * NS_PER_MS
"""A deflection that no report has confirmed for this long is none."""
GRIPPER_BUTTON: Final = 0
CLUTCH_BUTTON: Final = 1


class SpaceMouse:
    """One SpaceMouse; implements `LeaderDriver`. Its second button is the clutch, the first opens or closes."""

    def __init__(self, config: SpaceMouseLeader, arm: str) -> None:
        self._config = config
        self._hand = Hand(arm, config.side)
        self._device: Any = None
        self._name = config.device or "SpaceMouse"
        self._stamp: float | None = None
        self._heard_ns = 0
        self._opening = 0.0
        self._pressed = False

    def open(self) -> None:
        """Connect; see LeaderDriver."""
        try:
            package: Any = importlib.import_module("pyspacemouse")
        except ImportError as error:
            raise DriverError("a SpaceMouse needs the package pyspacemouse: pip install 'leadtime[teleop]'") from error
        except (AttributeError, OSError) as error:
            raise DriverError(f"pyspacemouse does not load ({error}); install the system's hidapi") from error
        axes = package.AxisConvention.ROS
        try:
            if self._config.device:
                self._device = package.open_by_path(self._config.device, axis_convention=axes)
            else:
                self._device = package.open(axis_convention=axes)
        except (AttributeError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise DriverError(f"{self._name}: {reason}; check the cable, hidapi and the udev rule") from error

    def close(self) -> None:
        """Disconnect."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return where the hand is moved to; see LeaderDriver."""
        state = self._newest(now_ns)
        twist = np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw], dtype=np.float64)
        buttons = [bool(button) for button in state.buttons]
        if not np.isfinite(twist).all() or len(buttons) <= CLUTCH_BUTTON:
            raise DriverError(f"{self._name}: no six axes and two buttons in its report; use a device that has them")
        if now_ns - self._heard_ns > REST_NS:
            twist[:] = 0.0
        twist = np.where(np.abs(twist) > DEAD_BAND, twist, 0.0)
        arm = follower[ARM_SLICE[self._config.side]]
        held = buttons[CLUTCH_BUTTON]
        toggled = buttons[GRIPPER_BUTTON] and not self._pressed
        self._pressed = buttons[GRIPPER_BUTTON]
        if not held:
            self._hand.release(arm, now_ns)
            self._opening = float(arm[ARM_GRIPPER])
        else:
            if toggled:
                self._opening = 0.0 if self._opening >= 0.5 else 1.0
            self._hand.steer(now_ns, arm, twist, self._opening)
        sample = LeaderSample(self._config.side, now_ns, self._hand.position, held and not self._hand.refused)
        return LeaderReading((sample,))

    def _newest(self, now_ns: int) -> Any:
        try:
            for _ in range(REPORTS_MAX):
                state = self._device.read()
                if state.t == self._stamp:
                    break
                self._stamp, self._heard_ns = state.t, now_ns
        except Exception as error:  # hidapi's own exceptions have no base that pyspacemouse exports
            raise DriverError(f"{self._name}: {str(error) or 'lost'}; check the cable") from error
        return state
