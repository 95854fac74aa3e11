"""The client's decisions, pure: when to ask for a chunk, with which prefix, and what an answer is worth.

A request is about the moment `obs_tick`; its answer can act from the tick after the one in which it is received.
That distance is the delay, in ticks really consumed, and what the forecast learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.control.forecast import DelayForecast
from runtime.control.schedule import RequestScheduler, feasibility
from runtime.inference import wire
from runtime.layout import RIG_DOF
from runtime.records import CHUNK, CLIENT_STATUS, REQUEST, TEXT_BYTES, VIEW_PAST_TICKS, VIEW_TICKS
from runtime.shm import blank
from runtime.states import Link, Verdict

PREFIX_MERGES: Final = frozenset({"prefix"})
"""Merges that keep the committed prefix, so that the policy is told of it."""
OBSERVATION_NS: Final = 50 * NS_PER_MS
"""Age of an observation when it is sent, for the forecast before the first answer: a frame and its rendering."""
RETRY_NS: Final = 100 * NS_PER_MS
"""Pause after a request that the server could not answer."""
START_NS: Final = 500 * NS_PER_MS
"""How long the control process may take to start an epoch on its first chunk before another is asked for."""
VIEW_STALE_NS: Final = 100 * NS_PER_MS
"""A timeline that is not renewed for this long belongs to a control process that is gone."""


@dataclass(frozen=True)
class Ask:
    """A request to be sent: `prefix` float64 (prefix_len, 14), the actions of `obs_tick` and after.

    `cold` is the first of an epoch, asked for at standstill: without prefix, its delay is not learnt.
    """

    request_seq: int
    obs_seq: int
    epoch: int
    obs_tick: int
    cold: bool
    prefix: NDArray[np.float64]
    forecast_ticks: int
    t_obs_ns: int
    t_request_ns: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of the request in flight: its REQUEST record and, where the answer is used, the CHUNK."""

    request: NDArray[Any]
    chunk: NDArray[Any] | None = None


class ClientCore:
    """State of one client: the request in flight, the forecast, the counters.

    `feasibility` says in a sentence, once a schema is agreed, whether its chunk can carry the expected delay.
    `chunks` and `requests` are how many an earlier client of the same run has written: numbers go on from there.
    """

    def __init__(self, base: TickBase, merge: str, deadline_ns: int, *, chunks: int = 0, requests: int = 0) -> None:
        self._base = base
        self._deadline_ns = deadline_ns
        self._conditioned = merge in PREFIX_MERGES
        self.forecast = DelayForecast()
        self.feasibility = ""
        self._schema: wire.Schema | None = None
        self._scheduler: RequestScheduler | None = None
        self._flight: Ask | None = None
        self._request_seq = requests
        self._chunk_id = chunks
        self._epoch = 0
        self._epoch_ns = 0
        self._last_tick: int | None = None
        self._pause_until_ns = 0
        self._start_by_ns = 0
        self._status: Any = blank(CLIENT_STATUS)

    @property
    def in_flight(self) -> bool:
        """Whether an answer is awaited."""
        return self._flight is not None

    def open(self, schema: wire.Schema) -> None:
        """Work under an agreed schema from now on; after a reconnection the forecast goes on as it was."""
        if self._schema is None:
            expected_ns = round(schema.latency_ms * NS_PER_MS) + OBSERVATION_NS
            delay_ticks = -(-expected_ns // self._base.policy_period_ns) + 1
            self.forecast = DelayForecast(delay_ticks)
            self._scheduler = RequestScheduler(
                horizon=schema.horizon,
                execute_steps=schema.execute_steps,
                prefix_max=schema.prefix_max if self._conditioned else 0,
            )
            policy_hz = NS_PER_S // self._base.policy_period_ns
            self.feasibility = feasibility(schema.horizon, delay_ticks, policy_hz, schema.execute_steps).text
        self._schema = schema

    def follow(self, view: NDArray[Any]) -> None:
        """Take note of the timeline: a new epoch makes all that was observed before it old."""
        if int(view["epoch"]) != self._epoch:
            self._epoch = int(view["epoch"])
            self._epoch_ns = int(view["t_ns"])
            self._last_tick = None
            self._pause_until_ns = self._start_by_ns = 0

    def wants(self, view: NDArray[Any], now_ns: int) -> bool:
        """Return whether a request might be sent now, before the observation is looked at."""
        return (
            self._schema is not None
            and bool(view["engaged"])
            and now_ns - int(view["t_ns"]) < VIEW_STALE_NS
            and self._flight is None
            # A plan that has not taken the last answer in yet would have it asked for again, and shorter.
            and int(view["chunks_seen"]) >= self._chunk_id
            and now_ns >= self._pause_until_ns
        )

    def plan(self, view: NDArray[Any], t_obs_ns: int, now_ns: int) -> Ask | None:
        """Return the request to send now about what is observed at `t_obs_ns`, or None."""
        schema, scheduler = self._schema, self._scheduler
        if schema is None or scheduler is None or t_obs_ns < self._epoch_ns:
            return None
        # What is seen during a tick informs the actions from the next one on. Labelled with the tick under way, the
        # arms would always look a tick ahead of the prefix, because targets between ticks are interpolated.
        obs_tick = self._base.tick(t_obs_ns) + 1
        cold = not view["started"]
        if cold and now_ns < self._start_by_ns:
            return None
        prefix_len, forecast_ticks = 0, self.forecast.forecast_ticks
        if not cold:
            plan = scheduler.decide(
                now_tick=self._base.tick(now_ns),
                end_tick=int(view["end_tick"]),
                obs_tick=obs_tick,
                last_obs_tick=self._last_tick,
                forecast_ticks=forecast_ticks,
                in_flight=self._flight is not None,
            )
            if plan is None:
                return None
            prefix_len = plan.prefix_len
        return Ask(
            request_seq=self._request_seq + 1,
            obs_seq=self._request_seq + 1,
            epoch=self._epoch,
            obs_tick=obs_tick,
            cold=cold,
            prefix=committed(view, obs_tick, prefix_len),
            forecast_ticks=forecast_ticks,
            t_obs_ns=t_obs_ns,
            t_request_ns=now_ns,
        )

    def sent(self, ask: Ask) -> None:
        """Say that a planned request is under way."""
        self._flight = ask
        self._request_seq = ask.request_seq
        self._last_tick = ask.obs_tick
        self._status["requests"] += 1

    def answer(self, message: wire.Message | None, arrays: wire.ArrayMap, now_ns: int) -> Outcome | None:
        """Judge a message of the session, None for one that was not understood.

        An answer to anything but the request in flight is dropped and counted.
        """
        flight = self._flight
        if isinstance(message, wire.Chunk):
            if flight is None or (message.request_seq, message.obs_seq) != (flight.request_seq, flight.obs_seq):
                self._status["rejected"] += 1
                return None
            return self._judge(flight, message, arrays, now_ns)
        if flight is None:
            return None
        if message is None:
            return self._end(flight, Verdict.INVALID, now_ns)
        if isinstance(message, wire.Error | wire.Superseded) and message.request_seq in (0, flight.request_seq):
            self._pause_until_ns = now_ns + RETRY_NS
            return self._end(flight, Verdict.ERROR, now_ns)
        return None

    def expire(self, now_ns: int) -> Outcome | None:
        """Give up the request in flight once its deadline has passed."""
        flight = self._flight
        if flight is None or now_ns - flight.t_request_ns < self._deadline_ns:
            return None
        self._status["timeouts"] += 1
        return self._end(flight, Verdict.TIMEOUT, now_ns)

    def lose(self, now_ns: int) -> Outcome | None:
        """Give up the request in flight: the connection it went by is gone."""
        return None if self._flight is None else self._end(self._flight, Verdict.ERROR, now_ns)

    def abandon(self, now_ns: int) -> Outcome | None:
        """Give up a request of an epoch that is over, so that the new one need not wait for its answer."""
        flight = self._flight
        if flight is None or flight.epoch == self._epoch:
            return None
        return self._end(flight, Verdict.STALE, now_ns)

    def status(self, now_ns: int, link: Link, text: str, reconnects: int) -> NDArray[Any]:
        """Return the CLIENT_STATUS record of this moment."""
        record = self._status
        record["t_ns"] = now_ns
        record["link"] = link
        record["reconnects"] = reconnects
        record["forecast_ticks"] = self.forecast.forecast_ticks
        record["coverage_target"] = self.forecast.coverage_target
        record["covered"] = self.forecast.covered
        record["forecasts"] = self.forecast.count
        record["overprovision_ticks"] = self.forecast.overprovision_ticks
        record["text"] = text.encode()[:TEXT_BYTES]
        return np.array(record)

    def _judge(self, flight: Ask, message: wire.Chunk, arrays: wire.ArrayMap, now_ns: int) -> Outcome:
        delay_ticks = self._base.tick(now_ns) + 1 - flight.obs_tick
        self.forecast.observe(delay_ticks, flight.forecast_ticks, cold=flight.cold)
        self._status["latency_ms"] = (now_ns - flight.t_request_ns) / NS_PER_MS
        schema, actions = self._schema, arrays.get("actions")
        horizon = 0 if schema is None else schema.horizon
        if actions is None or actions.shape != (horizon, RIG_DOF) or not np.isfinite(actions).all():
            verdict = Verdict.INVALID
        elif flight.epoch != self._epoch or flight.t_obs_ns < self._epoch_ns:
            verdict = Verdict.STALE
        elif not flight.cold and delay_ticks >= horizon:
            verdict = Verdict.LATE
        else:
            verdict = Verdict.USED
        chunk = None
        if verdict is Verdict.USED and actions is not None:
            chunk = self._chunk(flight, actions, now_ns)
            self._start_by_ns = now_ns + START_NS
        return self._end(flight, verdict, now_ns, message=message, delay_ticks=delay_ticks, chunk=chunk)

    def _chunk(self, flight: Ask, actions: NDArray[Any], now_ns: int) -> NDArray[Any]:
        self._chunk_id += 1
        record: Any = blank(CHUNK)
        record["chunk_id"] = self._chunk_id
        record["request_seq"] = flight.request_seq
        record["obs_seq"] = flight.obs_seq
        record["epoch"] = flight.epoch
        record["start_tick"] = flight.obs_tick
        record["cold"] = flight.cold
        record["prefix_len"] = len(flight.prefix)
        record["horizon"] = len(actions)
        record["t_obs_ns"] = flight.t_obs_ns
        record["t_request_ns"] = flight.t_request_ns
        record["t_received_ns"] = now_ns
        record["actions"][: len(actions)] = actions
        return np.array(record)

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
        self._flight = None
        self._status["used" if verdict is Verdict.USED else "rejected"] += 1
        record: Any = blank(REQUEST)
        record["request_seq"] = flight.request_seq
        record["obs_seq"] = flight.obs_seq
        record["epoch"] = flight.epoch
        record["obs_tick"] = flight.obs_tick
        record["cold"] = flight.cold
        record["prefix_len"] = len(flight.prefix)
        record["forecast_ticks"] = flight.forecast_ticks
        record["delay_ticks"] = delay_ticks
        record["verdict"] = verdict
        record["t_capture_ns"] = flight.t_obs_ns
        record["t_request_ns"] = flight.t_request_ns
        if message is not None:
            record["t_received_ns"] = now_ns
            record["server_ns"] = message.server_ns
            record["infer_ns"] = message.infer_ns
        return Outcome(np.array(record), chunk)


def committed(view: NDArray[Any], obs_tick: int, length: int) -> NDArray[np.float64]:
    """Return the actions of a TIMELINE_VIEW for the ticks from `obs_tick` on, shape (n, 14), n at most `length`.

    Shorter where the plan ends, and empty when the view does not reach back to `obs_tick`.
    """
    first = obs_tick - int(view["tick"]) + VIEW_PAST_TICKS
    if not 0 <= first < VIEW_TICKS:
        return np.empty((0, RIG_DOF))
    planned = min(int(view["end_tick"]) - obs_tick, VIEW_TICKS - first)
    return np.array(view["actions"][first : first + max(min(length, planned), 0)])
