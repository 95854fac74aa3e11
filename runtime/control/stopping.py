"""How far an axis travels while it stops, in closed form, for a discrete jerk-limited axis.

An axis advances by whole servo ticks: `a' = a + j`, `v' = v + a'`, `p' = p + v'`, all per tick, with `|j| <= J`
and `|a| <= A`. The quickest stop without turning back follows from one function: decreasing an acceleration
x to zero by J a tick changes the velocity by `ramp_sum(x)`, so the deceleration to apply at velocity v is the
inverse of that function, bounded by J and A. Everything here is elementwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stop:
    """Where the quickest stop leads, relative to the present position.

    `end` is where it comes to rest; `up` and `down` (both >= 0) bound how far it goes either way and shrink by
    at least what was travelled with every tick of that stop, so what holds once holds until the axis rests.
    `v_coast` is the extreme velocity on the way, once the acceleration is taken back to zero.
    """

    end: Array
    up: Array
    down: Array
    v_coast: Array


class Axes:
    """Axes with limits A and J, arrays that broadcast with what is asked; quickest where they are of its shape."""

    def __init__(self, a_max: Array, j_max: Array) -> None:
        self.a_max, self.j_max = a_max, j_max
        self._half_a, self._half_j = 0.5 * a_max, 0.5 * j_max
        self._ramp_a = self.ramp_sum(a_max)
        self._lag = 0.5 * a_max / j_max
        self._slow = 0.5 / a_max
        self._ticks = 2.0 * a_max / j_max + 2.0

    def ramp_sum(self, x: Array) -> Array:
        """Return x + (x - J) + (x - 2 J) + ... over its positive terms; 0 for x <= 0."""
        x = np.maximum(x, 0.0)
        count: Array = np.floor(x / self.j_max)
        return (count + 1.0) * (x - self._half_j * count)

    def ramp_inverse(self, total: Array) -> Array:
        """Return the x >= 0 whose `ramp_sum` is `total` (taken as 0 when negative)."""
        total = np.maximum(total, 0.0)
        count: Array = np.floor(0.5 * (np.sqrt(1.0 + 8.0 * total / self.j_max) - 1.0))
        return total / (count + 1.0) + self._half_j * count

    def brake_step(self, v: Array, a: Array) -> Array:
        """Return the next acceleration of the quickest stop from velocity v and acceleration a."""
        wanted = -np.sign(v) * np.minimum(self.ramp_inverse(np.abs(v)), self.a_max)
        braked: Array = np.minimum(np.maximum(wanted, a - self.j_max), a + self.j_max)
        return braked

    def stop(self, v: Array, a: Array) -> Stop:
        """Return the stop of `brake_step` from velocity v and acceleration a, |a| <= A, without rolling it out."""
        side, travel, v_coast = self._travel(v, a)
        forward, back = np.maximum(travel, 0.0), self._landing(-side * v)
        ahead = side > 0.0
        return Stop(
            end=side * travel,
            up=np.where(ahead, forward, back),
            down=np.where(ahead, back, forward),
            v_coast=v_coast,
        )

    def stop_end(self, v: Array, a: Array) -> Array:
        """Return the `end` of `stop` alone."""
        side, travel, _ = self._travel(v, a)
        return side * travel

    def fastest(self, v: Array, a: Array) -> Array:
        """Return a bound, quick to find, of the velocity on the stop from velocity v and acceleration a, |a| <= A.

        Taking the acceleration back adds at most a^2 / 2J <= |a| A / 2J.
        """
        return np.abs(v) + np.abs(a) * self._lag

    def farthest(self, fastest: Array) -> Array:
        """Return a bound of how far a stop goes either way that is nowhere faster than `fastest`.

        It takes v / 2A at its mean velocity, and no more than 2A / J for its ramps and two ticks that are not full.
        """
        return fastest * (fastest * self._slow + self._ticks)

    def _travel(self, v: Array, a: Array) -> tuple[Array, Array, Array]:
        """Return the side (1 or -1) an axis coasts to, how far to that side it stops, and its velocity in between.

        The stop is a ramp of the acceleration by J a tick, a stretch at A if it gets there, and the ramp back; the
        number of ticks in each follows from comparing two quadratics of the tick count.
        """
        v_coast = v + np.copysign(self.ramp_sum(np.abs(a) - self.j_max), a)
        side = np.copysign(1.0, v_coast + 0.0)  # -0.0 + 0.0 is 0.0: standing still coasts ahead
        v, d = v * side, a * -side
        # Ticks m of the first ramp: the least with v_m <= ramp_sum(J + d_m), where d = (k + r) J, 0 <= r < 1.
        k = np.floor(d / self.j_max)
        r = d - k * self.j_max
        b = self.j_max + d
        c = (k + 2.0) * (self._half_j * (k + 1.0) + r) - v
        ramp = np.ceil((np.sqrt(np.maximum(b * b - self.j_max * c, 0.0)) - b) / self.j_max)
        ramp = np.maximum(np.maximum(ramp, -1.0 - k), 0.0)
        ramp = np.minimum(ramp, np.maximum(np.floor((self.a_max - d) / self.j_max), 0.0))
        v_ramp = v - ramp * (d + self._half_j * (ramp + 1.0))
        hold = np.maximum(np.ceil((v_ramp - self._ramp_a) / self.a_max), 0.0)
        travel = ramp * (v - (ramp + 1.0) * (0.5 * d + self.j_max * (ramp + 2.0) / 6.0))
        travel += hold * (v_ramp - self._half_a * (hold + 1.0)) + self._landing(v_ramp - hold * self.a_max)
        return side, travel, v_coast

    def _landing(self, v: Array) -> Array:
        """Travel of the last ramp of a stop, from velocity v decelerating by ramp_inverse(v) at once."""
        x = self.ramp_inverse(v)
        count = np.floor(x / self.j_max)
        rest = x - count * self.j_max
        travel: Array = 0.5 * count * (count + 1.0) * (rest + self.j_max * (count - 1.0) / 3.0)
        return travel
