"""Between a run's client and its policy server: passes every message on, or spoils it, over real sockets."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from runtime.clock import NS_PER_MS, MonotonicClock
from runtime.inference import wire

Frames = list[bytes]
Delayed = tuple[int, Frames]
"""A message and how much later (ns) it is passed on."""
Spoil = Callable[[wire.Message | None, Frames], Iterable[Delayed]]
POLL_MS: Final = 2


def passes(_message: wire.Message | None, frames: Frames) -> Iterable[Delayed]:
    """Pass a message on as it is."""
    return [(0, frames)]


class Relay:
    """Joins one client to one server. `to_client` and `to_server` may be changed at any time, `front` is where
    the client connects."""

    def __init__(self, front: str, back: str) -> None:
        self.to_client: Spoil = passes
        self.to_server: Spoil = passes
        self.front, self._back_name = front, back
        self._clock = MonotonicClock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Bind the front, so that the client finds it."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and free both sockets."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with zmq.Context() as context:
            front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
            for socket in (front, back):
                socket.linger = 0
            front.bind(self.front)
            back.connect(self._back_name)
            poller = zmq.Poller()
            poller.register(front, zmq.POLLIN)
            poller.register(back, zmq.POLLIN)
            waiting: list[tuple[int, int, bool, Frames]] = []
            client, count = b"", 0
            while not self._stop.is_set():
                ready: dict[Any, int] = dict(poller.poll(POLL_MS))
                now_ns = self._clock.now_ns()
                taken: list[tuple[bool, Iterable[Delayed]]] = []
                if front in ready:
                    client, *frames = front.recv_multipart()
                    taken.append((False, self.to_server(_read(frames), frames)))
                if back in ready:
                    frames = _doorless(back.recv_multipart())
                    taken.append((True, self.to_client(_read(frames), frames)))
                for homeward, delayed in taken:
                    for late_ns, frames in delayed:
                        count += 1
                        heapq.heappush(waiting, (now_ns + late_ns, count, homeward, frames))
                while waiting and waiting[0][0] <= now_ns:
                    _, _, homeward, frames = heapq.heappop(waiting)
                    if homeward:
                        front.send_multipart([client, *frames])
                    else:
                        back.send_multipart(frames)
            front.close()
            back.close()


def _doorless(frames: Frames) -> Frames:
    """Tell a client of no door to its server: everything is to come this way."""
    message = _read(frames)
    if not isinstance(message, wire.Welcome):
        return frames
    return packed(msgspec.structs.replace(message, door="", secret=""), {})


def _read(frames: Frames) -> wire.Message | None:
    try:
        return wire.decode(frames)[0]
    except wire.WireError:
        return None


def on_chunks(change: Callable[[wire.Chunk, dict[str, Any], Frames], Iterable[Delayed]]) -> Spoil:
    """Return what changes answers alone; `change` gets the message, writable arrays and the frames."""

    def spoil(message: wire.Message | None, frames: Frames) -> Iterable[Delayed]:
        if not isinstance(message, wire.Chunk):
            return [(0, frames)]
        arrays = {name: np.array(array) for name, array in wire.decode(frames)[1].items()}
        return change(message, arrays, frames)

    return spoil


def packed(message: wire.Message, arrays: dict[str, Any]) -> Frames:
    """Return a message as frames."""
    return [bytes(frame) for frame in wire.encode(message, arrays)]


def cut(message: wire.Chunk, _arrays: dict[str, Any], frames: Frames) -> Iterable[Delayed]:
    """Cut the last byte off an answer."""
    del message
    return [(0, [*frames[:-1], frames[-1][:-1]])]


def nan(message: wire.Chunk, arrays: dict[str, Any], _frames: Frames) -> Iterable[Delayed]:
    """Put a NaN into an answer."""
    arrays["actions"][7, 3] = np.nan
    return [(0, packed(message, arrays))]


def far(message: wire.Chunk, arrays: dict[str, Any], _frames: Frames) -> Iterable[Delayed]:
    """Move an answer 2 rad away."""
    arrays["actions"] += 2.0
    return [(0, packed(message, arrays))]


def short(message: wire.Chunk, arrays: dict[str, Any], _frames: Frames) -> Iterable[Delayed]:
    """Leave the last step of an answer out."""
    arrays["actions"] = arrays["actions"][:-1]
    return [(0, packed(message, arrays))]


def twice(_message: wire.Chunk, _arrays: dict[str, Any], frames: Frames) -> Iterable[Delayed]:
    """Send an answer again 30 ms later."""
    return [(0, frames), (30 * NS_PER_MS, frames)]


def nothing(*_given: Any) -> Iterable[Delayed]:
    """Let nothing through."""
    return []
