"""What is mutated, and the tests that are aimed at it, the quickest to notice first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Target:
    """A module and its tests, as pytest takes them from the repository's root."""

    module: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the module's name."""
        return self.module.rpartition(".")[2]

    @property
    def path(self) -> Path:
        """The module's file, from the repository's root."""
        return Path(*self.module.split(".")).with_suffix(".py")


TARGETS: Final = (
    Target("runtime.control.modes", ("tests/unit/test_modes.py",)),
    Target(
        "runtime.control.guardian",
        (
            "tests/unit/test_guardian.py",
            "tests/unit/test_guardian_bounds.py",
            "tests/unit/test_guardian_pause.py",
            "tests/property/test_guardian_properties.py",
        ),
    ),
    Target(
        "runtime.control.timeline",
        (
            "tests/unit/test_timeline.py",
            "tests/unit/test_timeline_bounds.py",
            "tests/property/test_timeline_properties.py",
        ),
    ),
    Target("runtime.inference.wire", ("tests/unit/test_wire_bounds.py", "tests/unit/test_wire.py")),
    Target("runtime.control.limits", ("tests/unit/test_limits.py", "tests/unit/test_limits_chase.py")),
    Target("runtime.drivers.piper.codec", ("tests/unit/test_piper_codec.py",)),
)
