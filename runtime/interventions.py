"""When a person led the arms: each stretch of HANDOVER and TELEOP, found in the ticks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.layout import SIDES
from runtime.states import LED, Mode


@dataclass(frozen=True)
class Intervention:
    """One stretch in which a person led: servo ticks [`start_tick`, `end_tick`), and what was interrupted.

    `to_control_s` is the time from the clutch until every arm that was led was coupled, None if that never was.
    """

    start_tick: int
    end_tick: int
    t_s: float
    duration_s: float
    interrupted: str
    sides: tuple[str, ...]
    to_control_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"sides": list(self.sides)}


class Interventions:
    """Follows the ticks of a run, one after another."""

    def __init__(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns
        self._before = Mode.DISARMED
        self._first: Any = None
        self._last: Any = None
        self._sides = 0
        self._coupled_ns: int | None = None

    def step(self, tick: Any) -> Intervention | None:
        """Take a TICK record in; returns the intervention that it ended."""
        mode = Mode(int(tick["mode"]))
        if mode in LED:
            if self._first is None:
                self._first, self._sides, self._coupled_ns = tick, 0, None
            self._sides |= int(tick["led"])
            if mode is Mode.TELEOP and self._coupled_ns is None:
                self._coupled_ns = int(tick["now_ns"])
            self._last = tick
            return None
        ended = self.finish()
        self._before = mode
        return ended

    def finish(self) -> Intervention | None:
        """Return the intervention that is still under way."""
        if self._first is None:
            return None
        first, last = self._first, self._last
        self._first = None
        began_ns = int(first["now_ns"])
        return Intervention(
            start_tick=int(first["servo_tick"]),
            end_tick=int(last["servo_tick"]) + 1,
            t_s=round((began_ns - self._t0_ns) / NS_PER_S, 3),
            duration_s=round((int(last["now_ns"]) - began_ns) / NS_PER_S, 3),
            interrupted=self._before.name,
            sides=tuple(side for i, side in enumerate(SIDES) if self._sides >> i & 1),
            to_control_s=None if self._coupled_ns is None else round((self._coupled_ns - began_ns) / NS_PER_S, 3),
        )


def interventions(ticks: NDArray[Any], t0_ns: int) -> list[Intervention]:
    """Return the interventions in the TICK records (N,) of a run."""
    if "led" not in (ticks.dtype.names or ()):
        return []
    led = np.isin(ticks["mode"], [int(mode) for mode in LED])
    # With what was before and came after: nothing else tells of one.
    near = led.copy()
    near[1:] |= led[:-1]
    near[:-1] |= led[1:]
    found = Interventions(t0_ns)
    ended = [found.step(ticks[i]) for i in np.flatnonzero(near)]
    return [event for event in (*ended, found.finish()) if event is not None]
