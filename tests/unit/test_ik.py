"""Inverse kinematics of one arm: promises of runtime.kinematics.ik and runtime.kinematics.pose."""

from __future__ import annotations

from functools import lru_cache

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.grasp import gripper_rotation, quarter_yaw_rad, rotation_about_z
from runtime.drivers.sim.scene import build_model
from runtime.errors import LeadtimeError
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import rotation_vector
from runtime.layout import ARM_JOINTS, SIDES, Side


@lru_cache(maxsize=8)
def arm_ik(arm: str, side: Side) -> ArmIk:
    return ArmIk(build_model(arm), side)


fractions = st.lists(st.floats(0.1, 0.9), min_size=ARM_JOINTS, max_size=ARM_JOINTS)


@pytest.mark.parametrize("side", SIDES)
@settings(max_examples=60, deadline=None)
@given(fractions)
def test_a_pose_near_the_start_is_reached(side: Side, fraction: list[float]) -> None:
    ik = arm_ik("x5", side)
    joints = ik.lower_rad + np.array(fraction) * (ik.upper_rad - ik.lower_rad)
    goal = ik.forward(joints)
    solution = ik.solve(goal, joints + 0.05, iterations=200)
    assert solution.reached
    assert ik.forward(solution.joints).close_to(goal, position_m=1e-3, rotation_rad=1e-2)


@settings(max_examples=40, deadline=None)
@given(fractions, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 2.0))
def test_solutions_stay_inside_the_limits_and_own_up_to_what_is_left(
    fraction: list[float], x_m: float, y_m: float, z_m: float
) -> None:
    ik = arm_ik("x5", "right")
    start = ik.lower_rad + np.array(fraction) * (ik.upper_rad - ik.lower_rad)
    goal = Pose(np.array((x_m, y_m, z_m)), gripper_rotation((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)))
    solution = ik.solve(goal, start)
    assert (solution.joints >= ik.lower_rad).all()
    assert (solution.joints <= ik.upper_rad).all()
    left_m = np.linalg.norm(ik.forward(solution.joints).position - goal.position)
    assert solution.position_error_m == pytest.approx(left_m, abs=1e-9)


@pytest.mark.parametrize("axis", [(1.0, 1.0, 1.0), (-1.0, 1.3, 1.0), (0.6, 0.0, -0.8), (0.0, 0.0, 1.0)])
def test_half_a_turn_is_about_its_axis_one_way_or_the_other(axis: tuple[float, ...]) -> None:
    along = np.array(axis) / np.linalg.norm(axis)
    found = rotation_vector(2.0 * np.outer(along, along) - np.eye(3))
    assert found * np.sign(found @ along) == pytest.approx(np.pi * along, abs=1e-6)


@pytest.mark.parametrize("arm", ARM_MODELS)
def test_every_arm_reaches_down_to_the_table_from_home(arm: str) -> None:
    goal = Pose(np.array((0.2, -0.1, 0.78)), gripper_rotation((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)))
    assert arm_ik(arm, "right").solve(goal, ARM_MODELS[arm].home_array[:ARM_JOINTS]).reached


def test_a_goal_out_of_reach_is_not_called_reached() -> None:
    goal = Pose(np.array((0.3, 2.0, 0.8)), np.eye(3))
    assert not arm_ik("x5", "right").solve(goal, ARM_MODELS["x5"].home_array[:ARM_JOINTS]).reached


def test_joint_velocity_moves_the_tool_as_asked_without_turning_it() -> None:
    ik = arm_ik("x5", "left")
    joints = np.array((0.2, 1.5, 1.2, -0.6, 0.1, 0.3))
    linear_m_s = np.array((0.1, -0.05, 0.08))
    before = ik.forward(joints)
    after = ik.forward(joints + 1e-4 * ik.joint_velocity(joints, linear_m_s))
    assert (after.position - before.position) / 1e-4 == pytest.approx(linear_m_s, abs=1e-3)
    assert rotation_vector(after.rotation @ before.rotation.T) / 1e-4 == pytest.approx(np.zeros(3), abs=2e-3)


def test_a_model_without_the_arm_is_refused_by_name() -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    with pytest.raises(LeadtimeError, match="left_tcp"):
        ArmIk(model, "left")


@given(st.floats(-10.0, 10.0))
def test_a_cubes_yaw_is_the_same_for_every_quarter_turn(yaw_rad: float) -> None:
    here = quarter_yaw_rad(rotation_about_z(yaw_rad))
    turned = quarter_yaw_rad(rotation_about_z(yaw_rad + np.pi / 2))
    assert -np.pi / 4 <= here < np.pi / 4
    assert np.exp(4j * here) == pytest.approx(np.exp(4j * turned), abs=1e-6)
    assert np.exp(4j * here) == pytest.approx(np.exp(4j * yaw_rad), abs=1e-6)


@given(st.floats(0.0, np.pi), st.integers(0, 2))
def test_rotation_vector_gives_axis_times_angle(angle_rad: float, axis: int) -> None:
    unit = np.eye(3)[axis]
    cross = np.cross(np.eye(3), unit)
    rotation = np.eye(3) - np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross
    vector = rotation_vector(rotation)
    assert np.linalg.norm(vector) == pytest.approx(angle_rad, abs=1e-6)
    assert np.abs(np.cross(vector, unit)) == pytest.approx(np.zeros(3), abs=1e-6)
