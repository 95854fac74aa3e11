"""Promises of a recording in place of a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from mcap.writer import Writer

from runtime.channels import BlackBoxWriter
from runtime.clock import NS_PER_S
from runtime.devices import RecordedCamera
from runtime.drivers.base import DriverError
from runtime.drivers.conformance_camera import check_camera
from runtime.drivers.recorded import Recorded
from tests.fake_arm import SteppedClock

WIDTH, HEIGHT, RATE_HZ = 64, 48, 40
PERIOD_NS = NS_PER_S // RATE_HZ
PICTURES = 5


def jpeg(value: int, width: int = WIDTH) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(np.full((HEIGHT, width, 3), 40 * value, np.uint8), 90)
    return data


def black_box(file: Path, first: int = 0) -> Path:
    with file.open("wb") as sink:
        writer = BlackBoxWriter(sink, ("cam_high", "cam_front"))
        for i in range(first, first + PICTURES):
            writer.frame("cam_high", i, jpeg(i))
            writer.frame("cam_front", i, jpeg(0, 32))
        writer.finish({})
    return file


def ros_bag(file: Path) -> Path:
    """Messages as a ROS 2 bag has them: a header in CDR before the JPEG, padding behind it."""
    with file.open("wb") as sink:
        writer = Writer(sink)
        writer.start()
        channel = writer.register_channel("/camera_f/color/image_raw/compressed", "cdr", 0)
        for i in range(PICTURES):
            data = b"\x00\x01\x00\x00" + bytes(20) + b"jpeg\x00" + len(jpeg(i)).to_bytes(4, "little") + jpeg(i) + b"\0"
            writer.add_message(channel, i, data, i)
        writer.finish()
    return file


def camera(file: Path, topic: str = "cam_high", width: int = WIDTH, height: int = HEIGHT) -> Recorded:
    config = RecordedCamera(file=str(file), topic=topic, width_px=width, height_px=height, rate_hz=RATE_HZ)
    return Recorded("cam_high", config, SteppedClock())


def shown(recorded: Recorded, count: int) -> list[int]:
    recorded.open()
    frames = [frame for _ in range(count) for frame in recorded.grab(NS_PER_S)]
    assert {int(step) for step in np.diff([frame.t_capture_ns for frame in frames])} == {PERIOD_NS}
    return [round(float(frame.image.mean()) / 40) for frame in frames]


def test_the_driver_keeps_every_promise_of_a_camera(tmp_path: Path) -> None:
    file = black_box(tmp_path / "run.mcap")
    clock = SteppedClock()
    config = RecordedCamera(file=str(file), topic="cam_high", width_px=WIDTH, height_px=HEIGHT, rate_hz=RATE_HZ)
    check_camera(
        lambda: Recorded("cam_high", config, clock),
        {"cam_high": (WIDTH, HEIGHT)},
        RATE_HZ,
        clock,
        lambda: camera(tmp_path / "none"),
    )


def test_the_pictures_come_in_order_and_again_from_the_first(tmp_path: Path) -> None:
    assert shown(camera(black_box(tmp_path / "run.mcap")), 7) == [0, 1, 2, 3, 4, 0, 1]


def test_a_runs_folder_is_all_its_parts_in_order(tmp_path: Path) -> None:
    black_box(tmp_path / "run.mcap")
    black_box(tmp_path / "run-2.mcap", 1)
    assert shown(camera(tmp_path), 10) == [0, 1, 2, 3, 4, 1, 2, 3, 4, 5]


def test_a_bag_of_ros_is_read_by_its_own_topic(tmp_path: Path) -> None:
    bag = ros_bag(tmp_path / "bag.mcap")
    assert shown(camera(bag, "/camera_f/color/image_raw/compressed"), 5) == [0, 1, 2, 3, 4]


def test_pictures_that_nobody_came_for_are_skipped(tmp_path: Path) -> None:
    clock = SteppedClock()
    config = RecordedCamera(
        file=str(black_box(tmp_path / "run.mcap")), topic="cam_high", width_px=WIDTH, height_px=HEIGHT, rate_hz=RATE_HZ
    )
    recorded = Recorded("cam_high", config, clock)
    recorded.open()
    recorded.grab(0)
    clock.sleep_until_ns(clock.now_ns() + 3 * PERIOD_NS + 1)
    (frame,) = recorded.grab(0)
    assert round(float(frame.image.mean()) / 40) == 3
    assert clock.now_ns() - frame.t_capture_ns == 1
    assert recorded.grab(PERIOD_NS - 2) == ()
    assert len(recorded.grab(1)) == 1


def test_a_recording_without_an_end_is_read_up_to_its_cut(tmp_path: Path) -> None:
    file = tmp_path / "run.mcap"
    with file.open("wb") as sink:
        writer = BlackBoxWriter(sink, ("cam_high",))
        rng = np.random.default_rng(0)
        for i in range(200):
            noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            writer.frame("cam_high", i, simplejpeg.encode_jpeg(noise, 95))
        assert sink.tell() > 0
    recorded = camera(file)
    recorded.open()
    assert len(recorded.grab(0)) == 1


def test_pictures_are_scaled_to_the_rigs_size_where_the_proportions_are_the_same(tmp_path: Path) -> None:
    recorded = camera(black_box(tmp_path / "run.mcap"), width=2 * WIDTH, height=2 * HEIGHT)
    recorded.open()
    recorded.grab(NS_PER_S)
    (frame,) = recorded.grab(NS_PER_S)
    assert frame.image.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert abs(float(frame.image.mean()) - 40) < 2


@pytest.mark.parametrize(
    ("topic", "width", "says"),
    [
        ("cam_low", WIDTH, "no JPEGs in topic 'cam_low'; it has: /camera/cam_front, /camera/cam_high"),
        ("cam_high", WIDTH + 16, f"has pictures of {WIDTH}x{HEIGHT}"),
    ],
)
def test_what_is_not_in_the_recording_is_refused(tmp_path: Path, topic: str, width: int, says: str) -> None:
    with pytest.raises(DriverError, match=says):
        camera(black_box(tmp_path / "run.mcap"), topic, width).open()


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.mcap"
    file.write_bytes(b"not at all")
    with pytest.raises(DriverError, match="no JPEGs in topic 'cam_high'; it has: nothing"):
        camera(file).open()
