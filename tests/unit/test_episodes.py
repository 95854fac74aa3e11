"""Promises of the operator's sequence: engage only a laid-out task, count each episode once, end in HOLD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.clock import NS_PER_S
from runtime.episodes import CLEAR_NS, ENGAGE_NS, OFFER_NS, SETTLE_NS, Episodes, Phase, Sight
from runtime.states import Mode
from runtime.supervisor import Supervisor
from tests.unit import recorded

START = Episodes(end_ns=60 * NS_PER_S, limit_ns=10 * NS_PER_S, judged=True)
PARKED = Sight(now_ns=0, mode=Mode.PARK, at_rest=True, episode=0, outcome=None, link_ready=True)


def running(now_ns: int = 0) -> Episodes:
    episodes = START.step(PARKED).step(replace(PARKED, episode=1))
    assert episodes.phase is Phase.ENGAGE
    return episodes.step(replace(PARKED, episode=1, now_ns=now_ns, mode=Mode.POLICY))


def test_a_run_begins_by_parking() -> None:
    assert START.want is Mode.PARK
    moving = replace(PARKED, at_rest=False)
    assert START.step(moving) is START


def test_the_policy_is_not_asked_for_before_the_task_is_laid_out() -> None:
    laying = START.step(PARKED)
    assert laying.phase is Phase.LAY_OUT
    assert laying.episode == 1
    assert laying.step(PARKED) is laying
    assert laying.want is Mode.PARK


def test_the_policy_is_not_asked_for_before_the_server_is_ready() -> None:
    laying = START.step(PARKED)
    assert laying.step(replace(PARKED, episode=1, link_ready=False)) is laying


def test_engaging_waits_for_the_control_process_to_be_in_policy() -> None:
    engaging = START.step(PARKED).step(replace(PARKED, episode=1))
    assert engaging.want is Mode.POLICY
    assert engaging.phase is Phase.ENGAGE


def test_a_success_is_counted_once_and_leads_back_to_park() -> None:
    won = running().step(replace(PARKED, mode=Mode.POLICY, outcome=True, now_ns=5))
    assert (won.successes, won.failures, won.want) == (1, 0, Mode.HOLD)
    later = won.step(replace(PARKED, mode=Mode.HOLD, outcome=True, now_ns=5 + SETTLE_NS))
    assert (later.phase, later.want, later.successes) == (Phase.PARK, Mode.PARK, 1)


def test_an_episode_that_takes_too_long_has_failed() -> None:
    late = running().step(replace(PARKED, mode=Mode.POLICY, now_ns=10 * NS_PER_S + 1))
    assert (late.successes, late.failures) == (0, 1)


def test_leaving_the_policy_ends_a_simulated_episode_as_failed() -> None:
    assert running().step(replace(PARKED, mode=Mode.HOLD)).failures == 1


def test_a_fault_is_acknowledged_only_while_parking_a_simulated_rig() -> None:
    faulted = replace(PARKED, mode=Mode.FAULT)
    settling = running().step(faulted)
    assert settling.clear == 0
    parking = settling.step(replace(faulted, now_ns=SETTLE_NS))
    assert parking.step(replace(faulted, now_ns=SETTLE_NS + CLEAR_NS)).clear == 0
    assert parking.step(replace(faulted, now_ns=SETTLE_NS + CLEAR_NS + 1)).clear == 1
    assert replace(parking, judged=False).step(replace(faulted, now_ns=SETTLE_NS + CLEAR_NS + 1)).clear == 0


def test_a_fault_on_the_way_into_policy_sends_a_simulated_rig_back_to_its_rest_pose() -> None:
    engaging = START.step(PARKED).step(replace(PARKED, episode=1))
    again = engaging.step(replace(PARKED, episode=1, mode=Mode.FAULT))
    assert (again.phase, again.want) == (Phase.PARK, Mode.PARK)


def test_a_first_chunk_that_never_comes_is_not_waited_for_forever() -> None:
    engaging = START.step(PARKED).step(replace(PARKED, episode=1))
    waiting = replace(PARKED, episode=1, mode=Mode.HOLD)
    assert engaging.step(replace(waiting, now_ns=ENGAGE_NS)) is engaging
    assert engaging.step(replace(waiting, now_ns=ENGAGE_NS + 1)).phase is Phase.PARK


def test_on_a_real_rig_nothing_moves_again_by_itself_after_the_policy_was_left() -> None:
    start = replace(START, judged=False)
    episodes = start.step(PARKED).step(PARKED).step(replace(PARKED, mode=Mode.POLICY))
    assert episodes.phase is Phase.RUN
    over = episodes.step(replace(PARKED, mode=Mode.FAULT))
    assert over.over
    assert over.want is Mode.HOLD


def test_a_run_of_a_wanted_number_of_episodes_ends_with_the_last() -> None:
    won = replace(running(), wanted=1).step(replace(PARKED, mode=Mode.POLICY, outcome=True, now_ns=5))
    assert not won.over
    over = won.step(replace(PARKED, mode=Mode.HOLD, outcome=True, now_ns=6))
    assert over.over
    assert (over.successes, over.want) == (1, Mode.HOLD)


def test_an_undecided_episode_at_the_end_counts_neither_way() -> None:
    over = running().step(replace(PARKED, mode=Mode.POLICY, now_ns=60 * NS_PER_S))
    assert over.over
    assert (over.want, over.successes, over.failures) == (Mode.HOLD, 0, 0)
    assert over.step(PARKED) is over


def test_an_episode_decided_in_the_last_moment_counts() -> None:
    over = running().step(replace(PARKED, mode=Mode.POLICY, outcome=True, now_ns=60 * NS_PER_S))
    assert over.successes == 1


def test_a_person_who_leads_is_left_alone_until_they_start_the_policy_again() -> None:
    led = running().step(replace(PARKED, mode=Mode.HANDOVER, now_ns=5))
    assert (led.phase, led.want) == (Phase.OFFER, Mode.HOLD)
    given_back = led.step(replace(PARKED, mode=Mode.HOLD, now_ns=6))
    assert given_back is led
    again = given_back.step(replace(PARKED, mode=Mode.POLICY, now_ns=7))
    assert (again.phase, again.want, again.failures) == (Phase.RUN, Mode.POLICY, 0)


def test_an_episode_is_timed_from_its_first_chunk_whoever_had_the_arms_in_between(tmp_path: Path) -> None:
    led = running(now_ns=2).step(replace(PARKED, mode=Mode.TELEOP, now_ns=5))
    again = led.step(replace(PARKED, mode=Mode.POLICY, now_ns=7))
    sight = replace(PARKED, mode=Mode.POLICY, outcome=True, now_ns=9)
    won = again.step(sight)
    board = recorded.make_board(tmp_path)
    Supervisor(board.spec, lambda _: None, lambda _: None)._judge(board, again, won, sight)
    assert float(board["episode_end"].latest()["policy_s"]) == pytest.approx(7 / NS_PER_S)
    assert [state.began_ns for state in (led, again, won)] == [2, 2, 2]
    following = won.step(replace(PARKED, now_ns=9 + SETTLE_NS)).step(replace(PARKED, now_ns=10 + SETTLE_NS))
    assert (following.phase, following.began_ns) == (Phase.LAY_OUT, 0)
    assert following.step(replace(PARKED, mode=Mode.TELEOP, now_ns=11 + SETTLE_NS)).began_ns == 11 + SETTLE_NS


def test_where_a_person_could_lead_a_policy_that_ends_is_offered_before_the_episode_counts() -> None:
    offered = replace(running(), leaders=True).step(replace(PARKED, mode=Mode.HOLD, now_ns=5))
    assert (offered.phase, offered.failures) == (Phase.OFFER, 0)
    assert offered.step(replace(PARKED, mode=Mode.HOLD, now_ns=5 + OFFER_NS)) is offered
    over = offered.step(replace(PARKED, mode=Mode.HOLD, now_ns=6 + OFFER_NS))
    assert (over.phase, over.failures) == (Phase.SETTLE, 1)
    real = replace(offered, judged=False)
    assert real.step(replace(PARKED, mode=Mode.HOLD, now_ns=30 * NS_PER_S)) is real
