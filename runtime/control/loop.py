"""The control process: each servo tick read, decide, publish. It touches shared memory and the clock only."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from runtime import realtime, records
from runtime.board import Board, Heart
from runtime.clock import Clock
from runtime.control.core import ControlConfig, ControlCore, TickInputs
from runtime.control.ticks import NO_LEADER
from runtime.layout import SIDES
from runtime.shm import Ring, TornReadError, blank

BEAT_EVERY_TICKS = 20


class ControlLoop:
    """Feeds the pure core from the board and writes down what it decides.

    Chunks and requests that were on the board before this process began are never read: what an earlier
    instance was given is not replayed by its successor.
    """

    def __init__(self, board: Board, clock: Clock) -> None:
        self._clock = clock
        self._base = board.spec.tick_base(board.t0_ns)
        self._core = ControlCore(ControlConfig.from_rig(board.spec.rig, board.spec.merge), self._base)
        self._arms = [board[f"arm/{side}"] for side in SIDES]
        self._guardians = [board[f"guardian/{side}"] for side in SIDES]
        self._operator, self._client = board["operator"], board["client"]
        self._leader = board["leader"] if board.spec.rig.leaders else None
        self._chunks, self._commands = board["chunk"], board["joint_command"]
        self._amendments = board["amendment"]
        self._timeline, self._ticks = board["timeline"], board["tick"]
        self._seen = self._amendments_seen = -1
        self._last: dict[str, NDArray[Any]] = {}
        self._none: dict[str, NDArray[Any]] = {
            "arm": blank(records.ARM_STATE),
            "guardian": blank(records.GUARDIAN_STATUS),
            "operator": blank(records.OPERATOR),
            "client": blank(records.CLIENT_STATUS),
            "leader": NO_LEADER,
        }

    def tick(self, servo_tick: int, skipped: int) -> None:
        """Run one servo tick."""
        now_ns = self._clock.now_ns()
        outputs = self._core.step(self._read(servo_tick, now_ns))
        self._commands.push(outputs.command)
        outputs.tick["compute_ns"] = self._clock.now_ns() - now_ns
        self._commands.wake()
        self._timeline.push(outputs.view)
        outputs.tick["skipped"] = skipped
        self._ticks.push(outputs.tick)

    def _read(self, servo_tick: int, now_ns: int) -> TickInputs:
        client = self._newest(self._client, "client")
        if self._seen < 0:
            self._seen, self._amendments_seen = self._chunks.head, self._amendments.head
        # The ring's head is read once: a chunk that arrives meanwhile belongs to the next tick.
        chunks, self._seen, _ = self._chunks.since(self._seen)
        amendments, self._amendments_seen, _ = self._amendments.since(self._amendments_seen)
        return TickInputs(
            servo_tick=servo_tick,
            now_ns=now_ns,
            scheduled_ns=self._base.servo_time_ns(servo_tick),
            arm=tuple(self._newest(ring, "arm") for ring in self._arms),
            guardian=tuple(self._newest(ring, "guardian") for ring in self._guardians),
            operator=self._newest(self._operator, "operator"),
            client_t_ns=int(client["t_ns"]),
            client_link=int(client["link"]),
            chunks=chunks,
            chunks_seen=self._seen,
            leader=self._none["leader"] if self._leader is None else self._newest(self._leader, "leader"),
            client_distrusted=bool(client["distrusted"]),
            amendments=amendments,
            amendments_seen=self._amendments_seen,
        )

    def _newest(self, ring: Ring, kind: str) -> NDArray[Any]:
        """Return a ring's newest record; one that cannot be read whole counts as not renewed."""
        try:
            record = ring.latest()
        except TornReadError:
            record = None
        if record is None:
            record = self._last.get(ring.topic.name, self._none[kind])
        self._last[ring.topic.name] = record
        return record

    def run(self, board: Board, heart: Heart) -> None:
        """Keep the servo grid until the run stops; an overrun skips whole periods and keeps the phase."""
        servo_tick = self._base.servo_tick(self._clock.now_ns()) + 1
        skipped = 0
        beat_due = servo_tick
        while not board.stopping:
            self._clock.sleep_until_ns(self._base.servo_time_ns(servo_tick))
            self.tick(servo_tick, skipped)
            if servo_tick >= beat_due:
                heart.beat(self._clock.now_ns())
                beat_due = servo_tick + BEAT_EVERY_TICKS
            due = servo_tick + 1
            servo_tick = max(due, self._base.servo_tick(self._clock.now_ns()) + 1)
            skipped = servo_tick - due


def run_control(board: Board, clock: Clock, heart: Heart) -> None:
    """Main of the control process."""
    loop = ControlLoop(board, clock)
    realtime.enter("control")
    loop.run(board, heart)
