"""The leader process: reads every leader of the rig, merges them by side, and publishes at the servo rate."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.config import RigConfig
from runtime.devices import EvdevLeader, Leader
from runtime.drivers.base import DriverError, LeaderDriver, LeaderReading, LeaderSample
from runtime.drivers.factory import make_leader
from runtime.layout import ARM_SLICE, RIG_DOF, SIDES, Side
from runtime.shm import TornReadError, blank
from runtime.states import Mode

BACKOFF_NS: Final = 250 * NS_PER_MS
BACKOFF_MAX_NS: Final = 4 * NS_PER_S
BEAT_NS: Final = 200 * NS_PER_MS
KEEP_NS: Final = NS_PER_S
"""A sample older than this is no longer shown as one; the control decisions refuse it long before."""


class Seat:
    """One leader device: open, lost, or waiting for the next attempt to open it."""

    def __init__(self, name: str, config: Leader, rig: RigConfig) -> None:
        self.name, self._config, self._rig = name, config, rig
        self._driver: LeaderDriver | None = None
        self._due_ns, self._wait_ns = 0, BACKOFF_NS
        self.samples: dict[Side, LeaderSample] = {}
        # A pedal that is not there yet is a pedal that is not held.
        pedal = isinstance(config, EvdevLeader) and config.kind == "pedal"
        self.clutch: bool | None = False if pedal else None

    def open(self, now_ns: int) -> None:
        """Connect; raises DriverError."""
        self._due_ns, self._wait_ns = now_ns + self._wait_ns, min(2 * self._wait_ns, BACKOFF_MAX_NS)
        driver = make_leader(self._config, self._rig)
        driver.open()
        self._driver = driver

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return what the device said; a lost one says nothing and is opened again, ever more seldom."""
        try:
            if self._driver is None:
                if now_ns >= self._due_ns:
                    self.open(now_ns)
                    sys.stderr.write(f"leader {self.name}: connected again\n")
                return LeaderReading()
            reading = self._driver.read(now_ns, follower)
        except DriverError as error:
            self._lose(error, now_ns)
            return LeaderReading()
        if reading.samples or reading.clutch is not None:
            # A bus can be opened without a leader on it: only one that speaks is there again.
            self._wait_ns = BACKOFF_NS
        for sample in reading.samples:
            self.samples[sample.side] = sample
        if reading.clutch is not None:
            self.clutch = reading.clutch
        return reading

    def close(self) -> None:
        """Disconnect."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _lose(self, error: DriverError, now_ns: int) -> None:
        if self._driver is not None:
            sys.stderr.write(f"leader {self.name}: {error}\n")
            self._due_ns = now_ns + self._wait_ns
        self.close()
        self.samples = {}
        # A pedal that is gone is a pedal that is not held.
        self.clutch = None if self.clutch is None else False


class Merger:
    """Makes one LEADER record of what all the devices say.

    An arm's clutch is its device's own and every pedal; it counts only once it was seen released since that device
    is there, so that plugging a device in takes no arm over, and one without any dead-man never does. Of two devices
    of one arm, the first whose clutch counts leads it.
    """

    def __init__(self, last: NDArray[Any] | None) -> None:
        """Go on from the record of an earlier process, so that counters never fall."""
        self.record: Any = blank(records.LEADER)
        if last is not None:
            for name in ("seq", "want", "wants", "clear"):
                self.record[name] = last[name]
        self._released: dict[Side, set[str]] = {side: set() for side in SIDES}
        """The devices of an arm that were seen released since they are there."""

    def merge(self, seats: list[Seat], readings: list[LeaderReading], now_ns: int) -> NDArray[Any]:
        """Return the record of a moment; the same array each time."""
        record = self.record
        record["seq"] += 1
        record["t_ns"] = now_ns
        pedal = all(seat.clutch is not False for seat in seats)
        for i, side in enumerate(SIDES):
            self._merge_side(record["side"][i], side, _samples(seats, side, now_ns), now_ns, pedal=pedal)
        wishes = [reading.want for reading in readings if reading.want is not None]
        if wishes:
            # A stop from any of them wins.
            record["want"] = Mode.HOLD if Mode.HOLD in wishes else wishes[-1]
            record["wants"] += 1
        record["clear"] += sum(reading.clear for reading in readings)
        merged: NDArray[Any] = record
        return merged

    def _merge_side(self, part: Any, side: Side, samples: dict[str, LeaderSample], now_ns: int, *, pedal: bool) -> None:
        held = {name for name, sample in samples.items() if sample.clutch and pedal}
        self._released[side] = released = {name for name in samples if name in self._released[side] or name not in held}
        part["valid"] = bool(samples)
        if not samples:
            # Lost with the clutch held is not the same as released: the arms' processes are to hear of it.
            part["clutch"] = bool(part["clutch"]) and now_ns - int(part["t_ns"]) <= KEEP_NS
            return
        leading = next((name for name in samples if name in held & released), None)
        sample = samples[leading or next(iter(samples))]
        part["clutch"] = leading is not None
        part["t_ns"], part["position"] = sample.t_ns, sample.position


def _samples(seats: list[Seat], side: Side, now_ns: int) -> dict[str, LeaderSample]:
    """Return what each device of a side said last, by the device's name in the rig."""
    samples = {seat.name: seat.samples[side] for seat in seats if side in seat.samples}
    return {name: sample for name, sample in samples.items() if now_ns - sample.t_ns <= KEEP_NS}


def run_lead(board: Board, clock: Clock, heart: Heart) -> None:
    """Publish what the leaders say until the run stops. A leader that is lost later never ends this.

    Raises:
        DriverError: a leader is not there at the start of the run.
    """
    ring = board["leader"]
    seats = [Seat(name, config, board.spec.rig) for name, config in board.spec.rig.leaders.items()]
    merger = Merger(ring.latest())
    if ring.head == 0:
        for seat in seats:
            seat.open(clock.now_ns())
    period_ns = board.spec.tick_base(board.t0_ns).servo_period_ns
    due_ns = beat_ns = clock.now_ns()
    try:
        while not board.stopping:
            clock.sleep_until_ns(due_ns)
            now_ns = clock.now_ns()
            follower = _measured(board)
            readings = [seat.read(now_ns, follower) for seat in seats]
            ring.push(merger.merge(seats, readings, now_ns))
            if now_ns >= beat_ns:
                heart.beat(now_ns)
                beat_ns = now_ns + BEAT_NS
            due_ns = max(due_ns + period_ns, now_ns)
    finally:
        for seat in seats:
            seat.close()


def _measured(board: Board) -> NDArray[np.float64]:
    """Return the arms' measured joints (14,); the rest pose before they have spoken."""
    joints = board.spec.rig.stack("home")
    for side in SIDES:
        try:
            state = board[f"arm/{side}"].latest()
        except TornReadError:
            state = None
        if state is not None:
            joints[ARM_SLICE[side]] = state["position"]
    return joints.reshape(RIG_DOF)
