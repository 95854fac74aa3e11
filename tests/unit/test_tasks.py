"""Tasks decided by physics, and the experts that carry them out."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.drivers.sim.experts import EXPERTS
from runtime.drivers.sim.experts.rollout import Rollout, rollout
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.drivers.sim.tasks.conveyor import (
    BELT_SPEED_M_S,
    BELT_X_M,
    BELT_Y_M,
    BIN_XY_M,
    BLOCK,
    REST_Z_M,
    Conveyor,
)
from runtime.drivers.sim.tasks.transfer import CUBE, START_X_M, START_Y_M, ZONE_XY_M, Transfer
from runtime.errors import UsageError

TICK_STEPS = 10
TABLE_CUBE_Z_M = 0.76


@pytest.fixture(scope="module")
def transfer() -> Plant:
    return Plant("x5", Transfer())


@pytest.fixture(scope="module")
def conveyor() -> Plant:
    return Plant("x5", Conveyor())


def run(plant: Plant, seconds: float) -> bool | None:
    for _ in range(round(seconds / plant.timestep_s)):
        plant.step()
        outcome = plant.task.outcome(plant.model, plant.data)
        if outcome is not None:
            return outcome
    return None


def replay(plant: Plant, episode: Rollout, late_ticks: int) -> bool | None:
    """Execute an episode's actions, that many ticks late, with nobody looking."""
    plant.reset(episode.seed)
    waiting = [plant.position()] * late_ticks
    for action in [*waiting, *episode.executed, *[episode.executed[-1]] * 50]:
        plant.command(action)
        outcome = run(plant, TICK_STEPS * plant.timestep_s)
        if outcome is not None:
            return outcome
    return None


def test_every_task_has_an_expert() -> None:
    assert set(EXPERTS) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_start_and_another_seed_another(name: str) -> None:
    plant = Plant("x5", TASKS[name]())
    starts = []
    for seed in (3, 4, 3):
        plant.reset(seed)
        starts.append(plant.task.object_state(plant.model, plant.data))
    assert (starts[0] == starts[2]).all()
    assert not np.allclose(starts[0], starts[1])
    assert starts[0].dtype == np.float32


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_expert_succeeds_well_inside_the_arms_limits(name: str, seed: int) -> None:
    episode = rollout(name, seed)
    arm = Plant("x5").arm
    velocity = np.diff(episode.actions, axis=0) / 0.02
    acceleration = np.diff(velocity, axis=0) / 0.02
    assert episode.success
    assert (np.abs(velocity).max(axis=0) <= 0.5 * np.tile(arm.velocity_max, 2) + 1e-9).all()
    assert (np.abs(acceleration).max(axis=0) <= 0.5 * np.tile(arm.acceleration_max, 2) + 1e-6).all()


@pytest.mark.parametrize("name", EXPERTS)
def test_the_expert_makes_up_for_disturbed_execution(name: str) -> None:
    episode = rollout(name, 5, noise=0.01)
    assert episode.success
    assert np.abs(episode.executed - episode.actions).max() > 0.01


def test_a_rollout_is_repeatable_to_the_bit_and_its_rows_belong_together() -> None:
    first, second = rollout("conveyor", 2, noise=0.01), rollout("conveyor", 2, noise=0.01)
    ticks = len(first.phases)
    for name in ("actions", "executed", "position", "velocity", "object_state", "states"):
        rows = getattr(first, name)
        assert len(rows) == ticks
        assert (rows == getattr(second, name)).all()


def test_an_unknown_task_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UsageError, match="conveyor"):
        rollout("juggle", 0)


def test_transfer_starts_within_its_region_on_the_right(transfer: Plant) -> None:
    for seed in range(20):
        transfer.reset(seed)
        x_m, y_m, _ = CUBE.position_m(transfer.data)
        assert START_X_M[0] <= x_m <= START_X_M[1]
        assert START_Y_M[0] <= y_m <= START_Y_M[1]


def test_transfer_wants_the_handover_and_not_only_the_place(transfer: Plant) -> None:
    transfer.reset(0)
    CUBE.place(transfer.data, (*ZONE_XY_M, TABLE_CUBE_Z_M), 0.0)
    assert run(transfer, 0.5) is None


def test_transfer_is_lost_when_the_cube_leaves_the_table(transfer: Plant) -> None:
    transfer.reset(0)
    CUBE.place(transfer.data, (0.75, 0.0, 0.80), 0.0)
    assert run(transfer, 1.0) is False


def test_transfer_remembers_the_handover_across_a_snapshot(transfer: Plant) -> None:
    episode = rollout("transfer", 0)
    transfer.reset(0)
    half = episode.phases.index("place") + 10
    for action in episode.executed[:half]:
        transfer.command(action)
        run(transfer, TICK_STEPS * transfer.timestep_s)
    middle = transfer.snapshot()
    transfer.reset(1)
    transfer.restore(middle)
    outcome = None
    for action in episode.executed[half:]:
        transfer.command(action)
        outcome = run(transfer, TICK_STEPS * transfer.timestep_s)
        if outcome is not None:
            break
    assert outcome is True


def test_the_belt_carries_the_block_by_friction_at_its_speed(conveyor: Plant) -> None:
    conveyor.reset(0)
    BLOCK.place(conveyor.data, (-0.15, BELT_Y_M, REST_Z_M), 0.1)
    run(conveyor, 0.5)
    before_m = BLOCK.position_m(conveyor.data)
    run(conveyor, 1.0)
    moved_m = BLOCK.position_m(conveyor.data) - before_m
    assert moved_m == pytest.approx((BELT_SPEED_M_S, 0.0, 0.0), abs=1e-3)


def test_a_block_that_nobody_takes_is_missed(conveyor: Plant) -> None:
    conveyor.reset(0)
    BLOCK.place(conveyor.data, (BELT_X_M[1] - 0.05, BELT_Y_M, REST_Z_M), 0.0)
    assert run(conveyor, 2.0) is False


def test_a_block_in_the_bin_counts_and_one_beside_it_does_not(conveyor: Plant) -> None:
    conveyor.reset(0)
    BLOCK.place(conveyor.data, (*BIN_XY_M, 0.84), 0.0)
    assert run(conveyor, 1.0) is True
    conveyor.reset(0)
    BLOCK.place(conveyor.data, (BIN_XY_M[0] - 0.2, BIN_XY_M[1], 0.84), 0.0)
    assert run(conveyor, 1.0) is False


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_the_conveyor_actions_in_time_succeed_and_late_ones_miss(conveyor: Plant, seed: int) -> None:
    episode = rollout("conveyor", seed)
    assert replay(conveyor, episode, late_ticks=0) is True
    assert replay(conveyor, episode, late_ticks=9) is not True
