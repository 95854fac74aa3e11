"""Turn a trained policy into one ONNX file: pooling, normalisation and the unrolled denoise loop inside.

Graph (no batch axis): `images` uint8 (3, 240, 320, 3) or `object_state` float32 (K,), `state` and `velocity`
float32 (14,), `prefix` float32 (50, 14), `prefix_len` int64 (), `noise` float32 (50, 14) -> `actions` float32
(50, 14) absolute joint targets (rad, gripper fraction), `object_state` float32 (K,): estimated from the images,
or the input again.
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

from bench.training.model import CAMERA_COUNT, HORIZON, Encoder, FlowPolicy, Observed, pool
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
        policy = self.policy
        state_normal = (state[None] - policy.state_mean) / policy.state_std
        normal = self.encoder(pool(images[None]), state_normal)
        objects = normal * policy.objects_std + policy.objects_mean
        seen = Observed(state[None], velocity[None], objects)
        actions = policy.sample(seen, prefix[None], prefix_len[None], noise[None], steps=self.steps)
        return actions[0], objects[0]


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
        seen = Observed(state[None], velocity[None], object_state[None])
        return self.policy.sample(seen, prefix[None], prefix_len[None], noise[None], steps=self.steps)[0]


def export(policy: FlowPolicy, encoder: Encoder | None, path: Path, *, steps: int) -> None:
    """Write the policy to `path` (vision graph with an `encoder`, else the state graph)."""
    if encoder is None:
        graph, first, name = StateGraph(policy, steps), torch.zeros(policy.object_dim), "object_state"
        outputs = ["actions"]
    else:
        graph = VisionGraph(policy, encoder, steps)
        first, name = torch.zeros(IMAGE_SHAPE, dtype=torch.uint8), "images"
        outputs = ["actions", "object_state"]
    example = (
        first,
        torch.zeros(RIG_DOF),
        torch.zeros(RIG_DOF),
        torch.zeros(HORIZON, RIG_DOF),
        torch.tensor(3, dtype=torch.int64),
        torch.zeros(HORIZON, RIG_DOF),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.eval(),
            example,
            input_names=[name, "state", "velocity", "prefix", "prefix_len", "noise"],
            output_names=outputs,
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    if encoder is None:
        # Both variants answer with the objects; here they are the input, handed through.
        model.graph.output.append(model.graph.input[0])
    store_fp16(model)
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
