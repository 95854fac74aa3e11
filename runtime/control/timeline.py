"""The plan: actions by the absolute tick at which they are due, and the smooth target between two ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import VIEW_PAST_TICKS, VIEW_TICKS

Array = NDArray[np.float64]

CAPACITY: Final = 256
"""Ticks kept, past and future together."""
HISTORY_TICKS: Final = 128
"""Past ticks that stay readable."""
_GRIPPERS: Final = list(GRIPPER_INDEX)
_VIEW: Final = np.arange(VIEW_TICKS) - VIEW_PAST_TICKS


class Timeline:
    """Actions (14,) for the ticks [`begin_tick`, `end_tick`), contiguous; empty where the two are equal.

    Between ticks the joints follow a cubic Hermite spline through the actions, grippers a straight line. When
    the plan changes in the middle of a tick, the rest of that tick starts from the position and velocity that
    the target has then: the target is continuous in both whatever is merged.
    """

    def __init__(self, ratio: int, rest: Array) -> None:
        self._ratio = ratio
        self._rows = np.zeros((CAPACITY, RIG_DOF))
        self._ids = np.zeros(CAPACITY, dtype=np.int64)
        self._rest = rest.copy()
        self._curve: tuple[int, Callable[[float], Array]] | None = None
        self.begin_tick = 0
        self.end_tick = 0
        self.version = 0
        """Grows with every change of the plan."""

    def clear(self, rest: Array) -> None:
        """Forget every action; the target is `rest` (14,) until there are new ones."""
        self.begin_tick = self.end_tick = 0
        self._rest = rest.copy()
        self._curve = None
        self.version += 1

    def chunk_id(self, tick: int) -> int:
        """Return which chunk the action of a tick came from; 0 for none."""
        return int(self._ids[tick % CAPACITY]) if self.begin_tick <= tick < self.end_tick else 0

    def rows(self, first_tick: int, count: int) -> Array:
        """Return the actions (count, 14) of consecutive ticks; the nearest planned one outside the plan."""
        return self._take(first_tick + np.arange(count))

    def view(self, tick: int) -> Array:
        """Return the actions (VIEW_TICKS, 14) around a tick, row i for tick - VIEW_PAST_TICKS + i."""
        return self._take(tick + _VIEW)

    def _take(self, ticks: NDArray[np.int64]) -> Array:
        if self.begin_tick == self.end_tick:
            return np.tile(self._rest, (len(ticks), 1))
        near = np.minimum(np.maximum(ticks, self.begin_tick), self.end_tick - 1)
        taken: Array = self._rows.take(near % CAPACITY, axis=0)
        return taken

    def begin(self, tick: int) -> None:
        """Start a plan from rest: the present tick's action is where the rig stands."""
        self.begin_tick, self.end_tick = tick, tick + 1
        self._rows[tick % CAPACITY] = self._rest
        self._ids[tick % CAPACITY] = 0
        self._curve = None
        self.version += 1

    def replace(self, first_tick: int, actions: Array, chunk_id: int, servo_tick: int) -> None:
        """Plan `actions` (n, 14) from `first_tick` on and nothing after them.

        `first_tick` lies after the present tick and at most at the plan's end, so that no gap appears; ValueError
        otherwise. `servo_tick` is the present one.
        """
        tick = servo_tick // self._ratio
        if not max(tick + 1, self.begin_tick) <= first_tick <= self.end_tick:
            raise ValueError(f"tick {first_tick} is not in ({tick}, {self.end_tick}]")
        if first_tick + len(actions) - tick > CAPACITY - HISTORY_TICKS:
            raise ValueError(f"{len(actions)} actions from tick {first_tick} reach further than a plan holds")
        if first_tick <= tick + 1:
            phase = servo_tick / self._ratio - tick
            position, velocity = self._state(tick, phase)
        slots = (first_tick + np.arange(len(actions))) % CAPACITY
        self._rows[slots] = actions
        self._ids[slots] = chunk_id
        self.end_tick = first_tick + len(actions)
        self.begin_tick = max(self.begin_tick, tick - HISTORY_TICKS)
        self._curve = None
        self.version += 1
        if first_tick <= tick + 1:
            self._curve = tick, self._bend(tick, phase, position, velocity)

    def target(self, servo_tick: int) -> Array:
        """Return the target (14,) at a servo tick: the plan's, held at its nearest end outside it."""
        tick, step = divmod(servo_tick, self._ratio)
        return self._curve_of(tick)(step / self._ratio)

    def _curve_of(self, tick: int) -> Callable[[float], Array]:
        if self._curve is None or self._curve[0] != tick:
            start = self._row(tick)
            self._curve = tick, self._bend(tick, 0.0, start, self._slope(tick))
        return self._curve[1]

    def _state(self, tick: int, phase: float) -> tuple[Array, Array]:
        """Return the target's position and its velocity per tick."""
        curve = self._curve_of(tick)
        nudge = 1e-4
        return curve(phase), (curve(phase + nudge) - curve(phase - nudge)) / (2.0 * nudge)

    def _row(self, tick: int) -> Array:
        if self.begin_tick == self.end_tick:
            return self._rest
        row: Array = self._rows[min(max(tick, self.begin_tick), self.end_tick - 1) % CAPACITY]
        return row

    def _slope(self, tick: int) -> Array:
        """Return the plan's velocity per tick at a tick."""
        if not self.begin_tick < tick < self.end_tick:
            return np.zeros(RIG_DOF)
        here = self._row(tick)
        if tick + 1 == self.end_tick:
            return here - self._row(tick - 1)
        # A chunk's first action takes its own chunk's velocity: the step to it is not its motion.
        if self._ids[(tick - 1) % CAPACITY] != self._ids[tick % CAPACITY]:
            return self._row(tick + 1) - here
        return 0.5 * (self._row(tick + 1) - self._row(tick - 1))

    def _bend(self, tick: int, phase: float, position: Array, velocity: Array) -> Callable[[float], Array]:
        """Return the curve from a state at `phase` of a tick to the next tick's action, as a function of phase."""
        length = 1.0 - phase
        if not self.begin_tick <= tick < self.end_tick - 1:
            return _line(phase, position, self._drift(tick, velocity))
        rise = self._row(tick + 1) - position
        v0, v1 = velocity * length, self._slope(tick + 1) * length
        quadratic, cubic = 3.0 * rise - 2.0 * v0 - v1, v0 + v1 - 2.0 * rise
        for column in _GRIPPERS:
            v0[column], quadratic[column], cubic[column] = rise[column], 0.0, 0.0
        return lambda at: _cubic((at - phase) / length, position, v0, quadratic, cubic)

    def _drift(self, tick: int, velocity: Array) -> Array:
        """Velocity in a tick with nowhere to go: the joints coast out the plan's last tick, grippers stay."""
        if tick != self.end_tick - 1:
            return np.zeros(RIG_DOF)
        drift = velocity.copy()
        drift[_GRIPPERS] = 0.0
        return drift


def _cubic(x: float, start: Array, linear: Array, quadratic: Array, cubic: Array) -> Array:
    return start + x * (linear + x * (quadratic + x * cubic))


def _line(phase: float, start: Array, velocity: Array) -> Callable[[float], Array]:
    return lambda at: start + (at - phase) * velocity
