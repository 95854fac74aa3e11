"""The emulated bus as an interface of python-can, `leadtime`, so that other people's software finds our devices."""

from __future__ import annotations

import select
import time
from typing import Any

import can

from runtime.drivers.piper.bus import BusError, Frame, join_emulated


class EmulatedBus(can.BusABC):  # type: ignore[misc]
    """`can.Bus(interface="leadtime", channel=NAME)`: NAME is that of `runtime.drivers.bus.bus_name`."""

    def __init__(self, channel: str, **kwargs: Any) -> None:
        self._bus = join_emulated(channel)
        self._waiting: list[Frame] = []
        self.channel_info = f"emulated CAN bus {channel}"
        super().__init__(channel=channel, **kwargs)

    def send(self, msg: can.Message, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send a frame; CanOperationError where the bus is gone."""
        try:
            self._bus.send(Frame(msg.arbitration_id, bytes(msg.data)))
        except BusError as error:
            raise can.CanOperationError(str(error)) from None

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not self._waiting:
            select.select([self._bus.fileno()], [], [], timeout)
            try:
                self._waiting = self._bus.receive()
            except BusError as error:
                raise can.CanOperationError(str(error)) from None
        if not self._waiting:
            return None, False
        frame = self._waiting.pop(0)
        # python-can stamps with the clock of its user; the reader measures distances only.
        stamp_s = time.monotonic()
        message = can.Message(
            timestamp=stamp_s, arbitration_id=frame.can_id, data=frame.data, is_extended_id=False, check=False
        )
        return message, False

    def shutdown(self) -> None:
        """Leave the bus."""
        super().shutdown()
        self._bus.close()
