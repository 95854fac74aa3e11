"""Promises of the clocks and of the tick grids laid over them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime.clock
from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock, TickBase, VirtualClock

BASE = TickBase(t0_ns=1_000_000_007, servo_hz=200, policy_hz=50)


@pytest.mark.parametrize("spin_ns", [0, 200_000])
def test_a_sleep_never_returns_early(spin_ns: int) -> None:
    clock = MonotonicClock(spin_ns)
    for _ in range(20):
        due_ns = clock.now_ns() + 2 * NS_PER_MS
        clock.sleep_until_ns(due_ns)
        assert clock.now_ns() >= due_ns


def test_a_thread_that_begins_to_sleep_changes_no_other_threads_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now, asked = MonotonicClock(), VirtualClock(1), []

    def sleep(_clock: int, _flags: int, until: Any, _rest: None) -> int:
        if not asked:
            # As another thread would, before the kernel has read what this one asks for.
            asked.append(0)
            clock.sleep_until_ns(3 * NS_PER_S)
        asked.append(until._obj.tv_sec)
        now.sleep_until_ns(until._obj.tv_sec * NS_PER_S)
        return 0

    monkeypatch.setattr(runtime.clock, "libc", SimpleNamespace(clock_nanosleep=sleep))
    monkeypatch.setattr(runtime.clock.time, "monotonic_ns", now.now_ns)
    clock.sleep_until_ns(2 * NS_PER_S)
    assert asked == [0, 3, 2]


def test_a_sleep_until_the_past_returns() -> None:
    clock = MonotonicClock()
    clock.sleep_until_ns(0)
    assert clock.now_ns() > 0


def test_the_virtual_clock_moves_only_when_told() -> None:
    clock = VirtualClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.sleep_until_ns(20)
    clock.sleep_until_ns(10)
    clock.advance_ns(3)
    assert clock.now_ns() == 23


def test_the_virtual_clock_never_goes_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        VirtualClock().advance_ns(-1)


@given(st.integers(min_value=-(10**6), max_value=10**9))
def test_a_tick_begins_at_its_own_time(tick: int) -> None:
    assert BASE.tick(BASE.time_ns(tick)) == tick
    assert BASE.tick(BASE.time_ns(tick) - 1) == tick - 1
    assert BASE.servo_tick(BASE.servo_time_ns(tick)) == tick


@given(st.integers(min_value=0, max_value=10**15))
def test_each_policy_tick_spans_a_whole_number_of_servo_ticks(t_ns: int) -> None:
    assert BASE.tick(BASE.t0_ns + t_ns) == BASE.servo_tick(BASE.t0_ns + t_ns) // BASE.ratio
