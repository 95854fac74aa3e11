"""The first target that an arm is sent after it was taken hold of where it stood."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.base import DriverError
from runtime.layout import ARM_JOINTS

LATE_RAD: Final = 0.1
"""How far a target may have gone on while the torque was waited for: a guardian begins within half of it."""


def require_near(name: str, target: NDArray[np.float64], state: NDArray[Any] | None) -> None:
    """Refuse a target (7,) that an arm would jump to from where it is held, `state` its ARM_STATE.

    Raises:
        DriverError: the torque came so late that the target has not waited for it.
    """
    if state is None:
        return
    apart_rad = float(np.abs(target - state["position"])[:ARM_JOINTS].max())
    if apart_rad > LATE_RAD:
        raise DriverError(f"{name} took torque late: its target has gone on by {apart_rad:.2f} rad meanwhile")
