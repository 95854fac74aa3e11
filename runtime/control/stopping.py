"""How far an axis travels while it stops, in closed form, for a discrete jerk-limited axis.

An axis advances by whole servo ticks: `a' = a + j`, `v' = v + a'`, `p' = p + v'`, all per tick, with `|j| <= J`
and `|a| <= A`. The quickest stop without turning back follows from one function: decreasing an acceleration
x to zero by J a tick changes the velocity by `ramp_sum(x)`, so the deceleration to apply at velocity v is the
inverse of that function, bounded by J and A. Everything here is elementwise on arrays that broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ramp_sum(x: Array, step: Array) -> Array:
    """Return x + (x - step) + (x - 2 step) + ... over its positive terms; 0 for x <= 0."""
    x = np.maximum(x, 0.0)
    count: Array = np.floor(x / step)
    return (count + 1.0) * (x - 0.5 * step * count)


def ramp_inverse(total: Array, step: Array) -> Array:
    """Return the x >= 0 whose `ramp_sum` is `total` (taken as 0 when negative)."""
    total = np.maximum(total, 0.0)
    count: Array = np.floor(0.5 * (np.sqrt(1.0 + 8.0 * total / step) - 1.0))
    return total / (count + 1.0) + 0.5 * step * count


def brake_step(v: Array, a: Array, a_max: Array, j_max: Array) -> Array:
    """Return the next acceleration of the quickest stop from velocity v and acceleration a."""
    wanted = -np.sign(v) * np.minimum(ramp_inverse(np.abs(v), j_max), a_max)
    braked: Array = np.minimum(np.maximum(wanted, a - j_max), a + j_max)
    return braked


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


def stop(v: Array, a: Array, a_max: Array, j_max: Array) -> Stop:
    """Return the stop of `brake_step` from velocity v and acceleration a, |a| <= a_max, without rolling it out.

    The stop is a ramp of the acceleration by J a tick, a stretch at A if it gets there, and the ramp back; the
    number of ticks in each follows from comparing two quadratics of the tick count.
    """
    v_coast = v + np.sign(a) * ramp_sum(np.abs(a) - j_max, j_max)
    side = np.where(v_coast < 0.0, -1.0, 1.0)
    v, a = v * side, a * side
    # Ticks m of the first ramp: the least with v_m <= ramp_sum(J - a_m), where -a = (k + r) J, 0 <= r < 1.
    k = np.floor(-a / j_max)
    r = -a - k * j_max
    b = j_max - a
    c = (k + 2.0) * (0.5 * j_max * (k + 1.0) + r) - v
    ramp = np.ceil((np.sqrt(np.maximum(b * b - j_max * c, 0.0)) - b) / j_max)
    ramp = np.maximum(np.maximum(ramp, np.ceil(a / j_max) - 1.0), 0.0)
    ramp = np.minimum(ramp, np.maximum(np.floor((a + a_max) / j_max), 0.0))
    v_ramp = v + ramp * (a - 0.5 * j_max * (ramp + 1.0))
    hold = np.maximum(np.ceil((v_ramp - ramp_sum(a_max, j_max)) / a_max), 0.0)
    v_hold = v_ramp - hold * a_max
    travel = ramp * (v + (ramp + 1.0) * (0.5 * a - j_max * (ramp + 2.0) / 6.0))
    travel += hold * (v_ramp - 0.5 * a_max * (hold + 1.0)) + _landing(v_hold, j_max)
    forward = np.maximum(travel, 0.0)
    back = np.where(v < 0.0, _landing(-v, j_max), 0.0)
    ahead = side > 0.0
    return Stop(
        end=side * travel,
        up=np.where(ahead, forward, back),
        down=np.where(ahead, back, forward),
        v_coast=v_coast,
    )


def _landing(v: Array, j_max: Array) -> Array:
    """Travel of the last ramp of a stop, from velocity v >= 0 decelerating by ramp_inverse(v) at once."""
    x = ramp_inverse(v, j_max)
    count = np.floor(x / j_max)
    rest = x - count * j_max
    travel: Array = 0.5 * count * (count + 1.0) * (rest + j_max * (count - 1.0) / 3.0)
    return travel
