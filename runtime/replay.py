"""Replay: the control decisions of a recorded run made again, compared with what was decided, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.blackbox import Run, load_run
from runtime.control.core import ControlConfig, ControlCore, TickInputs, TickOutputs
from runtime.errors import LeadtimeError

MEASURED: Final = frozenset({"compute_ns", "skipped"})
"""Fields of a tick that are measured around the decisions, not decided."""


class Core(Protocol):
    """What is replayed: the control core, or another in its place to compare the two."""

    def step(self, inputs: TickInputs, /) -> TickOutputs:
        """Decide one servo tick."""


COUNTED: Final = {"chunk": "chunks_seen", "amendment": "amendments_seen"}
"""Rings whose entries a tick takes one by one, and the field of TICK that says how far it has."""


@dataclass(frozen=True)
class Gap:
    """Records missing from the black box: which ring, the first one's index, how many, after which tick."""

    ring: str
    index: int
    count: int
    servo_tick: int


@dataclass(frozen=True)
class ReplayResult:
    """What a replay found. `compared` of `ticks` recorded ticks were decided again.

    `first_difference` is the servo tick and the field that came out differently; behind a gap the state of the
    decisions is unknown, so nothing is compared until the control process starts anew.
    """

    ticks: int
    compared: int
    first_difference: tuple[int, str] | None
    gaps: tuple[Gap, ...]
    complete: bool

    @property
    def identical(self) -> bool:
        """Whether every recorded tick was decided again and came out bit-identical."""
        return self.first_difference is None and 0 < self.compared == self.ticks and not self.gaps

    def describe(self) -> str:
        """Return the result in a line or two."""
        if self.ticks == 0:
            return "nothing to replay: no tick was recorded"
        lines = []
        if self.first_difference is None:
            what = "every command" if self.identical else f"{self.compared} of {self.ticks} ticks compared,"
            lines.append(f"{what} bit-identical" + (f" ({self.ticks} ticks)" if self.identical else ""))
        else:
            servo_tick, name = self.first_difference
            lines.append(f"different: {name} at servo tick {servo_tick} is the first of {self.ticks} ticks")
        for gap in self.gaps:
            lines.append(
                f"gap: {gap.count} {gap.ring} record(s) from {gap.index} on are missing"
                f" after servo tick {gap.servo_tick}; not compared from there"
            )
        if not self.complete:
            lines.append("the black box has no end: its recorder was killed or the disk stayed full")
        return "\n".join(lines)


@dataclass(frozen=True)
class Segment:
    """Ticks `start` to `stop` that one control process decided, and whether their inputs are whole."""

    start: int
    stop: int
    gap: Gap | None


class Given:
    """What the ticks of a run were given: their own records, and the entries of the rings in `COUNTED` by index."""

    def __init__(self, run: Run) -> None:
        self._rings = {ring: dict(zip(run.indices[ring].tolist(), run.records[ring], strict=True)) for ring in COUNTED}

    def lost(self, ring: str, tick: Any, before: Any) -> list[int]:
        """Return the indices of what a tick took of a ring since the one before, and was not recorded."""
        return [index for index in _news(ring, tick, before) if index not in self._rings[ring]]

    def inputs(self, tick: Any, before: Any) -> TickInputs:
        """Return the inputs of a recorded TICK that follows another."""
        news = {
            ring: [_own(entries[index]) for index in _news(ring, tick, before)] for ring, entries in self._rings.items()
        }
        return TickInputs(
            servo_tick=int(tick["servo_tick"]),
            now_ns=int(tick["now_ns"]),
            scheduled_ns=int(tick["scheduled_ns"]),
            arm=tuple(_own(arm) for arm in tick["arm"]),
            guardian=tuple(_own(guardian) for guardian in tick["guardian"]),
            operator=_own(tick["operator"]),
            client_t_ns=int(tick["client_t_ns"]),
            client_link=int(tick["client_link"]),
            chunks=news["chunk"],
            chunks_seen=int(tick["chunks_seen"]),
            leader=_own(tick["leader"]),
            client_distrusted=bool(tick["client_distrusted"]),
            amendments=news["amendment"],
            amendments_seen=int(tick["amendments_seen"]),
        )


def _news(ring: str, tick: Any, before: Any) -> range:
    return range(int(before[COUNTED[ring]]), int(tick[COUNTED[ring]]))


def replay(run_dir: Path) -> ReplayResult:
    """Replay the run in a folder.

    Raises:
        LeadtimeError: there is no black box, or one whose records another version wrote.
    """
    run = load_run(run_dir)
    config = control_config(run)
    return replay_run(run, lambda: ControlCore(config, run.spec.tick_base(run.t0_ns)))


def replay_run(run: Run, new_core: Callable[[], Core]) -> ReplayResult:
    """Replay a run that was read, with a fresh core for every control process that took part in it."""
    ticks = run.ticks
    for name, dtype in (("tick", records.TICK), ("chunk", records.CHUNK), ("amendment", records.AMENDMENT)):
        if len(run.records[name]) and run.records[name].dtype != dtype:
            raise LeadtimeError(f"{run.run_dir}: its {name} records are of another version of leadtime")
    given = Given(run)
    compared, first, gaps = 0, None, []
    for segment in _segments(run, given):
        core = new_core()
        if segment.gap is not None:
            gaps.append(segment.gap)
        for i in range(segment.start, segment.stop):
            decided = core.step(given.inputs(ticks[i], ticks[i - 1 if i > segment.start else i])).tick
            compared += 1
            if first is None:
                differing = difference(ticks[i], decided)
                first = None if differing is None else (int(ticks["servo_tick"][i]), differing)
    return ReplayResult(len(ticks), compared, first, tuple(gaps), run.complete)


def decisions(run: Run) -> Iterator[TickOutputs]:
    """Decide every tick of a whole run again, in order.

    Raises:
        LeadtimeError: a record is missing: behind a gap the state of the decisions is unknown.
    """
    config = control_config(run)
    given, ticks = Given(run), run.ticks
    for segment in _segments(run, given):
        if segment.gap is not None:
            raise LeadtimeError(f"{run.run_dir}: {segment.gap.count} {segment.gap.ring} record(s) are missing")
        core = ControlCore(config, run.spec.tick_base(run.t0_ns))
        for i in range(segment.start, segment.stop):
            yield core.step(given.inputs(ticks[i], ticks[i - 1 if i > segment.start else i]))


def control_config(run: Run) -> ControlConfig:
    """Return what a run's control process was configured with."""
    return ControlConfig.from_rig(run.spec.rig, run.spec.merge)


def _segments(run: Run, given: Given) -> Iterator[Segment]:
    """Cut a run where a control process began, and each piece short where an input of it is missing."""
    ticks, indices = run.ticks, run.indices["tick"]
    if not len(ticks):
        return
    seq = ticks["command"]["seq"].astype(np.int64)
    starts = [0, *(np.flatnonzero(np.diff(seq) <= 0) + 1).tolist(), len(ticks)]
    for start, stop in pairwise(starts):
        expected = int(indices[start - 1]) + 1 if start else 0
        missing = int(indices[start]) - expected
        if missing:
            before = int(ticks["servo_tick"][start - 1]) if start else -1
            yield Segment(start, start, Gap("tick", expected, missing, before))
            continue
        gap = _first_gap(ticks, indices, given, start, stop)
        yield Segment(start, stop, None) if gap is None else Segment(start, *gap)


def _first_gap(
    ticks: NDArray[Any], indices: NDArray[np.int64], given: Given, start: int, stop: int
) -> tuple[int, Gap] | None:
    for i in range(start + 1, stop):
        before = int(ticks["servo_tick"][i - 1])
        missing = int(indices[i] - indices[i - 1]) - 1
        if missing:
            return i, Gap("tick", int(indices[i - 1]) + 1, missing, before)
        for ring in COUNTED:
            lost = given.lost(ring, ticks[i], ticks[i - 1])
            if lost:
                return i, Gap(ring, lost[0], len(lost), before)
    return None


def _own(record: Any) -> NDArray[Any]:
    """Copy a record out as a 0-d array, as a ring hands it out."""
    return np.array(record)


def difference(recorded: Any, decided: Any, prefix: str = "") -> str | None:
    """Return the name of the first field whose bytes differ, such as `command.position[3]`; None if none does."""
    for name in recorded.dtype.names:
        if name in MEASURED:
            continue
        ours, theirs = np.asarray(decided[name]), np.asarray(recorded[name])
        if ours.tobytes() == theirs.tobytes():
            continue
        path = f"{prefix}{name}"
        flat = zip(np.atleast_1d(theirs).ravel(), np.atleast_1d(ours).ravel(), strict=True)
        for i, (a, b) in enumerate(flat):
            place = path if theirs.ndim == 0 else f"{path}[{i}]"
            if theirs.dtype.names is None:
                if a.tobytes() != b.tobytes():
                    return place
            elif (inner := difference(a, b, f"{place}.")) is not None:
                return inner
    return None
