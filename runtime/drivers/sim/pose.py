"""Poses of a gripper in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """A frame in the world: `position` (3,) in m, `rotation` (3, 3) with the frame's axes as columns."""

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def moved(self, *, x_m: float = 0.0, y_m: float = 0.0, z_m: float = 0.0) -> Pose:
        """The same orientation, displaced along the world's axes."""
        return Pose(self.position + (x_m, y_m, z_m), self.rotation)

    def close_to(self, other: Pose, *, position_m: float, rotation_rad: float) -> bool:
        """Whether both the distance and the angle to `other` are inside the tolerances."""
        if float(np.linalg.norm(self.position - other.position)) > position_m:
            return False
        return float(np.linalg.norm(rotation_vector(self.rotation @ other.rotation.T))) <= rotation_rad


def gripper_rotation(approach: Vector3, closing: Vector3) -> NDArray[np.float64]:
    """Axes of a tool frame, shape (3, 3): x along the fingers, y along their stroke, both unit and orthogonal."""
    x, y = np.asarray(approach, dtype=np.float64), np.asarray(closing, dtype=np.float64)
    return np.column_stack((x, y, np.cross(x, y)))


def rotation_about_z(angle_rad: float) -> NDArray[np.float64]:
    """Rotation matrix about the world's vertical, shape (3, 3)."""
    c, s = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    return np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of a rotation matrix: axis times angle in rad, shape (3,)."""
    sine = 0.5 * np.array(
        (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])
    )
    cosine = 0.5 * (float(np.trace(rotation)) - 1.0)
    length = float(np.linalg.norm(sine))
    if length < 1e-9:
        if cosine > 0.0:
            return sine
        axis = np.sqrt(np.maximum((np.diag(rotation) + 1.0) / 2.0, 0.0))
        column = rotation[:, int(np.argmax(axis))]
        return np.pi * axis * np.where(column < 0.0, -1.0, 1.0)
    return sine * (float(np.arctan2(length, cosine)) / length)


def quarter_yaw_rad(rotation: NDArray[np.float64]) -> float:
    """Yaw of a cube in [-pi/4, pi/4): the smallest that its symmetry allows, whichever face lies down."""
    upright = int(np.argmax(np.abs(rotation[2])))
    side = rotation[:, (upright + 1) % 3]
    quarter = np.pi / 2
    return float((np.arctan2(side[1], side[0]) + quarter / 2) % quarter - quarter / 2)
