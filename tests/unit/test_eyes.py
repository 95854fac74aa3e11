"""Promises of a camera's eye: what moves and is seen still is frozen, what stops coming is lost."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.clock import NS_PER_S
from runtime.inference.client.eyes import LOST_PERIODS, MOVED_RAD, SAME_MAX, Eye

STILL = np.zeros(14)
MOVED = np.full(14, MOVED_RAD)
PICTURE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def taken(count: int, position: np.ndarray | None) -> Eye:
    """An eye that saw the same picture, the arms having moved to a place after the first."""
    eye = Eye(30, noiseless=True)
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


@pytest.mark.parametrize(
    ("moved", "frozen"), [((0,), False), ((7,), False), ((5, 12), True), ((6, 13), False), ((0, 13), False)]
)
def test_a_joint_of_each_arm_must_have_moved_and_grippers_do_not_count(moved: tuple[int, ...], frozen: bool) -> None:
    eye = taken(1, STILL)
    position = np.zeros(14)
    position[list(moved)] = MOVED_RAD
    eye.take(PICTURE, 1, position)
    eye.take(PICTURE, 2, STILL)
    assert eye.frozen is frozen


@pytest.mark.parametrize(("count", "frozen"), [(SAME_MAX - 1, False), (SAME_MAX, True)])
def test_a_real_sensor_never_repeats_a_picture_even_of_a_still_scene(count: int, frozen: bool) -> None:
    eye = Eye(30)
    for i in range(count):
        eye.take(PICTURE, i, None)
    assert eye.frozen is frozen


def test_a_picture_that_differs_thaws() -> None:
    eye = taken(5, MOVED)
    other = PICTURE.copy()
    other[0, 0, 0] += 1
    eye.take(other, 9, MOVED)
    assert not eye.frozen
    eye.take(other, 10, MOVED)
    eye.take(other, 11, MOVED)
    assert not eye.frozen
    assert taken(5, MOVED).frozen


def test_pictures_that_stop_coming_are_lost_after_three_periods() -> None:
    eye = Eye(30)
    patience_ns = LOST_PERIODS * NS_PER_S // 30
    assert not eye.lost(1 << 60)
    eye.take(PICTURE, 1000, None)
    assert not eye.lost(1000 + patience_ns)
    assert eye.lost(1001 + patience_ns)
    eye.take(PICTURE, 2000 + patience_ns, None)
    assert not eye.lost(2000 + 2 * patience_ns)
