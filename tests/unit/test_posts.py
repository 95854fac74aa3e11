"""The task `posts` and its expert: two ways round, one touch too many, and a target whose future is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.drivers.sim.experts.posts import PostsExpert
from runtime.drivers.sim.experts.rollout import rollout
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.posts import HOLD_S, POST_RADIUS_M, TARGET_RATE_RAD_S, TARGET_SHAPE, Posts
from runtime.drivers.sim.tasks.transfer import Transfer
from runtime.errors import LeadtimeError
from runtime.kinematics.ik import ArmIk
from runtime.layout import ARM_JOINTS, ARM_SLICE, SIDES, Side
from runtime.records import OBJECT_STATE_MAX

TICK_STEPS = 10
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def plant() -> Plant:
    return Plant("x5", Posts())


def task_of(plant: Plant) -> Posts:
    assert isinstance(plant.task, Posts)
    return plant.task


def outcome_of(plant: Plant) -> bool | None:
    return plant.task.outcome(plant.model, plant.data)


def play(plant: Plant, commands: Iterable[Array]) -> bool | None:
    """Execute commands tick by tick until the outcome is decided."""
    for command in commands:
        plant.command(command)
        for _ in range(TICK_STEPS):
            plant.step()
        if outcome_of(plant) is not None:
            break
    return outcome_of(plant)


def way_m(plant: Plant) -> Array:
    """How far each hand is beside its post and beyond it, shape (2, 2)."""
    hands_m = np.stack([plant.data.site(f"{side}_tcp").xpos[:2] for side in SIDES])
    return hands_m - task_of(plant).posts()


def demonstrate(plant: Plant, seed: int, coin: Side, ticks: int = 150) -> tuple[list[Array], Array]:
    """The expert's commands of an episode on the side that the coin is laid on, and the hands' ways, (T, 2, 2)."""
    plant.reset(seed)
    task_of(plant).coin = coin
    expert = PostsExpert()
    expert.reset(plant)
    commands, ways_m = [], []
    for _ in range(ticks):
        ways_m.append(way_m(plant))
        commands.append(expert.act(plant))
        plant.command(commands[-1])
        for _ in range(TICK_STEPS):
            plant.step()
    return commands, np.stack(ways_m)


def straight_on(plant: Plant, ticks: int = 60) -> Iterable[Array]:
    """Commands that draw both hands straight at their posts."""
    start = plant.position()
    end = start.copy()
    for row, side in enumerate(SIDES):
        ik, part = ArmIk(plant.model, side), ARM_SLICE[side]
        pose = ik.forward(start[part][:ARM_JOINTS])
        goal_y_m = float(task_of(plant).posts()[row, 1])
        goal = ik.solve(pose.moved(y_m=goal_y_m - pose.position[1]), start[part][:ARM_JOINTS])
        end[part] = (*goal.joints, 0.0)
    return (start + (end - start) * tick / ticks for tick in range(1, ticks + 1))


@pytest.mark.parametrize("coin", SIDES)
def test_the_expert_passes_both_posts_on_the_side_of_the_coin(plant: Plant, coin: Side) -> None:
    _, ways_m = demonstrate(plant, 0, coin)
    sign = -1.0 if coin == "left" else 1.0
    beside = np.abs(ways_m[:, :, 1]) < POST_RADIUS_M
    assert beside.any(axis=0).all()
    assert (sign * ways_m[:, :, 0])[beside].min() > POST_RADIUS_M
    assert outcome_of(plant) is True


def test_the_coin_falls_on_both_sides_and_shows_in_nothing_that_is_observed(plant: Plant) -> None:
    coins = []
    for seed in range(60):
        plant.reset(seed)
        coins.append(task_of(plant).coin)
        before = plant.state_vector()
        objects = plant.task.object_state(plant.model, plant.data)
        task_of(plant).coin = "left" if coins[-1] == "right" else "right"
        assert (plant.task.object_state(plant.model, plant.data) == objects).all()
        assert (plant.state_vector() == before).all()
        plant.lay_out(seed)
        assert task_of(plant).coin == coins[-1]
    assert 20 <= coins.count("left") <= 40


def test_a_change_of_side_half_way_hits_a_post(plant: Plant) -> None:
    (left, ways_m), (right, _) = demonstrate(plant, 1, "left"), demonstrate(plant, 1, "right")
    beside = np.flatnonzero((np.abs(ways_m[:, :, 1]) < 2 * POST_RADIUS_M).all(axis=1))
    assert len(beside) > 5
    for tick in beside[::4]:
        plant.reset(1)
        assert play(plant, [*left[:tick], *right[tick:]]) is False
    plant.reset(1)
    assert play(plant, left) is True


def test_a_touched_post_fails_the_episode_for_good_and_gets_out_of_the_way(plant: Plant) -> None:
    plant.reset(2)
    assert play(plant, straight_on(plant)) is False
    assert plant.time_s < HOLD_S + 1.0
    commands, _ = demonstrate(Plant("x5", Posts()), 2, "left")
    for command in commands:
        plant.command(command)
        for _ in range(TICK_STEPS):
            plant.step()
        assert outcome_of(plant) is False
    assert plant.data.ncon == 0


def test_a_touch_is_remembered_across_a_snapshot(plant: Plant) -> None:
    plant.reset(2)
    play(plant, straight_on(plant))
    touched = plant.snapshot()
    plant.reset(3)
    assert outcome_of(plant) is None
    plant.restore(touched)
    assert outcome_of(plant) is False


def test_who_stands_still_never_succeeds(plant: Plant) -> None:
    plant.reset(4)
    home = plant.position()
    assert play(plant, [home] * round(plant.task.time_limit_s * 50)) is None


def test_a_pause_of_half_a_second_is_forgiven(plant: Plant) -> None:
    for seed, begin in ((5, 0), (6, 12), (7, 30)):
        plant.reset(seed)
        expert = PostsExpert()
        expert.reset(plant)
        for tick in range(round(plant.task.time_limit_s * 50)):
            if not begin <= tick < begin + 25:
                plant.command(expert.act(plant))
            for _ in range(TICK_STEPS):
                plant.step()
            if outcome_of(plant) is not None:
                break
        assert outcome_of(plant) is True


def test_what_is_observed_of_a_target_tells_where_it_will_be(plant: Plant) -> None:
    plant.reset(8)
    now = plant.task.object_state(plant.model, plant.data).reshape(len(SIDES), 6)
    position_m, velocity_m_s = now[:, 2:4], now[:, 4:6]
    quarter = velocity_m_s[:, ::-1] / TARGET_RATE_RAD_S * (1.0, -1.0) / TARGET_SHAPE[::-1] * TARGET_SHAPE
    centre_m = position_m - quarter
    plant.data.time = 0.37
    angle_rad = TARGET_RATE_RAD_S * 0.37
    expected_m = centre_m + quarter * np.cos(angle_rad) + velocity_m_s / TARGET_RATE_RAD_S * np.sin(angle_rad)
    later = plant.task.object_state(plant.model, plant.data).reshape(len(SIDES), 6)
    assert later[:, 2:4] == pytest.approx(expected_m, abs=1e-6)
    assert later.size <= OBJECT_STATE_MAX


def test_the_discs_are_drawn_where_the_targets_are(plant: Plant) -> None:
    plant.reset(9)
    for _ in range(100):
        plant.step()
    position_m, _ = task_of(plant).targets(plant.time_s)
    drawn_m = np.stack([plant.data.mocap_pos[plant.model.body(f"target_{side}").mocapid[0], :2] for side in SIDES])
    assert drawn_m == pytest.approx(position_m, abs=1e-12)


def test_an_episode_is_short() -> None:
    episodes = [rollout("posts", seed) for seed in range(12)]
    assert all(episode.success for episode in episodes)
    assert all(HOLD_S + 1.0 < episode.duration_s < 3.0 for episode in episodes)


def test_the_expert_refuses_another_task() -> None:
    with pytest.raises(LeadtimeError, match="transfer"):
        PostsExpert().reset(Plant("x5", Transfer()))
