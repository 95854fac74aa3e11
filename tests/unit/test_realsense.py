"""Promises of the RealSense driver, on librealsense's own software device: its sensors, queues, frames and metadata."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.devices import RealsenseCamera
from runtime.drivers import realsense
from runtime.drivers.base import DriverError, Frame
from runtime.drivers.conformance_camera import check_camera
from runtime.drivers.realsense import Realsense

WIDTH, HEIGHT, RATE_HZ = 64, 48, 60
PERIOD_NS = NS_PER_S // RATE_HZ
STEP_NS = 100_000
"""Between the stamps of frames that are sent at once."""
SERIAL = "0815"
CONFIG = RealsenseCamera(serial=SERIAL, width_px=WIDTH, height_px=HEIGHT, rate_hz=RATE_HZ)

try:
    rs = realsense.load_sdk()
except DriverError as missing:
    pytest.skip(str(missing), allow_module_level=True)


class Soft:
    """A camera that librealsense simulates: frames enter at its sensor as a backend's would."""

    def __init__(self, *options: Any) -> None:
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, SERIAL)
        self.sensor = self.device.add_sensor("RGB Camera")
        for option in options:
            self.sensor.add_option(option, rs.option_range(0.0, 10000.0, 0.0, 1.0), True)
        stream = rs.video_stream()
        stream.type, stream.fmt, stream.bpp, stream.index, stream.uid = rs.stream.color, rs.format.rgb8, 3, 0, 0
        stream.width, stream.height, stream.fps = WIDTH, HEIGHT, RATE_HZ
        self.profile = self.sensor.add_video_stream(stream).as_video_stream_profile()
        self.frames = 0
        self.unplugged = False

    def send(self, stamp_ns: int, domain: Any = None, middle_ns: int | None = None) -> None:
        self.frames += 1
        frame = rs.software_video_frame()
        frame.pixels = np.full((HEIGHT, WIDTH, 3), self.frames % 256, np.uint8)
        frame.bpp, frame.stride, frame.frame_number, frame.profile = 3, 3 * WIDTH, self.frames, self.profile
        frame.timestamp = stamp_ns / NS_PER_MS
        frame.domain = rs.timestamp_domain.hardware_clock if domain is None else domain
        if middle_ns is not None:
            self.sensor.set_metadata(rs.frame_metadata_value.sensor_timestamp, middle_ns // 1000)
        self.sensor.on_video_frame(frame)

    # As a device that `Realsense` finds: the software device itself can neither be listed nor unplugged.
    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    def is_connected(self) -> bool:
        return not self.unplugged


def opened(soft: Soft, config: RealsenseCamera = CONFIG) -> Realsense:
    camera = Realsense("cam_high", config, MonotonicClock(0), lambda: [soft])
    camera.open()
    return camera


def grab(camera: Realsense, count: int = 1) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        came = camera.grab(10 * NS_PER_S)
        assert came
        frames += came
    return frames


def test_the_driver_keeps_every_promise_of_a_camera() -> None:
    soft, clock, over = Soft(), MonotonicClock(0), threading.Event()

    def play() -> None:
        while not over.wait(PERIOD_NS / NS_PER_S):
            soft.send(0, middle_ns=soft.frames * PERIOD_NS)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        check_camera(
            lambda: Realsense("cam_high", CONFIG, clock, lambda: [soft]),
            {"cam_high": (WIDTH, HEIGHT)},
            RATE_HZ,
            clock,
            lambda: Realsense("cam_high", RealsenseCamera(serial="1", width_px=64, height_px=48, rate_hz=60), clock),
        )
    finally:
        over.set()
        thread.join()


def test_the_sensors_own_stamp_counts_before_the_frames(capsys: pytest.CaptureFixture[str]) -> None:
    soft = Soft()
    camera = opened(soft)
    for i in range(3):
        # The frame's own stamps would be refused: they run back.
        soft.send(NS_PER_S - i * STEP_NS, middle_ns=NS_PER_S + i * STEP_NS)
    assert [int(frame.image[0, 0, 0]) for frame in grab(camera, 3)] == [1, 2, 3]
    assert capsys.readouterr().err == f"RealSense {SERIAL}: frames are stamped by the sensor's clock, mid-exposure\n"
    camera.close()


def test_without_the_sensors_stamp_the_frames_clock_is_used_and_one_that_runs_back_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    soft = Soft()
    camera = opened(soft)
    for i in (1, 2, 0, 3):
        soft.send(NS_PER_S + i * STEP_NS, rs.timestamp_domain.global_time)
    frames = grab(camera, 3)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 4]
    assert capsys.readouterr().err == f"RealSense {SERIAL}: frames are stamped by the camera's global_time\n"
    camera.close()


def test_a_stamp_of_the_wall_clock_is_never_used(capsys: pytest.CaptureFixture[str]) -> None:
    soft, clock = Soft(), MonotonicClock(0)
    camera = opened(soft)
    before_ns = clock.now_ns()
    soft.send(10**18, rs.timestamp_domain.system_time)
    (frame,) = grab(camera)
    assert before_ns < frame.t_capture_ns <= clock.now_ns()
    assert "its arrival here, which can be a period late" in capsys.readouterr().err
    camera.close()


def test_a_frame_stays_whole_while_later_ones_come() -> None:
    soft = Soft()
    camera = opened(soft)
    soft.send(0)
    (first,) = grab(camera)
    for i in range(1, 11):
        soft.send(i * STEP_NS)
        grab(camera)
    assert (first.image == 1).all()
    camera.close()


def test_an_unplugged_camera_is_told_within_the_time_of_one_grab() -> None:
    soft = Soft()
    camera = opened(soft)
    assert camera.grab(0) == ()
    soft.unplugged = True
    with pytest.raises(DriverError, match="RealSense 0815 was unplugged"):
        camera.grab(100 * NS_PER_MS)
    camera.close()


def test_a_mode_that_it_lacks_is_refused_with_those_that_it_has() -> None:
    camera = Realsense(
        "cam_high",
        RealsenseCamera(serial=SERIAL, width_px=640, height_px=480, rate_hz=30),
        MonotonicClock(0),
        lambda: [Soft()],
    )
    with pytest.raises(DriverError, match="no RGB8 mode of 640x480 at 30 Hz; it has: 64x48 at 60"):
        camera.open()
    camera.close()


def test_options_are_set_where_the_sensor_has_them_and_missed_where_they_were_asked_for() -> None:
    option = rs.option
    names = (option.global_time_enabled, option.enable_auto_exposure, option.exposure, option.inter_cam_sync_mode)
    soft = Soft(*names)
    soft.sensor.set_option(option.global_time_enabled, 1.0)
    config = RealsenseCamera(serial=SERIAL, width_px=WIDTH, height_px=HEIGHT, rate_hz=RATE_HZ, sync=2, exposure=156.0)
    camera = opened(soft, config)
    assert [soft.sensor.get_option(name) for name in names] == [0.0, 0.0, 156.0, 2.0]
    camera.close()
    with pytest.raises(DriverError, match="has no option"):
        opened(Soft(), config)
