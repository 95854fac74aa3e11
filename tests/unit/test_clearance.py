"""Clearances of a pose: the capsules cover the arms, and their distances are right by a reckoning of our own."""

from __future__ import annotations

import msgspec
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.config import RigConfig, load_rig
from runtime.control.clearance import FINGER, Clearance
from runtime.devices import ArxX5Arm
from runtime.drivers.sim.scene import build_model
from runtime.kinematics import ARM_BODIES
from runtime.kinematics.body import box, capsule, cylinder
from runtime.kinematics.capsules import PROUD_M, Capsule, covering, enclosing, link_capsules
from runtime.kinematics.rotations import rpy_matrix
from runtime.layout import ARM_JOINTS, ARM_SLICE, SIDES, Side
from runtime.workspace import Box, Workspace, Zone, simulated_base
from tests.sim_contacts import SimContacts

Array = NDArray[np.float64]
RIGS = ("sim-x5", "sim-piper", "sim-vx300s")


def poses(rig: RigConfig, count: int, seed: int = 0) -> Array:
    """Random poses (count, 14) within limits."""
    rng = np.random.default_rng(seed)
    return rng.uniform(rig.stack("position_min"), rig.stack("position_max"), (count, 14))


def frames(arm: str, side: Side, joints: Array, gripper_m: float) -> list[tuple[Array, Array]]:
    """Rotation and origin of the base, the links and the first finger, from the data alone."""
    base, body = simulated_base(arm, side), ARM_BODIES[arm]
    turn, origin = rpy_matrix((0.0, 0.0, base.yaw_rad)), np.array(base.xyz_m)
    found = [(turn, origin)]
    for link, angle in zip(body.links, joints, strict=True):
        origin, turn = origin + turn @ np.array(link.xyz), turn @ rpy_matrix(link.rpy)
        x, y, z = link.axis
        skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        turn = turn @ (np.eye(3) + np.sin(angle) * skew + (1.0 - np.cos(angle)) * skew @ skew)
        found.append((turn, origin))
    finger = turn @ rpy_matrix(body.gripper.rpy)
    found.append((finger, origin + turn @ np.array(body.gripper.origin) + finger @ (0.0, gripper_m, 0.0)))
    return found


def apart(one: Capsule, other: Capsule) -> float:
    """Distance of two capsules by search along their lines, to 1e-7 m."""
    p, q = one.start, other.start
    d, e = one.end - one.start, other.end - other.start

    def nearest(point: Array, start: Array, along: Array) -> float:
        length = float(along @ along)
        share = np.clip((point - start) @ along / length, 0.0, 1.0) if length else 0.0
        return float(np.linalg.norm(point - start - share * along))

    low, high = 0.0, 1.0  # the distance to a line is convex along the other
    for _ in range(60):
        a, b = low + (high - low) / 3.0, high - (high - low) / 3.0
        if nearest(p + a * d, q, e) < nearest(p + b * d, q, e):
            high = b
        else:
            low = a
    return nearest(p + low * d, q, e) - one.radius_m - other.radius_m


@pytest.mark.parametrize("name", RIGS)
def test_a_listed_clearance_is_the_distance_by_another_reckoning(name: str) -> None:
    rig = load_rig(name)
    clearance, arm = Clearance.from_rig(rig), rig.arms["left"].model
    shared, capsules, seen = clearance.shared, link_capsules(rig.arms["left"].model), 0
    travel_m = ARM_MODELS[arm].gripper_stroke_m / 2.0
    for pose in poses(rig, 30):
        placed: dict[str, Capsule] = {}
        for side in SIDES:
            joints = pose[ARM_SLICE[side]]
            for part, (turn, origin) in enumerate(frames(arm, side, joints[:ARM_JOINTS], joints[6] * travel_m)):
                for i, c in enumerate(capsules[part]):
                    ends = origin + turn @ c.start, origin + turn @ c.end
                    placed[f"{side}.{part}.{2 * i}"] = Capsule(*ends, c.radius_m)
        near = clearance.at(pose)
        for (first, second), slack_m in zip(near.pairs.tolist(), near.slack_m.tolist(), strict=True):
            one, other = shared.names[first], shared.names[second]
            distance = slack_m + shared.need_m[first, second]
            if one in placed and other in placed:
                assert distance == pytest.approx(apart(placed[one], placed[other]), abs=2e-6), (one, other)
                seen += 1
            elif one == "table" and other in placed:
                c = placed[other]
                lowest = min(c.start[2], c.end[2]) - c.radius_m - 0.74
                assert distance >= lowest - 1e-9
    assert seen > 100


@pytest.mark.parametrize("name", RIGS)
def test_where_the_simulated_arms_touch_the_capsules_do_too(name: str) -> None:
    rig = load_rig(name)
    clearance, sim = Clearance.from_rig(rig), SimContacts(rig.arms["left"].model)
    touched = 0
    for pose in poses(rig, 150, seed=1):
        if sim.at(pose, hands=True):
            touched += 1
            near = clearance.at(pose)
            need = clearance.shared.need_m[near.pairs[:, 0], near.pairs[:, 1]]
            assert (near.slack_m + need).min() <= PROUD_M
    assert touched > 20


@pytest.mark.parametrize("name", RIGS)
def test_home_is_clear_and_fingers_may_touch_the_table(name: str) -> None:
    rig = load_rig(name)
    clearance = Clearance.from_rig(rig)
    assert clearance.at(rig.stack("home")).least_m > 0.03
    names = clearance.shared.names
    for pose in poses(rig, 40, seed=2):
        for pair in clearance.at(pose).pairs.tolist():
            kinds = {names[i].split(".")[1] if "." in names[i] else names[i] for i in pair}
            assert kinds not in ({str(FINGER)}, {str(FINGER), "table"})


def test_an_own_link_a_hand_and_the_rest_each_need_their_margin() -> None:
    shared = Clearance.from_rig(load_rig("sim-x5")).shared
    index = {name: i for i, name in enumerate(shared.names)}
    need = shared.need_m
    assert need[index["left.2.0"], index["left.6.0"]] == 0.005
    assert need[index["left.2.0"], index["right.6.0"]] == 0.02
    assert need[index["left.6.0"], index["right.7.0"]] == -0.02
    assert need[index["left.5.0"], index["right.7.0"]] == 0.02
    assert need[index["table"], index["right.6.0"]] == 0.02
    assert (need == need.T).all()


@pytest.mark.parametrize("name", RIGS)
def test_no_part_moves_further_than_the_reach_says(name: str) -> None:
    rig = load_rig(name)
    clearance = Clearance.from_rig(rig)
    shared, data, used = clearance.shared, clearance._data, 0.0
    rng = np.random.default_rng(3)
    for pose in poses(rig, 60, seed=3):
        clearance.at(pose)
        before = data.geom_xpos.copy()
        moved = rng.normal(scale=0.02, size=14) * (rng.uniform(size=14) < 0.3)
        clearance.at(pose + moved)
        travelled = np.linalg.norm(data.geom_xpos - before, axis=1)
        for side in SIDES:
            own = [i for i, geom in enumerate(shared.names) if geom.startswith(side)]
            bound = float(np.abs(moved[ARM_SLICE[side]]) @ shared.reach_m[ARM_SLICE[side]])
            assert travelled[own].max() <= bound + 1e-12
            used = max(used, travelled[own].max() / max(bound, 1e-9))
    assert used > 0.4, "and the bound is not idle"


def test_a_keep_out_box_and_a_zone_are_seen_where_they_are() -> None:
    rig = load_rig("sim-x5")
    home = rig.stack("home")
    model = build_model("x5")
    data = mujoco.MjData(model)
    for side in SIDES:
        for j in range(ARM_JOINTS):
            data.qpos[model.joint(f"{side}_joint{j + 1}").qposadr[0]] = home[ARM_SLICE[side]][j]
    mujoco.mj_kinematics(model, data)
    x, y, z = data.body("left_link6").xpos.tolist()

    def seen(gap_m: float) -> float:
        low = (x - 0.5, y - 0.5, z + gap_m)
        space = msgspec.structs.replace(
            rig.workspace, keep_out={"shelf": Box(min_m=low, max_m=(x + 0.1, y + 0.5, z + gap_m + 0.3))}
        )
        return Clearance.from_rig(msgspec.structs.replace(rig, workspace=space)).at(home).least_m

    assert seen(0.0) < -0.02
    assert seen(0.5) == seen(1.0) > 0.03
    zone = Zone(min_m=(x - 0.1, y - 0.1, z - 0.1), max_m=(x + 0.1, y + 0.1, z + 0.1), speed_fraction=0.25)
    space = msgspec.structs.replace(rig.workspace, zones={"people": zone})
    near = Clearance.from_rig(msgspec.structs.replace(rig, workspace=space)).at(home)
    assert near.speed == (0.25, 1.0)
    assert near.least_m > 0.03, "a zone is no obstacle"


def test_a_rig_of_unknown_places_still_checks_each_arm_against_itself() -> None:
    rig = load_rig("sim-x5")
    arms = {side: ArxX5Arm(channel=f"can{i}") for i, side in enumerate(SIDES)}
    real = msgspec.structs.replace(rig, arms=arms, workspace=Workspace())
    clearance = Clearance.from_rig(real)
    folded = [pose for pose in poses(rig, 200, seed=5) if clearance.at(pose).least_m < 0.0]
    assert folded
    for pose in folded:
        near = clearance.at(pose)
        for first, second in near.pairs.tolist():
            assert clearance.shared.names[first].split(".")[0] == clearance.shared.names[second].split(".")[0]


@pytest.mark.parametrize(
    "shape",
    [
        cylinder("shell", (0.0, 0.0, -0.05), (0.0, 0.0, 0.02), 0.04),
        cylinder("shell", (0.0, 0.0, -0.3), (0.0, 0.0, 0.3), 0.02),
        capsule("shell", (0.1, 0.0, 0.0), (0.2, 0.1, 0.0), 0.03),
        box("shell", (0.1, 0.2, 0.3), (0.02, 0.058, 0.021), rpy=(0.3, -0.4, 0.5)),
    ],
)
def test_a_capsule_encloses_its_shape(shape: object) -> None:
    found = enclosing(shape)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    kind, start, end = shape.kind, np.array(shape.start), np.array(shape.end)  # type: ignore[attr-defined]
    if kind == "box":
        corners = np.array(np.meshgrid(*[(-h, h) for h in shape.half_m])).reshape(3, -1).T  # type: ignore[attr-defined]
        points = start + corners @ rpy_matrix(shape.rpy).T  # type: ignore[attr-defined]
    else:
        share, angle = rng.uniform(size=(2, 400))
        axis = (end - start) / np.linalg.norm(end - start)
        side = np.cross(axis, (1.0, 0.3, 0.2))
        side /= np.linalg.norm(side)
        up = np.cross(axis, side)
        ring = np.cos(7.0 * angle)[:, None] * side + np.sin(7.0 * angle)[:, None] * up
        points = start + share.round()[:, None] * (end - start) + shape.radius_m * ring  # type: ignore[attr-defined]
    for point in points:
        assert apart(Capsule(point, point, 0.0), found) <= 1e-9
    assert len(covering((shape, shape))) == 1  # type: ignore[arg-type]
