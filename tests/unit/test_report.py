"""A run's page shows what happened, stands alone, and stays small."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtime import records
from runtime.blackbox import load_run
from runtime.cli import View
from runtime.commands.view import view
from runtime.console import figures
from runtime.console.report import _tiles, build_report, write_report
from runtime.errors import LeadtimeError
from runtime.faults import FAULTS
from runtime.states import Verdict
from runtime.summary import build_summary
from tests.unit import recorded
from tests.unit.test_summary import make_run, make_ticks


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a recorded run."""
    folder = tmp_path_factory.mktemp("run")
    recorded.record(folder, 1000)
    run = load_run(folder)
    return write_report(run, build_summary(run)).read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_anywhere(html: str) -> None:
    assert re.findall(r'(?:src|href)\s*=\s*"(?!data:|#)[^"]*"', html) == []
    assert "<script" not in html
    assert re.findall(r"url\((?!#)[^)]*\)|@import", html) == []


def test_the_page_shows_the_run(html: str) -> None:
    for title in (
        "Actions ahead of the arms",
        "Answer latency and forecast",
        "Joint targets and seams",
        "All joints, whole run",
        "Punctuality of the servo tick",
        "Faults",
        "cam_high",
        "Episodes",
        "Summary",
    ):
        assert f"<h2>{title}</h2>" in html
    assert "1 of 1 episodes succeeded" in html
    assert html.count("<svg") == 5
    assert html.count("data:image/jpeg;base64,") == 24 + 2 * 8


def test_figures_take_the_page_s_colours_in_both_themes(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    assert "#010203" not in html
    assert "var(--ink)" in html


def test_an_axis_of_thousandths_is_labelled_in_thousandths() -> None:
    with figures.drawing(5, 3) as figure:
        figure.subplots().plot([0.001, 0.004], [0.001, 0.004])
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", figures.svg(figure))
    assert "0.0025" in labels
    assert len(set(labels)) * 2 == len(labels)
    assert re.findall(r'="[^"]*\d\.\d{3}', figures.svg(figure)) == []


def test_a_minute_of_run_is_a_small_page_with_each_fault_s_remedy_and_escaped_text() -> None:
    ticks = np.array([recorded.make_tick(i) for i in range(80)])
    run = make_run(tick=list(np.tile(ticks, 150)))
    run.ticks["servo_tick"] = np.arange(12000)
    run.ticks["now_ns"] = recorded.T0_NS + np.arange(12000) * recorded.PERIOD_NS
    run.ticks["target"] += np.random.default_rng(0).normal(size=(12000, 14))
    run.ticks["command"]["position"] = run.ticks["target"]
    run.ticks["faults"][10:] = 1
    run = replace(run, spec=msgspec.structs.replace(run.spec, task="<b>&"))
    html = build_report(run, build_summary(run))
    assert len(html) < 3_000_000
    assert FAULTS[0].name in html
    assert FAULTS[0].remedy in html
    assert "&lt;b&gt;&amp;" in html
    assert "<b>&" not in html


def test_a_recording_from_before_correctors_and_leaders_has_a_page(tmp_path: Path) -> None:
    recorded.record(tmp_path, 300)
    run = load_run(tmp_path)
    for ring, later in (("tick", {"amended", "amendments_seen", "led", "leader"}), ("client", {"faults", "pictures"})):
        run.records[ring] = run.records[ring][[name for name in run.records[ring].dtype.names if name not in later]]
    summary = build_summary(run)
    assert summary["amendments"]["used"] == 0
    assert "Actions ahead of the arms" in build_report(run, summary)


def test_the_figures_of_a_long_run_are_made_without_a_copy_of_it() -> None:
    run = make_run(tick=make_ticks(10_000, ahead_ticks=7))
    summary = build_summary(run)
    tracemalloc.start()
    tiles = list(_tiles(run, summary))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tiles[1][0] == "140 ms"
    assert most < run.ticks.nbytes / 10


def test_an_hour_in_which_every_other_tick_starved_is_a_page_that_a_browser_opens() -> None:
    starved, asked = np.arange(200 * 3600) // 100 % 2, np.zeros(5 * 3600, dtype=records.REQUEST)
    asked["request_seq"] = np.arange(len(asked))
    asked["t_request_ns"] = recorded.T0_NS + asked["request_seq"] * 200_000_000
    asked["t_received_ns"] = asked["t_request_ns"] + 100_000_000
    asked["t_received_ns"][7777] += 900_000_000
    asked["verdict"] = Verdict.USED
    run = make_run(tick=make_ticks(len(starved), starved=starved), request=asked)
    top, _ = figures.buffer_figure(run).axes
    marks = top.get_lines()[-1].get_xdata()
    assert marks[0] == pytest.approx(0.5)
    assert marks[-1] == pytest.approx(3600, abs=3.0)
    (latency,) = figures.latency_figure(run).axes
    assert max(latency.get_lines()[0].get_ydata()) == 1000.0
    sizes = [len(figures.svg(make(run))) for make in (figures.buffer_figure, figures.latency_figure)]
    assert sum(sizes) < 1_000_000


def test_a_stop_that_is_planned_for_want_of_actions_is_no_buffer() -> None:
    run = make_run(tick=make_ticks(4, ahead_ticks=[3, 2, 2, 5], starved=[0, 1, 1, 0]))
    assert list(_tiles(run, build_summary(run)))[1][0] == "0 ms"
    (line, *_) = figures.buffer_figure(run).axes[0].get_lines()
    assert list(line.get_ydata()) == [60, 0, 0, 100]


def test_a_run_that_never_ticked_still_has_a_page() -> None:
    run = make_run()
    assert "no episode decided" in build_report(run, build_summary(run))


def test_no_black_box_no_page(tmp_path: Path) -> None:
    with pytest.raises(LeadtimeError, match=r"run\.mcap"):
        view(View(tmp_path))
