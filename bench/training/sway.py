"""Make the policy `sway`: each arm's first and last joint swing gently about zero, the others stay where they are.

`python -m bench.training.sway --out runtime/policies/sway/sway.onnx` (extra `torch`, for onnx). It is for a rig that
has no model yet: it moves any arm whose first and last joint rest at zero. A harmonic oscillator of fixed amplitude:
a joint's angle and pace say where in its swing it is. They are read off the end of the committed prefix, because arms
lag behind their targets, and a swing begun anew where they are seen would fall back by that lag with every chunk.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import tyro
from onnx import TensorProto, helper, numpy_helper

from runtime.layout import ARM_DOF, ARM_JOINTS, RIG_DOF, SIDES

HORIZON: Final = 50
TICK_S: Final = 0.02
PERIOD_S: Final = 4.0
AMPLITUDE_RAD: Final = {0: 0.12, ARM_JOINTS - 1: 0.25}
"""By joint of an arm."""
PUSH_RAD_S: Final = 1e-3
"""A joint that stands still at zero starts upwards."""


def main(*, out: Path) -> None:
    """Write the graph to a file."""
    omega = 2 * math.pi / PERIOD_S
    step = omega * TICK_S
    amplitude = np.zeros(RIG_DOF, np.float32)
    joints = np.ones(RIG_DOF, np.float32)
    for arm in range(len(SIDES)):
        for joint, rad in AMPLITUDE_RAD.items():
            amplitude[arm * ARM_DOF + joint] = rad
        joints[arm * ARM_DOF + ARM_JOINTS] = 0.0
    constants = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "two": np.int64(2),
        "amplitude": amplitude,
        "swings": amplitude > 0,
        "joints": joints,
        "omega": np.float32(omega),
        "push": np.float32(PUSH_RAD_S / omega),
        "cosine_step": np.float32(math.cos(step)),
        "sine_step": np.float32(math.sin(step)),
        "step": np.float32(step),
        "rows": np.arange(HORIZON, dtype=np.int64)[:, None],
    }
    nodes = [
        # Answers are differences to the observed state; a gripper's are absolute.
        ("Mul", ["state", "joints"], "origin"),
        # The swing goes on from the prefix's last row, or from what is observed, at row 0.
        ("Greater", ["prefix_len", "zero"], "planned"),
        ("Sub", ["prefix_len", "one"], "end"),
        ("Max", ["end", "zero"], "from_row"),
        ("Gather", ["prefix", "from_row"], "planned_difference"),
        ("Add", ["origin", "planned_difference"], "planned_angle"),
        ("Where", ["planned", "planned_angle", "state"], "angle"),
        # In units of the angle, radius times cosine: two rows tell it exactly, an observation by its velocity.
        ("Sub", ["end", "one"], "before_end"),
        ("Max", ["before_end", "zero"], "row_before"),
        ("Gather", ["prefix", "row_before"], "difference_before"),
        ("Add", ["origin", "difference_before"], "angle_before"),
        ("Mul", ["angle", "cosine_step"], "turned"),
        ("Sub", ["turned", "angle_before"], "gained"),
        ("Div", ["gained", "sine_step"], "planned_pace"),
        ("Div", ["velocity", "omega"], "observed_pace"),
        ("GreaterOrEqual", ["prefix_len", "two"], "planned_twice"),
        ("Where", ["planned_twice", "planned_pace", "observed_pace"], "unpushed_pace"),
        ("Add", ["unpushed_pace", "push"], "pace"),
        ("Mul", ["angle", "angle"], "angle2"),
        ("Mul", ["pace", "pace"], "pace2"),
        ("Add", ["angle2", "pace2"], "radius2"),
        ("Sqrt", ["radius2"], "radius"),
        ("Div", ["angle", "radius"], "sine_phase"),
        ("Div", ["pace", "radius"], "cosine_phase"),
        ("Sub", ["rows", "from_row"], "rows_on"),
        ("CastLike", ["rows_on", "step"], "steps"),
        ("Mul", ["steps", "step"], "turn"),
        ("Cos", ["turn"], "cosine"),
        ("Sin", ["turn"], "sine"),
        ("Mul", ["sine_phase", "cosine"], "a"),
        ("Mul", ["cosine_phase", "sine"], "b"),
        ("Add", ["a", "b"], "unit"),
        ("Mul", ["unit", "amplitude"], "swing"),
        ("Where", ["swings", "swing", "angle"], "targets"),
        ("Sub", ["targets", "origin"], "free"),
        ("Less", ["rows", "prefix_len"], "committed"),
        ("Where", ["committed", "prefix", "free"], "actions"),
    ]
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [RIG_DOF]) for name in ("state", "velocity")]
    prefix = helper.make_tensor_value_info("prefix", TensorProto.FLOAT, [HORIZON, RIG_DOF])
    prefix_len = helper.make_tensor_value_info("prefix_len", TensorProto.INT64, [])
    actions = helper.make_tensor_value_info("actions", TensorProto.FLOAT, [HORIZON, RIG_DOF])
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "sway",
        [*vector, prefix, prefix_len],
        [actions],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))


if __name__ == "__main__":
    tyro.cli(main)
