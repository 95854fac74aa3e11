"""An arm without physics behind an emulated bus, and a clock that lets the emulator run while a driver sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS
from runtime.shm import blank


class KinematicArm:
    """Goes to its target at its model's top speed; implements `Behind`."""

    def __init__(self, model: ArmModel, start: Any = None) -> None:
        self.position = np.array(model.home if start is None else start, dtype=float)
        self.target = self.position.copy()
        self.commands: list[Any] = []
        self._velocity_max = np.array(model.velocity_max)
        self._record: Any = blank(records.ARM_STATE)
        self._t_ns = 0

    def state(self) -> Any:
        return self._record.copy() if self._t_ns else None

    def command(self, position: Any, now_ns: int) -> None:
        self.target = np.array(position)
        self.commands.append(self.target.copy())

    def step(self, now_ns: int) -> None:
        span_s = (now_ns - self._t_ns) * 1e-9 if self._t_ns else 0.0
        moved = np.clip(self.target - self.position, -self._velocity_max * span_s, self._velocity_max * span_s)
        self.position = self.position + moved
        self._t_ns = now_ns
        record = self._record
        record["seq"] += 1
        record["t_ns"] = now_ns
        record["position"] = self.position
        record["velocity"] = moved / span_s if span_s else 0.0
        record["effort"] = 0.5


class SteppedClock:
    """Virtual time in which `steps` are called every millisecond that somebody sleeps; implements `Clock`."""

    def __init__(self, *steps: Callable[[int], object]) -> None:
        self.steps = list(steps)
        self._now_ns = 1_000 * NS_PER_MS

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        while self._now_ns < t_ns:
            self._now_ns = min(self._now_ns + NS_PER_MS, t_ns)
            for step in self.steps:
                step(self._now_ns)
