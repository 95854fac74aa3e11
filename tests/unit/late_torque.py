"""An arm whose torque comes a second after it was asked for, while its target has gone on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.clock import NS_PER_MS
from runtime.drivers.base import DriverError


def check_late_torque(bench: Any, hold: Callable[..., None], home: np.ndarray) -> None:
    """Require that the driver of a bench ends before the arm is led to where the target is."""
    bench.faults.add("torque-lost")
    arm = bench.arm()
    arm.open()
    target = home.copy()
    with pytest.raises(DriverError, match=r"took torque late.* 0\.2"):
        for tick in range(400):
            if tick == 200:
                bench.faults.clear()
            target[0] = min(0.001 * tick, 0.2)
            hold(bench, arm, 5 * NS_PER_MS, target)
