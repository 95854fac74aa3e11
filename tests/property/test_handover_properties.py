"""Promises of every handover between policy, person and hold: no step beyond limits, the clutch wins in one tick.

Randomised handovers in virtual time against the control decisions, both guardians and the independent check at the
devices. The tests make the first 60; `python -m tests.property.test_handover_properties` makes a thousand, which takes
minutes, and tells how long they took from the clutch to control.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import pytest

from runtime.control.limits import RigLimits
from runtime.faults import BIT
from runtime.layout import ARM_SLICE, SIDES
from runtime.states import LED, Mode
from tests.fake_rig import FakeRig

RIGS: Final = ("sim-x5", "sim-piper", "sim-vx300s")
TESTED: Final = 60
PER_RIG: Final = 20
LED_TICKS: Final = 160
ROUNDING: Final = 1e-6


@dataclass
class Tally:
    """What the handovers came to. Times are servo ticks from the pressed clutch on."""

    handovers: int = 0
    late_modes: int = 0
    violations: int = 0
    beyond: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    coupled_after: list[int] = field(default_factory=list)
    returned: int = 0
    replay_differences: int = 0


class Person:
    """Someone at the leaders: moves, jumps, drops out or plays with the clutch, by chance."""

    def __init__(self, rig: FakeRig, rng: np.random.Generator) -> None:
        self.kind = str(rng.choice(["calm", "calm", "quick", "jump", "drop", "chatter", "absurd"]))
        self.sides = [True, True] if rng.random() < 0.5 else [bool(i) for i in rng.permutation([0, 1])]
        reach = float(rng.choice([0.01, 0.1, 0.4, 2.0], p=[0.3, 0.35, 0.25, 0.1]))
        self._base = rig.position + rng.uniform(-reach, reach, 14)
        self._speed = rng.uniform(0.1, 1.0 if self.kind != "quick" else 12.0, 14)
        self._sway = rng.uniform(0.0, 0.3, 14)
        self._moment = int(rng.integers(5, LED_TICKS - 20))
        self._every = int(rng.integers(1, 5))
        self._rng = rng

    def move(self, rig: FakeRig, tick: int) -> None:
        """Set the leaders for a tick since the clutch was first pressed."""
        rig.clutch = list(self.sides)
        if tick % self._every == 0:
            wave = self._sway * np.sin(self._speed * tick / rig.rig.servo_hz)
            rig.leader_position = self._base + wave + self._rng.normal(0.0, 5e-4, 14)
        if self.kind == "chatter":
            rig.clutch = [held and self._rng.random() < 0.8 for held in self.sides]
        if tick < self._moment:
            return
        if self.kind == "jump" and tick == self._moment:
            self._base = self._base + self._rng.uniform(-1.5, 1.5, 14)
        if self.kind == "drop":
            rig.leader_silent = self._rng.random() < 0.95
            rig.leader_valid = [bool(self._rng.random() < 0.9) for _ in SIDES]
        if self.kind == "absurd":
            odd = self._rng.choice([np.nan, np.inf, 1e9])
            rig.leader_position = np.where(self._rng.random(14) < 0.1, odd, self._base)


def engage(rig: FakeRig) -> None:
    """Let the operator ask for the policy anew, and start it on a first chunk from where the arms are."""
    rig.want = Mode.HOLD
    rig.clear += 1
    rig.run(120)
    rig.want = Mode.POLICY
    rig.run(3)
    start = rig.last.command["position"]
    limits = RigLimits.from_rig(rig.rig)
    swing = np.minimum(limits.position_max - start, 0.4)
    phase = np.arange(50) / 50
    rig.run(1, (rig.answer(start + swing * (0.5 - 0.5 * np.cos(2 * np.pi * phase))[:, None]),))


def hand_over(rig: FakeRig, rng: np.random.Generator, tally: Tally) -> None:
    """Take the arms over from the policy or from a standstill, lead them, and give them back."""
    if rng.random() < 0.7:
        engage(rig)
        rig.run(int(rng.integers(1, 150)))
    person = Person(rig, rng)
    rig.leader_silent, rig.leader_valid = False, [True, True]
    rig.clutch = [False, False]
    rig.leader["seq"] = max(int(rig.leader["seq"]), 1)
    rig.run(1)
    before, epoch = rig.mode, int(rig.last.view["epoch"])
    coupled = None
    for tick in range(LED_TICKS):
        person.move(rig, tick)
        rig.run(1)
        if tick == 0 and any(rig.clutch):
            tally.late_modes += rig.mode is Mode.POLICY or bool(rig.last.view["engaged"])
        if coupled is None and rig.mode is Mode.TELEOP:
            coupled = tick
    tally.handovers += 1
    tally.ended[f"{before.name} by {person.kind}: {rig.mode.name}"] += 1
    if coupled is not None:
        tally.coupled_after.append(coupled)
    rig.clutch = [False, False]
    rig.leader_silent = False
    # What an earlier epoch's server still has to say comes now, and moves nothing.
    old = rig.answer(np.tile(rig.last.command["position"] + 0.2, (50, 1)), epoch=epoch, age=1)
    rig.run(1, (old,))
    assert rig.mode not in LED | {Mode.POLICY}
    rig.run(150)
    tally.returned += rig.mode is Mode.POLICY


@cache
def made(handovers: int = TESTED) -> Tally:
    """Make the handovers, on every arm in turn; the check of the commands is made on whole runs."""
    tally = Tally()
    for number in range(handovers // PER_RIG):
        rng = np.random.default_rng(number)
        rig = FakeRig(name=RIGS[number % len(RIGS)])
        rig.run(20)
        for _ in range(PER_RIG):
            hand_over(rig, rng, tally)
        tally.violations += rig.violations
        tally.beyond += beyond_limits(rig)
        if number % 10 == 0:
            tally.replay_differences += differences(rig)
    return tally


def beyond_limits(rig: FakeRig) -> list[str]:
    """Return the rates that the commands of a run exceed anywhere: an own check, from the positions alone."""
    limits, dt_s = RigLimits.from_rig(rig.rig), rig.base.servo_period_ns / 1e9
    positions = np.stack([o.command["position"] for o in rig.outputs if o.command["armed"]])
    found = []
    if (positions < limits.position_min - ROUNDING).any() or (positions > limits.position_max + ROUNDING).any():
        found.append("position")
    for order, most in ((1, limits.velocity_max), (2, limits.acceleration_max), (3, limits.jerk_max)):
        if (np.abs(np.diff(positions, n=order, axis=0)) > most * dt_s**order * (1 + ROUNDING) + 1e-11).any():
            found.append(f"difference {order}")
    return found


def differences(rig: FakeRig) -> int:
    """Return how many ticks of a run come out differently when they are decided again."""
    core = rig.new_core()
    return sum(
        core.step(seen).tick.tobytes() != told.tick.tobytes()
        for seen, told in zip(rig.inputs, rig.outputs, strict=True)
    )


@pytest.mark.timeout(600)
def test_no_joint_steps_beyond_its_limits_in_any_handover() -> None:
    tally = made()
    assert tally.handovers == TESTED
    assert tally.violations == 0
    assert tally.beyond == []


@pytest.mark.timeout(600)
def test_the_clutch_takes_the_arms_from_the_policy_within_one_servo_tick() -> None:
    assert made().late_modes == 0


@pytest.mark.timeout(600)
def test_the_policy_never_returns_by_itself() -> None:
    assert made().returned == 0


@pytest.mark.timeout(600)
def test_handovers_are_decided_again_bit_for_bit() -> None:
    assert made().replay_differences == 0


@pytest.mark.timeout(600)
def test_most_handovers_end_in_control_and_every_way_out_is_met() -> None:
    tally = made()
    assert len(tally.coupled_after) > TESTED // 4
    assert {name.split(": ")[1] for name in tally.ended} >= {"TELEOP", "HANDOVER", "HOLD"}


@pytest.mark.parametrize("side", range(len(SIDES)))
def test_one_arm_is_led_while_the_other_stands(side: int) -> None:
    rig = FakeRig()
    rig.run(20)
    rig.leader["seq"] = 1
    rig.run(1)
    rig.clutch[side] = True
    rig.leader_position = rig.position + 0.2
    rig.run(200)
    assert (rig.mode, int(rig.last.tick["led"])) == (Mode.TELEOP, 1 << side)
    part, other = ARM_SLICE[SIDES[side]], ARM_SLICE[SIDES[1 - side]]
    np.testing.assert_allclose(rig.position[part][:6], rig.leader_position[part][:6], atol=1e-3)
    np.testing.assert_array_equal(rig.position[other], rig.outputs[0].command["position"][other])
    assert not int(rig.last.tick["faults"]) & BIT["leader_lost"]


if __name__ == "__main__":
    done = made(1000)
    times_ms = np.array(done.coupled_after) * 5.0
    print(f"{done.handovers} handovers, {done.violations} violations, beyond: {done.beyond or 'none'}")
    print(f"policy left later than one tick: {done.late_modes}; different in replay: {done.replay_differences}")
    print(f"clutch to control in {len(times_ms)}: p50 {np.percentile(times_ms, 50):.0f} ms,", end=" ")
    print(f"p90 {np.percentile(times_ms, 90):.0f} ms, max {times_ms.max():.0f} ms")
    for name, count in sorted(done.ended.items()):
        print(f"{count:5d}  {name}")
