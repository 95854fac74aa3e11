"""The control decisions of one servo tick: read, check, decide, limit, publish. Pure and bit-exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import RigConfig
from runtime.control import modes, watch
from runtime.control.intake import Intake
from runtime.control.limits import RigLimiter, RigLimits
from runtime.control.merge import MERGES
from runtime.control.modes import ModeState, Situation
from runtime.control.timeline import Timeline
from runtime.control.trajectory import Rates, plan_brake, plan_move
from runtime.control.watch import Watch
from runtime.errors import unknown_name
from runtime.faults import BIT
from runtime.layout import ARM_JOINTS, ARM_SLICE, SIDES
from runtime.records import Guard, Mode, Source, Verdict
from runtime.shm import blank

Array = NDArray[np.float64]
Record = NDArray[Any]

AT_HOME_RAD: Final = 0.05
TRACKING_NS: Final = 100 * NS_PER_MS
_STANDING: Final = frozenset({Mode.DISARMED, Mode.HOLD, Mode.FAULT})
"""Modes in which the commanded state may start anew from where a guardian holds."""
_VERDICT_FAULTS: Final = {
    Verdict.STALE: BIT["chunk_stale"],
    Verdict.INVALID: BIT["chunk_invalid"],
    Verdict.JUMP: BIT["chunk_jump"],
    Verdict.LATE: BIT["chunk_late"],
}


@dataclass(frozen=True)
class ControlConfig:
    """What the control decisions depend on besides their inputs. `home` has shape (14,)."""

    limits: RigLimits
    home: Array
    merge: str
    command_ttl_ns: int
    state_stale_ns: int
    jump_rad: float = 0.35
    tracking_rad: float = 0.25
    park_share: float = 0.3
    """The share of the limits that PARK moves with."""

    @classmethod
    def from_rig(cls, rig: RigConfig, merge: str) -> Self:
        """Resolve a rig's configuration; UsageError for an unknown merge, with the valid names."""
        if merge not in MERGES:
            raise unknown_name("merge", merge, MERGES)
        return cls(
            limits=RigLimits.from_rig(rig),
            home=rig.stack("home"),
            merge=merge,
            command_ttl_ns=round(rig.command_ttl_ms * NS_PER_MS),
            state_stale_ns=round(rig.state_stale_ms * NS_PER_MS),
        )


@dataclass(frozen=True)
class TickInputs:
    """All that a tick sees. `arm` and `guardian` hold one record per side; a record never written is zero.

    `chunks` are the CHUNK records that are new since the last tick, `chunks_seen` the ring's head after them.
    """

    servo_tick: int
    now_ns: int
    scheduled_ns: int
    arm: tuple[Record, ...]
    guardian: tuple[Record, ...]
    operator: Record
    client_t_ns: int
    client_link: int
    chunks: Sequence[Record]
    chunks_seen: int


@dataclass(frozen=True)
class TickOutputs:
    """What a tick decided, as records of `runtime.records`, and the verdict on each chunk by its id."""

    command: Record
    tick: Record
    view: Record
    verdicts: tuple[tuple[int, Verdict], ...]


class ControlCore:
    """The control process's state from tick to tick. The same inputs give the same outputs, byte for byte."""

    def __init__(self, config: ControlConfig, base: TickBase) -> None:
        self._config = config
        self._base = base
        self._dt = base.servo_period_ns / NS_PER_S
        limits = config.limits
        self._limiter = RigLimiter(limits, self._dt, config.home)
        self._timeline = Timeline(base.ratio, config.home)
        self._intake = Intake(self._timeline, MERGES[config.merge], config.jump_rad)
        self._ttl_ticks = max(config.command_ttl_ns // base.servo_period_ns, 1)
        tracking_ticks = TRACKING_NS // base.servo_period_ns
        self._watch = Watch(config.tracking_rad, tracking_ticks, self._ttl_ticks)
        share = config.park_share
        self._park_rates = Rates(limits.velocity_max * share, limits.acceleration_max * share, limits.jerk_max * share)
        self._modes = ModeState()
        self._course = plan_brake(self._limiter.motion, limits.rates, self._dt)
        self._course_tick = 0
        self._acks = [0] * len(SIDES)
        self._last_tick: int | None = None
        self._starving = False
        self._seq = 0

    def step(self, inputs: TickInputs) -> TickOutputs:
        """Decide one servo tick; `servo_tick` must grow from call to call."""
        elapsed = 1 if self._last_tick is None else inputs.servo_tick - self._last_tick
        self._last_tick = inputs.servo_tick
        self._catch_up(inputs.servo_tick, elapsed)
        faults = self._check(inputs, elapsed)
        verdicts = self._receive(inputs, faults)
        faults |= self._judge(verdicts)
        before = self._modes
        self._modes = modes.step(before, self._situation(inputs, faults))
        self._enter(before, inputs.servo_tick)
        self._reseed(inputs)
        target = self._target(inputs.servo_tick)
        limited = self._limiter.step(target, self._pace(inputs.servo_tick))
        command = self._command(inputs, limited)
        tick = self._tick(inputs, command, target, faults)
        return TickOutputs(command, tick, self._view(inputs), verdicts)

    def _catch_up(self, servo_tick: int, elapsed: int) -> None:
        """Make the steps of skipped ticks; after a pause that outlived the commands there are none to make."""
        if elapsed <= self._ttl_ticks:
            for missed in range(servo_tick - elapsed + 1, servo_tick):
                self._limiter.step(self._target(missed), self._pace(missed))

    def _check(self, inputs: TickInputs, elapsed: int) -> int:
        """Return the faults that stand before any decision of this tick."""
        now_ns, stale_ns = inputs.now_ns, self._config.state_stale_ns
        faults = watch.client_faults(inputs.client_t_ns, inputs.client_link, now_ns)
        if not self._modes.armed:
            return faults | self._arming_faults(inputs)
        faults |= self._watch.rate(elapsed)
        for arm, guardian, ack in zip(inputs.arm, inputs.guardian, self._acks, strict=True):
            faults |= watch.arm_faults(arm, guardian, now_ns, stale_ns)
            if int(guardian["state"]) == Guard.DISARMED:
                faults |= 0 if self._modes.mode in _STANDING else BIT["guardian_lost"]
            elif int(guardian["trips"]) != ack:
                faults |= watch.trip_fault(guardian)
        if self._following(inputs):
            faults |= self._watch.tracking(self._limiter.motion.position, inputs.arm)
        if self._modes.mode is Mode.POLICY and inputs.servo_tick >= self._timeline.end_tick * self._base.ratio:
            faults |= BIT["starved"]
        return faults

    def _arming_faults(self, inputs: TickInputs) -> int:
        faults = 0
        if any(int(guardian["state"]) != Guard.DISARMED for guardian in inputs.guardian):
            faults |= BIT["control_restarted"]
        if watch.wanted(inputs.operator) is not Mode.DISARMED and not self._usable(inputs):
            faults |= BIT["feedback_unusable"]
        return faults

    def _receive(self, inputs: TickInputs, faults: int) -> tuple[tuple[int, Verdict], ...]:
        """Merge the new chunks that are fit; none once something ends the motion."""
        state = self._modes
        open_to_chunks = state.engaged and not faults & (modes.HOLDING | modes.BRAKING)
        tick = inputs.servo_tick // self._base.ratio
        verdicts = []
        for chunk in inputs.chunks:
            verdict = Verdict.STALE
            if open_to_chunks:
                started = self._timeline.end_tick > tick
                verdict = self._intake.take(chunk, state.epoch, inputs.servo_tick, tick, started=started)
            verdicts.append((int(chunk["chunk_id"]), verdict))
        return tuple(verdicts)

    def _judge(self, verdicts: Sequence[tuple[int, Verdict]]) -> int:
        """Return what the verdicts on this tick's chunks say about the server."""
        faults = BIT["chunks_jump"] if self._modes.engaged and self._intake.astray else 0
        for _, verdict in verdicts:
            faults |= _VERDICT_FAULTS.get(verdict, 0)
        return faults

    def _situation(self, inputs: TickInputs, faults: int) -> Situation:
        at_rest = self._limiter.at_rest
        from_home = np.abs(self._limiter.motion.position - self._config.home)
        joints_home = from_home.reshape(len(SIDES), -1)[:, :ARM_JOINTS]
        return Situation(
            want=watch.wanted(inputs.operator),
            clear=int(inputs.operator["clear"]),
            faults=faults,
            armable=self._armable(inputs),
            following=self._following(inputs),
            at_rest=at_rest,
            at_home=at_rest and bool((joints_home < AT_HOME_RAD).all()),
            chunk=self._timeline.end_tick > 0,
        )

    def _usable(self, inputs: TickInputs) -> bool:
        """Whether both arms' feedback is fit for arming."""
        low, high = self._config.limits.position_min, self._config.limits.position_max
        return all(
            watch.fresh(arm, inputs.now_ns, self._config.state_stale_ns)
            and watch.usable(arm, low[ARM_SLICE[side]], high[ARM_SLICE[side]])
            for side, arm in zip(SIDES, inputs.arm, strict=True)
        )

    def _armable(self, inputs: TickInputs) -> bool:
        return self._usable(inputs) and all(
            watch.fresh(guardian, inputs.now_ns, self._config.state_stale_ns)
            and int(guardian["state"]) in {Guard.DISARMED, Guard.HOLD}
            for guardian in inputs.guardian
        )

    def _following(self, inputs: TickInputs) -> bool:
        return all(int(guardian["state"]) == Guard.FOLLOW for guardian in inputs.guardian)

    def _enter(self, before: ModeState, servo_tick: int) -> None:
        """Do what a change of mode asks for: a brake or a move begins, a plan is opened or forgotten."""
        now = self._modes
        if now.engaged is not before.engaged or now.epoch != before.epoch:
            self._timeline.clear(self._limiter.motion.position)
            self._intake.open()
        if now.mode is before.mode:
            return
        self._starving = bool(now.latched & ~before.latched & BIT["starved"])
        if now.mode is Mode.PARK:
            motion = self._limiter.motion
            self._course = plan_move(motion, self._config.home, self._park_rates, self._dt)
            self._course_tick = servo_tick - 1
        elif now.mode is not Mode.POLICY:
            self._stop(servo_tick)

    def _stop(self, servo_tick: int) -> None:
        self._course = plan_brake(self._limiter.motion, self._config.limits.rates, self._dt)
        self._course_tick = servo_tick - 1

    def _reseed(self, inputs: TickInputs) -> None:
        """Take over where an arm is held: while disarmed, and after a guardian has tripped and come to rest."""
        if self._modes.mode not in _STANDING:
            return
        for i, side in enumerate(SIDES):
            guardian, arm = inputs.guardian[i], inputs.arm[i]
            holding = int(guardian["state"]) == Guard.HOLD
            new = int(guardian["trips"]) != self._acks[i] or not self._modes.armed
            loose = int(guardian["state"]) == Guard.DISARMED
            position = arm["position"] if loose else guardian["target"]
            if not (loose or (holding and new)) or not np.isfinite(position).all():
                continue
            self._limiter.seed(position, ARM_SLICE[side])
            self._acks[i] = int(guardian["trips"])
            self._stop(inputs.servo_tick)
            if not self._modes.engaged:
                self._timeline.clear(self._limiter.motion.position)

    def _target(self, servo_tick: int) -> Array:
        """Return where the rig should be at a servo tick, before limits."""
        if self._modes.mode is Mode.POLICY:
            return self._timeline.target(servo_tick)
        return self._course.at(servo_tick - self._course_tick)

    def _pace(self, servo_tick: int) -> Array | None:
        """Return how the target will move on where that is known: a plan knows its future."""
        return self._timeline.pace(servo_tick) if self._modes.mode is Mode.POLICY else None

    def _source(self) -> Source:
        match self._modes.mode:
            case Mode.DISARMED:
                return Source.NONE
            case Mode.POLICY:
                return Source.CHUNK
            case _ if self._limiter.at_rest:
                return Source.HOLD
            case Mode.PARK:
                return Source.PARK
            case _:
                return Source.BRAKE

    def _command(self, inputs: TickInputs, limited: int) -> Record:
        self._seq += 1
        motion = self._limiter.motion
        command: Any = blank(records.JOINT_COMMAND)
        command["seq"] = self._seq
        command["servo_tick"] = inputs.servo_tick
        command["t_ns"] = inputs.now_ns
        command["valid_until_ns"] = inputs.now_ns + self._config.command_ttl_ns
        command["position"] = motion.position
        command["velocity"] = motion.velocity
        command["mode"] = self._modes.mode
        command["source"] = self._source()
        command["armed"] = self._modes.armed
        command["limited"] = limited
        command["ack"] = self._acks
        record: Record = command
        return record

    def _tick(self, inputs: TickInputs, command: Record, target: Array, faults: int) -> Record:
        now = self._base.tick(self._base.servo_time_ns(inputs.servo_tick))
        running = self._modes.mode is Mode.POLICY
        self._starving = self._starving and not self._limiter.at_rest
        seam = self._intake.seam(now) if running else None
        tick: Any = blank(records.TICK)
        tick["servo_tick"] = inputs.servo_tick
        tick["now_ns"] = inputs.now_ns
        tick["scheduled_ns"] = inputs.scheduled_ns
        for i in range(len(SIDES)):
            tick["arm"][i] = inputs.arm[i]
            tick["guardian"][i] = inputs.guardian[i]
        tick["operator"] = inputs.operator
        tick["client_t_ns"] = inputs.client_t_ns
        tick["client_link"] = inputs.client_link
        tick["chunks_seen"] = inputs.chunks_seen
        tick["command"] = command
        tick["target"] = target
        tick["mode"] = self._modes.mode
        tick["epoch"] = self._modes.epoch
        tick["tick"] = now
        tick["ahead_ticks"] = max(self._timeline.end_tick - now, 0) if running else 0
        tick["starved"] = self._starving
        tick["chunk_id"] = self._timeline.chunk_id(now) if running else 0
        if seam is not None:
            tick["switched"] = 1
            tick["seam_jump_rad"] = seam.jump_rad
        tick["faults"] = faults | self._modes.latched
        record: Record = tick
        return record

    def _view(self, inputs: TickInputs) -> Record:
        now = inputs.servo_tick // self._base.ratio
        view: Any = blank(records.TIMELINE_VIEW)
        view["t_ns"] = inputs.now_ns
        view["tick"] = now
        view["epoch"] = self._modes.epoch
        view["mode"] = self._modes.mode
        view["engaged"] = self._modes.engaged
        view["started"] = self._modes.started
        view["end_tick"] = max(self._timeline.end_tick, now)
        view["chunk_id"] = self._intake.chunk_id
        view["actions"] = self._timeline.view(now)
        record: Record = view
        return record
