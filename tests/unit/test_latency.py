"""Latency profiles: the published names, the three forms, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.clock import NS_PER_MS, NS_PER_S
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
    assert {model.sample(rng(), 0) for _ in range(5)} == {round(ms * NS_PER_MS)}
    assert model.median_ms == ms


def test_a_lognormal_has_the_median_and_spread_that_were_asked_for() -> None:
    model, generator = parse_latency("lognormal:190,0.3"), rng()
    logs = np.log([model.sample(generator, 0) / NS_PER_MS for _ in range(20_000)])
    assert np.median(logs) == pytest.approx(np.log(190.0), abs=0.01)
    assert np.std(logs) == pytest.approx(0.3, abs=0.01)


def test_the_same_seed_gives_the_same_latencies() -> None:
    a, b = rng(), rng()
    model = parse_latency("lognormal:190,0.3")
    assert [model.sample(a, 0) for _ in range(10)] == [model.sample(b, 0) for _ in range(10)]


def test_a_trace_is_played_in_order_and_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("100\n 250.5 \n30\n\n", encoding="utf-8")
    model = parse_latency(f"trace:{path}")
    assert [model.sample(rng(), 0) / NS_PER_MS for _ in range(4)] == [100.0, 250.5, 30.0, 100.0]
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
        ("lognormal:190", "1 given where 2 belong (MEDIAN_MS,SIGMA)"),
        ("lognormal:190,x", "SIGMA 'x'"),
        ("lognormal:190,-0.1", "SIGMA '-0.1'"),
        ("lognormal:a,0.1", "'a'"),
        ("drift:400,100,8", ""),
        ("drift:100,400", "2 given where 3 belong"),
        ("drift:100,400,0", "PERIOD_S '0'"),
        ("burst:190,3,5", "3 given where 4 belong"),
        ("burst:190,-3,5,1", "FACTOR '-3'"),
        ("switch:190,,5", "B_MS ''"),
        ("drop:190,101", "PERCENT '101'"),
        ("drop:190", "1 given where 2 belong"),
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


def sampled_ms(text: str, times_s: np.ndarray) -> np.ndarray:
    """Return the latencies that a profile draws at the given times, NaN for a lost answer."""
    model, generator = parse_latency(text), rng()
    drawn = [model.sample(generator, round(t_s * NS_PER_S)) for t_s in times_s]
    return np.array([np.nan if value is None else value / NS_PER_MS for value in drawn])


def test_a_drift_swings_between_its_levels_once_a_period() -> None:
    times_s = np.linspace(0.0, 40.0, 4000)
    drawn = sampled_ms("drift:100,400,10", times_s)
    middle = np.array([np.median(drawn[np.abs(times_s % 10.0 - phase) < 0.2]) for phase in (2.5, 5.0, 7.5)])
    np.testing.assert_allclose(middle, (250.0, 400.0, 250.0), rtol=0.1)


def test_a_burst_is_so_many_times_slower_for_its_length() -> None:
    times_s = np.linspace(0.0, 50.0, 5000)
    drawn = sampled_ms("burst:100,3,5,1", times_s)
    slow = drawn > 180.0
    assert slow.mean() == pytest.approx(0.2, abs=0.02)
    assert np.median(drawn[slow]) == pytest.approx(300.0, rel=0.05)
    assert np.median(drawn[~slow]) == pytest.approx(100.0, rel=0.05)


def test_a_switch_stays_at_each_level_for_half_of_the_time() -> None:
    drawn = sampled_ms("switch:100,400,3", np.linspace(0.0, 60.0, 6000))
    assert (drawn > 200.0).mean() == pytest.approx(0.5, abs=0.03)


def test_a_drop_loses_its_share_of_the_answers_and_delays_the_others_alike() -> None:
    drawn = sampled_ms("drop:190,5", np.zeros(8000))
    assert np.isnan(drawn).mean() == pytest.approx(0.05, abs=0.01)
    assert set(drawn[~np.isnan(drawn)]) == {190.0}
