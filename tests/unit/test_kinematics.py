"""The simulated arms stand where the real ones do: forward kinematics against sources that are not ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.scene import build_model
from runtime.layout import ARM_JOINTS, SIDES

Matrix = NDArray[np.float64]
AssertAgree = Callable[[str, list[Matrix], list[Matrix]], None]

DATA = Path(__file__).parents[1] / "data"
POSITION_LIMIT_M = 1e-3
ANGLE_LIMIT_DEG = 0.1


def rpy_matrix(roll: float, pitch: float, yaw: float) -> Matrix:
    """Rotation from roll, pitch, yaw about fixed axes, one elementary rotation at a time."""

    def about(axis: int, angle: float) -> Matrix:
        i, j = (axis + 1) % 3, (axis + 2) % 3
        out = np.eye(3)
        out[i, i] = out[j, j] = np.cos(angle)
        out[i, j], out[j, i] = -np.sin(angle), np.sin(angle)
        return out

    return about(2, yaw) @ about(1, pitch) @ about(0, roll)


def table_poses(name: str) -> tuple[str, Matrix, list[Matrix]]:
    table = json.loads((DATA / name).read_text(encoding="utf-8"))
    poses = []
    for xyz, rpy in zip(table["xyz_m"], table["rpy_rad"], strict=True):
        pose = np.eye(4)
        pose[:3, :3] = rpy_matrix(*rpy)
        pose[:3, 3] = xyz
        poses.append(pose)
    return table["source"], np.array(table["joints_rad"]), poses


def simulated_poses(arm: str, joints: Matrix, body: str, offset_m: tuple[float, float, float]) -> list[Matrix]:
    """Poses of a point on a body of each arm in its own base's frame; left and right must agree."""
    model = build_model(arm)
    data = mujoco.MjData(model)
    poses = []
    for row in joints:
        for side in SIDES:
            for i in range(ARM_JOINTS):
                data.joint(f"{side}_joint{i + 1}").qpos = row[i]
        mujoco.mj_kinematics(model, data)
        sides = []
        for side in SIDES:
            base, tip = data.body(f"{side}_base"), data.body(f"{side}_{body}")
            turn = base.xmat.reshape(3, 3).T
            pose = np.eye(4)
            pose[:3, :3] = turn @ tip.xmat.reshape(3, 3)
            pose[:3, 3] = turn @ (tip.xpos - base.xpos) + pose[:3, :3] @ np.array(offset_m)
            sides.append(pose)
        np.testing.assert_allclose(sides[0], sides[1], atol=1e-12)
        poses.append(sides[0])
    return poses


@pytest.fixture
def assert_agree(capsys: pytest.CaptureFixture[str]) -> AssertAgree:
    """Compare two lists of poses, printing the worst error past pytest's capture."""

    def compare(label: str, ours: list[Matrix], theirs: list[Matrix]) -> None:
        distance, angle = worst_error(ours, theirs)
        with capsys.disabled():
            sys.stdout.write(f"\n{label}: {len(ours)} poses, worst error {distance * 1e3:.4f} mm, {angle:.5f} deg\n")
        assert distance < POSITION_LIMIT_M
        assert angle < ANGLE_LIMIT_DEG

    return compare


def worst_error(ours: list[Matrix], theirs: list[Matrix]) -> tuple[float, float]:
    """Largest distance (m) and angle (deg) between poses."""
    assert len(ours) == len(theirs) >= 200
    distance = max(float(np.linalg.norm(a[:3, 3] - b[:3, 3])) for a, b in zip(ours, theirs, strict=True))
    # The chord between the rotations is 2 sqrt(2) sin(angle / 2): exact where arccos of the trace is not.
    chord = max(float(np.linalg.norm(a[:3, :3] - b[:3, :3])) for a, b in zip(ours, theirs, strict=True))
    angle = float(np.degrees(2 * np.arcsin(chord / np.sqrt(8))))
    return distance, angle


def test_x5_stands_where_its_vendors_solver_says(assert_agree: AssertAgree) -> None:
    source, joints, theirs = table_poses("x5_fk.json")
    assert_agree(source, simulated_poses("x5", joints, "link6", (0.145, 0.0, 0.0)), theirs)


def test_piper_stands_where_its_sdk_says(assert_agree: AssertAgree) -> None:
    source, joints, theirs = table_poses("piper_fk.json")
    assert_agree(source, simulated_poses("piper", joints, "link6", (0.0, 0.0, 0.0)), theirs)


def test_piper_table_is_what_the_installed_sdk_answers(assert_agree: AssertAgree) -> None:
    kinematics = pytest.importorskip("piper_sdk.kinematics.piper_fk")
    _, joints, theirs = table_poses("piper_fk.json")
    solver = kinematics.C_PiperForwardKinematics(dh_is_offset=0x01)
    live = []
    for row in joints:
        x, y, z, roll, pitch, yaw = solver.CalFK(list(row))[-1]
        pose = np.eye(4)
        pose[:3, :3] = rpy_matrix(*np.radians((roll, pitch, yaw)))
        pose[:3, 3] = np.array((x, y, z)) / 1000
        live.append(pose)
    assert_agree("piper_sdk, live", live, theirs)


def test_vx300s_stands_where_its_screw_axes_say(assert_agree: AssertAgree) -> None:
    """Product of exponentials with the zero pose and the screw axes that Interbotix publishes."""
    zero = np.eye(4)
    zero[:3, 3] = (0.536494, 0.0, 0.42705)
    screws = (
        (0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, -0.12705, 0.0, 0.0),
        (0.0, 1.0, 0.0, -0.42705, 0.0, 0.05955),
        (1.0, 0.0, 0.0, 0.0, 0.42705, 0.0),
        (0.0, 1.0, 0.0, -0.42705, 0.0, 0.35955),
        (1.0, 0.0, 0.0, 0.0, 0.42705, 0.0),
    )
    arm = ARM_MODELS["vx300s"]
    rng = np.random.default_rng(30)
    joints = rng.uniform(arm.position_min[:ARM_JOINTS], arm.position_max[:ARM_JOINTS], (200, ARM_JOINTS))
    theirs = []
    for row in joints:
        pose = np.eye(4)
        for screw, angle in zip(screws, row, strict=True):
            pose = pose @ exponential(np.array(screw), float(angle))
        theirs.append(pose @ zero)
    ours = simulated_poses("vx300s", joints, "link6", (0.042825 + 0.025875 + 0.0385, 0.0, 0.0))
    assert_agree("interbotix mr_descriptions vx300s, ee_gripper_link in base_link", ours, theirs)


def exponential(screw: Matrix, angle: float) -> Matrix:
    """Rigid motion by `angle` about a unit screw axis (w, v): Lynch and Park, Modern Robotics, prop. 3.25."""
    w, v = screw[:3], screw[3:]
    cross = np.array([[0.0, -w[2], w[1]], [w[2], 0.0, -w[0]], [-w[1], w[0], 0.0]])
    out = np.eye(4)
    out[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    out[:3, 3] = (np.eye(3) * angle + (1 - np.cos(angle)) * cross + (angle - np.sin(angle)) * cross @ cross) @ v
    return out


@pytest.mark.parametrize("arm", ARM_MODELS)
def test_grasp_point_lies_between_the_finger_tips(arm: str) -> None:
    model = build_model(arm)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for side in SIDES:
        site = data.site(f"{side}_tcp")
        axes = site.xmat.reshape(3, 3)
        pads = [data.geom(f"{side}_finger{i}_pad") for i in (1, 2)]
        local = [axes.T @ (pad.xpos - site.xpos) for pad in pads]
        np.testing.assert_allclose(local[0] * (1, -1, 1), local[1], atol=1e-9)
        half = model.geom(f"{side}_finger1_pad").size
        assert abs(local[0][0]) < half[0], "the grasp point is beside the pads"
        assert half[0] - abs(local[0][0]) > 0.008, "the finger tips end at the grasp point"
        assert local[0][1] > 0 > local[1][1]


@pytest.mark.parametrize("arm", ARM_MODELS)
def test_home_points_the_gripper_at_the_table_from_a_hand_above_it(arm: str) -> None:
    model = build_model(arm)
    data = mujoco.MjData(model)
    for side in SIDES:
        for i in range(ARM_JOINTS):
            data.joint(f"{side}_joint{i + 1}").qpos = ARM_MODELS[arm].home[i]
    mujoco.mj_forward(model, data)
    for side in SIDES:
        site = data.site(f"{side}_tcp")
        forward = site.xmat.reshape(3, 3)[:, 0]
        assert 0.15 <= site.xpos[2] - 0.74 <= 0.20
        assert forward[2] < -0.7
        assert forward[1] > 0.3
        assert abs(forward[0]) < 0.01
    assert data.ncon == 0
