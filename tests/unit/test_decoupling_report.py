"""Promises of the comparison's page: verdicts that follow from the figures, every cell shown, nothing loaded."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.decoupling.charts import Curve, spread, success_chart
from bench.decoupling.promises import Promise, constant_ticks, difference, promises
from bench.decoupling.report import build_report, write_report
from bench.decoupling.strips import Moment, Strip
from bench.training.evaluate import wilson

EPISODES = 40
TEXTS = {
    "gigaworld": "success under gigaworld",
    "lognormal": "success under lognormal",
    "below": "never significantly below",
    "starved": "no starved tick",
    "seam": "99th percentile seam",
    "completion": "median completion",
}


def cell(successes: int = EPISODES, episodes: int = EPISODES, **figures: Any) -> dict[str, Any]:
    low, high = wilson(successes, episodes)
    return {
        "success": successes / episodes,
        "ci95": [low, high],
        "starved": 0,
        "seam_jump_rad_p50": 0.001,
        "seam_jump_rad_p99": 0.01,
        "jerk_rms": 90.0,
        "action_age_ms_p50": 400.0,
        "completion_s_p50": 5.0,
        "limit_violations": 0,
        "coverage": None,
        "overprovision_ticks": None,
        **figures,
    }


def table(profiles: dict[str, Any], zero: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "tasks": {"posts": {"policy": "demo", "episodes": EPISODES, "profiles": profiles}},
        "zero_delay": {"posts": {"leadtime": cell()} if zero is None else zero},
        "seeds": [1, EPISODES],
        "versions": {"numpy": "2.1.0"},
    }


def full_table() -> dict[str, Any]:
    rows = {
        name: {"sync": cell(31 + i, starved=700 + i), "leadtime": cell(36), "aligned": cell(20 + i), "lerobot": cell(9)}
        for i, name in enumerate(("d=0", "d=18", "lognormal", "gigaworld"))
    }
    return table(rows)


def strip(merge: str = "leadtime") -> Strip:
    moments = tuple(
        Moment(t_s, ((-0.4, 0.1), (t_s, 0.2)), ((t_s, 0.2), (t_s + 0.02, 0.3 + t_s))) for t_s in (-0.02, 0.0, 0.08)
    )
    return Strip(merge, "left_elbow", 0.1, moments)


def verdict(of: dict[str, Any], name: str) -> Promise:
    (found,) = (promise for promise in promises(of) if promise.text.startswith(TEXTS[name]))
    return found


@pytest.mark.parametrize(
    ("profile", "successes", "held"),
    [("gigaworld", 40, True), ("gigaworld", 39, False), ("lognormal", 38, True), ("lognormal", 37, False)],
)
def test_success_is_held_against_the_merge_s_own_zero_delay(profile: str, successes: int, held: bool) -> None:
    found = verdict(table({profile: {"leadtime": cell(successes)}}), profile)
    assert found.held is held
    assert f"{successes / EPISODES:.3f} against 1.000" in found.figures


def test_a_difference_says_whether_the_episodes_can_tell_it() -> None:
    few = verdict(table({"gigaworld": {"leadtime": cell(39)}}), "gigaworld").figures
    assert "no more than chance explains at 40 episodes" in few
    assert "more episodes could turn the answer" in few
    clear = verdict(table({"gigaworld": {"leadtime": cell(20)}}), "gigaworld").figures
    assert ": more than chance explains" in clear
    assert "the whole interval breaks the limit" in clear
    many = {"leadtime": cell(9999, 10_000)}
    assert "the whole interval keeps the limit" in verdict(table({"gigaworld": many}, many), "gigaworld").figures


def test_the_interval_of_a_difference_is_newcombe_s_published_example() -> None:
    # Newcombe 1998, table II, case (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    found = difference(cell(56, 70), cell(48, 80))
    assert found is not None
    assert (found.points, found.low, found.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.005)
    assert found.significant


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_a_difference_turned_round_is_its_mirror(first: int, second: int, more: int) -> None:
    one, other = cell(first, 30), cell(second, 30 + more)
    there, back = difference(one, other), difference(other, one)
    assert there is not None
    assert back is not None
    assert there.low <= there.points <= there.high
    assert (there.points, there.low, there.high) == pytest.approx((-back.points, -back.high, -back.low))


@pytest.mark.parametrize(
    ("profile", "ours", "theirs", "held"),
    [
        ("d=18", 20, 40, False),
        ("gigaworld", 20, 40, False),
        ("d=18", 39, 40, True),
        ("d=20", 20, 40, None),
        ("drift", 20, 40, None),
    ],
)
def test_only_a_significant_loss_at_a_constant_delay_counts(
    profile: str, ours: int, theirs: int, held: bool | None
) -> None:
    found = verdict(table({profile: {"leadtime": cell(ours), "lerobot": cell(theirs)}}), "below")
    assert found.held is held
    assert ("lerobot at d=18" in found.figures) is (held is not None)


@pytest.mark.parametrize(
    ("profile", "starved", "held"),
    [("d=24", 0, True), ("d=24", 3, False), ("drift", 1, False), ("d=26", 3, None), ("motus", 3, None)],
)
def test_starvation_counts_where_the_delay_leaves_room(profile: str, starved: int, held: bool | None) -> None:
    found = verdict(table({profile: {"leadtime": cell(starved=starved), "sync": cell(starved=900)}}), "starved")
    assert found.held is held
    assert held is None or "not measured: lognormal" in found.figures


@pytest.mark.parametrize(("jump_rad", "held"), [(0.02, True), (0.021, False), (None, None)])
def test_the_seam_is_held_against_a_fifth_of_aligned_s(jump_rad: float | None, held: bool | None) -> None:
    row = {"leadtime": cell(seam_jump_rad_p99=jump_rad), "aligned": cell(seam_jump_rad_p99=0.1)}
    assert verdict(table({"gigaworld": row}), "seam").held is held


@pytest.mark.parametrize(("took_s", "held"), [(5.25, True), (5.26, False), (None, None)])
def test_completion_is_held_against_zero_delay(took_s: float | None, held: bool | None) -> None:
    row = {"leadtime": cell(completion_s_p50=took_s)}
    assert verdict(table({"gigaworld": row}), "completion").held is held


def test_what_is_not_in_the_table_is_not_measured() -> None:
    assert {promise.held for promise in promises(table({}, zero={}))} == {None}
    assert promises({**table({}), "tasks": {}}) == []


def test_published_delays_of_whole_ticks_are_constant_delays() -> None:
    names = ("d=0", "d=14", "gigaworld", "pi0", "lognormal", "d=x", "constant:20")
    assert [constant_ticks(name) for name in names] == [0, 14, 18, None, None, None, None]


def test_every_cell_is_on_the_page() -> None:
    text = build_report(full_table(), [strip()], "")
    for i in range(4):
        assert text.count(f"starved {700 + i}<") == 1
        assert f">{(20 + i) / EPISODES:.3f}<small>" in text
    assert text.count(">0.900 ●<") == 4
    assert "All figures under gigaworld" in text
    assert "All figures under lognormal" in text
    for merge in ("sync", "leadtime", "aligned", "lerobot"):
        assert f"<title>{merge}</title>" in text
    assert 'class="curve peer"' in text


def test_a_cell_that_the_episodes_cannot_tell_from_the_best_is_marked() -> None:
    row = {"a": cell(40), "b": cell(38), "c": cell(20)}
    text = build_report(table({"burst": row}), [], "")
    assert "1.000 ●<" in text
    assert "0.950 ○<" in text
    assert "0.500<" in text


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pages.append(write_report(tmp_path / name, full_table(), [strip(), strip("naive")], "<p>f</p>").read_bytes())
    assert pages[0] == pages[1]


def test_the_page_loads_nothing() -> None:
    text = build_report(full_table(), [strip()], "")
    assert not re.search(r"https?:|//|<script|<link|@import|url\(|src=", text)
    assert set(re.findall(r'href="(.)', text)) == {"#"}


def test_names_are_escaped_and_the_forecasts_are_not() -> None:
    bad = "<b>&x"
    rows = {"gigaworld": {bad: cell(), "leadtime": cell()}, bad: {bad: cell()}}
    of = table(rows)
    of["tasks"] = {bad: of["tasks"]["posts"]}
    of["versions"] = {bad: bad}
    text = build_report(of, [strip(bad)], "<i>as it is</i>")
    assert bad not in text
    assert "&lt;b&gt;&amp;x" in text
    assert "<i>as it is</i>" in text


@pytest.mark.parametrize(
    "profiles",
    [
        {},
        {"d=0": {}},
        {"d=0": {"sync": cell(1, 1)}},
        {"gigaworld": {"leadtime": cell(0, 1, completion_s_p50=None, seam_jump_rad_p99=None, starved=None)}},
        {"drift": {"naive": dict.fromkeys(cell())}},
    ],
)
def test_a_table_with_gaps_gives_a_page_with_gaps(profiles: dict[str, Any]) -> None:
    text = build_report(table(profiles, zero={}), [], "")
    assert "not measured" in text
    assert "None" not in text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", text)


@given(st.lists(st.floats(0.0, 300.0), min_size=1, max_size=40))
def test_labels_keep_apart_and_inside(wanted: list[float]) -> None:
    placed = spread(sorted(wanted), 16.0, 0.0, 300.0)
    gap = min(16.0, 300.0 / max(1, len(wanted) - 1))
    assert all(below - above >= gap - 1e-6 for above, below in pairwise(placed))
    assert placed[0] >= -1e-6
    assert placed[-1] <= 300.0 + 1e-6


def test_our_curve_is_drawn_last_and_360_ms_is_marked() -> None:
    curves = [
        Curve(name, kind, ((0, 1.0, 0.9, 1.0), (18, 1.0, 0.9, 1.0))) for name, kind in (("l", "ours"), ("n", "other"))
    ]
    text = success_chart(curves)
    assert text.index('class="curve other"') < text.index('class="curve ours main"')
    assert ">360 ms<" in text
    assert ">360 ms<" not in success_chart([Curve("n", "other", ((4, 1.0, 0.9, 1.0),))])


def test_the_old_plan_stays_as_a_ghost_from_the_seam_on() -> None:
    text = build_report(full_table(), [strip()], "")
    ghosts = re.findall(r'class="ghost" d="([^"]*)"', text)
    assert [bool(ghost) for ghost in ghosts] == [False, True, True]
    shapes = [re.sub(r"M[\d.]+ |L[\d.]+ ", " ", ghost) for ghost in ghosts[1:]]
    assert shapes[0] == shapes[1]
