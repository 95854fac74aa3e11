"""A policy of our own files behind a server: requests read as its graphs take them, one sampler a task."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.inference import wire
from runtime.inference.backends.base import ModelInputs
from runtime.inference.fit import RefusalError, check_fit
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import Policy, load_policy
from runtime.inference.region import stacked
from runtime.inference.sampler import Query, Sampler, load_sampler
from runtime.inference.server.served import Answer
from runtime.inference.server.session import Job
from runtime.layout import RIG_DOF
from runtime.states import Condition


class LocalPolicy:
    """A loaded policy: `samplers` by the tasks that are served, `about` and `latency_ms` as in Served."""

    places: int | None = None

    def __init__(self, policy: Policy, samplers: Mapping[str, Sampler], about: str, latency_ms: float) -> None:
        self.name = policy.manifest.name
        self.about = about
        self.latency_ms = latency_ms
        self._policy = policy
        self._samplers = samplers

    def agree(self, hello: wire.Hello) -> wire.Schema:
        """Return what this policy and a rig agree on.

        Raises:
            RefusalError: they do not fit, or the task is not served.
        """
        schema = policy_schema(self._policy, hello.task, self.latency_ms, hello.rig)
        check_fit(schema, hello.rig)
        if hello.task in self._policy.tasks and hello.task not in self._samplers:
            served = ", ".join(self._samplers)
            raise RefusalError(f"task {hello.task!r} is not served here; served: {served}")
        return schema

    def answers(self, job: Job) -> Iterator[Answer]:
        """Yield the chunk for a request as it grows, where the model gives it so.

        Raises:
            WireError: the request is not what was agreed.
        """
        begun_ns = time.monotonic_ns()
        inputs, asked = model_inputs(job), query(job)
        prepare_ns = time.monotonic_ns() - begun_ns
        # A policy that takes every task is served under one name.
        sampler = self._samplers.get(job.hello.task) or next(iter(self._samplers.values()))
        for outputs in sampler.stream(inputs, asked):
            yield Answer(outputs.actions, outputs.object_state, prepare_ns=prepare_ns)

    def close(self) -> None:
        """Nothing is held elsewhere."""


def load_local(
    policy: str,
    task_names: Sequence[str] | None,
    backend: str,
    profile_ms: float,
    *,
    threads: int = 1,
    device: str | None = None,
) -> LocalPolicy:
    """Load and warm up a policy's models for some tasks, all by default; clients expect at least `profile_ms`.

    Raises:
        UsageError: the policy, backend or task is unknown, or a file is not what the manifest says.
    """
    loaded = load_policy(policy)
    names = task_names or loaded.tasks
    samplers = {task: load_sampler(loaded, task, backend=backend, threads=threads, device=device) for task in names}
    model_ms = max(sampler.warm_up() for sampler in samplers.values()) / NS_PER_MS
    slowest = max(samplers.values(), key=lambda sampler: sampler.timing.p50_ns if sampler.timing else 0)
    about = f"{backend} on {slowest.provider}, model {slowest.timing}"
    return LocalPolicy(loaded, samplers, about, max(model_ms, profile_ms))


def model_inputs(job: Job) -> ModelInputs:
    """Return a request's arrays as the model reads them; the noise is left to the sampler.

    Raises:
        WireError: an array is missing, of another shape or type than agreed, or holds NaN or infinity.
    """
    schema = job.schema
    images = None
    if schema.cameras:
        size = (schema.height_px, schema.width_px, 3)
        images = stacked([_array(job, f"image/{camera}", "u1", size) for camera in schema.cameras])
    rows = _planned(job)
    prefix = np.zeros((schema.horizon, RIG_DOF), dtype=np.float32)
    prefix[: len(rows)] = rows
    return ModelInputs(
        images=images,
        object_state=_array(job, "object_state", "f4", (schema.object_state,)) if schema.object_state else None,
        state=_array(job, "state", "f4", (RIG_DOF,)),
        velocity=_array(job, "velocity", "f4", (RIG_DOF,)) if schema.velocity else np.zeros(RIG_DOF, np.float32),
        prefix=prefix,
        prefix_len=len(rows),
    )


def query(job: Job) -> Query:
    """Return what a request asks of the policy.

    Raises:
        WireError: the policy cannot do it, or more steps are said to be committed than were sent or agreed.
    """
    request, schema = job.request, job.schema
    condition, rows = request.condition, len(_planned(job))
    if condition not in schema.conditions:
        raise wire.WireError(f"condition {condition.value!r}; this policy can do {', '.join(schema.conditions)}")
    if condition is Condition.PREFIX and rows > schema.prefix_max:
        raise wire.WireError(f"a prefix of {rows} steps; at most {schema.prefix_max} were agreed")
    if request.committed > rows:
        raise wire.WireError(f"{request.committed} steps committed, {rows} of the plan were sent")
    if condition is Condition.PREFIX and request.committed != rows:
        raise wire.WireError(f"a prefix of {rows} steps of which {request.committed} are committed; all of it must be")
    return Query(condition, request.committed, request.execute, (request.seed, request.request_seq))


def _planned(job: Job) -> NDArray[Any]:
    """Return the rows (n, 14) of the plan that came with a request, none if it has none."""
    array = job.arrays.get("prefix")
    if array is None:
        return np.empty((0, RIG_DOF), dtype=np.float32)
    rows = len(array) if array.ndim == 2 else 0
    if rows > job.schema.horizon:
        raise wire.WireError(f"{rows} steps of the plan; a chunk has {job.schema.horizon}")
    return _array(job, "prefix", "f4", (rows, RIG_DOF))


def _array(job: Job, name: str, code: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = job.arrays.get(name)
    if array is None:
        raise wire.WireError(f"array {name!r} is missing")
    if array.dtype.str[1:] != code or array.shape != shape:
        raise wire.WireError(f"array {name!r} is {array.dtype.str[1:]} {array.shape}; {code} {shape} was agreed")
    if code == "f4" and not np.isfinite(array).all():
        raise wire.WireError(f"array {name!r} holds NaN or infinity")
    return array
