"""ONNX Runtime backend: policy graphs with their denoise loop unrolled, on the processor.

Graph inputs, no batch axis: `images` uint8 (cameras, height, width, 3) or `object_state` float32 (K,), `state`
and optionally `velocity` float32 (14,), `prefix` float32 (horizon, 14) with `prefix_len` int64 () where the
policy takes a prefix, `noise` float32 (horizon, 14). A guided graph has `target` float32 (horizon, 14), `mask`
float32 (horizon,), `jacobian` (1 or 0) and `beta` float32 () in place of the prefix. Outputs: `actions` float32
(horizon, 14) and optionally one further float32 (K,), its estimate of the objects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.layout import RIG_DOF

GRAPH_BYTES_MAX: Final = 2 * 1024**3
_ERRORS_ONLY: Final = 3
_DTYPES: Final = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}


@dataclass(frozen=True)
class Tensor:
    """Type and shape of one input or output; a dimension that the graph leaves open is -1."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return for instance `float32 (50, 14)`."""
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class GraphSignature:
    """Inputs and outputs of a graph by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True)
class GraphShape:
    """What a policy says of a graph: number and size of images, length of the object state, horizon, its kind."""

    cameras: int
    height_px: int
    width_px: int
    object_state: int
    velocity: bool
    horizon: int
    prefix: bool
    guided: bool = False

    def inputs(self) -> dict[str, Tensor]:
        """Return the inputs that such a graph must have."""
        chunk = Tensor("float32", (self.horizon, RIG_DOF))
        vector = Tensor("float32", (RIG_DOF,))
        table = {"state": vector, "noise": chunk}
        if self.cameras:
            table["images"] = Tensor("uint8", (self.cameras, self.height_px, self.width_px, 3))
        if self.object_state:
            table["object_state"] = Tensor("float32", (self.object_state,))
        if self.velocity:
            table["velocity"] = vector
        if self.guided:
            scalar = Tensor("float32", ())
            table |= {"target": chunk, "mask": Tensor("float32", (self.horizon,)), "jacobian": scalar, "beta": scalar}
        elif self.prefix:
            table |= {"prefix": chunk, "prefix_len": Tensor("int64", ())}
        return table


def read_signature(path: Path) -> GraphSignature:
    """Return the inputs and outputs of an ONNX file.

    Raises:
        UsageError: the file is not an ONNX graph that ONNX Runtime can run.
    """
    return _signature(_session(path, threads=1))


def check_signature(path: Path, signature: GraphSignature, shape: GraphShape) -> None:
    """Refuse a graph that does not fit what its policy says.

    Raises:
        UsageError: an input or output is missing, unknown or of another type or shape; one line.
    """
    wanted = shape.inputs()
    for name, tensor in wanted.items():
        have = signature.inputs.get(name)
        if have is None:
            raise UsageError(f"{path}: the graph has no input {name!r}; it needs {name} {tensor}")
        if have != tensor:
            raise UsageError(f"{path}: input {name!r} is {have}; this rig and policy need {tensor}")
    for name in signature.inputs:
        if name not in wanted:
            raise UsageError(f"{path}: input {name!r} is not of a policy graph; known: {', '.join(wanted)}")
    actions = Tensor("float32", (shape.horizon, RIG_DOF))
    have = signature.outputs.get("actions")
    if have != actions:
        raise UsageError(f"{path}: output 'actions' is {have or 'missing'}; this rig and policy need {actions}")


class OnnxBackend:
    """The graph of a task and, where `guided` names one, its guided graph.

    Raises:
        UsageError: a file is not an ONNX graph, or does not fit `shape`.
    """

    def __init__(self, path: Path, shape: GraphShape, threads: int = 1, guided: Path | None = None) -> None:
        self._plain = _Graph(path, shape, threads)
        self._guided = None if guided is None else _Graph(guided, replace(shape, guided=True), threads)

    @property
    def provider(self) -> str:
        """The execution provider that runs the graphs."""
        return self._plain.provider

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
    """One graph in one session of ONNX Runtime."""

    def __init__(self, path: Path, shape: GraphShape, threads: int) -> None:
        self._session = _session(path, threads)
        signature = _signature(self._session)
        check_signature(path, signature, shape)
        self._names = tuple(signature.inputs)
        self._estimate = next((name for name in signature.outputs if name != "actions"), None)
        self._outputs = ["actions"] if self._estimate is None else ["actions", self._estimate]

    @property
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    def run(self, inputs: ModelInputs) -> ModelOutputs:
        values: dict[str, Any] = {
            "images": inputs.images,
            "object_state": inputs.object_state,
            "state": inputs.state,
            "velocity": inputs.velocity,
            "prefix": inputs.prefix,
            "prefix_len": np.int64(inputs.prefix_len),
            "noise": inputs.noise,
        }
        guidance = inputs.guidance
        if guidance is not None:
            values |= {
                "target": guidance.target,
                "mask": guidance.mask,
                "jacobian": np.float32(guidance.jacobian),
                "beta": np.float32(guidance.beta),
            }
        feed = {name: np.asarray(values[name]) for name in self._names}
        outputs = self._session.run(self._outputs, feed)
        return ModelOutputs(outputs[0], outputs[1] if self._estimate is not None else None)


def _session(path: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # A spinning pool takes the core that the other processes of the rig need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if path.stat().st_size > GRAPH_BYTES_MAX:
        raise UsageError(f"{path} is larger than {GRAPH_BYTES_MAX} bytes")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # the library's errors share no base class of its own
        raise UsageError(f"{path} is not an ONNX graph that ONNX Runtime {ort.__version__} can run") from None


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
