"""A sampler gives each condition its chunk: the plan as start, as target, as measure, or not at all."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runtime.errors import UsageError
from runtime.inference import bid
from runtime.inference.backends import torch as torch_backend
from runtime.inference.backends.base import Guidance, ModelInputs, ModelOutputs
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.backends.rtc import BETA, soft_mask
from runtime.inference.backends.shape import GraphShape
from runtime.inference.policy import load_policy
from runtime.inference.sampler import BACKENDS, Query, Sampler, Timing, conditions_of, load_sampler
from runtime.layout import JOINT_NAMES
from runtime.states import Condition
from tests.unit.guided_case import CASES, HORIZON, OBJECTS, request

DATA = Path(__file__).parent.parent / "data"
CASE = CASES[0]


def folder(path: Path, extra: str = "") -> Path:
    """Make a policy that can do everything: chunks of the tiny policy, guided ones of the small network."""
    path.mkdir()
    for name in ("tiny_objects.onnx", "tiny_guided.onnx"):
        shutil.copy(DATA / name, path)
    (path / "manifest.yaml").write_text(
        "{name: tiny, policy_class: VLA, rate_hz: 50, horizon: 50, execute_steps: 8,\n"
        "action: {representation: absolute_joint, dof: 14, units: {joint: rad, gripper: fraction},\n"
        f" joint_names: [{', '.join(JOINT_NAMES)}]}}, observation: {{object_state: {OBJECTS}}},\n"
        "capabilities: {prefix: true, prefix_max: 25, guidance: true, best_of: true},\n"
        f"graphs: {{transfer: tiny_objects.onnx}}, guided: {{transfer: tiny_guided.onnx}}{extra}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return load_sampler(load_policy(str(folder(tmp_path_factory.mktemp("sampler") / "tiny"))), "transfer")


def inputs(rows: int) -> ModelInputs:
    """Return the case's request with `rows` of its plan; what is not planned is not a number."""
    asked = request(CASE)
    plan = asked["target"].copy()
    plan[rows:] = np.nan
    return ModelInputs(None, asked["object_state"], asked["state"], asked["velocity"], plan, rows)


def query(condition: Condition, committed: int = 0, execute: int = 0, seed: int = 4) -> Query:
    return Query(condition, committed, execute, (seed, 9))


def tiny(seed: int = 4, draws: int = 1) -> list[np.ndarray]:
    """Return what the tiny policy answers to the case, for each draw of noise."""
    asked, rng = request(CASE), np.random.default_rng((seed, 9))
    middle = asked["state"] + np.float32(0.02) * asked["velocity"]
    return [middle + np.float32(0.001) * rng.standard_normal((HORIZON, 14), dtype=np.float32) for _ in range(draws)]


def test_a_sampler_says_what_its_policy_can_do(sampler: Sampler) -> None:
    assert set(sampler.conditions) == set(Condition) - {Condition.FUTURE}
    assert sampler.warm_up() > 0
    assert sampler.provider == "CPUExecutionProvider"


def test_a_plain_chunk_knows_nothing_of_the_plan(sampler: Sampler) -> None:
    for rows in (0, 12):
        assert np.allclose(sampler.sample(inputs(rows), query(Condition.PLAIN, rows)).actions, tiny()[0], atol=1e-6)


def test_a_prefix_is_the_start_of_the_chunk(sampler: Sampler) -> None:
    chunk = sampler.sample(inputs(12), query(Condition.PREFIX, 12)).actions
    assert np.array_equal(chunk[:12], request(CASE)["target"][:12])
    assert np.allclose(chunk[12:], tiny()[0][12:], atol=1e-6)


@pytest.mark.parametrize("condition", [Condition.GUIDED, Condition.GUIDED_IDENTITY])
def test_guidance_pulls_where_there_is_a_plan_and_as_far_as_is_executed(sampler: Sampler, condition: Condition) -> None:
    asked = sampler.sample(inputs(30), query(condition, 10, 15)).actions
    # The graph run by hand, with the mask cut where the plan ends.
    shape = GraphShape(0, 240, 320, OBJECTS, velocity=True, horizon=HORIZON, prefix=True)
    backend = OnnxBackend(DATA / "tiny_objects.onnx", shape, guided=DATA / "tiny_guided.onnx")
    mask = soft_mask(10, 15, HORIZON)
    mask[30:] = 0.0
    target = np.nan_to_num(inputs(30).prefix)
    guidance = Guidance(target, mask, condition is Condition.GUIDED, BETA)
    noise = np.random.default_rng((4, 9)).standard_normal((HORIZON, 14), dtype=np.float32)
    by_hand = backend.infer(replace(inputs(0), noise=noise, guidance=guidance)).actions
    assert np.array_equal(asked, by_hand)


def test_guidance_brings_the_chunk_nearer_to_the_plan(sampler: Sampler) -> None:
    target = request(CASE)["target"]
    free = sampler.sample(inputs(0), query(Condition.GUIDED, 0, 10)).actions
    pulled = sampler.sample(inputs(HORIZON), query(Condition.GUIDED, 10, 10)).actions
    assert np.abs(pulled - target)[:10].mean() < 0.9 * np.abs(free - target)[:10].mean()


def test_best_of_answers_with_the_most_coherent_of_its_samples(sampler: Sampler) -> None:
    drawn = np.stack(tiny(draws=bid.SAMPLES))
    best = bid.choose(drawn, inputs(20).prefix[:20], 5)
    chunk = sampler.sample(inputs(20), query(Condition.BEST_OF, 5)).actions
    assert np.allclose(chunk, drawn[best], atol=1e-6)
    assert best != 0  # or the first sample would do


@pytest.mark.parametrize("condition", [c for c in Condition if c is not Condition.FUTURE])
def test_the_same_query_gives_the_same_chunk_and_another_seed_another(sampler: Sampler, condition: Condition) -> None:
    chunks = [sampler.sample(inputs(10), query(condition, 10, seed=seed)).actions for seed in (4, 4, 5)]
    assert np.array_equal(chunks[0], chunks[1])
    assert not np.array_equal(chunks[0], chunks[2])


def test_what_the_policy_cannot_do_is_refused_in_a_line() -> None:
    policy = load_policy(str(DATA / "tiny_objects.onnx"))
    assert conditions_of(policy, "transfer") == (Condition.PLAIN, Condition.PREFIX)
    with pytest.raises(UsageError, match="'guided' on this task; it can do plain, prefix"):
        load_sampler(policy, "transfer").sample(inputs(10), query(Condition.GUIDED))


def test_an_unknown_backend_or_one_without_a_file_is_refused(tmp_path: Path) -> None:
    policy = load_policy(str(folder(tmp_path / "tiny")))
    with pytest.raises(UsageError, match="unknown backend 'tpu'; valid: onnx, torch, tensorrt"):
        load_sampler(policy, "transfer", backend="tpu")
    with pytest.raises(UsageError, match="torch program for no task; 'transfer' is wanted"):
        load_sampler(policy, "transfer", backend="torch")


def test_a_model_that_answers_in_normalised_differences_is_served_as_it_is(tmp_path: Path) -> None:
    """The tiny policy, which answers with its state, is told the state in the statistics of its data."""
    path = folder(tmp_path / "tiny")
    text = (path / "manifest.yaml").read_text()
    spread = "{mean: [" + ", ".join(["0.5"] * 14) + "], std: [" + ", ".join(["0.25"] * 14) + "]}"
    text = text.replace("absolute_joint, dof: 14", f"delta_joint, normalisation: {spread}, dof: 14")
    text = text.replace("{object_state:", f"{{normalisation: {{state: {spread}}}, object_state:")
    (path / "manifest.yaml").write_text(text, encoding="utf-8")
    served = load_sampler(load_policy(str(path)), "transfer")
    asked, noise = request(CASE), np.random.default_rng((4, 9)).standard_normal((HORIZON, 14), dtype=np.float32)
    answer = (asked["state"] - 0.5) / 0.25 + 0.02 * asked["velocity"] + 0.001 * noise
    arm = np.array([i not in (6, 13) for i in range(14)])
    wanted = answer * 0.25 + 0.5 + arm * asked["state"]
    for rows in (0, 12):
        kind = Condition.PREFIX if rows else Condition.PLAIN
        chunk = served.sample(inputs(rows), query(kind, rows)).actions
        assert np.allclose(chunk[rows:], wanted[rows:], atol=1e-5)
        assert np.array_equal(chunk[:rows], asked["target"][:rows])


def test_a_warm_up_measures_median_and_tail(sampler: Sampler) -> None:
    p50_ns = sampler.warm_up()
    timing = sampler.timing
    assert timing is not None
    assert p50_ns == timing.p50_ns <= timing.p99_ns
    assert timing.runs >= 2
    assert str(Timing(5_900_000, 6_410_000, 30)) == "p50 5.9 ms, p99 6.4 ms of 30 runs"


def test_guidance_that_a_backend_cannot_give_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(str(folder(tmp_path / "tiny")))
    plain = OnnxBackend(policy.graph("transfer"), policy.shape("transfer"))
    monkeypatch.setitem(BACKENDS, "torch", lambda *_: plain)
    with pytest.raises(UsageError, match="offers guidance, which backend 'torch' cannot give"):
        load_sampler(policy, "transfer", backend="torch")


def test_a_server_starts_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import runtime.inference.server.load"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which backend torch finds the small network as one step."""
    torch = pytest.importorskip("torch")
    from bench.training.export import export_program
    from bench.training.recover import policy_of
    from tests.unit.guided_case import STEPS, weights

    path = folder(tmp_path_factory.mktemp("program") / "tiny", ", torch: {transfer: small.pt2}")
    network = policy_of({name: torch.as_tensor(array) for name, array in weights().items()}, path)
    export_program(network, path / "small.pt2", steps=STEPS)
    return path


@pytest.fixture(scope="module")
def programs(stepwise: Path) -> Callable[[], Sampler]:
    """Return a maker of the small network's sampler in the torch backend."""
    return lambda: load_sampler(load_policy(str(stepwise)), "transfer", backend="torch")


@pytest.mark.parametrize("condition", [Condition.GUIDED, Condition.GUIDED_IDENTITY])
def test_the_torch_backend_gives_the_chunk_of_the_guided_graph(
    sampler: Sampler, programs: Callable[[], Sampler], condition: Condition
) -> None:
    asked = query(condition, CASE.delay, CASE.execute)
    chunks = [each.sample(inputs(30), asked).actions for each in (sampler, programs())]
    assert np.abs(chunks[0] - chunks[1]).max() < 1e-5


@pytest.mark.parametrize("rows", [0, 1, 12])
def test_the_torch_backend_gives_the_networks_chunk_after_a_prefix(programs: Callable[[], Sampler], rows: int) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.model import Observed
    from bench.training.recover import policy_of
    from tests.unit.guided_case import STEPS, weights

    network = policy_of({name: torch.as_tensor(array) for name, array in weights().items()}, Path("guided_case"))
    asked = {name: torch.as_tensor(array)[None] for name, array in request(CASE).items()}
    noise = np.random.default_rng((4, 9)).standard_normal((1, HORIZON, 14), dtype=np.float32)
    with torch.no_grad():
        seen = Observed(asked["state"], asked["velocity"], asked["object_state"])
        again = network.sample(seen, asked["target"], torch.tensor([rows]), torch.as_tensor(noise), steps=STEPS)
    chunk = programs().sample(inputs(rows), query(Condition.PREFIX, rows)).actions
    assert np.abs(again[0].numpy() - chunk).max() < 1e-5


@pytest.mark.parametrize("condition", [Condition.PREFIX, Condition.GUIDED, Condition.GUIDED_IDENTITY])
def test_bf16_rounds_what_a_step_multiplies_and_keeps_the_sums(stepwise: Path, condition: Condition) -> None:
    torch = pytest.importorskip("torch")
    policy = load_policy(str(stepwise))
    half = replace(policy, manifest=msgspec.structs.replace(policy.manifest, precision="bf16"))
    samplers = [load_sampler(each, "transfer", backend="torch") for each in (policy, half)]
    assert [each.provider for each in samplers] == [f"torch {torch.__version__} on cpu, {p}" for p in ("fp32", "bf16")]
    rows = 12 if condition is Condition.PREFIX else 30
    fine, coarse = (each.sample(inputs(rows), query(condition, 12, CASE.execute)).actions for each in samplers)
    assert 1e-5 < np.abs(fine - coarse).max() < 0.02
    if condition is Condition.PREFIX:
        assert np.array_equal(coarse[:12], inputs(12).prefix[:12])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_is_moved_to_the_device_and_told_the_precision(
    stepwise: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    pytest.importorskip("torch")
    passes, moved = importlib.import_module("torch.export.passes"), []
    monkeypatch.setattr(passes, "move_to_device_pass", lambda program, to: moved.append(to) or program)
    monkeypatch.setattr(torch_backend, "choose_device", lambda _torch, wanted: wanted)
    monkeypatch.setattr(torch_backend, "StepBackend", lambda *given: given[-2:])
    shape = load_policy(str(stepwise)).shape("transfer")
    loaded: Any = torch_backend.load_torch(stepwise, "small.pt2", shape, device=device, precision="bf16")
    assert loaded == (device, "bf16")
    assert moved == ["cuda"] * (device == "cuda")


def test_a_step_that_is_given_no_noise_is_refused(stepwise: Path) -> None:
    from runtime.inference.backends.torch import load_torch

    shape = load_policy(str(stepwise)).shape("transfer")
    with pytest.raises(UsageError, match=r"small\.pt2: the program denoises"):
        load_torch(stepwise, "small.pt2", replace(shape, noise=False))


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = folder(tmp_path / "tiny", ", torch: {transfer: tiny_guided.onnx}")
    with pytest.raises(UsageError, match=r"tiny_guided\.onnx is not a program that torch"):
        load_sampler(load_policy(str(path)), "transfer", backend="torch")


def test_a_model_that_is_given_no_noise_has_one_chunk_for_an_observation() -> None:
    quiet = load_sampler(load_policy(str(DATA / "tiny_quiet.onnx")), "transfer")
    asked = request(CASE)
    chunks = [quiet.sample(inputs(12), query(Condition.PREFIX, 12, seed=seed)).actions for seed in (4, 5)]
    assert np.array_equal(chunks[0], chunks[1])
    assert np.array_equal(chunks[0][:12], asked["target"][:12])
    assert np.allclose(chunks[0][12:], asked["state"] + np.float32(0.02) * asked["velocity"], atol=1e-6)


def test_noise_is_drawn_for_whom_it_is_given_only() -> None:
    class Noted:
        provider, guided = "none", False

        def infer(self, inputs: ModelInputs) -> ModelOutputs:
            given.append(inputs.noise)
            return ModelOutputs(inputs.prefix, None)

    given: list[np.ndarray | None] = []
    for noisy in (False, True):
        Sampler(Noted(), inputs(0), (Condition.PLAIN,), noisy=noisy).sample(inputs(0), query(Condition.PLAIN))
    drawn = np.random.default_rng((4, 9)).standard_normal((HORIZON, 14), dtype=np.float32)
    assert given[0] is None
    assert given[1] is not None
    assert np.array_equal(given[1], drawn)
