"""A twin's time on a device, in the ways it can be run. Everything runs in the thread that calls."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bench.twins import layers
from bench.twins.registry import Entry
from bench.twins.roofline import DTYPE
from bench.twins.staging import Staging
from runtime.inference.backends.torch_run import capture

WARM_UP: Final = 5
Request = Callable[[tuple[Tensor, ...]], Tensor]
"""From a request's inputs on the host to its actions on the host."""


def build(entry: Entry, device: Any, *, full: bool) -> Any:
    """Return a prepared twin with random weights; full width in bfloat16, next to no width in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE if full else torch.float32)
    try:
        with torch.device(device):
            twin = entry.make(full=full)
    finally:
        torch.set_default_dtype(before)
    layers.randomise(twin, 0)
    with torch.inference_mode():
        twin.prepare()
    return twin


def ways(twin: Any, device: Any) -> dict[str, Callable[[], Request]]:
    """Return how a twin can be run on a device, each made when it is called.

    `eager` and `compiled` compute as the released code does; `captured` and `compiled-captured` are one CUDA graph
    from the pictures' bytes to the last step, of the served computation. What needs no compiler comes first.
    """
    made: dict[str, Callable[[], Request]] = {
        "eager": lambda: _called(twin, device, plain=True),
    }
    if torch.device(device).type != "cuda":
        return made | {"served-eager": lambda: _called(twin, device, plain=False)}
    return made | {
        "captured": lambda: _captured(twin, device),
        "compiled": lambda: _called(compiled(twin, mode="max-autotune"), device, plain=True),
        "compiled-captured": lambda: _captured(
            compiled(twin, mode="max-autotune-no-cudagraphs", fullgraph=True), device
        ),
    }


def compiled(twin: Any, **options: Any) -> Any:
    """Return a twin of the same weights whose phases are compiled, each once for all of its steps.

    openpi's compiler does the same (models_pytorch/pi0_pytorch.py): its loop asks for a tensor's value, at which the
    trace breaks. The loop in one piece would be as many copies of a step to compile as it has steps.
    """
    # What an earlier way compiled is for the other computation.
    torch.compiler.reset()
    made = copy.copy(twin)
    for name in twin.phases():
        setattr(made, name, torch.compile(getattr(made, name), dynamic=False, **options))
    return made


def _called(twin: Any, device: Any, *, plain: bool) -> Request:
    twin.plain = plain
    staging = Staging(twin.example(0), device)

    def request(inputs: tuple[Tensor, ...]) -> Tensor:
        staging.fill(inputs)
        # A compiler's graphs may put this request where the last one was, and not one phase where another is.
        torch.compiler.cudagraph_mark_step_begin()
        actions: Tensor = twin(*staging.device)
        return actions.cpu()

    return request


def _captured(twin: Any, device: Any) -> Request:
    twin.plain = False
    staging = Staging(twin.example(0), device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            twin(*staging.device)
    torch.cuda.current_stream(device).wait_stream(stream)
    torch.cuda.synchronize(device)
    graph, actions = capture(torch, stream, lambda: twin(*staging.device))
    answer = torch.empty(actions.shape, dtype=actions.dtype, pin_memory=True)

    def request(inputs: tuple[Tensor, ...]) -> Tensor:
        staging.fill(inputs)
        graph.replay()
        answer.copy_(actions, non_blocking=True)
        torch.cuda.current_stream(device).synchronize()
        return answer.clone()

    return request


def timed(twin: Any, make: Callable[[], Request], count: int) -> tuple[list[float], Tensor]:
    """Return what each of `count` requests took from host to host, ms, and the actions of the last."""
    with torch.inference_mode():
        request = make()
        inputs = [twin.example(i) for i in range(3)]
        for i in range(WARM_UP):
            actions = request(inputs[i % len(inputs)])
        gc.collect()
        gc.freeze()
        took_ms = []
        for i in range(count):
            began = time.perf_counter()
            actions = request(inputs[i % len(inputs)])
            took_ms.append(1000.0 * (time.perf_counter() - began))
        gc.unfreeze()
    return took_ms, actions


def quantiles(took_ms: list[float]) -> dict[str, float]:
    """Return p50 and p99 of times."""
    p50, p99 = np.percentile(took_ms, (50, 99)).round(4).tolist()
    return {"p50_ms": p50, "p99_ms": p99}
