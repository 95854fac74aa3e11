"""Faults that a process sees in passing, kept for a moment so that whoever looks now and then sees them too."""

from __future__ import annotations

from typing import Final

from runtime.clock import NS_PER_MS
from runtime.faults import BIT

LINGER_NS: Final = 300 * NS_PER_MS
"""How long a fault is told of after it was seen last: longer than the recorder takes between two looks."""


class Notices:
    """What one process saw lately, as bits of the fault table."""

    def __init__(self) -> None:
        self._until_ns: dict[str, int] = {}

    def note(self, name: str, now_ns: int) -> None:
        """Say that a fault of the table stands, or has just been met; KeyError for a name that is not in it."""
        if name not in BIT:
            raise KeyError(name)
        self._until_ns[name] = now_ns + LINGER_NS

    def bits(self, now_ns: int) -> int:
        """Return what was seen lately."""
        self._until_ns = {name: until_ns for name, until_ns in self._until_ns.items() if now_ns < until_ns}
        return sum(BIT[name] for name in self._until_ns)
