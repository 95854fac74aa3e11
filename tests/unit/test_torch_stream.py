"""A model of torch that is a generator: its chunk comes as it is written, and what is none is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, Streaming
from runtime.inference.policy import load_policy
from runtime.inference.sampler import Query, load_sampler
from runtime.layout import JOINT_NAMES
from runtime.states import Condition

HORIZON = 24
MODEL = """
import torch

written = []

def load(device, precision):
    def model(state, noise, prefix, prefix_len, **rest):
        rows = []
        for i in range({horizon}):
            rows.append(prefix[i] if i < prefix_len else state + 0.1 * i)
            written.append(i)
            if len(rows) in {parts}:
                yield torch.stack(rows)
    return model
"""


def folder(where: Path, parts: tuple[int, ...] = (8, 16, HORIZON), *, torch: bool = True, normal: bool = False) -> Path:
    (where / "net.py").write_text(MODEL.format(horizon=HORIZON, parts=parts), encoding="utf-8")
    model = "torch: {'*': 'net:load'}" if torch else "graphs: {'*': tiny.onnx}"
    statistics = f", normalisation: {{mean: {[0.5] * 14}, std: {[2.0] * 14}}}" if normal else ""
    (where / "manifest.yaml").write_text(
        f"{{name: writer, policy_class: VLA, rate_hz: 50, horizon: {HORIZON}, execute_steps: 8, {model},\n"
        "capabilities: {parts: true, prefix: true, prefix_max: 12}, observation: {velocity: false},\n"
        "action: {representation: absolute_joint, dof: 14, units: {joint: rad, gripper: fraction},\n"
        f" joint_names: [{', '.join(JOINT_NAMES)}]{statistics}}}}}\n",
        encoding="utf-8",
    )
    return where


def inputs(committed: int = 0) -> ModelInputs:
    prefix = np.zeros((HORIZON, 14), np.float32)
    prefix[:committed] = 7.0
    return ModelInputs(None, None, np.ones(14, np.float32), np.zeros(14, np.float32), prefix, committed, prefix)


def expected(committed: int = 0) -> NDArray[np.float32]:
    rows = 1.0 + 0.1 * np.arange(HORIZON, dtype=np.float32)
    rows[:committed] = 7.0
    return rows


@pytest.mark.parametrize("normal", [False, True])
def test_a_chunk_is_there_row_by_row_before_the_model_has_written_the_rest(tmp_path: Path, *, normal: bool) -> None:
    pytest.importorskip("torch")
    sampler = load_sampler(load_policy(str(folder(tmp_path, normal=normal))), "transfer", backend="torch")
    assert "in parts" in sampler.provider
    written = __import__("sys").modules["leadtime_policy_net"].written
    asked, seen = Query(Condition.PREFIX, 4, 0, (1,)), []
    written.clear()
    for outputs in sampler.stream(inputs(4), asked):
        seen.append(len(outputs.actions))
        assert len(written) == seen[-1]
        whole = outputs.actions
    assert seen == [8, 16, HORIZON]
    assert np.array_equal(whole, sampler.sample(inputs(4), asked).actions)
    assert np.allclose(whole[:4], 7.0)
    if not normal:
        assert np.allclose(whole[:, 0], expected(4))


KEEPING = f"""
import torch

def load(device, precision):
    rows = torch.empty({HORIZON}, 14)

    def model(state, **rest):
        rows[:] = state
        yield rows[:8]
        yield rows

    return model
"""


def test_an_answer_that_is_still_being_sent_is_not_written_over_by_the_next(tmp_path: Path) -> None:
    """As a model does that keeps the memory of its answer."""
    pytest.importorskip("torch")
    path = folder(tmp_path)
    (path / "net.py").write_text(KEEPING, encoding="utf-8")
    sampler = load_sampler(load_policy(str(path)), "transfer", backend="torch")
    asked = Query(Condition.PLAIN, 0, 0, (1,))
    sent = [outputs.actions for outputs in sampler.stream(inputs(), asked)]
    sampler.sample(replace(inputs(), state=np.full(14, 5.0, np.float32)), asked)
    assert [np.unique(actions).tolist() for actions in sent] == [[1.0], [1.0]]


def test_torchs_modes_are_not_left_to_whoever_takes_a_part(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    sampler = load_sampler(load_policy(str(folder(tmp_path))), "transfer", backend="torch")
    parts = sampler.stream(inputs(), Query(Condition.PLAIN, 0, 0, (1,)))
    next(parts)
    assert not torch.is_inference_mode_enabled()
    parts.close()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("parts", "what"), [((8,), r"the model answers with \(8, 14\)"), ((), "the model answers with something else")]
)
def test_a_model_that_never_gives_the_whole_is_refused(tmp_path: Path, parts: tuple[int, ...], what: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match=what):
        load_sampler(load_policy(str(folder(tmp_path, parts))), "transfer", backend="torch")


def test_a_backend_that_answers_at_once_cannot_keep_the_promise_of_parts(tmp_path: Path) -> None:
    tiny = Path(__file__).parent.parent / "data" / "tiny_policy.onnx"
    where = folder(tmp_path, torch=False)
    (where / "tiny.onnx").write_bytes(tiny.read_bytes())
    text = (
        (where / "manifest.yaml").read_text().replace("horizon: 24", "horizon: 50").replace("velocity: false", CAMERAS)
    )
    (where / "manifest.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"gives its chunks in parts, which backend 'onnx' cannot; leave out"):
        load_sampler(load_policy(str(where)), "transfer")


CAMERAS = "cameras: [cam_high, cam_left_wrist, cam_right_wrist]"


def test_a_streaming_backend_is_told_from_others_by_what_it_can_do() -> None:
    class Whole:
        provider, guided = "", False

        def infer(self, inputs: ModelInputs) -> None: ...

    assert not isinstance(Whole(), Streaming)
