"""The inference thread of a policy server: one request at a time, answered no sooner than its latency profile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_S, Clock
from runtime.inference import wire
from runtime.inference.backends.base import Backend, ModelInputs
from runtime.inference.latency import LatencyModel
from runtime.inference.session import Job
from runtime.layout import RIG_DOF

LOG = logging.getLogger(__name__)

Reply = tuple[bytes, list[wire.Buffer]]


def model_inputs(job: Job) -> ModelInputs:
    """Return a request's arrays as the model reads them.

    Raises:
        WireError: an array is missing, of another shape or type than agreed, or holds NaN or infinity.
    """
    schema, arrays = job.schema, job.arrays
    images = None
    if schema.cameras:
        size = (schema.height_px, schema.width_px, 3)
        images = np.empty((len(schema.cameras), *size), dtype=np.uint8)
        for i, camera in enumerate(schema.cameras):
            images[i] = _array(job, f"image/{camera}", "u1", size)
    prefix = np.zeros((schema.horizon, RIG_DOF), dtype=np.float32)
    committed = arrays.get("prefix")
    prefix_len = 0 if committed is None or committed.ndim != 2 else len(committed)
    if prefix_len > schema.prefix_max:
        raise wire.WireError(f"a prefix of {prefix_len} steps; at most {schema.prefix_max} were agreed")
    if committed is not None:
        prefix[:prefix_len] = _array(job, "prefix", "f4", (prefix_len, RIG_DOF))
    rng = np.random.default_rng((job.request.seed, job.request.request_seq))
    return ModelInputs(
        images=images,
        object_state=_array(job, "object_state", "f4", (schema.object_state,)) if schema.object_state else None,
        state=_array(job, "state", "f4", (RIG_DOF,)),
        velocity=_array(job, "velocity", "f4", (RIG_DOF,)) if schema.velocity else np.zeros(RIG_DOF, np.float32),
        prefix=prefix,
        prefix_len=prefix_len,
        noise=rng.standard_normal((schema.horizon, RIG_DOF), dtype=np.float32),
    )


def _array(job: Job, name: str, code: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = job.arrays.get(name)
    if array is None:
        raise wire.WireError(f"array {name!r} is missing")
    if array.dtype.str[1:] != code or array.shape != shape:
        raise wire.WireError(f"array {name!r} is {array.dtype.str[1:]} {array.shape}; {code} {shape} was agreed")
    if code == "f4" and not np.isfinite(array).all():
        raise wire.WireError(f"array {name!r} holds NaN or infinity")
    return array


class Worker:
    """Runs the models, one per task, in a thread of its own.

    A server of this kind does one thing at a time: it is busy from the moment it begins a request until the
    answer leaves, which is the sampled latency later or, if the model takes longer, when the model is done.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        latency: LatencyModel,
        *,
        seed: int,
        clock: Clock,
        take: Callable[[int], Job | None],
        reply: Callable[[Reply], None],
    ) -> None:
        self._backends = backends
        self._latency = latency
        self._rng = np.random.default_rng(seed)
        self._clock = clock
        self._take = take
        self._reply = reply
        self._free_ns = 0
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when the model run under way is done."""
        self._stop.set()
        self._work.set()
        self._thread.join()

    def wake(self) -> None:
        """Say that there may be a request to take."""
        self._work.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work.wait()
            self._work.clear()
            while not self._stop.is_set():
                job = self._take(self._clock.now_ns())
                if job is None:
                    break
                self._reply((job.sender, self._answer(job)))

    def _answer(self, job: Job) -> list[wire.Buffer]:
        due_ns = max(job.t_receipt_ns, self._free_ns) + self._latency.sample(self._rng)
        request_seq = job.request.request_seq
        try:
            inputs = model_inputs(job)
        except wire.WireError as error:
            return wire.encode(wire.Error(code="bad_request", reason=str(error), request_seq=request_seq))
        try:
            return self._infer(job, inputs, due_ns)
        except Exception:  # whatever a model raises, the client learns only that it failed
            LOG.exception("the model failed on request %d", request_seq)
            return wire.encode(wire.Error(code="failed", reason="the model failed", request_seq=request_seq))

    def _infer(self, job: Job, inputs: ModelInputs, due_ns: int) -> list[wire.Buffer]:
        begin_ns = self._clock.now_ns()
        outputs = self._backends[job.task].infer(inputs)
        infer_ns = self._clock.now_ns() - begin_ns
        self._stop.wait(max(due_ns - self._clock.now_ns(), 0) / NS_PER_S)
        self._free_ns = self._clock.now_ns()
        chunk = wire.Chunk(
            session=job.request.session,
            request_seq=job.request.request_seq,
            obs_seq=job.request.obs_seq,
            server_ns=self._free_ns - job.t_receipt_ns,
            infer_ns=infer_ns,
        )
        arrays = {"actions": outputs.actions}
        if outputs.object_state is not None:
            arrays["object_state"] = outputs.object_state
        return wire.encode(chunk, arrays)
