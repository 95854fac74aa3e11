"""Messages of ROS 2 as its CDR bytes, without a ROS installation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from runtime.clock import NS_PER_S, Clock

Array = NDArray[np.float64]


class Messages:
    """Makes `sensor_msgs` of this runtime's records. Stamps are ROS time, the host's wall clock.

    The wall clock is read once, beside the monotonic one, so that stamps keep their distances when somebody sets it.
    """

    def __init__(self, clock: Clock) -> None:
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._offset_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - clock.now_ns()

    def joints(self, t_ns: int, names: Sequence[str], position: Array, velocity: Array, effort: Array) -> bytes:
        """Return a `sensor_msgs/msg/JointState`: rad, rad/s and N.m; a gripper in m, m/s and N."""
        return self._cdr(
            "sensor_msgs/msg/JointState",
            header=self._header(t_ns, ""),
            name=list(names),
            position=np.array(position),
            velocity=np.array(velocity),
            effort=np.array(effort),
        )

    def image(self, t_ns: int, frame_id: str, picture: NDArray[np.uint8]) -> bytes:
        """Return a `sensor_msgs/msg/Image` of an RGB picture (height, width, 3)."""
        height, width, channels = picture.shape
        return self._cdr(
            "sensor_msgs/msg/Image",
            header=self._header(t_ns, frame_id),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=width * channels,
            data=np.ascontiguousarray(picture).reshape(-1),
        )

    def _header(self, t_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(t_ns + self._offset_ns, NS_PER_S)
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _cdr(self, kind: str, **fields: Any) -> bytes:
        return bytes(self._store.serialize_cdr(self._store.types[kind](**fields), kind))
