"""The plan: actions by the absolute tick at which they are due, and the smooth target between two ticks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.layout import ARM_DOF, ARM_GRIPPER, RIG_DOF
from runtime.records import VIEW_PAST_TICKS, VIEW_TICKS

Array = NDArray[np.float64]

CAPACITY: Final = 512
"""Ticks kept, past and future together."""
HISTORY_TICKS: Final = 128
"""Past ticks that stay readable."""
PLAN_TICKS: Final = CAPACITY - HISTORY_TICKS
"""How far from the present tick a plan may reach: three times the longest chunk."""
PACE_TICKS: Final = 4
_GRIPPERS: Final = slice(ARM_GRIPPER, None, ARM_DOF)
_VIEW: Final = np.arange(VIEW_TICKS) - VIEW_PAST_TICKS
_STILL: Final = np.zeros(RIG_DOF)


class Curve(NamedTuple):
    """A cubic of the phase (0..1) within one tick, from `phase` to the tick's end; arrays (14,)."""

    phase: float
    start: Array
    linear: Array
    quadratic: Array
    cubic: Array

    def at(self, phase: float) -> Array:
        """Return the position at a phase."""
        x = (phase - self.phase) / (1.0 - self.phase)
        return self.start + x * (self.linear + x * (self.quadratic + x * self.cubic))

    def velocity(self, phase: float) -> Array:
        """Return the velocity per tick at a phase."""
        length = 1.0 - self.phase
        x = (phase - self.phase) / length
        return (self.linear + x * (2.0 * self.quadratic + x * (3.0 * self.cubic))) / length


class Present(NamedTuple):
    """Where the target is within a tick: the phase, its position (14,) and its velocity (14,) per tick."""

    tick: int
    phase: float
    position: Array
    velocity: Array


class Timeline:
    """Actions (14,) for the ticks [`begin_tick`, `end_tick`), contiguous; empty where the two are equal.

    The joints follow the uniform cubic B-spline of the actions (de Boor 1978), grippers straight lines: continuous in
    acceleration, and never outside what the actions span, so that a policy's noise from step to step is no jerk. At
    the beginning of a tick the spline is at (before + 4 here + after) / 6. When the plan changes in the middle of a
    tick, the rest of that tick starts from the position and velocity that the target has then: the target is
    continuous in both whatever is merged. `ratio` is servo ticks per tick, `rest` the target (14,) while there is no
    plan.
    """

    def __init__(self, ratio: int, rest: Array) -> None:
        self._ratio = ratio
        self._rows = np.zeros((CAPACITY, RIG_DOF))
        self._amended = np.zeros((CAPACITY, RIG_DOF))
        self._ids = np.zeros(CAPACITY, dtype=np.int64)
        self._rest = rest.copy()
        self._curve: tuple[int, Curve] | None = None
        self._seen: tuple[int, Array] | None = None
        self._paced: tuple[int, Array] | None = None
        self.begin_tick = 0
        self.end_tick = 0
        self.chunks_end_tick = 0
        """The first tick with no action of a chunk; what is planned from there on is a stop (chunk 0)."""

    def clear(self, rest: Array) -> None:
        """Forget every action; the target is `rest` (14,) until there are new ones."""
        self.begin_tick = self.end_tick = self.chunks_end_tick = 0
        self._rest = rest.copy()
        self._curve = self._seen = self._paced = None

    def begin(self, tick: int) -> None:
        """Start a plan from rest: the present tick's action is where the rig stands."""
        self.begin_tick, self.end_tick = tick, tick + 1
        self._rows[tick % CAPACITY] = self._rest
        self._amended[tick % CAPACITY] = 0.0
        self._ids[tick % CAPACITY] = 0
        self._curve = self._seen = self._paced = None

    def chunk_id(self, tick: int) -> int:
        """Return which chunk the action of a tick came from; 0 for none."""
        return int(self._ids[tick % CAPACITY]) if self.begin_tick <= tick < self.end_tick else 0

    def rows(self, first_tick: int, count: int) -> Array:
        """Return the actions (count, 14) of consecutive ticks; outside the plan the nearest planned one."""
        return self._take(first_tick + np.arange(count))

    def expected(self, tick: int) -> Array:
        """Return what the plan leads to at a tick up to its end: its action, or one step on at its last velocity."""
        if tick < self.end_tick:
            return self._row(tick)
        return self._row(tick - 1) + self._slope(tick - 1)

    def amended(self, tick: int) -> Array:
        """Return how far (14,) amendments have moved the action of a tick, or the nearest planned one, in all."""
        if self.begin_tick == self.end_tick:
            return _STILL
        moved: Array = self._amended[self._nearest(tick) % CAPACITY]
        return moved

    def view(self, tick: int) -> Array:
        """Return the actions (VIEW_TICKS, 14) around a tick, row i for tick - VIEW_PAST_TICKS + i."""
        if self._seen is None or self._seen[0] != tick:
            self._seen = tick, self._take(tick + _VIEW)
        return self._seen[1]

    def replace(self, first_tick: int, actions: Array, chunk_id: int, servo_tick: int) -> None:
        """Plan `actions` (n, 14) from `first_tick` on and nothing after them, at the present `servo_tick`.

        Raises:
            ValueError: `first_tick` is not after the present tick, would leave a gap after the plan's end, or
                the actions reach further than a plan holds.
        """
        tick = servo_tick // self._ratio
        if not max(tick, self.begin_tick) < first_tick <= self.end_tick:
            raise ValueError(f"tick {first_tick} is not within ({tick}, {self.end_tick}]")
        if first_tick + len(actions) - tick > PLAN_TICKS:
            raise ValueError(f"{len(actions)} actions from tick {first_tick} reach further than a plan holds")
        present = self._present(servo_tick)
        places = (first_tick + np.arange(len(actions))) % CAPACITY
        self._ids[places] = chunk_id
        self._amended[places] = 0.0
        self.end_tick = first_tick + len(actions)
        if chunk_id:
            self.chunks_end_tick = self.end_tick
        self.begin_tick = max(self.begin_tick, tick - HISTORY_TICKS)
        self._write(first_tick, actions, present)

    def amend(self, first_tick: int, actions: Array, servo_tick: int) -> None:
        """Put `actions` (n, 14) from `first_tick` on in the place of planned ones, at the present `servo_tick`.

        Whose actions they are and where the plan ends stay as they are.

        Raises:
            ValueError: one of the ticks is not after the present one, or not planned.
        """
        if not servo_tick // self._ratio < first_tick <= first_tick + len(actions) <= self.end_tick:
            raise ValueError(f"{len(actions)} actions from tick {first_tick} are not within the plan")
        ticks, present = first_tick + np.arange(len(actions)), self._present(servo_tick)
        self._amended[ticks % CAPACITY] += actions - self._take(ticks)
        self._write(first_tick, actions, present)

    def target(self, servo_tick: int) -> Array:
        """Return the target (14,) at a servo tick; the plan's last tick is coasted out, then it is held."""
        tick, step = divmod(servo_tick, self._ratio)
        return self._curve_of(tick).at(step / self._ratio)

    def pace(self, servo_tick: int) -> Array:
        """Return the mean step (14,) per servo tick of the next few actions."""
        near = servo_tick // self._ratio + 1
        if self._paced is None or self._paced[0] != near:
            far = min(near + PACE_TICKS, self.end_tick - 1)
            self._paced = near, (self._row(far) - self._row(near)) / (max(far - near, 1) * self._ratio)
        return self._paced[1]

    def _take(self, ticks: NDArray[np.int64]) -> Array:
        if self.begin_tick == self.end_tick:
            return np.tile(self._rest, (len(ticks), 1))
        near = np.minimum(np.maximum(ticks, self.begin_tick), self.end_tick - 1)
        taken: Array = self._rows.take(near % CAPACITY, axis=0)
        return taken

    def _present(self, servo_tick: int) -> Present:
        tick, step = divmod(servo_tick, self._ratio)
        phase, curve = step / self._ratio, self._curve_of(tick)
        return Present(tick, phase, curve.at(phase), curve.velocity(phase))

    def _write(self, first_tick: int, actions: Array, present: Present) -> None:
        """Write rows, and lead the rest of the tick under execution on from where its target is."""
        self._rows[(first_tick + np.arange(len(actions))) % CAPACITY] = actions
        self._seen = self._paced = None
        self._curve = present.tick, self._bend(*present)

    def _row(self, tick: int) -> Array:
        if self.begin_tick == self.end_tick:
            return self._rest
        row: Array = self._rows[self._nearest(tick) % CAPACITY]
        return row

    def _nearest(self, tick: int) -> int:
        return min(max(tick, self.begin_tick), self.end_tick - 1)

    def _curve_of(self, tick: int) -> Curve:
        if self._curve is None or self._curve[0] != tick:
            self._curve = tick, self._bend(tick, 0.0, self._knot(tick), self._slope(tick))
        return self._curve[1]

    def _around(self, tick: int) -> tuple[Array, Array, Array]:
        """Return the actions of a tick and of its neighbours; past the plan's end it goes on as it came."""
        before, here = self._row(tick - 1), self._row(tick)
        return before, here, self._row(tick + 1) if tick + 1 != self.end_tick else 2.0 * here - before

    def _knot(self, tick: int) -> Array:
        """Return where the curve is at the beginning of a tick."""
        before, here, after = self._around(tick)
        knot: Array = here + ((before - here) + (after - here)) / 6.0
        knot[_GRIPPERS] = here[_GRIPPERS]
        return knot

    def _slope(self, tick: int) -> Array:
        """Return the velocity per tick at the beginning of a tick."""
        if not self.begin_tick < tick < self.end_tick:
            return _STILL
        before, _, after = self._around(tick)
        return 0.5 * (after - before)

    def _bend(self, tick: int, phase: float, position: Array, velocity: Array) -> Curve:
        """Return the curve from a state within a tick to where the next tick begins."""
        linear = velocity * (1.0 - phase)
        if not self.begin_tick <= tick < self.end_tick - 1:
            coasting = linear if tick == self.end_tick - 1 else _STILL
            linear = coasting.copy()
            linear[_GRIPPERS] = 0.0
            return Curve(phase, position.copy(), linear, _STILL, _STILL)
        rise = self._knot(tick + 1) - position
        arriving = self._slope(tick + 1) * (1.0 - phase)
        linear[_GRIPPERS] = arriving[_GRIPPERS] = rise[_GRIPPERS]
        return Curve(
            phase,
            position.copy(),
            linear,
            3.0 * rise - 2.0 * linear - arriving,
            linear + arriving - 2.0 * rise,
        )
