"""Promises of a guardian at their very boundaries: one number off in any of them is noticed here."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.arms import X5
from runtime.clock import NS_PER_MS
from runtime.control import guardian
from runtime.control.guardian import GuardianCore
from runtime.control.trajectory import Course, Motion, Planner
from runtime.layout import ARM_DOF
from runtime.states import Guard, Trip
from tests.unit.test_guardian import A_STEP, DT, PERIOD_NS, START, TTL_NS, V_STEP, Bench, state_of

FEW = 4
"""Whole periods in a command's life."""
ZEROED = np.where(np.arange(ARM_DOF) == 0, 0.0, START)
"""The first joint at exactly zero: distances from it are exact."""


def beside(joint: int, apart: float, start: np.ndarray = START) -> np.ndarray:
    moved = np.array(start)
    moved[joint] += apart
    return moved


def test_the_thresholds_are_those_that_were_chosen() -> None:
    assert guardian.JUMP == 0.15
    assert guardian.TAKE_UP == 0.02
    assert guardian.ENGAGE == 0.05
    assert guardian.OUTSIDE == guardian.AT_HOME == 0.1
    assert guardian.STILL == 1e-8
    assert guardian.TRACKING_RAD == 0.4
    assert guardian.TRACKING_NS == 100_000_000
    assert guardian.BRIDGE_AFTER == 0.5


def test_before_anything_happens_its_status_says_so() -> None:
    bench = Bench()
    out = bench.step(None)
    status = out.status
    assert (int(status["seq"]), int(status["trips"]), int(status["t_trip_ns"])) == (1, 0, 0)
    assert (int(status["limited"]), int(status["command_seq"]), out.servo_tick) == (0, 0, 0)
    assert int(bench.step(bench.command(START, seq=9)).status["command_seq"]) == 9


@pytest.mark.parametrize(("t_ns", "armed"), [(0, False), (1, True)])
def test_feedback_that_was_never_stamped_is_none(t_ns: int, armed: bool) -> None:
    bench = Bench()
    bench.now_ns = 10 * NS_PER_MS
    assert bench.step(bench.command(START), age_ns=bench.now_ns - t_ns).enabled is armed


@pytest.mark.parametrize("field", ["position", "velocity"])
@pytest.mark.parametrize("joint", [0, ARM_DOF - 1])
def test_one_number_of_the_feedback_that_is_not_finite_trips(field: str, joint: int) -> None:
    bench = Bench()
    bench.follow()
    bench.state[field][joint] = np.nan
    assert state_of(bench.step(bench.command(START), follow=False))[1:] == (Trip.DEVICE, 1)


@pytest.mark.parametrize(("left_ns", "armed"), [(0, True), (-1, False)])
def test_a_command_is_valid_until_its_very_end(left_ns: int, armed: bool) -> None:
    bench = Bench()
    assert bench.step(bench.command(START, valid_until_ns=bench.now_ns + left_ns)).enabled is armed


@pytest.mark.parametrize("joint", [0, 3, ARM_DOF - 1])
@pytest.mark.parametrize(("beyond", "armed"), [(0.0, True), (1e-9, False)])
@pytest.mark.parametrize("upper", [False, True])
def test_each_joint_may_lie_outside_its_limits_by_so_much_and_no_more(
    joint: int, beyond: float, armed: bool, upper: bool
) -> None:
    start = np.array(START)
    low, high = X5.position_min[joint], X5.position_max[joint]
    start[joint] = high + guardian.OUTSIDE + beyond if upper else low - guardian.OUTSIDE - beyond
    bench = Bench(start=start)
    assert bench.step(bench.command(start)).enabled is armed


@pytest.mark.parametrize(("apart", "armed"), [(guardian.ENGAGE, True), (guardian.ENGAGE + 1e-12, False)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_first_command_is_near_to_the_last_digit(apart: float, armed: bool, sign: float) -> None:
    bench = Bench(start=ZEROED)
    assert bench.step(bench.command(beside(0, sign * apart, ZEROED))).enabled is armed


def test_the_command_that_arms_is_already_followed() -> None:
    bench = Bench()
    out = bench.step(bench.command(START + 1e-6))
    np.testing.assert_array_equal(out.position, START + 1e-6)


def test_a_command_that_is_read_again_is_no_new_one_and_is_bridged() -> None:
    bench = Bench()
    step = 0.2 * V_STEP
    out = bench.cruise(step, 30)
    last = bench.command(out.position + step, step / DT)
    bench.step(last)
    for bridged in (0, 1, 2):
        out = bench.step(last)
        np.testing.assert_allclose(out.position, last["position"][:ARM_DOF] + bridged * step, atol=1e-12)


@pytest.mark.parametrize("joint", [0, ARM_DOF - 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_jump_either_way_of_any_joint_trips(joint: int, sign: float) -> None:
    bench = Bench()
    bench.follow()
    out = bench.step(bench.command(beside(joint, sign * (V_STEP[joint] + guardian.JUMP + 1e-6))))
    assert state_of(out)[1] is Trip.JUMP


@pytest.mark.parametrize(("beyond", "trip"), [(0.0, Trip.NONE), (1e-12, Trip.JUMP)])
def test_as_far_as_full_speed_and_the_slack_explain_is_no_jump(beyond: float, trip: Trip) -> None:
    bench = Bench(start=ZEROED)
    bench.follow(ZEROED)
    goal = np.array(ZEROED)
    goal[0] = X5.velocity_max[0] * DT + guardian.JUMP + beyond
    assert state_of(bench.step(bench.command(goal)))[1] is trip


@pytest.mark.parametrize("asleep", [5, 7, 40])
def test_the_ticks_of_its_own_pause_have_passed(asleep: int) -> None:
    bench = Bench()
    before = bench.follow(ticks=5).servo_tick
    bench.now_ns += (asleep - 1) * PERIOD_NS
    assert asleep <= bench.step(None).servo_tick - before <= asleep + 1


def braking(bench: Bench) -> np.ndarray:
    """Let the commands of a moving arm end; returns the last position that was followed."""
    step = 0.5 * V_STEP
    out = bench.cruise(step, 40)
    while state_of(out)[0] is Guard.FOLLOW:
        last, out = out.position, bench.step(None)
    return last


def test_an_expired_command_is_braked_from_and_not_stopped_at() -> None:
    bench = Bench()
    last = braking(bench)
    assert bench.out is not None
    assert state_of(bench.out)[0] is Guard.BRAKE
    steps, here = [bench.out.position - last], bench.out.position
    while state_of(bench.out)[0] is Guard.BRAKE:
        out = bench.step(None)
        steps.append(out.position - here)
        here = out.position
    assert len(steps) > 5
    speeds = np.abs(steps)[:, 0]
    assert speeds[0] > 0.3 * V_STEP[0]
    assert (np.abs(np.diff(steps, axis=0)) <= A_STEP * (1 + 1e-9)).all()
    assert speeds[-1] < 1e-9


@pytest.mark.parametrize(("periods", "moves"), [(FEW, True), (FEW + 1, False)])
def test_a_pause_in_a_brake_as_long_as_a_commands_life_is_played_a_longer_one_is_not(periods: int, moves: bool) -> None:
    bench = Bench()
    braking(bench)
    assert bench.out is not None
    here = bench.out.position
    bench.now_ns += (periods - 1) * PERIOD_NS
    out = bench.step(None)
    assert bool(np.abs(out.position - here).max() > 1e-3) is moves
    assert (state_of(out)[0] is Guard.HOLD) is not moves


@pytest.mark.parametrize(("fault", "state"), [(0, Guard.HOLD), (4, Guard.FAULT)])
def test_what_is_left_after_a_long_pause_in_a_brake_is_rest(fault: int, state: Guard) -> None:
    bench = Bench()
    braking(bench)
    bench.now_ns += 20 * PERIOD_NS
    bench.state["fault"] = fault
    out = bench.step(None)
    assert state_of(out)[0] is state
    bench.state["fault"] = 0
    again = bench.step(bench.command(out.position, ack=(1, 1)))
    assert state_of(again)[0] is Guard.FOLLOW
    np.testing.assert_array_equal(again.position, out.position)


@pytest.mark.parametrize(("share", "jumps"), [(0.9, False), (1.5, True)])
def test_of_a_command_that_lives_for_one_period_no_more_than_one_is_expected(share: float, jumps: bool) -> None:
    bench = Bench()
    bench.core = GuardianCore(X5, 0, PERIOD_NS, command_ttl_ns=PERIOD_NS)
    bench.follow()
    bench.tick += 1
    out = bench.step(bench.command(beside(0, guardian.JUMP + share * V_STEP[0])))
    assert (state_of(out)[1] is Trip.JUMP) is jumps


def test_a_brake_from_rest_is_a_brake_for_a_tick() -> None:
    bench = Bench()
    bench.follow(ticks=10)
    bench.now_ns += TTL_NS - PERIOD_NS
    out = bench.step(None)
    while state_of(out)[0] is Guard.FOLLOW:
        out = bench.step(None)
    assert state_of(out)[0] is Guard.BRAKE
    assert state_of(bench.step(None))[0] is Guard.HOLD


@pytest.mark.parametrize(("age_ns", "state"), [(0, Guard.HOLD), (10**9, Guard.FAULT)])
def test_where_no_brake_can_be_planned_it_holds_at_once(
    age_ns: int, state: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planner, "brake", lambda self, motion: Course(motion.position, None, 0.005, 0))
    bench = Bench()
    bench.follow(ticks=10)
    bad = bench.command(START) if age_ns else bench.command(beside(0, 1.0))
    assert state_of(bench.step(bad, age_ns=age_ns, follow=False))[0] is state


class Drawn:
    """A brake that is ahead of its arm: its first joint goes on at a pace from a distance away, and then stands."""

    def __init__(self, motion: Motion, pace: float, ticks: int) -> None:
        self._start, self._pace, self.ticks = motion.position, pace, ticks

    def at(self, tick: int) -> np.ndarray:
        return beside(0, 0.02 + self._pace * min(tick, self.ticks), self._start)


@pytest.mark.parametrize(("pace", "ticks"), [(0.0, 0), (0.3, 60)])
def test_a_brake_that_the_arm_is_behind_is_met_in_its_own_pace_and_ends_once_every_joint_stands(
    monkeypatch: pytest.MonkeyPatch, pace: float, ticks: int
) -> None:
    drawn: list[Drawn] = []

    def plan(_planner: Planner, motion: Motion) -> Drawn:
        drawn.append(Drawn(motion, pace * V_STEP[0], ticks))
        return drawn[0]

    monkeypatch.setattr(Planner, "brake", plan)
    bench = Bench()
    bench.follow(ticks=10)
    positions = []
    while state_of(bench.step(None))[0] is not Guard.HOLD:
        if drawn:
            positions.append(bench.out.position if bench.out is not None else START)
    assert len(positions) > ticks
    assert bench.out is not None
    np.testing.assert_array_equal(bench.out.position, drawn[0].at(ticks))
    met = [k for k, position in enumerate(positions, start=1) if np.array_equal(position, drawn[0].at(k))]
    assert not ticks or met[0] < ticks // 2


def test_torque_stays_on_while_any_joint_moves() -> None:
    home = X5.home_array
    bench = Bench(start=beside(0, 0.02, home))
    bench.follow(beside(0, 0.02, home))
    moving = bench.step(bench.command(beside(0, 0.02 - 0.5 * A_STEP[0], home)))
    assert state_of(moving)[0] is Guard.FOLLOW
    assert bench.step(bench.command(moving.position, armed=0)).enabled


@pytest.mark.parametrize(("left", "armed"), [(1e-26, False), (1e-9, False), (1e-7, True)])
def test_what_rounding_leaves_of_a_motion_does_not_keep_the_torque_on(left: float, armed: bool) -> None:
    home = np.array(X5.home_array)
    home[0] = 0.0
    bench = Bench(start=home)
    bench.follow(home)
    at_rest = bench.step(bench.command(beside(0, left, home)))
    out = bench.step(bench.command(at_rest.position, armed=0))
    assert out.enabled is armed
    assert int(out.status["trips"]) == armed


@pytest.mark.parametrize(("apart", "armed"), [(guardian.TAKE_UP, True), (guardian.TAKE_UP + 1e-12, False)])
def test_a_holding_arm_is_taken_up_by_a_command_as_near_as_that(apart: float, armed: bool) -> None:
    bench = Bench(start=ZEROED)
    bench.follow(ZEROED, ticks=10)
    for _ in range(20):
        out = bench.step(None)
    assert state_of(out)[0] is Guard.HOLD
    goal = np.array(out.position)
    goal[0] = apart
    assert out.position[0] == 0.0
    assert (state_of(bench.step(bench.command(goal, ack=(1, 1))))[0] is Guard.FOLLOW) is armed


def test_a_life_shorter_than_a_period_is_one_tick() -> None:
    core = GuardianCore(X5, 0, PERIOD_NS, NS_PER_MS, 100 * NS_PER_MS)
    bench = Bench()
    bench.core = core
    bench.step(bench.command(START))
    out = bench.step(None)
    assert state_of(out)[1] is Trip.EXPIRED
    bench.now_ns += PERIOD_NS
    assert state_of(bench.step(None))[0] is Guard.HOLD
