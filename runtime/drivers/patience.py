"""Opening a device that may take a while to come back."""

from __future__ import annotations

from collections.abc import Callable

from runtime.clock import NS_PER_S, Clock
from runtime.drivers.base import DriverError

PAUSE_NS = NS_PER_S


def open_patiently(arm: Callable[[], None], let_go: Callable[[], None], clock: Clock, patience_ns: int) -> None:
    """Try to arm a device, and `let_go` of it and try again each second while the patience lasts.

    Raises:
        DriverError: that of the last attempt.
    """
    until_ns = clock.now_ns() + patience_ns
    while True:
        try:
            arm()
        except DriverError:
            let_go()
            if clock.now_ns() >= until_ns:
                raise
            clock.sleep_until_ns(clock.now_ns() + PAUSE_NS)
        else:
            return
