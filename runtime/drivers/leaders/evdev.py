"""Gamepad, keyboard and pedal by Linux input events (include/uapi/linux/input.h, input-event-codes.h)."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_US
from runtime.devices import EvdevLeader
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.leaders.controls import LAYOUTS
from runtime.drivers.leaders.jog import HandJog, Jog, JointJog
from runtime.layout import ARM_DOF, ARM_SLICE, SIDES, Side
from runtime.states import Mode

SYNC: Final = 0
KEY: Final = 1
AXIS: Final = 3
DROPPED: Final = 3
"""The code of a SYNC with which the kernel says that its queue overflowed: releases may be among what is lost."""
_EVENT: Final = struct.Struct("<qqHHi")
"""struct input_event on a 64-bit host: seconds, microseconds, type, code, value."""
STREAM_BYTES_MAX: Final = 64 << 20
DEAD_BAND: Final = 0.12


@dataclass(frozen=True)
class Event:
    """One input event; `t_ns` is its own stamp. Axes go from -1 to 1; keys are 0 released, 1 pressed, 2 repeated."""

    t_ns: int
    kind: int
    code: int
    value: float


class Source(Protocol):
    """Where events come from."""

    def events(self, now_ns: int) -> Iterator[Event]:
        """Return what came since the last call; raises DriverError when the device is gone."""

    def close(self) -> None:
        """Disconnect."""


class RecordedEvents:
    """A stream of `struct input_event`, as the device file gives them, played in its own time."""

    def __init__(self, file: Path) -> None:
        """Read the file; DriverError where it is none."""
        try:
            if file.stat().st_size > STREAM_BYTES_MAX:
                raise DriverError(f"{file}: more than {STREAM_BYTES_MAX >> 20} MiB of input events")
            data = file.read_bytes()
        except OSError as error:
            raise DriverError(f"{file}: {error.strerror}; give a recorded event stream") from error
        if not data or len(data) % _EVENT.size:
            raise DriverError(f"{file}: no stream of {_EVENT.size}-byte input events")
        self._events = [_decode(*fields) for fields in _EVENT.iter_unpack(data)]
        self._began_ns = 0
        self._next = 0

    def events(self, now_ns: int) -> Iterator[Event]:
        """Return what is due."""
        self._began_ns = self._began_ns or now_ns
        first_ns = self._events[0].t_ns
        while self._next < len(self._events):
            event = self._events[self._next]
            if event.t_ns - first_ns > now_ns - self._began_ns:
                return
            self._next += 1
            yield event

    def close(self) -> None:
        """Nothing is open."""


class DeviceEvents:
    """An event device through the evdev package (extra `teleop`)."""

    def __init__(self, path: str) -> None:
        """Open the device; DriverError says what is missing."""
        try:
            evdev: Any = importlib.import_module("evdev")
        except ImportError as error:
            raise DriverError("input devices need the package evdev: pip install 'leadtime[teleop]'") from error
        try:
            self._device = evdev.InputDevice(path)
            axes = self._device.capabilities(absinfo=True).get(AXIS, [])
        except OSError as error:
            raise DriverError(
                f"{path}: {error.strerror}; check the cable and that the user is in group input"
            ) from error
        self._path = path
        self._ranges = {code: (info.min, info.max) for code, info in axes}

    def events(self, now_ns: int) -> Iterator[Event]:
        """Return what the kernel has queued; DriverError where it had to drop events."""
        try:
            while (raw := self._device.read_one()) is not None:
                if (raw.type, raw.code) == (SYNC, DROPPED):
                    raise DriverError(f"{self._path}: input events were lost; let go of its keys and press them anew")
                value = float(raw.value)
                if raw.type == AXIS:
                    low, high = self._ranges.get(raw.code, (-1, 1))
                    value = 2.0 * (value - low) / max(high - low, 1) - 1.0
                yield Event(now_ns, raw.type, raw.code, value)
        except OSError as error:
            raise DriverError(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the device."""
        self._device.close()


class InputLeader:
    """One input device as a leader: jogs the hand or the joints of one arm at a time, or is a pedal for all."""

    def __init__(self, config: EvdevLeader, arms: dict[Side, str]) -> None:
        """Take the models of the arms by side; UsageError for an unknown one."""
        self._config, self._layout = config, LAYOUTS[config.kind]
        self._controls = self._layout.controls.get(config.moves)
        self._source: Source | None = None
        self._held: set[int] = set()
        self._axes: dict[int, float] = {}
        self._side: Side = config.side
        self._jogs: dict[Side, Jog] = {}
        if self._controls is not None:
            self._jogs = {
                side: HandJog(arm, side) if config.moves == "hand" else JointJog() for side, arm in arms.items()
            }

    def open(self) -> None:
        """Connect; see LeaderDriver."""
        device = self._config.device
        self._source = RecordedEvents(Path(device)) if self._config.record else DeviceEvents(device)

    def close(self) -> None:
        """Disconnect."""
        if self._source is not None:
            self._source.close()

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return where the arms are jogged to; see LeaderDriver."""
        want, clear = None, False
        for event in () if self._source is None else self._source.events(now_ns):
            pressed = self._take(event)
            if pressed == self._layout.stop:
                want = Mode.HOLD
            elif pressed == self._layout.policy and want is None:
                want = Mode.POLICY
            elif pressed == self._layout.switch:
                self._side = SIDES[1 - SIDES.index(self._side)]
            clear |= pressed == self._layout.clear
        if self._controls is None:
            return LeaderReading(clutch=self._clutch, want=want)
        return LeaderReading(self._samples(now_ns, follower), want=want, clear=clear)

    @property
    def _clutch(self) -> bool:
        if self._layout.clutch is None:
            return bool(self._held - {self._layout.policy, self._layout.stop})
        return self._layout.clutch in self._held

    def _take(self, event: Event) -> int | None:
        """Follow an event; returns the key that it pressed."""
        if event.kind == AXIS:
            self._axes[event.code] = event.value if abs(event.value) > DEAD_BAND else 0.0
        if event.kind != KEY:
            return None
        if event.value == 0:
            self._held.discard(event.code)
            return None
        if event.value != 1:
            # A key that was down when its device came repeats, and is none that anybody has pressed since.
            return None
        self._held.add(event.code)
        return event.code

    def _samples(self, now_ns: int, follower: NDArray[np.float64]) -> tuple[LeaderSample, ...]:
        samples = []
        for side, jog in self._jogs.items():
            held = self._clutch and side == self._side
            jog.step(now_ns, follower[ARM_SLICE[side]], self._deflection(), held=held)
            samples.append(LeaderSample(side, now_ns, jog.position, held and not jog.refused))
        return tuple(samples)

    def _deflection(self) -> NDArray[np.float64]:
        deflection = np.zeros(ARM_DOF)
        if self._controls is not None:
            for code, (component, way) in self._controls.axes.items():
                deflection[component] += way * self._axes.get(code, 0.0)
            for code, (component, way) in self._controls.keys.items():
                deflection[component] += way * (code in self._held)
        return deflection


def _decode(seconds: int, microseconds: int, kind: int, code: int, value: int) -> Event:
    """Read a recorded event; without the device's own ranges a stick's is 16 bits, a hat's -1 to 1."""
    scaled = value / 32768.0 if kind == AXIS and abs(value) > 1 else float(value)
    return Event((seconds * 1_000_000 + microseconds) * NS_PER_US, kind, code, scaled)
