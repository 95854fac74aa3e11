"""Another project's client and server between two servo ticks of the lab: its own classes decide each action."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.decoupling.peers.base import Peer, Query
from bench.decoupling.peers.registry import PeerKind
from bench.lab.episode import JOINT_INDEX, Inference, Trace
from bench.lab.observer import Observer, Seen
from bench.lab.rig import tick_base
from bench.lab.server import DelayProcess
from runtime.clock import NS_PER_MS
from runtime.config import RigConfig
from runtime.inference.sampler import Query as Asked
from runtime.inference.sampler import Sampler
from runtime.inference.server.latency import LatencyModel
from runtime.layout import RIG_DOF
from runtime.records import CHUNK
from runtime.shm import blank
from runtime.states import Condition

Array = NDArray[np.float64]


_NO_PLAN: Final = np.empty((0, RIG_DOF))


class ForeignDriver:
    """A peer is stepped at the policy rate; its action of a tick is planned for the next, as a chunk of one.

    Below that everything is ours: the smooth target between ticks, the limits, the guardians. Where the peer sends
    nothing, its last action is held and the tick counts as starved. Its seams are measured where a chunk comes to
    act, against the straight continuation of its last two actions.
    """

    merge: str = "naive"

    def __init__(
        self,
        rig: RigConfig,
        kind: PeerKind,
        observer: Observer,
        sampler: Sampler,
        latency: LatencyModel,
        seed: int,
        horizon: int,
    ) -> None:
        self._base = tick_base(rig)
        self._observer = observer
        self._sampler = sampler
        self._horizon = horizon
        self._seed = seed
        self._delays = DelayProcess(latency, seed)
        self._peer: Peer = kind.make(self._infer, horizon)
        self._seen: dict[int, Seen] = {}
        self._requests = 0
        self._due_ns: int | None = None
        self._asked_tick = self._acting_tick = 0
        self._lost = False
        self._actions: list[Array] = []
        self._fed = 0
        self._seam = False
        self._starved = False
        self._first_tick: int | None = None
        self._delays_ticks: list[int] = []

    def turn(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:
        """Step the peer once a policy tick, from the moment the control process wants chunks."""
        if not view["engaged"] or self._base.servo_tick(now_ns) % self._base.ratio:
            return []
        tick = self._base.tick(now_ns)
        if self._first_tick is None:
            self._first_tick = tick
        own_tick = tick - self._first_tick
        self._seen[own_tick] = self._observer.look()
        action = self._pass(own_tick, now_ns)
        self._starved = action is None
        if action is None and not self._actions:
            return []
        self._actions = [*self._actions[-2:], self._actions[-1] if action is None else action]
        return [self._chunk(view, tick, now_ns)]

    def amend(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:  # noqa: ARG002
        """Nothing: no peer corrects what it executes."""
        return []

    def _pass(self, tick: int, now_ns: int) -> Array | None:
        """Let a due answer arrive, run the peer's control loop once, let its policy take up what waits."""
        self._arrive(tick, now_ns)
        action = self._peer.step(tick, self._seen[tick].position)
        if self._due_ns is None and self._peer.begin(tick):
            latency_ns = self._delays.next(now_ns)
            self._lost = latency_ns is None
            self._due_ns = now_ns + (self._delays.median_ns if latency_ns is None else latency_ns)
            if self._due_ns <= now_ns:
                self._arrive(tick, now_ns)
                action = (
                    self._peer.step(tick, self._seen[tick].position)
                    if action is None and self._peer.blocking
                    else action
                )
        return action

    def _arrive(self, tick: int, now_ns: int) -> None:
        if self._due_ns is None or self._due_ns > now_ns:
            return
        self._due_ns = None
        if self._lost:
            self._peer.lose(tick)
            return
        self._peer.deliver(tick)
        self._delays_ticks.append(tick - self._asked_tick)
        self._acting_tick, self._seam = self._asked_tick, True

    def _infer(self, query: Query) -> Array:
        """The policy: the chunk about the observation of a tick, guided by what the peer has left of its plan."""
        self._requests += 1
        self._asked_tick = query.obs_tick
        plan = _NO_PLAN if query.leftover is None else query.leftover
        inputs = self._seen[query.obs_tick].inputs(plan, self._horizon)
        guided = query.guided_ticks > 0 and len(plan) > 0
        condition = Condition.GUIDED_IDENTITY if guided else Condition.PLAIN
        committed = min(query.delay_ticks, query.guided_ticks)
        asked = Asked(condition, committed, self._horizon - query.guided_ticks, (self._seed, self._requests))
        return np.asarray(self._sampler.sample(inputs, asked).actions, dtype=np.float64)

    def _chunk(self, view: NDArray[Any], tick: int, now_ns: int) -> NDArray[Any]:
        self._fed += 1
        record: Any = blank(CHUNK)
        record["chunk_id"] = record["obs_seq"] = record["request_seq"] = self._fed
        record["epoch"] = view["epoch"]
        record["start_tick"] = tick + 1
        record["cold"] = not view["started"]
        record["horizon"] = 1
        record["t_obs_ns"] = record["t_request_ns"] = record["t_received_ns"] = now_ns
        record["actions"][0] = self._actions[-1]
        return np.array(record)

    def note(self, tick: NDArray[Any], trace: Trace) -> None:
        """Note a starved tick, the seam where a chunk came to act, and the age of what acts."""
        trace.starved += int(self._starved)
        if int(tick["servo_tick"]) % self._base.ratio or self._first_tick is None:
            return
        age_ticks = int(tick["tick"]) - self._first_tick - self._acting_tick
        trace.ages_ms.append(age_ticks * self._base.policy_period_ns / NS_PER_MS)
        if self._seam and not self._starved and len(self._actions) == 3:
            before, last, new = self._actions
            trace.seam(float(np.abs(new - (2.0 * last - before))[list(JOINT_INDEX)].max()))
            self._seam = False

    @property
    def inference(self) -> Inference:
        """What the requests came to; a peer makes no forecast that could be covered."""
        return Inference(requests=self._requests, delays_ticks=tuple(self._delays_ticks))
