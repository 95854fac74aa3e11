"""The rows of a recorded run are its policy ticks, whole episodes, with who commanded them and what was seen."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.blackbox import Run, StoredFrame, load_run
from runtime.export.demonstrations import demonstrations
from runtime.states import Mode
from tests.unit import recorded
from tests.unit.test_summary import make_run, make_ticks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("run")
    recorded.record(path, 600)
    return load_run(path)


def test_rows_are_the_policy_ticks_from_the_first_action_to_the_last(run: Run) -> None:
    (demo,) = demonstrations(run)
    ticks = [recorded.make_tick(i) for i in range(recorded.HOLD_TICKS, 600, 4)]
    assert demo.action == pytest.approx(np.array([tick["command"]["position"] for tick in ticks]))
    assert demo.state == pytest.approx(np.array([tick["arm"]["position"].ravel() for tick in ticks]))
    assert demo.task == "hand the cube over"
    assert demo.success is True
    assert not demo.intervention.any()


def test_a_row_has_the_newest_frame_that_was_there(run: Run) -> None:
    (demo,) = demonstrations(run)
    for name in run.spec.rig.cameras:
        captured = [frame.t_ns for frame in run.frames[name]]
        for i, frame in enumerate(demo.frames[name]):
            now_ns = int(recorded.make_tick(recorded.HOLD_TICKS + 4 * i)["now_ns"])
            assert frame.t_ns == max(t for t in captured if t <= now_ns)


def test_a_row_is_that_of_its_time_where_ticks_were_skipped() -> None:
    ticks = make_ticks(400)
    for tick in ticks:
        tick["command"]["position"] = tick["servo_tick"]
    kept = [tick for tick in ticks if tick["servo_tick"] not in {40, *range(201, 241)}]
    (demo,) = demonstrations(make_run(tick=kept))
    due = np.arange(0, 400, 4)
    due[10], due[51:61] = 39, 200
    assert demo.action[:, 0].tolist() == due.tolist()


def test_before_the_first_frame_the_first_is_shown() -> None:
    run = make_run(tick=make_ticks(40))
    run.frames["cam_high"] = [StoredFrame(recorded.T0_NS + 2 * 10**9, b"late")]
    assert [frame.jpeg for frame in demonstrations(run)[0].frames["cam_high"]] == [b"late"] * 10


def test_a_takeover_stays_in_its_episode_and_is_marked_and_parking_ends_one() -> None:
    modes = np.full(800, int(Mode.PARK))
    modes[100:200], modes[200:240], modes[240:400], modes[400:440] = Mode.POLICY, Mode.HOLD, Mode.TELEOP, Mode.POLICY
    modes[600:700] = Mode.POLICY
    first, second = demonstrations(make_run(tick=make_ticks(800, mode=modes)))
    assert len(first.state) == 340 // 4
    assert first.intervention.sum() == 160 // 4
    assert first.intervention[35:75].all()
    assert first.success is None
    assert len(second.state) == 25


def test_each_laid_out_episode_is_one_with_its_verdict_and_one_that_never_moved_is_none() -> None:
    modes = np.full(1200, int(Mode.POLICY))
    modes[800:] = Mode.PARK
    requests = [recorded.make_task_request(i, episode) for i, episode in ((0, 1), (400, 2), (800, 3))]
    ends = [recorded.make_end(390, 1, success=False), recorded.make_end(790, 2, success=True)]
    found = demonstrations(make_run(tick=make_ticks(1200, mode=modes), task_request=requests, episode_end=ends))
    assert [demo.success for demo in found] == [False, True]
    assert sum(len(demo.state) for demo in found) == 200
