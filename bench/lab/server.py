"""A policy server on a virtual clock: what a real one decides, without sockets, threads or waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.inference.backends.base import ModelInputs
from runtime.inference.sampler import Query, Sampler
from runtime.inference.server.latency import LatencyModel

EARLIER_NS: Final = 40 * NS_PER_S
"""A delay process has been running for this long at least, and at most twice as long, when an episode begins."""
EARLIER_ANSWERS: Final = 64
LEAST_NS: Final = 200 * NS_PER_MS
"""Between two earlier answers, however quick: the execution horizon of a fast model."""
_BEFORE: Final = 2**32 - 1
"""Apart from the numbers of the requests, which seed the draws of an episode."""


@dataclass(frozen=True)
class Job:
    """A request under way: its number, the model's inputs, what is asked of it, and when it arrived."""

    request_seq: int
    inputs: ModelInputs
    query: Query
    t_receipt_ns: int


@dataclass(frozen=True)
class Answer:
    """A chunk on its way back: `actions` (H, 14), there at `t_due_ns`."""

    request_seq: int
    actions: NDArray[Any]
    t_due_ns: int


class DelayProcess:
    """The latencies of one episode: the k-th answer has the k-th of them, whoever asks for it and when.

    The process has been running for a while when the episode begins, another while for each seed; `earlier_ns` are the
    last latencies of that time, as a client knows them that did not begin with the episode.
    """

    def __init__(self, latency: LatencyModel, seed: int) -> None:
        self._latency = latency
        self._seed = seed
        self._taken = 0
        rng = np.random.default_rng((seed, _BEFORE))
        self._before_ns = EARLIER_NS + int(rng.integers(EARLIER_NS))
        self.earlier_ns = self._run_before(rng)

    @property
    def median_ns(self) -> int:
        """The typical latency."""
        return round(self._latency.median_ms * NS_PER_MS)

    def _run_before(self, rng: np.random.Generator) -> list[int]:
        """Return the latencies of the answers before the episode, the last of them just before it."""
        latencies: list[int] = []
        t_ns = 0
        while t_ns < self._before_ns:
            latency_ns = self._latency.sample(rng, t_ns)
            t_ns += max(self.median_ns if latency_ns is None else latency_ns, LEAST_NS)
            if latency_ns is not None:
                latencies.append(latency_ns)
        return latencies[-EARLIER_ANSWERS:]

    def next(self, now_ns: int) -> int | None:
        """Return the latency of the next answer; None for one that is lost."""
        rng = np.random.default_rng((self._seed, self._taken))
        self._taken += 1
        return self._latency.sample(rng, self._before_ns + now_ns)


class LabServer:
    """Works on `slots` requests at a time; the newest that waits goes next and the older ones are dropped.

    An answer that is lost keeps a slot as busy as one that is not.
    """

    def __init__(self, sampler: Sampler, latency: LatencyModel, seed: int, slots: int = 1) -> None:
        self._sampler = sampler
        self._delays = DelayProcess(latency, seed)
        self._free_ns = [0] * slots
        self._waiting: Job | None = None
        self._answers: list[Answer] = []

    @property
    def earlier_ns(self) -> list[int]:
        """The latencies of the answers before the episode."""
        return self._delays.earlier_ns

    def submit(self, job: Job) -> None:
        """Receive a request; it takes the place of one that still waits."""
        self._waiting = job

    def poll(self, now_ns: int) -> list[Answer]:
        """Work until now; return the answers that have arrived by then, in the order of their arrival."""
        self._work(now_ns)
        arrived = sorted((answer for answer in self._answers if answer.t_due_ns <= now_ns), key=lambda a: a.t_due_ns)
        self._answers = [answer for answer in self._answers if answer.t_due_ns > now_ns]
        return arrived

    def _work(self, now_ns: int) -> None:
        job, slot = self._waiting, min(range(len(self._free_ns)), key=self._free_ns.__getitem__)
        if job is None or max(self._free_ns[slot], job.t_receipt_ns) > now_ns:
            return
        self._waiting = None
        begun_ns = max(self._free_ns[slot], job.t_receipt_ns)
        latency_ns = self._delays.next(begun_ns)
        if latency_ns is None:
            self._free_ns[slot] = begun_ns + self._delays.median_ns
            return
        self._free_ns[slot] = begun_ns + latency_ns
        outputs = self._sampler.sample(job.inputs, job.query)
        self._answers.append(Answer(job.request_seq, outputs.actions, self._free_ns[slot]))
