"""A Piper that a person leads: in leader mode it sends its own joints as targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.piper.bus import Bus, Frame
from runtime.drivers.piper.codec import CanId, GripperTarget, JointPair, decode
from runtime.drivers.piper.cycle import Cycle
from runtime.layout import Side

SILENT_NS: Final = 200 * NS_PER_MS


class PiperLeader:
    """One leading Piper; implements `LeaderDriver`. It has no dead-man of its own: a pedal beside it is one.

    `control_offset` is by how much 0x470 has moved its identifiers, 0x10 (165 to 169) or 0x20; a leader on a bus of its
    own may keep 0.
    """

    def __init__(self, side: Side, model: ArmModel, connect: Callable[[], Bus], name: str, control_offset: int) -> None:
        self._side, self._stroke_m, self._connect, self._name = side, model.gripper_stroke_m, connect, name
        self._offset = control_offset
        self._bus: Bus | None = None
        self._cycle = Cycle()
        self._heard_ns = 0
        self._gripper: float | None = None

    def open(self) -> None:
        """Connect; DriverError where there is no bus. Whether a leader is there shows when it is read."""
        self._bus = self._connect()
        self._heard_ns = 0

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:  # noqa: ARG002
        """Return the newest whole cycle of targets that came since the last call, if any.

        Raises:
            DriverError: the bus is gone, or the leader has been silent for long.
        """
        if self._bus is None:
            raise DriverError(f"leading Piper on {self._name} is not open")
        self._heard_ns = self._heard_ns or now_ns
        newest: LeaderSample | None = None
        for frame in self._bus.receive():
            newest = self._take(frame, now_ns) or newest
        if now_ns - self._heard_ns > SILENT_NS:
            raise DriverError(
                f"leading Piper on {self._name} sends nothing on {CanId.TARGET + self._offset:#x}:"
                " check its power, its leader mode (0x470, 0xFA) and control_offset"
            )
        return LeaderReading(samples=() if newest is None else (newest,))

    def _take(self, frame: Frame, now_ns: int) -> LeaderSample | None:
        message = decode(frame.can_id - self._offset, frame.data)
        if isinstance(message, GripperTarget):
            self._gripper = message.opening_m / self._stroke_m
        if not isinstance(message, JointPair) or frame.can_id - self._offset >= CanId.FAST:
            return None
        joints = self._cycle.take(frame.can_id - self._offset - CanId.TARGET, message, now_ns)
        if joints is None or self._gripper is None:
            return None
        self._heard_ns = now_ns
        position = np.array([*joints, min(max(self._gripper, 0.0), 1.0)])
        return LeaderSample(self._side, self._cycle.began_ns, position, clutch=True)

    def close(self) -> None:
        """Let the bus go."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None
