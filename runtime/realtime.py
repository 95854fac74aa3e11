"""Real-time set-up of a process: what the host permits is used, what it does not is reported, never fatal."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.clock import libc

_MCL_CURRENT_AND_FUTURE: Final = 3
_MCL_ONFAULT: Final = 4
_PR_SET_PDEATHSIG: Final = 1

PRIORITIES: Final[dict[str, int]] = {
    "guardian-left": 84,
    "guardian-right": 84,
    "control": 80,
    "emulator": 72,
    "sim": 70,
}
"""SCHED_FIFO priority by role; a role that is not here stays with the host's ordinary scheduler."""
BESIDE: Final = ("sim", "emulator")
"""Real-time roles that are not pinned: the control process and the guardians share the last core without them."""
_ALLOW_AFFINITY: Final = "allow sched_setaffinity in the container's profile"
SPIN_NS: Final = 150_000
"""How long the control process spins before a tick; a sleep alone wakes up to about that late."""


@dataclass(frozen=True)
class Grant:
    """One real-time facility: whether this process has it, and what would give it."""

    name: str
    granted: bool
    remedy: str


def set_fifo(priority: int) -> bool:
    """Put the calling thread under SCHED_FIFO, new threads excepted; False where not permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError:
        return False
    return True


def lock_memory() -> bool:
    """Lock pages in memory as they are touched (mlockall); False where not permitted."""
    return bool(libc.mlockall(_MCL_CURRENT_AND_FUTURE | _MCL_ONFAULT) == 0)


def pin(cpu: int) -> bool:
    """Bind this process to one processor; False where not permitted or absent."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return False
    return True


def freeze_garbage() -> None:
    """Collect once, exempt what lives from later collections, and switch automatic collection off."""
    gc.collect()
    gc.freeze()
    gc.disable()


def enter(role: str) -> None:
    """Set a process of `PRIORITIES` up: memory, garbage, core and scheduler; what is not permitted is logged.

    Call it after imports and warm-up: what is allocated before is what gets frozen.
    """
    freeze_garbage()
    cores = sorted(os.sched_getaffinity(0))
    grants = (
        Grant("affinity", role in BESIDE or len(cores) < 2 or pin(cores[-1]), _ALLOW_AFFINITY),
        Grant("mlockall", lock_memory(), "raise the memlock limit (ulimit -l unlimited) or grant CAP_IPC_LOCK"),
        Grant("SCHED_FIFO", set_fifo(PRIORITIES[role]), "raise the rtprio limit (ulimit -r 90) or grant CAP_SYS_NICE"),
    )
    for grant in grants:
        if not grant.granted:
            sys.stderr.write(f"{role}: no {grant.name}; {grant.remedy}\n")


def leave() -> None:
    """Go back to the host's ordinary scheduler: to end takes some 25 ms, in which others of the core have ticks."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def survey() -> tuple[Grant, ...]:
    """Try each facility in a child and report it, leaving this process as it is."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        flags = (lock_memory(), set_fifo(1), pin(min(os.sched_getaffinity(0))))
        os.write(writer, bytes(flags))
        os._exit(0)
    os.waitpid(child, 0)
    locked, fifo, pinned = os.read(reader, 3)
    os.close(reader)
    os.close(writer)
    throttle = Path("/proc/sys/kernel/sched_rt_runtime_us")
    throttled = throttle.is_file() and throttle.read_text().strip() != "-1"
    return (
        Grant("mlockall", bool(locked), "raise the memlock limit (ulimit -l unlimited) or grant CAP_IPC_LOCK"),
        Grant("SCHED_FIFO", bool(fifo), "raise the rtprio limit (ulimit -r 90) or grant CAP_SYS_NICE"),
        Grant("affinity", bool(pinned), _ALLOW_AFFINITY),
        Grant(
            "no RT throttling",
            not throttled,
            "sysctl kernel.sched_rt_runtime_us=-1 (ticks use far below the cap)",
        ),
    )


def die_with_parent(signal_number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process a signal when its parent ends; at once when that has happened already."""
    libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)
