"""How grippers and cubes stand in the world frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.kinematics.body import Vector3


def gripper_rotation(approach: Vector3, closing: Vector3) -> NDArray[np.float64]:
    """Axes of a tool frame, shape (3, 3): x along the fingers, y along their stroke, both unit and orthogonal."""
    x, y = np.asarray(approach, dtype=np.float64), np.asarray(closing, dtype=np.float64)
    return np.column_stack((x, y, np.cross(x, y)))


def rotation_about_z(angle_rad: float) -> NDArray[np.float64]:
    """Rotation matrix about the world's vertical, shape (3, 3)."""
    c, s = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    return np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def quarter_yaw_rad(rotation: NDArray[np.float64]) -> float:
    """Yaw of a cube in [-pi/4, pi/4): the smallest that its symmetry allows, whichever face lies down."""
    upright = int(np.argmax(np.abs(rotation[2])))
    side = rotation[:, (upright + 1) % 3]
    quarter = np.pi / 2
    return float((np.arctan2(side[1], side[0]) + quarter / 2) % quarter - quarter / 2)
