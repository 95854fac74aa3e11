"""The client's decisions, pure: when to ask for a chunk, with which prefix, and what an answer is worth.

A request is about the moment `obs_tick`; its answer can act from the tick after the one in which it is received.
That distance is the delay, in ticks really consumed, and what the forecast learns; where the answer comes in parts, the
delay of the first actions that are taken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import MILLISECONDS_MAX
from runtime.control.forecast import DelayForecast
from runtime.control.merge import MERGES
from runtime.control.schedule import RequestScheduler
from runtime.control.strategy import Execution, Strategy, plan_execution
from runtime.errors import UsageError
from runtime.inference import wire
from runtime.inference.client.ask import Ask, Outcome, chunk_record, request_record
from runtime.inference.client.parts import Delays, lasts
from runtime.inference.client.terms import NOTHING, choose, terms_for
from runtime.inference.pacing import Pacing
from runtime.layout import RIG_DOF
from runtime.records import CLIENT_STATUS, TEXT_BYTES, VIEW_PAST_TICKS
from runtime.shm import blank
from runtime.states import Condition, Link, Verdict

OBSERVATION_NS: Final = 50 * NS_PER_MS
"""Age of an observation when it is sent, for the forecast before the first answer: a frame and its rendering."""
RETRY_NS: Final = 100 * NS_PER_MS
"""Pause after a request that the server could not answer."""
START_NS: Final = 500 * NS_PER_MS
"""How long the control process may take to start an epoch on its first chunk before another is asked for."""
VIEW_STALE_NS: Final = 100 * NS_PER_MS
"""A timeline that is not renewed for this long belongs to a control process that is gone."""


class ClientCore:
    """State of one client: the requests under way, the forecast, the counters.

    `execution` says, once a schema is agreed, how its chunks are executed under the expected delay; `pacing` is between
    its steps and the ticks of the rig. `allow_slow`: the task may be done at less than full speed. `observation_ns`:
    how old an observation is when it is sent. `chunks` and `requests` are how many an earlier client of the same run
    has written: numbers go on from there.
    """

    def __init__(
        self,
        base: TickBase,
        merge: str,
        deadline_ns: int,
        *,
        allow_slow: bool = False,
        observation_ns: int = OBSERVATION_NS,
        chunks: int = 0,
        requests: int = 0,
    ) -> None:
        self._base = base
        self._deadline_ns = deadline_ns
        self._allow_slow = allow_slow
        self._observation_ns = observation_ns
        self._merge = merge
        self._halts = MERGES[merge].stops
        self._delays = Delays()
        self.execution: Execution | None = None
        self._schema: wire.Schema | None = None
        self._condition = Condition.PLAIN
        self._scheduler: RequestScheduler | None = None
        self.pacing = Pacing()
        self._flights: dict[int, Ask] = {}
        self._request_seq = requests
        self._chunk_id = chunks
        self._epoch = 0
        self.episode = 0
        """How many epochs there have been: a control process that is started anew counts its own from 0 again."""
        self._epoch_ns = 0
        self._last_tick: int | None = None
        self._pause_until_ns = 0
        self._start_by_ns = 0
        self._status: Any = blank(CLIENT_STATUS)
        self.near = False
        """Whether only the near part of a chunk is executed: its far end is not trusted."""

    @property
    def text(self) -> str:
        """How chunks are executed, in a sentence; empty before a schema is agreed."""
        return "" if self.execution is None else self.execution.text

    @property
    def chunk_ticks(self) -> int:
        """How long a chunk of the policy lasts, whatever is executed of it; 0 before a schema is agreed."""
        return 0 if self.execution is None else self.execution.horizon_ticks

    @property
    def forecast(self) -> DelayForecast:
        """The forecast that is committed for."""
        return self._delays.first

    @property
    def in_flight(self) -> int:
        """How many answers are awaited."""
        return len(self._flights)

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return int(self._status["requests"])

    def open(self, schema: wire.Schema) -> None:
        """Work under an agreed schema from now on; after a reconnection the forecast goes on as it was.

        Raises:
            UsageError: the policy can do nothing of what the merge needs, or no answer of it would be in time.
        """
        deadline_ms, latency_ms = self._deadline_ns / NS_PER_MS, schema.latency_ms
        if latency_ms >= deadline_ms:
            remedy = f"set request_deadline_ms in the rig's file to {min(2 * latency_ms, MILLISECONDS_MAX):.0f}"
            if latency_ms >= MILLISECONDS_MAX:
                remedy = f"no rig waits for longer than {MILLISECONDS_MAX:.0f}"
            raise UsageError(
                f"policy {schema.policy!r} answers in {latency_ms:.0f} ms, and this rig gives a request up "
                f"after {deadline_ms:.0f}; {remedy}"
            )
        if self._schema is None:
            self._condition = choose(self._merge, schema.conditions, remembers=schema.stateful)
            expected_ns = round(schema.latency_ms * NS_PER_MS) + self._observation_ns
            delay_ticks = -(-expected_ns // self._base.policy_period_ns) + 1
            self._delays = Delays(delay_ticks, parts=schema.parts and MERGES[self._merge].in_parts)
            prefix_max = schema.prefix_max if self._condition is Condition.PREFIX else schema.horizon
            self.execution = plan_execution(
                schema.horizon,
                delay_ticks,
                NS_PER_S // self._base.policy_period_ns,
                schema.execute_steps,
                prefix_max=prefix_max,
                concurrency=schema.concurrency,
                allow_slow=self._allow_slow,
            )
            self._scheduler = RequestScheduler.of(
                self.execution, schema.execute_steps, prefix_max, MERGES[self._merge].commit_ticks
            )
            self.pacing = Pacing(self.execution.stretch)
            self._halts = self._halts or self.execution.strategy is Strategy.PAUSE
        self._schema = schema

    def follow(self, view: NDArray[Any]) -> None:
        """Take note of the timeline: a new epoch makes all that was observed before it old."""
        if int(view["epoch"]) != self._epoch:
            self._epoch = int(view["epoch"])
            self.episode += 1
            self._epoch_ns = int(view["t_ns"])
            self._last_tick = None
            self._pause_until_ns = self._start_by_ns = 0

    def wants(self, view: NDArray[Any], now_ns: int) -> bool:
        """Return whether a request might be sent now, before the observation is looked at."""
        return (
            self._schema is not None
            and bool(view["engaged"])
            and now_ns - int(view["t_ns"]) < VIEW_STALE_NS
            # A plan that has not taken the last answer in yet would have it asked for again, and shorter.
            and int(view["chunks_seen"]) >= self._chunk_id
            and now_ns >= self._pause_until_ns
            and not self._busy(now_ns)
            and (not self._halts or not view["started"] or _stands(view))
        )

    def _busy(self, now_ns: int) -> bool:
        """Whether as many answers as may be are awaited, and may still come in time."""
        if self._scheduler is None or any(ask.cold for ask in self._flights.values()):
            return bool(self._flights)
        under_way = [ask.obs_tick for ask in self._flights.values()]
        awaited = self._scheduler.awaited(under_way, self._base.tick(now_ns), self._delays.whole.forecast_ticks)
        return len(awaited) >= self._scheduler.in_flight_max

    def plan(self, view: NDArray[Any], t_obs_ns: int, now_ns: int) -> Ask | None:
        """Return the request to send now about what is observed at `t_obs_ns`, or None."""
        schema, scheduler = self._schema, self._scheduler
        if schema is None or scheduler is None or t_obs_ns < self._epoch_ns:
            return None
        # What is seen during a tick informs the actions from the next one on. Labelled with the tick under way, the
        # arms would always look a tick ahead of the prefix, because targets between ticks are interpolated.
        obs_tick = self._base.tick(t_obs_ns) + 1
        cold = not view["started"]
        if cold and (now_ns < self._start_by_ns or self._flights):
            return None
        terms, whole_ticks, first = NOTHING, self._delays.whole.forecast_ticks, self._delays.first
        halted = self._halts and not cold
        if not (cold or halted):
            plan = scheduler.decide(
                now_tick=self._base.tick(now_ns),
                end_tick=int(view["end_tick"]),
                obs_tick=obs_tick,
                last_obs_tick=self._last_tick,
                forecast_ticks=whole_ticks,
                commit_ticks=first.typical_ticks if MERGES[self._merge].commits_typical else first.forecast_ticks,
                in_flight=[ask.obs_tick for ask in self._flights.values()],
            )
            if plan is None:
                return None
            terms = terms_for(
                self._condition,
                view,
                obs_tick,
                plan.prefix_len,
                horizon=schema.horizon,
                tick_s=self._base.policy_period_ns / NS_PER_S,
            )
        return Ask(
            request_seq=self._request_seq + 1,
            obs_seq=self._request_seq + 1,
            epoch=self._epoch,
            obs_tick=obs_tick,
            cold=cold,
            halted=halted,
            terms=terms,
            planned=self.pacing.to_policy(terms.planned),
            committed_steps=self.pacing.to_steps(terms.committed) if terms.committed else 0,
            forecast_ticks=first.forecast_ticks,
            execute_ticks=scheduler.spacing(whole_ticks),
            whole_ticks=whole_ticks,
            # At a standstill the whole is waited for: it begins when it comes, and its parts would not know when.
            parts=schema.parts and MERGES[self._merge].in_parts and not (cold or halted),
            t_obs_ns=t_obs_ns,
            t_request_ns=now_ns,
        )

    def sent(self, ask: Ask, *, t_frame_ns: int = 0, t_sent_ns: int = 0) -> None:
        """Say that a planned request is under way; the times are kept for its record."""
        self._flights[ask.request_seq] = replace(ask, t_frame_ns=t_frame_ns, t_sent_ns=t_sent_ns)
        self._request_seq = ask.request_seq
        self._last_tick = ask.obs_tick
        self._status["requests"] += 1

    def answer(self, message: wire.Message | None, arrays: wire.ArrayMap, now_ns: int) -> list[Outcome]:
        """Judge a message of the session, None for one that was not understood.

        An answer to anything but a request under way is dropped and counted. Requests older than the one that is
        answered are given up: what they would bring is older than what there is.
        """
        flight = self._answered(message)
        if flight is None:
            return []
        if isinstance(message, wire.Chunk) and not message.final:
            return self._part(flight, message, arrays, now_ns)
        if not isinstance(message, wire.Chunk):
            failed = isinstance(message, wire.Error | wire.Superseded)
            self._pause_until_ns = now_ns + RETRY_NS if failed else self._pause_until_ns
            return [self._end(flight, Verdict.ERROR if failed else Verdict.INVALID, now_ns)]
        return [*self._pass(flight, now_ns), self._judge(flight, message, arrays, now_ns)]

    def _pass(self, flight: Ask, now_ns: int) -> list[Outcome]:
        passed = [ask for ask in self._flights.values() if ask.request_seq < flight.request_seq]
        for ask in passed:
            self._delays.lost(ask, self._delay_ticks(ask, now_ns))
        return [self._end(ask, Verdict.TIMEOUT, now_ns) for ask in passed]

    def _answered(self, message: wire.Message | None) -> Ask | None:
        """Return the request under way that a message is about; one that names none is about the oldest."""
        oldest = next(iter(self._flights.values()), None)
        if isinstance(message, wire.Chunk):
            flight = self._flights.get(message.request_seq)
            if flight is not None and flight.obs_seq == message.obs_seq:
                return flight
            self._status["rejected"] += 1
            return None
        if isinstance(message, wire.Error | wire.Superseded):
            return self._flights.get(message.request_seq) if message.request_seq else oldest
        return oldest if message is None else None

    def expire(self, now_ns: int) -> list[Outcome]:
        """Give up the requests whose deadline has passed."""
        late = [ask for ask in self._flights.values() if now_ns - ask.t_request_ns >= self._deadline_ns]
        for ask in late:
            self._status["timeouts"] += 1
            self._delays.lost(ask, self._delay_ticks(ask, now_ns))
        return [self._end(ask, Verdict.TIMEOUT, now_ns) for ask in late]

    def lose(self, now_ns: int) -> list[Outcome]:
        """Give up every request: the connection they went by is gone."""
        return [self._end(ask, Verdict.ERROR, now_ns) for ask in list(self._flights.values())]

    def abandon(self, now_ns: int) -> list[Outcome]:
        """Give up the requests of an epoch that is over, so that the new one need not wait for their answers."""
        old = [ask for ask in self._flights.values() if ask.epoch != self._epoch]
        return [self._end(ask, Verdict.STALE, now_ns) for ask in old]

    def watch(self, now_ns: int) -> None:
        """Let the forecast learn from an answer that has not come yet: its delay is at least what was waited."""
        for ask in self._flights.values():
            if not ask.cold:
                self._delays.overdue(ask, self._delay_ticks(ask, now_ns))

    def _delay_ticks(self, ask: Ask, now_ns: int) -> int:
        return self._base.tick(now_ns) + 1 - ask.obs_tick

    def status(self, now_ns: int, link: Link, text: str, reconnects: int) -> NDArray[Any]:
        """Return the CLIENT_STATUS record of this moment."""
        record = self._status
        record["t_ns"] = now_ns
        record["link"] = link
        record["reconnects"] = reconnects
        if self.execution is not None:
            record["strategy"] = self.execution.strategy
            record["stretch"] = float(self.execution.stretch)
        record["forecast_ticks"] = self.forecast.forecast_ticks
        record["coverage_target"] = self.forecast.coverage_target
        record["covered"] = self.forecast.covered
        record["forecasts"] = self.forecast.count
        record["overprovision_ticks"] = self.forecast.overprovision_ticks
        record["text"] = text.encode()[:TEXT_BYTES]
        return np.array(record)

    def _part(self, flight: Ask, message: wire.Chunk, arrays: wire.ArrayMap, now_ns: int) -> list[Outcome]:
        """Take the first actions of an answer, once, where they last until its whole; what comes twice is passed over.

        The request goes on until its whole comes. A part that is none ends it: its server does not do what was agreed.
        """
        actions, horizon = arrays.get("actions"), 0 if self._schema is None else self._schema.horizon
        right = actions is not None and actions.ndim == 2 and 0 < len(actions) < horizon
        if actions is None or not (flight.parts and right and _fit(actions, len(actions))):
            return [self._end(flight, Verdict.INVALID, now_ns)]
        old = message.part < flight.heard or flight.early or flight.epoch != self._epoch
        self._flights[flight.request_seq] = heard = replace(flight, heard=max(flight.heard, message.part + 1))
        rows, delay_ticks = self._executed(actions), self._delay_ticks(flight, now_ns)
        if old or not lasts(flight, len(rows), self._base.tick(now_ns), self._delays.whole.forecast_ticks):
            return []
        self._delays.begun(flight, delay_ticks)
        self._flights[flight.request_seq] = replace(heard, early=delay_ticks, part_ticks=len(rows), t_part_ns=now_ns)
        return [*self._pass(flight, now_ns), Outcome(None, self._chunk(flight, rows, now_ns))]

    def _judge(self, flight: Ask, message: wire.Chunk, arrays: wire.ArrayMap, now_ns: int) -> Outcome:
        delay_ticks = self._delay_ticks(flight, now_ns)
        self._delays.done(flight, delay_ticks)
        self._status["latency_ms"] = (now_ns - flight.t_request_ns) / NS_PER_MS
        schema, actions = self._schema, arrays.get("actions")
        horizon = 0 if schema is None else schema.horizon
        if actions is None or not _fit(actions, horizon):
            verdict = Verdict.INVALID
        elif flight.epoch != self._epoch or flight.t_obs_ns < self._epoch_ns:
            verdict = Verdict.STALE
        else:
            verdict = Verdict.USED
        chunk = None
        if verdict is Verdict.USED and actions is not None:
            chunk = self._chunk(flight, self._executed(actions), now_ns)
            self._start_by_ns = now_ns + START_NS
        return self._end(flight, verdict, now_ns, message=message, delay_ticks=delay_ticks, chunk=chunk)

    def _executed(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """Return what is executed of a policy's chunk, at ticks; who halts does so before its far, uncertain end."""
        steps = np.asarray(actions, dtype=np.float64)
        if self._halts:
            steps = steps[: max(len(steps) // 2, 1)]
        ticks = self.pacing.to_ticks(steps)
        # As long as it takes to ask again and be answered at least, or the arms would halt between chunks.
        return ticks[: max(len(ticks) // 2, 2 * self._delays.whole.forecast_ticks + 1)] if self.near else ticks

    def _chunk(self, flight: Ask, actions: NDArray[Any], now_ns: int) -> NDArray[Any]:
        self._chunk_id += 1
        # A rig that stands still has lost nothing of the chunk: it begins when it arrives.
        starts = self._base.tick(now_ns) + 1 if flight.halted else flight.obs_tick + flight.terms.lead_ticks
        return chunk_record(flight, actions, now_ns, chunk_id=self._chunk_id, start_tick=starts, halts=self._halts)

    def _end(
        self,
        flight: Ask,
        verdict: Verdict,
        now_ns: int,
        *,
        message: wire.Chunk | None = None,
        delay_ticks: int = 0,
        chunk: NDArray[Any] | None = None,
    ) -> Outcome:
        del self._flights[flight.request_seq]
        self._status["used" if verdict is Verdict.USED else "rejected"] += 1
        return Outcome(request_record(flight, verdict, now_ns, message, delay_ticks), chunk)


def _fit(actions: NDArray[Any], rows: int) -> bool:
    return actions.shape == (rows, RIG_DOF) and bool(np.isfinite(actions).all())


def _stands(view: NDArray[Any]) -> bool:
    """Whether the plan has run out and the rig stands still at its end."""
    rest = view["actions"][VIEW_PAST_TICKS - 1 :]
    return bool((rest == rest[0]).all())
