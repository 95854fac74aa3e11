"""The recorder survives the disk it writes to, drops frames first, and says what it lost."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import records, spool
from runtime.blackbox import FILE_NAME, load_run, new_part
from runtime.board import Board, Heart
from runtime.clock import VirtualClock
from runtime.faults import BIT
from runtime.inference.foresight import expect, picture_records
from runtime.recorder import (
    FRAME_PERIOD_NS,
    FRAMES_BACKLOG_BYTES,
    LINGER_MAX_NS,
    SCALARS_BACKLOG_BYTES,
    SLOW_S,
    Cursor,
    Recorder,
    run_recorder,
    shrink,
)
from runtime.shm import Segment, Topic, blank
from runtime.spool import Spool
from tests.unit import recorded


class LaggingSpool(Spool):
    """A spool whose disk is said to be behind."""

    behind_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        return self.behind_bytes


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("did not come true in 10 s")


def record_behind(run_dir: Path, behind_bytes: int, ticks: int) -> Recorder:
    """Record with the disk so far behind for the whole run but its end."""
    board = recorded.make_board(run_dir)
    lagging = LaggingSpool(run_dir / FILE_NAME)
    recorder = Recorder(board, lagging)
    lagging.behind_bytes = behind_bytes
    for i in range(ticks):
        recorded.put(board, i, ticks)
        recorder.step(recorded.T0_NS + i * recorded.PERIOD_NS)
    lagging.behind_bytes = 0
    recorder.finish(recorded.T0_NS + ticks * recorded.PERIOD_NS)
    lagging.close(5.0)
    return recorder


def test_a_slow_disk_costs_frames_and_no_scalar(tmp_path: Path) -> None:
    recorder = record_behind(tmp_path, FRAMES_BACKLOG_BYTES + 1, 400)
    run = load_run(tmp_path)
    assert len(run.ticks) == 400
    assert len(run.records["request"]) == 5
    assert run.frames == {}
    assert recorder.frames_dropped == run.recorder["frames_dropped"] == 30
    assert any("slow disk" in line for _, line in run.log)


def foresee(board: Board, chunk_id: int, height: int, width: int) -> None:
    """Put on the board what a chunk's policy foresaw for two ticks of the rig's second camera."""
    film = np.full((2, height, width, 3), 200, np.uint8)
    expected = expect(chunk_id, 100 * chunk_id, 10, {"cam_left_wrist": film})
    assert expected is not None
    for record in picture_records(expected, {"cam_left_wrist": film}, tuple(board.spec.rig.cameras), recorded.T0_NS):
        board["foreseen_picture"].push(record)


def test_predicted_pictures_are_kept_at_the_size_they_came_in_with_their_tick_and_each_once(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    foresee(board, 1, 120, 160)
    # A second recorder finds in the ring what the first had stored.
    for _ in range(2):
        sink = Spool(new_part(tmp_path))
        recorder = Recorder(board, sink)
        recorder.step(recorded.T0_NS)
        foresee(board, 2, 960, 1280)
        recorder.finish(recorded.T0_NS)
        sink.close(5.0)
    run = load_run(tmp_path)
    assert list(run.foreseen) == ["cam_left_wrist"]
    kept = run.foreseen["cam_left_wrist"]
    assert [(frame.chunk_id, frame.tick) for frame in kept] == [(1, 105), (1, 110), (2, 205), (2, 210)]
    assert [frame.t_ns for frame in kept] == [recorded.T0_NS + frame.tick * 4 * recorded.PERIOD_NS for frame in kept]
    pictures = [simplejpeg.decode_jpeg(frame.jpeg) for frame in kept]
    assert [picture.shape for picture in pictures] == [(120, 160, 3)] * 2 + [(240, 320, 3)] * 2
    assert all(np.abs(picture.astype(int) - 200).max() <= 2 for picture in pictures)
    assert run.frames == {}


def test_predicted_pictures_are_dropped_first_and_counted(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    lagging = LaggingSpool(tmp_path / FILE_NAME)
    recorder = Recorder(board, lagging)
    lagging.behind_bytes = FRAMES_BACKLOG_BYTES + 1
    foresee(board, 1, 120, 160)
    recorder.step(recorded.T0_NS)
    lagging.behind_bytes = 0
    # More than the ring holds while the recorder was away.
    for chunk_id in range(2, 42):
        foresee(board, chunk_id, 12, 16)
    recorder.finish(recorded.T0_NS)
    lagging.close(5.0)
    run = load_run(tmp_path)
    cameras = len(board.spec.rig.cameras)
    assert recorder.frames_dropped == cameras + 2 + 80 - len(run.foreseen["cam_left_wrist"])
    assert len(run.foreseen["cam_left_wrist"]) == board["foreseen_picture"].topic.capacity - 1


def test_beyond_its_memory_the_recorder_leaves_the_rest_in_the_rings(tmp_path: Path) -> None:
    record_behind(tmp_path, SCALARS_BACKLOG_BYTES + 1, 400)
    assert len(load_run(tmp_path).ticks) == 400


def test_records_lost_to_a_stall_are_counted_and_reported(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    sink = Spool(tmp_path / FILE_NAME)
    recorder = Recorder(board, sink)
    for i in range(5000):
        board["tick"].push(recorded.make_tick(i))
        if i == 9:
            recorder.step(recorded.T0_NS)
    recorder.finish(recorded.T0_NS)
    sink.close(5.0)
    run = load_run(tmp_path)
    assert len(run.ticks) + run.recorder["lost_tick"] == 5000
    assert run.missing("tick") == run.recorder["lost_tick"] > 0


def test_a_restarted_recorder_counts_nothing_as_lost_that_is_stored(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    for count in (5000, 100):
        sink = Spool(new_part(tmp_path))
        recorder = Recorder(board, sink)
        for _ in range(count):
            head = board["tick"].head
            board["tick"].push(recorded.make_tick(head))
            if head % 1000 == 0:
                recorder.step(recorded.T0_NS)
        recorder.finish(recorded.T0_NS)
        sink.close(5.0)
    run = load_run(tmp_path)
    assert len(run.ticks) == 5100
    assert run.missing("tick") == run.recorder["lost_tick"] == 0


def test_a_full_disk_never_delays_the_appender_and_is_named() -> None:
    full = Spool(Path("/dev/full"))
    for _ in range(100):
        full.write(b"x" * 10_000)
    wait_until(lambda: full.error != "")
    assert full.error == os.strerror(errno.ENOSPC)
    assert full.tell() == 1_000_000
    assert full.backlog_bytes > 0
    assert full.close(0.05) == full.backlog_bytes > 0


def test_a_disk_that_recovers_gets_every_byte_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    write = os.write

    def moody(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls in {2, 3}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[: max(1, len(data) // 2)])

    monkeypatch.setattr(spool.os, "write", moody)
    monkeypatch.setattr(spool, "RETRY_S", 0.001)
    sink = Spool(tmp_path / "file")
    parts = [bytes([i]) * 1000 for i in range(50)]
    for part in parts:
        sink.write(part)
    assert sink.close(10.0) == 0
    assert sink.error == ""
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_a_disk_that_takes_no_new_file_yet_gets_every_byte_into_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, refused = spool._create, []

    def full(path: Path) -> int:
        if path.name == "second" and len(refused) < 2:
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(path)

    monkeypatch.setattr(spool, "_create", full)
    monkeypatch.setattr(spool, "RETRY_S", 0.01)
    sink = Spool(tmp_path / "first")
    sink.write(b"one")
    sink.begin(tmp_path / "second")
    assert sink.tell() == 0
    sink.write(b"two")
    assert sink.tell() == 3
    assert sink.close(5.0) == 0
    assert [(tmp_path / name).read_bytes() for name in ("first", "second")] == [b"one", b"two"]
    assert len(refused) == 2


def test_the_recorder_ends_soon_after_the_stop_with_a_whole_file(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    for i in range(100):
        recorded.put(board, i, 100)
    lifecycle = blank(records.LIFECYCLE)
    lifecycle["t0_ns"], lifecycle["stop"] = recorded.T0_NS, 1
    board["lifecycle"].push(lifecycle)
    clock = VirtualClock(recorded.T0_NS)
    run_recorder(board, clock, Heart(board["heartbeat/recorder"], 1))
    assert clock.now_ns() - recorded.T0_NS <= LINGER_MAX_NS
    run = load_run(tmp_path)
    assert run.complete
    assert len(run.ticks) == 100


def test_a_cursor_gives_each_record_once_with_its_index() -> None:
    topic = Topic("tick", records.TICK, 8)
    ring = Segment.create((topic,)).rings["tick"]
    cursor = Cursor(ring)
    for i in range(5):
        ring.push(recorded.make_tick(i))
    assert [(index, int(record["servo_tick"])) for index, record in cursor.drain()] == [(i, i) for i in range(5)]
    assert list(cursor.drain()) == []
    for i in range(5, 25):
        ring.push(recorded.make_tick(i))
    assert [index for index, _ in cursor.drain()] == list(range(18, 25))
    assert cursor.lost == 13
    assert cursor.newest() is None
    ring.push(recorded.make_tick(25))
    newest = cursor.newest()
    assert newest is not None
    assert newest[0] == 25


@settings(max_examples=40, deadline=None)
@given(width=st.integers(16, 700), height=st.integers(16, 500), value=st.integers(0, 255))
def test_a_shrunk_frame_fits_and_keeps_its_colour(width: int, height: int, value: int) -> None:
    small = shrink(np.full((height, width, 3), value, dtype=np.uint8))
    assert small.shape[0] <= 120
    assert small.shape[1] <= 160
    assert min(small.shape[:2]) >= 1
    assert small.flags.c_contiguous
    assert np.all(small == value)


class BusySpool(Spool):
    """A spool whose disk has had one write for a while."""

    busy_s = 0.0

    @property
    def writing_s(self) -> float:
        return self.busy_s


def test_a_disk_that_is_slow_with_one_write_costs_frames_until_it_has_taken_it(tmp_path: Path) -> None:
    board = recorded.make_board(tmp_path)
    busy = BusySpool(tmp_path / FILE_NAME)
    recorder, said = Recorder(board, busy), []
    for i, busy_s in enumerate((SLOW_S, SLOW_S + 0.01, 0.0)):
        busy.busy_s = busy_s
        recorder.step(recorded.T0_NS + i * FRAME_PERIOD_NS)
        said.append((int(board["recorder"].latest()["faults"]), recorder.frames_dropped))
    busy.close(5.0)
    cameras = len(board.spec.rig.cameras)
    assert said == [(0, 0), (BIT["disk_behind"], cameras), (0, cameras)]


def test_a_write_is_under_way_until_the_disk_has_taken_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def refuse(fd: int, data: memoryview) -> int:
        taken.append(len(data))
        if len(taken) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    monkeypatch.setattr(spool, "RETRY_S", 0.01)
    monkeypatch.setattr(os, "write", refuse)
    busy = Spool(tmp_path / "file")
    assert busy.writing_s == 0.0
    busy.write(b"abc")
    wait_until(lambda: len(taken) >= 1)
    wait_until(lambda: busy.backlog_bytes == 0)
    wait_until(lambda: busy.writing_s == 0.0)
    assert len(taken) == 3
    busy.close(5.0)
