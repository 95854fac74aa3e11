"""Promises of the UVC driver over other inputs of FFmpeg than Video4Linux: no camera can be had without a kernel's.

What is not run here is the kernel's device: its modes, its stamps and its unplugging.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simplejpeg

from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.devices import UvcCamera
from runtime.drivers.base import DriverError
from runtime.drivers.conformance_camera import check_camera
from runtime.drivers.uvc import Uvc
from tests.fake_arm import SteppedClock

pytest.importorskip("av")

WIDTH, HEIGHT, RATE_HZ = 64, 48, 50
PERIOD_NS = NS_PER_S // RATE_HZ
PATTERN = f"testsrc=size={WIDTH}x{HEIGHT}:rate={RATE_HZ}"


def config(device: str, **changes: int) -> UvcCamera:
    return UvcCamera(**{"device": device, "width_px": WIDTH, "height_px": HEIGHT, "rate_hz": RATE_HZ} | changes)


class Paced:
    """FFmpeg's test pattern in place of a camera, which has a picture for nobody before it is due."""

    def __init__(self, container: Any, clock: MonotonicClock) -> None:
        self._container, self._clock = container, clock
        self._due_ns = clock.now_ns()

    def demux(self, stream: Any) -> Any:
        if self._clock.now_ns() < self._due_ns:
            raise BlockingIOError
        self._due_ns += PERIOD_NS
        return self._container.demux(stream)

    def close(self) -> None:
        self._container.close()


class Pattern(Uvc):
    def open(self) -> None:
        super().open()
        self._container = Paced(self._container, MonotonicClock(0))


def test_the_driver_keeps_every_promise_of_a_camera() -> None:
    clock = MonotonicClock(0)
    check_camera(
        lambda: Pattern("cam_high", config(PATTERN), clock, "lavfi", {}),
        {"cam_high": (WIDTH, HEIGHT)},
        RATE_HZ,
        clock,
        lambda: Uvc("cam_high", config("/dev/video-none"), clock),
    )


def test_pictures_that_travel_as_jpegs_come_out_as_rgb_and_an_end_is_a_loss(tmp_path: Path) -> None:
    file = tmp_path / "camera.mjpeg"
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[..., 0] = 250
    file.write_bytes(simplejpeg.encode_jpeg(red, 95) * 2)
    camera = Uvc("cam_high", config(str(file), rate_hz=25), MonotonicClock(0), "mjpeg", {})
    camera.open()
    (frame,) = camera.grab(NS_PER_S)
    assert np.abs(frame.image.reshape(-1, 3).mean(axis=0) - (250, 0, 0)).max() < 6
    with pytest.raises(DriverError, match="has ended"):
        for _ in range(4):
            camera.grab(0)
    camera.close()


@pytest.mark.parametrize("changes", [{"width_px": 80}, {"rate_hz": 30}])
def test_a_mode_that_was_not_asked_for_is_refused(changes: dict[str, int]) -> None:
    camera = Uvc("cam_high", config(PATTERN, **changes), MonotonicClock(0), "lavfi", {})
    with pytest.raises(DriverError, match=f"gives {WIDTH}x{HEIGHT} at {RATE_HZ} Hz"):
        camera.open()
    camera.close()


@pytest.mark.parametrize(
    ("device", "says"),
    [("/dev/video-none", "No such file or directory"), ("/dev/null", "Inappropriate ioctl for device")],
)
def test_what_is_no_camera_is_refused_in_one_line(device: str, says: str) -> None:
    camera = Uvc("cam_high", config(device), MonotonicClock(0))
    with pytest.raises(DriverError, match=f"UVC camera {device}: {says}; stable names"):
        camera.open()
    camera.close()


class Container:
    """Packets as Video4Linux stamps them, or what it fails with, one a call."""

    def __init__(self, *script: int | Exception) -> None:
        self._script = iter(script)

    def demux(self, _stream: Any) -> Any:
        item = next(self._script)
        if isinstance(item, Exception):
            raise item
        picture = SimpleNamespace(to_ndarray=lambda format: np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        yield SimpleNamespace(pts=item // 1000, time_base=Fraction(1, 1_000_000), decode=lambda: [picture])

    def close(self) -> None:
        """Nothing."""


def scripted(clock: SteppedClock, *script: int | Exception) -> Uvc:
    camera = Uvc("cam_high", config("/dev/video0"), clock)
    camera._container, camera._stream = Container(*script), None
    return camera


def test_the_kernels_stamps_are_the_hosts_and_stay_so(capsys: pytest.CaptureFixture[str]) -> None:
    clock = SteppedClock()
    stamp_ns = clock.now_ns() - 9 * NS_PER_MS
    late_ns = stamp_ns + PERIOD_NS
    camera = scripted(clock, stamp_ns, BlockingIOError(), late_ns)
    assert [frame.t_capture_ns for frame in camera.grab(0)] == [stamp_ns]
    assert camera.grab(0) == ()
    # A stamp that is ahead of its arrival is no other clock's, it is wrong.
    assert camera.grab(0) == ()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_grab_waits_for_a_frame_but_not_beyond_its_time() -> None:
    clock = SteppedClock()
    begun_ns = clock.now_ns()
    camera = scripted(clock, *[BlockingIOError() for _ in range(3)], begun_ns, *[BlockingIOError() for _ in range(99)])
    assert len(camera.grab(NS_PER_S)) == 1
    assert camera.grab(10 * NS_PER_MS) == ()
    assert clock.now_ns() - begun_ns == 16 * NS_PER_MS


def test_an_unplugged_camera_is_lost_at_once_and_a_damaged_picture_is_not_a_loss() -> None:
    camera = scripted(SteppedClock(), ValueError("invalid data"), OSError(19, "No such device"))
    assert camera.grab(0) == ()
    with pytest.raises(DriverError, match="UVC camera /dev/video0: No such device"):
        camera.grab(0)
