"""What the operator wants, from two sources: the operator's record, and the buttons of the leaders.

The newer wish counts. A stop from a leader stands against every other wish until the leader itself asks for something
else or acknowledges, or, once the leader is gone, until the operator acknowledges.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from runtime.states import Mode

Record = NDArray[Any]

SILENT_NS: Final = 500_000_000
"""A leader that has said nothing for this long is gone."""
_WANTED: Final = {int(mode): mode for mode in (Mode.DISARMED, Mode.POLICY, Mode.PARK)}


class Wish(NamedTuple):
    """What is wanted now. `clear` grows with each acknowledgement, whoever gives it.

    `fresh`: it was asked for at this tick, be it the same as before. `stop`: a leader's stop was given at this tick.
    """

    want: Mode
    clear: int
    fresh: bool = False
    stop: bool = False


def wanted(record: Record) -> Mode:
    """Return the mode that a record asks for; what nobody can ask for reads as HOLD."""
    return _WANTED.get(int(record["want"]), Mode.HOLD)


class Wishes:
    """Follows both sources from tick to tick; what they said before the first counts as said long ago."""

    def __init__(self) -> None:
        self._asked: Mode | None = None
        self._want = Mode.DISARMED
        self._presses = 0
        self._clears = (0, 0)
        self._stopped = False

    def read(self, operator: Record, leader: Record, now_ns: int) -> Wish:
        """Return the wish at a tick, from an OPERATOR and a LEADER record."""
        asked, clears = wanted(operator), (int(operator["clear"]), int(leader["clear"]))
        presses = int(leader["wants"])
        if self._asked is None:
            self._asked, self._want, self._presses, self._clears = asked, asked, presses, clears
        pressed, renewed = presses != self._presses, asked is not self._asked
        stop = pressed and wanted(leader) is Mode.HOLD
        if pressed:
            self._want, self._stopped = wanted(leader), stop
        elif clears != self._clears and self._stopped:
            gone = now_ns - int(leader["t_ns"]) > SILENT_NS
            self._stopped = not (gone or clears[1] != self._clears[1])
        if renewed and not pressed and not self._stopped:
            self._want = asked
        fresh = pressed or (renewed and not self._stopped)
        self._asked, self._presses, self._clears = asked, presses, clears
        return Wish(self._want, sum(clears), fresh, stop)
