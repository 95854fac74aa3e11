"""Faults in the lab: what goes wrong, when and for how long, by schedule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S

FAR_RAD: Final = 3.0


class Fault(Enum):
    """What can go wrong between the rig's parts."""

    CONTROL_PAUSED = "the control process does not run"
    ARM_SILENT = "the left arm sends no feedback"
    ANSWERS_LOST = "no answer of the server arrives"
    CHUNK_NOT_FINITE = "chunks hold NaN"
    CHUNK_FAR = "chunks begin far from the target"
    CHUNK_REPEATED = "chunks arrive twice"


@dataclass(frozen=True)
class Injection:
    """A fault from `start_s` on, for `duration_s`, counted from the first action."""

    fault: Fault
    start_s: float
    duration_s: float


class Schedule:
    """The injections of an episode; asked at each moment what is wrong then."""

    def __init__(self, injections: Iterable[Injection] = ()) -> None:
        self._injections = tuple(injections)

    def __bool__(self) -> bool:
        return bool(self._injections)

    def stands(self, fault: Fault, t_ns: int) -> bool:
        """Return whether a fault stands at a time since the first action."""
        t_s = t_ns / NS_PER_S
        return any(
            injection.fault is fault and injection.start_s <= t_s < injection.start_s + injection.duration_s
            for injection in self._injections
        )

    def spoil(self, chunks: list[NDArray[Any]], t_ns: int) -> list[NDArray[Any]]:
        """Return what arrives of the CHUNK records that were sent."""
        if not self._injections or not chunks:
            return chunks
        if self.stands(Fault.ANSWERS_LOST, t_ns):
            return []
        if self.stands(Fault.CHUNK_REPEATED, t_ns):
            chunks = [chunk for chunk in chunks for _ in range(2)]
        spoilt = []
        for chunk in chunks:
            record: Any = np.array(chunk)
            if self.stands(Fault.CHUNK_NOT_FINITE, t_ns):
                record["actions"][0, 0] = np.nan
            if self.stands(Fault.CHUNK_FAR, t_ns):
                record["actions"] += FAR_RAD
            spoilt.append(record)
        return spoilt
