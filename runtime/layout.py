"""Joint order of a bimanual rig, in one place.

A rig vector has 14 numbers: left arm 6 joints (rad) + left gripper, right arm 6 joints (rad) + right
gripper. A gripper is its opening as a fraction of its stroke: 0 closed, 1 open (the convention of ALOHA and
RoboTwin datasets); drivers convert to the device's own unit.
"""

from __future__ import annotations

from typing import Final, Literal

Side = Literal["left", "right"]

SIDES: Final[tuple[Side, ...]] = ("left", "right")
ARM_JOINTS: Final = 6
ARM_DOF: Final = ARM_JOINTS + 1
RIG_DOF: Final = ARM_DOF * len(SIDES)
ARM_GRIPPER: Final = ARM_JOINTS
"""Index of the gripper in an arm's own 7 numbers."""

ARM_SLICE: Final[dict[Side, slice]] = {side: slice(i * ARM_DOF, (i + 1) * ARM_DOF) for i, side in enumerate(SIDES)}
GRIPPER_INDEX: Final[tuple[int, ...]] = tuple(i * ARM_DOF + ARM_GRIPPER for i in range(len(SIDES)))
JOINT_NAMES: Final[tuple[str, ...]] = tuple(
    f"{side}_{name}" for side in SIDES for name in (*(f"joint{j}" for j in range(1, ARM_DOF)), "gripper")
)
CAMERAS: Final[tuple[str, ...]] = ("cam_high", "cam_left_wrist", "cam_right_wrist")
"""The three views a policy reads by default, in the order and by the names of the ALOHA datasets."""
