"""Whether a camera still sees: its pictures come, and they change where the arms have moved. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S

LOST_PERIODS: Final = 3
"""Periods without a picture after which a camera is lost."""
SAME_MAX: Final = 3
"""The same picture so many times, with advancing stamps, is one that is frozen, ..."""
MOVED_RAD: Final = 0.01
"""... if a joint has moved this far meanwhile: a real sensor's noise never repeats, a still simulated scene does."""


class Eye:
    """One camera of `rate_hz`, as its pictures arrive."""

    def __init__(self, rate_hz: int) -> None:
        self._patience_ns = LOST_PERIODS * NS_PER_S // rate_hz
        self._image: NDArray[Any] | None = None
        self._position: NDArray[np.float64] | None = None
        self._arrived_ns = 0
        self._same = 0
        self._moved = False

    def take(self, image: NDArray[Any], arrived_ns: int, position: NDArray[np.float64] | None) -> None:
        """Take a picture with a newer stamp; `position` (14,) are the joints now, None where they are not known."""
        self._arrived_ns = arrived_ns
        if self._image is None or not np.array_equal(image, self._image):
            self._image, self._position, self._same, self._moved = image, position, 1, False
            return
        self._same += 1
        if position is not None and self._position is not None:
            self._moved |= bool(np.abs(position - self._position).max() >= MOVED_RAD)

    @property
    def frozen(self) -> bool:
        """Whether it shows the same picture again and again while the arms move."""
        return self._same >= SAME_MAX and self._moved

    def lost(self, now_ns: int) -> bool:
        """Whether pictures that came have stopped coming; a camera that never sent one has not begun."""
        return self._arrived_ns > 0 and now_ns - self._arrived_ns > self._patience_ns
