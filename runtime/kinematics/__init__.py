"""What the arms are made of and how their links move: data that the simulation and the control decisions share."""

from __future__ import annotations

from typing import Final

from runtime.kinematics.arm_piper import PIPER_BODY
from runtime.kinematics.arm_vx300s import VX300S_BODY
from runtime.kinematics.arm_x5 import X5_BODY
from runtime.kinematics.body import ArmBody

ARM_BODIES: Final[dict[str, ArmBody]] = {body.name: body for body in (X5_BODY, PIPER_BODY, VX300S_BODY)}
