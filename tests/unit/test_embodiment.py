"""Embodiment: what other hands' numbers mean on the rig, and that nothing else moves."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.arms import ARM_MODELS
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.embodiment import Embodiment, EmbodimentMap, RigKinematics
from runtime.inference.adapters.poses import Kinematics
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion, vector_matrix
from runtime.layout import ARM_JOINTS, ARM_SLICE, GRIPPER_INDEX, SIDES, Side

ARMS = ("x5", "piper")
sides = st.sampled_from(SIDES)


@lru_cache
def kinematics(arm: str = "x5") -> RigKinematics:
    return RigKinematics(arm)


def home(arm: str = "x5") -> np.ndarray[Any, Any]:
    return np.concatenate([(*ARM_MODELS[arm].home[:ARM_JOINTS], 0.5) for _ in SIDES])


def made(**given: Any) -> EmbodimentMap:
    return EmbodimentMap(Embodiment(**given), kinematics())


def other(side: Side) -> Side:
    return "left" if side == "right" else "right"


def test_it_is_what_the_adapters_that_move_hands_ask_for() -> None:
    found: Kinematics = kinematics()
    near = home()
    assert np.allclose(found.joints(found.forward(near), near), near, atol=1e-3)


@pytest.mark.parametrize("arm", ARMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_inverse_kinematics_leads_back_to_the_pose(arm: str, data: Any) -> None:
    model = ARM_MODELS[arm]
    offsets = np.array(data.draw(st.lists(st.floats(-0.25, 0.25), min_size=12, max_size=12))).reshape(2, 6)
    goal = home(arm)
    for side, offset in zip(SIDES, offsets, strict=True):
        low, high = np.array(model.position_min[:6]) + 0.05, np.array(model.position_max[:6]) - 0.05
        goal[ARM_SLICE[side]][:6] = np.clip(goal[ARM_SLICE[side]][:6] + offset, low, high)
    rig = kinematics(arm)
    wanted = rig.forward(goal)
    reached = rig.forward(rig.joints(wanted, home(arm)))
    for side in SIDES:
        assert reached[side].close_to(wanted[side], position_m=1e-3, rotation_rad=1e-2)


@settings(max_examples=25, deadline=None)
@given(side=sides, moves=st.lists(st.tuples(*[st.floats(-0.01, 0.01)] * 3), min_size=1, max_size=6))
def test_steps_of_a_hand_add_up_and_the_idle_arm_holds_exactly(side: Side, moves: list[Any]) -> None:
    chunk = np.array([(*move, 0.0, 0.0, 0.0, 1.0) for move in moves])
    start = home()
    rows = made(arms=(side,), space="hand", steps=True).rows(chunk, start)
    first, last = kinematics().forward(start)[side], kinematics().forward(rows[-1])[side]
    assert np.allclose(last.position - first.position, np.sum(moves, axis=0), atol=1e-3)
    assert np.allclose(last.rotation, first.rotation, atol=2e-2)
    assert np.array_equal(rows[:, ARM_SLICE[other(side)]], np.tile(start[ARM_SLICE[other(side)]], (len(rows), 1)))
    assert (rows[:, GRIPPER_INDEX[SIDES.index(side)]] == 1.0).all()


@settings(max_examples=25, deadline=None)
@given(side=sides, steps=st.lists(st.lists(st.floats(-0.1, 0.1), min_size=6, max_size=6), min_size=1, max_size=8))
def test_steps_of_joints_add_up(side: Side, steps: list[list[float]]) -> None:
    chunk = np.array([(*step, 0.25) for step in steps])
    rows = EmbodimentMap(Embodiment(arms=(side,), steps=True), None).rows(chunk, home())
    told = home()[ARM_SLICE[side]][:6] + np.cumsum(np.array(steps), axis=0)
    assert np.allclose(rows[:, ARM_SLICE[side]][:, :6], told)
    assert np.array_equal(rows[0, ARM_SLICE[other(side)]], home()[ARM_SLICE[other(side)]])


def relative(frame: Pose, hand: Pose) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return frame.rotation.T @ (hand.position - frame.position), frame.rotation.T @ hand.rotation


@pytest.mark.parametrize("frame", ["world", "arm_base", "first_pose"])
@pytest.mark.parametrize("written", ["vector", "wxyz", "xyzw"])
def test_absolute_poses_are_read_in_their_frame(frame: str, written: str) -> None:
    rig, start = kinematics(), home()
    goal = start + 0.08
    origins = {
        "world": dict.fromkeys(SIDES, Pose(np.zeros(3), np.eye(3))),
        "arm_base": rig.base,
        "first_pose": rig.forward(start),
    }[frame]
    step: list[float] = []
    for side, hand in rig.forward(goal).items():
        position, turned = relative(origins[side], hand)
        wxyz = quaternion(turned)
        vector = 2.0 * np.arccos(min(wxyz[0], 1.0)) * wxyz[1:] / max(float(np.linalg.norm(wxyz[1:])), 1e-12)
        step += [*position, *{"vector": vector, "wxyz": wxyz, "xyzw": np.roll(wxyz, -1)}[written], 0.75]
    rows = made(space="hand", frame=frame, rotation=written).rows(np.array([step]), start)
    reached, wanted = rig.forward(rows[0]), rig.forward(goal)
    for side in SIDES:
        assert reached[side].close_to(wanted[side], position_m=1e-3, rotation_rad=1e-2)
    assert np.allclose(rows[0, list(GRIPPER_INDEX)], 0.75)


def test_first_pose_is_that_of_the_episode_until_another_begins() -> None:
    mapping, rig = made(arms=("left",), space="hand", frame="first_pose"), kinematics()
    still = np.array([(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)])
    moved = home() + 0.05
    mapping.rows(still, home())
    back = mapping.rows(still, moved)
    assert rig.forward(back[0])["left"].close_to(rig.forward(home())["left"], position_m=1e-3, rotation_rad=1e-2)
    mapping.begin()
    assert np.allclose(mapping.rows(still, moved)[0, :6], moved[:6], atol=1e-3)


def test_steps_along_the_hand_go_where_it_points() -> None:
    rig, start = kinematics(), home()
    rows = made(arms=("right",), space="hand", steps=True, frame="hand", translation_m=0.01).rows(
        np.array([(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)] * 3), start
    )
    first = rig.forward(start)["right"]
    moved = rig.forward(rows[-1])["right"].position - first.position
    assert np.allclose(moved, 0.03 * first.rotation[:, 0], atol=1e-3)


def test_a_turn_is_about_the_axes_of_its_frame() -> None:
    rig, start = kinematics(), home()
    rows = made(arms=("left",), space="hand", steps=True).rows(np.array([(0, 0, 0, 0, 0, 0.1, 1.0)] * 2), start)
    wanted = vector_matrix(np.array((0.0, 0.0, 0.2))) @ rig.forward(start)["left"].rotation
    assert np.allclose(rig.forward(rows[-1])["left"].rotation, wanted, atol=1e-2)


@pytest.mark.parametrize(
    ("gripper", "steps", "told", "opening"),
    [
        ("open_1", False, 0.2, 0.2),
        ("closed_1", False, 0.2, 0.8),
        ("open_1_closed_minus_1", False, -1.0, 0.0),
        ("open_1_closed_minus_1", False, 0.5, 0.75),
        ("open_1", True, 0.2, 0.7),
        ("closed_1", True, 0.2, 0.3),
        ("open_1_closed_minus_1", True, 0.2, 0.6),
        ("open_1", False, 7.0, 1.0),
    ],
)
def test_grippers_are_read_as_declared(gripper: str, steps: bool, told: float, opening: float) -> None:
    chunk = np.array([(*home()[:6], told)])
    row = made(arms=("left",), gripper=gripper, gripper_steps=steps).rows(chunk, home())[0]
    assert row[6] == pytest.approx(opening)
    assert row[13] == home()[13]


def test_a_step_out_of_reach_is_refused_with_its_number_and_how_far() -> None:
    chunk = np.array([(0.0, 0.02, 0.0, 0, 0, 0, 1.0)] * 2 + [(0.0, 2.0, 0.0, 0, 0, 0, 1.0)])
    with pytest.raises(AdapterError, match=r"step 2 .* right arm's reach, by \d\.\d+ m"):
        made(arms=("right",), space="hand", steps=True).rows(chunk, home())


def test_a_jump_between_steps_is_refused_with_the_joint_and_how_far() -> None:
    chunk = np.tile(np.array((*home()[:6], 1.0)), (3, 1))
    chunk[2, 3] += 0.9
    with pytest.raises(AdapterError, match=r"step 2 .* left_joint4 0\.90 rad further; at most 0\.60"):
        made(arms=("left",)).rows(chunk, home())


@pytest.mark.parametrize(
    ("given", "numbers", "reason"),
    [
        ({"arms": ("right",)}, 8, "8 numbers; one arm of this rig take 7, 7 numbers an arm .6 joints"),
        ({}, 7, "2 arms of this rig take 14"),
        ({"space": "hand", "rotation": "wxyz"}, 14, "16, 8 numbers an arm .position, quaternion"),
        ({"arms": ()}, 7, "names no arm"),
        ({"arms": ("left", "left")}, 14, "one twice"),
        ({"space": "hand", "steps": True, "rotation": "xyzw"}, 16, "as quaternions"),
        ({"space": "hand", "frame": "hand"}, 14, "the hand itself"),
    ],
)
def test_what_cannot_drive_the_rig_is_refused_with_the_reason(given: Any, numbers: int, reason: str) -> None:
    with pytest.raises(AdapterError, match=reason):
        made(**given).rows(np.zeros((2, numbers)), home())


def test_no_number_that_is_none_is_taken() -> None:
    with pytest.raises(AdapterError, match="NaN"):
        made().rows(np.full((1, 14), np.nan), home())
    with pytest.raises(AdapterError, match="rotation of the left hand"):
        made(arms=("left",), space="hand", rotation="wxyz").rows(np.zeros((1, 8)), home())


def test_a_declaration_comes_from_a_file_and_unknown_keys_are_refused() -> None:
    read = msgspec.yaml.decode(b"{arms: [right], space: hand, steps: true, frame: hand}", type=Embodiment)
    assert read == Embodiment(arms=("right",), space="hand", steps=True, frame="hand")
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.yaml.decode(b"{arm: right}", type=Embodiment)
