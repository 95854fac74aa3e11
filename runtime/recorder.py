"""The recorder: drains the board's rings into the run's black box and can never block what it records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from runtime import records
from runtime.blackbox import new_part, part_after
from runtime.board import Board, Heart
from runtime.channels import RECORD_CHANNELS, BlackBoxWriter, RecordChannel
from runtime.clock import NS_PER_MS, Clock
from runtime.faults import BIT
from runtime.interventions import Interventions
from runtime.shm import Ring, blank
from runtime.spool import Spool
from runtime.states import Mode

DRAIN_PERIOD_NS: Final = 50 * NS_PER_MS
FRAME_PERIOD_NS: Final = 200 * NS_PER_MS
STATUS_PERIOD_NS: Final = 100 * NS_PER_MS
LINGER_NS: Final = 100 * NS_PER_MS
"""How long no tick must have come after the stop before the file is closed."""
LINGER_MAX_NS: Final = 300 * NS_PER_MS
CLOSE_TIMEOUT_S: Final = 0.3
"""How long the disk may take for the rest; a recorder that lingers is killed by the supervisor."""
FRAME_WIDTH: Final = 160
FRAME_HEIGHT: Final = 120
JPEG_QUALITY: Final = 75
FRAMES_BACKLOG_BYTES: Final = 2 << 20
"""Bytes the disk may be behind before frames are dropped; without frames a run writes about 0.2 MB/s."""
SLOW_S: Final = 0.5
"""How long the disk may have one write before it counts as slow."""
SCALARS_BACKLOG_BYTES: Final = 64 << 20
PART_BYTES: Final = 128 << 20
"""A file this long is ended and followed by another: its index is kept in memory until then, about 1 kB a second."""


class Cursor:
    """A reader's place in a ring, which knows the index of every record and how many it lost.

    What is older than the reader is taken where it is still there and is no loss where it is not: it is stored already
    where a recorder was restarted.
    """

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.since = ring.head
        self.next = 0
        self.lost = 0

    def drain(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the records that are new, with their indices, oldest first."""
        head = self.ring.head
        start = max(self.next, head - self.ring.topic.capacity + 1)
        self.lost += max(start - max(self.next, self.since), 0)
        for index in range(start, head):
            record = self.ring.read(index)
            if record is not None:
                yield index, record
            elif index >= self.since:
                self.lost += 1
        self.next = head

    def skip(self) -> int:
        """Pass over what is new; returns how many records that were."""
        skipped = self.ring.head - self.next
        self.next += skipped
        return skipped

    @property
    def behind(self) -> int:
        """Records that were lost or not taken yet."""
        return self.lost + self.ring.head - max(self.next, self.since)

    def newest(self) -> tuple[int, NDArray[Any]] | None:
        """Return the newest record with its index unless it was returned before."""
        index = self.ring.head - 1
        if index < self.next:
            return None
        self.next = index + 1
        record = self.ring.read(index)
        return None if record is None else (index, record)


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an RGB image of at most 160x120, each pixel the mean of four samples of its block."""
    height, width = image.shape[:2]
    step = max(-(-width // FRAME_WIDTH), -(-height // FRAME_HEIGHT))
    if step == 1:
        return np.ascontiguousarray(image)
    image = image[: height - height % step, : width - width % step]
    offsets = (0, step // 2)
    total = np.full((image.shape[0] // step, image.shape[1] // step, 3), 2, dtype=np.uint16)
    for row in offsets:
        for column in offsets:
            total += image[row::step, column::step]
    return (total >> 2).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(image, JPEG_QUALITY, "RGB", "420", True)
    return encoded


class Recorder:
    """One run's recorder, stepped about 20 times a second.

    When the disk falls behind, frames are dropped first; what else is recorded waits in memory, and beyond
    `SCALARS_BACKLOG_BYTES` in the rings, whose losses are counted.
    """

    def __init__(self, board: Board, spool: Spool) -> None:
        self._spec = spec = board.spec
        self._t0_ns = board.t0_ns
        self._where = spec.run_dir
        self._spool = spool
        self._cameras = tuple(spec.rig.cameras)
        self._writer = self._begin()
        self._cursors = {channel.ring: Cursor(board[channel.ring]) for channel in RECORD_CHANNELS}
        self._frame_cursors = {name: Cursor(board[f"frame/{name}"]) for name in self._cameras}
        self._foreseen = Cursor(board["foreseen_picture"])
        self._base = spec.tick_base(board.t0_ns)
        self._joint_ratio = spec.rig.servo_hz // spec.rig.policy_hz
        self._status_due_ns = 0
        self._frames_due_ns = 0
        self._mode = -1
        self._condition = ""
        self._interventions = Interventions(self._t0_ns)
        self._status_ring = board["recorder"]
        self._status: Any = blank(records.RECORDER_STATUS)
        self.frames_dropped = 0

    def step(self, now_ns: int) -> None:
        """Take what is new on the board."""
        self._report(now_ns)
        if self._spool.backlog_bytes > SCALARS_BACKLOG_BYTES:
            self._drop_frames(now_ns)
            return
        status_due = now_ns >= self._status_due_ns
        if status_due:
            self._status_due_ns = now_ns + STATUS_PERIOD_NS
        for channel in RECORD_CHANNELS:
            if channel.every or status_due:
                self._drain(channel)
        if self._condition:
            self._drop_frames(now_ns)
        else:
            self._take_foreseen()
            if now_ns >= self._frames_due_ns:
                self._frames_due_ns = now_ns + FRAME_PERIOD_NS
                self._take_frames()
        if self._spool.tell() > PART_BYTES:
            self._turn()

    def finish(self, now_ns: int) -> None:
        """Take the rest and write the file's end."""
        self._status_due_ns = 0
        self._frames_due_ns = now_ns + FRAME_PERIOD_NS
        self.step(now_ns)
        led = self._interventions.finish()
        if led is not None:
            self._writer.intervention(now_ns, led)
        self._end()

    def _turn(self) -> None:
        self._end()
        self._spool.begin(part_after(self._spool.path))
        self._writer = self._begin()

    def _begin(self) -> BlackBoxWriter:
        writer = BlackBoxWriter(self._spool, self._cameras)
        writer.run(self._spec, self._t0_ns)
        return writer

    def _end(self) -> None:
        lost = {f"lost_{c.ring}": self._cursors[c.ring].behind for c in RECORD_CHANNELS if c.every}
        self._writer.finish({"frames_dropped": self.frames_dropped} | lost)

    def _drain(self, channel: RecordChannel) -> None:
        cursor = self._cursors[channel.ring]
        if not channel.every:
            newest = cursor.newest()
            if newest is not None:
                self._writer.record(channel, *newest)
            return
        for index, record in cursor.drain():
            self._writer.record(channel, index, record)
            if channel.ring == "tick":
                self._watch(record)

    def _watch(self, tick: NDArray[Any]) -> None:
        if int(tick["servo_tick"]) % self._joint_ratio == 0:
            self._writer.joint_states(tick)
        led = self._interventions.step(tick)
        if led is not None:
            self._writer.intervention(int(tick["now_ns"]), led)
        mode = int(tick["mode"])
        if mode != self._mode:
            self._mode = mode
            self._writer.log(int(tick["now_ns"]), "info", f"mode {Mode(mode).name}")

    def _take_frames(self) -> None:
        for name, cursor in self._frame_cursors.items():
            newest = cursor.newest()
            if newest is not None:
                frame = newest[1]
                self._writer.frame(name, int(frame["t_capture_ns"]), _jpeg(shrink(frame["image"])))

    def _take_foreseen(self) -> None:
        cursor, lost = self._foreseen, self._foreseen.lost
        for _, record in cursor.drain():
            picture = np.ascontiguousarray(record["image"][: int(record["height"]), : int(record["width"])])
            camera, tick = self._cameras[int(record["camera"])], int(record["tick"])
            self._writer.foreseen(camera, self._base.time_ns(tick), tick, int(record["chunk_id"]), _jpeg(picture))
        self.frames_dropped += cursor.lost - lost

    def _drop_frames(self, now_ns: int) -> None:
        self.frames_dropped += self._foreseen.skip()
        if now_ns >= self._frames_due_ns:
            self._frames_due_ns = now_ns + FRAME_PERIOD_NS
            self.frames_dropped += len(self._cameras)

    def _report(self, now_ns: int) -> None:
        condition = self._spool.error
        if not condition and (self._spool.backlog_bytes > FRAMES_BACKLOG_BYTES or self._spool.writing_s > SLOW_S):
            condition = "slow disk"
        self._publish(now_ns, condition)
        if condition != self._condition:
            self._condition = condition
            where = self._where
            text = (
                f"{where}: {condition}; frames dropped, the rest waits in memory"
                if condition
                else (f"{where}: the disk takes data again; {self.frames_dropped} frames dropped")
            )
            sys.stderr.write(f"recorder: {text}\n")
            self._writer.log(now_ns, "warning", text)

    def _publish(self, now_ns: int, condition: str) -> None:
        self._status["t_ns"] = now_ns
        self._status["faults"] = BIT["disk_behind"] if condition else 0
        self._status["frames_dropped"] = self.frames_dropped
        self._status["backlog_bytes"] = self._spool.backlog_bytes
        self._status_ring.push(self._status)


def run_recorder(board: Board, clock: Clock, heart: Heart) -> None:
    """Record the run until the board says stop and the control process has ended."""
    spool = Spool(new_part(Path(board.spec.run_dir)))
    recorder = Recorder(board, spool)
    ticks = board["tick"]
    head, quiet_since_ns, stop_ns = 0, clock.now_ns(), 0
    while True:
        now_ns = clock.now_ns()
        heart.beat(now_ns)
        if ticks.head != head:
            head, quiet_since_ns = ticks.head, now_ns
        if stop_ns:
            if now_ns - quiet_since_ns >= LINGER_NS or now_ns - stop_ns >= LINGER_MAX_NS:
                break
        elif board.stopping:
            stop_ns = quiet_since_ns = now_ns
        recorder.step(now_ns)
        clock.sleep_until_ns(now_ns + DRAIN_PERIOD_NS)
    recorder.finish(clock.now_ns())
    unwritten = spool.close(CLOSE_TIMEOUT_S)
    if unwritten:
        sys.stderr.write(f"{board.spec.run_dir}: {unwritten} bytes not written: {spool.error or 'slow disk'}\n")
