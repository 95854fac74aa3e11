"""Latency profiles: the published names, the three forms, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.clock import NS_PER_MS
from runtime.errors import UsageError
from runtime.inference.latency import LATENCY_PROFILES, parse_latency


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize(
    ("name", "ms"),
    [
        ("none", 0),
        ("pi0", 73),
        ("fast-wam", 190),
        ("gigaworld", 360),
        ("cosmos-policy", 390),
        ("lingbot-va", 480),
        ("motus", 1175),
        ("constant:12.5", 12.5),
    ],
)
def test_a_named_profile_is_its_published_latency_every_time(name: str, ms: float) -> None:
    model = parse_latency(name)
    assert {model.sample(rng()) for _ in range(5)} == {round(ms * NS_PER_MS)}
    assert model.median_ms == ms


def test_a_lognormal_has_the_median_and_spread_that_were_asked_for() -> None:
    model, generator = parse_latency("lognormal:190,0.3"), rng()
    logs = np.log([model.sample(generator) / NS_PER_MS for _ in range(20_000)])
    assert np.median(logs) == pytest.approx(np.log(190.0), abs=0.01)
    assert np.std(logs) == pytest.approx(0.3, abs=0.01)


def test_the_same_seed_gives_the_same_latencies() -> None:
    a, b = rng(), rng()
    model = parse_latency("lognormal:190,0.3")
    assert [model.sample(a) for _ in range(10)] == [model.sample(b) for _ in range(10)]


def test_a_trace_is_played_in_order_and_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("100\n 250.5 \n30\n\n", encoding="utf-8")
    model = parse_latency(f"trace:{path}")
    assert [model.sample(rng()) / NS_PER_MS for _ in range(4)] == [100.0, 250.5, 30.0, 100.0]
    assert model.median_ms == 100.0


@pytest.mark.parametrize("text", ["pi1", "", "gamma:3", "constant"])
def test_an_unknown_profile_lists_the_valid_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_latency(text)
    assert all(name in str(caught.value) for name in LATENCY_PROFILES)
    assert "lognormal:MEDIAN_MS,SIGMA" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("constant:", "''"),
        ("constant:-1", "'-1'"),
        ("constant:nan", "'nan'"),
        ("constant:1e9", "60000"),
        ("lognormal:190", "sigma is missing"),
        ("lognormal:190,x", "sigma 'x'"),
        ("lognormal:190,-0.1", "sigma '-0.1'"),
        ("lognormal:a,0.1", "'a'"),
        ("trace:/nowhere/at/all", "cannot read"),
    ],
)
def test_a_wrong_number_is_named(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_latency(text)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("body", "part"), [("", "is empty"), ("10\n-3\n", "line 2"), ("10\n\n20\n", "line 2")])
def test_a_trace_with_a_missing_or_negative_number_names_the_line(tmp_path: Path, body: str, part: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(UsageError, match=part):
        parse_latency(f"trace:{path}")
