"""What ONNX Runtime's GPU providers miss on a host is found, loaded before where that is possible, and said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from runtime.errors import UsageError
from runtime.inference.backends import libraries, onnx
from runtime.inference.backends.libraries import missing, preload, said
from runtime.inference.backends.onnx import OnnxBackend
from runtime.inference.backends.providers import CPU, CUDA, TENSORRT, Provider
from runtime.inference.backends.shape import GraphShape

GRAPH = Path(__file__).parent.parent / "data" / "tiny_objects.onnx"
SHAPE = GraphShape(0, 240, 320, object_state=7, velocity=True, horizon=50, prefix=True)


class Sessions:
    """Makes sessions on the processor that pretend to run on what each attempt gets."""

    def __init__(self, got: dict[str, str], log: list[str]) -> None:
        self._got = got
        self._log = log
        self._make = onnx._session

    def __call__(self, path: Path, threads: int, providers: list[Provider]) -> Any:
        wanted = providers[0][0]
        self._log.append(wanted)
        session = self._make(path, threads, [(CPU, {})])
        session.get_providers = lambda: [self._got.get(wanted, wanted)]
        return session


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A host whose ONNX Runtime has every provider and gets none of them for a session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    log: list[str] = []

    def load() -> None:
        print("Failed to load libcublasLt.so.13: cannot open shared object file")
        log.append("preload")

    monkeypatch.setattr(ort, "preload_dlls", load, raising=False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnx, "_session", Sessions({TENSORRT: CUDA, CUDA: CPU}, log))
    monkeypatch.setattr(onnx, "missing", lambda provider: "libcuda.so.1 is missing" if provider == CUDA else "")
    preload.cache_clear()
    yield log
    preload.cache_clear()


def test_libraries_are_loaded_once_before_the_first_try_on_a_gpu_and_quietly(
    log: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    OnnxBackend(GRAPH, SHAPE, device="cpu")
    assert log == [CPU]
    for _ in range(2):
        OnnxBackend(GRAPH, SHAPE, device="auto", precision="bf16")
    assert log[1] == "preload"
    assert log.count("preload") == 1
    assert capsys.readouterr().out == ""


def test_what_kept_a_graph_from_the_gpu_is_said(log: list[str]) -> None:
    """Also where a session was made, on another provider than the one that was wanted."""
    assert OnnxBackend(GRAPH, SHAPE, precision="bf16").provider == (
        f"{CPU} ({TENSORRT} could not run it: the session runs on {CUDA}; "
        f"{CUDA} could not run it: libcuda.so.1 is missing)"
    )


def test_a_gpu_that_cannot_be_used_is_refused_with_the_reason_and_the_remedy(log: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        OnnxBackend(GRAPH, SHAPE, device="cuda")
    assert "no session on the GPU could be made: libcuda.so.1 is missing; nvidia-smi must list" in str(caught.value)
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in str(caught.value)


def test_an_older_library_that_cannot_preload_is_left_alone(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ort, "preload_dlls")
    OnnxBackend(GRAPH, SHAPE)
    assert "preload" not in log


def test_a_library_that_does_not_load_says_what_it_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.ort, "__file__", str(tmp_path / "__init__.py"))
    assert missing(CUDA) == missing(CPU) == ""
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    library.parent.mkdir()
    library.write_text("no library", encoding="utf-8")
    assert f"{library}: " in missing(CUDA)
    assert missing(TENSORRT) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::"
            "RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&) Please install "
            "TensorRT libraries\n",
            "Please install TensorRT libraries",
        ),
        (
            "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:121 std::conditional_t<THRW, void, Status> "
            "onnxruntime::CudaCall(ERRTYPE, const char*, int) [with ERRTYPE = cudaError; bool THRW = true] "
            "CUDA failure 100: no CUDA-capable device is detected ; GPU=0 ; expr=cudaSetDevice(info_.device_id);",
            "CUDA failure 100: no CUDA-capable device is detected",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested",
            "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested",
        ),
        ("", "RuntimeError"),
    ],
)
def test_an_error_is_told_without_its_place_in_the_librarys_sources(text: str, words: str) -> None:
    assert said(RuntimeError(text)) == words
