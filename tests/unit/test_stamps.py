"""Promises of a camera's stamps on the host's clock: right to what a frame takes at least, never back, never ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.stamps import AHEAD_NS, HOST, LATE_NS, REFUSALS_MAX, WINDOW_NS, Stamp, Stamper

PERIOD_NS = NS_PER_S // 30
HOST_NS = 5_000 * NS_PER_S
"""What the host's clock is ahead of the device's."""
LEAST_NS = 8 * NS_PER_MS


def stamped(stamper: Stamper, device_ns: int, took_ns: int = LEAST_NS) -> int | None:
    """The stamp of a frame, as a time of the device's clock."""
    stamp = stamper.take("hardware", device_ns, device_ns + HOST_NS + took_ns)
    return None if stamp is None else stamp.t_ns - HOST_NS


def running(frames: int = 10, delay_ns: int = LEAST_NS) -> Stamper:
    stamper = Stamper(PERIOD_NS, delay_ns)
    for i in range(frames):
        assert stamped(stamper, (i + 1) * PERIOD_NS) == (i + 1) * PERIOD_NS
    return stamper


@given(st.lists(st.integers(LEAST_NS, LEAST_NS + AHEAD_NS), min_size=1, max_size=60))
def test_the_quickest_frame_tells_the_difference_of_the_clocks(took: list[int]) -> None:
    stamper = Stamper(PERIOD_NS, LEAST_NS)
    for i, took_ns in enumerate(took):
        t_ns = stamped(stamper, (i + 1) * PERIOD_NS, took_ns)
        assert t_ns == (i + 1) * PERIOD_NS + min(took[: i + 1]) - LEAST_NS


@given(
    st.lists(
        st.tuples(
            st.integers(-3 * NS_PER_S, 3 * NS_PER_S),
            st.integers(0, 2 * NS_PER_S),
            st.sampled_from(["a", "b", HOST, ""]),
        ),
        max_size=60,
    )
)
def test_whatever_a_camera_says_stamps_increase_and_are_not_later_than_the_arrival(
    frames: list[tuple[int, int, str]],
) -> None:
    stamper, device_ns, arrival_ns, last_ns = Stamper(PERIOD_NS), 0, 0, -(1 << 62)
    for moved_ns, passed_ns, clock in frames:
        device_ns += moved_ns
        arrival_ns += passed_ns
        stamp = stamper.take(clock, device_ns if clock else None, arrival_ns)
        if stamp is not None:
            assert last_ns < stamp.t_ns <= arrival_ns
            last_ns = stamp.t_ns


def test_a_frame_held_up_on_its_way_is_stamped_when_it_was_taken() -> None:
    stamper = running()
    assert stamped(stamper, 11 * PERIOD_NS, LEAST_NS + 300 * NS_PER_MS) == 11 * PERIOD_NS
    assert stamped(stamper, 12 * PERIOD_NS, LEAST_NS + 270 * NS_PER_MS) == 12 * PERIOD_NS


@pytest.mark.parametrize("back_ns", [0, 1, PERIOD_NS // 2, 100 * NS_PER_S])
def test_a_stamp_that_runs_back_is_refused_and_the_next_is_right(back_ns: int) -> None:
    stamper = running()
    arrival_ns = HOST_NS + 11 * PERIOD_NS + LEAST_NS
    assert stamper.take("hardware", 10 * PERIOD_NS - back_ns, arrival_ns) is None
    assert stamper.refused == 1
    assert stamped(stamper, 12 * PERIOD_NS) == 12 * PERIOD_NS


@pytest.mark.parametrize(("ahead_ns", "refused"), [(AHEAD_NS, False), (AHEAD_NS + 1, True), (100 * NS_PER_S, True)])
def test_a_stamp_from_the_future_is_refused_and_spoils_none_after_it(ahead_ns: int, refused: bool) -> None:
    stamper = running()
    arrival_ns = HOST_NS + 11 * PERIOD_NS + LEAST_NS
    stamp = stamper.take("hardware", 11 * PERIOD_NS + ahead_ns, arrival_ns)
    assert (stamp is None) is refused
    if refused:
        assert stamped(stamper, 12 * PERIOD_NS) == 12 * PERIOD_NS
    else:
        assert stamp == Stamp(arrival_ns - LEAST_NS, AHEAD_NS)


@pytest.mark.parametrize(("late_ns", "refused"), [(LATE_NS, False), (LATE_NS + 1, True)])
def test_a_frame_that_is_far_too_old_is_refused(late_ns: int, refused: bool) -> None:
    stamper = running()
    assert (stamped(stamper, 11 * PERIOD_NS, LEAST_NS + late_ns) is None) is refused


@pytest.mark.parametrize("jump_ns", [-100 * NS_PER_S, 100 * NS_PER_S])
def test_a_clock_that_goes_on_elsewhere_is_taken_anew_after_three_refusals(jump_ns: int) -> None:
    stamper = running()
    stamps = []
    for i in range(11, 16):
        true_ns = i * PERIOD_NS
        stamp = stamper.take("hardware", true_ns + jump_ns, HOST_NS + true_ns + LEAST_NS)
        stamps.append(stamp and stamp.t_ns - HOST_NS)
    assert stamps == [None] * (REFUSALS_MAX - 1) + [i * PERIOD_NS for i in range(10 + REFUSALS_MAX, 16)]


def test_pictures_that_a_pause_held_back_are_not_taken_for_new_ones() -> None:
    """Those that the driver kept come all at once when the host goes on; the first new one is right."""
    stamper = running()
    resumed_ns = HOST_NS + 5 * NS_PER_S
    for i in range(11, 19):
        assert stamper.take("hardware", i * PERIOD_NS, resumed_ns + i) is None
    for i in range(160, 170):
        assert stamped(stamper, i * PERIOD_NS) == i * PERIOD_NS


def test_refusals_that_do_not_follow_each_other_never_take_a_clock_anew() -> None:
    stamper = running()
    for i in range(11, 40, 2):
        assert stamper.take("hardware", 0, HOST_NS + i * PERIOD_NS + LEAST_NS) is None
        assert stamped(stamper, (i + 1) * PERIOD_NS) == (i + 1) * PERIOD_NS


@pytest.mark.parametrize("ppm", [-100, 100])
def test_drift_is_followed(ppm: int) -> None:
    stamper = Stamper(PERIOD_NS, LEAST_NS)
    worst_ns = 0
    for i in range(1, 60 * 30):
        true_ns = i * PERIOD_NS
        stamp = stamper.take("hardware", true_ns + true_ns * ppm // 1_000_000, HOST_NS + true_ns + LEAST_NS)
        assert stamp is not None
        worst_ns = max(worst_ns, abs(stamp.t_ns - HOST_NS - true_ns))
    assert worst_ns <= WINDOW_NS * 100 // 1_000_000 + 1


def test_another_clock_is_taken_at_once() -> None:
    stamper = running()
    stamp = stamper.take("global", 77, HOST_NS + 11 * PERIOD_NS + LEAST_NS)
    assert stamp == Stamp(HOST_NS + 11 * PERIOD_NS, AHEAD_NS)


def test_without_a_stamp_the_arrival_counts_and_may_be_a_period_wrong() -> None:
    stamper = running()
    arrival_ns = HOST_NS + 11 * PERIOD_NS + LEAST_NS
    assert stamper.take("system", None, arrival_ns) == Stamp(arrival_ns - LEAST_NS, PERIOD_NS)
    assert stamper.take("system", None, arrival_ns) is None
    assert stamped(stamper, 12 * PERIOD_NS) == 12 * PERIOD_NS


@pytest.mark.parametrize(
    ("took_ns", "stamp"), [(-1, False), (0, True), (LEAST_NS, True), (LATE_NS, True), (LATE_NS + 1, False)]
)
def test_a_stamp_of_the_hosts_own_clock_is_taken_as_it_is(took_ns: int, stamp: bool) -> None:
    stamper = Stamper(PERIOD_NS, 3)
    device_ns = HOST_NS + 7 * PERIOD_NS
    assert stamper.take(HOST, device_ns, device_ns + took_ns) == (Stamp(device_ns - 3, 0) if stamp else None)
