"""The order of a run on a GPU, on a stand-in for torch's: copied in, computed, copied out, each after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.inference.backends import torch_run
from runtime.inference.backends.base import Guidance, ModelInputs
from runtime.inference.backends.shape import GraphShape
from runtime.inference.backends.torch import TorchBackend
from runtime.inference.backends.torch_run import StaticRun
from runtime.inference.backends.torch_steps import StepBackend
from runtime.inference.backends.torch_stream import TorchStream

torch = pytest.importorskip("torch")
LIKE = {"state": np.zeros(3, np.float32), "prefix_len": np.zeros((), np.int64)}


class State:
    """Where the random numbers of a GPU are, as torch before 2.12 has it: in a capture or not."""

    def __init__(self) -> None:
        self.capturing = False

    def clone_state(self) -> State:
        return State()


class Generator:
    """The generator of a GPU, whose state can be exchanged."""

    def __init__(self) -> None:
        self.state = State()

    def graphsafe_get_state(self) -> State:
        return self.state

    def graphsafe_set_state(self, state: State) -> None:
        self.state = state


class Graph:
    """A captured graph: it repeats the computation, drawing from the state that it was captured with."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.state: State | None = None

    def replay(self) -> None:
        self.gpu.log.append("replay")
        assert self.state is not None
        assert not self.state.capturing
        run = self.gpu.run._gpu
        for held, new in zip(run._results, self.gpu.compute(run._placed), strict=True):
            held[...] = new


class SyncError(Exception):
    """What must not be done in a capture was done: the capture is void, and its end fails."""


class Gpu:
    """Stands for `torch.cuda`: streams note what is done on them, a failed capture leaves behind what torch's does."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.pinned: set[int] = set()
        """Where pinned memory is."""
        self.streams = 0
        self.current = "stream 0"
        self.default_generators = (Generator(),)
        self.allocating: list[int] = []
        self.pools = 0

    def pinning(self) -> Callable[[Any], Any]:
        """Return what stands for a tensor's `pin_memory`, which notes where that is."""

        def pin(tensor: Any) -> Any:
            held = tensor.clone()
            self.pinned.add(held.data_ptr())
            return held

        return pin

    def noting(self, copy: Callable[..., Any]) -> Callable[..., Any]:
        """Return torch's copy, which notes which end is pinned, and whether it is waited for."""

        def noted(target: Any, source: Any, *, non_blocking: bool = False) -> Any:
            ends = [name for name, end in (("from", source), ("to", target)) if end.data_ptr() in self.pinned]
            self.log.append(f"copy {' and '.join(ends)} pinned{'' if non_blocking else ', waited for'}")
            return copy(target, source)

        return noted

    def Stream(self, device: str) -> Any:  # noqa: N802
        self.streams += 1
        name = f"stream {self.streams}"
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: self.log.append(f"{name} waits for {other.name}"),
            synchronize=lambda: self.log.append(f"{name} is waited for"),
        )

    def CUDAGraph(self) -> Any:  # noqa: N802
        return Graph(self)

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.log.append(f"on {stream.name}")
        before, self.current = self.current, stream.name
        yield
        self.current = before

    @contextmanager
    def graph(self, graph: Graph, stream: Any, capture_error_mode: str, pool: int = 0) -> Iterator[None]:
        if self.allocating:
            raise AssertionError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.log.append("capture")
        before, self.current = self.current, stream.name
        graph.state = self.default_generators[0].state
        graph.state.capturing = True
        self.allocating.append(pool)
        try:
            yield
        except SyncError:
            raise RuntimeError("operation failed due to a previous error during capture") from None
        except Exception:
            self.end(before, graph)
            raise
        self.end(before, graph)

    def end(self, before: str, graph: Graph) -> None:
        assert graph.state is not None
        self.current, graph.state.capturing = before, False
        self.allocating.pop()

    def end_allocation(self, device: int, pool: int) -> None:
        if pool not in self.allocating:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.allocating.remove(pool)

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools

    def current_device(self) -> int:
        return 0

    def current_stream(self) -> Any:
        return SimpleNamespace(
            name=self.current,
            wait_stream=lambda other: self.log.append(f"{self.current} waits for {other.name}"),
        )

    def set_stream(self, stream: Any) -> None:
        self.current = stream.name

    def synchronize(self, device: str = "") -> None:
        self.log.append("all is waited for")

    def get_device_name(self) -> str:
        return "H100"

    def begin(self, compute: Callable[[dict[str, Any]], list[Any]]) -> StaticRun:
        self.compute = compute
        self.run = StaticRun(self.torch, "cuda", LIKE, compute)
        return self.run


@pytest.fixture(params=["_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"])
def card(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Gpu:
    """A GPU, of a torch since 2.8 and of one before."""
    fake = Gpu()
    # There is no pinned memory without a GPU, and its place is the processor's.
    monkeypatch.setattr(torch.Tensor, "pin_memory", fake.pinning())
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor.clone())
    monkeypatch.setattr(torch.Tensor, "copy_", fake.noting(torch.Tensor.copy_))
    fake.torch = SimpleNamespace(
        __version__="2.6",
        _C=SimpleNamespace(**{request.param: fake.end_allocation}),
        Tensor=torch.Tensor,
        autocast=lambda *_, **__: nullcontext(),
        backends=SimpleNamespace(cudnn=SimpleNamespace(), cuda=SimpleNamespace(matmul=SimpleNamespace())),
        bfloat16=torch.bfloat16,
        cuda=fake,
        autograd=torch.autograd,
        bool=torch.bool,
        empty_like=torch.empty_like,
        float32=torch.float32,
        from_numpy=torch.from_numpy,
        inference_mode=torch.inference_mode,
        ones_like=torch.ones_like,
        where=torch.where,
        zeros_like=torch.zeros_like,
    )
    return fake


@pytest.fixture
def gpu(card: Gpu) -> Callable[..., tuple[Gpu, StaticRun]]:
    return lambda compute: (card, card.begin(compute))


def double(tensors: dict[str, Any]) -> list[Any]:
    return [2.0 * tensors["state"] + tensors["prefix_len"]]


def given(value: float) -> dict[str, Any]:
    return {"state": np.full(3, value, np.float32), "prefix_len": np.int64(1)}


def test_a_run_is_a_copy_a_replay_and_a_copy(gpu: Callable[..., tuple[Gpu, StaticRun]]) -> None:
    fake, run = gpu(double)
    assert run.how == "CUDA graph"
    assert fake.log.count("capture") == 1
    fake.log.clear()
    (first,) = run.run(given(1.0))
    assert fake.log == [
        "on stream 1",
        *["copy from pinned"] * len(LIKE),
        "stream 2 waits for stream 1",
        "on stream 2",
        "replay",
        "copy to pinned",
        "stream 2 is waited for",
    ]
    (second,) = run.run(given(5.0))
    assert np.all(first == 3.0)  # its own memory, not the next answer's
    assert np.all(second == 11.0)


def test_what_cannot_be_captured_is_run_and_says_why(gpu: Callable[..., tuple[Gpu, StaticRun]]) -> None:
    calls = 0

    def stubborn(tensors: dict[str, Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == torch_run.WARM_UP_RUNS + 1:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return double(tensors)

    fake, run = gpu(stubborn)
    assert run.how == "eager: operation not permitted when stream is capturing"
    assert np.all(run.run(given(2.0))[0] == 5.0)
    assert "replay" not in fake.log


def sync_in(capture: int) -> Callable[[dict[str, Any]], list[Any]]:
    """Return a computation that waits for the GPU, which a capture does not survive."""
    calls = 0

    def compute(tensors: dict[str, Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == capture:
            raise SyncError("operation not permitted when stream is capturing")
        return double(tensors)

    return compute


def test_a_failed_capture_leaves_nothing_behind_and_its_first_reason_is_the_one_given(card: Gpu) -> None:
    generator = card.default_generators[0]
    before = generator.state
    run = card.begin(sync_in(torch_run.WARM_UP_RUNS + 1))
    assert run.how == "eager: operation not permitted when stream is capturing"
    assert card.current == "stream 0"
    assert generator.state is before
    assert not before.capturing
    assert card.allocating == []
    assert np.all(run.run(given(2.0))[0] == 5.0)


def test_a_failed_capture_spoils_no_graph_of_before_and_none_after(card: Gpu) -> None:
    first = card.begin(double)
    assert card.begin(sync_in(torch_run.WARM_UP_RUNS + 1)).how.startswith("eager")
    second = card.begin(double)
    assert second.how == "CUDA graph"
    for run in (first, second):
        card.run = run
        assert np.all(run.run(given(2.0))[0] == 5.0)


def test_a_model_that_is_a_generator_is_found_out_without_a_capture(card: Gpu) -> None:
    def model(noise: Any, **rest: Any) -> Iterator[Any]:
        yield noise[:2]
        yield noise

    shape = GraphShape(0, 0, 0, 0, velocity=False, horizon=4, prefix=False)
    backend = TorchBackend(card.torch, Path("net.py"), lambda: model, shape, "cuda", "fp32")
    assert backend.grows
    assert "capture" not in card.log
    assert backend.provider == "torch 2.6 on H100, fp32"


def test_a_model_that_yields_its_chunk_is_given_a_request_through_pinned_memory(card: Gpu) -> None:
    def model(state: Any, noise: Any) -> Iterator[Any]:
        seen.append(state)
        yield noise + state

    seen: list[Any] = []
    shape = GraphShape(0, 0, 0, 0, velocity=False, horizon=4, prefix=False)
    stream = TorchStream(card.torch, model, shape, torch.device("cuda"), "fp32", "about")
    for value in (1.0, 5.0):
        card.log.clear()
        vector, chunk = np.full(14, value, np.float32), np.full((4, 14), 0.5, np.float32)
        whole = stream.infer(ModelInputs(None, None, vector, vector, chunk, 0, chunk))
        assert card.log == [
            "stream 1 is waited for",
            "stream 1 waits for stream 0",
            "on stream 1",
            *["copy from pinned"] * 2,
            "stream 0 waits for stream 1",
        ]
        assert np.all(whole.actions == value + 0.5)
    assert seen[0].data_ptr() == seen[1].data_ptr()


@pytest.mark.parametrize("kind", [None, True, False])
def test_the_steps_of_a_program_are_one_graph_guided_or_not(card: Gpu, kind: bool | None) -> None:
    """The chunk is that of the processor, and the gradient is taken in the graph too."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = torch.nn.Linear(14, 14)

        def forward(self, tokens: Any, committed: Any, tau: Any, *seen: Any) -> Any:
            return self.mix(tokens) + 0.1 * torch.stack(seen[:3]).sum(0)[:, None] + tau

    torch.manual_seed(1)
    named = {"policy.arm": torch.ones(14), "policy.action_scale": torch.full((14,), 0.5), "steps": torch.tensor(3)}
    sizes = {"policy.objects_mean": torch.zeros(5), "policy.row_weight": torch.ones(4, 14)}
    network = Network()
    program = SimpleNamespace(state_dict=named | sizes, module=lambda: network)
    shape = GraphShape(0, 0, 0, object_state=5, velocity=True, horizon=4, prefix=True)
    places: tuple[tuple[Any, str], ...] = ((torch, "cpu"), (card.torch, "cuda"))
    backends = [StepBackend(of, Path(), program, shape, device, "fp32") for of, device in places]
    assert backends[1].provider == "torch 2.6 on H100, fp32, CUDA graph"
    card.run = backends[1]._runs[kind]
    card.compute = card.run._compute
    draw = np.random.default_rng(2).standard_normal
    vectors = [draw(14, dtype=np.float32) for _ in range(2)]
    plan, noise = (draw((4, 14), dtype=np.float32) for _ in range(2))
    guidance = None if kind is None else Guidance(plan, np.array([1, 1, 0.5, 0], np.float32), kind, 5.0)
    given = ModelInputs(None, draw(5, dtype=np.float32), *vectors, plan, 2, noise, guidance)
    card.log.clear()
    here, there = (backend.infer(given).actions for backend in backends)
    assert "replay" in card.log
    assert np.abs(here - there).max() < 1e-6
    free = backends[0].infer(replace(given, guidance=None)).actions
    assert (np.abs(here - free).max() > 1e-3) == (kind is not None)


def test_the_processor_gives_the_same(gpu: Callable[..., tuple[Gpu, StaticRun]]) -> None:
    plain = StaticRun(torch, "cpu", LIKE, double)
    assert plain.how == ""
    (first,) = plain.run(given(1.0))
    assert np.array_equal(plain.run(given(5.0))[0], gpu(double)[1].run(given(5.0))[0])
    assert np.all(first == 3.0)
    with pytest.raises(ValueError, match="input 'state' is float32"):
        plain.run({"state": np.zeros(4, np.float32), "prefix_len": np.int64(0)})
