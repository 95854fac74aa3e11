"""Detectors that see nothing: the negative controls, with which an injection must make its row's check fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.faults.patch import put, wrap
from runtime.control import core, intake, loop, teleop, watch
from runtime.control.guardian import GuardianCore
from runtime.drivers.piper.arming import Arming
from runtime.faults import BIT
from runtime.inference.client import connection, sensors
from runtime.inference.client import core as client_core
from runtime.inference.foresight import Foresight
from runtime.notices import Notices
from runtime.recorder import Recorder

NEVER_NS: Final = 1 << 62


def mask(bits: int) -> None:
    """Let the control process see none of these faults."""
    wrap(core.ControlCore, "_check", lambda check, *given, **named: check(*given, **named) & ~bits)


def mute(fault: str) -> None:
    """Let no other process tell of a fault."""
    wrap(Notices, "note", lambda note, self, name, now_ns: None if name == fault else note(self, name, now_ns))


class _NoFiniteCheck:
    """numpy, but everything is finite."""

    def __getattr__(self, name: str) -> Any:
        return (lambda x: np.ones(np.shape(x), dtype=bool)) if name == "isfinite" else getattr(np, name)


def drop() -> None:
    """Never give a connection up."""
    put(connection.Connection, "drop", lambda self, now_ns, reason: None)  # noqa: ARG005


def deadline() -> None:
    """Let no request expire."""
    put(client_core.ClientCore, "expire", lambda self, now_ns: [])  # noqa: ARG005


def obs_seq() -> None:
    """Take any chunk for the answer to the request that it names."""

    def answered(original: Any, self: Any, message: Any) -> Any:
        seq = getattr(message, "request_seq", 0)
        return self._flights.get(seq) or original(self, message)

    wrap(client_core.ClientCore, "_answered", answered)


def corrupt() -> None:
    """Count no messages that cannot be read."""
    put(connection, "CORRUPT_MAX", 1 << 60)


def finite() -> None:
    """Take every number for finite."""
    for module in (client_core, intake):
        put(module, "np", _NoFiniteCheck())


def fit() -> None:
    """Agree to any schema."""
    put(connection, "check_fit", lambda schema, rig: None)  # noqa: ARG005


def jump() -> None:
    """Take a chunk however far it begins from the present target."""
    wrap(intake.Intake, "__init__", lambda init, self, *given: init(self, *given[:2], 1e9))


def twice() -> None:
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

    wrap(client_core.ClientCore, "_answered", answered)

    def take(original: Any, self: Any, record: Any, *given: Any, **named: Any) -> Any:
        self._newest_ns = 0
        return original(self, record, *given, **named)

    wrap(intake.Intake, "take", take)


def elapsed() -> None:
    """Begin every chunk at its first action, as a queue does, whatever time has passed."""

    def join(original: Any, self: Any, chunk: Any, chunk_id: int, now: Any) -> Any:
        return original(self, replace(chunk, start_tick=now.tick + 1), chunk_id, now)

    wrap(intake.Intake, "_join", join)


def expiry() -> None:
    """Let no command expire in a guardian."""

    def take(original: Any, self: Any, command: NDArray[Any]) -> None:
        original(self, command)
        self._expires_ns = NEVER_NS

    wrap(GuardianCore, "_take", take)


def restart() -> None:
    """Arm after a restart as if nothing had been."""
    put(core.ControlCore, "_arming_faults", lambda self, *inputs: 0)  # noqa: ARG005


def guardian() -> None:
    """Miss no guardian."""
    mask(BIT["guardian_lost"])


def health() -> None:
    """Take every arm's state for healthy."""
    put(GuardianCore, "_healthy", lambda self, now_ns, state: True)  # noqa: ARG005
    mask(BIT["arm_silent"] | BIT["device_fault"])


def usable() -> None:
    """Arm on whatever feedback."""
    put(watch.Watch, "usable", lambda self, inputs: True)  # noqa: ARG005
    put(GuardianCore, "_healthy", lambda self, now_ns, state: True)  # noqa: ARG005


def tracking() -> None:
    """See no arm lag behind its command."""
    put(watch.Watch, "tracking", lambda self, commanded, inputs: 0)  # noqa: ARG005
    reason = GuardianCore._reason

    def patient(self: Any, now_ns: int, *given: Any) -> Any:
        self._astray_ns = now_ns
        return reason(self, now_ns, *given)

    put(GuardianCore, "_reason", patient)


def rate() -> None:
    """Skip ticks without a word."""
    put(watch.Watch, "rate", lambda self, elapsed: 0)  # noqa: ARG005


def disk() -> None:
    """Report nothing of what the disk refuses."""
    put(Recorder, "_report", lambda self, now_ns: None)  # noqa: ARG005


def foresight() -> None:
    """Compare no predicted picture."""
    put(Foresight, "_judge", lambda self, chunk_id, difference: None)  # noqa: ARG005


def shape() -> None:
    """Fill up what an answer lacks."""

    def judge(original: Any, self: Any, flight: Any, message: Any, arrays: Any, now_ns: int) -> Any:
        actions = arrays["actions"]
        rows = np.minimum(np.arange(self._schema.horizon), len(actions) - 1)
        return original(self, flight, message, {**arrays, "actions": actions[rows]}, now_ns)

    wrap(client_core.ClientCore, "_judge", judge)


def apart() -> None:
    """Take any pictures for one moment's."""
    wrap(sensors, "align_frames", lambda align, stamps, _tolerance: align(stamps, NEVER_NS))


def leader() -> None:
    """Take a leader's last word for its present one."""
    put(teleop.LedArm, "_alive", lambda self, leader, now_ns: True)  # noqa: ARG005


def reach() -> None:
    """Let a leader take over from however far."""
    put(teleop, "OUTSIDE_RAD", 1e9)

    def begin(init: Any, self: Any, *given: Any) -> None:
        init(self, *given)
        self._refuse_rad = 1e9

    wrap(teleop.LedArm, "__init__", begin)


def limits() -> None:
    """Compare nothing that an arm keeps with its model."""
    put(Arming, "_compare", lambda self, feedback: None)  # noqa: ARG005


def cameras() -> None:
    """Ask however old the pictures are."""
    wrap(sensors.Sensors, "__init__", _never_stale)
    apart()


def _never_stale(init: Any, self: Any, *given: Any) -> None:
    init(self, *given)
    self._stale_ns = NEVER_NS


def skips() -> None:
    """Tell of no skipped tick."""
    wrap(loop.ControlLoop, "tick", lambda tick, self, servo_tick, _skipped: tick(self, servo_tick, 0))
