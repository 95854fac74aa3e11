"""Promises of a cycle of a Piper's frames: three pairs of one cycle, never of two, in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from runtime.drivers.piper.codec import JointPair
from runtime.drivers.piper.cycle import CYCLE_NS, Cycle, split

JOINTS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
OTHERS = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
FIRST, SECOND = split(JOINTS), split(OTHERS)


def test_six_joints_are_three_pairs_and_the_gripper_behind_them_is_none() -> None:
    assert split([*JOINTS, 0.7]) == (JointPair(0.1, 0.2), JointPair(0.3, 0.4), JointPair(0.5, 0.6))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_pairs_are_gathered_in_any_order_and_a_cycle_begins_with_its_first(order: tuple[int, ...]) -> None:
    cycle = Cycle()
    for begun_ns in (10, 1000):
        found = [cycle.take(i, FIRST[i], begun_ns + n) for n, i in enumerate(order)]
        assert found == [None, None, JOINTS]
        assert cycle.began_ns == begun_ns
    assert cycle.torn == 0


def test_a_pair_that_comes_again_begins_a_new_cycle() -> None:
    cycle = Cycle()
    for i in (0, 1):
        assert cycle.take(i, FIRST[i], i) is None
    found = [cycle.take(i, SECOND[i], 10 + i) for i in range(3)]
    assert found == [None, None, OTHERS]
    assert (cycle.began_ns, cycle.torn) == (10, 1)


@pytest.mark.parametrize(("late_ns", "whole"), [(0, True), (1, False)])
def test_a_pair_that_comes_late_begins_a_new_cycle(late_ns: int, whole: bool) -> None:
    cycle = Cycle()
    cycle.take(0, FIRST[0], 5)
    cycle.take(1, FIRST[1], 6)
    assert (cycle.take(2, FIRST[2], 5 + CYCLE_NS + late_ns) == JOINTS) is whole
    assert cycle.torn == (not whole)


def test_without_a_limit_pairs_wait_for_each_other_and_the_newest_of_each_counts() -> None:
    cycle = Cycle(within_ns=0)
    cycle.take(0, FIRST[0], 0)
    cycle.take(1, FIRST[1], 1)
    cycle.take(0, SECOND[0], 10**12)
    assert cycle.take(2, SECOND[2], 10**13) == [*OTHERS[:2], *JOINTS[2:4], *OTHERS[4:]]
    assert cycle.torn == 0
