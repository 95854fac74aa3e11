"""A live run decided again in the lab: the control process's ticks, and the client's requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.blackbox import Run
from runtime.clock import NS_PER_MS
from runtime.inference import wire
from runtime.inference.client.ask import Ask
from runtime.inference.client.core import ClientCore
from runtime.replay import decisions
from runtime.states import Verdict


@dataclass(frozen=True)
class Retrace:
    """How many of a run's requests were decided again, and the first that came out differently."""

    requests: int
    again: int
    first_difference: str | None


def retrace(run: Run, schema: wire.Schema) -> Retrace:
    """Make the client's decisions of a run again, from its recorded answers and the control process's decisions.

    The timelines that the client saw are not recorded: they are what the control process decides, which is made again
    too. `schema` is what the run's client and server had agreed.
    """
    spec = run.spec
    made = run.records["request"]
    core = ClientCore(
        spec.tick_base(run.t0_ns),
        spec.merge,
        round(spec.rig.request_deadline_ms * NS_PER_MS),
        allow_slow=spec.allow_slow,
        requests=int(made["request_seq"][0]) - 1 if len(made) else 0,
    )
    core.open(schema)
    chunks = {(int(chunk["request_seq"]), int(chunk["t_received_ns"])): chunk for chunk in run.records["chunk"]}
    seen = _Views(outputs.view for outputs in decisions(run))
    again, first = 0, None
    for moment_ns, request, moment in _moments(made):
        for view in seen.until(moment_ns):
            core.follow(view)
            core.watch(int(view["t_ns"]))
        if moment is not Moment.MADE:
            chunk = chunks.get((int(request["request_seq"]), moment_ns))
            _answer(core, request, chunk, moment_ns, final=moment is Moment.ENDED)
            continue
        ask = _plan(core, seen, request)
        if ask is None:
            first = first or f"request {int(request['request_seq'])} is not made again"
            continue
        core.sent(ask)
        again += 1
    return Retrace(len(made), again, first)


class _Views:
    """The timelines of a run in order, and the last two that were passed."""

    def __init__(self, views: Iterator[NDArray[Any]]) -> None:
        self._views = views
        self._next: NDArray[Any] | None = next(views, None)
        self.last: list[NDArray[Any]] = []

    def until(self, t_ns: int) -> Iterator[NDArray[Any]]:
        """Pass on to the timelines of up to a moment."""
        while self._next is not None and int(self._next["t_ns"]) <= t_ns:
            self.last = [*self.last[-1:], self._next]
            yield self._next
            self._next = next(self._views, None)


class Moment(Enum):
    """What happened to a request: it was made, its first actions came, it was answered or given up."""

    MADE = auto()
    BEGUN = auto()
    ENDED = auto()


def _moments(requests: NDArray[Any]) -> list[tuple[int, Any, Moment]]:
    """Return what happened to the requests and when, in order."""
    moments = []
    for request in requests:
        moments.append((int(request["t_request_ns"]), request, Moment.MADE))
        moments.append((int(request["t_received_ns"]), request, Moment.ENDED))
        if int(request["t_part_ns"]):
            moments.append((int(request["t_part_ns"]), request, Moment.BEGUN))
    return sorted(moments, key=lambda moment: moment[0])


def _plan(core: ClientCore, seen: _Views, request: Any) -> Ask | None:
    """Return the client's decision at the time of a request, where it is the one that was made then.

    It was made on the timeline of the tick then under way or, if that was not published yet, of the one before.
    """
    now_ns = int(request["t_request_ns"])
    for view in reversed(seen.last):
        ask = core.plan(view, int(request["t_capture_ns"]), now_ns) if core.wants(view, now_ns) else None
        if ask is not None and _same(ask, request):
            return ask
    return None


def _same(ask: Ask, request: Any) -> bool:
    ours = (ask.request_seq, ask.obs_tick, ask.cold, ask.terms.committed, ask.forecast_ticks)
    names = ("request_seq", "obs_tick", "cold", "prefix_len", "forecast_ticks")
    return ours == tuple(int(request[name]) for name in names)


def _answer(core: ClientCore, request: Any, chunk: Any, now_ns: int, *, final: bool) -> None:
    """Give the client the answer that it had, or the part that it took; one not used is given as an empty one."""
    used = (int(request["verdict"]) == Verdict.USED or not final) and chunk is not None
    arrays = {"actions": np.array(chunk["actions"][: int(chunk["horizon"])])} if used else {}
    message = wire.Chunk(
        session="lab",
        request_seq=int(request["request_seq"]),
        obs_seq=int(request["obs_seq"]),
        server_ns=int(request["server_ns"]),
        infer_ns=int(request["infer_ns"]),
        final=final,
    )
    core.answer(message, arrays, now_ns)
