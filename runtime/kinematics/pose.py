"""Poses of a gripper in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.kinematics.rotations import rotation_vector


@dataclass(frozen=True)
class Pose:
    """A frame in the world: `position` (3,) in m, `rotation` (3, 3) with the frame's axes as columns."""

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def moved(self, *, x_m: float = 0.0, y_m: float = 0.0, z_m: float = 0.0) -> Pose:
        """The same orientation, displaced along the world's axes."""
        return Pose(self.position + (x_m, y_m, z_m), self.rotation)

    def placed(self, frame: Pose) -> Pose:
        """The pose in the world of what is here given in a `frame` of it."""
        return Pose(frame.position + frame.rotation @ self.position, frame.rotation @ self.rotation)

    def seen_from(self, frame: Pose) -> Pose:
        """The same pose, given in a `frame` of the world: `placed` undone."""
        return Pose(frame.rotation.T @ (self.position - frame.position), frame.rotation.T @ self.rotation)

    def close_to(self, other: Pose, *, position_m: float, rotation_rad: float) -> bool:
        """Whether both the distance and the angle to `other` are inside the tolerances."""
        if float(np.linalg.norm(self.position - other.position)) > position_m:
            return False
        return float(np.linalg.norm(rotation_vector(self.rotation @ other.rotation.T))) <= rotation_rad
