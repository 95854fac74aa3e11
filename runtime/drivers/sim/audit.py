"""The independent check at the device: counts commands outside the arm's limits, and changes none.

Shares no code with the limits of the control process or of the guardians, which it checks.
"""

from __future__ import annotations

from operator import le, sub
from typing import Any

from runtime.arms import ArmModel

_TOLERANCE = 1e-6


class LimitAudit:
    """Watches one arm's device commands for position, velocity and acceleration beyond the model's limits.

    Jerk is left to the control process: a guardian that bridges a missing command does so at constant velocity.

    Rates are finite differences over the servo ticks that the commands carry, so they do not depend on when a
    process happened to be woken. After a pause longer than `gap_ticks`, the ticks that a command lives, the arm has
    stopped by itself and the history starts anew. `step_rad` is the smallest step of a command that came over a bus:
    rates are told no finer than it allows.
    """

    def __init__(self, model: ArmModel, servo_period_s: float, gap_ticks: int = 8, step_rad: float = 0.0) -> None:
        slack = _TOLERANCE + 0.5 * step_rad
        self._low = [low - slack for low in model.position_min]
        self._high = [high + slack for high in model.position_max]
        # A position is off by half a step at most, a difference of two by one, of two differences by two.
        coarse = step_rad / servo_period_s
        self._velocity = [most * (1 + _TOLERANCE) + coarse for most in model.velocity_max]
        self._acceleration = [most * (1 + _TOLERANCE) + 2 * coarse / servo_period_s for most in model.acceleration_max]
        self._step = [most * servo_period_s for most in self._velocity]
        self._period_s = servo_period_s
        self._gap_ticks = gap_ticks
        self._last: tuple[int | None, list[float]] | None = None
        self._last_velocity: list[float] | None = None
        self._last_step_s = servo_period_s
        self.violations = 0

    def let_go(self, measured: Any) -> None:
        """Start anew where an arm is measured, shape (7,): without torque it may have moved since the last command.

        Outside the position limits, that is the limit.
        """
        low, high = self._low, self._high
        inside = [min(max(x, least), most) for x, least, most in zip(measured.tolist(), low, high, strict=True)]
        self._last = None, inside

    def check(self, servo_tick: int, position: Any) -> bool:
        """Return whether a command is within the limits; count it when it is not. `position` has shape (7,)."""
        joints = position.tolist()
        # What is not finite is not within them either.
        fits = all(map(le, self._low, joints)) and all(map(le, joints, self._high))
        if self._last is not None:
            last_tick, last = self._last
            ticks = 0 if last_tick is None else servo_tick - last_tick
            if last_tick == servo_tick and joints == last:
                return fits
            apart = list(map(sub, joints, last))
            if 0 < ticks <= self._gap_ticks:
                fits = self._moves(apart, ticks * self._period_s) and fits
            else:
                # A pause or a counter that starts anew: the command must stay where the last one was.
                fits = fits and _bounded(apart, self._step)
                self._last_velocity, self._last_step_s = None, self._period_s
        self._last = (servo_tick, joints)
        if not fits:
            self.violations += 1
        return fits

    def _moves(self, apart: list[float], step_s: float) -> bool:
        """Whether a step (7,) is within velocity and, seen with the step before it, acceleration."""
        velocity = [step / step_s for step in apart]
        fits = _bounded(velocity, self._velocity)
        if self._last_velocity is not None:
            # Mean velocities of neighbouring steps are half of both steps apart.
            span_s = step_s + self._last_step_s
            changes = map(sub, velocity, self._last_velocity)
            fits = fits and _bounded([change * 2 / span_s for change in changes], self._acceleration)
        self._last_velocity, self._last_step_s = velocity, step_s
        return fits


def _bounded(rates: list[float], most: list[float]) -> bool:
    return all(map(le, map(abs, rates), most))
