"""A limiter in whole numbers of jerks, targets for it as accelerations, and a chase that is checked at every tick."""

from __future__ import annotations

import numpy as np

from runtime.control.limits import RigLimiter, RigLimits
from runtime.control.stopping import Axes
from runtime.layout import RIG_DOF

DT = 0.5
"""Seconds a tick; it and the limits are powers of two, so that sums of them are exact."""
J = 2.0**-6
A, V, ROOM = 4 * J, 64 * J, 4.0
A_LITTLE = J * 2.0**-20
EVERY = (1 << RIG_DOF) - 1
RESTS = np.zeros(RIG_DOF)


def rig_limits(v: object = V, a: object = A, j: object = J, low: object = -ROOM, high: object = ROOM) -> RigLimits:
    """Limits from those per tick, the same for every joint or one each."""
    v, a, j, low, high = (np.broadcast_to(np.asarray(x, dtype=float), RIG_DOF) for x in (v, a, j, low, high))
    return RigLimits(low, high, v / DT, a / DT**2, j / DT**3)


class Path:
    """Targets given as accelerations per tick, from rest at zero, for the joints it is asked for."""

    def __init__(self, limiter: RigLimiter, joints: object = slice(None), side: float = 1.0) -> None:
        self.limiter, self.side = limiter, side
        self.moves = np.zeros(RIG_DOF)
        self.moves[joints] = side
        self.p = self.v = 0.0

    def step(self, a: float) -> int:
        """Ask for the next acceleration; returns which joints were not given it."""
        self.v += a
        self.p += self.v
        return self.limiter.step(self.moves * self.p)

    def steps(self, *multiples_of_j: float) -> list[int]:
        """Ask for several accelerations."""
        return [self.step(multiple * J) for multiple in multiples_of_j]


AXES = {
    "v": np.geomspace(16 * J, 100 * J, RIG_DOF),
    "a": np.tile([4 * J, 7.3 * J], RIG_DOF // 2),
    "j": np.repeat([J, 0.37 * J], RIG_DOF // 2),
}
"""Axes of all kinds, per tick."""
A_CHORD = 0.15
"""By how much the acceleration of a chase may miss, in jerks: its equation is solved by chords of an eighth of two."""
NEAR = 1e-5
"""A rate is at its limit within this share of it."""
NEAR_STOP = 2.0
"""A stop is at a position limit within this many jerks."""


class Chase:
    """Steps a limiter and holds each tick against what is promised of it."""

    def __init__(self, axes: dict[str, np.ndarray] = AXES, room: float = ROOM) -> None:
        self.most = dict(axes)
        self.low, self.high = -room, room
        self.limiter = RigLimiter(rig_limits(**axes, low=-room, high=room), DT, RESTS)
        self.axes = Axes(axes["a"], axes["j"])
        self.goals, self.rows = [RESTS] * 4, [RESTS] * 4
        self.chased = 0

    def slow(self, share: np.ndarray) -> None:
        """Keep to a share of the velocities."""
        self.most["v"] = self.limiter.limits.velocity_max * DT * share
        self.limiter.slow(share)

    def step(self, target: np.ndarray, given: np.ndarray | None = None) -> None:
        """Move on by a tick."""
        (v0, a0), sound = self._rates(), np.isfinite(target)
        goal = np.clip(np.where(sound, target, self.rows[-1]), self.low, self.high)
        bits = self.limiter.step(target, given)
        p = self.limiter.motion.position
        assert bits == sum(1 << i for i in range(RIG_DOF) if p[i] != target[i])
        self.goals, self.rows = [*self.goals[1:], goal], [*self.rows[1:], p]
        v, a = self._rates()
        assert (np.abs(a) <= self.most["a"]).all()
        assert (np.abs(a - a0) <= self.most["j"]).all()
        slowing = np.maximum(np.abs(v0), np.abs(self.axes.stop(v0, a0).v_coast)) * (1.0 + 1e-12)
        assert (np.abs(v) <= np.maximum(self.most["v"], slowing)).all()
        assert (np.abs(p) <= self.high).all()
        braked = np.abs(a - self.axes.brake_step(v0, a0)) <= NEAR * self.most["j"]
        assert (sound | braked).all(), "what is no number is no target: its joint brakes"
        pace = np.median(np.diff(self.goals, axis=0), axis=0) if given is None else given
        self._check_chase(v, a, a - a0, np.clip(pace, -self.most["v"], self.most["v"]), sound & (p != goal))

    def _rates(self) -> tuple[np.ndarray, np.ndarray]:
        rates = np.diff(self.rows, axis=0)
        return rates[-1], rates[-1] - rates[-2]

    def _check_chase(self, v: np.ndarray, a: np.ndarray, j: np.ndarray, pace: np.ndarray, chased: np.ndarray) -> None:
        """The stop as seen from the goal ends on it, unless a limit is in the way of the acceleration for that."""
        self.chased += int(chased.sum())
        p, goal, most = self.rows[-1], self.goals[-1], self.most
        stop = self.axes.stop(v, a)

        def end(more: np.ndarray) -> np.ndarray:
            return p + more + self.axes.stop_end(v + more - pace, a + more)

        for side, stop_room in ((1.0, self.high - p - stop.up), (-1.0, p - stop.down - self.low)):
            rates = ((most["v"], stop.v_coast), (most["a"], a), (most["j"], j))
            free = np.all([1.0 - side * rate / limit > NEAR for limit, rate in rates], axis=0)
            free &= stop_room > NEAR_STOP * most["j"]
            short = side * (goal - end(side * A_CHORD * most["j"])) > 0.0
            assert not (chased & free & short).any()
