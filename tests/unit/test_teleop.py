"""Promises of leading the arms: match before coupling, what is refused, what ends it, who is obeyed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime import records
from runtime.control.chase import Track
from runtime.control.wishes import SILENT_NS, Wishes
from runtime.faults import BIT
from runtime.shm import blank
from runtime.states import Mode, Source
from tests.fake_rig import FakeRig
from tests.unit.test_core import running

BOTH = [True, True]
NOBODY = [False, False]


def standing(offset: float = 0.2) -> FakeRig:
    """A rig that holds, its leaders there and their clutches open."""
    rig = FakeRig()
    rig.run(20)
    return leading(rig, offset)


def leading(rig: FakeRig, offset: float) -> FakeRig:
    rig.leader["seq"] = 1
    rig.leader_position = rig.position + offset * np.array([1, 1, 1, 1, 1, 1, 0] * 2)
    rig.run(1)
    return rig


def led(offset: float = 0.2) -> FakeRig:
    rig = standing(offset)
    rig.clutch = list(BOTH)
    rig.run(150)
    assert rig.mode is Mode.TELEOP
    return rig


def faults(rig: FakeRig) -> int:
    return int(rig.last.tick["faults"])


def test_arms_approach_slowly_couple_and_follow() -> None:
    rig = standing()
    rig.clutch = list(BOTH)
    rig.run(1)
    assert (rig.mode, rig.last.command["source"], int(rig.last.tick["led"])) == (Mode.HANDOVER, Source.TELEOP, 3)
    first = len(rig.outputs)
    rig.run(150)
    assert rig.mode is Mode.TELEOP
    fastest = max(np.abs(o.command["velocity"]).max() for o in rig.outputs[first:])
    assert fastest <= 0.2 * 0.9 * 5.5 + 1e-9
    np.testing.assert_allclose(rig.position, rig.leader_position, atol=1e-4)
    assert not any(int(o.command["limited"]) for o in rig.outputs[first:])


def test_a_leader_that_matches_couples_at_once() -> None:
    rig = standing(0.0)
    rig.clutch = list(BOTH)
    rig.run(1)
    assert rig.mode is Mode.TELEOP


@pytest.mark.parametrize(("offset", "refused"), [(1.15, False), (1.25, True)])
def test_a_leader_too_far_away_is_refused_and_the_arm_holds(offset: float, refused: bool) -> None:
    rig = standing(0.0)
    rig.leader_position[0] = rig.position[0] + offset
    rig.clutch = [True, False]
    held = rig.position.copy()
    rig.run(1)
    assert bool(faults(rig) & BIT["leader_apart"]) is refused
    assert rig.mode is (Mode.HOLD if refused else Mode.HANDOVER)
    rig.run(30)
    assert np.array_equal(rig.position, held) is refused


def test_a_leader_outside_its_arm_s_limits_does_not_take_over() -> None:
    rig = standing(0.0)
    rig.leader_position[5] = 2.3
    rig.position[5] = 1.9
    rig.clutch = list(BOTH)
    rig.run(1)
    assert faults(rig) & BIT["leader_apart"]


def test_a_clutch_that_is_held_from_the_start_takes_nothing() -> None:
    rig = FakeRig()
    rig.clutch = list(BOTH)
    rig.run(60)
    assert rig.mode is Mode.HOLD
    assert int(rig.last.tick["led"]) == 0


@pytest.mark.parametrize("how", ["silent", "invalid", "nan"])
def test_a_lost_leader_brakes_both_arms_within_50_ms_until_the_clutch_is_pressed_anew(how: str) -> None:
    rig = led()
    for _ in range(40):
        rig.leader_position = rig.leader_position + 0.002
        rig.run(1)
    assert np.abs(rig.last.command["velocity"]).max() > 0.3
    match how:
        case "silent":
            rig.leader_silent = True
        case "invalid":
            rig.leader_valid = [True, False]
        case _:
            rig.leader_position[3] = np.nan
    rig.run(9)
    assert (rig.mode, bool(faults(rig) & BIT["leader_lost"])) == (Mode.HOLD, True)
    rig.run(60)
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    rig.leader_silent, rig.leader_valid = False, [True, True]
    leading(rig, 0.0)
    rig.run(40)
    assert rig.mode is Mode.HOLD, "the clutch was never released"
    rig.clutch = list(NOBODY)
    rig.run(1)
    rig.clutch = list(BOTH)
    rig.run(1)
    assert rig.mode is Mode.TELEOP
    assert rig.violations == 0


def test_a_leader_put_far_away_is_let_go_and_one_put_a_little_away_is_approached() -> None:
    rig = led()
    rig.leader_position[0] += 0.5
    rig.run(2)
    assert rig.mode is Mode.HANDOVER
    rig.run(150)
    assert rig.mode is Mode.TELEOP
    rig.leader_position[0] -= 2.0
    rig.run(2)
    assert (rig.mode, bool(faults(rig) & BIT["leader_apart"])) == (Mode.HOLD, True)
    assert rig.violations == 0


def test_one_arm_goes_on_when_the_other_is_given_back() -> None:
    rig = led()
    rig.clutch = [True, False]
    rig.run(20)
    assert (rig.mode, int(rig.last.tick["led"])) == (Mode.TELEOP, 1)
    rig.clutch = list(NOBODY)
    rig.run(1)
    assert rig.mode is Mode.HOLD


def test_the_clutch_ends_the_policy_at_once_and_its_chunks_are_void() -> None:
    rig = leading(running(), 0.1)
    epoch = int(rig.last.view["epoch"])
    rig.clutch = list(BOTH)
    rig.run(1, (rig.answer(np.tile(rig.position, (50, 1)), age=5),))
    assert (rig.mode, int(rig.last.view["engaged"])) == (Mode.HANDOVER, 0)
    rig.run(100)
    rig.clutch = list(NOBODY)
    rig.run(100)
    assert (rig.mode, int(rig.last.view["engaged"])) == (Mode.HOLD, 0)
    held = rig.position.copy()
    rig.press(Mode.POLICY)
    rig.run(1)
    assert (int(rig.last.view["engaged"]), int(rig.last.view["epoch"])) == (1, epoch + 1)
    rig.run(40, (rig.answer(np.tile(rig.position + 0.2, (50, 1)), epoch=epoch),))
    np.testing.assert_array_equal(rig.position, held)
    assert rig.mode is Mode.HOLD


def test_a_policy_that_is_distrusted_holds_and_the_clutch_takes_over() -> None:
    rig = leading(running(), 0.05)
    rig.distrusted = True
    rig.run(1)
    assert (rig.mode, bool(faults(rig) & BIT["distrusted"])) == (Mode.HOLD, True)
    rig.clutch = list(BOTH)
    rig.run(1)
    assert rig.mode in {Mode.HANDOVER, Mode.TELEOP}


def test_a_stop_from_a_leader_ends_its_own_lead_and_stands_against_the_operator() -> None:
    rig = led()
    rig.press(Mode.HOLD)
    rig.run(40)
    assert rig.mode is Mode.HOLD
    rig.clutch = list(NOBODY)
    rig.want = Mode.POLICY
    rig.run(60)
    assert not rig.last.view["engaged"]
    rig.press(Mode.POLICY)
    rig.run(2)
    assert rig.last.view["engaged"]


def records_of(
    want: Mode, clear: int = 0, *, pressed: tuple[Mode, int, int] = (Mode.DISARMED, 0, 0)
) -> tuple[Any, Any]:
    operator: Any = blank(records.OPERATOR)
    operator["want"], operator["clear"] = want, clear
    leader: Any = blank(records.LEADER)
    leader["want"], leader["wants"], leader["clear"] = pressed
    return operator, leader


def test_the_newer_wish_counts_and_a_stop_falls_only_by_the_leader_or_once_it_is_gone() -> None:
    wishes = Wishes()
    assert wishes.read(*records_of(Mode.POLICY), 0).want is Mode.POLICY
    stop = (Mode.HOLD, 1, 0)
    seen = wishes.read(*records_of(Mode.POLICY, pressed=stop), 0)
    assert (seen.want, seen.stop, seen.fresh) == (Mode.HOLD, True, True)
    assert wishes.read(*records_of(Mode.PARK, pressed=stop), 0).want is Mode.HOLD
    assert not wishes.read(*records_of(Mode.PARK, 1, pressed=stop), 0).fresh
    assert wishes.read(*records_of(Mode.POLICY, 1, pressed=stop), 0).want is Mode.HOLD
    wishes.read(*records_of(Mode.POLICY, 2, pressed=stop), SILENT_NS + 1)
    assert wishes.read(*records_of(Mode.PARK, 2, pressed=stop), SILENT_NS + 1).want is Mode.PARK
    again = wishes.read(*records_of(Mode.PARK, 2, pressed=(Mode.PARK, 2, 0)), 0)
    assert (again.want, again.fresh) == (Mode.PARK, True)


def test_the_track_follows_a_steady_motion_without_lag_and_quiets_noise() -> None:
    track, rng = Track(0.005), np.random.default_rng(0)
    track.begin(np.zeros(7))
    velocities = []
    for tick in range(1, 400):
        here = np.full(7, 0.8 * tick * 0.005) + rng.normal(0.0, 1e-3, 7)
        track.step(here if tick % 2 else None)
        velocities.append(track.velocity[0])
    assert abs(track.position[0] - 0.8 * 399 * 0.005) < 3e-3
    assert np.std(velocities[200:]) < 0.05
    assert np.mean(velocities[200:]) == pytest.approx(0.8, abs=0.02)
