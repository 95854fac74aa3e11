"""Leading an arm by rates: what pads and keyboards do, joint by joint."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.layout import ARM_DOF, ARM_GRIPPER

JOINT_RAD_S: Final = 0.6
GRIPPER_S: Final = 1.5
"""Full deflection, rad/s and openings a second."""
LAG_MAX_NS: Final = NS_PER_S // 20
"""A pause longer than this is not made up for."""
AHEAD_RAD: Final = 0.2
"""How far the jogged pose may run ahead of an arm that cannot follow."""


class Jog:
    """A pose (7,) moved at rates; it goes with the arm while the clutch is open."""

    def __init__(self) -> None:
        self._position = np.zeros(ARM_DOF)
        self._t_ns = 0

    def step(self, now_ns: int, arm: NDArray[np.float64], deflection: NDArray[np.float64], *, held: bool) -> None:
        """Move on with deflections (7,) of -1 to 1; `arm` (7,) is where the arm is."""
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
        """The pose that is asked for."""
        return self._position
