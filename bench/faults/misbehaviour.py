"""Devices, processes and clocks of a child process that misbehave, most of them while the injection is triggered."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bench.faults import partition
from bench.faults.patch import TRIGGER_FILE, put, triggered, wrap
from runtime import clock
from runtime.drivers import factory
from runtime.drivers.base import Frame
from runtime.drivers.emulators import inject
from runtime.drivers.emulators.piper import PiperDevice
from runtime.drivers.leaders.sim import ScriptedLeader
from runtime.drivers.sim.plant import Plant
from runtime.inference.server import server

DROPS: Final = "drops"
"""File in the run's folder that is there once an emulated arm has lost its torque."""
LAG_NS: Final = 200_000_000
"""More than the pictures that are kept: a smaller lag is made up for by older pictures of the other cameras."""
APART_RAD: Final = 1.35
"""A leader this far away is out of reach: `refuse_rad` is 1.2."""


def on_left_arm(spoil: Callable[[Any], None]) -> None:
    """Change what the left arm reports while triggered."""

    def opened(make: Callable[..., Any], board: Any, side: str, *given: Any) -> Any:
        arm = make(board, side, *given)
        if side == "left":
            read = arm.read

            def spoilt() -> Any:
                state = read()
                if state is not None and triggered():
                    state = np.array(state)
                    spoil(state)
                return state

            arm.read = spoilt
        return arm

    wrap(factory, "_sim_arm", opened)
    factory.ARMS["sim"] = factory._sim_arm


def silent(state: Any) -> None:
    """Report no newer state."""
    state["t_ns"] = _first("silent", int(state["t_ns"]))


_firsts: dict[str, Any] = {}


def _first(name: str, value: Any) -> Any:
    return _firsts.setdefault(name, value)


def zero(state: Any) -> None:
    """Report joints that are all zero."""
    state["position"] = 0.0
    state["velocity"] = 0.0


def device_fault(state: Any) -> None:
    """Report a fault of the device."""
    state["fault"] = 4


def stuck() -> None:
    """Keep the left arm where it is once triggered, whatever its motors are told."""

    def command(original: Any, self: Any, side: str, position: Any) -> None:
        if side == "left" and triggered():
            position = _first("stuck", np.array(position))
        original(self, side, position)

    wrap(Plant, "command_arm", command)


def faulty(fault: str) -> None:
    """Give the left arm's emulated device a fault from the start."""

    def begin(init: Any, self: Any, bus: str) -> None:
        init(self, bus)
        if bus.endswith("left"):
            self.faults.add(fault)

    wrap(inject.Injections, "__init__", begin)


def count_drops() -> None:
    """Leave a file in the run's folder when an emulated arm loses its torque."""

    def disable(original: Any, self: Any, *given: Any) -> None:
        before = self.drops
        original(self, *given)
        if self.drops > before:
            (TRIGGER_FILE.parent / DROPS).touch()

    wrap(PiperDevice, "_disable", disable)


def leader_apart() -> None:
    """Hold both leaders far from the arms while triggered."""

    def apart(original: Any, self: Any, follower: Any) -> Any:
        position = original(self, follower)
        if triggered():
            position[[0, 7]] += APART_RAD
        return position

    wrap(ScriptedLeader, "_apart", apart)


def on_frames(spoil: Callable[[tuple[Frame, ...]], tuple[Frame, ...]]) -> None:
    """Change what the cameras deliver while triggered."""

    def opened(make: Callable[..., Any], *given: Any) -> Any:
        cameras = make(*given)
        grab = cameras.grab
        cameras.grab = lambda timeout_ns: spoil(grab(timeout_ns)) if triggered() else grab(timeout_ns)
        return cameras

    wrap(factory, "_sim_cameras", opened)
    factory.CAMERAS["sim"] = factory._sim_cameras


def frozen(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Repeat one camera's picture, under new stamps."""
    name = frames[0].camera if frames else ""
    return tuple(replace(f, image=_first(f.camera, f.image)) if f.camera == name else f for f in frames)


def lost(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Deliver nothing of one camera."""
    return frames[1:]


def apart(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """One camera's stamps lag: no longer of the same moment as any of the others' that are kept."""
    name = frames[0].camera if frames else ""
    name = _first("apart", name) if name else name
    return tuple(replace(f, t_capture_ns=f.t_capture_ns - LAG_NS * (f.camera == name)) for f in frames)


def behind_a_link() -> None:
    """Serve from behind the link that can be cut, at an address that is not this host's own."""
    if sys.argv[1] != "server":
        return
    partition.enter()
    wrap(server, "open_router", lambda make, *given, **named: make(*given, **{**named, "insecure": True}))


def wall_clock() -> None:
    """Read the wall clock where the monotonic one is meant, in the client and in the control process."""
    apart_ns = time.monotonic_ns() - time.time_ns()
    put(clock.MonotonicClock, "now_ns", lambda self: time.time_ns() + apart_ns)  # noqa: ARG005
