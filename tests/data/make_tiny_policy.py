"""Write the tiny policy graphs of the tests: `python make_tiny_policy.py`, with the `onnx` package installed.

actions = prefix where committed, else state + 0.02 velocity + 0.001 noise. The second output holds the mean
brightness of each camera, so that a test sees which image went where. `tiny_policy.onnx` has the whole
interface; `tiny_seven.onnx` drives one arm of 7 joints, which no rig accepts; `tiny_objects.onnx` reads
`object_state` in place of images; `tiny_quiet.onnx` does so too and is given no noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, save

FOLDER = Path(__file__).parent
HORIZON = 50


def build(dof: int, images: bool, noisy: bool = True) -> ModelProto:
    """Return the model as a protobuf message."""
    chunk = [HORIZON, dof]
    inputs = [
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [dof]),
        helper.make_tensor_value_info("velocity", TensorProto.FLOAT, [dof]),
        helper.make_tensor_value_info("prefix", TensorProto.FLOAT, chunk),
        helper.make_tensor_value_info("prefix_len", TensorProto.INT64, []),
    ]
    nodes = [
        helper.make_node("Mul", ["velocity", "step_s"], ["drift"]),
        helper.make_node("Add", ["state", "drift"], ["moved"]),
        helper.make_node("Less", ["rows", "prefix_len"], ["committed"]),
        helper.make_node("Where", ["committed", "prefix", "free" if noisy else "moved"], ["actions"]),
    ]
    if noisy:
        inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, chunk))
        nodes.insert(1, helper.make_node("Mul", ["noise", "noise_gain"], ["jitter"]))
        nodes.insert(3, helper.make_node("Add", ["jitter", "moved"], ["free"]))
    initial = [
        numpy_helper.from_array(np.float32(0.02), "step_s"),
        numpy_helper.from_array(np.float32(0.001), "noise_gain"),
        numpy_helper.from_array(np.arange(HORIZON, dtype=np.int64).reshape(-1, 1), "rows"),
    ]
    outputs = [helper.make_tensor_value_info("actions", TensorProto.FLOAT, chunk)]
    if images:
        inputs.insert(0, helper.make_tensor_value_info("images", TensorProto.UINT8, [3, 240, 320, 3]))
        nodes += [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["object_state"], keepdims=0),
        ]
        initial.append(numpy_helper.from_array(np.array([1, 2, 3], dtype=np.int64), "axes"))
        outputs.append(helper.make_tensor_value_info("object_state", TensorProto.FLOAT, [3]))
    else:
        inputs.insert(0, helper.make_tensor_value_info("object_state", TensorProto.FLOAT, [7]))
        nodes.append(helper.make_node("Identity", ["object_state"], ["object_estimate"]))
        outputs.append(helper.make_tensor_value_info("object_estimate", TensorProto.FLOAT, [7]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write the four files beside this one."""
    save(build(14, images=True), str(FOLDER / "tiny_policy.onnx"))
    save(build(7, images=True), str(FOLDER / "tiny_seven.onnx"))
    save(build(14, images=False), str(FOLDER / "tiny_objects.onnx"))
    save(build(14, images=False, noisy=False), str(FOLDER / "tiny_quiet.onnx"))


if __name__ == "__main__":
    main()
