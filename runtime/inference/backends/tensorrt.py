"""TensorRT backend: an engine of a policy's ONNX graph on an NVIDIA GPU, launched as one CUDA graph.

Memory, streams and the capture are torch's (`runtime.inference.backends.torch_run`), and so is what happens to the
pictures before the engine sees them.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.backends.cache import cache_folder
from runtime.inference.backends.engine import cached, engine_graph
from runtime.inference.backends.onnx import read_signature
from runtime.inference.backends.shape import GraphShape, check_signature
from runtime.inference.backends.torch import TorchBackend

_EXTRA = "pip install 'leadtime[gpu]', or use --backend onnx"


def load_tensorrt(
    path: Path, shape: GraphShape, guided: Path | None, *, device: str = "auto", precision: str = "fp32"
) -> TensorRtBackend:
    """Build or find the engines of a task's graphs and load them; the first build of a graph takes minutes.

    Raises:
        UsageError: TensorRT, torch or a GPU is not there.
        LeadtimeError: TensorRT cannot build the graph.
    """
    modules = []
    for name in ("tensorrt", "torch"):
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            raise UsageError(f"backend 'tensorrt' needs {name!r}, which is not installed: {_EXTRA}") from None
    trt, torch = modules
    if device == "cpu" or not torch.cuda.is_available():
        found = "the processor is asked for" if device == "cpu" else f"torch {torch.__version__} finds none"
        raise UsageError(f"backend 'tensorrt' runs on an NVIDIA GPU, and {found}; use --backend onnx")
    return TensorRtBackend(trt, torch, path, shape, guided, precision)


class TensorRtBackend:
    """The engine of a task's graph and, where there is a guided graph, of that."""

    def __init__(
        self, trt: Any, torch: Any, path: Path, shape: GraphShape, guided: Path | None, precision: str
    ) -> None:
        self._words = f"TensorRT {trt.__version__}, {precision}"

        def load(file: Path, of: GraphShape) -> TorchBackend:
            check_signature(file, read_signature(file), of)
            gpu = f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
            plan = cached(trt, engine_graph(file, precision), file, gpu, cache_folder())
            return TorchBackend(torch, file, _Engine(trt, torch, plan, file).context, of, "cuda", "fp32")

        self._plain = load(path, shape)
        self._guided = None if guided is None else load(guided, replace(shape, guided=True))

    @property
    def provider(self) -> str:
        """Versions, the GPU, and whether the engine is launched as a CUDA graph."""
        return f"{self._words}; {self._plain.provider}"

    @property
    def guided(self) -> bool:
        """Whether there is a guided graph."""
        return self._guided is not None

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation.

        Raises:
            UsageError: guidance without a guided graph.
        """
        if inputs.guidance is None:
            return self._plain.chunk(inputs)
        if self._guided is None:
            raise UsageError("a guided chunk needs a guided graph; this policy has none for the task")
        return self._guided.chunk(inputs)


class _Engine:
    """An engine in the GPU's memory."""

    def __init__(self, trt: Any, torch: Any, plan: bytes, path: Path) -> None:
        self._torch = torch
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UsageError(f"{path}: its engine in the cache cannot be loaded; remove the .plan files there")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        # A build leaves out an input that nothing depends on.
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        for name in names:
            if self._engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise UsageError(f"{path}: {name!r} decides on shapes; backend 'tensorrt' takes fixed shapes only")
        self._shapes = {name: tuple(self._engine.get_tensor_shape(name)) for name in names if name not in self._inputs}

    def context(self) -> _Context:
        """Return a model of backend torch, for one captured graph.

        A graph is tied to the state of the context that it was captured from: one for each (TensorRT's best practices,
        CUDA graphs).

        Raises:
            RuntimeError: there is no memory for its activations.
        """
        context = self._engine.create_execution_context()
        if context is None:
            raise RuntimeError("TensorRT could not make an execution context; the GPU has too little memory")
        outputs = {
            name: self._torch.empty(shape, dtype=self._torch.float32, device="cuda")
            for name, shape in self._shapes.items()
        }
        return _Context(self._torch, context, self._inputs, outputs)


class _Context:
    """An engine as a model of backend torch: called with tensors on the GPU, on torch's current stream."""

    def __init__(self, torch: Any, context: Any, inputs: list[str], outputs: dict[str, Any]) -> None:
        self._torch = torch
        self._context = context
        self._inputs = inputs
        self._outputs = outputs
        for name, tensor in outputs.items():
            context.set_tensor_address(name, tensor.data_ptr())

    def __call__(self, **tensors: Any) -> list[Any]:
        """Launch the engine; its outputs stay where they are."""
        # An engine reads memory in the order of the shape, whatever the strides; it is held until the next launch.
        self._read = {name: tensors[name].contiguous() for name in self._inputs}
        for name, tensor in self._read.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        if not self._context.execute_async_v3(self._torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("TensorRT could not launch the engine")
        others = [tensor for name, tensor in self._outputs.items() if name != "actions"]
        return [self._outputs["actions"], *others]
