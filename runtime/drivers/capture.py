"""The camera process: every driver's frames stamped and published, none delayed by another."""

from __future__ import annotations

from threading import Event, Thread
from typing import Final

from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.factory import make_cameras
from runtime.drivers.feed import Feed

GRAB_NS: Final = 100 * NS_PER_MS
HUNG_NS: Final = 30 * NS_PER_S
"""A driver that has not come back for this long hangs in its library; only a new process helps."""
OPEN_TIMEOUT_S: Final = 60.0
CLOSE_TIMEOUT_S: Final = 0.5


def run_capture(board: Board, clock: Clock, heart: Heart) -> None:
    """Publish every camera's frames until the run stops. A camera that is lost later never ends this.

    Simulated cameras share a renderer, and an OpenGL context belongs to one thread: this one. Every other camera has
    a thread of its own; their libraries wait outside the interpreter.

    Raises:
        DriverError: a camera is not there at the start of the run, or its driver hangs.
    """
    cameras = board.spec.rig.cameras
    simulated = tuple(name for name, camera in cameras.items() if camera.driver == "sim")
    pumps = [Pump(board, clock, name) for name in cameras if name not in simulated]
    for pump in pumps:
        pump.start()
    try:
        feed = _open_simulated(board, clock, simulated)
        for pump in pumps:
            pump.await_open()
        _attend(board, clock, heart, feed, pumps)
        if feed is not None:
            feed.close()
    finally:
        for pump in pumps:
            pump.over.set()
        for pump in pumps:
            pump.join(CLOSE_TIMEOUT_S)


def _open_simulated(board: Board, clock: Clock, names: tuple[str, ...]) -> Feed | None:
    if not names:
        return None
    feed = Feed(board, names, lambda: make_cameras(board, clock, names), clock, tireless=True)
    feed.open()
    return feed


def _attend(board: Board, clock: Clock, heart: Heart, feed: Feed | None, pumps: list[Pump]) -> None:
    rates = [board.spec.rig.cameras[name].rate_hz for name in feed.names] if feed is not None else []
    period_ns = NS_PER_S // max(rates) if rates else GRAB_NS
    due_ns = clock.now_ns()
    while not board.stopping:
        clock.sleep_until_ns(due_ns)
        if feed is not None:
            feed.step(GRAB_NS)
        now_ns = clock.now_ns()
        for pump in pumps:
            pump.check(now_ns)
        heart.beat(now_ns)
        # A late picture shifts the grid: cameras that lag are not sped up afterwards.
        due_ns = max(due_ns + period_ns, now_ns)


class Pump(Thread):
    """The thread of one camera."""

    def __init__(self, board: Board, clock: Clock, name: str) -> None:
        super().__init__(name=f"camera-{name}", daemon=True)
        self.over = Event()
        self._clock, self._camera = clock, name
        self._feed = Feed(board, (name,), lambda: make_cameras(board, clock, (name,)), clock)
        self._opened = Event()
        self._error: Exception | None = None
        self._t_ns = clock.now_ns()

    def run(self) -> None:
        """Open the camera and publish its frames until `over`."""
        try:
            self._feed.open()
            self._opened.set()
            while not self.over.is_set():
                self._t_ns = self._clock.now_ns()
                self._feed.step(GRAB_NS)
            self._feed.close()
        except Exception as error:
            self._error = error
        finally:
            self._opened.set()

    def await_open(self) -> None:
        """Wait until the camera is open; raises what its driver raised."""
        if not self._opened.wait(OPEN_TIMEOUT_S):
            raise DriverError(f"camera {self._camera} did not open within {OPEN_TIMEOUT_S:.0f} s")
        self.check(self._clock.now_ns())

    def check(self, now_ns: int) -> None:
        """Raise what ended the thread; DriverError when it hangs."""
        if self._error is not None:
            raise self._error
        if now_ns - self._t_ns > HUNG_NS:
            raise DriverError(f"camera {self._camera}: its driver has not answered for {HUNG_NS // NS_PER_S} s")
