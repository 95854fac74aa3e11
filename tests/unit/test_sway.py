"""The policy `sway` on any arm: it starts from rest, keeps its amplitude, and moves nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.arms import ARM_MODELS
from runtime.inference.policy import load_policy
from runtime.layout import GRIPPER_INDEX

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("arm", sorted(ARM_MODELS))
def test_sway_swings_two_joints_of_each_arm_and_holds_the_rest(arm: str) -> None:
    policy = load_policy("sway")
    session = onnxruntime.InferenceSession(str(policy.folder / "sway.onnx"), providers=["CPUExecutionProvider"])
    home = np.tile(np.array(ARM_MODELS[arm].home, np.float32), 2)
    state, velocity = home.copy(), np.zeros(14, np.float32)
    grippers = list(GRIPPER_INDEX)
    path = []
    for _ in range(40):
        noise = np.zeros((50, 14), np.float32)
        (actions,) = session.run(None, {"state": state, "velocity": velocity, "noise": noise})
        np.testing.assert_array_equal(actions[:, grippers], np.tile(state[grippers], (50, 1)))
        targets = actions + state
        targets[:, grippers] = actions[:, grippers]
        path += list(targets[:25])
        state, velocity = targets[25].astype(np.float32), ((targets[26] - targets[24]) / 0.04).astype(np.float32)
    moved = np.ptp(np.array(path), axis=0)
    swinging = [0, 5, 7, 12]
    np.testing.assert_allclose(moved[swinging], [0.24, 0.5, 0.24, 0.5], rtol=0.02)
    np.testing.assert_allclose(np.delete(moved, swinging), 0.0, atol=1e-6)
    assert np.abs(np.diff(np.array(path), axis=0)).max() / 0.02 < 0.5
