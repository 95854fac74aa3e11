"""Arm models: limits and rest poses of the arms a rig can carry, as data.

The gripper is the seventh degree of freedom of every arm, as a fraction of its opening (0 closed, 1 open), so
its velocity, acceleration and jerk are in 1/s, 1/s^2 and 1/s^3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.layout import ARM_DOF

Vector7 = tuple[float, float, float, float, float, float, float]


@dataclass(frozen=True)
class ArmModel:
    """Limits of one arm, joint order of `runtime.layout`, shapes (7,).

    `position_*` in rad (gripper: fraction), `velocity_max` rad/s, `acceleration_max` rad/s^2, `jerk_max`
    rad/s^3, `torque_max` N.m (gripper: N at the fingers). `home` is the rest pose the arm starts and parks in.
    """

    name: str
    source: str
    position_min: Vector7
    position_max: Vector7
    velocity_max: Vector7
    acceleration_max: Vector7
    jerk_max: Vector7
    torque_max: Vector7
    home: Vector7
    gripper_stroke_m: float

    @cached_property
    def home_array(self) -> NDArray[np.float64]:
        """The rest pose as an array, shape (7,)."""
        return np.array(self.home, dtype=np.float64).reshape(ARM_DOF)


X5: Final = ArmModel(
    name="x5",
    source="arx5-interface 0.1.5 (positions, velocities, torques); acceleration and jerk are ours",
    position_min=(-3.14, -0.05, -0.1, -1.6, -1.57, -2.0, 0.0),
    position_max=(2.618, 3.5, 3.2, 1.55, 1.57, 2.0, 1.0),
    velocity_max=(5.0, 5.0, 5.5, 5.5, 5.0, 5.0, 5.0),
    acceleration_max=(30.0, 30.0, 30.0, 40.0, 40.0, 40.0, 60.0),
    jerk_max=(1500.0, 1500.0, 1500.0, 2000.0, 2000.0, 2000.0, 3000.0),
    torque_max=(30.0, 40.0, 30.0, 15.0, 10.0, 10.0, 60.0),
    home=(0.0, 1.2, 1.0, -0.83, 0.0, 0.0, 1.0),
    gripper_stroke_m=0.088,
)
PIPER: Final = ArmModel(
    name="piper",
    source="piper_sdk 0.6.2 and the firmware's caps (velocity 3 rad/s, acceleration 5 rad/s^2); jerk is ours",
    position_min=(-2.618, 0.0, -2.967, -1.745, -1.22, -2.0944, 0.0),
    position_max=(2.618, 3.14, 0.0, 1.745, 1.22, 2.0944, 1.0),
    velocity_max=(3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0),
    acceleration_max=(5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 40.0),
    jerk_max=(250.0, 250.0, 250.0, 250.0, 250.0, 250.0, 2000.0),
    torque_max=(18.0, 18.0, 18.0, 6.0, 6.0, 6.0, 40.0),
    home=(0.0, 1.2, -0.79, 0.0, 0.72, 0.0, 1.0),
    gripper_stroke_m=0.070,
)
VX300S: Final = ArmModel(
    name="vx300s",
    source="Interbotix vx300s URDF and Dynamixel tables; acceleration and jerk are ours",
    position_min=(-3.14, -1.85, -1.76, -3.14, -1.87, -3.14, 0.0),
    position_max=(3.14, 1.26, 1.61, 3.14, 2.23, 3.14, 1.0),
    velocity_max=(3.14, 3.14, 3.14, 3.14, 3.14, 3.14, 4.0),
    acceleration_max=(15.0, 15.0, 15.0, 20.0, 20.0, 20.0, 40.0),
    jerk_max=(800.0, 800.0, 800.0, 1000.0, 1000.0, 1000.0, 2000.0),
    torque_max=(35.0, 57.0, 25.0, 10.0, 10.0, 6.0, 40.0),
    home=(0.0, -0.39, 0.74, 0.0, 0.7, 0.0, 1.0),
    gripper_stroke_m=0.079,
)

ARM_MODELS: Final[dict[str, ArmModel]] = {model.name: model for model in (X5, PIPER, VX300S)}
