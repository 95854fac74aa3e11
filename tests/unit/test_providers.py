"""Which execution providers are tried on which host, and that what really runs is what is reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import UsageError
from runtime.inference.backends.providers import CPU, CUDA, TENSORRT, Attempt, attempts, in_words


def plan(device: str, available: list[str], precision: str = "bf16") -> list[tuple[str, bool]]:
    return [(attempt.wanted, attempt.captured) for attempt in attempts(device, precision, available)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_processor_is_chosen_where_there_is_nothing_else() -> None:
    assert plan("auto", [CPU]) == plan("cpu", [TENSORRT, CUDA, CPU]) == [(CPU, False)]
    # TensorRT's provider leans on CUDA's for what it has no kernels for.
    assert plan("auto", [TENSORRT, CPU]) == [(CPU, False)]


def test_a_gpu_is_tried_first_and_captured_first() -> None:
    every = [TENSORRT, CUDA, CPU]
    assert plan("auto", every) == [(TENSORRT, True), (TENSORRT, False), (CUDA, True), (CUDA, False), (CPU, False)]
    assert plan("cuda", every) == [(CUDA, True), (CUDA, False)]
    assert plan("auto", [CUDA, CPU])[0] == (CUDA, True)


def test_fp32_is_not_rounded_to_tf32() -> None:
    for precision, rounded in (("fp32", "0"), ("bf16", "1")):
        (_, options), _ = attempts("cuda", precision, [CUDA, CPU])[0].providers
        assert options["use_tf32"] == rounded
    # TensorRT's provider has no such option.
    assert plan("auto", [TENSORRT, CUDA, CPU], "fp32") == [(CUDA, True), (CUDA, False), (CPU, False)]
    assert attempts("auto", "bf16", [TENSORRT, CUDA, CPU])[0].providers[0][1]["trt_bf16_enable"] == "1"


def test_a_device_that_is_not_there_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        UsageError, match=r"processor only; pip uninstall -y onnxruntime onnxruntime-gpu && pip install"
    ):
        attempts("cuda", "fp32", [CPU])
    with pytest.raises(UsageError, match="unknown device 'tpu'; valid: auto, cpu, cuda"):
        attempts("tpu", "fp32", [CPU])


class Session:
    """What is asked of a session of ONNX Runtime: its providers and how many nodes each has."""

    def __init__(self, **nodes: int) -> None:
        self._nodes = nodes

    def get_providers(self) -> list[str]:
        return [*self._nodes]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        # A part for each node, as the library gives them where nothing is fused.
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda: [0]) for name, n in self._nodes.items() for _ in range(n)
        ]


@pytest.mark.parametrize(
    ("session", "attempt", "words"),
    [
        (Session(**{CPU: 3}), Attempt([(CPU, {})]), CPU),
        (Session(**{CUDA: 9, CPU: 0}), Attempt([(CUDA, {})], captured=True), f"{CUDA}, CUDA graph"),
        (Session(**{CUDA: 2, CPU: 7}), Attempt([(CUDA, {})]), f"{CUDA} (7 nodes on {CPU}, 2 nodes on {CUDA})"),
    ],
)
def test_what_runs_a_graph_is_said(session: Session, attempt: Attempt, words: str) -> None:
    assert in_words(session, attempt, {attempt.wanted: "it has control flow"}) == words


def test_a_provider_that_did_not_come_is_not_the_one_reported_and_why_it_did_not_is() -> None:
    why = {TENSORRT: "libnvinfer.so.10 is missing", CUDA: "libcuda.so.1 is missing"}
    assert in_words(Session(**{CPU: 3}), Attempt([(CPU, {})]), why) == (
        f"{CPU} ({TENSORRT} could not run it: libnvinfer.so.10 is missing; "
        f"{CUDA} could not run it: libcuda.so.1 is missing)"
    )


def test_an_older_library_that_does_not_count_nodes_still_names_its_provider() -> None:
    older = SimpleNamespace(get_providers=lambda: [CUDA, CPU])
    assert in_words(older, Attempt([(CUDA, {})]), {}) == CUDA
