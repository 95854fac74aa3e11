"""The lab: the same episode from the same seed, delays as told, faults by schedule, and never a violation."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.decoupling import cells
from bench.decoupling.cells import STATE_POLICY, Cell, lab, load, play, policy_version, save, score
from bench.decoupling.profiles import Profile, constant
from bench.lab.episode import Episode
from bench.lab.faults import Fault, Injection, Schedule
from runtime.inference.policy import load_policy

TASK = "conveyor"


@pytest.fixture(scope="module")
def episode() -> Episode:
    return play(TASK, "constant:200", "leadtime", 3)


def test_the_same_seed_gives_the_same_episode_byte_for_byte(episode: Episode) -> None:
    assert play(TASK, "constant:200", "leadtime", 3) == episode
    assert play(TASK, "constant:200", "leadtime", 4) != episode


def test_a_constant_delay_is_that_many_ticks_and_the_plan_never_runs_out(episode: Episode) -> None:
    assert set(episode.inference.delays_ticks) == {10}
    assert episode.starved == 0
    assert episode.held == 0
    assert episode.violations == 0
    assert episode.success
    assert min(episode.ages_ms) >= 200.0


def test_a_policy_that_can_be_told_nothing_does_its_task_behind_a_delay(tmp_path: Path) -> None:
    shipped = load_policy(STATE_POLICY).folder
    folder = tmp_path / "told-nothing"
    shutil.copytree(shipped, folder)
    raw = yaml.safe_load((shipped / "manifest.yaml").read_text())
    for key in ("guided", "correctors"):
        del raw[key]
    # Its graphs have the inputs, and nothing is put into them.
    (folder / "manifest.yaml").write_text(yaml.safe_dump(raw | {"capabilities": {"prefix": True, "prefix_max": 0}}))
    plain = lab(TASK, "constant:200", "leadtime", 3, policy=str(folder)).run()
    assert plain.success
    assert plain.starved == 0
    assert plain.violations == 0


def test_without_delay_the_answer_acts_at_the_very_next_tick() -> None:
    none = play(TASK, "constant:0", "aligned", 3)
    assert set(none.inference.delays_ticks) == {0}


def test_stop_and_wait_stands_still_between_chunks() -> None:
    stopping = play(TASK, "constant:200", "sync", 3)
    assert stopping.starved > 60
    assert stopping.violations == 0


def test_a_delay_beyond_half_a_chunk_halts_the_arms_unless_the_server_works_on_two_requests() -> None:
    one, two = (lab(TASK, "constant:1100", "leadtime", 3, concurrency=slots).run() for slots in (1, 2))
    assert one.starved > 100
    assert two.starved == 0
    assert two.violations == 0
    assert set(two.inference.delays_ticks) == {55}
    assert two.inference.requests > one.inference.requests


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_by_schedule_is_survived_within_limits_and_the_work_goes_on(fault: Fault, episode: Episode) -> None:
    played = lab(TASK, "constant:200", "leadtime", 3, faults=Schedule([Injection(fault, 0.4, 0.6)]))
    after = played.run()
    assert after.violations == 0
    assert after != episode
    assert after.ages_ms[-1] < 2000.0, "chunks are executed again at the end"


def test_an_episode_whose_policy_never_answers_has_failed_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.lab.rig.ENGAGE_TICKS_MAX", 500)
    lost = play(TASK, "drop:190,100", "leadtime", 3)
    assert (lost.success, lost.completion_s, lost.ticks) == (False, None, 0)
    assert score([lost])["success"] == 0.0


def test_a_fault_schedule_is_as_repeatable_as_an_episode() -> None:
    schedule = Schedule([Injection(Fault.CONTROL_PAUSED, 0.3, 0.1), Injection(Fault.ANSWERS_LOST, 0.8, 0.5)])
    once, again = (lab(TASK, "constant:100", "leadtime", 5, faults=schedule).run() for _ in range(2))
    assert once == again


@pytest.mark.parametrize("other", ["code_version", "policy_version"])
def test_a_cell_goes_on_from_what_was_kept_and_not_from_other_code_or_policies(
    tmp_path: Path, episode: Episode, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    cell = Cell(TASK, constant(10), "leadtime", 2)
    save(tmp_path, cell, [episode, replace(episode, seed=4)])
    assert load(tmp_path, cell) == [episode, replace(episode, seed=4)]
    assert load(tmp_path, replace(cell, profile=Profile("other", "constant:1"))) == []
    monkeypatch.setattr(f"bench.decoupling.cells.{other}", lambda *_: "other")
    assert load(tmp_path, cell) == []


def test_a_cell_of_a_policy_s_folder_is_kept_in_the_folder_of_the_cells(tmp_path: Path, episode: Episode) -> None:
    shipped = load_policy(STATE_POLICY).folder
    for policy in (str(shipped), f"{shipped}/"):
        cell = Cell(TASK, constant(10), "leadtime", 1, policy)
        save(tmp_path, cell, [episode])
        assert (tmp_path / f"{cell.key}.json").parent == tmp_path
        assert load(tmp_path, cell) == [episode]


def test_a_cell_of_a_trace_does_not_go_on_from_another_of_its_name(tmp_path: Path, episode: Episode) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("100\n")
    cell = Cell(TASK, Profile("trace", f"trace:{trace}"), "leadtime", 1)
    save(tmp_path, cell, [episode])
    assert load(tmp_path, cell) == [episode]
    trace.write_text("900\n")
    cells._delays.cache_clear()
    assert load(tmp_path, cell) == []


def test_a_disk_that_fills_leaves_the_episodes_that_were_kept(
    tmp_path: Path, episode: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, cell = Path.write_text, Cell(TASK, constant(10), "leadtime", 2)
    save(tmp_path, cell, [episode])

    def full(self: Path, text: str, encoding: str) -> int:
        write(self, text[:20], encoding=encoding)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, cell, [episode] * 2)
    assert load(tmp_path, cell) == [episode]


def test_what_a_policy_brings_to_a_task_is_known_by_its_files_and_numbers_for_that_task(tmp_path: Path) -> None:
    def version(task: str, change: Callable[[Path], None]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(load_policy(STATE_POLICY).folder, folder)
        change(folder)
        return policy_version(str(folder), task)

    def untouched(_: Path) -> None: ...

    def retrained(folder: Path) -> None:
        with (folder / "posts.onnx").open("ab") as graph:
            graph.write(b"\0")

    def shortened(folder: Path) -> None:
        manifest = folder / "manifest.yaml"
        manifest.write_text(manifest.read_text().replace("posts: 60", "posts: 59"))

    for change in (retrained, shortened):
        assert version("posts", change) != version("posts", untouched)
        assert version("transfer", change) == version("transfer", untouched)


def test_a_score_counts_what_happened(episode: Episode) -> None:
    failed = replace(episode, success=False, completion_s=None, starved=7)
    figures = score([episode, failed])
    assert figures["success"] == 0.5
    assert figures["starved"] == 7
    assert figures["completion_s_p50"] == pytest.approx(episode.completion_s)
    low, high = figures["ci95"]
    assert low < 0.5 < high
