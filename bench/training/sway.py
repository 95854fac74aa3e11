"""Make the policy `sway`: each arm's first and last joint swing gently about zero, the others stay where they are.

`python -m bench.training.sway --out runtime/policies/sway/sway.onnx` (extra `torch`, for onnx). It is for a rig that
has no model yet: it moves any arm whose first and last joint rest at zero. A harmonic oscillator of fixed amplitude:
the observed angle and velocity of a joint say where in its swing it is.
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
    amplitude = np.zeros(RIG_DOF, np.float32)
    grippers = np.zeros(RIG_DOF, np.float32)
    for arm in range(len(SIDES)):
        for joint, rad in AMPLITUDE_RAD.items():
            amplitude[arm * ARM_DOF + joint] = rad
        grippers[arm * ARM_DOF + ARM_JOINTS] = 1.0
    t_s = (np.arange(HORIZON, dtype=np.float32) * TICK_S)[:, None]
    constants = {
        "amplitude": amplitude,
        "swings": (amplitude > 0).astype(np.float32),
        "grippers": grippers,
        "omega": np.float32(omega),
        "push": np.float32(PUSH_RAD_S),
        "sine": np.sin(omega * t_s).astype(np.float32),
        "cosine": np.cos(omega * t_s).astype(np.float32),
    }
    nodes = [
        ("Mul", ["state", "omega"], "height"),
        ("Add", ["velocity", "push"], "pace"),
        ("Mul", ["height", "height"], "height2"),
        ("Mul", ["pace", "pace"], "pace2"),
        ("Add", ["height2", "pace2"], "radius2"),
        ("Sqrt", ["radius2"], "radius"),
        ("Div", ["height", "radius"], "sine_phase"),
        ("Div", ["pace", "radius"], "cosine_phase"),
        ("Mul", ["sine_phase", "cosine"], "a"),
        ("Mul", ["cosine_phase", "sine"], "b"),
        ("Add", ["a", "b"], "unit"),
        ("Mul", ["unit", "amplitude"], "swing"),
        ("Mul", ["state", "swings"], "from"),
        ("Sub", ["swing", "from"], "differences"),
        # Grippers are absolute: they stay as they are.
        ("Mul", ["state", "grippers"], "hold"),
        ("Add", ["differences", "hold"], "actions"),
    ]
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [RIG_DOF]) for name in ("state", "velocity")]
    noise = helper.make_tensor_value_info("noise", TensorProto.FLOAT, [HORIZON, RIG_DOF])
    actions = helper.make_tensor_value_info("actions", TensorProto.FLOAT, [HORIZON, RIG_DOF])
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "sway",
        [*vector, noise],
        [actions],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))


if __name__ == "__main__":
    tyro.cli(main)
