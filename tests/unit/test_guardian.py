"""Promises of the last layer before the device, dense at its boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime import records
from runtime.arms import X5
from runtime.clock import NS_PER_MS
from runtime.control import guardian
from runtime.control.guardian import GuardianCore, GuardianOutput
from runtime.layout import ARM_DOF, ARM_GRIPPER
from runtime.shm import blank
from runtime.states import Guard, Trip

PERIOD_NS = 5 * NS_PER_MS
TTL_NS = 20 * NS_PER_MS
STALE_NS = 25 * NS_PER_MS
DT = 0.005
START = X5.home_array * 0.5 + 0.3
V_STEP = np.array(X5.velocity_max) * DT
A_STEP = np.array(X5.acceleration_max) * DT**2


class Bench:
    """One guardian with hand-made commands and an arm that is where it is told to be."""

    def __init__(self, side_index: int = 0, start: np.ndarray = START) -> None:
        self.side = side_index
        self.core = GuardianCore(X5, side_index, PERIOD_NS)
        self.now_ns = 10**9
        self.tick = 100
        self.state: Any = blank(records.ARM_STATE)
        self.state["position"] = start
        self.out: GuardianOutput | None = None

    def command(self, position: np.ndarray, velocity: np.ndarray | float = 0.0, **fields: Any) -> Any:
        record: Any = blank(records.JOINT_COMMAND)
        part = slice(self.side * ARM_DOF, (self.side + 1) * ARM_DOF)
        record["position"][part] = position
        record["velocity"][part] = velocity
        record["servo_tick"], record["t_ns"] = self.tick, self.now_ns
        record["valid_until_ns"] = self.now_ns + TTL_NS
        record["armed"] = 1
        for name, value in fields.items():
            record[name] = value
        return record

    def step(self, command: Any = None, *, age_ns: int = 0, follow: bool = True) -> GuardianOutput:
        self.state["t_ns"] = self.now_ns - age_ns
        self.out = self.core.step(self.now_ns, command, self.state)
        if follow and self.out.enabled:
            self.state["position"] = self.out.position
        self.now_ns += PERIOD_NS
        self.tick += 1
        return self.out

    def follow(self, position: np.ndarray = START, ticks: int = 3) -> GuardianOutput:
        for _ in range(ticks):
            out = self.step(self.command(position))
        return out

    def cruise(self, step: np.ndarray, ticks: int) -> GuardianOutput:
        """Speed up to a step per tick and keep it."""
        pace, out = np.zeros(ARM_DOF), self.follow()
        for _ in range(ticks):
            pace = np.minimum(pace + 0.9 * A_STEP, step)
            out = self.step(self.command(out.position + pace, pace / DT))
        return out


def state_of(out: GuardianOutput) -> tuple[Guard, Trip, int]:
    status = out.status
    return Guard(int(status["state"])), Trip(int(status["reason"])), int(status["trips"])


def test_it_arms_on_a_fresh_command_near_the_measured_position() -> None:
    bench = Bench()
    out = bench.step(None)
    assert not out.enabled
    out = bench.step(bench.command(START + 0.04))
    assert out.enabled
    assert state_of(out) == (Guard.FOLLOW, Trip.NONE, 0)
    assert out.servo_tick == bench.tick - 1


@pytest.mark.parametrize("side_index", [0, 1])
def test_it_reads_its_own_arm_of_the_command(side_index: int) -> None:
    bench = Bench(side_index)
    out = bench.follow(START + 0.001, ticks=10)
    np.testing.assert_array_equal(out.position, START + 0.001)


@pytest.mark.parametrize(
    "refused",
    [
        {"armed": 0},
        {"ack": (1, 1)},
        {"valid_until_ns": 1},
        {"t_ns": 1},
        {"position": START + guardian.ENGAGE * 1.001},
        {"position": START * np.nan},
        {"velocity": START * np.nan},
    ],
    ids=["unarmed", "ack", "expired", "old", "far", "position", "velocity"],
)
def test_it_does_not_arm_on_anything_else(refused: dict[str, Any]) -> None:
    bench = Bench()
    assert not bench.step(bench.command(**{"position": START, **refused})).enabled


@pytest.mark.parametrize(
    ("age_ns", "armed"), [(0, True), (STALE_NS, True), (STALE_NS + 1, False), (10**9 + PERIOD_NS, False)]
)
def test_it_does_not_arm_on_stale_feedback(age_ns: int, armed: bool) -> None:
    bench = Bench()
    assert bench.step(bench.command(START), age_ns=age_ns).enabled is armed


@pytest.mark.parametrize("position", [np.zeros(7), START * np.nan, np.array(X5.position_max) + 0.11])
def test_it_does_not_arm_on_unusable_feedback(position: np.ndarray) -> None:
    bench = Bench(start=position)
    assert not bench.step(bench.command(np.clip(position, X5.position_min, X5.position_max))).enabled


def test_it_arms_a_little_outside_the_limits_at_the_limit() -> None:
    bench = Bench(start=np.array(X5.position_max) + 0.04)
    out = bench.step(bench.command(np.array(X5.position_max)))
    np.testing.assert_array_equal(out.position, X5.position_max)


def test_commands_within_limits_pass_bit_for_bit() -> None:
    bench = Bench()
    out = bench.follow()
    for i in range(100):
        position = START + 0.1 * (1 - np.cos(0.03 * i))
        out = bench.step(bench.command(position))
        np.testing.assert_array_equal(out.position, position)
        assert out.servo_tick == bench.tick - 1
    assert int(out.status["limited"]) == 0


@pytest.mark.parametrize(("share", "limited"), [(0.999, False), (1.001, True)])
def test_the_velocity_limit_is_where_the_model_says(share: float, limited: bool) -> None:
    bench = Bench()
    step = V_STEP * share * np.array([1, 0, 0, 0, 0, 0, 0])
    out = bench.cruise(step, 60)
    assert (int(out.status["limited"]) > 0) is limited


@pytest.mark.parametrize(("share", "limited"), [(0.999, False), (1.001, True)])
def test_the_acceleration_limit_is_where_the_model_says(share: float, limited: bool) -> None:
    bench = Bench()
    bench.follow()
    out = bench.step(bench.command(START + share * A_STEP, share * A_STEP / DT))
    assert (int(out.status["limited"]) > 0) is limited
    assert (out.position <= START + A_STEP * (1 + 1e-9)).all()


def test_a_moderate_step_is_taken_within_limits_and_ends_where_it_should() -> None:
    bench = Bench()
    bench.follow()
    for _ in range(60):
        out = bench.step(bench.command(START + 0.1))
    assert state_of(out)[0] is Guard.FOLLOW
    np.testing.assert_allclose(out.position, np.minimum(START + 0.1, X5.position_max), atol=1e-9)


@pytest.mark.parametrize(("beyond", "reason"), [(-1e-6, Trip.NONE), (1e-6, Trip.JUMP)])
def test_an_absurd_jump_trips(beyond: float, reason: Trip) -> None:
    bench = Bench()
    bench.follow()
    position = START.copy()
    position[2] += V_STEP[2] + guardian.JUMP + beyond
    out = bench.step(bench.command(position))
    assert Trip(int(out.status["reason"])) is reason


@pytest.mark.parametrize(("ticks", "reason"), [(1, Trip.JUMP), (2, Trip.NONE)])
def test_skipped_ticks_explain_a_longer_step(ticks: int, reason: Trip) -> None:
    bench = Bench()
    bench.follow()
    bench.tick += ticks - 1
    position = START.copy()
    position[2] += 1.5 * V_STEP[2] + guardian.JUMP
    assert Trip(int(bench.step(bench.command(position)).status["reason"])) is reason


def test_a_skip_longer_than_a_command_lives_explains_no_more_than_its_life() -> None:
    bench = Bench()
    bench.follow()
    bench.tick += 1000
    position = START.copy()
    position[2] += 5 * V_STEP[2] + guardian.JUMP
    assert Trip(int(bench.step(bench.command(position)).status["reason"])) is Trip.JUMP


@pytest.mark.parametrize("field", ["position", "velocity"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_trips(field: str, bad: float) -> None:
    bench = Bench()
    bench.follow()
    command = bench.command(START)
    command[field][3] = bad
    out = bench.step(command)
    assert Trip(int(out.status["reason"])) is Trip.NOT_FINITE
    assert np.isfinite(out.position).all()


def test_the_other_arms_numbers_do_not_matter() -> None:
    bench = Bench()
    bench.follow()
    command = bench.command(START)
    command["position"][ARM_DOF:] = np.nan
    assert state_of(bench.step(command))[0] is Guard.FOLLOW


@pytest.mark.parametrize(("late_ns", "reason"), [(0, Trip.NONE), (1, Trip.EXPIRED)])
def test_a_command_expires_to_the_nanosecond(late_ns: int, reason: Trip) -> None:
    bench = Bench()
    bench.follow()
    t_ns = bench.now_ns - PERIOD_NS
    bench.now_ns = t_ns + TTL_NS + late_ns
    assert Trip(int(bench.step(None).status["reason"])) is reason


def test_a_command_that_claims_a_long_life_expires_all_the_same() -> None:
    bench = Bench()
    bench.follow()
    bench.step(bench.command(START, valid_until_ns=bench.now_ns + 10**12))
    for _ in range(6):
        out = bench.step(None)
    assert Trip(int(out.status["reason"])) is Trip.EXPIRED


def test_a_command_already_seen_is_not_fresh() -> None:
    bench = Bench()
    bench.follow()
    command = bench.command(START)
    for _ in range(7):
        out = bench.step(command)
    assert state_of(out)[0] is not Guard.FOLLOW


def test_an_expired_command_is_braked_from_within_limits_and_held() -> None:
    bench = Bench()
    step = np.array([0.01, -0.01, 0.01, 0.01, 0.01, 0.01, -0.002])
    out = bench.cruise(np.abs(step), 20)
    positions = [out.position]
    ticks = [out.servo_tick]
    for _ in range(60):
        out = bench.step(None)
        positions.append(out.position)
        ticks.append(out.servo_tick)
    assert state_of(out) == (Guard.HOLD, Trip.EXPIRED, 1)
    assert out.enabled
    kept = [i for i in range(1, len(ticks)) if ticks[i] > ticks[i - 1]]
    moved = np.array([positions[0], *(positions[i] for i in kept)])
    spans = np.diff([ticks[0], *(ticks[i] for i in kept)])
    velocity = np.diff(moved, axis=0) / spans[:, None]
    assert (np.abs(velocity) <= V_STEP * (1 + 1e-9)).all()
    spacing = (spans[1:] + spans[:-1])[:, None] / 2
    assert (np.abs(np.diff(velocity, axis=0) / spacing) <= A_STEP * (1 + 1e-9)).all()
    assert (positions[-1] == positions[-20]).all()


def test_a_missing_command_is_bridged_at_its_pace_and_a_late_one_taken_up() -> None:
    bench = Bench()
    out = bench.cruise(np.full(ARM_DOF, 0.002), 20)
    before = out.position
    pace = np.full(ARM_DOF, 0.002)
    late = bench.command(before + pace, pace / DT)
    assert (bench.step(None).position == before).all()  # a period after the last one: it may yet come
    np.testing.assert_allclose(bench.step(None).position, before + pace, atol=1e-12)
    bench.now_ns -= PERIOD_NS - 1
    out = bench.step(late)
    np.testing.assert_allclose(out.position, before + pace, atol=1e-12)
    assert state_of(out) == (Guard.FOLLOW, Trip.NONE, 0)


def test_a_brake_runs_in_real_time_however_often_it_is_stepped() -> None:
    ends = []
    for period_ns in (1 * NS_PER_MS, PERIOD_NS, 3 * PERIOD_NS):
        bench = Bench()
        bench.cruise(np.full(ARM_DOF, 0.01), 20)
        bench.now_ns += TTL_NS
        out, begun_ns = bench.step(None), bench.now_ns
        while state_of(out)[0] is Guard.BRAKE:
            bench.now_ns += period_ns - PERIOD_NS
            out = bench.step(None)
        ends.append((bench.now_ns - begun_ns, out.position))
    assert max(e[0] for e in ends) - min(e[0] for e in ends) <= 4 * PERIOD_NS
    for _, position in ends:
        np.testing.assert_allclose(position, ends[0][1], atol=1e-9)


def tripped() -> Bench:
    bench = Bench()
    bench.follow()
    for _ in range(12):
        out = bench.step(None)
    assert state_of(out) == (Guard.HOLD, Trip.EXPIRED, 1)
    return bench


@pytest.mark.parametrize(
    ("offset", "ack", "state"),
    [
        (0.0, 1, Guard.FOLLOW),
        (guardian.TAKE_UP - 1e-6, 1, Guard.FOLLOW),
        (guardian.TAKE_UP + 1e-6, 1, Guard.HOLD),
        (0.0, 0, Guard.HOLD),
        (0.0, 2, Guard.HOLD),
    ],
)
def test_it_follows_again_only_a_command_that_knows_of_the_trip_and_starts_there(
    offset: float, ack: int, state: Guard
) -> None:
    bench = tripped()
    held = bench.step(None).position
    out = bench.step(bench.command(held + offset, ack=(ack, 0)))
    assert state_of(out)[0] is state
    assert np.abs(out.position - held).max() <= A_STEP.max()


def test_a_held_arm_ignores_expired_commands() -> None:
    bench = tripped()
    out = bench.step(bench.command(START, ack=(1, 0), valid_until_ns=bench.now_ns - 1))
    assert state_of(out)[0] is Guard.HOLD


@pytest.mark.parametrize("trouble", ["fault", "stale"])
def test_a_device_in_trouble_brakes_into_fault_and_comes_back_to_hold(trouble: str) -> None:
    bench = Bench()
    bench.cruise(np.full(ARM_DOF, 0.01), 20)
    bench.state["fault"] = int(trouble == "fault")
    age_ns = STALE_NS + 1 if trouble == "stale" else 0
    for i in range(40):
        out = bench.step(bench.command(bench.state["position"], ack=(1, 0)), age_ns=age_ns)
        assert out.enabled
        assert state_of(out)[0] in {Guard.BRAKE, Guard.FAULT}, i
    assert state_of(out) == (Guard.FAULT, Trip.DEVICE, 1)
    bench.state["fault"] = 0
    assert state_of(bench.step(None))[0] is Guard.HOLD


@pytest.mark.parametrize(
    ("apart", "joint", "reason"),
    [
        (guardian.TRACKING_RAD + 1e-6, 1, Trip.TRACKING),
        (guardian.TRACKING_RAD - 1e-6, 1, Trip.NONE),
        (0.9, ARM_GRIPPER, Trip.NONE),
    ],
)
def test_lost_tracking_trips_after_a_while(apart: float, joint: int, reason: Trip) -> None:
    bench = Bench()
    bench.follow()
    bench.state["position"] = START
    bench.state["position"][joint] -= apart
    steps = guardian.TRACKING_NS // PERIOD_NS
    for _ in range(steps):
        out = bench.step(bench.command(START), follow=False)
        assert state_of(out)[0] is Guard.FOLLOW
    out = bench.step(bench.command(START), follow=False)
    assert Trip(int(out.status["reason"])) is reason


def test_torque_is_given_up_at_the_rest_pose_and_nowhere_else() -> None:
    bench = Bench(start=X5.home_array)
    bench.follow(X5.home_array)
    assert not bench.step(bench.command(X5.home_array, armed=0)).enabled
    away = Bench(start=START + 0.3)
    away.follow(START + 0.3)
    for _ in range(20):
        out = away.step(away.command(START + 0.3, armed=0))
        assert out.enabled
    assert state_of(out) == (Guard.HOLD, Trip.EXPIRED, 1)
    assert out.enabled


def test_an_arm_that_is_let_go_in_motion_is_braked_and_not_stopped_dead() -> None:
    bench = Bench()
    position = bench.cruise(0.01 * (np.arange(ARM_DOF) == 0), 60).position
    last = np.array(bench.core._stepper.step)
    assert last[0] == pytest.approx(0.01)
    for _ in range(20):
        out = bench.step(bench.command(position, armed=0))
        step = out.position - position
        assert (np.abs(step - last) <= A_STEP * (1 + 1e-6)).all()
        position, last = out.position, step
    assert state_of(out) == (Guard.HOLD, Trip.EXPIRED, 1)


def test_a_held_arm_at_the_rest_pose_may_be_disarmed() -> None:
    bench = Bench(start=X5.home_array)
    bench.follow(X5.home_array)
    for _ in range(12):
        bench.step(None)
    assert bench.step(bench.command(X5.home_array)).enabled
    assert not bench.step(bench.command(X5.home_array, armed=0)).enabled


def test_a_brake_near_a_position_limit_stops_at_it() -> None:
    high = np.array(X5.position_max)
    start = np.minimum(high - 0.02, 0.98)
    start[ARM_GRIPPER] = 0.5
    bench = Bench(start=start)
    bench.follow(start)
    for i in range(1, 60):
        bench.step(bench.command(start + 0.001 * i * i, 0.002 * i / DT, armed=1))
        if bench.out is not None and state_of(bench.out)[0] is not Guard.FOLLOW:
            break
    for _ in range(60):
        out = bench.step(None)
        assert (out.position <= high).all()
    assert state_of(out)[0] is Guard.HOLD


def test_the_status_says_which_command_it_answers() -> None:
    bench = Bench()
    out = bench.step(bench.command(START, seq=41))
    assert (int(out.status["seq"]), int(out.status["command_seq"])) == (1, 41)
    np.testing.assert_array_equal(out.status["target"], out.position)
    assert int(out.status["t_ns"]) == bench.now_ns - PERIOD_NS
