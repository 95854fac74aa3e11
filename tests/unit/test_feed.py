"""Promises of the camera process: loss is noticed and undone, and no camera waits for another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from runtime.config import RIG_FOLDER, load_rig
from runtime.drivers import factory
from runtime.drivers.base import DriverError, Frame
from runtime.drivers.capture import run_capture
from runtime.drivers.feed import BACKOFF_MAX_NS, BACKOFF_NS, FROZEN_FRAMES, SILENT_NS, Feed
from runtime.spec import RunSpec
from runtime.states import CameraLink
from tests.fake_arm import SteppedClock

WIDTH, HEIGHT, RATE_HZ = 32, 16, 50
PERIOD_NS = NS_PER_S // RATE_HZ
GRAB_NS = 100 * NS_PER_MS


def board_of(folder: Path, *names: str) -> Board:
    """A board whose cameras are recordings, with no recording behind them."""
    rig = yaml.safe_load((RIG_FOLDER / "sim-x5.yaml").read_text())
    camera = {"driver": "recorded", "file": "none", "topic": "none"}
    camera |= {"width_px": WIDTH, "height_px": HEIGHT, "rate_hz": RATE_HZ}
    file = folder / "rig.yaml"
    file.write_text(yaml.safe_dump(rig | {"cameras": dict.fromkeys(names, camera)}))
    texts = dict.fromkeys(("run_dir", "policy", "endpoint", "task", "prompt", "latency", "merge"), "x")
    numbers = {"seed": 0, "duration_s": 1.0, "episode_s": 1.0, "scene_length": 1}
    return Board.create(RunSpec(rig=load_rig(str(file)), serve=False, **texts, **numbers))  # type: ignore[arg-type]


def picture(value: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value % 256, dtype=np.uint8)


class Camera:
    """A camera of a script: what `grab` does next is what the test last set."""

    def __init__(self, clock: Any, name: str = "cam_high") -> None:
        self.clock, self.name = clock, name
        self.there, self.mute, self.still = True, False, False
        self.delay_ns = 0
        self.opened = self.closed = 0

    def open(self) -> None:
        if not self.there:
            raise DriverError("camera 0815 is not plugged in")
        self.opened += 1

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        if not self.there:
            raise DriverError("camera 0815 was unplugged")
        self.clock.sleep_until_ns(self.clock.now_ns() + (timeout_ns if self.mute else PERIOD_NS))
        if self.mute:
            return ()
        now_ns = self.clock.now_ns()
        return (Frame(self.name, now_ns - self.delay_ns, picture(0 if self.still else now_ns // PERIOD_NS)),)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """One camera's feed in virtual time."""

    def __init__(self, folder: Path, board: Board | None = None) -> None:
        self.clock = SteppedClock()
        self.camera = Camera(self.clock)
        self.board = board_of(folder, "cam_high") if board is None else board
        self.feed = Feed(self.board, ("cam_high",), lambda: self.camera, self.clock)

    def run(self, span_ns: int) -> None:
        until_ns = self.clock.now_ns() + span_ns
        while self.clock.now_ns() < until_ns:
            self.feed.step(GRAB_NS)

    @property
    def status(self) -> Any:
        return self.board["camera/cam_high"].latest()

    @property
    def frame(self) -> Any:
        return self.board["frame/cam_high"].latest()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_frames_and_the_state_of_their_camera_are_published(bench: Bench) -> None:
    bench.feed.open()
    assert bench.status["link"] == CameraLink.OPEN
    bench.run(10 * PERIOD_NS)
    assert bench.frame["seq"] == bench.status["frames"] == 10
    assert bench.frame["t_capture_ns"] == bench.frame["t_published_ns"] == bench.clock.now_ns()
    assert np.array_equal(bench.frame["image"], picture(bench.clock.now_ns() // PERIOD_NS))
    assert bench.status["period_ns"] == PERIOD_NS
    assert bench.status["drops"] == bench.status["frozen"] == bench.status["reopened"] == 0
    bench.feed.close()
    assert bench.status["link"] == CameraLink.CLOSED
    assert bench.camera.closed == 1


def test_a_camera_that_is_not_there_ends_the_start_in_one_line(bench: Bench) -> None:
    bench.camera.there = False
    with pytest.raises(DriverError, match=r"^camera 0815 is not plugged in$"):
        bench.feed.open()
    assert bench.camera.closed == 1


def test_an_unplugged_camera_is_lost_at_once_and_opened_again_once_it_is_back(bench: Bench) -> None:
    bench.feed.open()
    bench.run(5 * PERIOD_NS)
    bench.camera.there = False
    before_ns = bench.clock.now_ns()
    bench.feed.step(GRAB_NS)
    assert bench.clock.now_ns() == before_ns
    assert bench.status["link"] == CameraLink.LOST
    assert bench.camera.closed == 1
    bench.run(3 * NS_PER_S)
    assert bench.status["link"] == CameraLink.LOST
    assert bench.status["frames"] == 5
    bench.camera.there = True
    bench.run(BACKOFF_MAX_NS)
    assert bench.status["link"] == CameraLink.OPEN
    assert bench.status["reopened"] == 1
    assert bench.status["frames"] > 5


def test_a_lost_camera_is_tried_ever_more_seldom_and_at_first_again_after_it_came_back(bench: Bench) -> None:
    bench.feed.open()
    tries: list[int] = []
    bench.camera.open = lambda: tries.append(bench.clock.now_ns()) or _absent()  # type: ignore[method-assign]
    bench.camera.there = False
    bench.feed.step(GRAB_NS)
    lost_ns = bench.clock.now_ns()
    bench.run(20 * NS_PER_S)
    gaps = np.diff([lost_ns, *tries]).tolist()
    assert gaps[:5] == [BACKOFF_NS, 2 * BACKOFF_NS, 4 * BACKOFF_NS, 8 * BACKOFF_NS, BACKOFF_MAX_NS]
    assert set(gaps[4:]) == {BACKOFF_MAX_NS}
    bench.camera.there = True
    del bench.camera.open
    bench.run(BACKOFF_MAX_NS)
    bench.camera.there = False
    bench.feed.step(GRAB_NS)
    lost_ns = bench.clock.now_ns()
    bench.camera.there = True
    while bench.status["link"] == CameraLink.LOST:
        bench.feed.step(GRAB_NS)
    assert bench.clock.now_ns() - lost_ns == BACKOFF_NS


def _absent() -> None:
    raise DriverError("camera 0815 is not plugged in")


def test_a_camera_that_says_nothing_is_opened_again_and_a_tireless_one_is_left_alone(bench: Bench) -> None:
    bench.feed.open()
    bench.run(PERIOD_NS)
    bench.camera.mute = True
    bench.run(SILENT_NS)
    assert bench.status["link"] == CameraLink.OPEN
    bench.run(GRAB_NS)
    assert bench.status["link"] == CameraLink.LOST
    bench.run(2 * BACKOFF_NS)
    assert bench.status["reopened"] == 1
    tireless = Feed(bench.board, ("cam_high",), lambda: bench.camera, bench.clock, tireless=True)
    tireless.open()
    until_ns = bench.clock.now_ns() + 2 * SILENT_NS
    while bench.clock.now_ns() < until_ns:
        tireless.step(GRAB_NS)
    assert bench.status["link"] == CameraLink.OPEN


def test_the_same_picture_with_advancing_stamps_is_frozen_until_one_differs(bench: Bench) -> None:
    bench.feed.open()
    bench.run(2 * PERIOD_NS)
    bench.camera.still = True
    for i in range(1, FROZEN_FRAMES + 2):
        bench.feed.step(GRAB_NS)
        assert bench.status["frozen"] == (i >= FROZEN_FRAMES)
    bench.camera.still = False
    bench.feed.step(GRAB_NS)
    assert bench.status["frozen"] == 0


def test_one_pixel_between_those_that_are_glanced_at_is_a_difference(bench: Bench) -> None:
    bench.feed.open()
    grab = bench.camera.grab
    marked = iter(range(1, 10))

    def dotted(timeout_ns: int) -> tuple[Frame, ...]:
        (frame,) = grab(timeout_ns)
        frame.image[:] = 0
        frame.image[3, 5, 1] = next(marked)
        return (frame,)

    bench.camera.grab = dotted  # type: ignore[method-assign]
    bench.run(8 * PERIOD_NS)
    assert bench.status["frames"] == 8
    assert bench.status["frozen"] == 0


@pytest.mark.parametrize("delay_ns", [-1, PERIOD_NS, 2 * PERIOD_NS])
def test_a_stamp_from_the_future_or_not_newer_than_the_last_is_dropped(bench: Bench, delay_ns: int) -> None:
    bench.feed.open()
    bench.run(5 * PERIOD_NS)
    bench.camera.delay_ns = delay_ns
    last_ns = int(bench.frame["t_capture_ns"])
    bench.feed.step(GRAB_NS)
    assert bench.frame["t_capture_ns"] == last_ns
    assert bench.status["drops"] == 1


def test_periods_without_a_frame_are_counted(bench: Bench) -> None:
    bench.feed.open()
    bench.run(3 * PERIOD_NS)
    bench.clock.sleep_until_ns(bench.clock.now_ns() + 2 * PERIOD_NS)
    bench.feed.step(GRAB_NS)
    assert bench.status["drops"] == 2
    bench.clock.sleep_until_ns(bench.clock.now_ns() + PERIOD_NS // 2)
    bench.feed.step(GRAB_NS)
    assert bench.status["drops"] == 2


def test_a_process_that_is_started_anew_goes_on_counting_and_waits_for_a_lost_camera(
    bench: Bench, tmp_path: Path
) -> None:
    bench.feed.open()
    bench.run(5 * PERIOD_NS)
    again = Bench(tmp_path, bench.board)
    again.clock.sleep_until_ns(bench.clock.now_ns())
    again.camera.there = False
    again.feed.open()
    assert again.status["link"] == CameraLink.LOST
    again.camera.there = True
    again.run(BACKOFF_NS + 3 * PERIOD_NS)
    assert again.status["frames"] == again.frame["seq"]
    assert again.status["frames"] > 5


class Gated(Camera):
    """A camera whose grab does not return until the test lets it."""

    def __init__(self, clock: Any, name: str) -> None:
        super().__init__(clock, name)
        self.gate = threading.Event()

    def grab(self, timeout_ns: int) -> tuple[Frame, ...]:
        self.gate.wait(30.0)
        return super().grab(timeout_ns)


def test_a_camera_that_hangs_delays_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, clock = board_of(tmp_path, "cam_high", "cam_left_wrist"), MonotonicClock(0)
    cameras = {"cam_high": Camera(clock), "cam_left_wrist": Gated(clock, "cam_left_wrist")}
    monkeypatch.setitem(factory.CAMERAS, "recorded", lambda board, clock, names: cameras[names[0]])
    thread = threading.Thread(target=run_capture, args=(board, clock, Heart(board["heartbeat/camera"], 1)))
    thread.start()
    frames = board["frame/cam_high"]
    while frames.head < 20:
        frames.wait(frames.head, 10 * NS_PER_MS)
        assert thread.is_alive()
    assert board["frame/cam_left_wrist"].head == 0
    beats = board["heartbeat/camera"].latest()
    assert beats is not None
    assert beats["count"] > 0
    cameras["cam_left_wrist"].gate.set()  # type: ignore[attr-defined]
    while board["frame/cam_left_wrist"].head == 0:
        assert thread.is_alive()
    board.stop_here()
    thread.join()
    assert all(camera.closed == 1 for camera in cameras.values())


def test_one_camera_that_is_missing_at_the_start_ends_the_process_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, clock = board_of(tmp_path, "cam_high", "cam_left_wrist"), MonotonicClock(0)
    cameras = {name: Camera(clock, name) for name in ("cam_high", "cam_left_wrist")}
    cameras["cam_left_wrist"].there = False
    monkeypatch.setitem(factory.CAMERAS, "recorded", lambda board, clock, names: cameras[names[0]])
    with pytest.raises(DriverError, match="0815 is not plugged in"):
        run_capture(board, clock, Heart(board["heartbeat/camera"], 1))
    assert board["heartbeat/camera"].head == 0
    assert cameras["cam_high"].closed == 1
