"""The ONNX backend gives the graph what was observed, in the right places, and refuses a graph that differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from runtime.errors import UsageError
from runtime.inference.backends.base import Guidance, ModelInputs
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.backends.shape import GraphShape, values
from runtime.inference.policy import POLICY_FOLDER, load_policy

DATA = Path(__file__).parent.parent / "data"
SHAPE = GraphShape(cameras=3, height_px=240, width_px=320, object_state=0, velocity=True, horizon=50, prefix=True)


def inputs() -> ModelInputs:
    return ModelInputs(
        images=np.full((3, 240, 320, 3), 8, dtype=np.uint8),
        object_state=None,
        state=np.arange(14, dtype=np.float32),
        velocity=np.ones(14, dtype=np.float32),
        prefix=np.full((50, 14), 9.0, dtype=np.float32),
        prefix_len=4,
        noise=np.zeros((50, 14), dtype=np.float32),
    )


def test_committed_rows_come_back_and_the_rest_is_the_policys() -> None:
    backend = OnnxBackend(DATA / "tiny_policy.onnx", SHAPE)
    assert backend.provider == "CPUExecutionProvider"
    chunk = backend.infer(inputs())
    assert np.all(chunk.actions[:4] == 9.0)
    assert np.allclose(chunk.actions[4:], np.arange(14) + 0.02)
    assert chunk.object_state is not None
    assert np.allclose(chunk.object_state, 8.0)


def test_a_policy_of_object_states_runs_without_images() -> None:
    backend = OnnxBackend(DATA / "tiny_objects.onnx", replace(SHAPE, cameras=0, object_state=7))
    objects = np.arange(7, dtype=np.float32)
    chunk = backend.infer(replace(inputs(), images=None, object_state=objects))
    assert chunk.object_state is not None
    assert np.array_equal(chunk.object_state, objects)


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        (replace(SHAPE, cameras=2), "input 'images' is uint8 (3, 240, 320, 3)"),
        (replace(SHAPE, horizon=32), "float32 (50, 14); this rig and policy need float32 (32, 14)"),
        (replace(SHAPE, object_state=3), "no input 'object_state'"),
        (replace(SHAPE, prefix=False), "input 'prefix' is not of a policy graph"),
        (replace(SHAPE, guided=True), "no input 'target'; it needs target float32 (50, 14)"),
    ],
)
def test_a_graph_that_is_not_what_the_policy_says_is_refused(shape: GraphShape, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        OnnxBackend(DATA / "tiny_policy.onnx", shape)
    assert part in str(caught.value)
    assert "tiny_policy.onnx" in str(caught.value)


def test_a_guided_graph_that_reads_something_else_is_refused() -> None:
    shape = replace(SHAPE, cameras=0, object_state=7)
    OnnxBackend(DATA / "tiny_objects.onnx", shape, guided=DATA / "tiny_guided.onnx")
    with pytest.raises(UsageError, match=r"tiny_objects\.onnx: the graph has no input 'target'"):
        OnnxBackend(DATA / "tiny_objects.onnx", shape, guided=DATA / "tiny_objects.onnx")
    with pytest.raises(UsageError, match=r"tiny_guided\.onnx: the graph has no input 'images'"):
        OnnxBackend(DATA / "tiny_policy.onnx", SHAPE, guided=DATA / "tiny_guided.onnx")


def test_guidance_without_a_guided_graph_is_refused() -> None:
    guidance = Guidance(np.zeros((50, 14), np.float32), np.zeros(50, np.float32), jacobian=True, beta=5.0)
    with pytest.raises(UsageError, match="needs a guided graph"):
        OnnxBackend(DATA / "tiny_policy.onnx", SHAPE).infer(replace(inputs(), guidance=guidance))


@pytest.mark.parametrize("name", ["transfer.onnx", "transfer-guided.onnx"])
def test_fixed_buffers_give_the_bytes_of_a_plain_run(name: str) -> None:
    """Also for an output that is an input handed through, and after another request has used the buffers."""
    steps = load_policy("demo-state").horizon("transfer")
    shape = GraphShape(0, 240, 320, 7, velocity=True, horizon=steps, prefix=True)
    folder = POLICY_FOLDER / "demo-state"
    backend = OnnxBackend(folder / "transfer.onnx", shape, guided=folder / "transfer-guided.onnx")
    session = ort.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)

    def normal(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    for _ in range(3):
        guidance = Guidance(normal(steps, 14), np.ones(steps, np.float32), jacobian=True, beta=5.0)
        asked = ModelInputs(None, normal(7), normal(14), normal(14), normal(steps, 14), 3, normal(steps, 14))
        asked = replace(asked, guidance=guidance if "guided" in name else None)
        given = values(asked)
        feed = {node.name: np.asarray(given[node.name]) for node in session.get_inputs()}
        actions, objects = session.run(None, feed)
        chunk = backend.infer(asked)
        assert chunk.actions.tobytes() == actions.tobytes()
        assert chunk.object_state is not None
        assert chunk.object_state.tobytes() == objects.tobytes()


def test_pictures_of_another_size_are_resized_only_where_the_policy_says_so() -> None:
    larger = replace(inputs(), images=np.full((3, 480, 640, 3), 8, dtype=np.uint8))
    with pytest.raises(ValueError, match="pictures of 640x480; the model reads 320x240"):
        OnnxBackend(DATA / "tiny_policy.onnx", SHAPE).infer(larger)
    chunk = OnnxBackend(DATA / "tiny_policy.onnx", replace(SHAPE, resize="stretch")).infer(larger)
    assert chunk.object_state is not None
    assert np.allclose(chunk.object_state, 8.0)


@pytest.mark.parametrize(
    "change", [{"state": np.zeros(7, np.float32)}, {"state": np.zeros(14)}, {"velocity": np.float32(0.0)}]
)
def test_an_array_of_another_shape_or_type_is_not_spread_over_the_buffer(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"input '{next(iter(change))}' is float"):
        OnnxBackend(DATA / "tiny_policy.onnx", SHAPE).infer(replace(inputs(), **change))
