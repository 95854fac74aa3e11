"""What is changed inside a child process: devices that misbehave once triggered, and detectors that see nothing.

The second kind are the negative controls: an injection whose detector is blind must make its row's check fail.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.faults import partition
from runtime import clock
from runtime.control import core, intake, loop, teleop, watch
from runtime.control.guardian import GuardianCore
from runtime.drivers import factory
from runtime.drivers.base import Frame
from runtime.drivers.emulators import inject
from runtime.drivers.emulators.piper import PiperDevice
from runtime.drivers.leaders.sim import ScriptedLeader
from runtime.drivers.piper.arming import Arming
from runtime.drivers.sim.plant import Plant
from runtime.faults import BIT
from runtime.inference import client_core, connection, sensors, server
from runtime.inference.foresight import Foresight
from runtime.notices import Notices
from runtime.recorder import Recorder

TRIGGER: Final = "LEADTIME_FAULT_TRIGGER"
DROPS: Final = "drops"
"""File in the run's folder that is there once an emulated arm has lost its torque."""
LAG_NS: Final = 200_000_000
"""More than the pictures that are kept: a smaller lag is made up for by older pictures of the other cameras."""
APART_RAD: Final = 1.35
"""A leader this far away is out of reach: `refuse_rad` is 1.2."""
NEVER_NS: Final = 1 << 62
_trigger = Path(os.environ.get(TRIGGER, "/nonexistent"))


def triggered() -> bool:
    """Whether the injection has begun and has not ended."""
    return _trigger.exists()


def apply(names: Iterable[str]) -> None:
    """Carry out patches by name; `mask:FAULT` and `mute:FAULT` make the control process or the others blind for one.

    `emulator:FAULT` lets an emulated arm have a fault from the start.

    Raises:
        KeyError: there is no such patch.
    """
    for name in names:
        kind, _, fault = name.partition(":")
        if kind == "mask":
            _mask(BIT[fault])
        elif kind == "mute":
            _mute(fault)
        elif kind == "emulator":
            _faulty(fault)
        else:
            PATCHES[name]()


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Put `around(original, *arguments)` in place of a function of a class or a module."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return around(original, *arguments, **named)

    setattr(owner, name, wrapped)


def _set(owner: Any, name: str, value: Any) -> None:
    """Put something else in place of a name of a class or a module."""
    setattr(owner, name, value)


def _mask(bits: int) -> None:
    _wrap(core.ControlCore, "_check", lambda check, *given: check(*given) & ~bits)


def _mute(fault: str) -> None:
    _wrap(Notices, "note", lambda note, self, name, now_ns: None if name == fault else note(self, name, now_ns))


# Devices that misbehave


def _on_left_arm(spoil: Callable[[Any], None]) -> None:
    """Change what the left arm reports while triggered."""

    def opened(make: Callable[..., Any], board: Any, side: str) -> Any:
        arm = make(board, side)
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

    _wrap(factory, "_sim_arm", opened)
    factory.ARMS["sim"] = factory._sim_arm


def _silent(state: Any) -> None:
    state["t_ns"] = _first("silent", int(state["t_ns"]))


_firsts: dict[str, Any] = {}


def _first(name: str, value: Any) -> Any:
    return _firsts.setdefault(name, value)


def _zero(state: Any) -> None:
    state["position"] = 0.0
    state["velocity"] = 0.0


def _device_fault(state: Any) -> None:
    state["fault"] = 4


def _stuck() -> None:
    """Keep the left arm where it is once triggered, whatever its motors are told."""

    def command(original: Any, self: Any, side: str, position: Any) -> None:
        if side == "left" and triggered():
            position = _first("stuck", np.array(position))
        original(self, side, position)

    _wrap(Plant, "command_arm", command)


def _faulty(fault: str) -> None:
    def begin(init: Any, self: Any, bus: str) -> None:
        init(self, bus)
        if bus.endswith("left"):
            self.faults.add(fault)

    _wrap(inject.Injections, "__init__", begin)


def _count_drops() -> None:
    """Leave a file in the run's folder when an emulated arm loses its torque."""

    def disable(original: Any, self: Any, *given: Any) -> None:
        before = self.drops
        original(self, *given)
        if self.drops > before:
            (_trigger.parent / DROPS).touch()

    _wrap(PiperDevice, "_disable", disable)


def _leader_apart() -> None:
    """Hold both leaders far from the arms while triggered."""

    def apart(original: Any, self: Any, follower: Any) -> Any:
        position = original(self, follower)
        if triggered():
            position[[0, 7]] += APART_RAD
        return position

    _wrap(ScriptedLeader, "_apart", apart)


def _on_frames(spoil: Callable[[tuple[Frame, ...]], tuple[Frame, ...]]) -> None:
    def opened(make: Callable[..., Any], board: Any, now: Any) -> Any:
        cameras = make(board, now)
        grab = cameras.grab
        cameras.grab = lambda timeout_ns: spoil(grab(timeout_ns)) if triggered() else grab(timeout_ns)
        return cameras

    _wrap(factory, "_sim_cameras", opened)
    factory.CAMERAS["sim"] = factory._sim_cameras


def _frozen(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    name = frames[0].camera if frames else ""
    return tuple(replace(f, image=_first(f.camera, f.image)) if f.camera == name else f for f in frames)


def _lost(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return frames[1:]


def _apart(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """One camera's stamps lag: no longer of the same moment as any of the others' that are kept."""
    name = frames[0].camera if frames else ""
    name = _first("apart", name) if name else name
    return tuple(replace(f, t_capture_ns=f.t_capture_ns - LAG_NS * (f.camera == name)) for f in frames)


# Detectors that see nothing


class _NoFiniteCheck:
    """numpy, but everything is finite."""

    def __getattr__(self, name: str) -> Any:
        return (lambda x: np.ones(np.shape(x), dtype=bool)) if name == "isfinite" else getattr(np, name)


def _blind_drop() -> None:
    """Never give a connection up."""
    _set(connection.Connection, "drop", lambda self, now_ns, reason: None)  # noqa: ARG005


def _blind_deadline() -> None:
    _set(client_core.ClientCore, "expire", lambda self, now_ns: [])  # noqa: ARG005


def _blind_obs_seq() -> None:
    def answered(original: Any, self: Any, message: Any) -> Any:
        seq = getattr(message, "request_seq", 0)
        return self._flights.get(seq) or original(self, message)

    _wrap(client_core.ClientCore, "_answered", answered)


def _blind_corrupt() -> None:
    _set(connection, "CORRUPT_MAX", 1 << 60)


def _blind_finite() -> None:
    for module in (client_core, intake):
        _set(module, "np", _NoFiniteCheck())


def _blind_fit() -> None:
    _set(connection, "check_fit", lambda schema, rig: None)  # noqa: ARG005


def _blind_jump() -> None:
    _wrap(intake.Intake, "__init__", lambda init, self, *given: init(self, *given[:2], 1e9))


def _blind_twice() -> None:
    """Take an answer for new however often it comes, in the client and in the control process."""
    kept: dict[int, Any] = {}

    def answered(original: Any, self: Any, message: Any) -> Any:
        flight = original(self, message)
        if flight is not None:
            kept[flight.request_seq] = flight
        again = kept.get(getattr(message, "request_seq", 0))
        if flight is None and again is not None:
            self._status["rejected"] -= 1
            self._flights[again.request_seq] = again
        return flight or again

    _wrap(client_core.ClientCore, "_answered", answered)

    def take(original: Any, self: Any, record: Any, *given: Any, **named: Any) -> Any:
        self._newest_ns = 0
        return original(self, record, *given, **named)

    _wrap(intake.Intake, "take", take)


def _blind_elapsed() -> None:
    """Begin every chunk at its first action, as a queue does, whatever time has passed."""

    def join(original: Any, self: Any, chunk: Any, chunk_id: int, now: Any) -> Any:
        return original(self, replace(chunk, start_tick=now.tick + 1), chunk_id, now)

    _wrap(intake.Intake, "_join", join)


def _blind_expiry() -> None:
    def take(original: Any, self: Any, command: NDArray[Any]) -> None:
        original(self, command)
        self._expires_ns = NEVER_NS

    _wrap(GuardianCore, "_take", take)


def _blind_restart() -> None:
    _set(core.ControlCore, "_arming_faults", lambda self, *inputs: 0)  # noqa: ARG005


def _blind_guardian() -> None:
    _mask(BIT["guardian_lost"])


def _blind_health() -> None:
    _set(GuardianCore, "_healthy", lambda self, now_ns, state: True)  # noqa: ARG005
    _mask(BIT["arm_silent"] | BIT["device_fault"])


def _blind_usable() -> None:
    _set(watch.Watch, "usable", lambda self, inputs: True)  # noqa: ARG005
    _set(GuardianCore, "_healthy", lambda self, now_ns, state: True)  # noqa: ARG005


def _blind_tracking() -> None:
    _set(watch.Watch, "tracking", lambda self, commanded, inputs: 0)  # noqa: ARG005
    reason = GuardianCore._reason

    def patient(self: Any, now_ns: int, *given: Any) -> Any:
        self._astray_ns = now_ns
        return reason(self, now_ns, *given)

    _set(GuardianCore, "_reason", patient)


def _blind_rate() -> None:
    _set(watch.Watch, "rate", lambda self, elapsed: 0)  # noqa: ARG005


def _blind_disk() -> None:
    _set(Recorder, "_report", lambda self, now_ns: None)  # noqa: ARG005


def _blind_foresight() -> None:
    _set(Foresight, "_judge", lambda self, chunk_id, difference: None)  # noqa: ARG005


def _blind_shape() -> None:
    """Fill up what an answer lacks."""

    def judge(original: Any, self: Any, flight: Any, message: Any, arrays: Any, now_ns: int) -> Any:
        actions = arrays["actions"]
        rows = np.minimum(np.arange(self._schema.horizon), len(actions) - 1)
        return original(self, flight, message, {**arrays, "actions": actions[rows]}, now_ns)

    _wrap(client_core.ClientCore, "_judge", judge)


def _blind_apart() -> None:
    """Take any pictures for one moment's."""
    _wrap(sensors, "align_frames", lambda align, stamps, _tolerance: align(stamps, NEVER_NS))


def _blind_leader() -> None:
    """Take a leader's last word for its present one."""
    _set(teleop.LedArm, "_alive", lambda self, leader, now_ns: True)  # noqa: ARG005


def _blind_reach() -> None:
    """Let a leader take over from however far."""
    _set(teleop, "OUTSIDE_RAD", 1e9)

    def begin(init: Any, self: Any, *given: Any) -> None:
        init(self, *given)
        self._refuse_rad = 1e9

    _wrap(teleop.LedArm, "__init__", begin)


def _blind_limits() -> None:
    """Compare nothing that an arm keeps with its model."""
    _set(Arming, "_compare", lambda self, feedback: None)  # noqa: ARG005


def _blind_cameras() -> None:
    """Ask however old the pictures are."""
    _wrap(sensors.Sensors, "__init__", _never_stale)
    _blind_apart()


def _never_stale(init: Any, self: Any, *given: Any) -> None:
    init(self, *given)
    self._stale_ns = NEVER_NS


def _blind_skips() -> None:
    """Tell of no skipped tick."""
    _wrap(loop.ControlLoop, "tick", lambda tick, self, servo_tick, _skipped: tick(self, servo_tick, 0))


def _wall_clock() -> None:
    """Read the wall clock where the monotonic one is meant, in the client and in the control process."""
    apart_ns = time.monotonic_ns() - time.time_ns()
    _set(clock.MonotonicClock, "now_ns", lambda self: time.time_ns() + apart_ns)  # noqa: ARG005


def _netns() -> None:
    """Serve from behind the link that can be cut, at an address that is not this host's own."""
    if sys.argv[1] != "server":
        return
    partition.enter()
    _wrap(server, "open_router", lambda make, *given, **named: make(*given, **{**named, "insecure": True}))


PATCHES: Final[dict[str, Callable[[], None]]] = {
    "netns": _netns,
    "arm-silent": lambda: _on_left_arm(_silent),
    "arm-zero": lambda: _on_left_arm(_zero),
    "arm-fault": lambda: _on_left_arm(_device_fault),
    "arm-stuck": _stuck,
    "count-drops": _count_drops,
    "leader-apart": _leader_apart,
    "camera-frozen": lambda: _on_frames(_frozen),
    "camera-lost": lambda: _on_frames(_lost),
    "cameras-apart": lambda: _on_frames(_apart),
    "blind-drop": _blind_drop,
    "blind-deadline": _blind_deadline,
    "blind-obs-seq": _blind_obs_seq,
    "blind-corrupt": _blind_corrupt,
    "blind-finite": _blind_finite,
    "blind-fit": _blind_fit,
    "blind-jump": _blind_jump,
    "blind-twice": _blind_twice,
    "blind-elapsed": _blind_elapsed,
    "blind-expiry": _blind_expiry,
    "blind-restart": _blind_restart,
    "blind-guardian": _blind_guardian,
    "blind-health": _blind_health,
    "blind-usable": _blind_usable,
    "blind-tracking": _blind_tracking,
    "blind-rate": _blind_rate,
    "blind-disk": _blind_disk,
    "blind-foresight": _blind_foresight,
    "blind-shape": _blind_shape,
    "blind-apart": _blind_apart,
    "blind-cameras": _blind_cameras,
    "blind-leader": _blind_leader,
    "blind-reach": _blind_reach,
    "blind-limits": _blind_limits,
    "blind-skips": _blind_skips,
    "wall-clock": _wall_clock,
}
