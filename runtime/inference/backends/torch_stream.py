"""A model of torch that yields its chunk as it grows, such as one that writes its actions one after the other.

Its entry point returns a generator function: called with the tensors of a request it yields actions (n, 14), or that
and its estimate of the objects, with n growing to the horizon. It is run step by step, never as one CUDA graph: between
two steps what there is so far leaves for the rig.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.backends.shape import GraphShape, fill, values
from runtime.inference.backends.torch_run import Staging
from runtime.layout import RIG_DOF


class TorchStream:
    """A whole policy, `model`, that is known to be a generator; `about` is what runs it."""

    guided = False

    def __init__(self, torch: Any, model: Any, shape: GraphShape, device: Any, precision: str, about: str) -> None:
        self._torch = torch
        self._model = model
        self._shape = shape
        self._device = device
        self._half = precision == "bf16"
        self._staging: Staging | None = None
        self.provider = f"{about}, in parts"

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation.

        Raises:
            UsageError: guidance is asked for, or the model answers with something else than a chunk.
        """
        *_, whole = self.stream(inputs)
        return whole

    def stream(self, inputs: ModelInputs) -> Iterator[ModelOutputs]:
        """Yield the chunk for one observation as it grows.

        Raises:
            UsageError: as `infer`; no more rows come than had come, or the last are not all.
        """
        if inputs.guidance is not None:
            raise UsageError("a guided chunk needs a guided graph; backend torch has none for this model")
        given, rows, horizon = values(inputs), 0, self._shape.horizon
        steps: Any = None
        while rows < horizon:
            # Torch's modes belong to the thread: whoever takes what is yielded shall not be in them.
            with ExitStack() as modes:
                self._enter(modes)
                if steps is None:
                    steps = self._model(**self._placed(given))
                answer = next(steps, None)
                if answer is None:
                    raise UsageError(f"the model ends its answer after {rows} of {horizon} actions")
                # Copies: they are sent while the model may write its next answer into the same memory.
                parts = [part.cpu().numpy().copy() for part in read_answer(self._torch, answer, horizon, rows + 1)]
            actions, *rest = parts
            rows = len(actions)
            yield ModelOutputs(actions, rest[0] if rest else None)

    def _enter(self, modes: ExitStack) -> None:
        torch = self._torch
        modes.enter_context(torch.inference_mode())
        modes.enter_context(
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half, cache_enabled=False)
        )

    def _placed(self, given: dict[str, Any]) -> dict[str, Any]:
        arrays = {name: np.asarray(given[name]) for name in self._shape.inputs()}
        if self._device.type == "cpu":
            # Copies: the memory of a request may be used again when its first answer has left.
            tensors = {name: self._torch.as_tensor(array.copy()) for name, array in arrays.items()}
        else:
            tensors = self._staged(arrays)
        if "images" in tensors:
            tensors["images"] = self._shape.pictures.on_device(self._torch, tensors["images"])
        return tensors

    def _staged(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Return a request's tensors on the GPU, in the place of those of the request before."""
        torch, staging = self._torch, self._staging
        if staging is None or any(staging.buffers[name].shape != array.shape for name, array in arrays.items()):
            staging = self._staging = Staging(torch, self._device, arrays)
        # A request that was given up may have left a copy under way, and a model that still reads.
        staging.copies.synchronize()
        fill(staging.buffers, arrays)
        compute = torch.cuda.current_stream()
        staging.copies.wait_stream(compute)
        staging.copy()
        compute.wait_stream(staging.copies)
        return dict(staging.placed)


def read_answer(torch: Any, answer: Any, horizon: int, least: int | None = None) -> list[Any]:
    """Return actions and, where the model gives one, its estimate of the objects, in float32.

    `least` is how many rows of actions a part has at least; without it all of them are wanted.

    Raises:
        UsageError: it is no such answer.
    """
    if isinstance(answer, dict):
        answer = [answer[name] for name in ("actions", "object_state") if name in answer]
    parts = [answer] if isinstance(answer, torch.Tensor) else list(answer)[:2]
    have: Any = tuple(parts[0].shape) if parts and isinstance(parts[0], torch.Tensor) else "something else"
    if have not in {(rows, RIG_DOF) for rows in range(least or horizon, horizon + 1)}:
        raise UsageError(
            f"the model answers with {have}; this rig and policy need a tensor of actions {(horizon, RIG_DOF)}"
            + ("" if least is None else f", or of its first rows, {least} or more")
        )
    return [part.to(torch.float32) for part in parts if part is not None]
