"""The delay processes of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.inference.server.latency import LATENCY_PROFILES

TICK_MS: Final = 20
CONSTANT_TICKS: Final = tuple(range(0, 25, 2))
TRACE: Final = Path(__file__).parent / "traces" / "recorded.txt"
"""522 answers of the vision policy, best of 6 samples, served on a machine whose two cores other work kept busy: 254 ms
at the median, 552 at the 99th percentile, one answer much like the last. By `bench.decoupling.record`."""


@dataclass(frozen=True)
class Profile:
    """A delay process: its name in the table and what `--latency` calls it."""

    name: str
    latency: str


def constant(ticks: int) -> Profile:
    """Return the profile whose every answer acts `ticks` policy ticks after its observation."""
    return Profile(f"d={ticks}", f"constant:{ticks * TICK_MS}")


VARYING: Final = (
    Profile("lognormal", "lognormal:360,0.25"),
    Profile("drift", "drift:240,480,8"),
    Profile("burst", "burst:360,3,5,0.4"),
    Profile("lognormal-190", "lognormal:190,0.5"),
    Profile("burst-120", "burst:120,3,3,1"),
    Profile("switch", "switch:120,360,3"),
    Profile("drop", "drop:190,5"),
    Profile("trace", f"trace:{TRACE}"),
)
"""Delays that change: the first three around the 360 ms of `gigaworld`."""
NAMED: Final = tuple(Profile(name, f"constant:{ms:g}") for name, ms in LATENCY_PROFILES.items() if ms)
ZERO: Final = constant(0)
FULL: Final = (*(constant(ticks) for ticks in CONSTANT_TICKS), *VARYING, *NAMED)
QUICK: Final = (ZERO, constant(10), next(profile for profile in NAMED if profile.name == "gigaworld"), VARYING[0])
