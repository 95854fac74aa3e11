"""Leading an arm by rates, as pads and keyboards do: its joints one by one, or its hand."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.drivers.leaders.hand import AHEAD_RAD, LAG_MAX_NS, Hand
from runtime.layout import ARM_DOF, ARM_GRIPPER, Side

JOINT_RAD_S: Final = 0.6
GRIPPER_S: Final = 1.5
"""Full deflection, rad/s and openings a second."""


class Jog(Protocol):
    """A pose (7,) moved at rates; it goes with the arm while the clutch is open."""

    def step(self, now_ns: int, arm: NDArray[np.float64], deflection: NDArray[np.float64], *, held: bool) -> None:
        """Move on with deflections (7,) of -1 to 1; `arm` (7,) is where the arm is."""

    @property
    def position(self) -> NDArray[np.float64]:
        """The pose that is asked for."""

    @property
    def refused(self) -> bool:
        """Whether the arm cannot be led on until the clutch is let go."""


class JointJog:
    """Every component moves a joint; implements `Jog`."""

    refused = False

    def __init__(self) -> None:
        self._position = np.zeros(ARM_DOF)
        self._t_ns = 0

    def step(self, now_ns: int, arm: NDArray[np.float64], deflection: NDArray[np.float64], *, held: bool) -> None:
        """Move on; see Jog."""
        span_s = min(now_ns - self._t_ns, LAG_MAX_NS) / NS_PER_S if self._t_ns else 0.0
        self._t_ns = now_ns
        if not held:
            self._position = arm.copy()
            return
        rates = np.full(ARM_DOF, JOINT_RAD_S)
        rates[ARM_GRIPPER] = GRIPPER_S
        moved = self._position + rates * np.clip(deflection, -1.0, 1.0) * span_s
        joints = np.clip(moved, arm - AHEAD_RAD, arm + AHEAD_RAD)
        # A gripper that holds an object stays behind for good: it is led all the way.
        joints[ARM_GRIPPER] = min(max(moved[ARM_GRIPPER], 0.0), 1.0)
        self._position = joints

    @property
    def position(self) -> NDArray[np.float64]:
        """See Jog."""
        return self._position


class HandJog:
    """Components are the hand's x, y, z, roll, pitch and yaw in the axes of the arm's base; implements `Jog`."""

    def __init__(self, arm: str, side: Side) -> None:
        """Build the kinematics of a side's arm by its model's name; UsageError for an unknown one."""
        self._hand = Hand(arm, side)

    def step(self, now_ns: int, arm: NDArray[np.float64], deflection: NDArray[np.float64], *, held: bool) -> None:
        """Move on; see Jog."""
        if not held:
            self._hand.release(arm, now_ns)
            return
        opening = self._hand.position[ARM_GRIPPER] + GRIPPER_S * deflection[ARM_GRIPPER] * self._hand.span_s(now_ns)
        self._hand.steer(now_ns, arm, deflection[:ARM_GRIPPER], opening)

    @property
    def position(self) -> NDArray[np.float64]:
        """See Jog."""
        return self._hand.position

    @property
    def refused(self) -> bool:
        """See Jog."""
        return self._hand.refused
