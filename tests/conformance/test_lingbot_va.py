"""LingBot-VA's session: it is told what was executed and seen, in its own numbers, and the plan that runs meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError, Executed, Question
from runtime.inference.adapters.lingbot_hands import Frame
from runtime.inference.adapters.lingbot_moves import Rotations
from runtime.inference.adapters.lingbot_server import served_lingbot_va
from runtime.inference.adapters.lingbot_va import LingBotVa, LingBotVaSettings
from runtime.kinematics.pose import Pose
from runtime.kinematics.rotations import quaternion, quaternion_matrix, rotation_vector, vector_matrix
from runtime.layout import ARM_SLICE, SIDES
from tests.conformance.emulators.lingbot_va import (
    OPENING,
    STEPS,
    ImaginingProtocol,
    LingBotVaProtocol,
    rise_m,
)
from tests.conformance.emulators.websocket_peer import WebsocketPeer
from tests.conformance.kinematics import followed, x5_hands
from tests.conformance.suite import ANSWER_S, PROMPT, question, view

Pair = tuple[LingBotVa, Any]
LEVEL = 2


def pair_of(protocol: type[LingBotVaProtocol]) -> Iterator[Pair]:
    peer = WebsocketPeer(protocol)
    adapter = served_lingbot_va(peer.endpoint, LingBotVaSettings(), x5_hands())
    adapter.open(ANSWER_S)
    adapter.reset(PROMPT)
    yield adapter, peer.protocol
    adapter.close()
    peer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    yield from pair_of(LingBotVaProtocol)


@pytest.fixture
def imagining() -> Iterator[Pair]:
    yield from pair_of(ImaginingProtocol)


def executed(rows: NDArray[Any], every: int = 4) -> Executed:
    """Return the record of rows that were executed, with a view after every fourth, brighter by 15 each."""
    ticks = tuple(range(every - 1, len(rows), every))
    return Executed(rows.astype(np.float32), tuple(view(i % 10) for i in range(len(ticks))), ticks)


def after(rows: NDArray[Any], planned: NDArray[Any] | None = None) -> Question:
    """Return the request that follows when these rows were executed, at the posture they led to."""
    asked = question(LEVEL, executed=executed(rows))
    here = replace(asked.view, position=rows[-1].astype(np.float32))
    plan = np.empty((0, 14), dtype=np.float32) if planned is None else planned
    return replace(asked, view=here, planned=plan, committed=len(plan))


def lifted(step: int, rows: int) -> NDArray[Any]:
    """Return the rows that the emulator's model means from a step after the first observation on."""
    asked = question(LEVEL)
    lift = np.arange(1, step + rows)[:, None] * np.array((0.0, 0.0, rise_m(asked.view.images["cam_high"])))
    return followed(asked.view.position, dict.fromkeys(SIDES, lift), np.full((step + rows - 1, 2), OPENING))[step - 1 :]


def heights(rows: NDArray[Any]) -> NDArray[Any]:
    """Return how far each hand is above where it was at the first observation, (n, 2) in m."""
    hands = x5_hands()
    first = hands.forward(np.asarray(question(LEVEL).view.position, dtype=np.float64))
    return np.array(
        [
            [hands.forward(row)[side].position[2] - first[side].position[2] for side in SIDES]
            for row in rows.astype(np.float64)
        ]
    )


def test_what_was_executed_is_told_with_a_view_every_fourth_step(pair: Pair) -> None:
    adapter, server = pair
    first = adapter.infer(question(LEVEL))
    # Not what was planned: the arms got only half as far.
    start = question(LEVEL).view.position
    done = start + 0.5 * (first.actions[:STEPS] - start)
    reply = adapter.infer(after(done))
    (commit,) = server.commits
    assert len(commit["obs"]) == 4
    assert [int(seen["observation.images.cam_high"].flat[0]) for seen in commit["obs"]] == [20, 35, 50, 65]
    state = commit["state"]
    assert (state.shape, state.dtype) == ((16, 2, STEPS), np.float32)
    np.testing.assert_allclose(state[[2, 10], 1].T, heights(done), atol=1e-5)
    np.testing.assert_allclose(state[7, 1], done[:, 6], atol=1e-6)
    np.testing.assert_allclose(reply.actions, lifted(STEPS + 1, 2 * STEPS), atol=5e-3)


def test_the_first_commit_carries_the_first_observations_own_frame(pair: Pair) -> None:
    adapter, server = pair
    first = adapter.infer(question(LEVEL))
    adapter.infer(after(first.actions[:STEPS]))
    predicted = LingBotVaProtocol()
    predicted.rise_m = server.rise_m
    np.testing.assert_allclose(server.commits[0]["state"][:, 0], predicted._action()[:, 0], atol=1e-6)


def test_each_further_commit_is_of_two_frames_and_eight_views(pair: Pair) -> None:
    adapter, server = pair
    rows = adapter.infer(question(LEVEL)).actions[:STEPS]
    rows = adapter.infer(after(rows)).actions
    adapter.infer(after(rows))
    assert [len(commit["obs"]) for commit in server.commits] == [4, 8]
    assert [commit["state"].shape[1] for commit in server.commits] == [2, 2]
    assert server.frames == 4


@pytest.mark.parametrize(("count", "frames"), [(5, 1), (13, 1), (21, 1), (25, 2), (40, 2)])
def test_steps_that_fill_no_frame_are_told_as_the_nearest_whole_frames(pair: Pair, count: int, frames: int) -> None:
    adapter, server = pair
    start = adapter.infer(question(LEVEL)).actions[0]
    done = start + np.arange(1, count + 1)[:, None] * np.float32(0.001)
    adapter.infer(after(done))
    (commit,) = server.commits
    assert commit["state"].shape == (16, 1 + frames, STEPS)
    assert len(commit["obs"]) == 4 * frames
    told = commit["state"][:, 1:].reshape(16, -1)
    assert told[7, -1] == pytest.approx(done[-1, 6], abs=1e-6)
    assert np.abs(told[7][:, None] - done[:, 6]).min(axis=1).max() < 1e-6


def test_nothing_recorded_is_not_told_as_something(pair: Pair) -> None:
    adapter, server = pair
    rows = adapter.infer(question(LEVEL)).actions
    with pytest.raises(AdapterError, match="nothing was recorded"):
        adapter.infer(replace(after(rows), executed=Executed(rows)))
    with pytest.raises(AdapterError, match="begins anew with a reset"):
        adapter.infer(after(rows))
    assert server.commits == []


def test_the_plan_that_runs_is_told_to_a_server_that_predicts_over_it(imagining: Pair) -> None:
    adapter, server = imagining
    rows = adapter.infer(question(LEVEL)).actions[:STEPS]
    running = adapter.infer(after(rows)).actions
    plan = running[STEPS:]
    reply = adapter.infer(after(running[:STEPS], planned=plan))
    (told,) = server.imagined
    assert (told["imagine"], told["state"].shape) == (True, (16, 1, STEPS))
    np.testing.assert_allclose(told["state"][2, 0], heights(plan)[:, 0], atol=1e-5)
    # The reply begins with the plan that runs, and goes on where it ends.
    np.testing.assert_array_equal(reply.actions[:STEPS], plan)
    hop = np.abs(reply.actions[STEPS] - reply.actions[STEPS - 1]).max()
    assert hop < 5 * np.abs(np.diff(plan, axis=0)).max()


def test_the_released_server_is_not_told_of_the_plan(pair: Pair) -> None:
    adapter, server = pair
    rows = adapter.infer(question(LEVEL)).actions[:STEPS]
    adapter.infer(after(rows, planned=rows))
    assert server.imagined == []
    assert [request.get("imagine") for request in server.requests if "imagine" in request] == [False]


def test_a_pose_out_of_reach_is_refused(pair: Pair) -> None:
    adapter, server = pair
    server.answer = lambda request: {
        "action": np.where(np.arange(16)[:, None, None] == 6, 1.0, 2.0) * np.ones((16, 2, 16))
    }
    with pytest.raises(AdapterError, match="reach"):
        adapter.infer(question(LEVEL))


def test_without_an_embodiment_it_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="arms=MODEL"):
        served_lingbot_va("ws://127.0.0.1:9", LingBotVaSettings(), None)
    with pytest.raises(UsageError, match="no websocket"):
        served_lingbot_va("tcp://127.0.0.1:9", LingBotVaSettings(), x5_hands())


def hamilton_xyzw(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Multiply quaternions written x, y, z, w: what scipy's Rotation does, which the released client uses."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )
    )


def hands(rng: np.random.Generator) -> dict[Any, Pose]:
    return {side: Pose(rng.uniform(-0.3, 0.3, 3), vector_matrix(rng.uniform(-1.5, 1.5, 3))) for side in SIDES}


@pytest.mark.parametrize("rotations", ["robotwin", "wxyz", "xyzw"])
def test_a_hand_written_and_read_again_is_the_same(rotations: Rotations) -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        frame, here = Frame(hands(rng), rotations), hands(rng)
        step = frame.channels(here, {"left": 0.2, "right": 0.8}, None)
        assert (step[7], step[15]) == (0.2, 0.8)
        again = frame.hands(step)
        for side in SIDES:
            assert again[side].close_to(here[side], position_m=1e-9, rotation_rad=1e-6)


def test_robotwins_rotations_are_composed_as_the_released_client_does() -> None:
    rng = np.random.default_rng(6)
    for _ in range(50):
        first = hands(rng)
        step = np.zeros(16)
        step[3:7], step[11:15] = (q / np.linalg.norm(q) for q in rng.normal(size=(2, 4)))
        found = Frame(first, "robotwin").hands(step)
        for side, part in zip(SIDES, (step[3:7], step[11:15]), strict=True):
            # RoboTwin's w, x, y, z go in and come out as they are; in between they count as x, y, z, w.
            composed = hamilton_xyzw(quaternion(first[side].rotation), part)
            assert np.linalg.norm(rotation_vector(found[side].rotation @ quaternion_matrix(composed).T)) < 1e-6


def test_a_true_rotation_is_in_the_hands_first_frame() -> None:
    rng = np.random.default_rng(7)
    first, turn = hands(rng), vector_matrix(np.array((0.0, 0.0, 0.4)))
    w, x, y, z = quaternion(turn)
    for rotations, written in (("wxyz", (w, x, y, z)), ("xyzw", (x, y, z, w))):
        step = np.array((0.1, 0.0, 0.0, *written, 0.5) * 2)
        found = Frame(first, rotations).hands(step)  # type: ignore[arg-type]
        for side in SIDES:
            expected = Pose(first[side].position + (0.1, 0.0, 0.0), first[side].rotation @ turn)
            assert found[side].close_to(expected, position_m=1e-9, rotation_rad=1e-6)


def test_arms_are_told_each_in_its_own_place(pair: Pair) -> None:
    adapter, server = pair
    start = adapter.infer(question(LEVEL)).actions[0]
    done = np.tile(start, (STEPS, 1))
    done[:, ARM_SLICE["right"]] += np.linspace(0.0, 0.05, STEPS, dtype=np.float32)[:, None]
    adapter.infer(after(done))
    state = server.commits[0]["state"][:, 1]
    assert np.ptp(state[:8], axis=1).max() < 1e-6
    assert np.ptp(state[8:11], axis=1).max() > 1e-3
