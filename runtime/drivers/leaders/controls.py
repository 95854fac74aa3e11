"""What the keys and axes of input devices mean (codes of include/uapi/linux/input-event-codes.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

Moves = dict[int, tuple[int, float]]
"""Code of a key or an axis -> what it moves, and the way."""

X, Y, Z, ROLL, PITCH, YAW, GRIPPER = range(7)
"""The motions of a hand, in the axes of the arm's base: x forward, y left, z up, and turns about them."""


@dataclass(frozen=True)
class Controls:
    """What keys and axes move: components of a hand's motion, or joints."""

    keys: Moves = field(default_factory=dict)
    axes: Moves = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What the codes of a kind of device mean; `clutch` None: every key that means nothing else."""

    clutch: int | None
    policy: int
    stop: int
    clear: int = -1
    switch: int = -1
    controls: dict[str, Controls] = field(default_factory=dict)


_BUTTONS: Final[Moves] = {304: (GRIPPER, -1.0), 305: (GRIPPER, 1.0)}
_LETTERS: Final = dict(zip("qwertyuiop", range(16, 26), strict=True)) | dict(
    zip("asdfghjkl", range(30, 39), strict=True)
)


def _typed(**letters: tuple[int, float]) -> Moves:
    return {_LETTERS[letter]: move for letter, move in letters.items()}


LAYOUTS: Final[dict[str, Layout]] = {
    # Right shoulder, start, select, mode, left shoulder; south closes the gripper, east opens it.
    "gamepad": Layout(
        clutch=311,
        policy=315,
        stop=314,
        clear=316,
        switch=310,
        controls={
            # Left stick forward and sideways, right stick up and yaw, hat pitch and roll.
            "hand": Controls(
                keys=_BUTTONS,
                axes={1: (X, -1.0), 0: (Y, -1.0), 4: (Z, -1.0), 3: (YAW, -1.0), 17: (PITCH, 1.0), 16: (ROLL, 1.0)},
            ),
            "joints": Controls(
                keys=_BUTTONS,
                axes={0: (0, -1.0), 1: (1, -1.0), 4: (2, -1.0), 3: (3, 1.0), 17: (4, -1.0), 16: (5, 1.0)},
            ),
        },
    ),
    # Space, enter, escape, backspace, tab.
    "keyboard": Layout(
        clutch=57,
        policy=28,
        stop=1,
        clear=14,
        switch=15,
        controls={
            "hand": Controls(
                keys=_typed(
                    w=(X, 1.0),
                    s=(X, -1.0),
                    a=(Y, 1.0),
                    d=(Y, -1.0),
                    e=(Z, 1.0),
                    q=(Z, -1.0),
                    o=(ROLL, 1.0),
                    u=(ROLL, -1.0),
                    k=(PITCH, 1.0),
                    i=(PITCH, -1.0),
                    j=(YAW, 1.0),
                    l=(YAW, -1.0),
                    r=(GRIPPER, 1.0),
                    f=(GRIPPER, -1.0),
                )
            ),
            # q/a, w/s, e/d, r/f, t/g, y/h the joints, u/j the gripper.
            "joints": Controls(
                keys={16 + i: (i, 1.0) for i in range(7)} | {30 + i: (i, -1.0) for i in range(7)},
            ),
        },
    ),
    # A foot switch that types: every pedal is the clutch, but the ones that type b and c.
    "pedal": Layout(clutch=None, policy=48, stop=46),
}
