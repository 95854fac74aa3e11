"""Promises of the control decisions, with both guardians and ideal arms in the loop."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from runtime.config import load_rig
from runtime.control.core import ControlConfig
from runtime.control.merge import MERGES
from runtime.control.timeline import PLAN_TICKS
from runtime.errors import UsageError
from runtime.faults import BIT
from runtime.layout import ARM_SLICE, SIDES
from runtime.records import CHUNK_STEPS_MAX, VIEW_PAST_TICKS
from runtime.states import Guard, Link, Mode, Source, Trip, Verdict
from tests.fake_rig import HORIZON, FakeRig

AGE = 12


def running(merge: str = "prefix", wait_ticks: int = 0) -> FakeRig:
    rig = FakeRig(merge=merge, wait_ticks=wait_ticks)
    rig.engage()
    rig.run(4 * AGE)
    assert rig.mode is Mode.POLICY
    return rig


def refresh(rig: FakeRig, **fields: int) -> Verdict:
    """Give the rig the chunk it waits for: its own path, asked for `AGE` ticks ago."""
    rig.run(1, (rig.answer(continued(rig, rig.tick - AGE), age=AGE, **{"prefix_len": AGE + 2, **fields}),))
    return rig.last.verdicts[0][1]


def continued(rig: FakeRig, tick: int, count: int = HORIZON) -> np.ndarray:
    """The path that `engage` began, from another tick on."""
    first = next(o for o in rig.outputs if o.view["started"])
    zero = int(first.view["tick"]) + 1
    start = rig.outputs[0].command["position"]
    return start + rig.path(tick - zero, count) - rig.path(0)[0]


def test_an_unknown_merge_names_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=", ".join(MERGES)):
        ControlConfig.from_rig(load_rig("sim-x5"), "nearest")


def test_arms_are_armed_where_they_are() -> None:
    rig = FakeRig()
    measured = rig.position.copy()
    rig.run(10)
    assert rig.mode is Mode.HOLD
    assert all(status["state"] == Guard.FOLLOW for status in rig.status)
    np.testing.assert_array_equal(rig.last.command["position"], measured)
    assert rig.last.command["source"] == Source.HOLD


@pytest.mark.parametrize("position", [np.zeros(14), np.full(14, np.nan), np.full(14, 9.0)])
def test_unusable_feedback_cannot_be_armed(position: np.ndarray) -> None:
    rig = FakeRig()
    rig.position = position
    rig.run(10)
    assert rig.mode is Mode.DISARMED
    assert int(rig.last.tick["faults"]) & BIT["feedback_unusable"]
    assert not rig.last.command["armed"]


@pytest.mark.parametrize("joint", range(14))
@pytest.mark.parametrize(("outside", "mode"), [(0.04, Mode.HOLD), (0.07, Mode.DISARMED)])
def test_arms_are_armed_where_their_guardians_follow_or_not_at_all(joint: int, outside: float, mode: Mode) -> None:
    rig = FakeRig()
    rig.position[joint] = rig.rig.stack("position_max")[joint] + outside
    rig.run(10)
    armed = mode is Mode.HOLD
    assert rig.mode is mode
    assert all(bool(status["state"] == Guard.FOLLOW) is armed for status in rig.status)
    assert bool(int(rig.last.tick["faults"]) & BIT["feedback_unusable"]) is not armed


def test_feedback_that_never_comes_cannot_be_armed() -> None:
    rig = FakeRig()
    rig.frozen = {1}
    rig.arms[1]["t_ns"] = 0
    rig.run(10)
    assert rig.mode is Mode.DISARMED


def test_the_first_chunk_begins_at_the_next_tick_from_standstill() -> None:
    rig = FakeRig()
    rig.run(20)
    rig.want = Mode.POLICY
    rig.run(130)
    assert (rig.mode, int(rig.last.view["engaged"]), int(rig.last.view["started"])) == (Mode.HOLD, 1, 0)
    held = rig.last.command["position"]
    assert (rig.last.view["actions"] == held).all()
    actions = held + rig.path(0) - rig.path(0)[0] + 0.01
    rig.run(1, (rig.answer(actions, age=30),))
    assert (rig.mode, int(rig.last.view["started"])) == (Mode.POLICY, 1)
    now = int(rig.last.tick["tick"])
    np.testing.assert_array_equal(rig.last.view["actions"][VIEW_PAST_TICKS + 1], actions[0])
    assert int(rig.last.view["end_tick"]) == now + 1 + len(actions)
    assert int(rig.last.tick["switched"]) == 0


@pytest.mark.parametrize("merge", [name for name, merge in MERGES.items() if merge.in_parts])
def test_the_first_part_of_a_chunk_runs_at_once_and_the_whole_goes_on_without_a_seam(merge: str) -> None:
    rig = running(merge)
    rig.run(4)
    path = continued(rig, rig.tick - AGE)
    seen = {"t_obs_ns": rig.base.time_ns(rig.tick - AGE), "start_tick": rig.tick - AGE, "prefix_len": AGE + 2}
    verdicts, ends = [], []
    for count in (AGE + 10, AGE + 10, len(path), AGE + 10):
        rig.run(4, (rig.answer(path[:count], **seen),))
        verdicts += [verdict for output in rig.outputs[-4:] for _, verdict in output.verdicts]
        ends.append(int(rig.last.view["end_tick"]) - seen["start_tick"])
    # What comes twice, and a part behind its whole, is nothing new.
    assert verdicts == [Verdict.USED, Verdict.STALE, Verdict.USED, Verdict.STALE]
    assert ends == [AGE + 10, AGE + 10, len(path), len(path)]
    assert not rig.violations
    rig.run(4 * AGE)
    seams = [float(o.tick["seam_jump_rad"]) for o in rig.outputs if o.tick["switched"]]
    assert len(seams) == 2
    assert max(seams) < 0.01


@pytest.mark.parametrize("merge", MERGES)
def test_a_plan_is_led_on_and_on_by_the_longest_chunks_and_ends_where_it_holds_no_more(merge: str) -> None:
    rig = FakeRig(merge=merge)
    rig.engage()
    reached = []
    for _ in range(12):
        rig.run(7)
        end_tick = int(rig.last.view["end_tick"])
        path = continued(rig, end_tick, CHUNK_STEPS_MAX)
        rig.run(1, (rig.answer(path, start_tick=end_tick, prefix_len=0),))
        reached.append(int(rig.last.view["end_tick"]) - int(rig.last.tick["tick"]))
    assert rig.mode is Mode.POLICY
    # Two execute whatever comes from the next tick on.
    assert max(reached) == (CHUNK_STEPS_MAX + 1 if merge in {"sync", "naive"} else PLAN_TICKS)
    assert not rig.violations


def test_a_first_chunk_may_be_as_long_as_a_chunk_can_be() -> None:
    rig = FakeRig()
    rig.run(20)
    rig.want = Mode.POLICY
    rig.run(3)
    start = rig.last.command["position"]
    rig.run(1, (rig.answer(start + rig.path(0, CHUNK_STEPS_MAX) - rig.path(0)[0]),))
    assert int(rig.last.view["end_tick"]) - int(rig.last.tick["tick"]) == CHUNK_STEPS_MAX + 1


def test_a_chunk_about_what_was_seen_before_the_epoch_is_stale_whatever_epoch_it_names() -> None:
    """Epochs start anew with a restarted control process; an answer to its predecessor may name the same one."""
    rig = FakeRig()
    rig.run(20)
    rig.want = Mode.POLICY
    rig.run(3)
    rig.run(1, (rig.answer(np.tile(rig.last.command["position"], (50, 1)), age=2),))
    assert [verdict for _, verdict in rig.last.verdicts] == [Verdict.STALE]
    assert rig.mode is Mode.HOLD


def test_a_smooth_policy_passes_bit_for_bit_and_without_a_seam() -> None:
    rig = running()
    for _ in range(12):
        rig.run(39)
        assert refresh(rig) is Verdict.USED
    rig.run(20)
    ticks = [o.tick for o in rig.outputs if o.tick["mode"] == Mode.POLICY][20:]
    assert not any(t["starved"] or t["command"]["limited"] for t in ticks)
    assert all((t["target"] == t["command"]["position"]).all() for t in ticks)
    seams = [float(t["seam_jump_rad"]) for t in ticks if t["switched"]]
    assert len(seams) == 12
    assert max(seams) < 1e-9
    assert rig.violations == 0


@pytest.mark.parametrize("merge", list(MERGES))
def test_a_jump_between_chunks_is_taken_within_limits_whatever_the_merge(merge: str) -> None:
    rig = running(merge)
    rig.run(40)
    jumped = continued(rig, rig.tick - AGE) + 0.1
    rig.run(1, (rig.answer(jumped, age=AGE, prefix_len=AGE + 2),))
    assert rig.last.verdicts[0][1] is Verdict.USED
    rig.run(60)
    assert rig.violations == 0
    assert rig.mode is Mode.POLICY


@pytest.mark.parametrize("merge", ["leadtime", "min_jerk"])
def test_a_seam_that_is_shaped_is_no_jump_and_ends_on_the_chunk(merge: str) -> None:
    rig = running(merge)
    rig.run(40)
    jumped = continued(rig, rig.tick - AGE) + 0.1
    rig.run(1, (rig.answer(jumped, age=AGE, prefix_len=AGE + 2),))
    rig.run(60)
    seams = [float(o.tick["seam_jump_rad"]) for o in rig.outputs if o.tick["switched"]]
    assert seams == [pytest.approx(0.0, abs=0.002)]
    expected = continued(rig, rig.tick)[0] + 0.1
    np.testing.assert_allclose(rig.last.tick["target"], expected, atol=0.02)


def test_a_plan_may_be_waited_for_at_a_stop_and_goes_on_from_there() -> None:
    rig = running("leadtime", wait_ticks=50)
    rig.run(220)
    assert rig.mode is Mode.POLICY
    starved = [o.tick for o in rig.outputs if o.tick["starved"]]
    assert starved
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    still = np.tile(rig.last.command["position"], (50, 1))
    rig.run(1, (rig.answer(still + rig.path(0) - rig.path(0)[0], age=0, prefix_len=1),))
    assert rig.last.verdicts[0][1] is Verdict.USED
    rig.run(20)
    assert not rig.last.tick["starved"]
    assert np.abs(rig.last.command["velocity"]).max() > 1e-3
    rig.run(600)
    assert rig.mode is Mode.HOLD, "it is not waited for longer than was said"
    assert rig.violations == 0


def test_chunks_executed_one_by_one_are_waited_for_without_a_fault() -> None:
    rig = running("sync")
    rig.run(1, (rig.answer(continued(rig, rig.tick)[:20], halts=1),))
    rig.run(300)
    assert rig.mode is Mode.POLICY
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    assert rig.violations == 0


def test_between_chunks_executed_one_by_one_two_answers_are_waited_for_as_long_as_the_rig_says() -> None:
    rig = FakeRig(merge="sync")
    rig.rig = msgspec.structs.replace(rig.rig, request_deadline_ms=8000.0)
    rig.core = rig.new_core()
    rig.engage()
    rig.run(1, (rig.answer(continued(rig, rig.tick)[:20], halts=1),))
    rig.run(15 * 200)
    assert rig.mode is Mode.POLICY
    rig.run(2 * 200)
    assert rig.mode is Mode.HOLD


@pytest.mark.parametrize("merge", ["naive", "aligned", "prefix"])
def test_a_jump_between_chunks_is_measured_and_taken_within_limits(merge: str) -> None:
    rig = running(merge)
    rig.run(40)
    tick = rig.tick - AGE
    jumped = continued(rig, tick if merge != "naive" else rig.tick) + 0.1
    rig.run(1, (rig.answer(jumped, age=AGE, prefix_len=AGE + 2),))
    assert rig.last.verdicts[0][1] is Verdict.USED
    rig.run(60)
    seams = [float(o.tick["seam_jump_rad"]) for o in rig.outputs if o.tick["switched"]]
    assert seams == [pytest.approx(0.1, abs=0.01)]
    assert rig.violations == 0
    assert rig.mode is Mode.POLICY
    np.testing.assert_array_equal(rig.last.command["position"], rig.last.tick["target"])


def test_actions_that_run_out_brake_to_hold_until_the_operator_acts() -> None:
    rig = running()
    rig.run(260)
    assert rig.mode is Mode.HOLD
    starved = [o.tick for o in rig.outputs if o.tick["starved"]]
    assert starved
    assert all(t["command"]["source"] == Source.BRAKE for t in starved[:-1])
    assert int(rig.last.tick["faults"]) & BIT["starved"]
    assert not rig.last.view["engaged"]
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    assert refresh(rig) is Verdict.STALE
    rig.clear += 1
    rig.run(3)
    assert int(rig.last.view["engaged"]) == 1
    assert int(rig.last.view["epoch"]) == 2
    assert rig.violations == 0


@pytest.mark.parametrize(
    ("fields", "verdict", "fault"),
    [
        ({"epoch": 99}, Verdict.STALE, "chunk_stale"),
        ({"cold": 1}, Verdict.STALE, "chunk_stale"),
        ({"t_obs_ns": 1}, Verdict.STALE, "chunk_stale"),
        ({"t_obs_ns": 2**62}, Verdict.INVALID, "chunk_invalid"),
        ({"start_tick": 2**40}, Verdict.INVALID, "chunk_invalid"),
        ({"horizon": 0}, Verdict.INVALID, "chunk_invalid"),
        ({"horizon": CHUNK_STEPS_MAX + 1}, Verdict.INVALID, "chunk_invalid"),
        ({"prefix_len": -1}, Verdict.INVALID, "chunk_invalid"),
        ({"prefix_len": 51}, Verdict.INVALID, "chunk_invalid"),
        ({"start_tick": -100}, Verdict.INVALID, "chunk_invalid"),
        ({"horizon": 1, "prefix_len": 0}, Verdict.LATE, "chunk_late"),
    ],
)
def test_an_unfit_chunk_is_dropped_and_counted(fields: dict[str, int], verdict: Verdict, fault: str) -> None:
    rig = running()
    rig.run(40)
    end = int(rig.last.view["end_tick"])
    assert refresh(rig, **fields) is verdict
    assert int(rig.last.tick["faults"]) & BIT[fault]
    assert int(rig.last.view["end_tick"]) == end
    assert rig.mode is Mode.POLICY
    assert refresh(rig) is Verdict.USED


@pytest.mark.parametrize("merge", ["naive", "sync", "prefix", "leadtime"])
@pytest.mark.parametrize("start_tick", [-(1 << 40), -1, 0])
def test_a_chunk_that_is_due_before_its_epoch_began_is_never_executed(merge: str, start_tick: int) -> None:
    """A merge that takes chunks whatever their age takes no tick that cannot be."""
    rig = running(merge)
    rig.run(4 * AGE)
    assert refresh(rig, start_tick=start_tick) is Verdict.INVALID
    rig.run(8)
    assert int(rig.last.tick["chunk_id"]) != rig.chunk_id
    assert rig.mode is Mode.POLICY


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_chunk_with_a_number_that_is_not_finite_is_dropped(bad: float) -> None:
    rig = running()
    rig.run(40)
    actions = continued(rig, rig.tick)
    actions[20, 3] = bad
    rig.run(1, (rig.answer(actions),))
    assert rig.last.verdicts[0][1] is Verdict.INVALID


def test_a_chunk_that_starts_far_away_is_dropped_and_three_in_a_row_brake() -> None:
    rig = running()
    rig.run(20)
    for _ in range(2):
        rig.run(5, (rig.answer(continued(rig, rig.tick) + 0.4),))
        assert rig.mode is Mode.POLICY
    assert refresh(rig) is Verdict.USED
    for _ in range(3):
        assert rig.mode is Mode.POLICY
        rig.run(1, (rig.answer(continued(rig, rig.tick) + 0.4),))
        assert rig.last.verdicts[0][1] is Verdict.JUMP
    assert rig.mode is Mode.HOLD
    assert int(rig.last.tick["faults"]) & BIT["chunks_jump"]


def test_a_first_chunk_far_from_where_the_arms_stand_is_dropped() -> None:
    rig = FakeRig()
    rig.run(20)
    rig.want = Mode.POLICY
    rig.run(3)
    rig.run(1, (rig.answer(rig.path(0) + 1.0),))
    assert rig.last.verdicts[0][1] is Verdict.JUMP
    assert rig.mode is Mode.HOLD


def test_a_gripper_may_start_anywhere() -> None:
    rig = running()
    rig.run(20)
    actions = continued(rig, rig.tick)
    actions[:, 6] = 0.0
    rig.run(100, (rig.answer(actions),))
    assert rig.last.command["position"][6] == 0.0
    assert rig.violations == 0


def test_a_lost_server_is_named_while_the_tail_plays() -> None:
    rig = running()
    rig.link = Link.LOST
    rig.run(20)
    assert rig.mode is Mode.POLICY
    assert int(rig.last.tick["faults"]) == BIT["server_lost"]
    rig.link, rig.client_silent = Link.READY, True
    rig.run(1)
    assert int(rig.last.tick["faults"]) == BIT["server_lost"]


@pytest.mark.parametrize("skipped", [1, 2, 3])
def test_skipped_periods_cost_no_step_beyond_limits_and_no_lag(skipped: int) -> None:
    rig = running()
    rig.run(20)
    for _ in range(6):
        rig.run(12)
        rig.run(skipped, control=False)
    rig.run(1)
    assert rig.mode is Mode.POLICY
    np.testing.assert_array_equal(rig.last.command["position"], rig.last.tick["target"])
    assert rig.violations == 0
    assert all(status["trips"] == 0 for status in rig.status)


def test_a_rate_that_is_not_kept_ends_in_hold() -> None:
    rig = running()
    while rig.mode is Mode.POLICY and rig.servo_tick < 2000:
        rig.run(2, control=False)
        rig.run(1, (rig.answer(continued(rig, rig.tick - AGE), age=AGE, prefix_len=AGE + 2),))
    assert int(rig.last.tick["faults"]) & BIT["overrun"]
    assert rig.violations == 0


def test_a_pause_of_500_ms_ends_in_hold_and_replays_nothing() -> None:
    rig = running()
    rig.run(60)
    assert np.abs(rig.last.command["velocity"]).max() > 0.05
    rig.run(100, control=False)
    assert [int(s["reason"]) for s in rig.status] == [Trip.EXPIRED] * 2
    assert [int(s["state"]) for s in rig.status] == [Guard.HOLD] * 2
    held = rig.position.copy()
    rig.run(50)
    assert rig.mode is Mode.HOLD
    assert int(rig.last.tick["faults"]) & BIT["control_paused"]
    np.testing.assert_array_equal(rig.position, held)
    np.testing.assert_array_equal(rig.last.command["ack"], [1, 1])
    assert [int(s["state"]) for s in rig.status] == [Guard.FOLLOW] * 2
    rig.want = Mode.HOLD
    rig.engage()
    rig.run(40)
    assert rig.mode is Mode.POLICY
    assert rig.violations == 0


def test_a_restarted_control_process_takes_over_where_the_arms_are_held() -> None:
    rig = running()
    rig.run(60)
    rig.run(100, control=False)
    held = rig.position.copy()
    rig.core = rig.new_core()
    rig.run(20)
    assert rig.mode is Mode.HOLD
    assert int(rig.last.tick["faults"]) & BIT["control_restarted"]
    np.testing.assert_array_equal(rig.position, held)
    assert [int(s["state"]) for s in rig.status] == [Guard.FOLLOW] * 2
    assert not rig.last.view["engaged"]


@pytest.mark.parametrize("side", range(len(SIDES)))
def test_a_dead_guardian_brakes_the_other_arm(side: int) -> None:
    rig = running()
    rig.run(60)
    rig.dead_guardians = {side}
    rig.run(1 + round(rig.rig.state_stale_ms / 5))
    assert rig.mode is Mode.FAULT
    assert int(rig.last.tick["faults"]) & BIT["guardian_lost"]
    rig.run(60)
    other = rig.guarded[1 - side]
    assert (other[-1].position == other[-2].position).all()
    assert other[-1].enabled
    assert rig.violations == 0


@pytest.mark.parametrize("side", range(len(SIDES)))
def test_silent_feedback_brakes_both_arms_and_clears_by_the_operator(side: int) -> None:
    rig = running()
    rig.run(60)
    rig.frozen = {side}
    rig.run(60)
    assert rig.mode is Mode.FAULT
    assert int(rig.last.tick["faults"]) & BIT["arm_silent"]
    assert np.abs(rig.last.command["velocity"]).max() < 1e-6
    rig.frozen = set()
    rig.run(20)
    assert rig.mode is Mode.FAULT
    rig.clear += 1
    rig.run(20)
    assert rig.mode in {Mode.HOLD}
    assert [int(s["state"]) for s in rig.status] == [Guard.FOLLOW] * 2
    assert rig.violations == 0


def test_a_device_fault_brakes_both_arms() -> None:
    rig = running()
    rig.run(60)
    rig.device_fault[0] = 4
    rig.run(30)
    assert rig.mode is Mode.FAULT
    assert int(rig.last.tick["faults"]) & BIT["device_fault"]
    assert [int(o[-1].status["state"]) for o in rig.guarded] == [Guard.FAULT, Guard.FOLLOW]


def test_a_guardian_found_disarmed_under_a_moving_arm_is_a_fault() -> None:
    rig = running()
    rig.guardians[1] = rig.new_guardian(1)
    rig.status[1]["state"], rig.status[1]["trips"] = Guard.DISARMED, 0
    rig.run(1)
    assert rig.mode is Mode.FAULT
    assert int(rig.last.tick["faults"]) & BIT["guardian_lost"]
    rig.run(60)
    rig.clear += 1
    rig.run(5)
    assert rig.mode is Mode.HOLD
    assert [int(s["state"]) for s in rig.status] == [Guard.FOLLOW] * 2


def test_an_arm_that_does_not_follow_is_a_fault() -> None:
    rig = running()
    rig.run(10)
    rig.stuck = {0}
    for _ in range(30):
        rig.run(20, (rig.answer(continued(rig, rig.tick - AGE), age=AGE, prefix_len=AGE + 2),))
    assert rig.mode is Mode.FAULT
    assert int(rig.last.tick["faults"]) & BIT["tracking_lost"]


def test_park_moves_home_within_limits_and_stays_parked() -> None:
    rig = running()
    rig.run(100)
    rig.want = Mode.PARK
    rig.run(1)
    assert (rig.mode, rig.last.command["source"]) == (Mode.PARK, Source.PARK)
    rig.run(500)
    assert (rig.mode, rig.last.command["source"]) == (Mode.PARK, Source.HOLD)
    np.testing.assert_allclose(rig.position, rig.rig.stack("home"), atol=1e-9)
    assert rig.violations == 0
    rig.engage()
    assert rig.mode is Mode.POLICY


def test_torque_is_given_up_at_the_rest_pose_only() -> None:
    rig = running()
    rig.run(100)
    rig.want = Mode.DISARMED
    rig.run(100)
    assert rig.mode is Mode.HOLD
    rig.want = Mode.PARK
    rig.run(500)
    rig.want = Mode.DISARMED
    rig.run(10)
    assert rig.mode is Mode.DISARMED
    assert [int(s["state"]) for s in rig.status] == [Guard.DISARMED] * 2


@pytest.mark.parametrize("merge", list(MERGES))
def test_the_same_inputs_give_the_same_bytes(merge: str) -> None:
    rig = running(merge)
    generator = np.random.default_rng(1)
    for _ in range(6):
        rig.run(30)
        noisy = continued(rig, rig.tick - AGE) + generator.normal(0.0, 0.01, (50, 14))
        rig.run(1, (rig.answer(noisy, age=AGE, prefix_len=AGE),))
    rig.run(3, control=False)
    rig.run(300)
    again = rig.new_core()
    for inputs, outputs in zip(rig.inputs, rig.outputs, strict=True):
        replayed = again.step(inputs)
        assert replayed.command.tobytes() == outputs.command.tobytes()
        assert replayed.tick.tobytes() == outputs.tick.tobytes()
        assert replayed.view.tobytes() == outputs.view.tobytes()
        assert replayed.verdicts == outputs.verdicts


def test_both_arms_are_treated_alike() -> None:
    rig = running()
    rig.run(100)
    position = rig.last.command["position"]
    left, right = (position[ARM_SLICE[side]] for side in SIDES)
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("late", "mode"), [(2, Mode.POLICY), (3, Mode.HOLD)])
def test_chunk_after_chunk_that_comes_too_late_brakes(late: int, mode: Mode) -> None:
    rig = running()
    for _ in range(late):
        assert refresh(rig, horizon=1, prefix_len=0) is Verdict.LATE
    assert rig.mode is mode
    assert bool(int(rig.last.tick["faults"]) & BIT["chunks_late"]) is (late == 3)


def test_chunks_that_come_too_late_now_and_then_brake_nothing() -> None:
    rig = running()
    for _ in range(2):
        assert refresh(rig, horizon=1, prefix_len=0) is Verdict.LATE
        assert refresh(rig, horizon=1, prefix_len=0) is Verdict.LATE
        assert refresh(rig) is Verdict.USED
    assert rig.mode is Mode.POLICY
