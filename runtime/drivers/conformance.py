"""What every arm and leader driver must do, as one call that a lab can run on its own driver and its own arm.

    check_arm(lambda: MyArm("can0"), PIPER, MonotonicClock(0))

moves each joint by a few hundredths of a radian from where the arm is: keep the space around it clear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import ArmDriver, LeaderDriver, LeaderSample
from runtime.errors import LeadtimeError
from runtime.layout import ARM_DOF, ARM_JOINTS, RIG_DOF, SIDES

Array = NDArray[np.float64]

PERIOD_NS: Final = 5 * NS_PER_MS
FIRST_NS: Final = 2 * NS_PER_S
FRESH_NS: Final = 25 * NS_PER_MS
SWING_RAD: Final = 0.05
STILL_RAD: Final = 0.02
FOLLOW_RAD: Final = 0.03
OUTSIDE_RAD: Final = 0.1


class ConformanceError(LeadtimeError):
    """A driver breaks a promise; says which one, and by what."""


def check_arm(make: Callable[[], ArmDriver], model: ArmModel, clock: Clock) -> None:
    """Open a driver, watch, hold, swing each joint and let go; raises ConformanceError at the first broken promise."""
    trial = _Trial(make(), model, clock)
    trial.arm.open()
    try:
        start = trial.first()
        trial.watch(NS_PER_S // 2)
        trial.require_near(start, STILL_RAD, "an arm does not move when it is opened")
        trial.command(lambda _t: start, NS_PER_S)
        trial.require_near(start, STILL_RAD, "an arm under torque stays where it is held")
        trial.swing(start)
        trial.watch(NS_PER_S // 2)
        trial.require_near(start, STILL_RAD, "an arm whose commands end holds")
    finally:
        trial.arm.close()
    again = _Trial(make(), model, clock)
    again.arm.open()
    try:
        again.first()
        again.require_near(start, STILL_RAD, "a closed arm holds")
    finally:
        again.arm.close()


class _Trial:
    """One driver under watch: every state it gives is checked as it comes."""

    def __init__(self, arm: ArmDriver, model: ArmModel, clock: Clock) -> None:
        self.arm, self._model, self._clock = arm, model, clock
        self._low = np.array(model.position_min) - OUTSIDE_RAD
        self._high = np.array(model.position_max) + OUTSIDE_RAD
        self._last: NDArray[Any] | None = None
        self._tick = 0

    def first(self) -> Array:
        until_ns = self._clock.now_ns() + FIRST_NS
        while self._clock.now_ns() < until_ns:
            self._step()
            if self._last is not None:
                return np.array(self._last["position"])
        raise ConformanceError(f"no state within {FIRST_NS // NS_PER_S} s of the opening")

    def watch(self, span_ns: int) -> None:
        before = self._seen
        self._run(span_ns, None)
        _require(self._seen > before, "states go on coming", f"none within {span_ns / NS_PER_S:g} s")

    def command(self, target: Callable[[float], Array], span_ns: int) -> float:
        """Command a path; return the largest distance of a joint from it, one servo period later."""
        return self._run(span_ns, target)

    def swing(self, start: Array) -> None:
        for joint in range(ARM_JOINTS):
            towards = SWING_RAD if start[joint] + SWING_RAD < self._model.position_max[joint] else -SWING_RAD
            direction = np.eye(ARM_DOF)[joint] * towards

            def target(t_s: float, direction: Array = direction) -> Array:
                there_and_back: Array = start + direction * 0.5 * (1.0 - np.cos(2 * np.pi * min(t_s, 1.0)))
                return there_and_back

            far = self.command(target, 13 * NS_PER_S // 10)
            moved = f"joint {joint + 1} was {far:.3f} rad from its target"
            _require(far < FOLLOW_RAD, "an arm follows its commands", moved)
            self.require_near(start, STILL_RAD, "an arm comes back to where it was")

    def require_near(self, position: Array, apart_rad: float, promise: str) -> None:
        if self._last is None:
            raise ConformanceError(f"{promise}: there is no state")
        far = float(np.abs(self._last["position"] - position)[:ARM_JOINTS].max())
        _require(far < apart_rad, promise, f"a joint is {far:.3f} rad away")

    @property
    def _seen(self) -> int:
        return 0 if self._last is None else int(self._last["seq"])

    def _run(self, span_ns: int, target: Callable[[float], Array] | None) -> float:
        begun_ns = self._clock.now_ns()
        far = 0.0
        while (elapsed_ns := self._clock.now_ns() - begun_ns) < span_ns:
            if target is not None:
                wanted = target(elapsed_ns / NS_PER_S)
                self.arm.command(self._tick, wanted, self._clock.now_ns())
                if self._last is not None:
                    far = max(far, float(np.abs(self._last["position"] - wanted)[:ARM_JOINTS].max()))
            self._step()
        return far

    def _step(self) -> None:
        self._tick += 1
        self._clock.sleep_until_ns(self._clock.now_ns() + PERIOD_NS)
        state = self.arm.read()
        if state is not None:
            self._check(state)

    def _check(self, state: NDArray[Any]) -> None:
        now_ns, t_ns = self._clock.now_ns(), int(state["t_ns"])
        _require(t_ns <= now_ns, "no state is from the future", f"by {(t_ns - now_ns) / NS_PER_MS:.1f} ms")
        _require(now_ns - t_ns <= FRESH_NS, "a state is fresh", f"it is {(now_ns - t_ns) / NS_PER_MS:.1f} ms old")
        for field in ("position", "velocity", "effort"):
            _require(bool(np.isfinite(state[field]).all()), "a state is finite", f"{field} is {state[field].tolist()}")
        inside = bool(((state["position"] >= self._low) & (state["position"] <= self._high)).all())
        _require(inside, "a state is in rad and fractions, within the arm's limits", f"{state['position'].tolist()}")
        _require(int(state["fault"]) == 0, "a sound arm reports no fault", f"bits {int(state['fault']):#x}")
        if self._last is not None:
            newer = int(state["seq"]) > self._seen
            later = t_ns > int(self._last["t_ns"])
            _require(newer is later, "a new number is a later state", f"number {int(state['seq'])} at {t_ns} ns")
        self._last = state.copy()


def check_leader(make: Callable[[], LeaderDriver], clock: Clock, follower: Array | None = None) -> None:
    """Open a leader and read it for a second; raises ConformanceError at the first broken promise.

    `follower` (14,) are the joints of the arms that it would lead, zeros by default.
    """
    leader = make()
    leader.open()
    joints = np.zeros(RIG_DOF) if follower is None else follower
    last: dict[str, int] = {}
    try:
        until_ns = clock.now_ns() + NS_PER_S
        while clock.now_ns() < until_ns:
            now_ns = clock.now_ns()
            for sample in leader.read(now_ns, joints).samples:
                _check_sample(sample, now_ns, last)
            clock.sleep_until_ns(now_ns + PERIOD_NS)
    finally:
        leader.close()
    _require(bool(last), "a leader says where it is", "no sample within a second")


def _check_sample(sample: LeaderSample, now_ns: int, last: dict[str, int]) -> None:
    _require(sample.side in SIDES, "a sample names its arm", f"{sample.side!r}")
    shape = sample.position.shape
    _require(shape == (ARM_DOF,), "a sample has seven numbers", f"shape {shape}")
    _require(bool(np.isfinite(sample.position).all()), "a sample is finite", f"{sample.position.tolist()}")
    _require(sample.t_ns <= now_ns, "no sample is from the future", f"{sample.t_ns - now_ns} ns")
    _require(sample.t_ns >= last.get(sample.side, 0), "samples come in order", f"{sample.side} at {sample.t_ns} ns")
    last[sample.side] = sample.t_ns


def _require(kept: bool, promise: str, found: str) -> None:
    if not kept:
        raise ConformanceError(f"{promise}: {found}")
