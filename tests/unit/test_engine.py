"""TensorRT engines: the graph as TensorRT takes it computes the same, engines are built once, and for real GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from runtime.errors import LeadtimeError, UsageError
from runtime.inference.backends import engine
from runtime.inference.backends.engine import build, cached, engine_graph
from runtime.inference.backends.tensorrt import load_tensorrt
from runtime.inference.policy import POLICY_FOLDER, load_policy
from runtime.inference.sampler import load_sampler

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DATA = Path(__file__).parent.parent / "data"


def run(graph: bytes, feed: dict[str, Any]) -> Any:
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, feed)[0]


def pixels_moved(path: Path) -> Path:
    """Write a graph that turns uint8 pictures channel first before it casts them, as exporters like to do."""
    weights = np.random.default_rng(1).standard_normal((3 * 16, 14)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Reshape", ["planes", "rows"], ["flat"]),
            helper.make_node("Cast", ["flat"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Gemm", ["numbers", "weights"], ["actions"]),
        ],
        "pixels",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [2, 4, 4, 3])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [2, 14])],
        [numpy_helper.from_array(np.array([2, 48]), "rows"), numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def test_pixels_are_cast_before_they_are_moved_and_the_result_is_the_same(tmp_path: Path) -> None:
    path = pixels_moved(tmp_path / "pixels.onnx")
    changed = engine_graph(path, "fp32")
    kinds = [node.op_type for node in onnx.load_from_string(changed).graph.node]
    assert kinds == ["Cast", "Transpose", "Reshape", "Cast", "Gemm"]
    onnx.checker.check_model(onnx.load_from_string(changed), full_check=True)
    feed = {"images": np.random.default_rng(2).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)}
    assert np.array_equal(run(changed, feed), run(path.read_bytes(), feed))


def test_in_bf16_what_multiplies_is_rounded_and_nothing_else(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    path = pixels_moved(tmp_path / "pixels.onnx")
    model = onnx.load_from_string(engine_graph(path, "bf16"))
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    assert kinds["actions"] == TensorProto.FLOAT
    assert kinds["actions_product"] == TensorProto.BFLOAT16
    feed = {"images": np.random.default_rng(2).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)}
    exact = run(path.read_bytes(), feed)
    (rounded,) = ReferenceEvaluator(model).run(None, feed)
    apart = np.abs(np.asarray(rounded, dtype=np.float32) - exact).max() / np.abs(exact).max()
    assert 0.0 < apart < 0.02


def weights_beside(path: Path, factor: float = 1.0) -> Path:
    """Write a graph of one product whose weights lie in a file beside it, as those of 2 GB and more must."""
    weights = factor * np.random.default_rng(1).standard_normal((300, 14)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["state", "weights"], ["actions"])],
        "beside",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 300])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [2, 14])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (path.parent / "weights.bin").unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_beside_a_graph_stay_there_and_others_make_another_engine(tmp_path: Path, precision: str) -> None:
    path = weights_beside(tmp_path / "beside.onnx")
    changed = engine_graph(path, precision)
    assert len(changed) < (tmp_path / "weights.bin").stat().st_size / 8
    (weights,) = onnx.load_from_string(changed).graph.initializer
    assert {entry.key: entry.value for entry in weights.external_data}["location"] == "weights.bin"
    assert engine_graph(path, precision) == changed
    again = weights_beside(tmp_path / "beside.onnx", factor=2.0)
    assert engine_graph(again, precision) != changed


def test_a_graph_of_more_than_one_message_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large() -> bytes:
        raise ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB: 2147483999")

    model = SimpleNamespace(graph=onnx.GraphProto(), SerializeToString=too_large)
    monkeypatch.setattr(onnx, "load", lambda path, load_external_data: model)
    with pytest.raises(UsageError, match=r"large\.onnx: .* 2 GB of one message; write its weights beside it") as caught:
        engine_graph(tmp_path / "large.onnx", "fp32")
    assert "\n" not in str(caught.value)


class Config:
    """Stands for a build's configuration on a GPU that takes no timings of others."""

    def __init__(self) -> None:
        self.timings: bytes | None = None

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        taken = cache in {b"", b"mine"}
        self.timings = cache if taken else self.timings
        return taken

    def get_timing_cache(self) -> Any:
        timings = self.timings
        return None if timings is None else SimpleNamespace(serialize=lambda: timings + b", more")


def library(asked: list[tuple[bytes, str]], *, reads: bool = True) -> Any:
    """Return a stand-in for TensorRT that notes what its parser is asked."""

    class Parser:
        def __init__(self, network: Any, logger: Any) -> None: ...

        def parse(self, graph: bytes, path: str) -> bool:
            asked.append((graph, path))
            return reads

        def get_error(self, i: int) -> Any:
            return SimpleNamespace(desc=lambda: "as it should")

    return SimpleNamespace(
        __version__="10.9",
        Logger=type("Logger", (), {"ERROR": 0, "__init__": lambda self, level: None}),
        Builder=lambda logger: SimpleNamespace(
            create_network=lambda flags: None,
            create_builder_config=Config,
            build_serialized_network=lambda network, config: b"plan",
        ),
        BuilderFlag=SimpleNamespace(),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        OnnxParser=Parser,
    )


def test_a_parser_is_told_where_a_graph_lies() -> None:
    asked: list[tuple[bytes, str]] = []
    with pytest.raises(LeadtimeError, match="cannot read it: as it should"):
        build(library(asked, reads=False), b"graph", Path("/policies/beside.onnx"))
    assert asked == [(b"graph", "/policies/beside.onnx")]


def test_timings_of_another_gpu_are_left_and_not_what_a_build_fails_of() -> None:
    path = Path("a.onnx")
    assert build(library([]), b"graph", path, timings=b"mine") == (b"plan", b"mine, more")
    assert build(library([]), b"graph", path, timings=b"another's") == (b"plan", b", more")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_engine_has_the_weights_that_lie_beside_its_graph(tmp_path: Path, precision: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    path = weights_beside(tmp_path / "beside.onnx")
    plan, _ = build(trt, engine_graph(path, precision), path, target="SM89")
    assert len(plan) > (tmp_path / "weights.bin").stat().st_size / (1 if precision == "fp32" else 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["demo-state/transfer", "demo-state/transfer-guided", "demo/transfer"])
def test_every_shipped_graph_stays_a_graph_with_the_same_inputs(name: str, precision: str) -> None:
    path = POLICY_FOLDER / f"{name}.onnx"
    model = onnx.load_from_string(engine_graph(path, precision))
    onnx.checker.check_model(model)
    assert [value.name for value in model.graph.input] == [value.name for value in onnx.load(str(path)).graph.input]
    # The graph of the policy that is told the objects hands them through; an engine does not.
    assert [value.name for value in model.graph.output] == (
        ["actions", "object_state"] if name.startswith("demo/") else ["actions"]
    )


@pytest.mark.parametrize("target", ["SM89", "SM120"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["demo-state/transfer", "demo-state/transfer-guided", "demo/transfer"])
def test_an_engine_is_built_for_a_gpu_that_is_not_here(name: str, precision: str, target: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    path = POLICY_FOLDER / f"{name}.onnx"
    plan, _ = build(trt, engine_graph(path, precision), path, target=target)
    # The weights are in it, in fp32 or half of that; the ONNX file has them in fp16.
    assert len(plan) > (2 if precision == "fp32" else 1) * path.stat().st_size


def test_the_pixels_graph_builds_as_it_is_changed_and_not_as_it_was(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    path = pixels_moved(tmp_path / "pixels.onnx")
    assert build(trt, engine_graph(path, "fp32"), path, target="SM89")[0]
    with pytest.raises(LeadtimeError, match=r"pixels\.onnx: TensorRT .* cannot (read it|build)"):
        build(trt, path.read_bytes(), path, target="SM89")


def test_what_is_no_graph_is_refused_in_a_line() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(LeadtimeError, match=r"TensorRT [\d.]+ cannot read it") as caught:
        build(trt, b"no graph", Path("notes.onnx"), target="SM89")
    assert "\n" not in str(caught.value)


def test_an_engine_is_built_once_for_a_graph_a_gpu_and_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[bytes, bytes]] = []

    def count(trt: Any, graph: bytes, path: Path, *, timings: bytes = b"") -> tuple[bytes, bytes]:
        built.append((graph, timings))
        return b"plan of " + graph, timings + b"t"

    monkeypatch.setattr(engine, "build", count)
    older, newer = (SimpleNamespace(__name__="tensorrt", __version__=version) for version in ("10.9", "11.0"))
    for _ in range(2):
        assert cached(older, b"a", Path("a.onnx"), "H100", tmp_path) == b"plan of a"
        cached(older, b"b", Path("b.onnx"), "H100", tmp_path)
        cached(older, b"a", Path("a.onnx"), "L40S", tmp_path)
        cached(newer, b"a", Path("a.onnx"), "H100", tmp_path)
    # Timings go from one build to the next, within a version of TensorRT.
    assert built == [(b"a", b""), (b"b", b"t"), (b"a", b"tt"), (b"a", b"")]


def refused() -> str:
    policy = load_policy("demo-state")
    with pytest.raises(UsageError) as caught:
        load_sampler(policy, "transfer", backend="tensorrt")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_tensorrt_or_a_gpu_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "needs 'tensorrt', which is not installed: pip install 'leadtime[gpu]'" in refused()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.0"))
    without = SimpleNamespace(__version__="2.13", cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", without)
    assert "runs on an NVIDIA GPU, and torch 2.13 finds none; use --backend onnx" in refused()
    with pytest.raises(UsageError, match="the processor is asked for"):
        load_tensorrt(DATA / "tiny_objects.onnx", load_policy("demo-state").shape("transfer"), None, device="cpu")
