"""The states that records carry as numbers: modes, sources, guardians, trips, life cycles, links, verdicts."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """What the control process is doing with the arms."""

    DISARMED = 0
    HOLD = 1
    POLICY = 2
    TELEOP = 3
    HANDOVER = 4
    PARK = 5
    FAULT = 6


class Source(IntEnum):
    """Where a commanded target came from."""

    NONE = 0
    HOLD = 1
    CHUNK = 2
    BRAKE = 3
    TELEOP = 4
    PARK = 5


class Guard(IntEnum):
    """State of a guardian."""

    DISARMED = 0
    FOLLOW = 1
    BRAKE = 2
    HOLD = 3
    FAULT = 4


class Trip(IntEnum):
    """Why a guardian last left FOLLOW."""

    NONE = 0
    EXPIRED = 1
    NOT_FINITE = 2
    JUMP = 3
    DEVICE = 4
    TRACKING = 5


class Life(IntEnum):
    """Life cycle of a process."""

    STARTING = 0
    READY = 1
    STOPPING = 2
    FAILED = 3


class Link(IntEnum):
    """State of the client's connection to its policy server."""

    CONNECTING = 0
    READY = 1
    REFUSED = 2
    LOST = 3


class Verdict(IntEnum):
    """What became of a request for a chunk."""

    PENDING = 0
    USED = 1
    LATE = 2
    STALE = 3
    INVALID = 4
    TIMEOUT = 5
    ERROR = 6
    JUMP = 7
