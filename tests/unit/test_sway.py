"""The policy `sway` on any arm: it starts from rest, keeps its swing where arms lag, and moves nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.arms import ARM_MODELS
from runtime.inference.policy import load_policy
from runtime.layout import GRIPPER_INDEX

onnxruntime = pytest.importorskip("onnxruntime")


LAG_ROWS = 6
"""How far the arms are behind their targets."""


@pytest.mark.parametrize("committed", [0, 1, 12, 31])
@pytest.mark.parametrize("arm", sorted(ARM_MODELS))
def test_sway_swings_two_joints_of_each_arm_and_holds_the_rest(arm: str, committed: int) -> None:
    policy = load_policy("sway")
    session = onnxruntime.InferenceSession(str(policy.folder / "sway.onnx"), providers=["CPUExecutionProvider"])
    home = np.tile(np.array(ARM_MODELS[arm].home, np.float32), 2)
    origin = np.ones(14, np.float32)
    origin[list(GRIPPER_INDEX)] = 0.0
    path = np.tile(home, (LAG_ROWS + 2, 1))
    for row in range(len(path) - 1, 1000, 10):
        # Without a prefix a plan is begun where the arms are seen, and they are where it has them.
        seen = row - (LAG_ROWS if committed > 1 else 0)
        state = path[seen]
        velocity = (path[seen] - path[seen - 1]) / np.float32(0.02)
        rows = min(committed, len(path) - row)
        prefix = np.zeros((50, 14), np.float32)
        prefix[:rows] = path[row : row + rows] - state * origin
        inputs = {"state": state, "velocity": velocity, "prefix": prefix, "prefix_len": np.array(rows)}
        (actions,) = session.run(None, inputs)
        np.testing.assert_array_equal(actions[:rows], prefix[:rows])
        path = np.concatenate([path[:row], actions + state * origin])
    moved = np.ptp(path, axis=0)
    swinging = [0, 5, 7, 12]
    np.testing.assert_allclose(moved[swinging], [0.24, 0.5, 0.24, 0.5], rtol=0.02)
    np.testing.assert_allclose(np.delete(moved, swinging), 0.0, atol=1e-5)
    assert np.abs(np.diff(path, axis=0)).max() / 0.02 < 0.5
