"""Turn a trained policy into ONNX files: pooling, normalisation and the unrolled denoise loop inside.

Graph (no batch axis): `images` uint8 (3, 240, 320, 3) or `object_state` float32 (K,), `state` and `velocity`
float32 (14,), `prefix` float32 (50, 14), `prefix_len` int64 (), `noise` float32 (50, 14) -> `actions` float32
(50, 14) absolute joint targets (rad, gripper fraction), `object_state` float32 (K,): estimated from the images,
or the input again. The guided graph has in place of the prefix `target` float32 (50, 14), `mask` float32 (50,),
`jacobian` and `beta` float32 (): see `Guide`.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from bench.training.model import CAMERA_COUNT, Encoder, FlowPolicy, Guide, Observed, pool
from runtime.inference.backends.rtc import BETA
from runtime.layout import RIG_DOF

IMAGE_SHAPE = (CAMERA_COUNT, 240, 320, 3)
FP16_MIN_SIZE = 4096
"""Weights with at least this many elements are stored as fp16 and widened when the graph is loaded."""


class VisionGraph(nn.Module):  # type: ignore[misc]
    """The exported computation of the policy that reads images and joints."""

    def __init__(self, policy: FlowPolicy, encoder: Encoder, steps: int) -> None:
        super().__init__()
        self.policy, self.encoder, self.steps = policy, encoder, steps

    def forward(
        self,
        images: Tensor,
        state: Tensor,
        velocity: Tensor,
        prefix: Tensor,
        prefix_len: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Add the batch axis, estimate the objects, denoise."""
        seen = look(self.policy, self.encoder, images, state, velocity)
        actions = self.policy.sample(seen, prefix[None], prefix_len[None], noise[None], steps=self.steps)
        return actions[0], seen.objects[0]


class StateGraph(nn.Module):  # type: ignore[misc]
    """The exported computation of the policy that is told where the objects are."""

    def __init__(self, policy: FlowPolicy, steps: int) -> None:
        super().__init__()
        self.policy, self.steps = policy, steps

    def forward(
        self,
        object_state: Tensor,
        state: Tensor,
        velocity: Tensor,
        prefix: Tensor,
        prefix_len: Tensor,
        noise: Tensor,
    ) -> Tensor:
        """Add the batch axis and denoise."""
        seen = look(self.policy, None, object_state, state, velocity)
        return self.policy.sample(seen, prefix[None], prefix_len[None], noise[None], steps=self.steps)[0]


class Denoiser(nn.Module):  # type: ignore[misc]
    """One step of the network as a program: what the torch backend runs, with `steps` of them."""

    def __init__(self, policy: FlowPolicy, steps: int) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("steps", torch.tensor(steps))

    def forward(
        self,
        tokens: Tensor,
        committed: Tensor,
        tau: Tensor,
        anchor: Tensor,
        state: Tensor,
        velocity: Tensor,
        object_state: Tensor,
    ) -> Tensor:
        """Clean tokens (1, 50, 14) from noisy ones."""
        condition = self.policy.condition(Observed(state, velocity, object_state), anchor)
        return self.policy.head(tokens, committed, tau, condition)


class GuidedGraph(nn.Module):  # type: ignore[misc]
    """The exported computation of a chunk that is pulled towards the running plan."""

    def __init__(self, policy: FlowPolicy, encoder: Encoder | None, steps: int) -> None:
        super().__init__()
        self.policy, self.encoder, self.steps = policy, encoder, steps

    def forward(
        self,
        first: Tensor,
        state: Tensor,
        velocity: Tensor,
        noise: Tensor,
        target: Tensor,
        mask: Tensor,
        jacobian: Tensor,
        beta: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Add the batch axis, estimate the objects where `first` are images, denoise."""
        seen = look(self.policy, self.encoder, first, state, velocity)
        guide = Guide(target[None], mask[None], jacobian, beta)
        actions = self.policy.sample_guided(seen, guide, noise[None], steps=self.steps)[0]
        return actions if self.encoder is None else (actions, seen.objects[0])


def look(policy: FlowPolicy, encoder: Encoder | None, first: Tensor, state: Tensor, velocity: Tensor) -> Observed:
    """Return what a chunk starts from, with a batch axis: `first` are images for the encoder, or the objects."""
    if encoder is None:
        return Observed(state[None], velocity[None], first[None])
    normal = encoder(pool(first[None]), (state[None] - policy.state_mean) / policy.state_std)
    return Observed(state[None], velocity[None], normal * policy.objects_std + policy.objects_mean)


def export(policy: FlowPolicy, encoder: Encoder | None, path: Path, *, steps: int) -> None:
    """Write the policy to `path` (vision graph with an `encoder`, else the state graph)."""
    graph = StateGraph(policy, steps) if encoder is None else VisionGraph(policy, encoder, steps)
    rest = {
        "prefix": torch.zeros(policy.horizon, RIG_DOF),
        "prefix_len": torch.tensor(3, dtype=torch.int64),
        "noise": torch.zeros(policy.horizon, RIG_DOF),
    }
    _write(graph, _seen(policy, encoder) | rest, path)


def export_guided(policy: FlowPolicy, encoder: Encoder | None, path: Path, *, steps: int) -> None:
    """Write the policy's guided graph to `path`."""
    rest = {
        "noise": torch.zeros(policy.horizon, RIG_DOF),
        "target": torch.zeros(policy.horizon, RIG_DOF),
        "mask": torch.zeros(policy.horizon),
        "jacobian": torch.tensor(1.0),
        "beta": torch.tensor(BETA),
    }
    _write(GuidedGraph(policy, encoder, steps), _seen(policy, encoder) | rest, path)


def export_program(policy: FlowPolicy, path: Path, *, steps: int) -> None:
    """Write the program of a policy that reads the objects to `path`, for the torch backend."""
    # A tensor each: one that came twice would be taken for one input.
    vectors = (torch.zeros(1, RIG_DOF) for _ in ("anchor", "state", "velocity"))
    example = (
        torch.zeros(1, policy.horizon, RIG_DOF),
        torch.zeros(1, policy.horizon),
        torch.zeros(1),
        *vectors,
        torch.zeros(1, policy.object_dim),
    )
    torch.export.save(torch.export.export(Denoiser(policy, steps).eval(), example), str(path))


def _seen(policy: FlowPolicy, encoder: Encoder | None) -> dict[str, Tensor]:
    first = (
        {"object_state": torch.zeros(policy.object_dim)}
        if encoder is None
        else {"images": torch.zeros(IMAGE_SHAPE, dtype=torch.uint8)}
    )
    return first | {"state": torch.zeros(RIG_DOF), "velocity": torch.zeros(RIG_DOF)}


def _write(graph: nn.Module, example: dict[str, Tensor], path: Path) -> None:
    reads_images = "images" in example
    model = traced(graph, example, ["actions", "object_state"] if reads_images else ["actions"])
    if not reads_images:
        # Both variants answer with the objects; here they are the input, handed through.
        model.graph.output.append(model.graph.input[0])
    save(model, path)


def traced(graph: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    """Return a computation as a graph with the inputs of `example` by name."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=outputs,
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph small and without a trace of where it was made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    store_fp16(model)
    forget_origin(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def store_fp16(model: onnx.ModelProto) -> None:
    """Store large float32 weights as fp16 with a Cast in front of their readers; in place."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < FP16_MIN_SIZE:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name + "_fp16")
        casts.append(
            helper.make_node("Cast", [half.name], [tensor.name], name=tensor.name + "_widen", to=TensorProto.FLOAT)
        )
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
    for node in reversed(casts):
        graph.node.insert(0, node)


def forget_origin(model: onnx.ModelProto) -> None:
    """Leave out of which line of which file each node came: names of folders on this machine; in place."""
    del model.graph.value_info[:]
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
