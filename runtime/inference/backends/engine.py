"""TensorRT engines from a policy's ONNX file: what must be changed in the graph, the build, the caches.

Networks are strongly typed in every version: TensorRT 11 and TensorRT for RTX know no other, and 10 builds them alike.
So the types are the graph's own, and bf16 is written into it: what multiplies is cast, everything else, the sums of the
denoise loop among it, stays in fp32.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
from pathlib import Path
from typing import Any, Final

from runtime.errors import LeadtimeError, UsageError

MULTIPLIERS: Final = ("Gemm", "MatMul", "Conv")
MOVERS: Final = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Flatten")
"""Nodes that only move elements; TensorRT has no kernels of them for uint8."""


def engine_graph(path: Path, precision: str) -> bytes:
    """Return a policy graph as TensorRT shall read it; weights that lie beside it stay there.

    Raises:
        UsageError: the package `onnx` is not installed, or the graph with its weights is more than one message holds.
    """
    try:
        onnx: Any = importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise UsageError("backend 'tensorrt' changes the graph before it is built: pip install onnx") from None
    # With weights of more than 2 GB it could not be written again.
    model = onnx.load(str(path), load_external_data=False)
    given = {value.name for value in model.graph.input}
    # An input that is handed through as an output is no answer of an engine's.
    answers = [value for value in model.graph.output if value.name not in given]
    del model.graph.output[:]
    model.graph.output.extend(answers)
    cast_first(onnx, model)
    if precision == "bf16":
        lower(onnx, model)
    sign(model, path.parent)
    try:
        return bytes(model.SerializeToString())
    except Exception as error:  # protobuf's implementations raise different ones
        raise UsageError(
            f"{path}: changed for TensorRT it is more than the 2 GB of one message; "
            "write its weights beside it: onnx.save(..., save_as_external_data=True)"
        ) from error


def sign(model: Any, folder: Path) -> None:
    """Write down what is in the files that hold a model's weights, so that its bytes stand for these too; in place."""
    tensors = [*model.graph.initializer, *(part.t for node in model.graph.node for part in node.attribute)]
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        model.metadata_props.add(key=f"sha256 of {name}", value=digest)


def cast_first(onnx: Any, model: Any) -> None:
    """Turn uint8 inputs into float32 before they are moved about, not after; in place."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    pixels = [name for name, kind in kinds.items() if kind == onnx.TensorProto.UINT8]
    for name in pixels:
        movers = [node for node in model.graph.node if name in node.input and node.op_type in MOVERS]
        if not movers:
            continue
        wide = f"{name}_float32"
        for node in movers:
            node.input[:] = [wide if each == name else each for each in node.input]
        cast = onnx.helper.make_node("Cast", [name], [wide], name=f"{wide}_cast", to=onnx.TensorProto.FLOAT)
        model.graph.node.insert(0, cast)
        # The types between these nodes and their own casts have changed.
        del model.graph.value_info[:]


def lower(onnx: Any, model: Any) -> None:
    """Let every product be of bf16 numbers, its inputs cast to them and its output back to float32; in place."""
    bf16, fp32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    make = onnx.helper.make_node
    nodes, lowered = [], set()
    for node in model.graph.node:
        if node.op_type not in MULTIPLIERS:
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            low = f"{name}_bf16"
            if name and low not in lowered:
                nodes.append(make("Cast", [name], [low], name=f"{low}_cast", to=bf16))
                lowered.add(low)
            node.input[i] = low if name else name
        (output,) = node.output
        node.output[0] = f"{output}_product"
        nodes += [node, make("Cast", [node.output[0]], [output], name=f"{output}_widen", to=fp32)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]


def build(trt: Any, graph: bytes, path: Path, *, timings: bytes = b"", target: str = "") -> tuple[bytes, bytes]:
    """Return an engine of a graph and the timing cache that the build leaves.

    `trt` is the module `tensorrt` (10 and later) or `tensorrt_rtx`; `path` the graph's file, beside which its weights
    may lie; `target` a compute capability such as SM89, which the latter builds for without a GPU; empty for the GPU of
    this host.

    Raises:
        LeadtimeError: TensorRT cannot read the graph or cannot build it; one line with its own reason.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph, str(path)):
        raise LeadtimeError(f"{path}: TensorRT {trt.__version__} cannot read it: {parser.get_error(0).desc()[:200]}")
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        # TF32 rounds what is multiplied to 10 bits: 1e-3, not the 1e-5 that fp32 promises.
        config.clear_flag(trt.BuilderFlag.TF32)
    if target:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    with warnings.catch_warnings():
        # TensorRT for RTX measures on the user's GPU, at the first run, and warns of this cache.
        warnings.simplefilter("ignore", DeprecationWarning)
        if not config.set_timing_cache(config.create_timing_cache(timings), ignore_mismatch=False):
            # They are of another GPU. Without any, none could be asked for when it is built.
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise LeadtimeError(f"{path}: TensorRT {trt.__version__} cannot build an engine of it; its reason is above")
        return bytes(plan), bytes(config.get_timing_cache().serialize())


def cached(trt: Any, graph: bytes, path: Path, gpu: str, folder: Path) -> bytes:
    """Return the engine of a graph for the GPU of this host, built at the first use and kept in `folder`.

    An engine is found again by its graph, the GPU and TensorRT's version; the timings are shared by all graphs.

    Raises:
        LeadtimeError: it cannot be built.
    """
    key = hashlib.sha256(f"{trt.__name__} {trt.__version__} {gpu}".encode() + graph).hexdigest()[:32]
    plan_path, timing_path = folder / f"{key}.plan", folder / f"{trt.__name__}-{trt.__version__}.timing"
    if plan_path.is_file():
        return plan_path.read_bytes()
    timings = timing_path.read_bytes() if timing_path.is_file() else b""
    plan, timings = build(trt, graph, path, timings=timings)
    _replace(plan_path, plan)
    _replace(timing_path, timings)
    return plan


def _replace(path: Path, content: bytes) -> None:
    """Write a file that another process may be reading or writing."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_bytes(content)
    own.replace(path)
