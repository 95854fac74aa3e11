"""How much clearance a pose of the rig has: from itself, the other arm, the table and the boxes to keep out of.

The arms are capsules on the joints of `runtime.kinematics`, in a MuJoCo model with nothing else in it; a pose costs
one forward kinematics and one pass of MuJoCo's collision detection. Fingers may touch the table and each other, for
that is their work. The same pose gives the same answer, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import msgspec
import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.config import RigConfig
from runtime.kinematics import ARM_BODIES
from runtime.kinematics.capsules import Capsule, link_capsules
from runtime.kinematics.rotations import quaternion, rpy_matrix
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS, SIDES, Side
from runtime.workspace import Base, Workspace

Array = NDArray[np.float64]

SEEN_M: Final = 0.08
"""Clearances beyond what is needed are told apart up to this distance: it costs time and saves samples."""
SELF_LINKS: Final = 3
"""Links of one arm nearer than this in the chain overlap by design; base 0, links 1 to 6, fingers 7."""
FINGER: Final = ARM_JOINTS + 1
_SIGNS: Final = (1.0, -1.0)
_ARM_COORDINATES: Final = np.array((*range(ARM_JOINTS), *(ARM_GRIPPER for _ in _SIGNS)))
"""An arm's joints, and its gripper once for each finger."""
_LINK, _FINGER, _TABLE, _BOX = 1, 2, 4, 8
_MEETS: Final = {_LINK: _LINK | _FINGER | _TABLE | _BOX, _FINGER: _LINK | _BOX, _TABLE: _LINK, _BOX: _LINK | _FINGER}
"""What each kind of geom is checked against: fingers may touch the table and each other, for that is their work."""


class Clearances(NamedTuple):
    """What is near in a pose. `slack_m` (n,) is each pair's clearance beyond what it needs; `pairs` (n, 2) its geoms.

    `least_m` is the smallest slack; nothing that is not listed has less than `SEEN_M`. `speed` (2,) is the fraction
    of its velocity limits that each side's arm may use where it is.
    """

    slack_m: Array
    pairs: NDArray[np.int32]
    least_m: float
    speed: tuple[float, ...]


_FULL_SPEED: Final = tuple(1.0 for _ in SIDES)
_NOTHING_NEAR: Final = Clearances(np.zeros(0), np.zeros((0, 2), dtype=np.int32), SEEN_M, _FULL_SPEED)


class ClearanceModel:
    """A rig's arms and workspace in MuJoCo. `need_m` (n, n) is the clearance that each pair of geoms needs."""

    def __init__(self, arms: tuple[str, ...], bases: Mapping[Side, Base], space: Workspace) -> None:
        self._space = space
        self._margin_m = (
            max(space.margin_m, space.self_margin_m, space.hand_margin_m) + SEEN_M
        ) / 2.0  # a pair's two add up
        self._spec = mujoco.MjSpec()
        self._add_world()
        for i, (side, arm) in enumerate(zip(SIDES, arms, strict=True)):
            # Without places the arms stand so far apart that they never meet.
            self._add_arm(side, arm, bases.get(side, Base(xyz_m=(10.0 * i, 0.0, 10.0))))
        self.model = self._spec.compile()
        self.names = [str(self.model.geom(i).name) for i in range(self.model.ngeom)]
        """What each geom is of: `table`, `keep_out.NAME`, `zones.NAME`, or `SIDE.LINK.INDEX` with link 0 to 7."""
        self.need_m = self._needs()
        self.reach_m = np.concatenate([_reach(arm) for arm in arms])
        """How far (m) any point of the rig moves with a unit of each joint, at most; shape (14,)."""
        self.coordinates = np.concatenate([_ARM_COORDINATES + i * ARM_DOF for i in range(len(arms))])
        self.units = np.concatenate([_units(arm) for arm in arms])
        """Coordinate i of the model is the rig's coordinate `coordinates[i]` times `units[i]`; shapes (16,)."""

    def _add_world(self) -> None:
        if self._space.table_z_m is not None:
            place = (0.0, 0.0, self._space.table_z_m)
            self._add_geom(
                self._spec.worldbody, "table", _TABLE, type=mujoco.mjtGeom.mjGEOM_PLANE, pos=place, size=(5.0, 5.0, 1.0)
            )
        for name, box in self._space.boxes():
            low, high = np.array(box.min_m), np.array(box.max_m)
            kind, centre, half = mujoco.mjtGeom.mjGEOM_BOX, (low + high) / 2.0, (high - low) / 2.0
            self._add_geom(self._spec.worldbody, name, _BOX, type=kind, pos=centre, size=half)

    def _add_arm(self, side: Side, arm: str, base: Base) -> None:
        body, capsules = ARM_BODIES[arm], link_capsules(arm)
        turn = quaternion(rpy_matrix((0.0, 0.0, base.yaw_rad)))
        chain = [self._spec.worldbody.add_body(name=f"{side}.0", pos=base.xyz_m, quat=turn)]
        for i, link in enumerate(body.links):
            child = chain[-1].add_body(name=f"{side}.{i + 1}", pos=link.xyz, quat=quaternion(rpy_matrix(link.rpy)))
            child.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=link.axis)
            chain.append(child)
        turn = quaternion(rpy_matrix(body.gripper.rpy))
        for sign in _SIGNS:
            finger = chain[ARM_JOINTS].add_body(name=f"{side}.{FINGER}{sign:+.0f}", pos=body.gripper.origin, quat=turn)
            finger.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(0.0, sign, 0.0))
            self._add_capsules(finger, f"{side}.{FINGER}", capsules[FINGER], sign)
            for near in chain[FINGER - SELF_LINKS + 1 :]:
                self._spec.add_exclude(bodyname1=finger.name, bodyname2=near.name)
        for i, part in enumerate(chain):
            self._add_capsules(part, part.name, capsules[i])
            for near in chain[max(i - SELF_LINKS + 1, 0) : i]:
                self._spec.add_exclude(bodyname1=part.name, bodyname2=near.name)
        # Link 1 turns on its base and never moves towards anything fixed.
        self._spec.add_exclude(bodyname1="world", bodyname2=chain[1].name)

    def _add_capsules(self, body: Any, name: str, capsules: tuple[Capsule, ...], sign: float = 1.0) -> None:
        what = _FINGER if name.endswith(f".{FINGER}") else _LINK
        body.mass, body.inertia, body.explicitinertial = 1.0, (1.0, 1.0, 1.0), True
        for i, capsule in enumerate(capsules):
            label, size = f"{name}.{2 * i + (sign < 0.0)}", (capsule.radius_m, 0.0, 0.0)
            start, end = (np.array((1.0, sign, 1.0)) * point for point in (capsule.start, capsule.end))
            if np.array_equal(start, end):
                self._add_geom(body, label, what, type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=start, size=size)
            else:
                ends = (*start, *end)
                self._add_geom(body, label, what, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=size)

    def _add_geom(self, body: Any, name: str, what: int, **fields: Any) -> None:
        body.add_geom(name=name, contype=what, conaffinity=_MEETS[what], margin=self._margin_m, **fields)

    def _needs(self) -> Array:
        parts = [name.split(".") for name in self.names]
        hands = np.array([part[0] in SIDES and int(part[1]) >= ARM_JOINTS for part in parts])
        zones = np.array([part[0] == "zones" for part in parts])
        own = np.array([[one[0] == other[0] for one in parts] for other in parts])
        need = np.where(np.outer(hands, hands), self._space.hand_margin_m, self._space.margin_m)
        need = np.where(own, self._space.self_margin_m, need)
        return np.where(zones[:, None] | zones[None, :], -np.inf, need)


class Clearance:
    """Asks a rig's `ClearanceModel` about poses."""

    def __init__(self, shared: ClearanceModel, space: Workspace) -> None:
        self.shared = shared
        self._data = mujoco.MjData(shared.model)
        self._qpos = self._data.qpos
        self._strides = np.array((shared.model.ngeom, 1), dtype=np.int32)  # of `need_m`
        owners = [name.split(".") for name in shared.names]
        self._zone = {i: space.zones[name[1]].speed_fraction for i, name in enumerate(owners) if name[0] == "zones"}
        self._side = [SIDES.index(name[0]) if name[0] in SIDES else -1 for name in owners]

    @classmethod
    def from_rig(cls, rig: RigConfig) -> Self:
        """Return the check of a rig's arms and workspace."""
        arms = tuple(rig.arms[side].model for side in SIDES)
        return cls(_shared(msgspec.json.encode((arms, rig.bases, rig.workspace))), rig.workspace)

    def at(self, position: Array, need_m: Array | None = None) -> Clearances:
        """Return what is near in a pose (14,) of rad and gripper fractions; `need_m` in place of the model's."""
        shared, data = self.shared, self._data
        self._qpos[:] = position.take(shared.coordinates) * shared.units
        mujoco.mj_kinematics(shared.model, data)
        mujoco.mj_collision(shared.model, data)
        if not data.ncon:
            return _NOTHING_NEAR
        contact = data.contact
        pairs = contact.geom
        need = shared.need_m if need_m is None else need_m
        slack = contact.dist - need.take(pairs.dot(self._strides))
        speed = self._speeds(contact, pairs) if self._zone else _FULL_SPEED
        return Clearances(slack, pairs, min(*slack.tolist(), SEEN_M), speed)

    def _speeds(self, contact: Any, pairs: NDArray[np.int32]) -> tuple[float, ...]:
        speeds = list(_FULL_SPEED)
        for (first, second), dist in zip(pairs.tolist(), contact.dist.tolist(), strict=True):
            zone, other = (first, second) if first in self._zone else (second, first)
            if zone in self._zone and dist < 0.0:
                side = self._side[other]
                speeds[side] = min(speeds[side], self._zone[zone])
        return tuple(speeds)


@lru_cache(maxsize=8)
def _shared(encoded: bytes) -> ClearanceModel:
    """Compile a model once a process: it is data, and the same for whoever asks."""
    arms, bases, space = msgspec.json.decode(encoded, type=tuple[tuple[str, ...], dict[Side, Base], Workspace])
    return ClearanceModel(arms, bases, space)


def _units(arm: str) -> Array:
    """Return what a unit of each of an arm's coordinates is in the model: rad, and m of a finger's travel."""
    return np.array([1.0] * ARM_JOINTS + [ARM_MODELS[arm].gripper_stroke_m / 2.0] * len(_SIGNS))


def _reach(arm: str) -> Array:
    """Return a bound of how far an arm's points are from the axis of each of its joints; (7,), the gripper's travel."""
    body, capsules = ARM_BODIES[arm], link_capsules(arm)
    travel_m = ARM_MODELS[arm].gripper_stroke_m / 2.0
    extents = [max((_extent(capsule) for capsule in part), default=0.0) for part in capsules[1:]]
    beyond = float(np.linalg.norm(body.gripper.origin)) + travel_m + extents[-1]
    reach = [travel_m]
    for link, extent in zip(reversed(body.links), reversed(extents[:-1]), strict=True):
        beyond = max(beyond, extent)
        reach.insert(0, beyond)
        beyond += float(np.linalg.norm(link.xyz))
    return np.array(reach)


def _extent(capsule: Capsule) -> float:
    return max(float(np.linalg.norm(point)) for point in (capsule.start, capsule.end)) + capsule.radius_m
