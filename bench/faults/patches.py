"""What is changed inside a child process, by name: what misbehaves there, and which detectors see nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from bench.faults import blinds, misbehaviour
from runtime.faults import BIT


def apply(names: Iterable[str]) -> None:
    """Carry out patches by name; `mask:FAULT` and `mute:FAULT` make the control process or the others blind for one.

    `emulator:FAULT` lets an emulated arm have a fault from the start.

    Raises:
        KeyError: there is no such patch.
    """
    for name in names:
        kind, _, fault = name.partition(":")
        if kind == "mask":
            blinds.mask(BIT[fault])
        elif kind == "mute":
            blinds.mute(fault)
        elif kind == "emulator":
            misbehaviour.faulty(fault)
        else:
            PATCHES[name]()


PATCHES: Final[dict[str, Callable[[], None]]] = {
    "netns": misbehaviour.behind_a_link,
    "arm-silent": lambda: misbehaviour.on_left_arm(misbehaviour.silent),
    "arm-zero": lambda: misbehaviour.on_left_arm(misbehaviour.zero),
    "arm-fault": lambda: misbehaviour.on_left_arm(misbehaviour.device_fault),
    "arm-stuck": misbehaviour.stuck,
    "count-drops": misbehaviour.count_drops,
    "leader-apart": misbehaviour.leader_apart,
    "camera-frozen": lambda: misbehaviour.on_frames(misbehaviour.frozen),
    "camera-lost": lambda: misbehaviour.on_frames(misbehaviour.lost),
    "cameras-apart": lambda: misbehaviour.on_frames(misbehaviour.apart),
    "blind-drop": blinds.drop,
    "blind-deadline": blinds.deadline,
    "blind-obs-seq": blinds.obs_seq,
    "blind-corrupt": blinds.corrupt,
    "blind-finite": blinds.finite,
    "blind-fit": blinds.fit,
    "blind-jump": blinds.jump,
    "blind-twice": blinds.twice,
    "blind-elapsed": blinds.elapsed,
    "blind-expiry": blinds.expiry,
    "blind-restart": blinds.restart,
    "blind-guardian": blinds.guardian,
    "blind-health": blinds.health,
    "blind-usable": blinds.usable,
    "blind-tracking": blinds.tracking,
    "blind-rate": blinds.rate,
    "blind-disk": blinds.disk,
    "blind-foresight": blinds.foresight,
    "blind-shape": blinds.shape,
    "blind-apart": blinds.apart,
    "blind-cameras": blinds.cameras,
    "blind-leader": blinds.leader,
    "blind-reach": blinds.reach,
    "blind-limits": blinds.limits,
    "blind-skips": blinds.skips,
    "wall-clock": misbehaviour.wall_clock,
}
