"""One computation on tensors that stay where they are: on the processor, or on a GPU as one captured CUDA graph.

On a GPU a request's bytes go into pinned memory, from there over a stream of copies into the same tensors as ever, and
everything after that, from the resize of the pictures to the last denoise step, is one launch. Where a computation
cannot be captured it is run eagerly, and `how` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.inference.backends.shape import fill

Compute = Callable[[dict[str, Any]], Sequence[Any]]
"""From tensors by name to the tensors of the answer."""
WARM_UP_RUNS: Final = 3
"""Before a capture, on a stream beside the default one, as torch's documentation of CUDA graphs has it."""
REASON_MAX: Final = 120
Result = TypeVar("Result")


class CaptureError(Exception):
    """A computation cannot be a CUDA graph; the text says why, in a part of a line."""


class StaticRun:
    """A computation whose inputs have the names, types and shapes of `like`.

    `capturable` is asked once it has been run eagerly: whether to try to capture it. Used by one thread at a time.
    Raises whatever `compute` does.
    """

    def __init__(
        self,
        torch: Any,
        device: str,
        like: Mapping[str, NDArray[Any]],
        compute: Compute,
        capturable: Callable[[], bool] = lambda: True,
    ) -> None:
        self._torch = torch
        self._compute = compute
        self._gpu: _Gpu | None = None
        if device == "cpu":
            self._buffers = {name: np.zeros_like(array) for name, array in like.items()}
            self._tensors = {name: torch.from_numpy(buffer) for name, buffer in self._buffers.items()}
            self.how = ""
        else:
            self._gpu = _Gpu(torch, device, like, compute, capturable)
            self._buffers = self._gpu.buffers
            self.how = self._gpu.how

    def run(self, given: Mapping[str, Any]) -> list[NDArray[Any]]:
        """Return the answer to what was given, in arrays of its own.

        Raises:
            ValueError: something given is missing or does not fit.
        """
        fill(self._buffers, given)
        if self._gpu is not None:
            return self._gpu.run()
        with self._torch.inference_mode():
            return [tensor.numpy().copy() for tensor in self._compute(self._tensors)]


class Staging:
    """Tensors on a GPU, `placed`, and the pinned memory from which a stream of `copies` fills them.

    They have the names, types and shapes of `like`. `buffers` are views of the pinned memory, to be filled before each
    `copy`; they may be filled anew when that has ended.
    """

    def __init__(self, torch: Any, device: Any, like: Mapping[str, NDArray[Any]]) -> None:
        self._torch = torch
        self._pinned = {name: torch.from_numpy(np.zeros_like(array)).pin_memory() for name, array in like.items()}
        self.buffers = {name: tensor.numpy() for name, tensor in self._pinned.items()}
        self.placed = {name: tensor.to(device) for name, tensor in self._pinned.items()}
        self.copies = torch.cuda.Stream(device)

    def copy(self) -> None:
        """Begin to copy all that is in the buffers; whoever reads it waits for `copies`."""
        with self._torch.cuda.stream(self.copies):
            for name, pinned in self._pinned.items():
                self.placed[name].copy_(pinned, non_blocking=True)


class _Gpu:
    """The same on a GPU; `buffers` are views of pinned memory, to be filled before each run."""

    def __init__(
        self,
        torch: Any,
        device: str,
        like: Mapping[str, NDArray[Any]],
        compute: Compute,
        capturable: Callable[[], bool],
    ) -> None:
        self._torch = torch
        self._compute = compute
        self._staging = Staging(torch, device, like)
        self.buffers, self._placed = self._staging.buffers, self._staging.placed
        self._stream = torch.cuda.Stream(device)
        self._graph: Any = None
        self.how = ""
        # The tensors were placed on the default stream.
        torch.cuda.synchronize(device)
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for _ in range(WARM_UP_RUNS):
                self._results = list(compute(self._placed))
        torch.cuda.synchronize(device)
        if capturable():
            try:
                self._graph, self._results = capture(torch, self._stream, lambda: list(compute(self._placed)))
                self.how = "CUDA graph"
            except CaptureError as error:
                self.how = f"eager: {error}"
        self._answers = [torch.empty_like(result, device="cpu").pin_memory() for result in self._results]

    def run(self) -> list[NDArray[Any]]:
        torch = self._torch
        self._staging.copy()
        # The run before has ended, so only this order remains to be kept: copy in, compute, copy out.
        self._stream.wait_stream(self._staging.copies)
        with torch.cuda.stream(self._stream), torch.inference_mode():
            if self._graph is None:
                self._results = list(self._compute(self._placed))
            else:
                self._graph.replay()
            for answer, result in zip(self._answers, self._results, strict=True):
                answer.copy_(result, non_blocking=True)
        self._stream.synchronize()
        return [answer.numpy().copy() for answer in self._answers]


def allow_tf32(torch: Any, device: str, precision: str) -> None:
    """Let a GPU multiply in TF32 for bf16 only: it rounds to 10 bits, 1e-3, not the 1e-5 that fp32 promises."""
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "bf16"


def described(torch: Any, device: str, precision: str, how: str) -> str:
    """Return what runs a model: version, device, precision, and `how` as a `StaticRun` says it."""
    name = "cpu" if device == "cpu" else torch.cuda.get_device_name()
    return ", ".join(part for part in (f"torch {torch.__version__} on {name}", precision, how) if part)


def capture(torch: Any, stream: Any, compute: Callable[[], Result]) -> tuple[Any, Result]:
    """Return the CUDA graph of a computation that has been run on `stream` before, and where its results are.

    Raises:
        CaptureError: it cannot be captured; torch is as it was before.
    """
    cause = ""
    index, before = torch.cuda.current_device(), torch.cuda.current_stream()
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    # A failed capture leaves the state that it drew from good for nothing, and graphs captured before draw from this
    # one: it is given a copy.
    generator = torch.cuda.default_generators[index]
    state = generator.graphsafe_get_state()
    generator.graphsafe_set_state(state.clone_state())
    try:
        with (
            torch.inference_mode(),
            torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            try:
                results = compute()
            except Exception as error:  # a model's own code runs in a capture
                # The end of the capture may fail too, and then says no more than that something had failed.
                cause = reason(error)
                raise
    except Exception as error:  # this one's, or that of the end
        torch.cuda.set_stream(before)
        generator.graphsafe_set_state(state)
        _end_allocation(torch, index, pool)
        torch.cuda.synchronize()
        raise CaptureError(cause or reason(error)) from error
    return graph, results


def _end_allocation(torch: Any, index: int, pool: Any) -> None:
    """Have the allocator leave the pool of a failed capture.

    Before 2.12 torch does not (pytorch/pytorch#180395) and refuses every later capture; the name is of 2.8.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None) or torch._C._cuda_endAllocateCurrentStreamToPool
    with suppress(RuntimeError):  # it has left it
        end(index, pool)


def reason(error: BaseException) -> str:
    """Return what an error says, in a part of a line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:REASON_MAX]
