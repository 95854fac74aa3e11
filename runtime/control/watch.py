"""What is wrong with the arms, the guardians, the client and the ticks themselves, as bits of the fault table."""

from __future__ import annotations

from math import inf, isfinite
from operator import gt, sub
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.control.guardian import ENGAGE
from runtime.control.settings import ControlConfig
from runtime.control.ticks import TickInputs
from runtime.faults import BIT
from runtime.layout import ARM_SLICE, GRIPPER_INDEX, RIG_DOF, SIDES
from runtime.states import Guard, Link, Trip

Record = NDArray[Any]

CLIENT_SILENT_NS: Final = 500_000_000
OVERRUN_COST: Final = 10
OVERRUN_MAX: Final = 2000
"""The overrun gauge rises by the cost for a skipped tick and falls by one for a tick: 1 in 10 for seconds."""
_TRIP_FAULTS: Final = {
    Trip.NONE: "guardian_lost",
    Trip.EXPIRED: "control_paused",
    Trip.NOT_FINITE: "command_refused",
    Trip.JUMP: "command_refused",
    Trip.DEVICE: "device_fault",
    Trip.TRACKING: "tracking_lost",
}


def following(inputs: TickInputs) -> bool:
    """Whether both guardians follow the commands."""
    return all(int(guardian["state"]) == Guard.FOLLOW for guardian in inputs.guardian)


def client_faults(inputs: TickInputs) -> int:
    """Return whether the way to the policy server is lost; a client that never spoke has not begun."""
    silent = inputs.now_ns - inputs.client_t_ns > CLIENT_SILENT_NS
    lost = inputs.client_t_ns > 0 and (inputs.client_link == Link.LOST or silent)
    return BIT["server_lost"] if lost else 0


class Watch:
    """Checks each tick's inputs. Two checks take more than one tick: lost tracking and a rate that is not kept."""

    def __init__(self, config: ControlConfig, servo_period_ns: int) -> None:
        self._low, self._high = config.limits.position_min, config.limits.position_max
        self._stale_ns = config.state_stale_ns
        self._astray_rad = [inf if i in GRIPPER_INDEX else config.tracking_rad for i in range(RIG_DOF)]
        self._tracking_ticks = config.tracking_ns // servo_period_ns
        self._ttl_ticks = config.command_ttl_ns // servo_period_ns
        self._astray = 0
        self._overrun = 0

    def usable(self, inputs: TickInputs) -> bool:
        """Whether both arms' feedback is fit for arming: fresh, finite, not all zero, no fault, within limits."""
        return all(
            self._usable(arm, ARM_SLICE[side], inputs.now_ns) for side, arm in zip(SIDES, inputs.arm, strict=True)
        )

    def armable(self, inputs: TickInputs) -> bool:
        """Whether both arms may be armed: their feedback is usable, their guardians alive and not in motion."""
        return self.usable(inputs) and all(
            self._fresh(guardian, inputs.now_ns) and int(guardian["state"]) in {Guard.DISARMED, Guard.HOLD}
            for guardian in inputs.guardian
        )

    def arm_faults(self, inputs: TickInputs) -> int:
        """Return what is wrong with an armed arm's feedback or device, or with its guardian."""
        faults = 0
        for arm, guardian in zip(inputs.arm, inputs.guardian, strict=True):
            if not self._fresh(arm, inputs.now_ns) or not all(map(isfinite, arm["position"].tolist())):
                faults |= BIT["arm_silent"]
            if int(arm["fault"]) or int(guardian["state"]) == Guard.FAULT:
                faults |= BIT["device_fault"]
            if not self._fresh(guardian, inputs.now_ns):
                faults |= BIT["guardian_lost"]
        return faults

    def trip_faults(self, inputs: TickInputs, acks: list[int], *, standing: bool) -> int:
        """Return why guardians left FOLLOW, as far as that is not acknowledged; `standing`: no arm moves."""
        faults = 0
        for guardian, ack in zip(inputs.guardian, acks, strict=True):
            if int(guardian["state"]) == Guard.DISARMED:
                # A guardian that is disarmed under a moving arm was started anew.
                faults |= 0 if standing else BIT["guardian_lost"]
            elif int(guardian["trips"]) != ack:
                faults |= BIT[_TRIP_FAULTS[Trip(int(guardian["reason"]))]]
        return faults

    def tracking(self, commanded: NDArray[np.float64], inputs: TickInputs) -> int:
        """Compare the last command (14,) with the measured joints; grippers may be held open by an object."""
        measured: list[float] = []
        for arm in inputs.arm:
            measured += arm["position"].tolist()
        astray = any(map(gt, map(abs, map(sub, commanded.tolist(), measured)), self._astray_rad))
        self._astray = self._astray + 1 if astray else 0
        return BIT["tracking_lost"] if self._astray > self._tracking_ticks else 0

    def rate(self, elapsed_ticks: int) -> int:
        """Judge how many servo ticks the present one took: a pause, or too many overruns one after another."""
        if elapsed_ticks > self._ttl_ticks:
            return BIT["control_paused"]
        self._overrun = max(self._overrun + (elapsed_ticks - 1) * OVERRUN_COST - 1, 0)
        if self._overrun <= OVERRUN_MAX:
            return 0
        self._overrun = 0
        return BIT["overrun"]

    def _fresh(self, record: Record, now_ns: int) -> bool:
        t_ns = int(record["t_ns"])
        return t_ns > 0 and now_ns - t_ns <= self._stale_ns

    def _usable(self, arm: Record, part: slice, now_ns: int) -> bool:
        position = arm["position"]
        finite = bool(np.isfinite(position).all() and np.isfinite(arm["velocity"]).all())
        # Further outside its limits the command, which is inside, would be too far from it for the guardian to engage.
        low, high = self._low[part] - ENGAGE, self._high[part] + ENGAGE
        inside = bool(((position >= low) & (position <= high)).all())
        alive = self._fresh(arm, now_ns) and int(arm["fault"]) == 0
        return alive and finite and inside and bool(position.any())
