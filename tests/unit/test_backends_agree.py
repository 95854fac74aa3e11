"""One policy through eager torch, TorchScript, an exported program and ONNX gives one chunk."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import UsageError
from runtime.inference.backends.base import Guidance, ModelInputs, ModelOutputs
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.backends.torch import load_torch
from runtime.inference.policy import POLICY_FOLDER, load_policy
from runtime.inference.sampler import Query, load_sampler
from runtime.layout import CAMERAS, JOINT_NAMES
from runtime.states import Condition
from tests.unit.guided_case import HORIZON, OBJECTS, STEPS, weights

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from bench.training.export import StateGraph, VisionGraph, export  # noqa: E402
from bench.training.model import Encoder  # noqa: E402
from bench.training.recover import load_onnx_weights, policy_of  # noqa: E402

TOLERANCE = 1e-5
SHIPPED = load_policy("demo-state").horizon("transfer")
ENTRY = """
from pathlib import Path

from bench.training.export import {graph}
from bench.training.recover import load_onnx_weights


def load(device, precision):
    found = load_onnx_weights(Path(__file__).parent / "net.onnx")
    parts = [found.policy, found.encoder] if found.encoder is not None else [found.policy]
    return {graph}(*parts, found.steps).eval()


def nothing(device, precision):
    return None


def broken(device, precision):
    raise FileNotFoundError("weights.bin is missing")


def short(device, precision):
    return lambda **seen: seen["noise"][:7]


def raising(device, precision):
    def model(**seen):
        return seen["gripper"]
    return model
"""


def manifest(objects: int, torch_file: str, horizon: int = HORIZON) -> str:
    seen = f"{{object_state: {objects}}}" if objects else f"{{cameras: [{', '.join(CAMERAS)}]}}"
    return (
        "{name: net, policy_class: VLA, rate_hz: 50,"
        f" horizon: {horizon}, execute_steps: 8,\n"
        "action: {representation: absolute_joint, dof: 14, units: {joint: rad, gripper: fraction},\n"
        f" joint_names: [{', '.join(JOINT_NAMES)}]}}, observation: {seen},\n"
        "capabilities: {prefix: true, prefix_max: 25},\n"
        f"graphs: {{transfer: net.onnx}}, torch: {{transfer: '{torch_file}'}}}}\n"
    )


def example(objects: int, horizon: int = HORIZON) -> dict[str, Any]:
    """Return the inputs that a network is exported with."""
    seen = (
        {"object_state": torch.zeros(objects)}
        if objects
        else {"images": torch.zeros(3, 240, 320, 3, dtype=torch.uint8)}
    )
    rest = {name: torch.zeros(14) for name in ("state", "velocity")}
    chunks = {"prefix": torch.zeros(horizon, 14), "prefix_len": torch.tensor(3), "noise": torch.zeros(horizon, 14)}
    return {**seen, **rest, **chunks}


def write(folder: Path, graph: Any, objects: int, horizon: int = HORIZON) -> None:
    """Write a network in every form beside the net.onnx that is there."""
    given = example(objects, horizon)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(graph, example_kwarg_inputs=given, check_trace=False).save(str(folder / "net.pt"))
        torch.export.save(torch.export.export(graph, tuple(given.values())), str(folder / "net.pt2"))
    kind = type(graph).__name__
    (folder / "net.py").write_text(ENTRY.format(graph=kind), encoding="utf-8")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network with made-up weights that reads objects, one that reads images, and the shipped one."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("objects", "images", "shipped")}
    policy = policy_of({name: torch.as_tensor(array) for name, array in weights().items()}, Path("guided_case"))
    torch.manual_seed(5)
    encoder = Encoder(OBJECTS).eval()
    # Exact in fp16, as graphs store them.
    encoder.load_state_dict({name: value.half().float() for name, value in encoder.state_dict().items()})
    export(policy, None, made["objects"] / "net.onnx", steps=STEPS)
    export(policy, encoder, made["images"] / "net.onnx", steps=STEPS)
    shutil.copy(POLICY_FOLDER / "demo-state" / "transfer.onnx", made["shipped"] / "net.onnx")
    shipped = load_onnx_weights(made["shipped"] / "net.onnx")
    write(made["objects"], StateGraph(policy, STEPS).eval(), OBJECTS)
    program = torch.export.export(StateGraph(policy, STEPS).eval(), (), kwargs=example(OBJECTS))
    torch.export.save(program, str(made["objects"] / "named.pt2"))
    write(made["images"], VisionGraph(policy, encoder, STEPS).eval(), 0)
    write(made["shipped"], StateGraph(shipped.policy, shipped.steps).eval(), OBJECTS, SHIPPED)
    return made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def inputs(objects: int, prefix_len: int, seed: int = 0, horizon: int = HORIZON) -> ModelInputs:
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    return ModelInputs(
        images=None if objects else rng.integers(0, 256, (3, 240, 320, 3), dtype=np.uint8),
        object_state=normal(objects, dtype=np.float32) if objects else None,
        state=normal(14, dtype=np.float32),
        velocity=normal(14, dtype=np.float32),
        prefix=normal((horizon, 14), dtype=np.float32),
        prefix_len=prefix_len,
        noise=normal((horizon, 14), dtype=np.float32),
    )


def answer(folder: Path, file: str, given: ModelInputs, precision: str = "fp32") -> ModelOutputs:
    """Return what the folder's model gives, from one of its files."""
    (folder / "manifest.yaml").write_text(
        manifest(0 if given.object_state is None else OBJECTS, file, len(given.noise)), encoding="utf-8"
    )
    policy = load_policy(str(folder))
    if file == "net.onnx":
        return OnnxBackend(policy.graph("transfer"), policy.shape("transfer")).infer(given)
    name = policy.torch_program("transfer")
    return load_torch(folder, name, policy.shape("transfer"), precision=precision).infer(given)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        *((kind, file) for kind in ("objects", "images", "shipped") for file in ("net:load", "net.pt", "net.pt2")),
        ("objects", "named.pt2"),
    ],
)
def test_every_form_of_a_policy_gives_the_chunk_of_its_graph(folders: dict[str, Path], kind: str, file: str) -> None:
    for prefix_len in (0, 7):
        horizon = SHIPPED if kind == "shipped" else HORIZON
        given = inputs(0 if kind == "images" else OBJECTS, prefix_len, horizon=horizon)
        chunks = [answer(folders[kind], each, given) for each in ("net.onnx", file)]
        assert np.abs(chunks[0].actions - chunks[1].actions).max() < TOLERANCE
        assert np.abs(chunks[1].actions[prefix_len:]).max() > 0.1  # or zeros would agree too
        if kind == "images":
            estimates = [chunk.object_state for chunk in chunks]
            assert np.abs(estimates[0] - estimates[1]).max() < TOLERANCE


def test_a_chunk_stays_as_it_is_while_the_next_is_made(folders: dict[str, Path]) -> None:
    policy = load_policy(str(rewritten(folders["objects"], "net.pt2")))
    for backend in (
        OnnxBackend(policy.graph("transfer"), policy.shape("transfer")),
        load_torch(policy.folder, "net.pt2", policy.shape("transfer")),
    ):
        first = backend.infer(inputs(OBJECTS, 0, seed=1)).actions
        before = first.copy()
        assert not np.array_equal(backend.infer(inputs(OBJECTS, 0, seed=2)).actions, before)
        assert np.array_equal(first, before)


def rewritten(folder: Path, file: str) -> Path:
    """Return the folder of a policy that reads objects, with `file` under `torch`."""
    (folder / "manifest.yaml").write_text(manifest(OBJECTS, file), encoding="utf-8")
    return folder


@pytest.mark.parametrize("file", ["net:load", "net.pt", "net.pt2"])
def test_bf16_rounds_products_and_keeps_the_sums(folders: dict[str, Path], file: str) -> None:
    given = inputs(OBJECTS, 0)
    fine, coarse = (answer(folders["objects"], file, given, precision).actions for precision in ("fp32", "bf16"))
    apart = np.abs(fine - coarse).max()
    assert 1e-5 < apart < 0.05
    assert coarse.dtype == np.float32


def test_a_server_says_what_runs_the_model(folders: dict[str, Path]) -> None:
    sampler = load_sampler(load_policy(str(rewritten(folders["objects"], "net.pt"))), "transfer", backend="torch")
    assert sampler.provider == f"torch {torch.__version__} on cpu, fp32"
    assert sampler.warm_up() > 0


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("pixels", ["", ", pixels: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"])
def test_pictures_of_another_size_reach_the_model_as_the_host_would_bring_them(
    tmp_path: Path, resize: str, pixels: str
) -> None:
    (tmp_path / "see.py").write_text(
        "SEEN = []\n\n\ndef load(device, precision):\n"
        "    def model(**seen):\n        SEEN.append(seen['images'].clone())\n        return seen['noise']\n"
        "    return model\n",
        encoding="utf-8",
    )
    text = manifest(0, "see:load").replace("graphs: {transfer: net.onnx}, ", "")
    text = text.replace(
        "]},\ncapabilities", f"], width_px: 64, height_px: 64, resize: {resize}{pixels}}},\ncapabilities"
    )
    (tmp_path / "manifest.yaml").write_text(text, encoding="utf-8")
    policy = load_policy(str(tmp_path))
    sampler = load_sampler(policy, "transfer", backend="torch")
    ramp = np.linspace(0, 255, 640)[None, :, None] * np.linspace(0.2, 1.0, 480)[:, None, None]
    images = np.repeat(ramp[None].astype(np.uint8), 3, axis=0).repeat(3, axis=3)
    sampler._backend.infer(replace(inputs(0, 0), images=images))
    seen = sys.modules["leadtime_policy_see"].SEEN[-1].numpy()
    wanted = policy.shape("transfer").pictures.on_host(images)
    assert seen.shape == wanted.shape
    assert seen.dtype == wanted.dtype
    grey = 1.0 if not pixels else 1 / 255 / 0.224
    # A grey level, and where a float lies between two, the other of them.
    assert np.abs(seen.astype(np.float64) - wanted).max() <= 1.01 * grey


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("net:gone", "net.py has no function 'gone'"),
        ("net:nothing", "nothing returns NoneType; it must return the model"),
        ("net:broken", "net.py: broken gives no model, FileNotFoundError: weights.bin is missing (net.py, line"),
        ("net:short", "net.py: the model answers with (7, 14); this rig and policy need a tensor of actions (50, 14)"),
        ("net:raising", "net.py: the model fails on a blank observation, KeyError: 'gripper' (net.py, line"),
        ("net.onnx", "net.onnx is not a program that torch"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(folders: dict[str, Path], file: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_sampler(load_policy(str(rewritten(folders["objects"], file))), "transfer", backend="torch")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["net.pt", "net.pt2"])
def test_a_model_with_other_inputs_is_refused(folders: dict[str, Path], file: str) -> None:
    folder = rewritten(folders["objects"], file)
    policy = load_policy(str(folder))
    shape = policy.shape("transfer")
    with pytest.raises(UsageError, match="input 'velocity' is not of a policy graph"):
        load_torch(folder, file, replace(shape, velocity=False))
    with pytest.raises(UsageError, match="has no input 'images'; it needs images uint8"):
        load_torch(folder, file, replace(shape, cameras=3))


def test_a_model_that_takes_no_noise_is_called_without(tmp_path: Path) -> None:
    (tmp_path / "calm.py").write_text(
        "def load(device, precision):\n"
        "    def model(object_state, state, velocity, prefix, prefix_len):\n        return prefix + state\n"
        "    return model\n",
        encoding="utf-8",
    )
    text = manifest(OBJECTS, "calm:load").replace("graphs: {transfer: net.onnx}, ", "")
    (tmp_path / "manifest.yaml").write_text(text.replace("rate_hz", "noise: false, rate_hz"), encoding="utf-8")
    sampler = load_sampler(load_policy(str(tmp_path)), "transfer", backend="torch")
    given = inputs(OBJECTS, 0)
    chunk = sampler.sample(given, Query(Condition.PLAIN, 0, 8, (0,))).actions
    assert np.array_equal(chunk, given.prefix + given.state)
    (tmp_path / "manifest.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="unexpected keyword argument 'noise'"):
        load_sampler(load_policy(str(tmp_path)), "transfer", backend="torch")


def test_an_exported_program_of_another_length_is_refused(folders: dict[str, Path]) -> None:
    policy = load_policy(str(rewritten(folders["objects"], "net.pt2")))
    with pytest.raises(UsageError, match=r"input 'noise' is float32 \(50, 14\); this rig and policy need"):
        load_torch(policy.folder, "net.pt2", replace(policy.shape("transfer"), horizon=32))


def test_a_device_that_is_not_there_is_refused(folders: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    policy = load_policy(str(rewritten(folders["objects"], "net.pt2")))
    for backend in ("torch", "onnx"):
        with pytest.raises(UsageError, match="device 'cuda'"):
            load_sampler(policy, "transfer", backend=backend, device="cuda")


def test_a_whole_model_is_not_guided(folders: dict[str, Path]) -> None:
    policy = load_policy(str(rewritten(folders["objects"], "net.pt2")))
    guidance = Guidance(np.zeros((50, 14), np.float32), np.zeros(50, np.float32), jacobian=True, beta=5.0)
    with pytest.raises(UsageError, match="needs a guided graph"):
        load_torch(policy.folder, "net.pt2", policy.shape("transfer")).infer(
            replace(inputs(OBJECTS, 0), guidance=guidance)
        )
