"""The work of a policy server: one request at a time, answered no sooner than its latency profile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from runtime.clock import NS_PER_S, Clock
from runtime.inference import wire
from runtime.inference.adapters.base import AdapterError
from runtime.inference.jpeg import decode_pictures
from runtime.inference.server.latency import LatencyModel
from runtime.inference.server.refusals import refused
from runtime.inference.server.served import Answer, Served
from runtime.inference.server.session import Job
from runtime.net.frames import Buffer

LOG = logging.getLogger(__name__)

Reply = tuple[bytes, list[Buffer]]
PARTS_MAX: Final = 4
"""Parts of an answer before its whole: a rig uses one, and reads few messages at once."""


class Progress:
    """How far the model is with a request: what was sent of its chunk, and how long it has been held up, ns."""

    def __init__(self, job: Job, taken_ns: int, begin_ns: int) -> None:
        self._job = job
        self._taken_ns = taken_ns
        self._begin_ns = begin_ns
        self.held_ns = 0
        self.parts = 0
        self.rows = 0

    def message(self, answer: Answer, now_ns: int, *, final: bool) -> list[Buffer]:
        """Return a part of the answer, or the whole of it, that leaves now."""
        request = self._job.request
        chunk = wire.Chunk(
            session=request.session,
            request_seq=request.request_seq,
            obs_seq=request.obs_seq,
            server_ns=now_ns - self._job.t_receipt_ns,
            infer_ns=now_ns - self._begin_ns - self.held_ns - answer.prepare_ns,
            value=answer.value if final else None,
            queue_ns=self._taken_ns - self._job.t_receipt_ns,
            prepare_ns=self._begin_ns - self._taken_ns + answer.prepare_ns,
            part=self.parts,
            final=final,
        )
        self.parts += 1
        self.rows = len(answer.actions)
        arrays = {"actions": answer.actions}
        if final:
            arrays |= {f"frame/{name}": rows for name, rows in answer.frames.items()}
            if answer.object_state is not None:
                arrays["object_state"] = answer.object_state
        return wire.encode(chunk, arrays)


class Worker:
    """Runs what is served, in the thread that calls it.

    A server of this kind does one thing at a time: it is busy from the moment it begins a request until the
    answer leaves, which is the sampled latency later or, if the model takes longer, when the model is done. Of an
    answer that the latency profile loses the client hears nothing, and the server is free when the model is done.

    Where the model gives its chunk as it grows and the client asked for that, some first rows leave before the rest,
    no sooner than their share of the latency: a model that writes one action after the other is done with them then.
    `early` sends them.
    """

    def __init__(
        self, served: Served, latency: LatencyModel, *, seed: int, clock: Clock, early: Callable[[Reply], None]
    ) -> None:
        self._served = served
        self._latency = latency
        self._rng = np.random.default_rng(seed)
        self._clock = clock
        self._early = early
        self._free_ns = 0
        self._begun_ns = clock.now_ns()
        self._lock = threading.Lock()
        self._under_way: tuple[bytes, int] | None = None
        self._let_go = threading.Event()
        self._stopped = False

    def stop(self) -> None:
        """Hold no answer back any more; from another thread."""
        with self._lock:
            self._stopped = True
            self._let_go.set()

    def cancel(self, sender: bytes, request_seq: int) -> None:
        """Answer a request no more, if it is the one under way, and hold the next one up no longer than its model.

        From another thread.
        """
        with self._lock:
            if self._under_way == (sender, request_seq):
                self._let_go.set()

    def work(self, job: Job) -> Reply | None:
        """Return the answer to a request when it is to leave; None when there is none."""
        with self._lock:
            self._under_way = job.sender, job.request.request_seq
            if not self._stopped:
                self._let_go.clear()
        answer = self._answer(job)
        return None if answer is None else (job.sender, answer)

    def _answer(self, job: Job) -> list[Buffer] | None:
        taken_ns = self._clock.now_ns()
        begun_ns = max(job.t_receipt_ns, self._free_ns)
        latency_ns = self._latency.sample(self._rng, begun_ns - self._begun_ns)
        try:
            return self._infer(job, taken_ns, begun_ns, latency_ns)
        except wire.WireError as error:
            return wire.encode(refused(job, "bad_request", str(error)))
        except AdapterError as error:
            LOG.warning("request %d: %s", job.request.request_seq, error)
            return wire.encode(refused(job, "failed", str(error)))
        except Exception:  # whatever a model raises, the client learns only that it failed
            LOG.exception("the model failed on request %d", job.request.request_seq)
            return wire.encode(refused(job, "failed", "the model failed"))

    def _infer(self, job: Job, taken_ns: int, begun_ns: int, latency_ns: int | None) -> list[Buffer] | None:
        """Run the model, send what may leave early and return the whole, in time; None if it is lost or cancelled."""
        opened = replace(job, arrays=decode_pictures(job.arrays, job.schema.cameras))
        progress = Progress(job, taken_ns, self._clock.now_ns())
        horizon, whole = job.schema.horizon, None
        for answer in self._served.answers(opened):
            if len(answer.actions) >= horizon:
                whole = answer
                break
            wanted = job.request.parts and progress.parts < PARTS_MAX and len(answer.actions) > progress.rows
            if wanted and latency_ns is not None:
                self._hold(begun_ns + latency_ns * len(answer.actions) // horizon, progress)
                if self._given_up():
                    break
                self._early((job.sender, progress.message(answer, self._clock.now_ns(), final=False)))
        if whole is not None and latency_ns is not None:
            self._hold(begun_ns + latency_ns, progress)
        self._free_ns = self._clock.now_ns()
        if latency_ns is None or self._given_up():
            return None
        if whole is None:
            raise ValueError(f"the model ends its answer after {progress.rows} of {horizon} actions")
        return progress.message(whole, self._free_ns, final=True)

    def _hold(self, until_ns: int, progress: Progress) -> None:
        """Wait until a time, or until nobody waits for the answer any more."""
        began_ns = self._clock.now_ns()
        if until_ns > began_ns:
            self._let_go.wait((until_ns - began_ns) / NS_PER_S)
        progress.held_ns += self._clock.now_ns() - began_ns

    def _given_up(self) -> bool:
        return self._let_go.is_set() and not self._stopped
