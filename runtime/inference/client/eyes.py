"""Whether a camera still sees: its pictures come, and they change where the arms have moved. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S
from runtime.layout import ARM_DOF, ARM_JOINTS

LOST_PERIODS: Final = 3
"""Periods without a picture after which a camera is lost."""
SAME_MAX: Final = 3
"""The same picture so many times, with advancing stamps, is one that is frozen: a real sensor's noise never repeats."""
MOVED_RAD: Final = 0.03
"""Without noise, in simulation, a still scene repeats too: there a joint of each arm must have moved so far."""


class Eye:
    """One camera of `rate_hz`, as its pictures arrive; `noiseless`: its pictures of a still scene are the same."""

    def __init__(self, rate_hz: int, *, noiseless: bool = False) -> None:
        self._patience_ns = LOST_PERIODS * NS_PER_S // rate_hz
        self._noiseless = noiseless
        self._image: NDArray[Any] | None = None
        self._position: NDArray[np.float64] | None = None
        self._arrived_ns = 0
        self._same = 0
        self._moved = False

    def take(self, image: NDArray[Any], arrived_ns: int, position: NDArray[np.float64] | None) -> None:
        """Take a picture with a newer stamp; `position` (14,) are the joints at its stamp, None where not known."""
        self._arrived_ns = arrived_ns
        if self._image is None or not np.array_equal(image, self._image):
            self._image, self._position, self._same, self._moved = image, position, 1, False
            return
        self._same += 1
        if position is not None and self._position is not None:
            apart = np.abs(position - self._position).reshape(-1, ARM_DOF)[:, :ARM_JOINTS]
            self._moved |= bool((apart.max(axis=1) >= MOVED_RAD).all())

    @property
    def frozen(self) -> bool:
        """Whether it shows the same picture again and again, which is not that of a scene that stands still."""
        return self._same >= SAME_MAX and (self._moved or not self._noiseless)

    def lost(self, now_ns: int) -> bool:
        """Whether pictures that came have stopped coming; a camera that never sent one has not begun."""
        return self._arrived_ns > 0 and now_ns - self._arrived_ns > self._patience_ns
