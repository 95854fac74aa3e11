"""ONNX Runtime backend: policy graphs with their denoise loop unrolled, on the processor or a GPU.

Graph inputs, no batch axis: `images` uint8 (cameras, height, width, 3) or `object_state` float32 (K,), `state`
and optionally `velocity` float32 (14,), `prefix` float32 (horizon, 14) with `prefix_len` int64 () where the
policy takes a prefix, `noise` float32 (horizon, 14). A guided graph has `target` float32 (horizon, 14), `mask`
float32 (horizon,), `jacobian` (1 or 0) and `beta` float32 () in place of the prefix. Outputs: `actions` float32
(horizon, 14) and optionally one further float32 (K,), its estimate of the objects.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.backends.libraries import missing, preload, said
from runtime.inference.backends.providers import CPU, Attempt, attempts, in_words
from runtime.inference.backends.shape import GraphShape, GraphSignature, Tensor, check_signature, fill, values

GRAPH_BYTES_MAX: Final = 2 * 1024**3
_NO_SESSION: Final = (
    "nvidia-smi must list a GPU, and pip install 'onnxruntime-gpu[cuda,cudnn]' brings what it needs; "
    "or use device 'cpu'"
)
_ERRORS_ONLY: Final = 3
_SILENT: Final = 4
_DTYPES: Final = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}


def open_graph(path: Path) -> tuple[ort.InferenceSession, GraphSignature]:
    """Return a session of an ONNX file on one thread of the processor, and its inputs and outputs.

    Raises:
        UsageError: the file is not an ONNX graph that ONNX Runtime can run.
    """
    try:
        session = _session(path, 1, [(CPU, {})])
        return session, _signature(session)
    except _UnfitError:
        raise _not_a_graph(path) from None


def read_signature(path: Path) -> GraphSignature:
    """Return the inputs and outputs of an ONNX file; as `open_graph`."""
    return open_graph(path)[1]


class OnnxBackend:
    """The graph of a task and, where `guided` names one, its guided graph.

    `device` and `precision` as in a policy's manifest; a graph computes in the types that it was exported with, `bf16`
    only lets a GPU round what it multiplies.

    Raises:
        UsageError: a file is not an ONNX graph, does not fit `shape`, or the device is not there.
    """

    def __init__(
        self,
        path: Path,
        shape: GraphShape,
        threads: int = 1,
        guided: Path | None = None,
        *,
        device: str = "auto",
        precision: str = "fp32",
    ) -> None:
        tries = attempts(device, precision, ort.get_available_providers())
        self._plain = _Graph(path, shape, threads, tries)
        self._guided = None if guided is None else _Graph(guided, replace(shape, guided=True), threads, tries)

    @property
    def provider(self) -> str:
        """The execution provider that runs the graphs."""
        return self._plain.provider

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
            return self._plain.run(inputs)
        if self._guided is None:
            raise UsageError("a guided chunk needs a guided graph; this policy has none for the task")
        return self._guided.run(inputs)


class _Graph:
    """One graph in one session of ONNX Runtime, its inputs and outputs in memory that stays where it is."""

    def __init__(self, path: Path, shape: GraphShape, threads: int, tries: tuple[Attempt, ...]) -> None:
        self._pictures = shape.pictures
        why: dict[str, str] = {}
        for attempt in tries:
            if attempt.on_gpu:
                preload()
            try:
                self._session = _session(path, threads, attempt.providers)
                check_signature(path, _signature(self._session), shape)
                self._bind(attempt)
            except _UnfitError as error:
                why[attempt.wanted] = missing(attempt.wanted) or str(error)
                continue
            self.provider = in_words(self._session, attempt, why)
            return
        if tries[-1].on_gpu:
            raise UsageError(f"{path}: no session on the GPU could be made: {why[tries[-1].wanted]}; {_NO_SESSION}")
        raise _not_a_graph(path)

    def run(self, inputs: ModelInputs) -> ModelOutputs:
        given = values(inputs)
        if inputs.images is not None:
            given["images"] = self._pictures.on_host(inputs.images)
        fill(self._inputs, given)
        self._run()
        # A copy each: the next chunk is written into the same memory.
        actions, *rest = (buffer.copy() for buffer in self._outputs.values())
        return ModelOutputs(actions, rest[0] if rest else None)

    def _run(self) -> None:
        for name, mirror in self._mirrors.items():
            mirror.update_inplace(self._inputs[name])
        self._session.run_with_iobinding(self._binding)
        for name, answer in self._answers.items():
            np.copyto(self._outputs[name], answer.numpy())

    def _bind(self, attempt: Attempt) -> None:
        """Bind every input and output to a buffer, on a GPU to memory there with a buffer here beside it."""
        first = self._session.get_providers()[0]
        if first != attempt.wanted:
            raise _UnfitError(f"the session runs on {first}")
        signature = _signature(self._session)
        self._inputs = {name: _buffer(tensor) for name, tensor in signature.inputs.items()}
        named = ["actions"] if signature.estimate is None else ["actions", signature.estimate]
        # An input that is handed through as an output is not written to what is bound for it.
        self._outputs = {name: self._inputs.get(name, _buffer(signature.outputs[name])) for name in named}
        written = {name: buffer for name, buffer in self._outputs.items() if name not in self._inputs}
        self._mirrors: dict[str, Any] = {}
        self._answers: dict[str, Any] = {}
        self._binding = self._session.io_binding()
        if attempt.on_gpu:
            self._mirrors = {name: _on_gpu(buffer) for name, buffer in self._inputs.items()}
            self._answers = {name: _on_gpu(buffer) for name, buffer in written.items()}
            for name, mirror in self._mirrors.items():
                self._binding.bind_ortvalue_input(name, mirror)
            for name, answer in self._answers.items():
                self._binding.bind_ortvalue_output(name, answer)
        else:
            for name, buffer in self._inputs.items():
                self._binding.bind_input(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
            for name, buffer in written.items():
                self._binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        try:
            self._run()
        except Exception as error:  # the library's errors share no base class of its own
            raise _UnfitError(said(error)) from error


class _UnfitError(Exception):
    """A session could not be made or run with these providers."""


def _not_a_graph(path: Path) -> UsageError:
    return UsageError(f"{path} is not an ONNX graph that ONNX Runtime {ort.__version__} can run")


def _buffer(tensor: Tensor) -> NDArray[Any]:
    return np.zeros(tuple(max(size, 0) for size in tensor.shape), dtype=tensor.dtype)


def _on_gpu(buffer: NDArray[Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(buffer, "cuda", 0)


def _session(path: Path, threads: int, providers: list[tuple[str, dict[str, str]]]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A provider that fails to load says so on stderr; what came of it is reported by name and reason.
    options.log_severity_level = _ERRORS_ONLY if len(providers) == 1 else _SILENT
    # A spinning pool takes the core that the other processes of the rig need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if path.stat().st_size > GRAPH_BYTES_MAX:
        raise UsageError(
            f"{path} is larger than {GRAPH_BYTES_MAX} bytes; write its weights beside it: "
            "onnx.save(..., save_as_external_data=True)"
        )
    try:
        return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # the library's errors share no base class of its own
        raise _UnfitError(said(error)) from error


def _signature(session: Any) -> GraphSignature:
    def table(nodes: Any) -> dict[str, Tensor]:
        return {
            node.name: Tensor(
                _DTYPES.get(node.type, node.type),
                tuple(size if isinstance(size, int) else -1 for size in node.shape),
            )
            for node in nodes
        }

    return GraphSignature(table(session.get_inputs()), table(session.get_outputs()))
