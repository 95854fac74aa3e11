"""What a recorded run tells of one arm: its feedback and its commands, in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.blackbox import Run
from runtime.clock import NS_PER_S
from runtime.layout import ARM_SLICE, SIDES, Side
from runtime.states import Mode

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ArmHistory:
    """`measured` (n, 7) at `measured_s` (n,), each feedback once; `commanded` (m, 7) at `commanded_s` (m,), armed."""

    measured_s: Array
    measured: Array
    commanded_s: Array
    commanded: Array


def arm_history(run: Run, side: Side) -> ArmHistory:
    """Return the history of a run's arm, in seconds from the run's beginning; rad and gripper fractions."""
    ticks = run.ticks
    arm = ticks["arm"][:, SIDES.index(side)]
    stamps, first = np.unique(arm["t_ns"], return_index=True)
    first = first[stamps > 0]
    armed = ticks["mode"] != Mode.DISARMED
    return ArmHistory(
        measured_s=(arm["t_ns"][first] - run.t0_ns) / NS_PER_S,
        measured=arm["position"][first].astype(np.float64),
        commanded_s=(ticks["command"]["t_ns"][armed] - run.t0_ns) / NS_PER_S,
        commanded=ticks["command"]["position"][armed][:, ARM_SLICE[side]].astype(np.float64),
    )
