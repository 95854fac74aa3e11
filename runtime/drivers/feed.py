"""One camera driver at work: its frames on the board, its loss noticed, and opened again by its stable name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.board import Board
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import CameraDriver, DriverError, Frame
from runtime.shm import Ring, blank, duplicate
from runtime.states import CameraLink

BACKOFF_NS: Final = 250 * NS_PER_MS
BACKOFF_MAX_NS: Final = 4 * NS_PER_S
SILENT_NS: Final = 2 * NS_PER_S
"""A camera without a picture for this long is closed and opened again; what reads its frames has refused them since."""
FROZEN_FRAMES: Final = 3
GLANCE: Final = 8
"""Every eighth pixel tells most pictures apart; only where these are the same is the whole compared."""


class Feed:
    """The cameras behind one driver. `make` gives it anew each time; with `tireless`, silence is no loss."""

    def __init__(
        self,
        board: Board,
        names: tuple[str, ...],
        make: Callable[[], CameraDriver],
        clock: Clock,
        *,
        tireless: bool = False,
    ) -> None:
        self.names = names
        self._make, self._clock, self._tireless = make, clock, tireless
        self._driver: CameraDriver | None = None
        self._views = {name: View(board, name) for name in names}
        self._due_ns, self._wait_ns = 0, BACKOFF_NS

    def open(self) -> None:
        """Connect for the first time.

        Raises:
            DriverError: a camera is not there, and the run has not seen it before either.
        """
        try:
            self._connect()
        except DriverError as error:
            if not any(view.begun for view in self._views.values()):
                raise
            self._lose(error)

    def step(self, timeout_ns: int) -> None:
        """Publish the frames that come within a time; of a lost camera, try to open it when that is due."""
        if self._driver is None:
            self._retry(timeout_ns)
            return
        try:
            frames = self._driver.grab(timeout_ns)
            for frame in frames:
                self._views[frame.camera].show(frame, self._clock.now_ns())
            self._listen()
        except DriverError as error:
            self._lose(error)
        else:
            self._report(CameraLink.OPEN)

    def close(self) -> None:
        """Disconnect."""
        self._let_go()
        self._report(CameraLink.CLOSED)

    def _connect(self) -> None:
        driver = self._make()
        try:
            driver.open()
        except DriverError:
            driver.close()
            raise
        self._driver = driver
        now_ns = self._clock.now_ns()
        for view in self._views.values():
            view.arrived_ns = now_ns
        self._report(CameraLink.OPEN)

    def _listen(self) -> None:
        now_ns = self._clock.now_ns()
        for name, view in self._views.items():
            if not self._tireless and now_ns - view.arrived_ns > SILENT_NS:
                raise DriverError(f"has sent no picture for {SILENT_NS // NS_PER_S} s ({name})")

    def _lose(self, error: DriverError) -> None:
        sys.stderr.write(f"camera {', '.join(self.names)}: {error}\n")
        self._let_go()
        self._due_ns = self._clock.now_ns() + self._wait_ns
        self._report(CameraLink.LOST)

    def _retry(self, timeout_ns: int) -> None:
        now_ns = self._clock.now_ns()
        if now_ns < self._due_ns:
            self._clock.sleep_until_ns(min(self._due_ns, now_ns + timeout_ns))
            self._report(CameraLink.LOST)
            return
        try:
            self._connect()
        except DriverError:
            self._wait_ns = min(2 * self._wait_ns, BACKOFF_MAX_NS)
            self._due_ns = self._clock.now_ns() + self._wait_ns
            self._report(CameraLink.LOST)
        else:
            self._wait_ns = BACKOFF_NS
            for view in self._views.values():
                view.status["reopened"] += 1
            sys.stderr.write(f"camera {', '.join(self.names)}: opened again\n")

    def _let_go(self) -> None:
        if self._driver is not None:
            driver, self._driver = self._driver, None
            driver.close()

    def _report(self, link: CameraLink) -> None:
        now_ns = self._clock.now_ns()
        for view in self._views.values():
            view.report(link, now_ns)


class View:
    """One camera's place on the board. Counters go on from those of an earlier process of the run."""

    def __init__(self, board: Board, name: str) -> None:
        config = board.spec.rig.cameras[name]
        self._frames: Ring = board[f"frame/{name}"]
        self._statuses: Ring = board[f"camera/{name}"]
        self._frame: Any = blank(records.frame_dtype(config.width_px, config.height_px))
        self.status: Any = blank(records.CAMERA_STATUS)
        self._nominal_ns = NS_PER_S // config.rate_hz
        self._same = 0
        self.arrived_ns = 0
        last, status = self._frames.latest(), self._statuses.latest()
        if last is not None:
            self._frame = duplicate(last)
        if status is not None:
            self.status = duplicate(status)

    @property
    def begun(self) -> bool:
        """Whether the run has seen a frame of this camera."""
        return int(self._frame["seq"]) > 0

    def show(self, frame: Frame, now_ns: int) -> None:
        """Publish a frame; one that is not newer than the last, or is from the future, is dropped."""
        record, status = self._frame, self.status
        last_ns, t_ns = int(record["t_capture_ns"]), frame.t_capture_ns
        self.arrived_ns = now_ns
        if t_ns > now_ns or (self.begun and t_ns <= last_ns):
            status["drops"] += 1
            return
        if self.begun:
            status["period_ns"] = t_ns - last_ns
            # A third of a period is left to jitter.
            status["drops"] += max((t_ns - last_ns + self._nominal_ns // 3) // self._nominal_ns - 1, 0)
            self._same = self._same + 1 if _alike(record["image"], frame.image) else 1
        status["frozen"] = self._same >= FROZEN_FRAMES
        status["frames"] += 1
        record["seq"] += 1
        record["t_capture_ns"] = t_ns
        record["t_published_ns"] = now_ns
        record["image"] = frame.image
        self._frames.push(record)

    def report(self, link: CameraLink, now_ns: int) -> None:
        """Publish how the camera is."""
        self.status["t_ns"], self.status["link"] = now_ns, link
        self._statuses.push(self.status)


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return np.array_equal(one[::GLANCE, ::GLANCE], other[::GLANCE, ::GLANCE]) and np.array_equal(one, other)
