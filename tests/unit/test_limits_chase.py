"""Promises of a limiter whose targets are out of reach: it follows as fast as the limits allow, and brakes no more."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.layout import RIG_DOF
from tests.unit.limits_bench import AXES, DT, ROOM, A, Chase, J


@pytest.mark.parametrize("hold", [1, 7, 40])
def test_whatever_is_chased_is_chased_as_fast_as_the_limits_allow(hold: int) -> None:
    generator = np.random.default_rng(hold)
    chase = Chase()
    for _ in range(400 // hold):
        target = generator.uniform(-ROOM - 1.0, ROOM + 1.0, RIG_DOF)
        drift = generator.uniform(-20 * J, 20 * J, RIG_DOF)
        for k in range(hold):
            odd = generator.choice([0.0, np.nan, np.inf, -np.inf], RIG_DOF, p=[0.97, 0.01, 0.01, 0.01])
            chase.step(target + k * drift + odd)
    assert chase.chased > 3000


@pytest.mark.parametrize("slowed", [False, True])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_axes_that_are_all_alike_reach_their_velocity_and_their_goal_together(side: float, slowed: bool) -> None:
    alike = {"v": np.full(RIG_DOF, 64.3 * J), "a": np.full(RIG_DOF, A), "j": np.full(RIG_DOF, J)}
    chase = Chase(alike, room=50.0)
    if slowed:
        chase.slow(np.ones(RIG_DOF))
    goal = np.full(RIG_DOF, side * 40.0)
    speeds = []
    for _ in range(90):
        chase.step(goal)
        speeds.append(side * chase.limiter.motion.velocity[0] * DT)
    assert max(speeds) == pytest.approx(alike["v"][0], rel=1.1e-6)
    ways = np.sign(np.round(np.diff(speeds), 2))
    assert np.count_nonzero(np.diff(ways[ways != 0.0])) == 1, "faster until it is at its velocity, then slower once"
    np.testing.assert_array_equal(chase.limiter.motion.position, goal)


def test_a_pace_that_is_known_is_met_with_the_goal() -> None:
    pace = np.linspace(-100 * J, 100 * J, RIG_DOF)
    chase = Chase(room=40.0)
    for k in range(60):
        chase.step(2.0 + k * pace / 4.0, pace)
    assert chase.chased > 300


def test_a_share_of_the_velocity_is_kept_to_and_what_is_faster_slows_down_to_it_and_no_further() -> None:
    share = np.linspace(0.1, 1.0, RIG_DOF)
    chase = Chase(room=200.0)
    for side in (1.0, -1.0):
        chase.slow(np.ones(RIG_DOF))
        for _ in range(90):
            chase.step(np.full(RIG_DOF, side * 190.0))
        np.testing.assert_allclose(side * chase.limiter.motion.velocity * DT, AXES["v"], rtol=1.1e-6)
        chase.slow(share)
        for _ in range(25):
            chase.step(np.full(RIG_DOF, side * 190.0))
            assert (side * chase.limiter.motion.velocity * DT > AXES["v"] * share * (1.0 - 1.1e-6)).all()
        np.testing.assert_allclose(side * chase.limiter.motion.velocity * DT, AXES["v"] * share, rtol=1.1e-6)
