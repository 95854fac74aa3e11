"""A stand-in of pyorbbecsdk: the names that orbbec_host.py uses, with one made camera behind. What it does is in
ORBBEC_STAND_IN: `play` (a frame each 20 ms), `unplug` (told after five), `fail` (after five), `silent`, `chatty`
(prints to stdout first).
"""

from __future__ import annotations

import os
import time
from enum import Enum
from typing import Any

import numpy as np

DOES = os.environ.get("ORBBEC_STAND_IN", "play")
PERIOD_S = 0.02


class OBError(RuntimeError):
    pass


class OBSensorType(Enum):
    COLOR_SENSOR = 2


class OBFormat(Enum):
    RGB = 22


class Info:
    def get_serial_number(self) -> str:
        return "0815"


class Device:
    def get_device_info(self) -> Info:
        return Info()


class DeviceList:
    def get_count(self) -> int:
        return 1

    def get_device_by_index(self, index: int) -> Device:
        return [Device()][index]


class Removed:
    def get_count(self) -> int:
        return 2

    def get_device_serial_number_by_index(self, index: int) -> str:
        return ("4711", "0815")[index]


class Context:
    changed: Any = None

    def set_device_changed_callback(self, callback: Any) -> None:
        Context.changed = staticmethod(callback)

    def query_devices(self) -> DeviceList:
        return DeviceList()


class Profiles:
    def get_video_stream_profile(self, width: int, height: int, form: OBFormat, fps: int) -> tuple[int, int, int]:
        if (width, height, form, fps) != (64, 48, OBFormat.RGB, 50):
            raise OBError("Invalid input, No matched video stream profile found!")
        return width, height, fps


class Config:
    def enable_stream(self, profile: tuple[int, int, int]) -> None:
        self.profile = profile


class ColorFrame:
    def __init__(self, number: int, width: int, height: int) -> None:
        self._number, self._shape = number, (height, width, 3)

    def get_data(self) -> Any:
        return np.full(self._shape, self._number % 256, np.uint8).reshape(-1)

    def get_timestamp_us(self) -> int:
        return self._number * round(PERIOD_S * 1e6)

    def get_system_timestamp_us(self) -> int:
        return 0


class FrameSet:
    def __init__(self, frame: ColorFrame) -> None:
        self._frame = frame

    def get_color_frame(self) -> ColorFrame:
        return self._frame


class Pipeline:
    def __init__(self, device: Device) -> None:
        self._number = 0

    def get_stream_profile_list(self, sensor: OBSensorType) -> Profiles:
        return Profiles()

    def start(self, config: Config) -> None:
        if DOES == "chatty":
            print("loading extensions" * 100, flush=True)
        self._config = config

    def wait_for_frames(self, timeout_ms: int) -> FrameSet | None:
        if DOES == "silent":
            time.sleep(timeout_ms / 1000)
            return None
        if self._number == 5 and DOES == "fail":
            raise OBError("Device\nis deactivated!")
        if self._number == 5 and DOES == "unplug":
            Context.changed(Removed(), None)
            return None
        time.sleep(PERIOD_S)
        self._number += 1
        width, height, _ = self._config.profile
        return FrameSet(ColorFrame(self._number, width, height))
