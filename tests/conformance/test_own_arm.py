"""A policy made for another arm: its joints are told from where the rig's hand is, and the hand goes where it means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.dreamzero import DreamZero
from runtime.inference.adapters.embodiment import EmbodimentMap
from runtime.inference.adapters.registry import make_adapter
from runtime.kinematics.rotations import rpy_matrix
from tests.conformance.emulators import dreamzero
from tests.conformance.emulators.websocket_peer import WebsocketPeer
from tests.conformance.franka import declared, example, franka, grip, rig_hand
from tests.conformance.kinematics import x5_hands
from tests.conformance.peers.gr00t import HORIZON, Gr00tPeer, modality
from tests.conformance.suite import ANSWER_S, PROMPT, home, question

CLOSE_M, CLOSE_RAD = 1e-3, 1e-2
HOME = np.array(declared().own_arm.home_rad)  # type: ignore[union-attr]
PANDA = franka()
near_home = st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7).map(lambda turned: HOME + 0.1 * np.array(turned))


def made(**changed: Any) -> EmbodimentMap:
    return EmbodimentMap(msgspec.structs.replace(declared(), **changed), x5_hands())


def right_hand(row: Any) -> Any:
    return x5_hands().forward(np.asarray(row, dtype=np.float64))["right"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "franka.yaml"
    path.write_text(example())
    return path


@settings(max_examples=100, deadline=None)
@given(angles=st.lists(st.floats(-2.8, 2.8), min_size=7, max_size=7).map(np.array))
def test_the_panda_s_hand_is_where_another_source_has_it(angles: Any) -> None:
    found, wanted = PANDA.own_hand(angles), grip(angles)
    assert np.allclose(found[:3], wanted.position, atol=1e-6)
    assert np.allclose(rpy_matrix(tuple(found[3:])), wanted.rotation, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(angles=near_home)
def test_the_hand_goes_where_the_own_arm_s_would_be_and_nothing_else_moves(angles: Any) -> None:
    mapping, start = made(jump_max_rad=3.0), home()
    (row,) = mapping.rows(np.array([(*angles, 0.25)]), start)
    assert right_hand(row).close_to(rig_hand(angles), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
    assert row[13] == 0.75
    assert np.array_equal(row[:7], start[:7])
    told = mapping.told(row)
    assert np.allclose(told[:7], angles, atol=0.01)
    assert told[7] == pytest.approx(0.25)


@settings(max_examples=25, deadline=None)
@given(level=st.integers(0, 9))
def test_what_is_told_of_where_the_rig_is_leads_back_to_it(level: int) -> None:
    mapping, start = franka(), question(level).view.position
    told = mapping.told(start)
    assert rig_hand(told[:7]).close_to(right_hand(start), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
    (row,) = mapping.rows(told[None], start)
    assert np.allclose(row, start, atol=0.01)


def swivelled(angles: Any) -> Any:
    """Return another posture of the own arm with its hand in the same place: the elbow turned about by a little."""
    own = PANDA.own
    assert own is not None
    turned = angles + np.array((0.8, 0, 0, 0, 0, 0, 0))
    found = own.solve(own.forward(angles), turned)
    assert found.reached
    assert np.abs(found.joints - angles).max() > 0.1
    return found.joints


def test_a_free_elbow_stays_where_the_policy_put_it_until_an_episode_begins() -> None:
    mapping = franka()
    first = mapping.told(home())
    elbow = swivelled(first[:7])
    (row,) = mapping.rows(np.array([(*elbow, 0.5)]), home())
    assert np.allclose(row, home(), atol=0.01)
    assert np.allclose(mapping.told(row)[:7], elbow, atol=0.01)
    mapping.begin()
    assert np.allclose(mapping.told(row)[:7], first[:7], atol=0.01)


def test_steps_go_on_from_the_own_arm_s_posture() -> None:
    mapping = made(steps=True)
    first = mapping.told(home())[:7]
    step = np.array((0.01, 0.0, -0.01, 0.02, 0.0, 0.01, 0.03))
    rows = mapping.rows(np.array([(*step, 0.5)] * 3), home())
    assert right_hand(rows[-1]).close_to(rig_hand(first + 3 * step), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)


def test_both_arms_may_have_one_and_the_world_may_be_its_frame() -> None:
    own = declared().own_arm
    assert own is not None
    bases = x5_hands().base
    assert np.allclose(bases["left"].rotation, bases["right"].rotation)
    mapping = made(arms=("left", "right"))
    told = mapping.told(home())
    assert told.shape == (16,)
    assert np.allclose(told[:8], told[8:], atol=0.01)
    place = bases["right"].position + bases["right"].rotation @ np.array(own.base.xyz_m)
    stands = msgspec.structs.replace(own.base, xyz_m=tuple(place), rpy_rad=(0.0, 0.0, np.pi / 2))
    world = made(frame="world", own_arm=msgspec.structs.replace(own, base=stands))
    assert np.allclose(world.told(home())[:7], told[8:15], atol=0.01)


def test_what_one_of_both_arms_does_not_reach_is_refused_with_how_far() -> None:
    own = declared().own_arm
    assert own is not None
    far = msgspec.structs.replace(own, base=msgspec.structs.replace(own.base, xyz_m=(-1.5, 0.0, 0.0)))
    with pytest.raises(
        AdapterError, match=r"the right hand is where the policy's own arm does not reach, by \d\.\d+ m"
    ):
        made(own_arm=far).told(home())
    stretched = np.array([(0.0, 1.5, 0.0, -0.1, 0.0, 1.6, 0.0, 0.5)])
    with pytest.raises(AdapterError, match=r"step 0 .* right arm's reach, by \d\.\d+ m"):
        franka().rows(stretched, home())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"space": "hand"}, "'own_arm' without 'space' joints"),
        ({"frame": "first_pose"}, "'frame' world or arm_base"),
        ({"arms": []}, "names no arm"),
        ({"own_arm.home_rad": [0.0] * 6}, "6 angles in 'own_arm.home_rad' for 7 joints"),
        ({"own_arm.home_rad": [0.0] * 7}, "0.0 in 'own_arm.home_rad\\[3\\]'; that joint goes from -3.0718 to -0.0698"),
        ({"own_arm.joints": []}, "key 'own_arm.joints'"),
        ({"own_arm.joints": [{"min_rad": 1.0, "max_rad": 1.0}], "own_arm.home_rad": [1.0]}, "no range"),
        ({"own_arm.joints": [{"min_rad": 0.0}]}, "max_rad"),
        ({"own_arm.base": {"xyz_m": [0.0, 0.0, float("nan")]}}, "nan is not finite"),
        ({"own_arm.hand": {"at_m": [0.0, 0.0, 0.0]}}, "at_m"),
    ],
)
def test_a_file_that_declares_no_such_arm_is_refused_with_what_is_wrong(
    changed: dict[str, Any], reason: str, file: Path
) -> None:
    raw = yaml.safe_load(example())
    for key, value in changed.items():
        outer, _, inner = key.partition(".")
        if inner:
            raw[outer][inner] = value
        else:
            raw[outer] = value
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(UsageError, match=reason) as caught:
        make_adapter(f"dreamzero://127.0.0.1:9?arms=x5&embodiment={file}")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match=f"{path}: cannot be read"):
            make_adapter(f"gr00t://127.0.0.1:9?embodiment={path}")


def test_dreamzero_drives_a_rig_by_its_endpoint_and_a_file(file: Path) -> None:
    with pytest.raises(UsageError, match=r"key 'own_arm': .*arms=MODEL"):
        make_adapter(f"dreamzero://127.0.0.1:9?embodiment={file}")
    peer = WebsocketPeer(dreamzero.DreamZeroProtocol)
    named = make_adapter(f"{peer.endpoint.replace('ws', 'dreamzero', 1)}?arms=x5&embodiment={file}")
    try:
        assert named.arms == "x5"
        assert named.adapter.open(ANSWER_S).horizon == dreamzero.CHUNK
        named.adapter.reset(PROMPT)
        asked = question(2)
        rows = named.adapter.infer(asked).actions
        told = peer.requests[-1]
    finally:
        named.adapter.close()
        peer.close()
    joints = np.asarray(told["observation/joint_position"], dtype=np.float64)
    assert rig_hand(joints).close_to(right_hand(asked.view.position), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
    assert np.allclose(told["observation/cartesian_position"][:3], grip(joints).position, atol=1e-4)
    assert told["observation/gripper_position"] == pytest.approx(1.0 - asked.view.position[13])
    for i in (0, 11, 23):
        wanted = rig_hand(joints + 0.002 * (i + 1))
        assert right_hand(rows[i]).close_to(wanted, position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
    assert np.array_equal(rows[:, :7], np.tile(asked.view.position[:7], (len(rows), 1)))
    assert np.allclose(rows[:, 13], asked.view.position[13] - 0.004 * np.arange(1, 25), atol=1e-5)


class Turned(dreamzero.DreamZeroProtocol):
    """A model that turns the elbow and leaves the hand where it is."""

    def answer(self, request: Any) -> Any:
        found = super().answer(request)
        if isinstance(found, str):
            return found
        found[:, :7] = swivelled(PANDA.told(home())[:7])
        return found


def test_dreamzero_s_reset_forgets_where_the_elbow_was() -> None:
    peer = WebsocketPeer(Turned)
    adapter = DreamZero(peer.endpoint, embodiment=franka())
    told = []
    try:
        adapter.open(ANSWER_S)
        for again in (True, False, True):
            if again:
                adapter.reset(PROMPT)
            adapter.infer(question(0))
            told.append(peer.requests[-1]["observation/joint_position"])
    finally:
        adapter.close()
        peer.close()
    first = PANDA.told(home())[:7]
    assert np.allclose(told[0], first, atol=0.01)
    assert np.allclose(told[1], swivelled(first), atol=0.01)
    assert np.allclose(told[2], first, atol=0.01)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{arms: [right]}", "declare an 'own_arm' so, for one arm"),
        (example().replace("arms: [right]", "arms: [left, right]"), "for one arm"),
        (example().replace("gripper: closed_1", "gripper: open_1"), "gripper closed_1"),
        (example().replace("frame:", "steps: true\nframe:"), "declare no steps"),
    ],
)
def test_an_embodiment_that_is_not_dreamzero_s_is_refused_before_anything_is_sent(
    text: str, reason: str, file: Path
) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=reason):
        make_adapter(f"dreamzero://127.0.0.1:9?arms=x5&embodiment={file}").adapter.open(ANSWER_S)


@pytest.fixture
def gr00t() -> Iterator[Gr00tPeer]:
    made = Gr00tPeer()
    yield made
    made.close()


def test_isaac_gr00t_is_told_of_the_own_arm_too(gr00t: Gr00tPeer, file: Path) -> None:
    seen: list[Any] = []

    def acted(observation: Any) -> dict[str, Any]:
        state = observation["state"]
        seen.append(state)
        step = 0.002 * np.arange(1, HORIZON + 1)[None, :, None]
        return {name: (state[name] + step).astype(np.float32) for name in ("joint_position", "gripper_position")}

    names = ("joint_position", "gripper_position")
    gr00t.config |= {"state": modality(names), "action": modality(names, HORIZON)}
    gr00t.model = acted
    parts = "action_parts.joint_position=0,7&action_parts.gripper_position=7,8"
    adapter = make_adapter(f"{gr00t.endpoint}?{parts}&arms=x5&embodiment={file}").adapter
    try:
        adapter.open(ANSWER_S)
        adapter.reset(PROMPT)
        rows = adapter.infer(question(1)).actions
    finally:
        adapter.close()
    joints = np.asarray(seen[-1]["joint_position"][0, 0], dtype=np.float64)
    assert rig_hand(joints).close_to(right_hand(question(1).view.position), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
    assert right_hand(rows[-1]).close_to(rig_hand(joints + 0.002 * HORIZON), position_m=CLOSE_M, rotation_rad=CLOSE_RAD)
