"""Promises of a guardian about its own pauses: what it slept through is not made up for in one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime import records
from runtime.arms import X5
from runtime.control.guardian import GuardianCore
from runtime.drivers.sim.audit import LimitAudit
from runtime.layout import ARM_DOF
from runtime.shm import blank
from runtime.states import Guard, Trip

PERIOD_NS = 5_000_000
SPEED_RAD_S = 3.0


def at(tick: int) -> int:
    return 1_000_000_000 + tick * PERIOD_NS


def command(tick: int, position: np.ndarray, velocity: np.ndarray) -> Any:
    record = blank(records.JOINT_COMMAND)
    record["seq"] = record["servo_tick"] = tick
    record["t_ns"], record["valid_until_ns"] = at(tick), at(tick) + 4 * PERIOD_NS
    record["position"][:ARM_DOF], record["velocity"][:ARM_DOF] = position, velocity
    record["armed"] = 1
    return record


def state(tick: int, position: np.ndarray) -> Any:
    record = blank(records.ARM_STATE)
    record["t_ns"], record["position"] = at(tick), position
    return record


def moving(ticks: int) -> tuple[GuardianCore, np.ndarray]:
    """A guardian that follows the first joint up to speed, and the last position it sent."""
    core = GuardianCore(X5, 0, PERIOD_NS, 4 * PERIOD_NS, 12 * PERIOD_NS)
    position, velocity = X5.home_array.copy(), np.zeros(ARM_DOF)
    for tick in range(1, ticks):
        velocity[0] = min(velocity[0] + 0.1, SPEED_RAD_S)
        position = position + velocity * PERIOD_NS / 1e9
        output = core.step(at(tick), command(tick, position, velocity), state(tick, position))
    assert Guard(int(output.status["state"])) is Guard.FOLLOW
    return core, output.position


@pytest.mark.parametrize("asleep", [5, 20, 100])
def test_after_its_own_pause_a_guardian_holds_instead_of_catching_up(asleep: int) -> None:
    core, last = moving(60)
    tick = 60 + asleep
    ahead = last.copy()
    ahead[0] += 0.1
    output = core.step(at(tick), command(tick, ahead, np.zeros(ARM_DOF)), state(tick, last))
    np.testing.assert_array_equal(output.position, last)
    assert int(output.status["reason"]) == Trip.EXPIRED


@pytest.mark.parametrize("asleep", [13, 20, 100])
def test_a_standstill_of_the_machine_is_no_violation_at_the_device(asleep: int) -> None:
    """Everything stands still at once, the arm with it; the ticks that passed meanwhile have passed."""
    core, audit = GuardianCore(X5, 0, PERIOD_NS, 12 * PERIOD_NS, 200 * PERIOD_NS), LimitAudit(X5, PERIOD_NS / 1e9)
    position, velocity = X5.home_array.copy(), np.zeros(ARM_DOF)
    for tick in range(1, 60):
        velocity[0] = min(velocity[0] + 0.1, SPEED_RAD_S)
        position = position + velocity * PERIOD_NS / 1e9
        output = core.step(at(tick), command(tick, position, velocity), state(tick, position))
        audit.check(output.servo_tick, output.position)
    for tick in range(60 + asleep, 120 + asleep):
        output = core.step(at(tick), None, state(tick, output.position))
        audit.check(output.servo_tick, output.position)
    assert Guard(int(output.status["state"])) is Guard.HOLD
    assert audit.violations == 0


@pytest.mark.parametrize("asleep", [5, 20, 100])
def test_a_pause_in_the_middle_of_a_brake_ends_it_where_the_arm_is(asleep: int) -> None:
    core, _ = moving(60)
    braking = core.step(at(65), None, state(65, X5.home_array))
    assert Guard(int(braking.status["state"])) in {Guard.BRAKE, Guard.HOLD}
    output = core.step(at(65 + asleep), None, state(65 + asleep, braking.position))
    assert np.abs(output.position - braking.position).max() <= X5.velocity_max[0] * PERIOD_NS / 1e9
    assert output.servo_tick == braking.servo_tick + asleep


@pytest.mark.parametrize("asleep", [4.1, 4.9, 5.0, 6.5, 8.0, 8.9, 9.0])
def test_a_pause_just_beyond_a_commands_life_is_no_violation_at_the_device(asleep: float) -> None:
    """The device held the last target meanwhile; whoever counts ticks must be able to tell that from a motion."""
    core, audit = GuardianCore(X5, 0, PERIOD_NS, 4 * PERIOD_NS, 200 * PERIOD_NS), LimitAudit(X5, PERIOD_NS / 1e9, 4)
    position, velocity = X5.home_array.copy(), np.zeros(ARM_DOF)
    for tick in range(1, 60):
        velocity[0] = min(velocity[0] + 0.1, SPEED_RAD_S)
        position = position + velocity * PERIOD_NS / 1e9
        output = core.step(at(tick), command(tick, position, velocity), state(tick, position))
        audit.check(output.servo_tick, output.position)
    assert velocity[0] == SPEED_RAD_S
    woken_ns = at(59) + round(asleep * PERIOD_NS)
    for step in range(60):
        output = core.step(woken_ns + step * PERIOD_NS, None, state(70 + step, output.position))
        audit.check(output.servo_tick, output.position)
    assert Guard(int(output.status["state"])) is Guard.HOLD
    assert audit.violations == 0


@pytest.mark.parametrize("asleep", [1.2, 2.0, 2.9, 3.9])
def test_a_pause_shorter_than_a_commands_life_is_caught_up_with_a_tick_of_motion_at_a_time(asleep: float) -> None:
    """A device sees one target after the other, however long each took to come."""
    core, last = moving(60)
    audit = LimitAudit(X5, PERIOD_NS / 1e9)
    step = SPEED_RAD_S * PERIOD_NS / 1e9
    goal, missed = last.copy(), int(asleep)
    positions, pace = [last], np.zeros(ARM_DOF)
    pace[0] = SPEED_RAD_S
    for tick in range(59 + missed, 100 + missed):
        goal[0] = last[0] + step * (tick - 59)
        late_ns = round((asleep - missed) * PERIOD_NS) if tick == 59 + missed else 0
        fed = state(tick, positions[-1])
        fed["t_ns"] += late_ns
        output = core.step(at(tick) + late_ns, command(tick, goal, pace), fed)
        positions.append(output.position)
    assert Guard(int(output.status["state"])) is Guard.FOLLOW
    for i, position in enumerate(positions):
        assert audit.check(i, position), i
    np.testing.assert_allclose(output.position, goal, atol=1e-12)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_brake_is_played_a_tick_of_motion_at_a_time_however_seldom_it_is_stepped(every: int) -> None:
    core, last = moving(60)
    audit = LimitAudit(X5, PERIOD_NS / 1e9)
    positions = [last]
    for tick in range(64, 64 + 80 * every, every):
        output = core.step(at(tick), None, state(tick, positions[-1]))
        positions.append(output.position)
    assert Guard(int(output.status["state"])) is Guard.HOLD
    for i, position in enumerate(positions):
        assert audit.check(i, position), i


@pytest.mark.parametrize(("age", "begins"), [(0.0, True), (1.49, True), (1.5, False), (10.0, False)])
@pytest.mark.parametrize("held", [False, True])
def test_no_motion_begins_on_a_command_that_is_overdue(age: float, begins: bool, held: bool) -> None:
    core, acks = GuardianCore(X5, 0, PERIOD_NS, 12 * PERIOD_NS, 200 * PERIOD_NS), 0
    position, still = X5.home_array.copy(), np.zeros(ARM_DOF)
    if held:
        core.step(at(1), command(1, position, still), state(1, position))
        for tick in range(2, 40):
            core.step(at(tick), None, state(tick, position))
        acks = 1
    newest = command(50, position, still)
    newest["valid_until_ns"], newest["ack"] = at(62), acks
    output = core.step(at(50) + round(age * PERIOD_NS), newest, state(50, position))
    assert (Guard(int(output.status["state"])) is Guard.FOLLOW) is begins


def test_a_guardian_that_comes_back_to_an_overdue_command_makes_no_leap_when_the_next_one_comes() -> None:
    """The control process stands still while a guardian is killed and restarted, then both go on."""
    core, audit = GuardianCore(X5, 0, PERIOD_NS, 12 * PERIOD_NS, 200 * PERIOD_NS), LimitAudit(X5, PERIOD_NS / 1e9)
    held, velocity = X5.home_array.copy(), np.zeros(ARM_DOF)
    velocity[0] = 1.0
    last = command(10, held + 0.01 * velocity, velocity)
    last["valid_until_ns"] = at(22)
    position, steps = held, 0
    for tick in range(20, 40):
        newest = last if tick < 22 else command(tick, held + 0.02 * velocity, 0.0 * velocity)
        output = core.step(at(tick), newest, state(tick, position))
        if output.enabled:
            # By the device's own clock, whatever tick the guardian says it is.
            position, steps = output.position, steps + 1
            assert audit.check(tick, position)
    assert steps == 18
