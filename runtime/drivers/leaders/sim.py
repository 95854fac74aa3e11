"""A script in place of a person at the leaders: for simulated rigs, demonstrations and tests."""

from __future__ import annotations

from math import pi, sin

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.devices import SimLeader
from runtime.drivers.base import LeaderReading, LeaderSample
from runtime.layout import ARM_GRIPPER, ARM_SLICE
from runtime.states import Mode


class ScriptedLeader:
    """Goes with the arms until it takes hold, then leads them in a wave from where it took hold."""

    def __init__(self, config: SimLeader) -> None:
        self._config = config
        self._began_ns = 0
        self._base: NDArray[np.float64] | None = None
        self._held_ns = 0
        self._resumed = False

    def open(self) -> None:
        """There is nothing to connect to."""

    def close(self) -> None:
        """There is nothing to disconnect."""

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return a sample of each side; see LeaderDriver."""
        self._began_ns = self._began_ns or now_ns
        t_s = (now_ns - self._began_ns) / NS_PER_S
        holds = any(begin <= t_s < end for begin, end in self._config.clutch_s)
        if not holds:
            self._base = None
        elif self._base is None:
            self._base, self._held_ns = self._apart(follower), now_ns
        position = self._apart(follower) if self._base is None else self._base + self._wave(now_ns)
        samples = tuple(LeaderSample(side, now_ns, position[ARM_SLICE[side]], holds) for side in self._config.sides)
        return LeaderReading(samples, want=self._wish(t_s))

    def _apart(self, follower: NDArray[np.float64]) -> NDArray[np.float64]:
        position = follower + self._config.offset_rad
        for part in ARM_SLICE.values():
            position[part.start + ARM_GRIPPER] = follower[part.start + ARM_GRIPPER]
        return position

    def _wave(self, now_ns: int) -> float:
        return self._config.sway_rad * sin(2.0 * pi * (now_ns - self._held_ns) / NS_PER_S / self._config.period_s)

    def _wish(self, t_s: float) -> Mode | None:
        last_s = max((end for _, end in self._config.clutch_s), default=0.0)
        if self._resumed or not self._config.resume_s or t_s < last_s + self._config.resume_s:
            return None
        self._resumed = True
        return Mode.POLICY
