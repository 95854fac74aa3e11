"""Hand poses: chunks that move hands become chunks that move joints.

An end-effector policy is meant for one kind of arm and one frame of its hand. What this rig makes of its poses is the
rig's embodiment, declared by whoever sets up the adapter; without one such a policy is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.answers import Refuse
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import vector_matrix
from runtime.layout import ARM_SLICE, GRIPPER_INDEX, SIDES, Side

REACH_M: Final = 0.01
REACH_RAD: Final = 0.1
"""How far the nearest posture may be from a pose that a model asks for; its own errors are of this size."""

Hands = Mapping[Side, Pose]


class Kinematics(Protocol):
    """Joints of this rig's arms <-> poses of their hands, in the world and hand frames that the policy means."""

    def forward(self, joints: NDArray[np.float64]) -> Hands:
        """Return the pose of each hand at rig angles (14,) in rad."""

    def joints(self, poses: Hands, near: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rig angles (14,) that come closest to the poses, found from `near`; grippers as in `near`."""


class DeltaHand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which arm a one-armed policy moves, and what one unit of its actions is; the other arm holds still."""

    arm: Side
    translation_m: float = 1.0
    rotation_rad: float = 1.0


def joint_rows(
    kinematics: Kinematics,
    goals: Sequence[Hands],
    grippers: NDArray[np.float64],
    start: NDArray[np.float64],
    refuse: Refuse,
) -> NDArray[np.float64]:
    """Return rows (n, 14) for hand poses and gripper openings (n, 2), each found from the row before.

    Raises what `refuse` makes of a pose that no posture comes near to (`REACH_M`, `REACH_RAD`).
    """
    rows = np.empty((len(goals), len(start)))
    near = np.array(start, dtype=np.float64)
    for i, goal in enumerate(goals):
        near = np.array(kinematics.joints(goal, near), dtype=np.float64)
        reached = kinematics.forward(near)
        for side in SIDES:
            if not reached[side].close_to(goal[side], position_m=REACH_M, rotation_rad=REACH_RAD):
                raise refuse(f"asked the {side} hand, in step {i} of a chunk, for a pose out of its arm's reach")
        rows[i] = near
        rows[i, GRIPPER_INDEX] = grippers[i]
    return rows


def delta_rows(
    kinematics: Kinematics, hand: DeltaHand, deltas: NDArray[np.float64], start: NDArray[np.float64], refuse: Refuse
) -> NDArray[np.float64]:
    """Return rows (n, 14) for steps (n, 7) of one hand from `start` (14,): translation, rotation vector, opening.

    Both are along the world's axes, and each step goes on from where the one before was meant to lead.
    """
    poses = dict(kinematics.forward(start))
    here = poses[hand.arm]
    goals: list[Hands] = []
    for step in deltas:
        turn = vector_matrix(hand.rotation_rad * step[3:6])
        here = Pose(here.position + hand.translation_m * step[:3], turn @ here.rotation)
        goals.append({**poses, hand.arm: here})
    grippers = np.tile(start[list(GRIPPER_INDEX)], (len(deltas), 1))
    grippers[:, SIDES.index(hand.arm)] = deltas[:, 6]
    rows = joint_rows(kinematics, goals, grippers, start, refuse)
    for side in SIDES:
        if side != hand.arm:
            rows[:, ARM_SLICE[side]] = start[ARM_SLICE[side]]
    return rows
