"""The training code: samples of demonstrations, the lock-step loop, the network's promises, the exported graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.training.closed_loop import HORIZON, ChunkPolicy, Pace, run_episode
from bench.training.demos import DEMO_SEED, Demos, halve, record_episode
from bench.training.evaluate import EVALUATION_SEED, wilson
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.errors import UsageError
from runtime.inference.policy import load_policy
from runtime.layout import RIG_DOF

DATA = Path(__file__).parent.parent / "data"


def some_demos(lengths: tuple[int, ...], disturbed: tuple[int, ...] = (), knocked: tuple[int, ...] = ()) -> Demos:
    ticks = sum(lengths)
    command = np.repeat(np.arange(ticks, dtype=np.float32)[:, None], RIG_DOF, axis=1)
    marks, knocks = np.zeros((2, ticks), np.bool_)
    marks[list(disturbed)] = True
    knocks[list(knocked)] = True
    return Demos(
        position=command,
        velocity=command,
        command=command,
        objects=command[:, :3],
        scene=np.zeros((ticks, 1)),
        disturbed=marks,
        knocked=knocks,
        start=np.concatenate([[0], np.cumsum(lengths)]),
    )


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_contains_the_rate_and_stays_in_the_unit_interval(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    low, high = wilson(successes, trials)
    assert 0.0 <= low <= successes / trials <= high <= 1.0


def test_wilson_agrees_with_a_published_value() -> None:
    # Newcombe 1998, table I: 81 of 263 -> 0.2553..0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


@pytest.mark.parametrize(("delay", "execute"), [(20, 31), (26, 26), (10, 9), (-1, 5), (0, 0)])
def test_an_infeasible_pace_is_refused(delay: int, execute: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Pace(delay, execute)


def test_a_chunk_never_runs_into_the_next_episode() -> None:
    chunk, _ = some_demos((30, 80)).chunks(np.array([20, 29, 30]), HORIZON)
    assert chunk[0, :, 0].tolist() == [*range(20, 30), *[29] * 40]
    assert chunk[1, :, 0].tolist() == [29] * HORIZON
    assert chunk[2, :, 0].tolist() == list(range(30, 80))


def test_the_first_disturbed_row_is_found_from_every_row() -> None:
    _, first = some_demos((100,), disturbed=(7, 8, 40)).chunks(np.array([5]), HORIZON)
    assert first[0, :4].tolist() == [2, 2, 2, 3]
    assert first[0, 4] == 35
    assert first[0, 36] == HORIZON


def test_no_row_from_a_knock_on_could_be_foreseen() -> None:
    _, first = some_demos((100,), disturbed=(8,), knocked=(12, 13)).chunks(np.array([5, 13, 14]), HORIZON)
    assert first[0, :5].tolist() == [3, 3, 3, 3, 7]
    assert first[0, 7:].tolist() == [*range(7, HORIZON), HORIZON]
    assert first[1, 0] == 0
    assert first[2, 0] == HORIZON


def test_the_expert_resumes_after_each_burst_that_leaves_room_for_a_prefix() -> None:
    assert some_demos((40, 80), disturbed=(3, 4, 30, 50, 100, 101)).resumed(25).tolist() == [31, 102]


def test_a_share_of_the_samples_has_a_prefix_that_ends_with_a_burst() -> None:
    pytest.importorskip("torch")
    from bench.training.learn import Batches

    demos = some_demos((200,), disturbed=tuple(range(100, 110)))
    chunk, prefix, until = (
        np.asarray(part) for part in Batches(demos, np.random.default_rng(0), HORIZON).draw(2000)[1:]
    )
    ends = chunk[np.arange(2000), np.minimum(prefix, HORIZON - 1), 0] == 110
    assert 0.15 < ends.mean() < 0.35
    assert (until[ends] == HORIZON).all()


def test_what_comes_after_an_episode_is_nobodys_command() -> None:
    _, first = some_demos((30, 80), disturbed=(25,)).chunks(np.array([20, 26, 30]), HORIZON)
    assert first[0, :12].tolist() == [5] * 6 + [10] * 5 + [11]
    assert first[1, :6].tolist() == [4] * 5 + [5]
    assert first[2, 0] == HORIZON


def test_halving_a_picture_averages_blocks() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    blocks = image.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    assert np.abs(halve(image) - blocks).max() <= 0.5


def test_a_disturbed_demonstration_is_marked_free_of_jumps_and_repeatable() -> None:
    plant = Plant("x5", TASKS["conveyor"]())
    one, two = (record_episode(plant, "conveyor", DEMO_SEED + 1, disturb=True) for _ in range(2))
    assert one is not None
    assert two is not None
    assert np.array_equal(one["command"], two["command"])
    assert 0.0 < one["disturbed"].mean() < 0.7
    # 3.5 rad/s: the expert's own pace and a strong push on top.
    arms = np.delete(one["command"], [6, 13], axis=1)
    assert np.abs(np.diff(arms, axis=0)).max() < 3.5 * 0.02


def test_evaluation_never_meets_a_demonstration() -> None:
    assert EVALUATION_SEED + 100_000 < DEMO_SEED


class CountingPolicy(ChunkPolicy):
    """Answers request n with the constant n + 1 and remembers the prefixes."""

    def __init__(self) -> None:
        self.reads_images = False
        self.horizon = HORIZON
        self.prefixes: list[np.ndarray] = []

    def chunk(self, plant: Any, renderer: Any, prefix: Any, noise: Any) -> Any:
        self.prefixes.append(prefix[:, 0].copy())
        return np.full((HORIZON, RIG_DOF), float(len(self.prefixes)), np.float32), np.zeros(0, np.float32)


def test_a_chunk_acts_from_the_delay_on_and_its_prefix_is_what_runs_until_then() -> None:
    plant, policy, ran = Plant("x5"), CountingPolicy(), []
    plant.task.time_limit_s = 0.5
    run_episode(
        plant,
        policy,
        None,
        pace=Pace(3, 10),
        seed=0,
        on_tick=lambda tick, plant, command: ran.append(command[0]),
    )
    home = float(plant.arm.home[0])
    assert ran == [home] * 3 + [1] * 10 + [2] * 10 + [3] * 2
    assert [list(prefix) for prefix in policy.prefixes] == [[], [1, 1, 1], [2, 2, 2]]


@pytest.fixture(scope="module")
def flow() -> Any:
    torch = pytest.importorskip("torch")
    from bench.training.learn import scales_of
    from bench.training.model import FlowPolicy

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    demos = some_demos((60, 60))
    walk = np.cumsum(rng.normal(size=(demos.ticks, RIG_DOF)), axis=0).astype(np.float32) * 0.01
    demos = Demos(**{**vars(demos), "command": walk, "position": walk, "velocity": walk})
    policy = FlowPolicy(scales_of(demos, rng, HORIZON)).eval()
    # No two arrays alike, as after training: an exporter stores equal ones once.
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return policy


def request(count: int, horizon: int = HORIZON) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    prefix = rng.normal(size=(horizon, RIG_DOF)).astype(np.float32)
    prefix[count:] = np.nan
    return {
        "state": np.zeros(RIG_DOF, np.float32),
        "velocity": np.zeros(RIG_DOF, np.float32),
        "prefix": prefix,
        "prefix_len": np.array(count, np.int64),
        "noise": rng.standard_normal((horizon, RIG_DOF), dtype=np.float32),
    }


@pytest.fixture(scope="module")
def exported(flow: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import onnxruntime as ort

    from bench.training.export import export
    from bench.training.model import Encoder

    encoder = Encoder(flow.object_dim).eval()
    path = tmp_path_factory.mktemp("policy") / "p.onnx"
    export(flow, encoder, path, steps=3)
    return encoder, ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]), path


@pytest.mark.parametrize("count", [0, 1, 18, 25])
def test_the_exported_graph_keeps_the_prefix_ignores_the_rest_of_it_and_agrees_with_torch(
    flow: Any, exported: Any, count: int
) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.export import IMAGE_SHAPE
    from bench.training.model import Observed, pool

    encoder, session, _ = exported
    feed = request(count) | {"images": np.random.default_rng(2).integers(0, 255, IMAGE_SHAPE, dtype=np.uint8)}
    actions, objects = session.run(["actions", "object_state"], feed)
    assert np.isfinite(actions).all()
    assert np.array_equal(actions[:count], feed["prefix"][:count])
    part = {name: torch.as_tensor(value)[None] for name, value in feed.items()}
    with torch.no_grad():
        normal = encoder(pool(part["images"]), (part["state"] - flow.state_mean) / flow.state_std)
        seen = Observed(part["state"], part["velocity"], normal * flow.objects_std + flow.objects_mean)
        again = flow.sample(seen, part["prefix"], part["prefix_len"], part["noise"], steps=3)
    assert np.abs(again[0].numpy() - actions).max() < 0.01
    assert np.abs(seen.objects[0].numpy() - objects).max() < 0.01 * float(flow.objects_std.max())


def test_nothing_is_learnt_from_rows_that_are_not_labelled(flow: Any) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.model import Observed

    zeros = torch.zeros(1, RIG_DOF)
    seen = Observed(zeros, zeros, torch.zeros(1, flow.object_dim))
    chunk = torch.full((1, HORIZON, RIG_DOF), 0.1)
    flow.zero_grad()
    flow.loss(seen, chunk, torch.tensor([5]), torch.tensor([20])).backward()
    learnt = flow.head.leave[1].bias.grad.reshape(HORIZON, RIG_DOF).abs().sum(1) > 0
    assert learnt.nonzero().flatten().tolist() == list(range(5, 20))


def test_a_policy_that_reads_images_comes_back_from_its_file(exported: Any) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.export import IMAGE_SHAPE, VisionGraph
    from bench.training.recover import load_onnx_weights

    _, session, path = exported
    back = load_onnx_weights(path)
    assert back.steps == 3
    feed = {"images": np.random.default_rng(2).integers(0, 255, IMAGE_SHAPE, dtype=np.uint8)} | request(0)
    feed["prefix"] = np.zeros_like(feed["prefix"])
    with torch.no_grad():
        again = VisionGraph(back.policy, back.encoder, back.steps)(*(torch.as_tensor(value) for value in feed.values()))
    for one, other in zip(session.run(["actions", "object_state"], feed), again, strict=True):
        assert np.abs(one - other.numpy()).max() < 1e-4


@pytest.mark.parametrize("task", load_policy("demo-state").tasks)
def test_a_shipped_policy_comes_back_from_its_file_and_its_guided_graph_is_of_the_same_weights(task: str) -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime as ort

    from bench.training.export import StateGraph
    from bench.training.guided import difference
    from bench.training.recover import load_onnx_weights

    policy = load_policy("demo-state")
    path, guided = policy.graph(task), policy.guided_graph(task)
    back = load_onnx_weights(path)
    asked = request(7, policy.horizon(task))
    asked["prefix"] = 0.1 * np.nan_to_num(asked["prefix"])
    feed = {"object_state": back.policy.objects_mean.numpy() + 0.02, **asked}
    with torch.no_grad():
        again = StateGraph(back.policy, back.steps)(*(torch.as_tensor(value) for value in feed.values()))
    chunk = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["actions"], feed)[0]
    assert np.abs(again.numpy() - chunk).max() < 1e-5
    assert guided is not None
    assert difference(back, guided) < 1e-4


def test_without_a_target_a_guided_chunk_is_the_plain_one(flow: Any) -> None:
    torch = pytest.importorskip("torch")
    from bench.training.model import Guide, Observed

    asked = {name: torch.as_tensor(np.nan_to_num(value))[None] for name, value in request(0).items()}
    seen = Observed(asked["state"], asked["velocity"], torch.zeros(1, flow.object_dim))
    guide = Guide(asked["prefix"], torch.zeros(1, HORIZON), torch.tensor(1.0), torch.tensor(5.0))
    with torch.no_grad():
        guided = flow.sample_guided(seen, guide, asked["noise"], steps=5)
        plain = flow.sample(seen, asked["prefix"], asked["prefix_len"], asked["noise"], steps=5)
    assert (guided - plain).abs().max() < 1e-6


@pytest.mark.parametrize("content", [b"no graph", None])
def test_a_file_that_was_not_exported_here_is_refused_in_a_line(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("torch")
    from bench.training.recover import load_onnx_weights

    path = tmp_path / "p.onnx"
    path.write_bytes((DATA / "tiny_objects.onnx").read_bytes() if content is None else content)
    with pytest.raises(UsageError, match=r"p\.onnx (is not an ONNX file|holds no policy of bench.training.export)"):
        load_onnx_weights(path)


def test_a_corrector_learns_what_it_is_taught_and_its_graph_does_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from bench.training.correct import JOINTS, Lessons, export, learn
    from runtime.inference.client.corrector import COMMITTED_STEPS, OnnxCorrector
    from runtime.records import AMENDMENT_STEPS_MAX

    rng = np.random.default_rng(0)
    plans = rng.normal(0.0, 0.05, (4000, COMMITTED_STEPS + AMENDMENT_STEPS_MAX, RIG_DOF))
    seen = rng.normal(0.0, 0.1, (4000, 2 * RIG_DOF + 12))
    # A ball to the left is answered by every joint going to the right.
    wanted = plans[:, [COMMITTED_STEPS - 1]] - 0.5 * seen[:, None, [2 * RIG_DOF]] * np.ones((AMENDMENT_STEPS_MAX, 1))
    flat = np.concatenate((seen, plans.reshape(len(plans), -1)), axis=1).astype(np.float32)
    model = learn(Lessons(list(flat), list(wanted.astype(np.float32))), steps=150, seed=0)
    export(model, tmp_path / "corrector.onnx")
    graph = OnnxCorrector(tmp_path / "corrector.onnx", 12)
    with torch.no_grad():
        said = model.actions(torch.as_tensor(flat[:5])).numpy()
    for i in range(5):
        actions = graph.correct(seen[i, :RIG_DOF], seen[i, RIG_DOF : 2 * RIG_DOF], seen[i, 2 * RIG_DOF :], plans[i])
        assert actions is not None
        np.testing.assert_allclose(actions[:, JOINTS], said[i][:, JOINTS], atol=1e-3)
        np.testing.assert_allclose(actions[:, JOINTS], wanted[i][:, JOINTS], atol=0.02)
