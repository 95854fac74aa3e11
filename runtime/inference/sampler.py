"""One chunk from a policy, conditioned on the running plan as a request asks: used by the server and by the lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import UsageError, unknown_name
from runtime.inference import bid
from runtime.inference.backends import rtc
from runtime.inference.backends.base import Backend, Guidance, ModelInputs, ModelOutputs, Streaming
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.backends.tensorrt import load_tensorrt
from runtime.inference.backends.torch import load_torch
from runtime.inference.policy import Policy
from runtime.inference.translate import Translated, TranslatedStream
from runtime.layout import RIG_DOF
from runtime.states import Condition


@dataclass(frozen=True)
class Wanted:
    """How a model is asked to run: `device` auto, cpu or cuda, `precision` fp32 or bf16, `threads` on the processor."""

    device: str
    precision: str
    threads: int


def _onnx(policy: Policy, task: str, wanted: Wanted) -> Backend:
    return OnnxBackend(
        policy.graph(task),
        policy.shape(task),
        wanted.threads,
        policy.guided_graph(task),
        device=wanted.device,
        precision=wanted.precision,
    )


def _torch(policy: Policy, task: str, wanted: Wanted) -> Backend:
    return load_torch(
        policy.folder,
        policy.torch_program(task),
        policy.shape(task),
        device=wanted.device,
        precision=wanted.precision,
        threads=wanted.threads,
    )


def _tensorrt(policy: Policy, task: str, wanted: Wanted) -> Backend:
    return load_tensorrt(
        policy.graph(task),
        policy.shape(task),
        policy.guided_graph(task),
        device=wanted.device,
        precision=wanted.precision,
    )


BACKENDS: Final[dict[str, Callable[[Policy, str, Wanted], Backend]]] = {
    "onnx": _onnx,
    "torch": _torch,
    "tensorrt": _tensorrt,
}
COLD_RUNS: Final = 2
"""Runs of a warm-up that are not measured: memory is taken and kernels are chosen in them."""
WARM_RUNS: Final = 30
WARM_NS: Final = 2 * NS_PER_S
"""After this long a warm-up measures no more, however few runs it had; two at least."""


@dataclass(frozen=True)
class Timing:
    """The measured time of one run of a model: median and 99th percentile in nanoseconds, of how many runs."""

    p50_ns: int
    p99_ns: int
    runs: int

    def __str__(self) -> str:
        """Return for instance `p50 5.9 ms, p99 6.4 ms of 30 runs`."""
        return f"p50 {self.p50_ns / NS_PER_MS:.1f} ms, p99 {self.p99_ns / NS_PER_MS:.1f} ms of {self.runs} runs"


@dataclass(frozen=True)
class Query:
    """What is asked of a policy: `committed` steps of the plan are final, a chunk is expected every `execute`."""

    condition: Condition
    committed: int
    execute: int
    seed: tuple[int, ...]


class Sampler:
    """A policy on one task. `conditions` are what it can do, `noisy` whether its model is given noise."""

    def __init__(
        self, backend: Backend, blank: ModelInputs, conditions: tuple[Condition, ...], *, noisy: bool = True
    ) -> None:
        self._backend = backend
        self._stream = backend.stream if isinstance(backend, Streaming) else None
        self._blank = blank
        self.conditions = conditions
        self._noisy = noisy
        self.timing: Timing | None = None
        """What the warm-up measured."""

    @property
    def provider(self) -> str:
        """What really runs the model."""
        return self._backend.provider

    def warm_up(self) -> int:
        """Run the model on blank inputs until it is warm, then measure it, guided too where it can be.

        Returns the median time of one run in nanoseconds, the slower of the two kinds; BEST_OF takes one for each
        sample. `timing` has more of it.
        """
        kinds = [condition for condition in (Condition.PLAIN, Condition.GUIDED) if condition in self.conditions]
        self.timing = max((self._time(Query(kind, 0, 0, (0,))) for kind in kinds), key=lambda each: each.p50_ns)
        return self.timing.p50_ns

    def sample(self, inputs: ModelInputs, query: Query) -> ModelOutputs:
        """Return a chunk; `inputs.prefix` holds `inputs.prefix_len` rows of the plan, its noise is drawn here.

        Raises:
            UsageError: the policy cannot do what is asked.
        """
        if query.condition not in self.conditions:
            able = ", ".join(self.conditions)
            raise UsageError(
                f"this policy cannot do condition {query.condition.value!r} on this task; it can do {able}"
            )
        rng = self._rng(query)
        plain = replace(inputs, prefix_len=0)
        match query.condition:
            case Condition.GUIDED | Condition.GUIDED_IDENTITY:
                return self._infer(replace(plain, guidance=_guidance(inputs, query)), rng)
            case Condition.BEST_OF:
                samples = [self._infer(plain, rng) for _ in range(bid.SAMPLES)]
                plan = inputs.prefix[: inputs.prefix_len]
                return samples[bid.choose(np.stack([sample.actions for sample in samples]), plan, query.committed)]
            case _:
                return self._infer(_begun(inputs, query), rng)

    def stream(self, inputs: ModelInputs, query: Query) -> Iterator[ModelOutputs]:
        """Yield the chunk that `sample` returns, its first rows before the whole where the model knows them sooner.

        That is no help where it is pulled or one of several is chosen: all of it is needed then.
        """
        begun = query.condition in {Condition.PLAIN, Condition.PREFIX}
        if self._stream is not None and begun and query.condition in self.conditions:
            yield from self._stream(_drawn(_begun(inputs, query), self._rng(query)))
        else:
            yield self.sample(inputs, query)

    def _rng(self, query: Query) -> np.random.Generator | None:
        return np.random.default_rng(query.seed) if self._noisy else None

    def _infer(self, inputs: ModelInputs, rng: np.random.Generator | None) -> ModelOutputs:
        return self._backend.infer(_drawn(inputs, rng))

    def _time(self, query: Query) -> Timing:
        for _ in range(COLD_RUNS):
            self.sample(self._blank, query)
        times_ns: list[int] = []
        while len(times_ns) < 2 or (len(times_ns) < WARM_RUNS and sum(times_ns) < WARM_NS):
            start_ns = time.monotonic_ns()
            self.sample(self._blank, query)
            times_ns.append(time.monotonic_ns() - start_ns)
        p50_ns, p99_ns = (round(float(value)) for value in np.percentile(times_ns, (50, 99)))
        return Timing(p50_ns, p99_ns, len(times_ns))


def _begun(inputs: ModelInputs, query: Query) -> ModelInputs:
    return replace(inputs, prefix_len=query.committed if query.condition is Condition.PREFIX else 0)


def _drawn(inputs: ModelInputs, rng: np.random.Generator | None) -> ModelInputs:
    """Return inputs with noise, of a model that is given some."""
    if rng is None:
        return inputs
    return replace(inputs, noise=rng.standard_normal(inputs.prefix.shape, dtype=np.float32))


def _guidance(inputs: ModelInputs, query: Query) -> Guidance:
    """Return how the plan pulls: rows that are not planned pull at nothing."""
    horizon = len(inputs.prefix)
    planned = np.arange(horizon) < inputs.prefix_len
    return Guidance(
        target=np.where(planned[:, None], inputs.prefix, np.float32(0.0)),
        mask=np.where(planned, rtc.soft_mask(query.committed, query.execute, horizon), np.float32(0.0)),
        jacobian=query.condition is Condition.GUIDED,
        beta=rtc.BETA,
    )


def conditions_of(policy: Policy, task: str) -> tuple[Condition, ...]:
    """Return what a policy can be told about the running plan on a task, from its manifest."""
    able = policy.manifest.capabilities
    return (
        Condition.PLAIN,
        *([Condition.PREFIX] if policy.prefix_max(task) else []),
        *([Condition.GUIDED, Condition.GUIDED_IDENTITY] if policy.guided_graph(task) else []),
        *([Condition.BEST_OF] if able.best_of else []),
    )


def load_sampler(
    policy: Policy, task: str, *, backend: str = "onnx", threads: int = 1, device: str | None = None
) -> Sampler:
    """Load what a policy needs for a task; `device` in place of the one that the manifest asks for.

    Raises:
        UsageError: the backend is unknown or not installed, the device is not there, the policy has no file for it, or
            a file is not what the manifest says.
    """
    load = BACKENDS.get(backend)
    if load is None:
        raise unknown_name("backend", backend, BACKENDS)
    shape, manifest = policy.shape(task), policy.manifest
    blank = ModelInputs(
        images=np.zeros((shape.cameras, shape.height_px, shape.width_px, 3), dtype=np.uint8) if shape.cameras else None,
        object_state=np.zeros(shape.object_state, dtype=np.float32),
        state=np.zeros(RIG_DOF, dtype=np.float32),
        velocity=np.zeros(RIG_DOF, dtype=np.float32),
        prefix=np.zeros((shape.horizon, RIG_DOF), dtype=np.float32),
        prefix_len=0,
    )
    loaded = load(policy, task, Wanted(device or manifest.device, manifest.precision, threads))
    conditions = conditions_of(policy, task)
    if Condition.GUIDED in conditions and not loaded.guided:
        raise UsageError(
            f"policy {manifest.name!r} offers guidance, which backend {backend!r} cannot give with its file for task "
            f"{task!r}; leave out 'guided' and 'capabilities.guidance' in its manifest, or use --backend onnx"
        )
    if manifest.capabilities.parts and not isinstance(loaded, Streaming):
        raise UsageError(
            f"policy {manifest.name!r} says that it gives its chunks in parts, which backend {backend!r} cannot; leave "
            "out 'capabilities.parts' in its manifest, or serve it with --backend torch"
        )
    if not manifest.space.physical:
        if isinstance(loaded, Streaming):
            loaded = TranslatedStream(loaded, manifest.space)
        else:
            loaded = Translated(loaded, manifest.space)
    return Sampler(loaded, blank, conditions, noisy=shape.noise)
