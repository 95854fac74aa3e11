"""The independent check at the device: counts commands outside the arm's limits, and changes none.

Shares no code with the limits of the control process or of the guardians, which it checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.arms import ArmModel

_TOLERANCE = 1e-6


class LimitAudit:
    """Watches one arm's device commands for position, velocity and acceleration beyond the model's limits.

    Jerk is left to the control process: a guardian that bridges a missing command does so at constant velocity.

    Rates are finite differences over the servo ticks that the commands carry, so they do not depend on when a
    process happened to be woken. After a pause longer than `gap_ticks` the history starts anew.
    """

    def __init__(self, model: ArmModel, servo_period_s: float, gap_ticks: int = 8) -> None:
        self._low = np.array(model.position_min) - _TOLERANCE
        self._high = np.array(model.position_max) + _TOLERANCE
        self._velocity = np.array(model.velocity_max) * (1 + _TOLERANCE)
        self._acceleration = np.array(model.acceleration_max) * (1 + _TOLERANCE)
        self._period_s = servo_period_s
        self._gap_ticks = gap_ticks
        self._last: tuple[int, Any] | None = None
        self._last_velocity: Any = None
        self._last_step_s = servo_period_s
        self.violations = 0

    def check(self, servo_tick: int, position: Any) -> bool:
        """Return whether a command is within the limits; count it when it is not. `position` has shape (7,)."""
        fits = bool(np.all(np.isfinite(position)) and np.all(position >= self._low))
        fits = fits and bool(np.all(position <= self._high))
        if self._last is not None:
            ticks = servo_tick - self._last[0]
            if ticks == 0 and np.array_equal(position, self._last[1]):
                return fits
            if 0 < ticks <= self._gap_ticks:
                step_s = ticks * self._period_s
                velocity = (position - self._last[1]) / step_s
                fits = fits and bool(np.all(np.abs(velocity) <= self._velocity))
                if self._last_velocity is not None:
                    # Mean velocities of neighbouring steps are half of both steps apart.
                    acceleration = (velocity - self._last_velocity) * 2 / (step_s + self._last_step_s)
                    fits = fits and bool(np.all(np.abs(acceleration) <= self._acceleration))
                self._last_velocity, self._last_step_s = velocity, step_s
            else:
                # A pause or a counter that starts anew: the command must stay where the last one was.
                fits = fits and bool(np.all(np.abs(position - self._last[1]) <= self._velocity * self._period_s))
                self._last_velocity, self._last_step_s = None, self._period_s
        self._last = (servo_tick, position)
        if not fits:
            self.violations += 1
        return fits
