"""The control decisions of one servo tick: read, check, decide, limit, publish. Pure and bit-exact."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S, TickBase
from runtime.control import modes, watch
from runtime.control.amendment import Amendments
from runtime.control.collision import PathCheck
from runtime.control.intake import Intake, Now, Verdicts, verdict_faults
from runtime.control.limits import RigLimiter
from runtime.control.merge import MERGES
from runtime.control.modes import ModeState, Situation
from runtime.control.settings import ControlConfig
from runtime.control.teleop import Lead, Teleop
from runtime.control.ticks import Decision, TickInputs, TickOutputs, command_record, tick_record, view_record
from runtime.control.timeline import Timeline
from runtime.control.trajectory import Course, Planner
from runtime.control.waiting import wait
from runtime.control.watch import Watch
from runtime.control.wishes import Wish, Wishes
from runtime.faults import BIT
from runtime.layout import ARM_DOF, ARM_JOINTS, ARM_SLICE, SIDES
from runtime.states import LED, Guard, Mode, Verdict

__all__ = ["ControlConfig", "ControlCore", "TickInputs", "TickOutputs"]

Array = NDArray[np.float64]

AT_HOME_RAD: Final = 0.05
_STANDING: Final = frozenset({Mode.DISARMED, Mode.HOLD, Mode.FAULT})
"""Modes in which the commanded state may start anew from where a guardian holds."""


class ControlCore:
    """The control process's state from tick to tick. The same inputs give the same outputs, byte for byte."""

    def __init__(self, config: ControlConfig, base: TickBase) -> None:
        self._config = config
        self._ratio = base.ratio
        dt_s = base.servo_period_ns / NS_PER_S
        self._ttl_ticks = config.command_ttl_ns // base.servo_period_ns
        self._limiter = RigLimiter(config.limits, dt_s, config.home)
        self._timeline = Timeline(base.ratio, config.home)
        self._intake = Intake(self._timeline, MERGES[config.merge], config.jump_rad)
        self._amendments = Amendments(self._timeline)
        self._planner = Planner(config.limits.rates, dt_s)
        self._parking = Planner(config.park_rates, dt_s)
        self._path = PathCheck(config.clearance, self._planner)
        self._watch = Watch(config, base.servo_period_ns)
        self._wishes, self._teleop = Wishes(), Teleop(config, dt_s)
        self._modes = ModeState()
        self._course = self._brake()
        self._course_tick = 0
        self._acks = [0] * len(SIDES)
        self._last_tick: int | None = None
        self._starving = False
        self._seq = 0

    def step(self, inputs: TickInputs) -> TickOutputs:
        """Decide one servo tick; `servo_tick` grows from call to call, by more than one where ticks were skipped."""
        elapsed = 1 if self._last_tick is None else inputs.servo_tick - self._last_tick
        self._last_tick = inputs.servo_tick
        self._catch_up(inputs.servo_tick, elapsed)

        self._wait(inputs.servo_tick)
        wish = self._wishes.read(inputs.operator, inputs.leader, inputs.now_ns)
        following = watch.following(inputs)
        faults = self._check(inputs, wish, elapsed, following=following)
        lead = self._lead(inputs, wish, faults, following=following)
        faults |= lead.faults
        verdicts = self._receive(inputs, faults, lead)
        faults |= verdict_faults(verdicts)
        if self._modes.engaged:
            faults |= self._intake.faults(waiting=self._config.wait_ticks > 0)

        before = self._modes
        self._modes = modes.step(before, self._situation(inputs, wish, lead, faults, following=following))
        self._enter(before, inputs)
        self._reseed(inputs)
        amended = self._amend(inputs)

        target = self._target(inputs.servo_tick)
        limited = self._move(target, inputs.servo_tick)
        return self._publish(inputs, target, limited, faults, lead, verdicts, amended)

    def _catch_up(self, servo_tick: int, elapsed: int) -> None:
        """Make the steps of skipped ticks; after a pause that outlived the commands there are none to make."""
        if elapsed <= self._ttl_ticks:
            for missed in range(servo_tick - elapsed + 1, servo_tick):
                self._move(self._target(missed), missed)

    def _wait(self, servo_tick: int) -> None:
        """Where the next chunk may be waited for, let the plan end in a stop, and then stand there for a while."""
        if self._modes.mode is Mode.POLICY:
            wait_ticks = self._config.halt_ticks if self._intake.halts else self._config.wait_ticks
            wait(self._timeline, servo_tick, self._ratio, wait_ticks, self._brake)

    def _check(self, inputs: TickInputs, wish: Wish, elapsed: int, *, following: bool) -> int:
        """Return the faults that stand before any decision of this tick."""
        faults = watch.client_faults(inputs)
        if not self._modes.armed:
            return faults | self._arming_faults(inputs, wish)
        faults |= self._watch.rate(elapsed) | self._watch.arm_faults(inputs) | self._path.fault()
        faults |= self._watch.trip_faults(inputs, self._acks, standing=self._modes.mode in _STANDING)
        if following:
            faults |= self._watch.tracking(self._limiter.motion.position, inputs)
        if self._modes.mode is Mode.POLICY and inputs.servo_tick >= self._timeline.end_tick * self._ratio:
            faults |= BIT["starved"]
        if self._modes.mode is Mode.POLICY and inputs.client_distrusted:
            faults |= BIT["distrusted"]
        return faults

    def _arming_faults(self, inputs: TickInputs, wish: Wish) -> int:
        faults = 0
        if any(int(guardian["state"]) != Guard.DISARMED for guardian in inputs.guardian):
            faults |= BIT["control_restarted"] | self._watch.trip_faults(inputs, self._acks, standing=True)
        if wish.want is not Mode.DISARMED and not self._watch.usable(inputs):
            faults |= BIT["feedback_unusable"]
        return faults

    def _lead(self, inputs: TickInputs, wish: Wish, faults: int, *, following: bool) -> Lead:
        """See who holds a clutch; it counts while the arms are sound and follow, and nobody says stop."""
        broken = (faults | self._modes.latched & modes.BRAKING) & (modes.HOLDING | modes.BRAKING) & ~modes.LEADABLE
        may = self._modes.armed and not broken and not wish.stop and following
        return self._teleop.judge(inputs.leader, inputs.now_ns, self._limiter.motion, may=may)

    def _receive(self, inputs: TickInputs, faults: int, lead: Lead) -> Verdicts:
        """Merge the new chunks that are fit; none once something ends the motion."""
        welcome = self._modes.engaged and not lead.taken and not faults & (modes.HOLDING | modes.BRAKING)
        now = self._now(inputs)
        verdicts = []
        for chunk in inputs.chunks:
            verdict = Verdict.STALE
            if welcome:
                started = self._timeline.end_tick > now.tick
                verdict = self._intake.take(chunk, self._modes.epoch, now, started=started)
            verdicts.append((int(chunk["chunk_id"]), verdict))
        return tuple(verdicts)

    def _now(self, inputs: TickInputs) -> Now:
        return Now(inputs.servo_tick, inputs.servo_tick // self._ratio, inputs.now_ns)

    def _situation(self, inputs: TickInputs, wish: Wish, lead: Lead, faults: int, *, following: bool) -> Situation:
        at_rest = self._limiter.at_rest
        return Situation(
            want=wish.want,
            clear=wish.clear,
            faults=faults,
            armable=not self._modes.armed and self._watch.armable(inputs),
            following=following,
            at_rest=at_rest,
            at_home=at_rest and self._is_near_home(),
            chunk=self._timeline.end_tick > 0,
            fresh=wish.fresh,
            taken=lead.taken,
            led=lead.sides > 0,
            matched=lead.matched,
        )

    def _is_near_home(self) -> bool:
        from_home = np.abs(self._limiter.motion.position - self._config.home)
        return bool((from_home.reshape(-1, ARM_DOF)[:, :ARM_JOINTS] < AT_HOME_RAD).all())

    def _enter(self, before: ModeState, inputs: TickInputs) -> None:
        """Do what a change of mode asks for: a plan is opened or forgotten, a brake or a move begins."""
        now = self._modes
        if now.engaged is not before.engaged or now.epoch != before.epoch:
            self._timeline.clear(self._limiter.motion.position)
            self._intake.open(self._now(inputs))
            self._amendments.open(inputs.now_ns)
        if now.mode is before.mode or (now.mode in LED and before.mode in LED):
            return
        self._starving = bool(now.latched & ~before.latched & BIT["starved"])
        if now.mode is Mode.PARK:
            self._course = self._parking.move(self._limiter.motion, self._config.home)
            self._course_tick = inputs.servo_tick - 1
        elif now.mode in LED:
            self._teleop.enter()
        elif now.mode is not Mode.POLICY:
            self._stop(inputs.servo_tick)

    def _brake(self) -> Course:
        return self._planner.brake(self._limiter.motion)

    def _stop(self, servo_tick: int) -> None:
        self._course = self._brake()
        self._course_tick = servo_tick - 1

    def _reseed(self, inputs: TickInputs) -> None:
        """Take over where an arm is: while disarmed, and once a guardian that tripped has come to rest."""
        if self._modes.mode not in _STANDING:
            return
        for i, side in enumerate(SIDES):
            guardian = inputs.guardian[i]
            loose = int(guardian["state"]) == Guard.DISARMED
            unknown = int(guardian["trips"]) != self._acks[i] or not self._modes.armed
            held = int(guardian["state"]) == Guard.HOLD and unknown
            position = inputs.arm[i]["position"] if loose else guardian["target"]
            if not (loose or held) or not np.isfinite(position).all():
                continue
            self._limiter.seed(position, ARM_SLICE[side])
            self._acks[i] = int(guardian["trips"])
            self._stop(inputs.servo_tick)

    def _amend(self, inputs: TickInputs) -> Verdict:
        """Write what a corrector would have otherwise into the plan under execution; return what became of the last."""
        verdict = Verdict.PENDING
        now = self._now(inputs)
        for amendment in inputs.amendments:
            verdict = Verdict.STALE
            if self._modes.mode is Mode.POLICY:
                verdict = self._amendments.take(amendment, self._modes.epoch, self._intake.chunk_id, now)
        return verdict

    def _target(self, servo_tick: int) -> Array:
        """Return where the rig should be at a servo tick, before limits."""
        if self._modes.mode is Mode.POLICY:
            return self._timeline.target(servo_tick)
        if self._modes.mode in LED:
            return self._teleop.target(servo_tick, self._limiter.motion)
        return self._course.at(servo_tick - self._course_tick)

    def _pace(self, servo_tick: int) -> Array | None:
        """Return how the target will move on where that is known: a plan knows its future."""
        return self._timeline.pace(servo_tick) if self._modes.mode is Mode.POLICY else None

    def _move(self, target: Array, servo_tick: int) -> int:
        """Step the limiter to a target, or along a stop where the way on from there is not clear."""
        if self._modes.mode in _STANDING:
            return self._limiter.step(target)
        self._limiter, limited = self._path.step(self._limiter, target, self._pace(servo_tick))
        return limited

    def _publish(
        self,
        inputs: TickInputs,
        target: Array,
        limited: int,
        faults: int,
        lead: Lead,
        verdicts: Verdicts,
        amended: Verdict,
    ) -> TickOutputs:
        now = inputs.servo_tick // self._ratio
        at_rest = self._limiter.at_rest
        self._starving = self._starving and not at_rest
        self._seq += 1
        made = Decision(
            state=self._modes,
            motion=self._limiter.motion,
            target=target,
            limited=limited,
            at_rest=at_rest,
            starving=self._starving or (self._modes.started and now >= self._timeline.chunks_end_tick),
            seam=self._intake.seam(now) if self._modes.started else None,
            acks=self._acks,
            faults=faults,
            led=lead.sides if self._modes.mode in LED else 0,
            amended=amended,
        )
        command = command_record(inputs, made, self._seq, self._config.command_ttl_ns)
        return TickOutputs(
            command=command,
            tick=tick_record(inputs, made, command, self._timeline, now),
            view=view_record(inputs, self._modes, self._timeline, self._intake.chunk_id, now),
            verdicts=verdicts,
        )
