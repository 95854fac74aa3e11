"""The tray and its ball: what the balance task asks for, and what its expert gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from runtime.drivers.sim.experts.balance import BalanceExpert
from runtime.drivers.sim.experts.rollout import rollout
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.balance import GOAL_M, HOLD_S, START_M, Balance
from runtime.drivers.sim.tasks.transfer import Transfer
from runtime.drivers.sim.tasks.tray import GRIP_M, GRIP_ROTATION, REST_Z_M
from runtime.errors import LeadtimeError
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.pose import Pose
from runtime.layout import ARM_JOINTS, ARM_SLICE, SIDES
from runtime.records import OBJECT_STATE_MAX

TICK_S = 0.02


@pytest.fixture(scope="module")
def plant() -> Plant:
    return Plant("x5", Balance())


def objects(plant: Plant) -> np.ndarray:
    return plant.task.object_state(plant.model, plant.data).astype(float)


def outcome(plant: Plant) -> bool | None:
    return plant.task.outcome(plant.model, plant.data)


def tick(plant: Plant, command: np.ndarray) -> bool | None:
    plant.command(command)
    for _ in range(round(TICK_S / plant.timestep_s)):
        plant.step()
    return outcome(plant)


def level_at(plant: Plant, tray_m: np.ndarray, apart_m: float = 0.0) -> np.ndarray:
    """The command that holds the tray there, level, shape (14,); the hands `apart_m` further apart than the grips."""
    command = np.tile(plant.arm.home_array, len(SIDES))
    for side, grip_m in zip(SIDES, GRIP_M, strict=True):
        part = slice(ARM_SLICE[side].start, ARM_SLICE[side].start + ARM_JOINTS)
        tool_m = tray_m + grip_m * (1.0 + apart_m / 0.6, 1.0, 1.0)
        solution = ArmIk(plant.model, side).solve(Pose(tool_m, GRIP_ROTATION), command[part])
        assert solution.reached
        command[part] = solution.joints
    return command


def put_ball(plant: Plant, x_m: float) -> None:
    """Lay the ball on the tray, at rest against it, this far from its middle."""
    ball, tray = plant.data.joint("ball"), plant.data.joint("tray")
    ball.qpos[:3] = tray.qpos[:3] + (x_m, 0.0, REST_Z_M)
    ball.qvel[:] = 0.0
    ball.qvel[:3] = tray.qvel[:3]


def carry_level(plant: Plant, seed: int) -> bool | None:
    """Carry the tray smoothly to its goal, level all the way: the outcome."""
    plant.reset(seed)
    start, goal = plant.position(), level_at(plant, objects(plant)[9:])
    for now in range(round(plant.task.time_limit_s / TICK_S)):
        phase = min(now / 100, 1.0)
        done = tick(plant, start + (goal - start) * phase**3 * (10 - 15 * phase + 6 * phase**2))
        if done is not None:
            return done
    return None


def play(plant: Plant, seed: int, still: range) -> bool | None:
    """The expert's episode, the arms standing still in the ticks of `still`: the outcome."""
    plant.reset(seed)
    expert = BalanceExpert()
    expert.reset(plant)
    command = plant.position()
    for now in range(round(plant.task.time_limit_s / TICK_S)):
        if now == still.stop:
            expert.adopt(command, np.zeros_like(command))
        if now not in still:
            command = expert.act(plant)
        done = tick(plant, command)
        if done is not None:
            return done
    return None


@pytest.mark.parametrize("seed", range(4))
def test_the_expert_succeeds_with_time_to_spare(seed: int) -> None:
    episode = rollout("balance", seed)
    assert episode.success
    assert episode.duration_s < 0.7 * Balance.time_limit_s


def test_the_same_seed_gives_the_same_episode_to_the_bit() -> None:
    first, second = rollout("balance", 7, noise=0.01), rollout("balance", 7, noise=0.01)
    assert (first.states == second.states).all()
    assert (first.actions == second.actions).all()


def test_the_expert_is_for_its_own_task_and_wants_a_reset() -> None:
    with pytest.raises(LeadtimeError, match="transfer"):
        BalanceExpert().reset(Plant("x5", Transfer()))
    with pytest.raises(LeadtimeError, match="reset"):
        BalanceExpert().act(Plant("x5", Balance()))


def test_an_episode_starts_with_a_level_tray_in_both_hands_a_ball_at_rest_and_a_goal_elsewhere(plant: Plant) -> None:
    for seed in range(20):
        plant.reset(seed)
        state = objects(plant)
        assert len(state) == 12 <= OBJECT_STATE_MAX
        assert (np.abs(state[:2]) <= START_M).all()
        assert np.abs(state[[2, 3, 7, 8]]).max() < 1e-6
        away_m = state[9:] - state[4:7]
        assert (away_m >= GOAL_M[:, 0] - 1e-6).all()
        assert (away_m <= GOAL_M[:, 1] + 1e-6).all()
        for side in SIDES:
            grip, tool = plant.data.site(f"grip_{side}"), plant.data.site(f"{side}_tcp")
            assert grip.xpos == pytest.approx(tool.xpos, abs=1e-3)
            assert grip.xmat == pytest.approx(tool.xmat, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_ball_waits_for_the_tray_to_move(plant: Plant, seed: int) -> None:
    plant.reset(seed)
    before, home = objects(plant), plant.position()
    for _ in range(75):
        assert tick(plant, home) is None
    assert np.abs(objects(plant)[:2] - before[:2]).max() < 0.015


@pytest.mark.parametrize("seed", range(3))
def test_a_tray_that_is_carried_without_balancing_loses_the_ball_for_good(plant: Plant, seed: int) -> None:
    assert carry_level(plant, seed) is False
    put_ball(plant, 0.0)
    assert tick(plant, plant.position()) is False


def test_success_wants_the_ball_in_the_ring_and_the_tray_at_the_goal_for_some_time(plant: Plant) -> None:
    plant.reset(1)
    home, goal = plant.position(), level_at(plant, objects(plant)[9:])
    for at_m, command, ticks, wanted in (
        (0.1, goal, 150, None),  # through all knocks
        (0.0, home, 50, None),
        (0.1, goal, 50, None),
        (0.0, goal, round(0.9 * HOLD_S / TICK_S), None),
        (0.0, goal, round(0.2 * HOLD_S / TICK_S), True),
    ):
        for _ in range(ticks):
            put_ball(plant, at_m)
            last = tick(plant, command)
        assert last is wanted


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("first", [0, 40, 60, 80])
def test_the_arms_may_stand_still_for_half_a_second(plant: Plant, first: int, seed: int) -> None:
    assert play(plant, seed, range(first, first + 25)) is True


@pytest.mark.parametrize("corner", list(itertools.product((0, 1), repeat=3)))
def test_hands_that_disagree_by_a_centimetre_are_far_from_their_limits(plant: Plant, corner: tuple[int, ...]) -> None:
    plant.reset(0)
    tray_m = objects(plant)[4:7] + [GOAL_M[axis, end] for axis, end in enumerate(corner)]
    command, wider = (level_at(plant, tray_m, apart_m) for apart_m in (0.0, 0.01))
    for target in (command, wider):
        for _ in range(75):
            put_ball(plant, 0.0)
            tick(plant, target)
        assert np.abs(plant.position() - target).max() < 0.02
        assert (np.abs(plant.effort()) < 0.5 * np.tile(plant.arm.torque_max, len(SIDES))).all()
        assert np.abs(objects(plant)[7:9]).max() < 0.005
