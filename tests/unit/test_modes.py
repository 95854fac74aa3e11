"""Promises of the mode machine: what the operator must do, and what never happens by itself."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.control.modes import ModeState, Situation, step
from runtime.faults import BIT
from runtime.states import Mode

CALM = Situation(
    want=Mode.HOLD,
    clear=0,
    faults=0,
    armable=True,
    following=True,
    at_rest=True,
    at_home=False,
    chunk=False,
)
HOLD = ModeState(mode=Mode.HOLD, want=Mode.HOLD, clear=0)
POLICY = ModeState(mode=Mode.POLICY, epoch=3, engaged=True, want=Mode.POLICY, clear=0)


def replace(seen: Situation, **changes: Any) -> Situation:
    return seen._replace(**changes)


WISH = replace(CALM, want=Mode.POLICY)


def after(state: ModeState, *seen: Situation) -> ModeState:
    for situation in seen:
        state = step(state, situation)
    return state


def test_arms_are_armed_into_hold_whatever_is_wanted() -> None:
    assert after(ModeState(), WISH).mode is Mode.HOLD
    assert after(ModeState(), replace(CALM, want=Mode.DISARMED)).mode is Mode.DISARMED
    assert after(ModeState(), replace(WISH, armable=False)).mode is Mode.DISARMED


def test_engaging_opens_a_new_epoch_and_waits_in_hold_for_its_first_chunk() -> None:
    engaged = after(HOLD, WISH)
    assert (engaged.mode, engaged.engaged, engaged.epoch, engaged.started) == (Mode.HOLD, True, 1, False)
    assert after(engaged, WISH) == engaged
    running = after(engaged, replace(WISH, chunk=True))
    assert (running.mode, running.epoch, running.started) == (Mode.POLICY, 1, True)


@pytest.mark.parametrize("missing", [{"at_rest": False}, {"following": False}])
def test_nothing_engages_while_the_arms_move_or_do_not_follow(missing: dict[str, bool]) -> None:
    assert not after(HOLD, replace(WISH, **missing)).engaged


@pytest.mark.parametrize("name", ["starved", "chunks_jump", "control_paused", "overrun", "control_restarted"])
def test_a_fault_that_holds_ends_policy_until_the_operator_acts(name: str) -> None:
    stopped = after(POLICY, replace(WISH, faults=BIT[name]), WISH, WISH)
    assert (stopped.mode, stopped.engaged, stopped.latched) == (Mode.HOLD, False, BIT[name])
    toggled = after(stopped, CALM, WISH)
    assert (toggled.engaged, toggled.epoch, toggled.latched) == (True, 4, 0)
    cleared = after(stopped, replace(WISH, clear=1))
    assert (cleared.engaged, cleared.epoch) == (True, 4)


@pytest.mark.parametrize("name", ["guardian_lost", "arm_silent", "device_fault", "tracking_lost", "command_refused"])
def test_a_fault_that_brakes_needs_the_operator_to_clear_it(name: str) -> None:
    broken = after(POLICY, replace(WISH, faults=BIT[name]))
    assert (broken.mode, broken.engaged) == (Mode.FAULT, False)
    assert after(broken, CALM, WISH, replace(CALM, want=Mode.PARK)).mode is Mode.FAULT
    assert after(broken, replace(CALM, clear=1)).mode is Mode.HOLD
    assert after(broken, replace(CALM, clear=1, faults=BIT[name])).mode is Mode.FAULT


def test_a_note_or_a_dropped_chunk_changes_no_mode() -> None:
    assert after(POLICY, replace(WISH, faults=BIT["server_lost"] | BIT["chunk_stale"])) == POLICY


def test_the_first_clear_count_seen_acknowledges_nothing() -> None:
    armed = after(ModeState(), replace(CALM, clear=7, faults=BIT["control_restarted"]))
    assert armed.latched == BIT["control_restarted"]
    assert after(armed, replace(CALM, clear=7)).latched == BIT["control_restarted"]
    assert after(armed, replace(CALM, clear=8)).latched == 0


def test_a_restarted_control_process_does_not_engage_by_itself() -> None:
    restarted = replace(WISH, faults=BIT["control_restarted"])
    assert not after(ModeState(), restarted, WISH, WISH).engaged


def test_the_operator_takes_policy_back_at_once() -> None:
    stopped = after(POLICY, CALM)
    assert (stopped.mode, stopped.engaged, stopped.epoch) == (Mode.HOLD, False, 3)


def test_park_is_entered_from_hold_and_from_policy_and_engages_from_rest() -> None:
    park = replace(CALM, want=Mode.PARK)
    assert after(HOLD, park).mode is Mode.PARK
    assert after(HOLD, replace(park, following=False)).mode is Mode.HOLD
    parked = after(POLICY, park)
    assert (parked.mode, parked.engaged) == (Mode.PARK, False)
    assert after(parked, replace(WISH, at_rest=False)).mode is Mode.PARK
    assert after(parked, WISH).mode is Mode.HOLD
    assert after(parked, WISH).engaged


def test_a_fault_stops_park() -> None:
    parking = ModeState(mode=Mode.PARK, want=Mode.PARK, clear=0)
    park = replace(CALM, want=Mode.PARK)
    assert after(parking, replace(park, faults=BIT["control_paused"]), park).mode is Mode.HOLD


def test_torque_is_given_up_at_the_rest_pose_only() -> None:
    disarm = replace(CALM, want=Mode.DISARMED)
    assert after(HOLD, disarm).mode is Mode.HOLD
    assert after(HOLD, replace(disarm, at_home=True)).mode is Mode.DISARMED
    assert after(POLICY, disarm).mode is Mode.HOLD


@pytest.mark.parametrize("mode", [Mode.POLICY, Mode.TELEOP, Mode.HANDOVER])
def test_a_motion_that_has_only_just_begun_ends_in_hold_before_torque_is_given_up(mode: Mode) -> None:
    """At its first tick a plan that begins at the rest pose has moved nothing yet."""
    moving = ModeState(mode=mode, epoch=3, engaged=mode is Mode.POLICY, want=Mode.POLICY, clear=0)
    disarm = replace(CALM, want=Mode.DISARMED, at_home=True, chunk=True)
    held = after(moving, disarm)
    assert (held.mode, held.engaged) == (Mode.HOLD, False)
    assert after(held, disarm).mode is Mode.DISARMED


def test_the_arms_are_armed_in_every_mode_but_one() -> None:
    assert [mode for mode in Mode if not ModeState(mode=mode).armed] == [Mode.DISARMED]


def test_who_waits_for_the_first_chunk_waits_no_more_when_the_operator_wants_it_no_more() -> None:
    engaged = after(HOLD, WISH)
    assert engaged.engaged
    assert not after(engaged, CALM).engaged


def test_a_fault_that_holds_is_latched_in_hold_too_and_bars_the_policy() -> None:
    held = after(HOLD, replace(CALM, faults=BIT["overrun"]))
    assert (held.mode, held.latched) == (Mode.HOLD, BIT["overrun"])
    more = after(held, replace(CALM, faults=BIT["starved"]))
    assert more.latched == BIT["overrun"] | BIT["starved"]


TAKEN = replace(WISH, taken=True, led=True)


@pytest.mark.parametrize("state", [HOLD, POLICY, ModeState(mode=Mode.PARK, want=Mode.PARK, clear=0)])
def test_the_clutch_takes_the_arms_in_one_step_and_ends_the_epoch(state: ModeState) -> None:
    led = after(state, replace(TAKEN, want=state.want))
    assert (led.mode, led.engaged) == (Mode.HANDOVER, False)
    assert after(led, replace(TAKEN, want=state.want, matched=True)).mode is Mode.TELEOP


def test_after_the_clutch_only_a_fresh_wish_starts_the_policy_under_a_new_epoch() -> None:
    given_back = after(POLICY, TAKEN, WISH, WISH)
    assert (given_back.mode, given_back.engaged) == (Mode.HOLD, False)
    for renewed in (replace(WISH, fresh=True), replace(WISH, clear=1)):
        again = after(given_back, renewed)
        assert (again.engaged, again.epoch) == (True, POLICY.epoch + 1)
    assert after(given_back, CALM, WISH).engaged


def test_a_wish_given_while_the_clutch_is_held_counts_for_nothing() -> None:
    assert not after(POLICY, TAKEN, replace(TAKEN, fresh=True), WISH, WISH).engaged


@pytest.mark.parametrize("name", ["starved", "chunks_jump", "chunks_late", "distrusted"])
def test_a_policy_that_fails_at_the_same_tick_does_not_stand_in_the_clutch_s_way(name: str) -> None:
    led = after(POLICY, replace(TAKEN, faults=BIT[name]))
    assert (led.mode, led.latched) == (Mode.HANDOVER, 0)


def test_a_refused_leader_still_ends_the_policy() -> None:
    refused = after(POLICY, replace(WISH, taken=True, faults=BIT["leader_apart"]))
    assert (refused.mode, refused.engaged) == (Mode.HOLD, False)


def test_a_lost_leader_holds_and_the_next_clutch_goes_on() -> None:
    lost = after(POLICY, TAKEN, replace(WISH, taken=True, faults=BIT["leader_lost"]))
    assert (lost.mode, lost.latched) == (Mode.HOLD, BIT["leader_lost"])
    assert after(lost, WISH, WISH).mode is Mode.HOLD
    led = after(lost, WISH, TAKEN)
    assert (led.mode, led.latched) == (Mode.HANDOVER, 0)


def test_nobody_leads_broken_or_disarmed_arms() -> None:
    assert after(POLICY, replace(TAKEN, faults=BIT["device_fault"])).mode is Mode.FAULT
    assert after(ModeState(), replace(TAKEN, want=Mode.DISARMED)).mode is Mode.DISARMED
