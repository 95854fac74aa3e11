"""V-JEPA 2-AC: the search finds what it is to find, and the model is asked as the released code asks it."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError
from runtime.inference.adapters.cem import Cem
from runtime.inference.adapters.embodiment import RigKinematics
from runtime.inference.adapters.vjepa2_ac import VJepa2Ac, VJepa2AcSettings
from tests.conformance.suite import PROMPT, question

LIMITS = np.array((0.05, 0.05, 0.05, 0.0, 0.0, 0.0, 0.75))
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")

HUBCONF = '''
import torch

dependencies = ["torch"]

class Encoder(torch.nn.Module):
    """Tokens that say nothing but how bright the picture is: 0 for dark, one direction; 255 the other."""

    def forward(self, clip):
        assert clip.shape == (1, 3, 2, 256, 256) and torch.equal(clip[:, :, 0], clip[:, :, 1])
        lean = torch.tanh(clip.mean())
        return torch.stack([torch.stack([lean, torch.zeros(()), -lean, torch.ones(()) * 0.5])] * 4)[None]

class Predictor(torch.nn.Module):
    """A world in which lifting the hand makes the picture brighter, and nothing else does anything."""

    def forward(self, tokens, actions, poses):
        samples, steps, numbers = actions.shape
        assert numbers == 7 and poses.shape == actions.shape and tokens.shape[1] == 4 * steps
        assert not actions[..., 3:6].any() and actions[..., :3].abs().max() <= 0.05
        torch.testing.assert_close(poses[:, 1:] - poses[:, :-1], actions[:, :-1])
        assert (0 <= poses[:, 0, 6]).all() and (poses[:, 0, 6] <= 1).all()
        ahead = tokens[:, -4:].clone()
        ahead[..., 0] += 20.0 * actions[:, -1, 2, None]
        ahead[..., 2] -= 20.0 * actions[:, -1, 2, None]
        return torch.cat([tokens[:, 4:], ahead], dim=1)

def vjepa2_ac_vit_giant(*, pretrained=True, **kwargs):
    torch.manual_seed(0)
    return Encoder(), Predictor()
'''


@lru_cache
def kinematics() -> RigKinematics:
    return RigKinematics("x5")


def adapter(folder: Path, source: str = HUBCONF, brightness: int = 255) -> VJepa2Ac:
    (folder / "hubconf.py").write_text(source)
    Image.fromarray(np.full((64, 64, 3), brightness, dtype=np.uint8)).save(folder / "goal.png")
    settings = VJepa2AcSettings(goal=str(folder / "goal.png"), device="cpu")
    return VJepa2Ac(str(folder), settings, kinematics())


def test_the_search_finds_the_nearest_sequence() -> None:
    wanted = np.array([[0.03, -0.02, 0.01, 0, 0, 0, 0.5], [-0.01, 0.04, 0.0, 0, 0, 0, -0.25]])
    found = Cem().plan(lambda drawn: np.abs(drawn - wanted).mean(axis=(1, 2)), LIMITS, seed=3)
    assert np.abs(found - wanted)[:, :3].max() < 0.012
    assert np.abs(found - wanted)[:, 6].max() < 0.15
    assert not found[:, 3:6].any()


def test_the_search_stays_in_its_limits_and_is_repeated_by_its_seed() -> None:
    def far(drawn: Any) -> Any:
        assert drawn.shape == (400, 2, 7)
        assert (np.abs(drawn) <= LIMITS).all()
        return np.abs(drawn - 1.0).sum(axis=(1, 2))

    assert np.array_equal(Cem().plan(far, LIMITS, seed=1), Cem().plan(far, LIMITS, seed=1))
    assert np.allclose(Cem().plan(far, LIMITS, seed=1)[:, :3], 0.05, atol=0.01)


def test_scores_that_are_none_never_win() -> None:
    def far(drawn: Any) -> Any:
        return np.where(drawn[:, 0, 0] > 0.0, np.nan, -drawn[:, 0, 0])

    assert Cem().plan(far, LIMITS, seed=0)[0, 0] <= 0.0


def test_what_is_no_checkout_or_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no hubconf\.py"):
        VJepa2Ac(str(tmp_path), VJepa2AcSettings(goal=""), kinematics())
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    with pytest.raises(UsageError, match="no picture of the goal"):
        VJepa2Ac(str(tmp_path), VJepa2AcSettings(goal=str(tmp_path / "hubconf.py")), kinematics())


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_torch_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="not installed here: torch"):
        adapter(tmp_path).open(1.0)


@needs_torch
@pytest.mark.parametrize(("brightness", "sign"), [(255, 1), (0, -1)])
def test_the_hand_goes_where_the_model_says_the_goal_is(brightness: int, sign: int, tmp_path: Path) -> None:
    made = adapter(tmp_path, brightness=brightness)
    card = made.open(10.0)
    assert (card.horizon, card.execute_steps, card.rate_hz) == (2, 1, 4)
    made.reset(PROMPT)
    asked = question(4)
    rows = made.infer(asked).actions
    assert rows.shape == (2, 14)
    base = kinematics().base["right"].rotation
    moved = kinematics().forward(rows[-1].astype(np.float64))["right"].position
    moved = base.T @ (moved - kinematics().forward(asked.view.position.astype(np.float64))["right"].position)
    assert sign * moved[2] > 0.01
    assert np.array_equal(rows[:, :7], np.tile(asked.view.position[:7], (2, 1)))
    made.close()


@needs_torch
def test_a_search_that_takes_too_long_and_a_model_that_fails_are_said(tmp_path: Path) -> None:
    made = adapter(tmp_path)
    with pytest.raises(AdapterError, match="was not opened"):
        made.infer(question())
    made.open(10.0)
    with pytest.raises(AdapterError, match="in time"):
        made.infer(question(timeout_s=0.0))
    broken = adapter(tmp_path, HUBCONF.replace("assert numbers == 7", "assert numbers == 8"))
    broken.open(10.0)
    with pytest.raises(AdapterError, match=r"failed \(AssertionError\)"):
        broken.infer(question())
