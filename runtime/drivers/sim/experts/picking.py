"""Picking a cube from above with one gripper: over it, down, close; open and try again when it slipped away."""

from __future__ import annotations

from typing import Final

import numpy as np

from runtime.drivers.sim.experts.view import Hand, View
from runtime.drivers.sim.grasp import gripper_rotation, rotation_about_z
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import rotation_vector

OPEN: Final = 1.0
CLEAR: Final = 0.75
"""Opening that lets a cube go without sweeping wider than needed."""
GRIP: Final = 0.25
"""Commanded opening that squeezes a 4 cm cube, which keeps the fingers at 0.45."""
EMPTY: Final = 0.38
"""Opening below which nothing can be between the fingers."""
DOWN: Final = gripper_rotation((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
HOVER_M: Final = 0.075
ALIGNED_M: Final = 0.014
CENTRED_M: Final = 0.010
"""Fingers that close further off than this hold the cube by its edge, where the other hand must take it."""
ALIGNED_RAD: Final = 0.2
LOW_M: Final = 0.012
NEAR_M: Final = 0.12
QUARTER_TURN_RAD: Final = np.pi / 2


class Picker:
    """Chooses one gripper's goal from where the cube is; remembers only that a failed grasp is being mended."""

    def __init__(self, width: float = OPEN) -> None:
        """`width`: the gripper's opening on the way down, 0..1."""
        self._width = width
        self._retrying = False

    def reset(self) -> None:
        """Forget the last attempt."""
        self._retrying = False

    def goal(self, view: View, hand: Hand) -> tuple[str, Pose, float]:
        """The phase (reach, lower, grasp or retry), and the tool's pose and opening for it."""
        gap = hand.tcp.position - view.position_m
        aside_m, height_m = float(np.hypot(gap[0], gap[1])), float(gap[2])
        at = Pose(view.position_m, self._orientation(view, hand, aside_m))
        over = at.moved(z_m=HOVER_M)
        opened = hand.opening > self._width - 0.1
        if hand.opening < EMPTY:
            self._retrying = True
        elif opened and height_m > HOVER_M / 2:
            self._retrying = False
        if self._retrying:
            return "retry", over, self._width
        if opened:
            low, centred = height_m < LOW_M, aside_m < CENTRED_M
        else:
            low, centred = height_m < 2 * LOW_M, aside_m < 2 * ALIGNED_M
        if low and centred:
            return "grasp", at, GRIP
        turned_rad = float(np.linalg.norm(rotation_vector(at.rotation @ hand.tcp.rotation.T)))
        on_the_way = height_m < 0.8 * HOVER_M and aside_m < 2 * ALIGNED_M
        if opened and (on_the_way or (aside_m < ALIGNED_M and turned_rad < ALIGNED_RAD)):
            return "lower", at, self._width
        return "reach", over, self._width

    def _orientation(self, view: View, hand: Hand, aside_m: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        yaw_rad = view.yaw_rad
        if aside_m < NEAR_M and hand.tcp.rotation[2, 0] < -0.9:
            closing = -hand.tcp.rotation[:, 1]
            tool_rad = float(np.arctan2(closing[1], closing[0]))
            yaw_rad += QUARTER_TURN_RAD * round(float(np.clip(tool_rad - yaw_rad, -1.2, 1.2)) / QUARTER_TURN_RAD)
        return rotation_about_z(yaw_rad) @ DOWN
