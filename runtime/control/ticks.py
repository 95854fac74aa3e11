"""What goes into a servo tick, what comes out, and how its decisions are written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.control.intake import Seam
from runtime.control.modes import ModeState
from runtime.control.timeline import Timeline
from runtime.control.trajectory import Motion
from runtime.shm import blank
from runtime.states import LED, Mode, Source, Verdict

Record = NDArray[Any]

_START: Final = {name: field[1] for name, field in (records.TICK.fields or {}).items()}
"""Where each field of a TICK begins, bytes."""

NO_LEADER: Final[Record] = blank(records.LEADER)
"""The LEADER record where nobody leads."""


class TickInputs(NamedTuple):
    """All that a tick sees. `arm` and `guardian` hold one record per side; a record never written is zero.

    `chunks` are the CHUNK records that are new since the last tick, `chunks_seen` the ring's head after them;
    `amendments` and `amendments_seen` are the same of AMENDMENT records.
    """

    servo_tick: int
    now_ns: int
    scheduled_ns: int
    arm: tuple[Record, ...]
    guardian: tuple[Record, ...]
    operator: Record
    client_t_ns: int
    client_link: int
    chunks: Sequence[Record]
    chunks_seen: int
    leader: Record = NO_LEADER
    client_distrusted: bool = False
    amendments: Sequence[Record] = ()
    amendments_seen: int = 0


class TickOutputs(NamedTuple):
    """What a tick decided, as records of `runtime.records`, and the verdict on each chunk by its id."""

    command: Record
    tick: Record
    view: Record
    verdicts: tuple[tuple[int, Verdict], ...]


class Decision(NamedTuple):
    """What a tick decided, before it is written down. `target` (14,) is before limits; `limited`, `led`: bit masks."""

    state: ModeState
    motion: Motion
    target: NDArray[np.float64]
    limited: int
    at_rest: bool
    starving: bool
    seam: Seam | None
    acks: Sequence[int]
    faults: int
    led: int
    amended: Verdict = Verdict.PENDING

    @property
    def source(self) -> Source:
        """Where the target came from."""
        if self.state.mode is Mode.DISARMED:
            return Source.NONE
        if self.state.mode is Mode.POLICY:
            return Source.CHUNK
        if self.state.mode in LED:
            return Source.TELEOP
        if self.at_rest:
            return Source.HOLD
        return Source.PARK if self.state.mode is Mode.PARK else Source.BRAKE


def command_record(inputs: TickInputs, made: Decision, seq: int, ttl_ns: int) -> Record:
    """Return the JOINT_COMMAND of a decision."""
    command: Any = blank(records.JOINT_COMMAND)
    command["seq"] = seq
    command["servo_tick"] = inputs.servo_tick
    command["t_ns"] = inputs.now_ns
    command["valid_until_ns"] = inputs.now_ns + ttl_ns
    command["position"] = made.motion.position
    command["velocity"] = made.motion.velocity
    command["mode"] = made.state.mode
    command["source"] = made.source
    command["armed"] = made.state.armed
    command["limited"] = made.limited
    command["ack"] = made.acks
    record: Record = command
    return record


def tick_record(inputs: TickInputs, made: Decision, command: Record, timeline: Timeline, now: int) -> Record:
    """Return the TICK of a decision; `now` is the policy tick."""
    running = made.state.mode is Mode.POLICY
    raw = bytearray(records.TICK.itemsize)
    _paste(raw, "arm", (*inputs.arm, *inputs.guardian, inputs.operator, inputs.leader))
    _paste(raw, "command", (command,))
    tick: Any = np.ndarray((), records.TICK, raw)
    tick["servo_tick"] = inputs.servo_tick
    tick["now_ns"] = inputs.now_ns
    tick["scheduled_ns"] = inputs.scheduled_ns
    tick["client_t_ns"] = inputs.client_t_ns
    tick["client_link"] = inputs.client_link
    tick["client_distrusted"] = inputs.client_distrusted
    tick["chunks_seen"] = inputs.chunks_seen
    tick["amendments_seen"] = inputs.amendments_seen
    tick["target"] = made.target
    tick["mode"] = made.state.mode
    tick["epoch"] = made.state.epoch
    tick["tick"] = now
    tick["ahead_ticks"] = max(timeline.end_tick - now, 0) if running else 0
    tick["starved"] = made.starving
    tick["chunk_id"] = timeline.chunk_id(now) if running else 0
    tick["amended"] = made.amended
    if made.seam is not None:
        tick["switched"] = 1
        tick["seam_jump_rad"] = made.seam.jump_rad
    tick["faults"] = made.faults | made.state.latched
    tick["led"] = made.led
    record: Record = tick
    return record


def _paste(raw: bytearray, name: str, parts: Sequence[Record]) -> None:
    """Put whole records into a TICK's bytes, in a row from a field on; numpy takes far longer, field by field."""
    start = _START[name]
    nested = b"".join([part.tobytes() for part in parts])
    raw[start : start + len(nested)] = nested


def view_record(inputs: TickInputs, state: ModeState, timeline: Timeline, chunk_id: int, now: int) -> Record:
    """Return the TIMELINE_VIEW around the policy tick `now`."""
    view: Any = blank(records.TIMELINE_VIEW)
    view["t_ns"] = inputs.now_ns
    view["tick"] = now
    view["epoch"] = state.epoch
    view["mode"] = state.mode
    view["engaged"] = state.engaged
    view["started"] = state.started
    view["end_tick"] = max(timeline.end_tick, now)
    view["chunk_id"] = chunk_id
    view["chunks_seen"] = inputs.chunks_seen
    view["actions"] = timeline.view(now)
    record: Record = view
    return record
