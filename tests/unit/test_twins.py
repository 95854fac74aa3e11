"""The latency twins have the published sizes, and what makes them fast changes nothing of what they compute."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the twins need the extra: pip install 'leadtime[torch]'")

from bench.twins import __main__ as program  # noqa: E402
from bench.twins import layers, measure, mixture, pi0, registry, roofline, staging, vae  # noqa: E402
from runtime.errors import UsageError  # noqa: E402

NAMES = tuple(registry.TWINS)


def tiny(name: str) -> Any:
    return measure.build(registry.TWINS[name], "cpu", full=False)


def near(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_as_large_as_released_to_the_last_parameter(name: str) -> None:
    with torch.device("meta"):
        twin = registry.TWINS[name].make(full=True)
    for published in registry.TWINS[name].published:
        assert registry.size_of(twin, published.parts) == published.parameters, published.source


def linear(inner: int, outer: int) -> int:
    return inner * outer + outer


def wan_stack(width: int, mlp: int) -> int:
    """Embedders and 30 blocks of Wan2.2's transformer, heads of 24 x 128 numbers, whatever the width."""
    inner = 24 * 128
    attention = 3 * linear(width, inner) + linear(inner, width) + 2 * inner
    block = 2 * attention + linear(width, mlp) + linear(mlp, width) + 2 * width + 6 * width
    time = linear(256, width) + linear(width, width) + linear(width, 6 * width)
    return 30 * block + time + linear(4096, width) + linear(width, width)


def gemma(width: int, mlp: int) -> int:
    """18 blocks of 8 query heads of 256 on one key and one value, gated, no bias, two norms, and the last norm."""
    return 18 * (width * (8 + 1 + 1 + 8) * 256 + 3 * width * mlp + 2 * width) + width


def wan_encoder() -> int:
    """Wan2.2's VAE encoder: residual blocks of two causal 3x3x3 convolutions, stages of 160, 320, 640 and 640."""

    def residual(inner: int, outer: int) -> int:
        around = linear(inner, outer) if inner != outer else 0
        return inner + 27 * inner * outer + outer + outer + 27 * outer * outer + outer + around

    def stage(inner: int, outer: int) -> int:
        return residual(inner, outer) + residual(outer, outer)

    stages = stage(160, 160) + stage(160, 320) + stage(320, 640) + stage(640, 640)
    halving = sum(9 * width**2 + width for width in (160, 320, 640))
    halving_time = sum(3 * width**2 + width for width in (320, 640))
    middle = 2 * residual(640, 640) + 640 + linear(640, 3 * 640) + linear(640, 640)
    ends = (27 * 12 * 160 + 160) + 640 + (27 * 640 * 96 + 96) + linear(96, 96)
    return stages + halving + halving_time + middle + ends


def test_the_released_sizes_follow_from_the_released_configurations() -> None:
    """Written out by hand from the configurations that the sources name, without a module of ours."""
    trunk = wan_stack(3072, 14_336) + linear(48 * 4, 3072) + linear(3072, 48 * 4) + 2 * 3072
    expert = wan_stack(1024, 4096)
    coders = sum(2 * linear(16, 128) + linear(128, 256) + linear(256, 1024) for _ in ("state", "action"))
    decoder = linear(1024, 256) + linear(256, 128) + 2 * linear(128, 16)
    cosmos_block = 4 * 2048**2 + (2 * 2048**2 + 2 * 1024 * 2048) + 4 * 128 + 2 * 2048 * 8192
    cosmos_block += 3 * (2048 * 256 + 256 * 3 * 2048)
    cosmos_ends = (16 + 2) * 4 * 2048 + 4 * 2048**2 + 2048 + (2048 * 256 + 256 * 2 * 2048) + 2048 * 16 * 4
    expected = {
        "pi0": (
            gemma(1024, 4096),
            gemma(2048, 16_384),
            gemma(2048, 16_384)
            + 257_152 * 2048
            + (linear(3 * 14 * 14, 1152) + 256 * 1152 + 2 * 1152 + linear(1152, 2048))
            + 27 * (4 * 1152 + 4 * linear(1152, 1152) + linear(1152, 4304) + linear(4304, 1152)),
            2 * linear(32, 1024) + linear(2048, 1024) + linear(1024, 1024) + linear(1024, 32),
        ),
        "fast-wam": (trunk, wan_encoder(), expert + linear(14, 1024) + linear(1024, 14), linear(14, 4096)),
        "gigaworld": (trunk, wan_encoder(), trunk + expert + coders + decoder + 2 * 1024),
        "lingbot-va": (
            trunk,
            trunk
            + (linear(256, 3072) + linear(3072, 3072) + linear(3072, 6 * 3072))
            + (linear(4096, 3072) + linear(3072, 3072))
            + linear(30, 3072)
            + linear(3072, 30),
        ),
        "cosmos-policy": (28 * cosmos_block + cosmos_ends,),
    }
    for name, sizes in expected.items():
        assert tuple(row.parameters for row in registry.TWINS[name].published) == sizes, name


@pytest.mark.parametrize("name", NAMES)
def test_served_and_as_released_are_one_function(name: str) -> None:
    twin = tiny(name)
    inputs = twin.example(1)
    with torch.inference_mode():
        served = twin(*inputs)
        other = twin(*twin.example(2))
        twin.plain = True
        plain = twin(*inputs)
    assert served.dtype == torch.float32
    assert near(served, plain)
    assert not near(other, plain, 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_weights_keep_the_actions_in_full_precision_and_near(name: str) -> None:
    twin = tiny(name)
    inputs = twin.example(1)
    with torch.inference_mode():
        exact = twin(*inputs)
        twin.to(torch.bfloat16)
        twin.prepare()
        rough = twin(*inputs)
    assert rough.dtype == torch.float32
    assert near(rough, exact, 0.05)
    assert not torch.equal(rough, exact)


def test_the_chunk_and_its_steps_are_those_of_the_shape() -> None:
    with torch.device("meta"):
        whole = registry.TWINS["pi0"].make(full=True)
    assert (whole.shape.horizon, whole.shape.action, whole.shape.steps) == (50, 32, 10)
    assert whole.prefix_tokens == 3 * 256 + 48
    assert mixture.FAST_WAM.grid == (12, 10)
    twin = tiny("pi0")
    calls: list[Any] = []
    denoise = twin.denoise

    def counted(actions: Any, state: Any, at: Any, cache: Any) -> Any:
        calls.append(at[0])
        return denoise(actions, state, at, cache)

    twin.denoise = counted
    inputs = twin.example(3)
    with torch.inference_mode():
        actions = twin(*inputs)
        assert torch.equal(torch.stack(calls), twin.times)
        assert len(calls) == 10
        assert actions.shape == (twin.shape.horizon, twin.shape.action)
        cache = twin.prefill(twin.see(inputs[0]), *inputs[1:3])
        x = inputs[3]
        for step in range(10):
            x = x - denoise(x, inputs[2], twin.at(step), cache) / 10
    assert torch.equal(x, actions)


def test_cached_keys_and_values_give_what_one_pass_over_everything_gives() -> None:
    """pi0's prefix, state and actions as one sequence under its mask, nothing cached."""
    twin = tiny("pi0")
    pictures, prompt, state, noise = twin.example(4)
    shape, first = twin.shape, twin.prefix_tokens
    with torch.inference_mode():
        seen = twin.see(pictures)
        cached = twin.denoise(noise, state, twin.at(3), twin.prefill(seen, prompt, state))
        before = torch.cat((seen, (twin.embedding(prompt) * shape.prefix.width**0.5)[None]), dim=1)
        mixed = twin.time_in(torch.cat((twin.action_in(noise), twin.times[3].expand(shape.horizon, -1)), dim=-1))
        after = torch.cat((twin.state_in(state)[None], twin.time_out(torch.nn.functional.silu(mixed))))[None]
        total = first + 1 + shape.horizon
        mask = torch.zeros(total, total, dtype=torch.bool)
        mask[:first, :first] = mask[first, : first + 1] = mask[first + 1 :] = True
        for wide, narrow in zip(twin.prefix, twin.expert, strict=True):
            parts = (
                wide.project(before, twin._rope(0, first), plain=True),
                narrow.project(after, twin._rope(first, 1 + shape.horizon), plain=True),
            )
            query, keys, values = (torch.cat(pair, dim=2) for pair in zip(*parts, strict=True))
            out = layers.attend(query, keys, values, plain=True, mask=mask)
            before = wide.finish(before, out[:, :first], plain=True)
            after = narrow.finish(after, out[:, first:], plain=True)
        whole = twin.action_out(twin.expert_norm(after[0, 1:]))
    assert near(cached, whole)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_fused_attention_is_the_one_written_out(groups: int) -> None:
    query = torch.randn(1, 4, 7, 8)
    keys, values = torch.randn(2, 1, groups, 9, 8)
    fused = layers.attend(query, keys, values, plain=False)
    assert fused.shape == (1, 7, 32)
    assert near(fused, layers.attend(query, keys, values, plain=True))


def test_a_first_frame_meets_only_the_last_tap_of_a_causal_convolution() -> None:
    conv = vae.CausalConv(3, 5, 3)
    layers.randomise(conv, 0)
    conv.prepare()
    frame = torch.randn(1, 3, 6, 4)
    with torch.inference_mode():
        assert near(conv(frame, plain=False), conv(frame, plain=True))
        conv.weight[:, :, :2] = 0.0
        unchanged = conv(frame, plain=True)
    assert near(conv(frame, plain=False), unchanged)


def test_pictures_are_scaled_without_distortion_and_tiled_in_their_places() -> None:
    pictures = torch.full((3, 48, 64, 3), 255, dtype=torch.uint8)
    fitted = staging.fit(pictures, 28, 28)
    assert fitted.shape == (3, 3, 28, 28)
    assert near(fitted[:, :, 4:-4], torch.ones(3, 3, 20, 28))
    assert torch.all(fitted[:, :, :3] == -1.0)
    for i in range(3):
        pictures[i] = 100 * i
    tiled = staging.tile(pictures, 96, 64)
    assert tiled.shape == (1, 3, 96, 64)
    corners = (tiled[0, 0, 0, 0], tiled[0, 0, 95, 0], tiled[0, 0, 95, 63])
    assert [round((float(corner) + 1.0) * 127.5) for corner in corners] == [0, 100, 200]


class Toy(torch.nn.Module):  # type: ignore[misc]
    """Two calls of one phase with one matrix, whose work is known."""

    plain = False

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Linear(8, 16, bias=False)
        self.unused = torch.nn.Linear(100, 100)

    def phases(self) -> tuple[str, ...]:
        return ("go",)

    def prepare(self) -> None:
        pass

    def example(self, seed: int) -> tuple[Any, ...]:
        return (torch.zeros(3, 8, dtype=torch.bfloat16),)

    def go(self, x: Any) -> Any:
        return self.map(x)

    def forward(self, x: Any) -> Any:
        return self.go(x) + self.go(x)


def test_the_work_of_a_phase_is_its_arithmetic_and_the_weights_it_reads() -> None:
    entry = replace(registry.TWINS["pi0"], full=Toy)
    work = roofline.work_of(entry)["go"]
    assert work == roofline.Work(calls=2, flops=2 * 2 * 3 * 8 * 16, bytes=2 * 2 * (8 * 16 + 3 * 8))
    assert roofline.Rates(bytes_per_s=1e3, flops_per_s=1e9).least_ms(work) == pytest.approx(work.bytes)
    assert math.isclose(roofline.Rates(1e12, 1e3).least_ms(work), work.flops)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_phase_is_one_graph_compiled_once_for_all_of_its_steps(name: str, plain: bool) -> None:
    """What breaks out of a trace cannot be captured either, and a copy of a step a step takes a compiler too long."""
    twin = tiny(name)
    graphs: list[Any] = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    run = measure.compiled(twin, backend=counting, fullgraph=True)
    twin.plain = run.plain = plain
    with torch.inference_mode():
        for seed in (5, 6):
            inputs = twin.example(seed)
            assert near(run(*inputs), twin(*inputs))
            assert len(graphs) == len(twin.phases())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_on_a_host_without_a_gpu_only_the_tiny_twin_runs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(roofline, "work_of", lambda entry: {"denoise": roofline.Work(10, 20, 30)})
    with pytest.raises(UsageError, match="no CUDA device here"):
        program.run(program.Command(device="cuda", out=tmp_path))
    with pytest.raises(UsageError, match="unknown twin 'pi9'"):
        program.run(program.Command(model="pi9", out=tmp_path))
    with pytest.raises(UsageError, match="--requests and --limit-s must be above 0"):
        program.run(program.Command(requests=0, out=tmp_path))
    program.run(program.Command(model="cosmos-policy", requests=3, out=tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert "no measurement" in results["width"]
    assert results["ways"].keys() == {"eager", "served-eager"}
    assert results["ways"]["served-eager"]["apart_from_eager"] < 1e-5
    assert {row["requests"] for row in results["ways"].values()} == {3}
    assert results["aims"] == []
    assert results["work"]["denoise"]["calls"] == 10


def test_a_way_that_fails_is_said_and_what_was_measured_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(roofline, "work_of", lambda entry: {})
    written: list[Any] = []

    def timed(twin: Any, make: Any, count: int) -> tuple[list[float], Any]:
        written.append(json.loads((tmp_path / "results.json").read_text())["ways"])
        if len(written) > 1:
            raise RuntimeError("CUDA out of memory\nand more")
        return [1.0, 3.0], torch.ones(2)

    monkeypatch.setattr(measure, "timed", timed)
    monkeypatch.setattr("sys.argv", ["twins", "--model", "pi0", "--out", str(tmp_path)])
    program.main()
    # A command that is stopped leaves the way that it was in named, and what came before it.
    assert written[0] == {"eager": {"failed": "it did not end"}}
    assert written[1]["eager"]["p50_ms"] == 2.0
    assert written[1]["served-eager"] == {"failed": "it did not end"}
    assert json.loads((tmp_path / "results.json").read_text())["ways"]["served-eager"] == {
        "failed": "CUDA out of memory"
    }
    assert "served-eager       failed: CUDA out of memory" in capsys.readouterr().out


def test_a_way_that_takes_too_long_is_given_up_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "work_of", lambda entry: {})
    slow: list[str] = ["served-eager"]

    def ways(twin: Any, device: Any) -> dict[str, Any]:
        return {"eager": "eager", "served-eager": "served-eager", "after": "after"}

    def timed(twin: Any, make: Any, count: int) -> tuple[list[float], Any]:
        while make in slow:
            # As a compiler does that tries one kernel after another, and lets none of their errors end it.
            with contextlib.suppress(Exception):
                time.sleep(0.01)
        return [1.0], torch.ones(2)

    monkeypatch.setattr(measure, "ways", ways)
    monkeypatch.setattr(measure, "timed", timed)
    results = program.run(program.Command(limit_s=0.2, out=tmp_path))
    assert results["ways"]["served-eager"] == {"failed": "not done after 0.2 s (--limit-s)"}
    assert results["ways"]["after"]["p50_ms"] == 1.0
    slow.append("eager")
    with pytest.raises(UsageError, match=r"eager is not done after 0.2 s \(--limit-s\): allow more"):
        program.run(program.Command(limit_s=0.2, out=tmp_path))


def test_eager_is_measured_beside_whatever_ways_are_named() -> None:
    ways = {"eager": 1, "compiled": 2, "captured": 3}
    assert program.selected(ways, ()) == ways
    assert list(program.selected(ways, ("captured",))) == ["eager", "captured"]
    with pytest.raises(UsageError, match="unknown way 'graph'; valid: eager, compiled, captured"):
        program.selected(ways, ("graph",))


def test_only_what_was_measured_is_judged() -> None:
    results = {"ways": {"eager": {"p50_ms": 300.0}, "captured": {"failed": "no memory"}}, "roofline_ms": {"all": 8.0}}
    assert program.judged("pi0", results) == []
    results["ways"]["compiled-captured"] = {"p50_ms": 12.0}
    assert [aim["against"] for aim in program.judged("pi0", results)] == ["roofline"]


def test_the_aims_are_judged_by_the_fastest_served_way() -> None:
    ways = {"eager": 300.0, "compiled": 30.0, "captured": 40.0, "compiled-captured": 20.0}
    results = {"ways": {name: {"p50_ms": ms} for name, ms in ways.items()}, "roofline_ms": {"all": 8.0}}
    pi0_aims = {aim["against"]: (aim["value"], aim["met"]) for aim in program.judged("pi0", results)}
    assert pi0_aims == {"roofline": (2.5, False), "compiled": (pytest.approx(2 / 3), True)}
    wam = {aim["against"]: (aim["value"], aim["met"]) for aim in program.judged("fast-wam", results)}
    assert wam == {"1 ms": (20.0, True), "eager": (pytest.approx(1 / 15), True)}
    assert pi0.TINY.steps == 10
