"""What is wrong with the arms and with the ticks themselves, as bits of the fault table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.faults import BIT
from runtime.layout import ARM_JOINTS
from runtime.records import Guard, Link, Mode, Trip

Record = NDArray[Any]

OUTSIDE_RAD: Final = 0.1
"""How far a measured position may lie outside its limits when the arms are armed."""
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


def fresh(record: Record, now_ns: int, stale_ns: int) -> bool:
    """Whether a record was ever written and is no older than it may be."""
    t_ns = int(record["t_ns"])
    return t_ns > 0 and now_ns - t_ns <= stale_ns


def usable(arm: Record, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Whether an arm's feedback is fit for arming: finite, not all zero, no device fault, within the limits."""
    position = arm["position"]
    finite = bool(np.isfinite(position).all() and np.isfinite(arm["velocity"]).all())
    inside = bool(((position >= low - OUTSIDE_RAD) & (position <= high + OUTSIDE_RAD)).all())
    return finite and inside and bool(position.any()) and int(arm["fault"]) == 0


def arm_faults(arm: Record, guardian: Record, now_ns: int, stale_ns: int) -> int:
    """Return what is wrong with an armed arm's feedback, device or guardian."""
    faults = 0
    if not fresh(arm, now_ns, stale_ns) or not np.isfinite(arm["position"]).all():
        faults |= BIT["arm_silent"]
    if int(arm["fault"]):
        faults |= BIT["device_fault"]
    if not fresh(guardian, now_ns, stale_ns):
        faults |= BIT["guardian_lost"]
    if int(guardian["state"]) == Guard.FAULT:
        faults |= BIT["device_fault"]
    return faults


def trip_fault(guardian: Record) -> int:
    """Return why a guardian that has left FOLLOW did so."""
    return BIT[_TRIP_FAULTS[Trip(int(guardian["reason"]))]]


def client_faults(t_ns: int, link: int, now_ns: int) -> int:
    """Return whether the way to the policy server is lost; a client that never spoke has not begun."""
    lost = t_ns > 0 and (link == Link.LOST or now_ns - t_ns > CLIENT_SILENT_NS)
    return BIT["server_lost"] if lost else 0


def wanted(operator: Record) -> Mode:
    """Return the mode the operator asks for; what this runtime cannot do reads as HOLD."""
    want = int(operator["want"])
    return Mode(want) if want in {Mode.DISARMED, Mode.POLICY, Mode.PARK} else Mode.HOLD


class Watch:
    """What takes more than one tick to see: lost tracking and a rate that is not kept."""

    def __init__(self, tracking_rad: float, tracking_ticks: int, ttl_ticks: int) -> None:
        self._tracking_rad = tracking_rad
        self._tracking_ticks = tracking_ticks
        self._ttl_ticks = ttl_ticks
        self._astray = 0
        self._overrun = 0

    def tracking(self, commanded: NDArray[np.float64], arms: Sequence[Record]) -> int:
        """Compare the last command (14,) with the measured joints; grippers may be held open by an object."""
        apart = commanded.reshape(len(arms), -1) - np.stack([arm["position"] for arm in arms])
        astray = bool((np.abs(apart[:, :ARM_JOINTS]) > self._tracking_rad).any())
        self._astray = self._astray + 1 if astray else 0
        return BIT["tracking_lost"] if self._astray > self._tracking_ticks else 0

    def rate(self, elapsed_ticks: int) -> int:
        """Judge how many servo ticks this one took."""
        if elapsed_ticks > self._ttl_ticks:
            return BIT["control_paused"]
        self._overrun = max(self._overrun + (elapsed_ticks - 1) * OVERRUN_COST - 1, 0)
        if self._overrun <= OVERRUN_MAX:
            return 0
        self._overrun = 0
        return BIT["overrun"]
