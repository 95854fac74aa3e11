"""What the control decisions depend on besides their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.config import HandoverConfig, RigConfig
from runtime.control.clearance import Clearance
from runtime.control.limits import RigLimits
from runtime.control.merge import MERGES
from runtime.control.trajectory import Rates
from runtime.errors import unknown_name

JUMP_RAD: Final = 0.35
HALT_TICKS: Final = 500
"""10 s at 50 Hz, at least; longer where a rig waits longer for an answer: a second request is waited for too."""


@dataclass(frozen=True)
class ControlConfig:
    """A rig's limits and times, and the thresholds of the checks. `home` has shape (14,)."""

    limits: RigLimits
    home: NDArray[np.float64]
    merge: str
    command_ttl_ns: int
    state_stale_ns: int
    leader_stale_ns: int
    handover: HandoverConfig
    jump_rad: float = JUMP_RAD
    """The largest seam of a chunk that is believed."""
    tracking_rad: float = 0.25
    tracking_ns: int = 100 * NS_PER_MS
    wait_ticks: int = 0
    """Policy ticks for which a plan that ran out is waited for, at a stop and in POLICY; 0: HOLD at once."""
    halt_ticks: int = HALT_TICKS
    """The same where chunks are executed one by one."""
    park_share: float = 0.3
    """The share of the limits that PARK moves with."""
    clearance: Clearance | None = None
    """What the commanded path must keep clear of; None: it is not checked."""

    @classmethod
    def from_rig(cls, rig: RigConfig, merge: str, *, wait_ticks: int = 0, jump_rad: float = JUMP_RAD) -> Self:
        """Resolve a rig's configuration; UsageError for an unknown merge, with the valid names."""
        if merge not in MERGES:
            raise unknown_name("merge", merge, MERGES)
        return cls(
            limits=RigLimits.from_rig(rig),
            home=rig.stack("home"),
            merge=merge,
            wait_ticks=wait_ticks,
            halt_ticks=max(HALT_TICKS, round(2 * rig.request_deadline_ms * rig.policy_hz / 1000)),
            command_ttl_ns=round(rig.command_ttl_ms * NS_PER_MS),
            state_stale_ns=round(rig.state_stale_ms * NS_PER_MS),
            jump_rad=jump_rad,
            clearance=Clearance.from_rig(rig) if rig.workspace.check else None,
            leader_stale_ns=round(rig.leader_stale_ms * NS_PER_MS),
            handover=rig.handover,
        )

    @property
    def park_rates(self) -> Rates:
        """The rates of PARK."""
        limits, share = self.limits, self.park_share
        return Rates(limits.velocity_max * share, limits.acceleration_max * share, limits.jerk_max * share)
