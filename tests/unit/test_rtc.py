"""Real-time chunking as published: its weights, its soft mask, and its guided loop against the authors' own code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.inference.backends.base import Guidance, ModelInputs
from runtime.inference.backends.onnx import GraphShape, OnnxBackend
from runtime.inference.backends.rtc import BETA, guidance_limit, soft_mask
from tests.unit.guided_case import CASES, HORIZON, OBJECTS, STEPS, Case, request, weights

DATA = Path(__file__).parent.parent / "data"
REFERENCE = json.loads((DATA / "guided_reference.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-5


def test_the_weights_are_the_published_ones() -> None:
    def schedule(steps: int) -> list[float]:
        return [min(BETA, guidance_limit(step / steps)) for step in range(steps)]

    assert schedule(5) == pytest.approx((5.0, 4.25, 2.17, 2.17, 4.25), abs=5e-3)
    assert schedule(10) == pytest.approx((5.0, 5.0, 4.25, 2.76, 2.17, 2.0, 2.17, 2.76, 4.25, 5.0), abs=5e-3)


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_a_limit_is_two_at_least_as_at_half_of_the_flow(tau: float) -> None:
    assert guidance_limit(0.5) == 2.0
    assert guidance_limit(tau) >= 2.0 - 1e-12


@pytest.mark.parametrize("golden", REFERENCE["masks"], ids=lambda golden: f"d{golden['delay']}-s{golden['execute']}")
def test_the_soft_mask_is_the_authors(golden: dict[str, Any]) -> None:
    mask = soft_mask(golden["delay"], golden["execute"], len(golden["mask"]))
    assert mask.dtype == np.float32
    assert np.allclose(mask, golden["mask"], atol=1e-6)


@given(st.integers(0, 80), st.integers(0, 2**63 - 1) | st.integers(0, 80), st.integers(1, 64))
def test_a_soft_mask_falls_from_one_to_zero_and_is_zero_beyond_the_old_chunk(delay: int, execute: int, h: int) -> None:
    mask = soft_mask(delay, execute, h)
    end = max(h - execute, 0)
    assert np.all(mask[: min(delay, end)] == 1.0)
    assert np.all(mask[end:] == 0.0)
    assert np.all((mask[:end] > 0.0) & (mask[:end] <= 1.0))
    assert np.all(np.diff(mask) <= 0.0)


def guidance(case: Case, *, jacobian: bool = True) -> Guidance:
    mask = soft_mask(case.delay, case.execute, HORIZON)
    return Guidance(target=request(case)["target"], mask=mask, jacobian=jacobian, beta=case.beta)


def inputs(case: Case, *, jacobian: bool = True) -> ModelInputs:
    asked = request(case)
    return ModelInputs(
        images=None,
        object_state=asked["object_state"],
        state=asked["state"],
        velocity=asked["velocity"],
        prefix=np.zeros((HORIZON, 14), np.float32),
        prefix_len=0,
        noise=asked["noise"],
        guidance=guidance(case, jacobian=jacobian),
    )


@pytest.fixture(scope="module")
def graph() -> OnnxBackend:
    shape = GraphShape(0, 240, 320, OBJECTS, velocity=True, horizon=HORIZON, prefix=True)
    return OnnxBackend(DATA / "tiny_objects.onnx", shape, guided=DATA / "tiny_guided.onnx")


UNROLLED = [(case, golden) for case, golden in zip(CASES, REFERENCE["actions"], strict=True) if case.steps == STEPS]


@pytest.mark.parametrize(("case", "golden"), UNROLLED, ids=lambda part: f"seed{part.seed}" if part in CASES else "")
def test_a_guided_graph_gives_the_authors_chunk(graph: OnnxBackend, case: Case, golden: list[list[float]]) -> None:
    assert np.abs(graph.infer(inputs(case)).actions - golden).max() < TOLERANCE


def test_the_identity_in_place_of_the_jacobian_is_another_chunk(graph: OnnxBackend) -> None:
    true, identity = (graph.infer(inputs(CASES[0], jacobian=jacobian)).actions for jacobian in (True, False))
    assert np.abs(true - identity).max() > 0.05
    # Without the Jacobian the pull acts on each action alone.
    target = request(CASES[0])["target"]
    assert np.abs(identity - target)[:10].mean() < 0.5 * np.abs(true - target)[:10].mean()
    assert not np.allclose(identity, target, atol=1e-3)


@pytest.fixture(scope="module")
def network() -> Any:
    torch = pytest.importorskip("torch")
    from bench.training.recover import policy_of

    return policy_of({name: torch.as_tensor(array) for name, array in weights().items()}, Path("guided_case"))


def sample_guided(network: Any, case: Case, *, jacobian: bool = True) -> np.ndarray:
    torch = pytest.importorskip("torch")
    from bench.training.model import Guide, Observed

    asked = {name: torch.as_tensor(array)[None] for name, array in request(case).items()}
    pull = guidance(case, jacobian=jacobian)
    guide = Guide(
        asked["target"],
        torch.as_tensor(pull.mask)[None],
        torch.tensor(float(jacobian)),
        torch.tensor(case.beta),
    )
    seen = Observed(asked["state"], asked["velocity"], asked["object_state"])
    with torch.no_grad():
        return network.sample_guided(seen, guide, asked["noise"], steps=case.steps)[0].numpy()


@pytest.mark.parametrize("i", range(len(CASES)))
def test_the_networks_guided_loop_gives_the_authors_chunk(network: Any, i: int) -> None:
    assert np.abs(sample_guided(network, CASES[i]) - REFERENCE["actions"][i]).max() < TOLERANCE


@pytest.mark.parametrize("jacobian", [True, False])
def test_graph_and_network_agree(network: Any, graph: OnnxBackend, jacobian: bool) -> None:
    for case, _ in UNROLLED:
        chunk = graph.infer(inputs(case, jacobian=jacobian)).actions
        assert np.abs(sample_guided(network, case, jacobian=jacobian) - chunk).max() < TOLERANCE


def test_the_jacobian_written_out_is_autograds(network: Any) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.jacobian import linearise

    head, rng = copy.deepcopy(network.head).double(), np.random.default_rng(3)
    tokens, vector = (torch.as_tensor(rng.standard_normal((2, HORIZON, 14))) for _ in range(2))
    committed = (torch.arange(HORIZON)[None] < torch.tensor([[0], [9]])).double()
    given = committed, torch.tensor([0.2, 0.8]).double(), torch.as_tensor(rng.standard_normal((2, 42 + OBJECTS)))
    answer = head(tokens.requires_grad_(), *given)
    gradient = torch.autograd.grad(answer, tokens, vector)[0]
    again, pull = linearise(head, tokens.detach(), *given)
    assert gradient.abs().max() > 0.05
    assert (again - answer).abs().max() < 1e-12
    assert (pull(vector) - gradient).abs().max() < 1e-12
