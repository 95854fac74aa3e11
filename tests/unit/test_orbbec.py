"""Promises of the Orbbec driver and its host: real processes and pipes, a stand-in of pyorbbecsdk at their end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.devices import OrbbecCamera
from runtime.drivers.base import DriverError
from runtime.drivers.capture import HUNG_NS
from runtime.drivers.conformance_camera import check_camera
from runtime.drivers.orbbec import Orbbec
from runtime.drivers.orbbec_host import ERROR, FRAME, FRAME_KIND, HEADER, READY

STAND_IN = Path(__file__).parent / "orbbec_stand_in"
WIDTH, HEIGHT, RATE_HZ = 64, 48, 50


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter whose environment has the stand-in, and nothing of this project on its path."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={STAND_IN} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def config(python: str, serial: str = "0815", width_px: int = WIDTH) -> OrbbecCamera:
    return OrbbecCamera(serial=serial, python=python, width_px=width_px, height_px=HEIGHT, rate_hz=RATE_HZ)


@pytest.fixture
def camera(python: str) -> Iterator[Orbbec]:
    made = Orbbec("cam_high", config(python), MonotonicClock(0))
    yield made
    made.close()


def test_the_driver_keeps_every_promise_of_a_camera(python: str) -> None:
    clock = MonotonicClock(0)
    check_camera(
        lambda: Orbbec("cam_high", config(python), clock),
        {"cam_high": (WIDTH, HEIGHT)},
        RATE_HZ,
        clock,
        lambda: Orbbec("cam_high", config(python, "4711"), clock),
    )


def test_what_the_package_prints_is_not_taken_for_frames(camera: Orbbec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBBEC_STAND_IN", "chatty")
    camera.open()
    first = camera.grab(10 * NS_PER_S)
    assert (first[0].image == 1).all()


@pytest.mark.parametrize(("does", "says"), [("unplug", "was unplugged"), ("fail", "Device is deactivated!")])
def test_a_camera_that_is_lost_is_told_on_one_line(
    camera: Orbbec, monkeypatch: pytest.MonkeyPatch, does: str, says: str
) -> None:
    monkeypatch.setenv("ORBBEC_STAND_IN", does)
    camera.open()
    with pytest.raises(DriverError, match=f"^Orbbec 0815 {says}$"):
        for _ in range(20):
            camera.grab(10 * NS_PER_S)


def test_a_killed_host_is_a_lost_camera(camera: Orbbec) -> None:
    camera.open()
    assert camera._host is not None
    camera._host.kill()
    with pytest.raises(DriverError, match="its host process has ended"):
        while True:
            camera.grab(10 * NS_PER_S)


def test_a_silent_camera_gives_nothing_and_its_host_ends_with_the_driver(
    camera: Orbbec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORBBEC_STAND_IN", "silent")
    camera.open()
    host = camera._host
    assert camera.grab(NS_PER_MS) == ()
    camera.close()
    assert host is not None
    assert host.poll() is not None
    with pytest.raises(DriverError, match="is not open"):
        camera.grab(0)


@pytest.mark.parametrize(
    ("serial", "width_px", "says"),
    [
        ("4711", WIDTH, r"^Orbbec 4711 is not plugged in; there are: 0815$"),
        ("0815", 80, r"^Orbbec 0815 has no RGB mode of 80x48 at 50 Hz \(Invalid input"),
    ],
)
def test_a_camera_or_mode_that_is_not_there_is_refused(python: str, serial: str, width_px: int, says: str) -> None:
    camera = Orbbec("cam_high", config(python, serial, width_px), MonotonicClock(0))
    with pytest.raises(DriverError, match=says):
        camera.open()
    camera.close()


def test_an_environment_without_the_package_or_an_interpreter_is_refused(tmp_path: Path) -> None:
    camera = Orbbec("cam_high", config(sys.executable), MonotonicClock(0))
    with pytest.raises(DriverError, match="Orbbec 0815 No module named 'pyorbbecsdk'"):
        camera.open()
    camera.close()
    camera = Orbbec("cam_high", config(str(tmp_path / "none")), MonotonicClock(0))
    with pytest.raises(DriverError, match="No such file or directory"):
        camera.open()
    camera.close()


class HurriedClock(MonotonicClock):
    """Four seconds pass whenever somebody looks."""

    looks = 0

    def now_ns(self) -> int:
        self.looks += 1
        return self.looks * 4 * NS_PER_S


def test_a_host_that_hangs_at_its_start_is_given_up_before_its_driver_counts_as_hung(tmp_path: Path) -> None:
    host = tmp_path / "python"
    host.write_text("#!/bin/sh\nexec sleep 60\n")
    host.chmod(0o755)
    clock = HurriedClock(0)
    camera = Orbbec("cam_high", config(str(host)), clock)
    with pytest.raises(DriverError, match="Orbbec 0815: did not start within 20 s"):
        camera.open()
    camera.close()
    assert clock.looks * 4 * NS_PER_S < HUNG_NS


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(1, READY),
        HEADER.pack(FRAME.size + 3 * WIDTH * HEIGHT - 1, FRAME_KIND),
        HEADER.pack(FRAME.size + 3 * WIDTH * HEIGHT + 1, FRAME_KIND),
        HEADER.pack(1001, ERROR),
        HEADER.pack(0, b"?"),
        HEADER.pack(0xFFFFFFFF, FRAME_KIND),
    ],
)
def test_a_host_that_does_not_keep_the_protocol_is_refused_before_its_message_is_read(
    tmp_path: Path, data: bytes
) -> None:
    message = tmp_path / "message"
    message.write_bytes(data)
    host = tmp_path / "python"
    host.write_text(f"#!/bin/sh\ncat {message}\nexec sleep 30\n")
    host.chmod(0o755)
    camera = Orbbec("cam_high", config(str(host)), MonotonicClock(0))
    with pytest.raises(DriverError, match="does not keep the protocol"):
        camera.open()
    camera.close()
