"""How far an axis travels while it stops, in closed form, for a discrete jerk-limited axis.

An axis advances by whole servo ticks: `a' = a + j`, `v' = v + a'`, `p' = p + v'`, all per tick, with `|j| <= J`
and `|a| <= A`. The quickest stop without turning back follows from one function: decreasing an acceleration
x to zero by J a tick changes the velocity by `ramp_sum(x)`, so the deceleration to apply at velocity v is the
inverse of that function, bounded by J and A. Everything here is elementwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Stop(NamedTuple):
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
    """Axes with limits A and J, arrays that broadcast with what is asked; quickest where they are of its shape.

    So are the constants of the formulas: numpy takes twice as long for a number as for an array of the same shape.
    """

    def __init__(self, a_max: Array, j_max: Array) -> None:
        self.a_max, self.j_max = a_max, j_max
        self._zero, self._half, self._one, self._three, self._six = (
            np.full(a_max.shape, x) for x in (0.0, 0.5, 1.0, 3.0, 6.0)
        )
        self._half_a, self._half_j, self._eighth_j = 0.5 * a_max, 0.5 * j_max, 0.125 * j_max
        self._ramp_a = self.ramp_sum(a_max)
        self._lag = 0.5 * np.maximum(a_max / j_max, 1.0)  # half a tick at least: what continuous time is ahead by
        self._slow = 0.5 / a_max
        self._ticks = self._lag + 2.0

    def ramp_sum(self, x: Array) -> Array:
        """Return x + (x - J) + (x - 2 J) + ... over its positive terms; 0 for x <= 0."""
        x = np.maximum(x, self._zero)
        count = np.floor(x / self.j_max)
        total: Array = (count + self._one) * (x - self._half_j * count)
        return total

    def ramp_inverse(self, total: Array) -> Array:
        """Return the x >= 0 whose `ramp_sum` is `total` (taken as 0 when negative)."""
        total, one = np.maximum(total, self._zero), self._one
        count = np.floor(self._half * (np.sqrt(one + total / self._eighth_j) - one))
        x: Array = total / (count + one) + self._half_j * count
        return x

    def brake_step(self, v: Array, a: Array) -> Array:
        """Return the next acceleration of the quickest stop from velocity v and acceleration a."""
        wanted = -np.sign(v) * np.minimum(self.ramp_inverse(np.abs(v)), self.a_max)
        braked: Array = np.minimum(np.maximum(wanted, a - self.j_max), a + self.j_max)
        return braked

    def stop(self, v: Array, a: Array) -> Stop:
        """Return the stop of `brake_step` from velocity v and acceleration a, |a| <= A, without rolling it out."""
        side, travel, v_coast = self._travel(v, a)
        forward, against = np.maximum(travel, self._zero), -side * v
        back = self._landing(against) if np.count_nonzero(against > self._zero) else self._zero
        ahead = side > self._zero
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

    def bounds(self, v: Array, a: Array) -> tuple[Array, Array]:
        """Return bounds, quick to find, of the stop from velocity v and acceleration a, |a| <= A: velocity, distance.

        Taking the acceleration back lasts |a| / J ticks and adds at most a^2 / 2J <= |a| A / 2J to the velocity. From
        there it takes v / A + A / J ticks at a mean of v / 2; to be added are two ticks that are not full.
        """
        size = np.abs(a)
        fastest = np.abs(v) + size * self._lag
        return fastest, fastest * (fastest * self._slow + size / self.j_max + self._ticks)

    def _travel(self, v: Array, a: Array) -> tuple[Array, Array, Array]:
        """Return the side (1 or -1) an axis coasts to, how far to that side it stops, and its velocity in between.

        The stop is a ramp of the acceleration by J a tick, a stretch at A if it gets there, and the ramp back; the
        number of ticks in each follows from comparing two quadratics of the tick count.
        """
        zero, one, j_max = self._zero, self._one, self.j_max
        v_coast = v + np.copysign(self.ramp_sum(np.abs(a) - j_max), a)
        side = np.copysign(one, v_coast + zero)  # -0.0 + 0.0 is 0.0: standing still coasts ahead
        v, d = v * side, a * -side
        # Ticks m of the first ramp: the least with v_m <= ramp_sum(J + d_m), where d = (k + r) J, 0 <= r < 1.
        k = np.floor(d / j_max)
        r = d - k * j_max
        b = j_max + d
        k += one
        c = (k + one) * (self._half_j * k + r) - v
        ramp = np.ceil((np.sqrt(np.maximum(b * b - j_max * c, zero)) - b) / j_max)
        ramp = np.maximum(np.maximum(ramp, -k), zero)
        ramp = np.minimum(ramp, np.maximum(np.floor((self.a_max - d) / j_max), zero))
        after = ramp + one
        v_ramp = v - ramp * (d + self._half_j * after)
        hold = np.maximum(np.ceil((v_ramp - self._ramp_a) / self.a_max), zero)
        travel = ramp * (v - after * (self._half * d + j_max * (after + one) / self._six))
        travel += hold * (v_ramp - self._half_a * (hold + one)) + self._landing(v_ramp - hold * self.a_max)
        return side, travel, v_coast

    def _landing(self, v: Array) -> Array:
        """Travel of the last ramp of a stop, from velocity v decelerating by ramp_inverse(v) at once."""
        one, j_max = self._one, self.j_max
        x = self.ramp_inverse(v)
        count = np.floor(x / j_max)
        rest = x - count * j_max
        travel: Array = self._half * count * (count + one) * (rest + j_max * (count - one) / self._three)
        return travel
