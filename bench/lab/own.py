"""This runtime's client and a policy server, between two servo ticks of the lab."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bench.lab.episode import Inference, Trace
from bench.lab.observer import Observer
from bench.lab.rig import tick_base
from bench.lab.server import Job, LabServer
from runtime.clock import NS_PER_MS
from runtime.config import RigConfig
from runtime.inference import wire
from runtime.inference.backends.base import ModelInputs
from runtime.inference.client.ask import Ask, Outcome
from runtime.inference.client.core import ClientCore
from runtime.inference.client.corrector import Amender, Corrector
from runtime.inference.sampler import Query
from runtime.states import Verdict


class OwnDriver:
    """The client's decisions, live, against a server on the virtual clock; observations have no age."""

    def __init__(
        self,
        rig: RigConfig,
        schema: wire.Schema,
        merge: str,
        observer: Observer,
        server: LabServer,
        seed: int,
        *,
        corrector: Corrector | None = None,
    ) -> None:
        self.merge = merge
        self._base = tick_base(rig)
        self._horizon = schema.horizon
        self._observer = observer
        self._server = server
        self._seed = seed
        deadline_ns = round(rig.request_deadline_ms * NS_PER_MS)
        self._client = ClientCore(self._base, merge, deadline_ns, observation_ns=0)
        self._client.open(schema)
        forecast = self._client.forecast
        for latency_ns in server.earlier_ns:
            forecast.observe(latency_ns // self._base.policy_period_ns)
        self._earlier = forecast.count, forecast.covered, forecast.overprovision_ticks
        self._amender = None if corrector is None else Amender(self._base, corrector)
        self._amendments: list[NDArray[Any]] = []
        self._arrived: list[NDArray[Any]] = []
        self._observed: dict[int, int] = {}
        self._delays_ticks: list[int] = []

    def turn(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:
        """Take what arrived, ask if it is time; an answer without delay arrives at once."""
        client = self._client
        client.follow(view)
        client.watch(now_ns)
        self._take(client.abandon(now_ns))
        self._receive(now_ns)
        self._take(client.expire(now_ns))
        if client.wants(view, now_ns):
            ask = client.plan(view, now_ns, now_ns)
            if ask is not None:
                self._server.submit(Job(ask.request_seq, self._inputs(ask), self._query(ask), now_ns))
                client.sent(ask)
                self._receive(now_ns)
        arrived, self._arrived = self._arrived, []
        return arrived

    def amend(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:
        """Look at the plan again where it is time; what is made of it arrives a servo tick later."""
        arrived, self._amendments = self._amendments, []
        if self._amender is not None and self._amender.moment_ns(view, now_ns) is not None:
            made = self._amender.amend(view, self._observer.look().observation(now_ns), now_ns)
            self._amendments = [] if made is None else [made]
        return arrived

    def note(self, tick: NDArray[Any], trace: Trace) -> None:
        """Note the seam, and the age of the observation behind a policy tick's action."""
        if tick["switched"]:
            trace.seam(float(tick["seam_jump_rad"]))
        observed = self._observed.get(int(tick["chunk_id"]))
        if observed is not None and int(tick["servo_tick"]) % self._base.ratio == 0:
            age_ticks = int(tick["tick"]) - observed
            trace.ages_ms.append(age_ticks * self._base.policy_period_ns / NS_PER_MS)

    @property
    def inference(self) -> Inference:
        """What the requests came to."""
        forecast = self._client.forecast
        count, covered, overprovision_ticks = self._earlier
        return Inference(
            requests=self._client.requests,
            delays_ticks=tuple(self._delays_ticks),
            forecasts=forecast.count - count,
            covered=forecast.covered - covered,
            overprovision_ticks=forecast.overprovision_ticks - overprovision_ticks,
        )

    def _inputs(self, ask: Ask) -> ModelInputs:
        seen, terms = self._observer.look(), ask.terms
        velocity = self._client.pacing.velocity(seen.velocity if terms.velocity is None else terms.velocity)
        return seen.inputs(ask.planned, self._horizon, position=terms.state, velocity=velocity)

    def _query(self, ask: Ask) -> Query:
        return Query(ask.terms.asked, ask.committed_steps, ask.execute_ticks, (self._seed, ask.request_seq))

    def _receive(self, now_ns: int) -> None:
        for answer in self._server.poll(now_ns):
            message = wire.Chunk(
                session="lab", request_seq=answer.request_seq, obs_seq=answer.request_seq, server_ns=0, infer_ns=0
            )
            self._take(self._client.answer(message, {"actions": answer.actions}, now_ns))

    def _take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            request = outcome.request
            if request is not None and request["verdict"] == Verdict.USED and not request["cold"]:
                self._delays_ticks.append(int(request["delay_ticks"]))
            if outcome.chunk is not None:
                self._arrived.append(outcome.chunk)
                self._observed[int(outcome.chunk["chunk_id"])] = self._base.tick(int(outcome.chunk["t_obs_ns"]))
