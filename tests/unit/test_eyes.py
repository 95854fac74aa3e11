"""Promises of a camera's eye: what moves and is seen still is frozen, what stops coming is lost."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.clock import NS_PER_S
from runtime.inference.eyes import LOST_PERIODS, MOVED_RAD, SAME_MAX, Eye

STILL = np.zeros(14)
MOVED = np.full(14, MOVED_RAD)
PICTURE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def taken(count: int, position: np.ndarray | None) -> Eye:
    """An eye that saw the same picture, the arms having moved to a place after the first."""
    eye = Eye(30)
    for i in range(count):
        eye.take(PICTURE.copy(), i, STILL if i == 0 else position)
    return eye


@pytest.mark.parametrize(
    ("count", "position", "frozen"),
    [
        (SAME_MAX - 1, MOVED, False),
        (SAME_MAX, MOVED, True),
        (SAME_MAX, -MOVED, True),
        (SAME_MAX, 0.99 * MOVED, False),
        (100, STILL, False),
        (100, None, False),
    ],
)
def test_a_picture_that_repeats_while_the_arms_move_is_frozen(
    count: int, position: np.ndarray | None, frozen: bool
) -> None:
    assert taken(count, position).frozen is frozen


def test_one_joint_that_moved_is_enough_and_stays_known() -> None:
    eye = taken(1, STILL)
    eye.take(PICTURE, 1, np.eye(14)[13] * MOVED_RAD)
    eye.take(PICTURE, 2, STILL)
    assert eye.frozen


def test_a_picture_that_differs_thaws() -> None:
    eye = taken(5, MOVED)
    other = PICTURE.copy()
    other[0, 0, 0] += 1
    eye.take(other, 9, MOVED)
    assert not eye.frozen
    eye.take(other, 10, MOVED)
    eye.take(other, 11, MOVED)
    assert not eye.frozen


def test_pictures_that_stop_coming_are_lost_after_three_periods() -> None:
    eye = Eye(30)
    patience_ns = LOST_PERIODS * NS_PER_S // 30
    assert not eye.lost(1 << 60)
    eye.take(PICTURE, 1000, None)
    assert not eye.lost(1000 + patience_ns)
    assert eye.lost(1001 + patience_ns)
    eye.take(PICTURE, 2000 + patience_ns, None)
    assert not eye.lost(2000 + 2 * patience_ns)
