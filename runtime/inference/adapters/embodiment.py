"""Embodiment: what the numbers of a policy that was made for other hands mean on this rig's 14 joints.

It is declared, not guessed: which arm or arms, joints or the hand's pose, absolute or steps, in which frame, and how
the gripper is told. An arm that the policy does not move holds where it is. Poses go through inverse kinematics step by
step from the present joints; a step out of reach, or one that would take a joint further than an arm goes in that time,
is refused with its number and how far it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import mujoco
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from runtime.drivers.sim.scene import build_model
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.poses import REACH_M, REACH_RAD
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion_matrix, rotation_vector, vector_matrix
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES, Side

Vector = NDArray[np.float64]
Poses = dict[Side, Pose]


class Embodiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy's numbers, arm after arm as in `arms`.

    `space` joints: 6 angles in rad and the gripper an arm. `space` hand: x, y, z in m, a rotation and the gripper; the
    rotation is a `vector` of 3 in rad, or a quaternion (w, x, y, z or x, y, z, w). `steps` says that they are
    differences to the step before, the first to where the arm is; then a rotation is a vector, and `translation_m` and
    `rotation_rad` are what one unit comes to. `frame`: the world's axes and origin, the arm's base, the hand's pose at
    the beginning of the episode, or, for steps, the hand as it is. `gripper`: which number is open, and `gripper_steps`
    whether it is a difference too. `jump_max_rad` is as far as a joint may go in one step.
    """

    arms: tuple[Side, ...] = SIDES
    space: Literal["joints", "hand"] = "joints"
    steps: bool = False
    frame: Literal["world", "arm_base", "first_pose", "hand"] = "world"
    rotation: Literal["vector", "wxyz", "xyzw"] = "vector"
    translation_m: Annotated[float, Meta(gt=0.0)] = 1.0
    rotation_rad: Annotated[float, Meta(gt=0.0)] = 1.0
    gripper: Literal["open_1", "closed_1", "open_1_closed_minus_1"] = "open_1"
    gripper_steps: bool = False
    jump_max_rad: Annotated[float, Meta(gt=0.0)] = 0.6

    @property
    def arm_numbers(self) -> int:
        """How many numbers an arm has in a step."""
        return 8 if self.space == "hand" and self.rotation != "vector" else ARM_DOF

    def obstacle(self, numbers: int) -> str:
        """Return why steps of so many numbers cannot drive the rig so, in a line; empty where they can."""
        if not self.arms or len(set(self.arms)) != len(self.arms):
            return "names no arm, or one twice"
        if self.steps and self.space == "hand" and self.rotation != "vector":
            return "has steps of a hand as quaternions; they are vectors here"
        if self.frame == "hand" and not self.steps:
            return "has absolute poses in the frame of the hand itself, which is where it is"
        if numbers == self.arm_numbers * len(self.arms):
            return ""
        arms = "one arm" if len(self.arms) == 1 else f"{len(self.arms)} arms"
        what = f"{self.arm_numbers} numbers an arm ({self._what()})"
        return f"has steps of {numbers} numbers; {arms} of this rig take {self.arm_numbers * len(self.arms)}, {what}"

    def _what(self) -> str:
        if self.space == "joints":
            return f"{ARM_JOINTS} joints and the gripper"
        return f"position, {'rotation vector' if self.rotation == 'vector' else 'quaternion'} and the gripper"


class RigKinematics:
    """Joints of a rig's two arms <-> poses of their hands in the world, by its arms' MuJoCo model."""

    def __init__(self, arm: str) -> None:
        """Build the model of two arms `arm`; UsageError for an unknown one."""
        model = build_model(arm)
        self._arms = {side: ArmIk(model, side) for side in SIDES}
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        bases = {side: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, f"{side}_base") for side in SIDES}
        self.base: Poses = {
            side: Pose(data.xpos[i].copy(), data.xmat[i].reshape(3, 3).copy()) for side, i in bases.items()
        }

    def forward(self, joints: NDArray[Any]) -> Poses:
        """Return the pose of each hand at rig angles (14,) in rad."""
        return {side: arm.forward(joints[ARM_SLICE[side]][:ARM_JOINTS]) for side, arm in self._arms.items()}

    def joints(self, poses: Mapping[Side, Pose], near: NDArray[Any]) -> Vector:
        """Return the rig angles (14,) that come closest to the poses, found from `near`.

        The grippers, and the arms without a pose, are as in `near`.
        """
        found = np.array(near, dtype=np.float64)
        for side, pose in poses.items():
            start = found[ARM_SLICE[side]][:ARM_JOINTS]
            found[ARM_SLICE[side]][:ARM_JOINTS] = self._arms[side].solve(pose, start).joints
        return found


class EmbodimentMap:
    """Turns chunks of a declared embodiment into rows of the rig's joints."""

    def __init__(self, embodiment: Embodiment, kinematics: RigKinematics | None) -> None:
        """Bind the two; `kinematics` is needed for `space` hand only."""
        self._embodiment, self._kinematics = embodiment, kinematics
        self._first: Poses | None = None

    def begin(self) -> None:
        """Begin an episode: where the hands are at the next chunk is what `first_pose` means."""
        self._first = None

    def rows(self, chunk: NDArray[Any], start: NDArray[Any]) -> Vector:
        """Return the targets (n, 14), in rad and fractions, of a chunk (n, numbers) that begins at `start` (14,).

        Raises:
            AdapterError: it does not fit the embodiment, a pose is out of reach or a joint would jump.
        """
        embodiment, steps = self._embodiment, np.asarray(chunk, dtype=np.float64)
        obstacle = embodiment.obstacle(steps.shape[-1] if steps.ndim == 2 else 0)
        if obstacle:
            raise AdapterError(f"the policy {obstacle}")
        if not np.isfinite(steps).all():
            raise AdapterError("the policy answered NaN or infinity")
        near = np.array(start, dtype=np.float64)
        if near.shape != (RIG_DOF,):
            raise AdapterError(f"a chunk begins at {RIG_DOF} joints, not {near.shape}")
        rows = np.tile(near, (len(steps), 1))
        hands: Poses | None = None
        if embodiment.space == "hand":
            hands = self._hands(near)
        for i, step in enumerate(steps):
            parts = np.split(step, len(embodiment.arms))
            row = self._joints_row(parts, near) if hands is None else self._hand_row(i, parts, near, hands)
            self._check_jump(i, near, row)
            for side, part in zip(embodiment.arms, parts, strict=True):
                gripper = ARM_SLICE[side].start + ARM_GRIPPER
                row[gripper] = self._opening(float(part[-1]), float(near[gripper]))
            rows[i] = near = row
        return rows

    def _joints_row(self, parts: list[Vector], near: Vector) -> Vector:
        row = near.copy()
        for side, part in zip(self._embodiment.arms, parts, strict=True):
            arm = row[ARM_SLICE[side]][:ARM_JOINTS]
            arm[:] = arm + part[:ARM_JOINTS] if self._embodiment.steps else part[:ARM_JOINTS]
        return row

    def _hands(self, near: Vector) -> Poses:
        if self._kinematics is None:
            raise AdapterError("poses of a hand need the arms' kinematics, and this embodiment has none")
        here = self._kinematics.forward(near)
        if self._first is None:
            self._first = here
        return dict(here)

    def _hand_row(self, i: int, parts: list[Vector], near: Vector, hands: Poses) -> Vector:
        """Return the row for poses; `hands`, where the steps before were meant to lead, is moved on."""
        kinematics = self._kinematics
        if kinematics is None:
            raise AdapterError("poses of a hand need the arms' kinematics, and this embodiment has none")
        for side, part in zip(self._embodiment.arms, parts, strict=True):
            hands[side] = self._goal(i, side, part, hands[side])
        row = kinematics.joints({side: hands[side] for side in self._embodiment.arms}, near)
        reached = kinematics.forward(row)
        for side in self._embodiment.arms:
            away_m = float(np.linalg.norm(reached[side].position - hands[side].position))
            away_rad = float(np.linalg.norm(rotation_vector(reached[side].rotation @ hands[side].rotation.T)))
            if away_m > REACH_M or away_rad > REACH_RAD:
                raise AdapterError(
                    f"step {i} of the chunk is out of the {side} arm's reach, by {away_m:.3f} m and {away_rad:.2f} rad"
                )
        return row

    def _goal(self, i: int, side: Side, part: Vector, here: Pose) -> Pose:
        embodiment, frame = self._embodiment, self._frame(side, here)
        if embodiment.steps:
            turn = frame.rotation @ vector_matrix(embodiment.rotation_rad * part[3:6]) @ frame.rotation.T
            move = embodiment.translation_m * (frame.rotation @ part[:3])
            return Pose(here.position + move, turn @ here.rotation)
        if embodiment.rotation == "vector":
            turned = vector_matrix(embodiment.rotation_rad * part[3:6])
        else:
            if float(np.linalg.norm(part[3:7])) < 1e-6:
                raise AdapterError(f"step {i} of the chunk has a rotation of the {side} hand that is none")
            turned = quaternion_matrix(part[3:7] if embodiment.rotation == "wxyz" else np.roll(part[3:7], 1))
        position = frame.position + embodiment.translation_m * (frame.rotation @ part[:3])
        return Pose(position, frame.rotation @ turned)

    def _frame(self, side: Side, here: Pose) -> Pose:
        match self._embodiment.frame:
            case "hand":
                return here
            case "arm_base" if self._kinematics is not None:
                return self._kinematics.base[side]
            case "first_pose" if self._first is not None:
                return self._first[side]
        return Pose(np.zeros(3), np.eye(3))

    def _check_jump(self, i: int, near: Vector, row: Vector) -> None:
        for side in self._embodiment.arms:
            moved = np.abs((row - near)[ARM_SLICE[side]][:ARM_JOINTS])
            if moved.max() > self._embodiment.jump_max_rad:
                joint = int(moved.argmax())
                raise AdapterError(
                    f"step {i} of the chunk takes {side}_joint{joint + 1} {moved[joint]:.2f} rad further; "
                    f"at most {self._embodiment.jump_max_rad:.2f} rad a step are taken"
                )

    def _opening(self, told: float, near: float) -> float:
        """Return the gripper's opening from 0 to 1 that a number means."""
        sign = -1.0 if self._embodiment.gripper == "closed_1" else 1.0
        if self._embodiment.gripper_steps:
            scale = 0.5 if self._embodiment.gripper == "open_1_closed_minus_1" else 1.0
            return float(np.clip(near + sign * scale * told, 0.0, 1.0))
        match self._embodiment.gripper:
            case "closed_1":
                told = 1.0 - told
            case "open_1_closed_minus_1":
                told = (told + 1.0) / 2.0
        return float(np.clip(told, 0.0, 1.0))
