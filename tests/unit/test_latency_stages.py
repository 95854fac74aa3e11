"""From camera stamp to motor command: every stage comes out as it was, and the stages sum to the whole exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.latency import comparison, report
from bench.latency.stages import CHOSEN, KINDS, STAGES, by_kind, journeys
from runtime import records
from runtime.blackbox import Run
from runtime.cli import BenchLatency
from runtime.clock import NS_PER_MS
from runtime.shm import blank
from runtime.states import Verdict
from tests.unit.recorded import T0_NS, make_spec

NAMES = [stage.name for stage in STAGES]
TICKS = 80
RING = 30
"""Ring index of the first recorded chunk: a recording need not begin with the run."""


def ns(ms: float) -> int:
    return round(ms * NS_PER_MS)


@dataclass
class Made:
    """A recording that is made up: servo ticks 5 ms apart, 20 us late, each with a command the guardians follow."""

    ticks: Any = field(default_factory=lambda: np.zeros(TICKS, records.TICK))
    requests: list[Any] = field(default_factory=list)
    chunks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for i, tick in enumerate(self.ticks):
            tick["servo_tick"], tick["tick"] = i, i // 4
            tick["now_ns"] = T0_NS + ns(5 * i) + 20_000
            tick["compute_ns"] = ns(0.5)
            tick["command"]["seq"] = 1000 + i
            tick["chunks_seen"] = RING
            # What a tick knows of the guardians: the command before, handed over by the right one later.
            tick["guardian"]["command_seq"] = 999 + i
            tick["guardian"]["t_ns"] = T0_NS + ns(5 * (i - 1)) + 20_000 + ns(0.5) + np.array([250_000, 310_000])

    def answer(self, seq: int, takes: int, acts: int | None, **change: Any) -> None:
        """Add request `seq` whose chunk is taken at servo tick `takes` and acts from `acts` on, None for never."""
        self.chunks.append(blank(records.CHUNK))
        self.chunks[-1]["chunk_id"] = self.chunks[-1]["request_seq"] = seq
        self.ticks["chunks_seen"][takes:] = RING + len(self.chunks)
        if acts is not None:
            self.ticks["chunk_id"][acts:] = seq
        request = blank(records.REQUEST)
        request["request_seq"], request["verdict"] = seq, Verdict.USED
        times = {
            "t_capture_ns": 100.0,
            "t_frame_ns": 113.0,
            "t_request_ns": 115.0,
            "t_sent_ns": 116.5,
            "t_received_ns": 189.3,
        }
        for name, at_ms in times.items():
            request[name] = T0_NS + ns(at_ms)
        request["queue_ns"], request["prepare_ns"], request["infer_ns"] = ns(0.4), ns(0.3), ns(65.0)
        request["server_ns"] = ns(70.7)
        for name, value in change.items():
            request[name] = value
        self.requests.append(request)

    def run(self, latency: str = "pi0") -> Run:
        made = {
            "tick": self.ticks,
            "chunk": np.array(self.chunks, records.CHUNK),
            "request": np.array(self.requests, records.REQUEST),
        }
        spec = make_spec(Path("nowhere"))
        spec = type(spec)(**{name: getattr(spec, name) for name in spec.__struct_fields__} | {"latency": latency})
        indices = {"chunk": np.arange(RING, RING + len(self.chunks))}
        return Run(Path("nowhere"), spec, T0_NS, made, indices)


def test_every_stage_comes_out_as_it_was_and_they_sum_to_the_whole() -> None:
    made = Made()
    made.answer(7, takes=38, acts=48)
    found = journeys(made.run())
    stages = dict(zip(NAMES, found.stages_ns[0].tolist(), strict=True))
    assert stages == {
        "camera": ns(13.0),
        "wait": ns(2.0),
        "observe": ns(1.5),
        "transport": ns(2.1),
        "queue": ns(0.4),
        "prepare": ns(0.3),
        "model": ns(70.0),
        "take": ns(0.72),
        "merge": ns(0.5),
        "round": ns(9.48),
        "committed": ns(40.02),
        "decide": ns(0.5),
        "device": ns(0.31),
    }
    # The acting tick is 20 us late at 240 ms, decides in 0.5 ms, and the right guardian is 0.31 ms behind it.
    assert found.total_ns.tolist() == [ns(140.83)]
    assert sum(stages.values()) == ns(140.83)


def test_the_stages_of_any_recording_sum_exactly() -> None:
    rng = np.random.default_rng(5)
    made = Made()
    made.ticks["now_ns"] += rng.integers(0, 900_000, TICKS)
    made.ticks["compute_ns"] = rng.integers(1, 500_000, TICKS)
    made.ticks["guardian"]["t_ns"] += rng.integers(900_000, 3_000_000, (TICKS, 2))
    for seq in range(1, 20):
        takes = 4 * seq - 3
        server_ns = int(rng.integers(2_000, 70_000_000))
        received_ns = int(made.ticks["now_ns"][takes]) - int(rng.integers(0, 5_000_000))
        sent_ns = received_ns - server_ns - int(rng.integers(0, 5_000_000))
        made.answer(
            seq,
            takes,
            4 * (seq // 2) + 6 + 2 * seq,
            t_received_ns=received_ns,
            t_sent_ns=sent_ns,
            t_request_ns=sent_ns - 900_000,
            t_frame_ns=sent_ns - int(rng.integers(600_000, 3_000_000)),
            t_capture_ns=sent_ns - 20_000_000,
            server_ns=server_ns,
            queue_ns=server_ns // 7,
            prepare_ns=server_ns // 11,
        )
    found = journeys(made.run())
    assert len(found.total_ns) > 10
    assert np.array_equal(found.stages_ns.sum(axis=1), found.total_ns)
    assert (found.stages_ns >= 0).all()
    assert found.stages_ns.dtype == np.int64
    kinds = np.array([spent_ns for _, spent_ns in by_kind(found.stages_ns)])
    assert np.array_equal(kinds.sum(axis=0), found.total_ns)
    assert comparison.tabulate(found)["sums_differ"] == 0


def test_a_chunk_is_found_by_its_place_in_the_ring_not_by_its_number() -> None:
    made = Made()
    made.answer(7, takes=20, acts=24, t_received_ns=T0_NS + ns(98.0))
    made.answer(9, takes=38, acts=48)
    takes = journeys(made.run()).stages_ns[:, NAMES.index("take")]
    assert takes.tolist() == [ns(2.02), ns(0.72)]


def test_a_frame_that_came_after_the_decision_to_ask_did_not_wait() -> None:
    made = Made()
    made.answer(7, takes=38, acts=48, t_frame_ns=T0_NS + ns(115.4))
    stages = dict(zip(NAMES, journeys(made.run()).stages_ns[0].tolist(), strict=True))
    assert (stages["camera"], stages["wait"]) == (ns(15.0), 0)


def test_what_did_not_come_to_act_is_counted_and_left_out() -> None:
    made = Made()
    made.answer(1, takes=10, acts=12, cold=1)
    made.answer(2, takes=14, acts=None)
    made.answer(3, takes=20, acts=24, verdict=Verdict.STALE)
    made.answer(4, takes=30, acts=32, t_received_ns=T0_NS + ns(148.0))
    made.answer(5, takes=77, acts=TICKS - 1)
    found = journeys(made.run())
    assert (len(found.total_ns), found.cold, found.unused) == (1, 1, 3)
    assert len(journeys(Made().run()).total_ns) == 0


def test_the_servers_time_outside_the_model_is_told_from_what_a_profile_holds_back() -> None:
    made = Made()
    made.answer(7, takes=38, acts=48)
    assert journeys(made.run("none")).outside_ns.tolist() == [ns(5.7)]
    assert journeys(made.run("pi0")).outside_ns.tolist() == [ns(0.7)]


def test_a_recording_without_the_times_of_the_stages_has_no_journeys() -> None:
    made = Made()
    made.answer(7, takes=38, acts=48, t_sent_ns=0)
    found = journeys(made.run())
    assert (len(found.total_ns), found.unused) == (0, 1)


def test_every_kind_of_time_of_the_comparison_has_a_stage_and_a_colour() -> None:
    asked = {"model", "preprocessing", "transport", "queueing", "merge", "tick quantisation", "actuation"}
    assert asked <= set(KINDS)
    assert set(KINDS) == report.COLOURS.keys()
    assert [NAMES[i] for i in CHOSEN] == ["model", "committed"]


def test_the_page_shows_every_stage_of_both_sides_and_loads_nothing() -> None:
    made = Made()
    made.answer(7, takes=38, acts=48)
    row = comparison.tabulate(journeys(made.run()))
    sides = {
        side.name: {"policy": side.policy, "latency": side.latency, **row} for side in comparison.sides("tcp://host:1")
    }
    results = {"reference_ms": 73.0, "sides": sides, "outside_model_target_ms": 1.0, "host": {"processors": 2}}
    text = report.build_report(json.loads(json.dumps(results)))
    assert text.count("<svg") == 1
    assert all(text.count(f">{stage.name}<") >= 3 for stage in STAGES)
    assert "tcp://host:1" in text
    assert "140.83" in text
    assert "src=" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize("policy", ["demo", "tcp://127.0.0.1:1"])
def test_pi0_is_on_one_side_whatever_is_served_on_the_other(policy: str) -> None:
    reference, served = comparison.sides(policy)
    assert (reference.policy, reference.latency) == ("demo", "pi0")
    assert (served.policy, served.latency) == (policy, "none")


def test_the_key_of_a_policys_address_is_not_in_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made()
    made.answer(7, takes=38, acts=48)
    row = comparison.tabulate(journeys(made.run()))
    monkeypatch.setattr(comparison, "measure", lambda _side, _command: row)
    comparison.run(BenchLatency(out=tmp_path, policy="openpi://host:1?api_key=not-for-others"))
    left = [path.read_text() for path in (tmp_path / "results.json", tmp_path / "report.html")]
    for text in (*left, capsys.readouterr().out):
        assert "not-for-others" not in text
        assert "openpi://host:1" in text
