"""The states that records carry as numbers, modes to verdicts, and the conditions of a request."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class Mode(IntEnum):
    """What the control process is doing with the arms."""

    DISARMED = 0
    HOLD = 1
    POLICY = 2
    TELEOP = 3
    HANDOVER = 4
    PARK = 5
    FAULT = 6


LED: Final = frozenset({Mode.HANDOVER, Mode.TELEOP})
"""Modes in which a person leads the arms."""


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


class CameraLink(IntEnum):
    """Where a camera stands."""

    CLOSED = 0
    OPEN = 1
    LOST = 2


class Life(IntEnum):
    """Life cycle of a process."""

    STARTING = 0
    READY = 1
    STOPPING = 2
    FAILED = 3


class Carriage(IntEnum):
    """How pictures go from a rig to its policy server."""

    NONE = 0
    RAW = 1
    SHARED = 2
    JPEG = 3


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


class Condition(StrEnum):
    """What a request tells the policy about the plan that runs while it thinks."""

    PLAIN = "plain"
    """Nothing."""
    PREFIX = "prefix"
    """The committed steps, as the given start of the chunk (training-time RTC, arXiv 2512.05964)."""
    FUTURE = "future"
    """The state predicted for the tick at which the answer begins to act (VLASH); the chunk starts there."""
    GUIDED = "guided"
    """The rest of the plan, to guide the denoising with the true vector-Jacobian product (RTC, arXiv 2506.07339)."""
    GUIDED_IDENTITY = "guided_identity"
    """The same with the Jacobian taken as the identity, as LeRobot's processor does."""
    BEST_OF = "best_of"
    """The rest of the plan, to choose the most coherent of several samples (BID, arXiv 2408.17355)."""
