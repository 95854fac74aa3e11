"""The delay from a command to the motion that follows it, by correlating the two velocities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.recorded import ArmHistory
from runtime.errors import LeadtimeError
from runtime.layout import ARM_JOINTS

Array = NDArray[np.float64]

STEP_S: Final = 0.001
WINDOW: Final = 50
"""Steps that a velocity is taken over, of commands and feedback alike: an encoder moves by whole counts, which over one
step of the feedback are faster than a slow arm."""
DELAY_MAX_S: Final = 0.3
MOVED_RAD_S: Final = 0.05
"""A joint whose commanded velocity is less than this in the root mean square says nothing."""
CORRELATION_MIN: Final = 0.8
SPAN_MIN_S: Final = 1.0


@dataclass(frozen=True)
class CommandDelay:
    """`delay_s` over the joints that moved, `joints_s` each (NaN where it did not), and their correlation there."""

    delay_s: float
    correlation: float
    joints_s: Array
    samples: int


def estimate(history: ArmHistory) -> CommandDelay:
    """Find the delay; the median over the joints, each weighted alike.

    Raises:
        LeadtimeError: the arm hardly moved, did not do what it was told, or not within `DELAY_MAX_S`.
    """
    start = max(history.measured_s.min(initial=np.inf), history.commanded_s.min(initial=np.inf))
    end = min(history.measured_s.max(initial=-np.inf), history.commanded_s.max(initial=-np.inf))
    if not end - start >= SPAN_MIN_S:
        raise LeadtimeError("the arm was commanded for less than a second; record a run in which it moves")
    times = np.arange(start, end, STEP_S)
    delays, peaks = np.full(ARM_JOINTS, np.nan), np.full(ARM_JOINTS, np.nan)
    for joint in range(ARM_JOINTS):
        asked = _velocity(np.interp(times, history.commanded_s, history.commanded[:, joint]))
        if np.sqrt(np.mean(asked**2)) >= MOVED_RAD_S:
            done = _velocity(np.interp(times, history.measured_s, history.measured[:, joint]))
            delays[joint], peaks[joint] = _lag(asked, done)
    moved = np.isfinite(delays)
    if not moved.any():
        raise LeadtimeError("no joint moved enough to tell a delay; record a run in which the arm moves")
    correlation = float(np.median(peaks[moved]))
    if correlation < CORRELATION_MIN:
        raise LeadtimeError(f"the arm does not follow its commands: their correlation is {correlation:.2f} at best")
    delay_s = float(np.median(delays[moved]))
    if not 0.0 < delay_s < DELAY_MAX_S:
        raise LeadtimeError(f"the arm does not follow its commands within {DELAY_MAX_S} s; are the run's stamps right?")
    return CommandDelay(delay_s, correlation, delays, len(history.measured_s))


def _velocity(position: Array) -> Array:
    return (position[WINDOW:] - position[:-WINDOW]) / (WINDOW * STEP_S)


def _lag(asked: Array, done: Array) -> tuple[float, float]:
    """Return by how much (s) one velocity lags behind another, between samples by a parabola, and the correlation."""
    most = round(DELAY_MAX_S / STEP_S)
    scores = np.array([_correlation(asked[: len(asked) - lag], done[lag:]) for lag in range(most + 1)])
    best = int(scores.argmax())
    if not 0 < best < most:
        return best * STEP_S, float(scores[best])
    before, here, after = scores[best - 1 : best + 2]
    bend = before - 2.0 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
    return (best + shift) * STEP_S, float(here)


def _correlation(one: Array, other: Array) -> float:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0.0 else 0.0
