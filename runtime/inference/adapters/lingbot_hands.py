"""LingBot-VA's own way to write hands: 8 numbers an arm, relative to where the hand was at the episode's beginning.

Checked against Robbyant/lingbot-va evaluation/robotwin/eval_polict_client_openpi.py (`add_eef_pose`) and
RoboTwin-Platform/RoboTwin envs/robot/robot.py (`_trans_endpose`): the translation is added along the world's axes, the
rotation is composed in the hand's first frame, the gripper is its opening (1 open). RoboTwin writes quaternions as
w, x, y, z; the release's client composes them as if they were x, y, z, w, so that its numbers are no rotations of the
hand. `robotwin` does the same; `wxyz` and `xyzw` are for models whose data were composed as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.inference.adapters.answers import Refuse
from runtime.inference.adapters.lingbot_moves import HAND, HANDS, Rotations
from runtime.inference.adapters.poses import Hands, Kinematics, joint_rows
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion, quaternion_conjugate, quaternion_matrix, quaternion_product
from runtime.layout import GRIPPER_INDEX, SIDES, Side


@dataclass(frozen=True)
class Frame:
    """The hands at the beginning of an episode, which everything in it is relative to."""

    first: Hands
    rotations: Rotations

    def hands(self, channels: NDArray[np.float64]) -> dict[Side, Pose]:
        """Return the hands in the world that a step (16,) of the model means."""
        return {side: self._absolute(side, _of(side, channels)) for side in SIDES}

    def channels(
        self, hands: Hands, grippers: Mapping[Side, float], near: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Return the step (16,) that says where the hands are; of both signs of a quaternion that nearer to `near`."""
        step = np.empty(HANDS)
        for side in SIDES:
            part = _of(side, step)
            part[:3] = hands[side].position - self.first[side].position
            inverse = quaternion_conjugate(self._read(self.first[side]))
            part[3:7] = self._written(quaternion_product(inverse, self._read(hands[side])))
            if near is not None and part[3:7] @ _of(side, near)[3:7] < 0.0:
                part[3:7] *= -1.0
            part[7] = grippers[side]
        return step

    def _absolute(self, side: Side, part: NDArray[np.float64]) -> Pose:
        relative = self._parsed(part[3:7] / np.linalg.norm(part[3:7]))
        composed = quaternion_product(self._read(self.first[side]), relative)
        wxyz = np.roll(composed, -1) if self.rotations == "robotwin" else composed
        return Pose(self.first[side].position + part[:3], quaternion_matrix(wxyz))

    def _read(self, hand: Pose) -> NDArray[np.float64]:
        """Return a hand's rotation as the quaternion, real part first, that the model's data were composed with."""
        wxyz = quaternion(hand.rotation)
        # w, x, y, z taken for x, y, z, w: what stands last is taken for the real part.
        return np.roll(wxyz, 1) if self.rotations == "robotwin" else wxyz

    def _parsed(self, written: NDArray[np.float64]) -> NDArray[np.float64]:
        return written if self.rotations == "wxyz" else np.roll(written, 1)

    def _written(self, real_first: NDArray[np.float64]) -> NDArray[np.float64]:
        return real_first if self.rotations == "wxyz" else np.roll(real_first, -1)


class HandMoves:
    """Poses of two hands relative to the episode's first, and grippers; see `Moves`."""

    channels = HANDS

    def __init__(self, kinematics: Kinematics, rotations: Rotations) -> None:
        self._kinematics = kinematics
        self._rotations = rotations
        self._frame: Frame | None = None

    def begin(self, start: NDArray[np.float64]) -> None:
        """See Moves."""
        self._frame = Frame(dict(self._kinematics.forward(start)), self._rotations)

    def rows(self, steps: NDArray[np.float64], start: NDArray[np.float64], refuse: Refuse) -> NDArray[np.float64]:
        """See Moves."""
        if not (np.linalg.norm(steps.reshape(-1, len(SIDES), HAND)[..., 3:7], axis=-1) > 1e-6).all():
            raise refuse("answered a rotation that is none")
        goals = [self._begun.hands(step) for step in steps]
        return joint_rows(self._kinematics, goals, steps[:, HAND - 1 :: HAND], start, refuse)

    def steps(self, rows: NDArray[np.float64], near: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """See Moves."""
        told = []
        for row in rows:
            grippers = {side: float(row[GRIPPER_INDEX[i]]) for i, side in enumerate(SIDES)}
            near = self._begun.channels(self._kinematics.forward(row), grippers, near)
            told.append(near)
        return np.array(told)

    @property
    def _begun(self) -> Frame:
        if self._frame is None:
            raise RuntimeError("no episode was begun")
        return self._frame


def _of(side: Side, step: NDArray[np.float64]) -> NDArray[np.float64]:
    start = SIDES.index(side) * HAND
    return step[start : start + HAND]
