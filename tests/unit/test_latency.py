"""Latency profiles: the published names, the forms, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import UsageError
from runtime.inference.server.latency import FORMS, LATENCY_PROFILES, LatencyModel, parse_latency


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def sampled_ms(model: LatencyModel, elapsed_s: float, count: int = 2000) -> np.ndarray:
    generator = rng()
    drawn = [model.sample(generator, round(elapsed_s * NS_PER_S)) for _ in range(count)]
    return np.array([np.nan if latency is None else latency / NS_PER_MS for latency in drawn])


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
    assert {model.sample(rng(), i * NS_PER_S) for i in range(5)} == {round(ms * NS_PER_MS)}
    assert model.median_ms == ms


def test_a_lognormal_has_the_median_and_spread_that_were_asked_for() -> None:
    logs = np.log(sampled_ms(parse_latency("lognormal:190,0.3"), 0.0, 20_000))
    assert np.median(logs) == pytest.approx(np.log(190.0), abs=0.01)
    assert np.std(logs) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("text", "elapsed_s", "level_ms"),
    [
        ("drift:200,400,8", 0.0, 200.0),
        ("drift:200,400,8", 2.0, 300.0),
        ("drift:200,400,8", 4.0, 400.0),
        ("drift:200,400,8", 16.0, 200.0),
        ("burst:100,3,5,1", 0.0, 100.0),
        ("burst:100,3,5,1", 3.99, 100.0),
        ("burst:100,3,5,1", 4.01, 300.0),
        ("burst:100,3,5,1", 9.99, 300.0),
        ("burst:100,3,5,1", 10.01, 100.0),
        ("switch:120,360,3", 0.0, 120.0),
        ("switch:120,360,3", 1.51, 360.0),
        ("switch:120,360,3", 3.01, 120.0),
    ],
)
def test_a_moving_process_jitters_by_a_tenth_around_its_level_at_that_time(
    text: str, elapsed_s: float, level_ms: float
) -> None:
    logs = np.log(sampled_ms(parse_latency(text), elapsed_s))
    assert np.median(logs) == pytest.approx(np.log(level_ms), abs=0.01)
    assert np.std(logs) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(
    ("text", "ms"), [("drift:200,400,8", 300), ("burst:100,3,5,1", 100), ("switch:120,360,3", 240), ("drop:190,5", 190)]
)
def test_the_typical_value_is_the_middle(text: str, ms: float) -> None:
    assert parse_latency(text).median_ms == ms


def test_the_share_asked_for_is_lost_and_the_rest_takes_what_was_asked_for() -> None:
    drawn_ms = sampled_ms(parse_latency("drop:190,5"), 0.0, 20_000)
    assert np.isnan(drawn_ms).mean() == pytest.approx(0.05, abs=0.005)
    assert set(drawn_ms[~np.isnan(drawn_ms)]) == {190.0}


@pytest.mark.parametrize(("percent", "lost"), [("0", 0.0), ("100", 1.0)])
def test_nothing_and_everything_can_be_lost(percent: str, lost: float) -> None:
    assert np.isnan(sampled_ms(parse_latency(f"drop:190,{percent}"), 0.0, 500)).mean() == lost


def test_no_latency_is_longer_than_a_minute() -> None:
    assert sampled_ms(parse_latency("lognormal:60000,3"), 0.0).max() == 60_000.0
    assert sampled_ms(parse_latency("burst:60000,100,1,1"), 0.5).max() == 60_000.0


@pytest.mark.parametrize(
    "text", ["lognormal:190,0.3", "drift:200,400,8", "burst:100,3,5,1", "switch:120,360,3", "drop:190,5"]
)
def test_the_same_generator_and_time_give_the_same_latencies(text: str) -> None:
    a, b = parse_latency(text), parse_latency(text)
    for elapsed_s in (0.0, 4.5, 100.25):
        assert np.array_equal(sampled_ms(a, elapsed_s, 20), sampled_ms(b, elapsed_s, 20), equal_nan=True)


def test_a_trace_is_played_in_order_and_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("100\n 250.5 \n30\n\n", encoding="utf-8")
    model = parse_latency(f"trace:{path}")
    assert sampled_ms(model, 0.0, 4).tolist() == [100.0, 250.5, 30.0, 100.0]
    assert model.median_ms == 100.0


@pytest.mark.parametrize("text", ["pi1", "", "gamma:3", "constant", "drift", "trace"])
def test_an_unknown_profile_lists_the_valid_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_latency(text)
    assert all(name in str(caught.value) for name in LATENCY_PROFILES)
    assert str(caught.value).endswith(FORMS)


def test_every_form_is_listed_with_its_numbers() -> None:
    assert FORMS.split(", ") == [
        "constant:MS",
        "lognormal:MEDIAN_MS,SIGMA",
        "drift:LOW_MS,HIGH_MS,PERIOD_S",
        "burst:MEDIAN_MS,FACTOR,EVERY_S,LENGTH_S",
        "switch:A_MS,B_MS,PERIOD_S",
        "drop:MS,PERCENT",
        "trace:FILE",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("constant:", "MS '' is not a number"),
        ("constant:-1", "MS '-1'"),
        ("constant:nan", "MS 'nan'"),
        ("constant:inf", "MS 'inf'"),
        ("constant:1e9", "from 0 to 60000"),
        ("constant:1,2", "2 given where 1 belong (MS)"),
        ("lognormal:190", "1 given where 2 belong (MEDIAN_MS,SIGMA)"),
        ("lognormal:190,", "SIGMA ''"),
        ("lognormal:190,x", "SIGMA 'x'"),
        ("lognormal:190,-0.1", "SIGMA '-0.1'"),
        ("lognormal:190,4", "from 0 to 3"),
        ("lognormal:a,0.1", "MEDIAN_MS 'a'"),
        ("drift:1,2", "2 given where 3 belong"),
        ("drift:-1,2,3", "LOW_MS '-1'"),
        ("drift:1,x,3", "HIGH_MS 'x'"),
        ("drift:1,2,0", "PERIOD_S '0'"),
        ("drift:3,2,8", "LOW_MS 3 is above HIGH_MS 2"),
        ("burst:360,3,5", "3 given where 4 belong"),
        ("burst:-360,3,5,1", "MEDIAN_MS '-360'"),
        ("burst:360,0.5,5,1", "FACTOR '0.5'"),
        ("burst:360,3,,1", "EVERY_S ''"),
        ("burst:360,3,5,-1", "LENGTH_S '-1'"),
        ("burst:360,3,5,6", "LENGTH_S 6 is longer than EVERY_S 5"),
        ("switch:120", "1 given where 3 belong"),
        ("switch:-1,360,3", "A_MS '-1'"),
        ("switch:120,,3", "B_MS ''"),
        ("switch:120,360,-3", "PERIOD_S '-3'"),
        ("drop:190", "1 given where 2 belong"),
        ("drop:-190,5", "MS '-190'"),
        ("drop:190,-5", "PERCENT '-5'"),
        ("drop:190,101", "PERCENT '101' is not a number from 0 to 100"),
        ("trace:", "cannot read"),
        ("trace:/nowhere/at/all", "cannot read"),
        ("trace:/", "cannot read"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_latency(text)
    assert part in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("10\n-3\n", "line 2: latency '-3'"),
        ("10\n\n20\n", "line 2: latency ''"),
        ("10\n20\nfast\n", "line 3: latency 'fast'"),
        ("nan\n", "line 1: latency 'nan'"),
        ("10\n70000\n", "line 2: latency '70000'"),
    ],
)
def test_a_trace_with_a_wrong_line_names_it(tmp_path: Path, body: str, part: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        parse_latency(f"trace:{path}")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trace_that_is_no_text_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.bin"
    path.write_bytes(b"\xff\xfe\x00100")
    with pytest.raises(UsageError, match="cannot read"):
        parse_latency(f"trace:{path}")
