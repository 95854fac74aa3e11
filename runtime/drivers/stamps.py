"""A camera's own stamps on the host's monotonic clock. Pure: it sees stamps and arrivals, and reads no clock.

A device's clock runs from its own zero and drifts. The frame that took the least time to arrive tells the difference
of the two clocks best, so the least difference of the last ten seconds is taken; what even that frame took is a
constant of the camera, `delay_ns`, to be measured once. Stamps that run back, lie in the future or are far too old are
refused; where they go on so, the clock is another one and the difference is found anew. Pictures that come all at once
were held back, and say nothing of that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from runtime.clock import NS_PER_MS, NS_PER_S

WINDOW_NS: Final = 10 * NS_PER_S
"""A quartz drifts by up to 100 ppm, 1 ms in this time."""
AHEAD_NS: Final = 5 * NS_PER_MS
"""A frame that takes less time than any before it corrects the difference; by more than this, its stamp is wrong."""
LATE_NS: Final = NS_PER_S
REFUSALS_MAX: Final = 3
HOST: Final = "the kernel's monotonic clock"
"""The clock whose stamps need no mapping."""


@dataclass(frozen=True)
class Stamp:
    """When a picture was taken, on the host's clock, and by how much that may be wrong."""

    t_ns: int
    uncertainty_ns: int


class Stamper:
    """The stamps of one camera, frame by frame, strictly increasing and never later than the arrival."""

    def __init__(self, period_ns: int, delay_ns: int = 0) -> None:
        self._period_ns, self._delay_ns = period_ns, delay_ns
        self._clock: str | None = None
        self._offsets: deque[tuple[int, int]] = deque()
        self._device_ns = self._arrival_ns = 0
        self._t_ns: int | None = None
        self._refusals = 0
        self.refused = 0

    def take(self, clock: str, device_ns: int | None, arrival_ns: int) -> Stamp | None:
        """Return the stamp of a frame, None where it is refused.

        `clock` names the clock that `device_ns` is of, `HOST` is this host's, another name is another clock; without a
        `device_ns` the arrival counts, which can be a period late.
        """
        if device_ns is None:
            self._clock = None
            return self._after_last(arrival_ns - self._delay_ns, self._period_ns)
        if clock == HOST:
            self._clock = None
            if not 0 <= arrival_ns - device_ns <= LATE_NS:
                self.refused += 1
                return None
            return self._after_last(device_ns - self._delay_ns, 0)
        held_back = arrival_ns - self._arrival_ns < self._period_ns // 2
        self._arrival_ns = arrival_ns
        if clock != self._clock:
            self._restart(clock)
        elif self._wrong(device_ns, arrival_ns):
            self._refusals += not held_back
            if self._refusals < REFUSALS_MAX:
                self.refused += 1
                return None
            self._restart(clock)
        self._refusals = 0
        self._device_ns = device_ns
        self._learn(arrival_ns, arrival_ns - device_ns)
        return self._after_last(device_ns + self._offset_ns - self._delay_ns, AHEAD_NS)

    @property
    def _offset_ns(self) -> int:
        return self._offsets[0][1]

    def _restart(self, clock: str) -> None:
        self._clock = clock
        self._offsets.clear()

    def _wrong(self, device_ns: int, arrival_ns: int) -> bool:
        took_ns = arrival_ns - device_ns - self._offset_ns
        return device_ns <= self._device_ns or not -AHEAD_NS <= took_ns <= LATE_NS

    def _learn(self, arrival_ns: int, offset_ns: int) -> None:
        """Keep the least offset of the window in front, and behind it what can become the least."""
        while self._offsets and self._offsets[-1][1] >= offset_ns:
            self._offsets.pop()
        self._offsets.append((arrival_ns, offset_ns))
        while self._offsets[0][0] <= arrival_ns - WINDOW_NS:
            self._offsets.popleft()

    def _after_last(self, t_ns: int, uncertainty_ns: int) -> Stamp | None:
        if self._t_ns is not None and t_ns <= self._t_ns:
            self.refused += 1
            return None
        self._t_ns = t_ns
        return Stamp(t_ns, uncertainty_ns)
