"""The mode machine: which mode follows from what the operator wants and what is wrong. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from runtime.faults import BIT, mask
from runtime.states import Mode

HOLDING: Final = mask("hold")
BRAKING: Final = mask("brake")
LEADABLE: Final = BIT["starved"] | BIT["chunks_jump"] | BIT["chunks_late"] | BIT["distrusted"]
"""Faults of the policy: the arms are sound, and a person may lead them while these stand."""
_RELEASABLE: Final = frozenset({Mode.HOLD, Mode.PARK, Mode.FAULT})
"""Modes that torque is given up from: in the others a motion may have begun that rounding still hides."""


class Situation(NamedTuple):
    """What a tick's inputs amount to.

    `want` and `clear` are the operator's record. `faults` are the bits that stand now. `armable`: both arms'
    feedback and guardians are fit to be armed. `following`: both guardians follow. `at_rest`: the command has
    stopped. `at_home`: and it is at the rest pose. `chunk`: the plan holds the epoch's first chunk. `fresh`: what is
    wanted was asked for now. `taken`: a person holds the clutch; `led`: and leads an arm; `matched`: every arm that is
    led is coupled.
    """

    want: Mode
    clear: int
    faults: int
    armable: bool
    following: bool
    at_rest: bool
    at_home: bool
    chunk: bool
    fresh: bool = False
    taken: bool = False
    led: bool = False
    matched: bool = False


@dataclass(frozen=True)
class ModeState:
    """The mode and what goes with it. `latched` are the faults that wait for the operator.

    `engaged`: chunks of `epoch` are wanted. `want` and `clear` are what the operator last said, None before the first
    acknowledgement count was seen. `overruled`: a person took the arms since, and what was wanted before that counts
    no more.
    """

    mode: Mode = Mode.DISARMED
    epoch: int = 0
    engaged: bool = False
    latched: int = 0
    want: Mode = Mode.DISARMED
    clear: int | None = None
    overruled: bool = False

    @property
    def armed(self) -> bool:
        """Whether the arms are under torque."""
        return self.mode is not Mode.DISARMED

    @property
    def started(self) -> bool:
        """Whether a chunk of the epoch runs."""
        return self.mode is Mode.POLICY


def step(state: ModeState, seen: Situation) -> ModeState:
    """Return the state of the next tick."""
    state = _acknowledge(state, seen)
    if state.mode is Mode.DISARMED:
        return _arm(state, seen)
    latched = state.latched | (seen.faults & (HOLDING | BRAKING))
    if latched & BRAKING:
        return _settle(state, Mode.FAULT, latched)
    if seen.taken:
        return _lead(state, seen, latched)
    if latched:
        return _settle(state, Mode.HOLD, latched)
    return _obey(state, seen)


def _acknowledge(state: ModeState, seen: Situation) -> ModeState:
    """Unlatch what the operator has acknowledged; a fault that still stands latches again."""
    if seen.want is state.want and seen.clear == state.clear and not seen.fresh:
        return state
    latched, overruled = state.latched, state.overruled
    if state.clear is not None and seen.clear != state.clear:
        latched, overruled = 0, False
    elif seen.fresh or seen.want is not state.want:
        # To want something anew answers what ended the motion, but not a fault of an arm.
        latched, overruled = latched & ~HOLDING, False
    return replace(state, latched=latched, want=seen.want, clear=seen.clear, overruled=overruled)


def _arm(state: ModeState, seen: Situation) -> ModeState:
    """Leave DISARMED into HOLD, never further."""
    if seen.want is Mode.DISARMED or not seen.armable:
        return state
    latched = seen.faults & (HOLDING | BRAKING)
    return replace(state, mode=Mode.FAULT if latched & BRAKING else Mode.HOLD, latched=latched)


def _lead(state: ModeState, seen: Situation, latched: int) -> ModeState:
    """Give the arms to who holds the clutch, or hold them where the leader is refused."""
    mode = (Mode.TELEOP if seen.matched else Mode.HANDOVER) if seen.led else Mode.HOLD
    latched = latched & ~LEADABLE & ~(state.latched if seen.led else 0)
    return replace(_settle(state, mode, latched), overruled=True)


def _obey(state: ModeState, seen: Situation) -> ModeState:
    """Go where the operator wants; nothing is wrong."""
    if state.overruled:
        return _settle(state, Mode.HOLD)
    if seen.want is Mode.POLICY:
        return _engage(state, seen)
    if seen.want is Mode.PARK and (state.mode is Mode.PARK or seen.following):
        return _settle(state, Mode.PARK)
    if seen.want is Mode.DISARMED and seen.at_home and state.mode in _RELEASABLE:
        return _settle(state, Mode.DISARMED)
    return _settle(state, Mode.HOLD)


def _settle(state: ModeState, mode: Mode, latched: int = 0) -> ModeState:
    """Go to a mode in which no chunks are wanted, or stay there."""
    if state.mode is mode and not state.engaged and state.latched == latched:
        return state
    return replace(state, mode=mode, engaged=False, latched=latched)


def _engage(state: ModeState, seen: Situation) -> ModeState:
    """Ask for chunks from standstill under a new epoch; go on to POLICY when the first has come."""
    if state.mode is Mode.POLICY:
        return state
    if state.engaged:
        return replace(state, mode=Mode.POLICY) if seen.chunk else state
    if seen.at_rest and seen.following:
        return replace(state, mode=Mode.HOLD, engaged=True, epoch=state.epoch + 1)
    return state if state.mode is Mode.PARK else replace(state, mode=Mode.HOLD)
