"""The minimum-jerk seam against the polynomial that a linear solver finds."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.control.joins.min_jerk import BLEND_TICKS
from runtime.control.joins.quintic import Motion, quintic
from runtime.control.merge import MERGES
from runtime.control.plan import Chunk, Plan
from runtime.layout import RIG_DOF
from tests.unit.joining import GRIPPERS, JOINTS, NOW, joined_by, wave


def solved(start: np.ndarray, end: np.ndarray, ticks: int) -> np.ndarray:
    """Solve the six boundary conditions for the six coefficients; rows are position, velocity, acceleration."""
    t = float(ticks)
    system = [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 2, 0, 0, 0],
        [1, t, t**2, t**3, t**4, t**5],
        [0, 1, 2 * t, 3 * t**2, 4 * t**3, 5 * t**4],
        [0, 0, 2, 6 * t, 12 * t**2, 20 * t**3],
    ]
    coefficients = np.linalg.solve(np.array(system), np.vstack([start, end]))
    return np.vander(np.arange(ticks + 1.0), 6, increasing=True) @ coefficients


def fitted(rows: np.ndarray, at: float) -> np.ndarray:
    """Return position, velocity and acceleration (3, 14) of the parabola through three rows."""
    a, b, c = np.polyfit(np.arange(3.0), rows, 2)
    return np.array([a * at**2 + b * at + c, 2 * a * at + b, 2 * a])


@pytest.mark.parametrize("ticks", [1, 2, 7, 10])
def test_the_quintic_meets_both_states(ticks: int) -> None:
    start, end = np.random.default_rng(ticks).random((2, 3, RIG_DOF))
    path = quintic(Motion(*start), Motion(*end), ticks)
    np.testing.assert_allclose(path, solved(start, end, ticks), atol=1e-11)


@pytest.mark.parametrize("start_tick", [NOW - 30, NOW - 9, NOW + 1, NOW + 4])
def test_the_seam_is_the_path_from_the_plans_motion_to_the_chunks(start_tick: int) -> None:
    plan = Plan(NOW, wave(range(NOW, NOW + 30)), wave(range(NOW - 2, NOW)))
    chunk = Chunk(start_tick, 0, wave(range(50), phase=1.0))
    joined = joined_by(MERGES["min_jerk"].joiner(), plan, chunk)
    executed = np.concatenate([plan.past, plan.actions])[: joined.first_tick - NOW + 2]
    own = chunk.actions[joined.first_tick - start_tick :]
    start, end = fitted(executed[-3:], at=2.0), fitted(own[BLEND_TICKS - 2 : BLEND_TICKS + 1], at=1.0)
    path = solved(start, end, BLEND_TICKS)
    np.testing.assert_allclose(joined.actions[:BLEND_TICKS, JOINTS], path[1:, JOINTS], atol=1e-12)
    np.testing.assert_array_equal(joined.actions[BLEND_TICKS - 1 :], own[BLEND_TICKS - 1 :])
    np.testing.assert_array_equal(joined.actions[:, GRIPPERS], own[:, GRIPPERS])


def test_a_motion_that_goes_on_as_it_was_is_hardly_changed() -> None:
    plan = Plan(NOW, wave(range(NOW, NOW + 30)), wave(range(NOW - 2, NOW)))
    chunk = Chunk(NOW - 5, 0, wave(range(NOW - 5, NOW + 45)))
    joined = joined_by(MERGES["min_jerk"].joiner(), plan, chunk)
    np.testing.assert_allclose(joined.actions, chunk.actions[6:], rtol=0, atol=5e-4)


@pytest.mark.parametrize("left", [1, 2, 5, 9])
def test_a_chunk_shorter_than_the_blend_is_reached_at_its_end(left: int) -> None:
    plan = Plan(NOW, wave(range(NOW, NOW + 30)), wave(range(NOW - 2, NOW)))
    chunk = Chunk(NOW - 11, 0, wave(range(12 + left), phase=1.0))
    joined = joined_by(MERGES["min_jerk"].joiner(), plan, chunk)
    assert len(joined.actions) == left
    np.testing.assert_array_equal(joined.actions[-1], chunk.actions[-1])
