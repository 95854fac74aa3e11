"""Make the guided graph of a policy from its ONNX file: no training, about a minute.

`python -m bench.training.guided --policy runtime/policies/demo-state --task transfer` reads transfer.onnx there and
writes transfer-guided.onnx beside it, to be listed in manifest.yaml under `guided`. `--torch` also writes transfer.pt2,
to be listed under `torch`. Needs the extra `torch`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import tyro

from bench.training.export import GuidedGraph, export_guided, export_program
from bench.training.recover import Recovered, load_onnx_weights
from runtime.errors import UsageError
from runtime.inference.backends.rtc import BETA, soft_mask
from runtime.layout import RIG_DOF

TOLERANCE = 1e-4
"""Largest difference between a graph and the network it was made of, rad."""


def make(policy: Path, task: str) -> Path:
    """Write the guided graph of a task and compare it with the network; the file's path.

    Raises:
        UsageError: the policy's graph is not one of `bench.training.export`.
        ValueError: the graph written does not compute what the network does.
    """
    recovered = load_onnx_weights(policy / f"{task}.onnx")
    path = policy / f"{task}-guided.onnx"
    export_guided(recovered.policy, recovered.encoder, path, steps=recovered.steps)
    apart = difference(recovered, path)
    if apart > TOLERANCE:
        raise ValueError(f"{path} differs from the network by {apart:.1e} rad")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, within {apart:.1e} rad of the network")
    return path


def difference(recovered: Recovered, path: Path) -> float:
    """Return the largest difference between a guided graph and the network on a random request, rad."""
    rng = np.random.default_rng(0)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {}
    for node in session.get_inputs():
        if node.name == "images":
            feed[node.name] = rng.integers(0, 255, node.shape, dtype=np.uint8)
        else:
            feed[node.name] = rng.standard_normal(node.shape, dtype=np.float32)
    horizon = recovered.policy.horizon
    feed["target"] = feed["state"] + 0.1 * rng.standard_normal((horizon, RIG_DOF), dtype=np.float32)
    feed["mask"] = soft_mask(10, 20, horizon)
    feed["jacobian"], feed["beta"] = np.array(1.0, np.float32), np.array(BETA, np.float32)
    graph = GuidedGraph(recovered.policy, recovered.encoder, recovered.steps)
    with torch.no_grad():
        again = graph(*(torch.as_tensor(value) for value in feed.values()))
    actions = again if recovered.encoder is None else again[0]
    return float(np.abs(session.run(["actions"], feed)[0] - actions.numpy()).max())


def make_program(policy: Path, task: str) -> Path:
    """Write the program of a task for the torch backend; the file's path.

    Raises:
        UsageError: the policy's graph is not one of `bench.training.export`, or reads images.
    """
    recovered = load_onnx_weights(policy / f"{task}.onnx")
    if recovered.encoder is not None:
        raise UsageError(f"{policy}: reads images; the torch backend runs policies that read the objects' state")
    path = policy / f"{task}.pt2"
    export_program(recovered.policy, path, steps=recovered.steps)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return path


def main(*, policy: Path, task: str, torch: bool = False) -> None:
    """Make what guidance needs for one task of a policy.

    Args:
        policy: directory with TASK.onnx.
        task: which task.
        torch: also write TASK.pt2, which `leadtime serve --backend torch` runs.
    """
    make(policy, task)
    if torch:
        make_program(policy, task)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except UsageError as error:
        sys.exit(str(error))
