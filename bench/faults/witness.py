"""What must never happen, checked at every tick of an episode by code that shares nothing with what decides."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import RigConfig
from runtime.control.guardian import GuardianOutput
from runtime.control.ticks import TickInputs, TickOutputs
from runtime.drivers.sim.audit import LimitAudit
from runtime.faults import FAULTS
from runtime.layout import SIDES
from runtime.states import Guard, Mode

STANDSTILL: Final = 1e-12
MOVING: Final = frozenset({Guard.FOLLOW, Guard.BRAKE})
HOLDING: Final = frozenset({Guard.HOLD, Guard.FAULT})
STANDING: Final = frozenset({Mode.DISARMED, Mode.HOLD, Mode.FAULT})
ENDING: Final = sum(1 << i for i, fault in enumerate(FAULTS) if fault.action in {"hold", "brake"})
BRAKING: Final = sum(1 << i for i, fault in enumerate(FAULTS) if fault.action == "brake")
BRAKE_NS_MAX: Final = 800 * NS_PER_MS
"""The slowest arm's brake from full speed takes 0.62 s."""
CHANGES: Final = {
    Mode.DISARMED: {Mode.HOLD, Mode.FAULT},
    Mode.HOLD: {Mode.POLICY, Mode.PARK, Mode.FAULT, Mode.DISARMED, Mode.TELEOP, Mode.HANDOVER},
    Mode.POLICY: {Mode.HOLD, Mode.FAULT, Mode.PARK, Mode.TELEOP, Mode.HANDOVER},
    Mode.PARK: {Mode.HOLD, Mode.FAULT, Mode.DISARMED, Mode.TELEOP, Mode.HANDOVER},
    Mode.FAULT: {Mode.HOLD, Mode.PARK, Mode.DISARMED, Mode.TELEOP, Mode.HANDOVER},
    Mode.TELEOP: {Mode.HOLD, Mode.FAULT, Mode.PARK, Mode.HANDOVER},
    Mode.HANDOVER: {Mode.HOLD, Mode.FAULT, Mode.PARK, Mode.TELEOP},
}
"""Modes that may follow each other from one tick to the next."""


class Witness:
    """Collects what went wrong in an episode; `failures` is empty when nothing did."""

    def __init__(self, seed: int, rig: RigConfig, base: TickBase) -> None:
        self.seed = seed
        self.failures: list[str] = []
        self.ticks = 0
        self.policy_ticks = 0
        self.trips = 0
        self.faults = 0
        self._ttl_ns = round(rig.command_ttl_ms * NS_PER_MS)
        self._ttl_ticks = self._ttl_ns // base.servo_period_ns
        self._dt = base.servo_period_ns / NS_PER_S
        limits = rig.limits
        self._most = (
            rig.stack("velocity_max") * limits.velocity_fraction,
            rig.stack("acceleration_max") * limits.acceleration_fraction,
            rig.stack("jerk_max") * limits.jerk_fraction,
        )
        self._low, self._high = rig.stack("position_min"), rig.stack("position_max")
        self._audits = [LimitAudit(rig.arm_model(side), self._dt, rig.command_ticks) for side in SIDES]
        self._epochs: dict[int, int] = {}
        self._unsound: set[int] = set()
        self._last: TickOutputs | None = None
        self._mode = Mode.DISARMED
        self._clear: int | None = None
        self._path: list[NDArray[np.float64]] = []
        self._guards: list[tuple[Guard, GuardianOutput] | None] = [None for _ in SIDES]
        self._expiry_ns = [0 for _ in SIDES]
        self._seen_tick = [-1 for _ in SIDES]
        self._brake_ns = [0 for _ in SIDES]
        self._loose = [False for _ in SIDES]

    def fail(self, what: str) -> None:
        """Note a broken promise, once a kind."""
        if what not in self.failures:
            self.failures.append(what)

    @property
    def violations(self) -> int:
        """Commands outside the limits as the independent checks at the devices count them."""
        return sum(audit.violations for audit in self._audits)

    def pushed(self, chunk: NDArray[Any], *, sound: bool) -> None:
        """Remember a chunk on the board; one that is not `sound` must never be executed."""
        self._epochs[int(chunk["chunk_id"])] = int(chunk["epoch"])
        if not sound:
            self._unsound.add(int(chunk["chunk_id"]))

    def restarted(self) -> None:
        """Note that the control process begins anew."""
        self._flush()
        self._last = None
        self._mode = Mode.DISARMED
        self._clear = None

    def replaced(self, i: int) -> None:
        """Note that a guardian was killed: its device holds the last target, its successor begins disarmed."""
        self._guards[i] = None
        self._seen_tick[i] = -1
        self._brake_ns[i] = 0

    def decided(self, inputs: TickInputs, outputs: TickOutputs) -> None:
        """Look at a tick of the control process."""
        command, tick = outputs.command, outputs.tick
        mode, faults = Mode(int(command["mode"])), int(tick["faults"])
        self.ticks += 1
        self.policy_ticks += mode is Mode.POLICY
        self.faults |= faults
        self._check_command(inputs, command, mode)
        self._check_mode(inputs, mode, faults)
        if mode is Mode.POLICY:
            self._check_plan(tick)
        self._check_path(inputs, outputs, mode)
        self._last, self._mode = outputs, mode
        self._clear = int(inputs.operator["clear"])

    def _check_command(self, inputs: TickInputs, command: NDArray[Any], mode: Mode) -> None:
        if not (_finite(command["position"]) and _finite(command["velocity"])):
            self.fail("a command is not finite")
        if not inputs.now_ns < int(command["valid_until_ns"]) <= inputs.now_ns + self._ttl_ns:
            self.fail("a command does not expire when it must")
        if int(command["armed"]) != (mode is not Mode.DISARMED):
            self.fail("armed and mode do not agree")

    def _check_mode(self, inputs: TickInputs, mode: Mode, faults: int) -> None:
        before = self._mode
        if mode is not before and mode not in CHANGES[before]:
            self.fail(f"{before.name} became {mode.name}")
        if mode is Mode.POLICY and faults & ENDING:
            self.fail("POLICY under a fault that ends it")
        if mode not in {Mode.FAULT, Mode.DISARMED} and faults & BRAKING:
            self.fail("a fault that brakes left the mode alone")
        if mode is Mode.POLICY and int(inputs.operator["want"]) != Mode.POLICY:
            self.fail("POLICY that nobody wants")
        began = mode is Mode.POLICY and before is not Mode.POLICY
        if began and not all(int(guardian["state"]) == Guard.FOLLOW for guardian in inputs.guardian):
            self.fail("POLICY began without both guardians")
        acknowledged = self._clear is None or int(inputs.operator["clear"]) != self._clear
        if before is Mode.FAULT and mode is not Mode.FAULT and not acknowledged:
            self.fail("FAULT was left without an acknowledgement")

    def _check_plan(self, tick: NDArray[Any]) -> None:
        chunk_id = int(tick["chunk_id"])
        if chunk_id and self._epochs.get(chunk_id) != int(tick["epoch"]):
            self.fail("an action of another epoch is executed")
        if chunk_id in self._unsound:
            self.fail("an action of a chunk that is not sound is executed")

    def _check_path(self, inputs: TickInputs, outputs: TickOutputs, mode: Mode) -> None:
        """Gather consecutive commands; where the sequence may begin anew, judge those that came before."""
        last = self._last
        anew = last is not None and (
            outputs.command["ack"].tolist() != last.command["ack"].tolist()
            or (mode in STANDING and any(int(guardian["state"]) == Guard.DISARMED for guardian in inputs.guardian))
        )
        skipped = last is not None and inputs.servo_tick - int(last.command["servo_tick"]) != 1
        if anew or skipped:
            self._flush()
        self._path.append(outputs.command["position"])

    def _flush(self) -> None:
        """Judge a stretch of consecutive commands by the limits that the rig leaves to the control process."""
        if self._path:
            path = np.stack(self._path)
            if (path < self._low - 1e-9).any() or (path > self._high + 1e-9).any():
                self.fail("a command is beyond a position limit")
            for order, most in enumerate(self._most, start=1):
                rates = np.abs(np.diff(path, n=order, axis=0)) / self._dt**order
                if len(rates) and (rates > most * (1.0 + 1e-6) + 1e-6).any():
                    self.fail(f"a command exceeds the limit of derivative {order}")
        self._path = []

    def guarded(
        self, i: int, now_ns: int, command: NDArray[Any] | None, measured: NDArray[np.float64], output: GuardianOutput
    ) -> None:
        """Look at a step of a guardian that had `measured` (7,) as its arm's feedback."""
        state = Guard(int(output.status["state"]))
        before, self._guards[i] = self._guards[i], (state, output)
        # A guardian that was killed left its arm under torque, where its successor must begin.
        self._loose[i] |= state is Guard.DISARMED and before is not None and before[0] is not Guard.DISARMED
        if output.enabled:
            if self._loose[i]:
                self._audits[i].let_go(measured)
                self._loose[i] = False
            self._audits[i].check(output.servo_tick, output.position)
        if command is not None and int(command["servo_tick"]) > self._seen_tick[i]:
            self._seen_tick[i] = int(command["servo_tick"])
            if command["armed"]:
                self._expiry_ns[i] = min(int(command["valid_until_ns"]), int(command["t_ns"]) + self._ttl_ns)
        if state is Guard.FOLLOW and now_ns > self._expiry_ns[i]:
            self.fail("an expired command is followed")
        if not _finite(output.position):
            self.fail("a device target is not finite")
        if before is None:
            return
        old, last = before
        self.trips += old is Guard.FOLLOW and (state is Guard.BRAKE or state in HOLDING)
        if old in HOLDING and state in HOLDING and _moved(last, output) > STANDSTILL:
            self.fail("an arm that holds has moved")
        if state is Guard.BRAKE:
            self._brake_ns[i] = self._brake_ns[i] or now_ns
            if now_ns - self._brake_ns[i] > BRAKE_NS_MAX:
                self.fail("a brake takes too long")
        else:
            self._brake_ns[i] = 0
        if old in MOVING and state is Guard.DISARMED and _moved(last, output) > STANDSTILL:
            self.fail("an arm was let go in motion")

    def close(self) -> None:
        """Judge what is left at the end of the episode."""
        self._flush()
        if self.violations:
            self.fail(f"{self.violations} device commands outside the limits")


def _moved(before: GuardianOutput, after: GuardianOutput) -> float:
    return float(np.abs(after.position - before.position).max())


def _finite(joints: NDArray[np.float64]) -> bool:
    return all(map(isfinite, joints.tolist()))
