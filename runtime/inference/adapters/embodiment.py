"""Embodiment: what the numbers of a policy that was made for other hands mean on this rig's 14 joints.

It is declared, not guessed: which arm or arms, joints or the hand's pose, absolute or steps, in which frame, and how
the gripper is told. An arm that the policy does not move holds where it is. Poses go through inverse kinematics step by
step from the present joints; a step out of reach, or one that would take a joint further than an arm goes in that time,
is refused with its number and how far it was. Joints of an arm that is not the rig's are poses of that arm's hand.
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
from runtime.inference.adapters.own_arm import OwnArm, OwnKinematics
from runtime.inference.adapters.poses import REACH_M, REACH_RAD
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import matrix_rpy, quaternion_matrix, rotation_vector, vector_matrix
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES, Side

Vector = NDArray[np.float64]
Poses = dict[Side, Pose]
Postures = dict[Side, Vector]


class Embodiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy's numbers, arm after arm as in `arms`.

    `space` joints: 6 angles in rad and the gripper an arm. `space` hand: x, y, z in m, a rotation and the gripper; the
    rotation is a `vector` of 3 in rad, or a quaternion (w, x, y, z or x, y, z, w). `steps` says that they are
    differences to the step before, the first to where the arm is; then a rotation is a vector, and `translation_m` and
    `rotation_rad` are what one unit comes to. `frame`: the world's axes and origin, the arm's base, the hand's pose at
    the beginning of the episode, or, for steps, the hand as it is. `gripper`: which number is open, and `gripper_steps`
    whether it is a difference too. `jump_max_rad` is as far as a joint of the rig may go in one step.

    `own_arm` with `space` joints: the angles are of that arm, and the rig's hand goes where that one's would be, in
    the world or seen from the rig's arm's base.
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
    own_arm: OwnArm | None = None

    @property
    def arm_numbers(self) -> int:
        """How many numbers an arm has in a step."""
        if self.own_arm is not None:
            return len(self.own_arm.joints) + 1
        return 8 if self.space == "hand" and self.rotation != "vector" else ARM_DOF

    @property
    def needs_kinematics(self) -> bool:
        """Whether poses of the rig's hands come into it."""
        return self.space == "hand" or self.own_arm is not None

    def fault(self) -> str:
        """Return what is wrong with it, in a line; empty where nothing is."""
        if not self.arms or len(set(self.arms)) != len(self.arms):
            return "names no arm, or one twice"
        if self.steps and self.space == "hand" and self.rotation != "vector":
            return "has steps of a hand as quaternions; they are vectors here"
        if self.frame == "hand" and not self.steps:
            return "has absolute poses in the frame of the hand itself, which is where it is"
        if self.own_arm is None:
            return ""
        if self.space != "joints" or self.frame not in {"world", "arm_base"}:
            return "has an 'own_arm' without 'space' joints and 'frame' world or arm_base"
        return self.own_arm.fault()

    def obstacle(self, numbers: int) -> str:
        """Return why steps of so many numbers cannot drive the rig so, in a line; empty where they can."""
        fault = self.fault()
        if fault:
            return fault
        if numbers == self.arm_numbers * len(self.arms):
            return ""
        arms = "one arm" if len(self.arms) == 1 else f"{len(self.arms)} arms"
        what = f"{self.arm_numbers} numbers an arm ({self._what()})"
        return f"has steps of {numbers} numbers; {arms} of this rig take {self.arm_numbers * len(self.arms)}, {what}"

    def _what(self) -> str:
        if self.own_arm is not None:
            return f"the {len(self.own_arm.joints)} joints of its own arm and the gripper"
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
        """Bind the two; `kinematics` is needed where `embodiment.needs_kinematics`."""
        self.embodiment, self._kinematics = embodiment, kinematics
        self.own = None if embodiment.own_arm is None else OwnKinematics(embodiment.own_arm)
        self._first: Poses | None = None
        self._trail: list[tuple[Vector, Postures]] = []

    def begin(self) -> None:
        """Begin an episode: where the hands are at the next chunk is what `first_pose` means."""
        self._first, self._trail = None, []

    @property
    def told_numbers(self) -> int:
        """How many numbers `told` returns."""
        return RIG_DOF if self.own is None else self.embodiment.arm_numbers * len(self.embodiment.arms)

    def told(self, position: NDArray[Any]) -> Vector:
        """Return what a policy is told of a rig's position (14,): that, or the numbers of its own arm, arm after arm.

        The own arm's posture is the nearest to that in which the last chunk would have it there.

        Raises:
            AdapterError: a hand is where the policy's own arm does not reach.
        """
        here = np.asarray(position, dtype=np.float64)
        if self.own is None:
            return here
        postures = self._postures(self.own, here, self._hands(here))
        grippers = {side: float(here[ARM_SLICE[side].start + ARM_GRIPPER]) for side in postures}
        return np.concatenate([(*postures[side], self._number(grippers[side])) for side in self.embodiment.arms])

    def own_hand(self, angles: NDArray[Any]) -> Vector:
        """Return where the own arm's hand is in its base (6,): m, then roll, pitch, yaw in rad; AdapterError without.

        `angles` (n,) are its joints in rad.
        """
        if self.own is None:
            raise AdapterError("this embodiment has no 'own_arm'")
        hand = self.own.in_base(np.asarray(angles, dtype=np.float64))
        return np.concatenate((hand.position, matrix_rpy(hand.rotation)))

    def rows(self, chunk: NDArray[Any], start: NDArray[Any]) -> Vector:
        """Return the targets (n, 14), in rad and fractions, of a chunk (n, numbers) that begins at `start` (14,).

        Raises:
            AdapterError: it does not fit the embodiment, a pose is out of reach or a joint would jump.
        """
        embodiment, steps = self.embodiment, np.asarray(chunk, dtype=np.float64)
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
        postures: Postures = {}
        if embodiment.needs_kinematics:
            hands = self._hands(near)
        if self.own is not None and hands is not None and embodiment.steps:
            postures = self._postures(self.own, near, hands)
        trail: list[tuple[Vector, Postures]] = []
        for i, step in enumerate(steps):
            parts = np.split(step, len(embodiment.arms))
            row = self._joints_row(parts, near) if hands is None else self._hand_row(i, parts, near, hands, postures)
            self._check_jump(i, near, row)
            for side, part in zip(embodiment.arms, parts, strict=True):
                gripper = ARM_SLICE[side].start + ARM_GRIPPER
                row[gripper] = self._opening(float(part[-1]), float(near[gripper]))
            rows[i] = near = row
            trail.append((row, dict(postures)))
        self._trail = trail
        return rows

    def _joints_row(self, parts: list[Vector], near: Vector) -> Vector:
        row = near.copy()
        for side, part in zip(self.embodiment.arms, parts, strict=True):
            arm = row[ARM_SLICE[side]][:ARM_JOINTS]
            arm[:] = arm + part[:ARM_JOINTS] if self.embodiment.steps else part[:ARM_JOINTS]
        return row

    def _hands(self, near: Vector) -> Poses:
        if self._kinematics is None:
            raise AdapterError("poses of a hand need the arms' kinematics, and this embodiment has none")
        here = self._kinematics.forward(near)
        if self._first is None:
            self._first = here
        return dict(here)

    def _postures(self, own: OwnKinematics, position: Vector, hands: Poses) -> Postures:
        """Return the own arm's posture for each hand that the policy moves."""
        found: Postures = {}
        for side in self.embodiment.arms:
            part, near = ARM_SLICE[side], own.home
            if self._trail:
                near = min(self._trail, key=lambda seen: float(np.abs((seen[0] - position)[part][:ARM_JOINTS]).max()))[
                    1
                ][side]
            solution = own.solve(hands[side].seen_from(self._frame(side, hands[side])), near)
            if solution.position_error_m > REACH_M or solution.rotation_error_rad > REACH_RAD:
                raise AdapterError(
                    f"the {side} hand is where the policy's own arm does not reach, by {solution.position_error_m:.3f} "
                    f"m and {solution.rotation_error_rad:.2f} rad; move the hand or correct 'own_arm.base'"
                )
            found[side] = solution.joints
        return found

    def _hand_row(self, i: int, parts: list[Vector], near: Vector, hands: Poses, postures: Postures) -> Vector:
        """Return the row for poses; `hands` and `postures`, where the steps before were meant to lead, are moved on."""
        kinematics = self._kinematics
        if kinematics is None:
            raise AdapterError("poses of a hand need the arms' kinematics, and this embodiment has none")
        for side, part in zip(self.embodiment.arms, parts, strict=True):
            if self.own is None:
                hands[side] = self._goal(i, side, part, hands[side])
            else:
                angles = part[:-1]
                postures[side] = postures[side] + angles if self.embodiment.steps else angles
                hands[side] = self.own.forward(postures[side]).placed(self._frame(side, hands[side]))
        row = kinematics.joints({side: hands[side] for side in self.embodiment.arms}, near)
        reached = kinematics.forward(row)
        for side in self.embodiment.arms:
            away_m = float(np.linalg.norm(reached[side].position - hands[side].position))
            away_rad = float(np.linalg.norm(rotation_vector(reached[side].rotation @ hands[side].rotation.T)))
            if away_m > REACH_M or away_rad > REACH_RAD:
                raise AdapterError(
                    f"step {i} of the chunk is out of the {side} arm's reach, by {away_m:.3f} m and {away_rad:.2f} rad"
                )
        return row

    def _goal(self, i: int, side: Side, part: Vector, here: Pose) -> Pose:
        embodiment, frame = self.embodiment, self._frame(side, here)
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
        match self.embodiment.frame:
            case "hand":
                return here
            case "arm_base" if self._kinematics is not None:
                return self._kinematics.base[side]
            case "first_pose" if self._first is not None:
                return self._first[side]
        return Pose(np.zeros(3), np.eye(3))

    def _check_jump(self, i: int, near: Vector, row: Vector) -> None:
        for side in self.embodiment.arms:
            moved = np.abs((row - near)[ARM_SLICE[side]][:ARM_JOINTS])
            if moved.max() > self.embodiment.jump_max_rad:
                joint = int(moved.argmax())
                raise AdapterError(
                    f"step {i} of the chunk takes {side}_joint{joint + 1} {moved[joint]:.2f} rad further; "
                    f"at most {self.embodiment.jump_max_rad:.2f} rad a step are taken"
                )

    def _opening(self, told: float, near: float) -> float:
        """Return the gripper's opening from 0 to 1 that a number means: `_number` undone, or a step."""
        sign = -1.0 if self.embodiment.gripper == "closed_1" else 1.0
        if self.embodiment.gripper_steps:
            scale = 0.5 if self.embodiment.gripper == "open_1_closed_minus_1" else 1.0
            return float(np.clip(near + sign * scale * told, 0.0, 1.0))
        match self.embodiment.gripper:
            case "closed_1":
                told = 1.0 - told
            case "open_1_closed_minus_1":
                told = (told + 1.0) / 2.0
        return float(np.clip(told, 0.0, 1.0))

    def _number(self, opening: float) -> float:
        """Return the number that means a gripper's opening."""
        match self.embodiment.gripper:
            case "closed_1":
                return 1.0 - opening
            case "open_1_closed_minus_1":
                return 2.0 * opening - 1.0
        return opening
