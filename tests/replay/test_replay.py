"""A recorded run is decided again bit for bit; what differs is found and named; what is missing is not hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.blackbox import Run, load_run
from runtime.control.core import ControlConfig, ControlCore
from runtime.errors import LeadtimeError
from runtime.replay import ReplayResult, replay, replay_run
from runtime.states import Mode
from tests.replay.session import LAST_CHUNK_TICK, TICKS, Session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run: HOLD, POLICY over ten chunks, then starvation."""
    path = tmp_path_factory.mktemp("run")
    session = Session(path)
    for servo_tick in range(TICKS):
        session.step(servo_tick)
    session.finish()
    return path


def decide_again(run: Run) -> ReplayResult:
    """Replay a run in memory."""
    config = ControlConfig.from_rig(run.spec.rig, run.spec.merge)
    return replay_run(run, lambda: ControlCore(config, run.spec.tick_base(run.t0_ns)))


def changed(run: Run, ring: str, change: Callable[[np.ndarray], None]) -> Run:
    """Return a run with some of a ring's records changed."""
    own = run.records[ring].copy()
    change(own)
    return replace(run, records={**run.records, ring: own})


def without(run: Run, ring: str, rows: slice) -> Run:
    """Return a run that some of a ring's records are missing of."""
    kept = np.delete(np.arange(len(run.records[ring])), rows)
    records = {**run.records, ring: run.records[ring][kept]}
    return replace(run, records=records, indices={**run.indices, ring: run.indices[ring][kept]})


def test_the_recorded_run_went_through_policy_and_out_of_it(folder: Path) -> None:
    run = load_run(folder)
    modes = run.ticks["mode"]
    assert np.count_nonzero(modes == Mode.POLICY) > 400
    assert modes[-1] != Mode.POLICY
    assert np.count_nonzero(run.ticks["switched"]) >= 8
    assert run.ticks["starved"].any()


def test_every_command_is_decided_again_bit_for_bit(folder: Path) -> None:
    result = replay(folder)
    assert result.first_difference is None
    assert (result.ticks, result.compared, result.gaps) == (TICKS, TICKS, ())
    assert result.identical
    assert "bit-identical" in result.describe()


def test_one_flipped_bit_of_a_recorded_input_is_found(folder: Path) -> None:
    run = load_run(folder)
    chunk_tick = int(np.flatnonzero(np.diff(run.ticks["chunks_seen"].astype(int)))[3]) + 1

    def flip(chunks: np.ndarray) -> None:
        bits = chunks["actions"][3, 20:40].view(np.uint64)
        bits ^= np.uint64(1 << 40)

    result = decide_again(changed(run, "chunk", flip))
    assert not result.identical
    assert result.first_difference is not None
    servo_tick, name = result.first_difference
    assert servo_tick >= chunk_tick
    assert name.startswith(("command.", "target"))
    assert f"servo tick {servo_tick}" in result.describe()


def test_one_flipped_bit_of_a_recorded_command_is_named_at_its_tick(folder: Path) -> None:
    run = load_run(folder)

    def flip(ticks: np.ndarray) -> None:
        bits = ticks["command"]["position"][500:501, 3].copy().view(np.uint64)
        ticks["command"]["position"][500, 3] = (bits ^ np.uint64(1)).view(np.float64)[0]

    result = decide_again(changed(run, "tick", flip))
    assert result.first_difference == (500, "command.position[3]")


def test_a_changed_clock_reading_is_found(folder: Path) -> None:
    def shift(ticks: np.ndarray) -> None:
        ticks["now_ns"][400] += 1

    result = decide_again(changed(load_run(folder), "tick", shift))
    assert result.first_difference is not None
    assert result.first_difference[0] == 400


@pytest.mark.parametrize("ring", ["tick", "chunk"])
def test_a_gap_is_reported_and_nothing_after_it_is_claimed(folder: Path, ring: str) -> None:
    run = load_run(folder)
    result = decide_again(without(run, ring, slice(5, 7)))
    assert result.first_difference is None
    assert not result.identical
    assert [(gap.ring, gap.index, gap.count) for gap in result.gaps] in ([(ring, 5, 2)], [(ring, 5, 1)])
    assert result.compared < result.ticks
    assert "gap" in result.describe()


def test_a_run_whose_beginning_is_missing_is_not_compared(folder: Path) -> None:
    result = decide_again(without(load_run(folder), "tick", slice(0, 3)))
    assert (result.compared, result.identical) == (0, False)


def test_a_control_process_that_was_restarted_is_replayed_from_anew(tmp_path: Path) -> None:
    session = Session(tmp_path)
    for servo_tick in range(300):
        session.step(servo_tick)
    session.restart_control()
    for servo_tick in range(320, 420):
        session.step(servo_tick)
    session.finish()
    result = replay(tmp_path)
    assert result.identical
    assert result.compared == 400


def test_records_of_another_version_are_refused(folder: Path) -> None:
    run = load_run(folder)
    other = np.zeros(len(run.ticks), dtype=[("servo_tick", "<i8"), ("extra", "<i4")])
    with pytest.raises(LeadtimeError, match="another version"):
        decide_again(replace(run, records={**run.records, "tick": other}))


def test_an_empty_run_is_not_called_identical(folder: Path) -> None:
    run = without(load_run(folder), "tick", slice(None))
    result = decide_again(run)
    assert not result.identical
    assert "nothing to replay" in result.describe()


def test_the_session_starves_only_after_its_last_chunk(folder: Path) -> None:
    ticks = load_run(folder).ticks
    assert ticks["servo_tick"][np.flatnonzero(ticks["starved"])[0]] > LAST_CHUNK_TICK
