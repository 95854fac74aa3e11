"""RealSense cameras on librealsense's sensors and frame queues, so that a software device goes the same way."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.devices import RealsenseCamera
from runtime.drivers.base import DriverError, Frame
from runtime.drivers.stamps import Stamper

QUEUE_FRAMES: Final = 4
LOOK_NS: Final = 50 * NS_PER_MS
"""After so long without a frame it is looked whether the camera is still there."""
NS_PER_US: Final = 1000


def load_sdk() -> Any:
    """Import pyrealsense2; DriverError where it is not installed or finds no libusb."""
    try:
        return importlib.import_module("pyrealsense2")
    except ModuleNotFoundError:
        raise DriverError("RealSense cameras need pyrealsense2: pip install 'leadtime[realsense]'") from None
    except ImportError:
        pass
    try:
        # The wheel needs the system's libusb-1.0.so.0; the one of libusb-package serves where that is not installed.
        package = importlib.import_module("libusb_package")
        ctypes.CDLL(str(package.get_library_path()), ctypes.RTLD_GLOBAL)
        return importlib.import_module("pyrealsense2")
    except (ImportError, OSError):
        raise DriverError(
            "pyrealsense2 needs libusb: apt-get install libusb-1.0-0, or pip install libusb-package"
        ) from None


class Realsense:
    """The colour pictures of one camera, RGB8; implements `CameraDriver`.

    `devices` lists what is plugged in, by default what librealsense finds. Stamps are the sensor's own, mid-exposure,
    where the kernel passes them on; else those of the frame, or its arrival: the log says which.
    """

    def __init__(
        self,
        name: str,
        config: RealsenseCamera,
        clock: Clock,
        devices: Callable[[], Iterable[Any]] | None = None,
    ) -> None:
        self._name, self._config, self._clock, self._devices = name, config, clock, devices
        self._device: Any = None
        self._sensor: Any = None
        self._started = False
        self._port: Path | None = None
        self._stamper = Stamper(NS_PER_S // config.rate_hz, round(config.delay_ms * NS_PER_MS))
        self._source = ""

    def open(self) -> None:
        """Find the camera by its serial number, set its options and start its colour stream.

        Raises:
            DriverError: there is no such camera, or it has no such mode.
        """
        self._rs = rs = load_sdk()
        try:
            self._device = self._find()
            self._port = self._sysfs()
            self._sensor, profile = self._mode()
            self._configure()
            self._queue = rs.frame_queue(QUEUE_FRAMES, keep_frames=True)
            self._sensor.open(profile)
            self._started = True
            self._sensor.start(self._queue)
        except RuntimeError as error:
            raise DriverError(f"{self._what}: {_line(error)}") from None

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        """Return the frames that arrived, oldest first; DriverError when the camera is unplugged."""
        deadline_ns = self._clock.now_ns() + timeout_ns
        try:
            while True:
                wait_ns = min(max(deadline_ns - self._clock.now_ns(), 0), LOOK_NS)
                came, frame = self._queue.try_wait_for_frame(round(wait_ns / NS_PER_MS))
                if came:
                    return self._drain(frame)
                self._look()
                if self._clock.now_ns() >= deadline_ns:
                    return ()
        except RuntimeError as error:
            raise DriverError(f"{self._what}: {_line(error)}") from None

    def close(self) -> None:
        """Stop the stream and let the camera go."""
        if self._started:
            self._started = False
            for stop in (self._sensor.stop, self._sensor.close):
                try:
                    stop()
                except RuntimeError as error:
                    # A camera that is unplugged cannot be told to stop.
                    sys.stderr.write(f"{self._what}: {_line(error)}\n")
        self._sensor = self._device = None

    @property
    def _what(self) -> str:
        return f"RealSense {self._config.serial}"

    def _find(self) -> Any:
        rs = self._rs
        plugged = list(rs.context().query_devices() if self._devices is None else self._devices())
        serials = [device.get_info(rs.camera_info.serial_number) for device in plugged]
        if self._config.serial not in serials:
            raise DriverError(f"{self._what} is not plugged in; there are: {', '.join(serials) or 'none'}")
        return plugged[serials.index(self._config.serial)]

    def _sysfs(self) -> Path | None:
        port = self._rs.camera_info.physical_port
        path = self._device.get_info(port) if self._device.supports(port) else ""
        return Path(path) if path.startswith("/sys/") and Path(path).exists() else None

    def _mode(self) -> tuple[Any, Any]:
        rs, config = self._rs, self._config
        modes = []
        for sensor in self._device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color or profile.format() != rs.format.rgb8:
                    continue
                video = profile.as_video_stream_profile()
                mode = (video.width(), video.height(), video.fps())
                if mode == (config.width_px, config.height_px, config.rate_hz):
                    return sensor, profile
                modes.append(mode)
        wanted = f"{config.width_px}x{config.height_px} at {config.rate_hz} Hz"
        found = ", ".join(f"{width}x{height} at {rate}" for width, height, rate in sorted(set(modes)))
        raise DriverError(f"{self._what} has no RGB8 mode of {wanted}; it has: {found or 'none'}")

    def _configure(self) -> None:
        option = self._rs.option
        # The device's clock as it is: librealsense's own mapping to the host's can glitch and run back.
        self._set(option.global_time_enabled, 0.0)
        # A longer exposure must not lower the rate.
        self._set(option.auto_exposure_priority, 0.0)
        if self._config.exposure is None:
            self._set(option.enable_auto_exposure, 1.0)
        else:
            self._set(option.enable_auto_exposure, 0.0)
            self._require(option.exposure, self._config.exposure, [self._sensor])
        if self._config.sync:
            self._require(option.inter_cam_sync_mode, float(self._config.sync), self._device.query_sensors())

    def _set(self, option: Any, value: float) -> None:
        if self._sensor.supports(option):
            self._sensor.set_option(option, value)

    def _require(self, option: Any, value: float, sensors: Iterable[Any]) -> None:
        able = [sensor for sensor in sensors if sensor.supports(option)]
        if not able:
            raise DriverError(f"{self._what} has no option {str(option).removeprefix('option.')}")
        able[0].set_option(option, value)

    def _look(self) -> None:
        if not self._device.is_connected() or (self._port is not None and not self._port.exists()):
            raise DriverError(f"{self._what} was unplugged")

    def _drain(self, frame: Any) -> tuple[Frame, ...]:
        frames = []
        while frame:
            stamp = self._stamper.take(*self._stamped(frame), self._clock.now_ns())
            if stamp is not None:
                frames.append(Frame(self._name, stamp.t_ns, np.asanyarray(frame.get_data())))
            frame = self._queue.poll_for_frame()
        return tuple(frames)

    def _stamped(self, frame: Any) -> tuple[str, int | None]:
        """Return which clock a frame's stamp is of, and the stamp."""
        rs = self._rs
        domain = frame.get_frame_timestamp_domain()
        middle = rs.frame_metadata_value.sensor_timestamp
        clock, device_ns = "its arrival here, which can be a period late", None
        if domain != rs.timestamp_domain.system_time:
            if domain == rs.timestamp_domain.hardware_clock and frame.supports_frame_metadata(middle):
                clock, device_ns = "the sensor's clock, mid-exposure", frame.get_frame_metadata(middle) * NS_PER_US
            else:
                named = str(domain).removeprefix("timestamp_domain.")
                clock, device_ns = f"the camera's {named}", round(frame.get_timestamp() * NS_PER_MS)
        if clock != self._source:
            self._source = clock
            sys.stderr.write(f"{self._what}: frames are stamped by {clock}\n")
        return clock, device_ns


def _line(error: RuntimeError) -> str:
    return " ".join(str(error).split())
