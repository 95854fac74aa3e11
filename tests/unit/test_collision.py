"""The commanded path: nothing ever touches, whatever is asked for; and what is not in the way is not stopped."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.config import RigConfig, load_rig
from runtime.control.clearance import Clearance
from runtime.control.collision import PathCheck
from runtime.control.limits import RigLimiter, RigLimits
from runtime.control.trajectory import Planner
from runtime.faults import BIT
from runtime.layout import ARM_SLICE
from runtime.states import Mode
from runtime.workspace import Box, Zone
from tests.fake_rig import FakeRig
from tests.sim_contacts import SimContacts

Array = NDArray[np.float64]
DT_S = 0.005
AHEAD = BIT["collision_ahead"]


def rig_with(name: str = "sim-x5", **workspace: object) -> RigConfig:
    """A built-in rig with another workspace."""
    rig = load_rig(name)
    return msgspec.structs.replace(rig, workspace=msgspec.structs.replace(rig.workspace, **workspace))


class Drive:
    """A limiter behind the check, driven by targets as the control core drives it: after a refusal it brakes."""

    def __init__(self, rig: RigConfig, start: Array | None = None, *, checked: bool = True) -> None:
        self.clearance = Clearance.from_rig(rig)
        limits = RigLimits.from_rig(rig)
        self.path = PathCheck(self.clearance if checked else None, Planner(limits.rates, DT_S))
        self.limiter = RigLimiter(limits, DT_S, rig.stack("home") if start is None else start)
        self.refused = 0

    def to(self, target: Array) -> bool:
        """Take one step; return whether it was refused."""
        self.limiter, _ = self.path.step(self.limiter, target, None)
        refused = bool(self.path.fault())
        self.refused += refused
        return refused

    @property
    def position(self) -> Array:
        """The command."""
        return self.limiter.motion.position


def targets(rig: RigConfig, seed: int, legs: int) -> Array:
    """Goals (legs, 14) anywhere within limits, the arms' first joints turned inward so that the arms meet."""
    rng = np.random.default_rng(seed)
    goals = rng.uniform(rig.stack("position_min"), rig.stack("position_max"), (legs, 14))
    goals[:, 0], goals[:, 7] = rng.uniform(-1.5, 0.2, legs), rng.uniform(-0.2, 1.5, legs)
    return goals


@pytest.mark.parametrize("name", ["sim-x5", "sim-piper", "sim-vx300s"])
def test_no_path_whatever_touches_and_without_the_check_it_does(name: str) -> None:
    rig = rig_with(name, hand_margin_m=0.02)
    sim = SimContacts(rig.arms["left"].model)
    touched = {True: 0, False: 0}
    for checked in (True, False):
        drive = Drive(rig, checked=checked)
        for goal in targets(rig, 1, 8):
            for k in range(100):
                drive.to(goal)
                if k % 4 == 0:
                    touched[checked] += bool(sim.at(drive.position, hands=True))
        assert (drive.refused > 0) is checked
    assert touched[True] == 0
    assert touched[False] > 10


def test_braking_ends_at_rest_and_clear_after_a_refusal_at_full_speed() -> None:
    rig = rig_with(hand_margin_m=0.02)
    sim, stops = SimContacts("x5"), 0
    for seed in range(6):
        drive = Drive(rig)
        goal = targets(rig, 10 + seed, 1)[0]
        if not any(drive.to(goal) for _ in range(400)):
            continue
        stops += 1
        # From here on as the core does it: the stop of the last clear step, unchecked.
        course = Planner(drive.limiter.limits.rates, DT_S).brake(drive.limiter.motion)
        for tick in range(1, course.ticks + 40):
            drive.limiter.step(course.at(tick))
            assert not sim.at(drive.position, hands=True)
        assert drive.limiter.at_rest
        assert drive.clearance.at(drive.position).least_m > -0.003
    assert stops >= 2


def test_what_is_too_close_at_rest_may_part_but_not_come_closer() -> None:
    rig = rig_with()
    drive = Drive(rig)
    low = rig.stack("home")
    low[1] = 2.6
    assert any(drive.to(low) for _ in range(400))
    inside = drive.position + (low - drive.position) * 0.05
    for _ in range(60):
        if drive.clearance.at(inside).least_m < -0.005:
            break
        inside = inside + (low - inside) * 0.05
    before = drive.clearance.at(inside).least_m
    assert before < -0.005
    down, up = Drive(rig, inside), Drive(rig, inside)
    for _ in range(50):
        down.to(low)
        up.to(rig.stack("home"))
    assert down.refused == 50
    assert down.clearance.at(down.position).least_m > before - 1e-4
    assert up.refused == 0
    assert up.clearance.at(up.position).least_m > before + 0.005


def test_a_joint_in_a_zone_keeps_to_its_fraction_and_the_other_arm_does_not() -> None:
    everywhere_left = Zone(min_m=(-2.0, -2.0, 0.0), max_m=(-0.05, 2.0, 3.0), speed_fraction=0.2)
    speeds = []
    for zones in ({}, {"people": everywhere_left}):
        drive = Drive(rig_with(zones=zones, margin_m=0.0))
        goal = drive.position.copy()
        goal[[0, 7]] += (0.5, -0.5)
        peak = np.zeros(14)
        for _ in range(300):
            drive.to(goal)
            peak = np.maximum(peak, np.abs(drive.limiter.motion.velocity))
        assert drive.position == pytest.approx(goal, abs=1e-6)
        speeds.append(peak)
    share = speeds[1] / np.maximum(speeds[0], 1e-9)
    limit = load_rig("sim-x5").stack("velocity_max")[0] * 0.9
    assert speeds[0][0] > 0.2 * limit
    assert speeds[1][0] <= 0.2 * limit * (1.0 + 1e-6)
    assert share[7] == pytest.approx(1.0)


def test_a_joint_that_enters_a_zone_too_fast_brakes_to_its_fraction() -> None:
    drive = Drive(load_rig("sim-x5"))
    limiter, limit = drive.limiter, load_rig("sim-x5").stack("velocity_max")[0] * 0.9
    goal = drive.position.copy()
    goal[0] += 2.5
    for _ in range(60):
        limiter.step(goal)
    assert limiter.motion.velocity[0] > 0.5 * limit
    limiter.slow(np.full(14, 0.2))
    speeds = []
    for _ in range(60):
        limiter.step(goal)
        speeds.append(float(limiter.motion.velocity[0]))
    assert speeds[-1] <= 0.2 * limit * (1.0 + 1e-6)
    assert speeds[-1] > 0.15 * limit
    assert (np.diff(speeds[2:20]) < 1e-9).all()


def chunk_down(rig: FakeRig) -> Array:
    """A path (50, 14) that lowers the left arm's hand into the table within a second."""
    start: Array = rig.last.command["position"]
    way = np.linspace(0.0, 1.0, 50)[:, None] * np.zeros(14)
    way[:, 1] = 1.4 * np.linspace(0.0, 1.0, 50) ** 2
    return start + way


def rig_on_its_way(**workspace: object) -> FakeRig:
    """A fake rig whose policy has just been told to go through the table."""
    rig = FakeRig()
    rig.rig = rig_with(**workspace)
    rig.core = rig.new_core()
    rig.want = Mode.HOLD
    rig.run(20)
    rig.want = Mode.POLICY
    rig.run(3)
    rig.run(1, (rig.answer(chunk_down(rig)),))
    return rig


def test_a_chunk_into_the_table_is_braked_before_it_and_waits_for_the_operator() -> None:
    rig = rig_on_its_way()
    assert rig.mode is Mode.POLICY
    rig.run(190)
    faults = [int(output.tick["faults"]) & AHEAD for output in rig.outputs]
    assert any(faults)
    assert rig.mode is Mode.HOLD
    assert rig.core._limiter.at_rest
    clearance = Clearance.from_rig(rig.rig)
    least = min(clearance.at(output.command["position"]).least_m for output in rig.outputs)
    assert -0.003 < least < 0.03, "it stopped at the margin, not far before it"
    assert rig.violations == 0
    rig.run(50)
    assert rig.mode is Mode.HOLD, "latched"
    rig.clear += 1
    rig.want = Mode.HOLD
    rig.run(2)
    assert int(rig.last.tick["faults"]) & AHEAD == 0


def test_without_the_check_the_same_chunk_goes_into_the_table() -> None:
    rig = rig_on_its_way(check=False)
    rig.run(190)
    assert not any(int(output.tick["faults"]) & AHEAD for output in rig.outputs)
    clearance = Clearance.from_rig(rig_with())
    assert min(clearance.at(output.command["position"]).least_m for output in rig.outputs) < -0.05


def test_a_shelf_to_keep_out_of_stops_what_the_table_does_not() -> None:
    free = rig_on_its_way(table_z_m=None)
    free.run(60)
    assert not any(int(output.tick["faults"]) & AHEAD for output in free.outputs)
    # The left hand's way down, but above the table.
    shelf = {"shelf": Box(min_m=(-0.45, -0.30, 0.5), max_m=(-0.15, 0.3, 0.80))}
    barred = rig_on_its_way(table_z_m=None, keep_out=shelf)
    barred.run(150)
    assert any(int(output.tick["faults"]) & AHEAD for output in barred.outputs)


def test_the_same_inputs_give_the_same_decisions_byte_for_byte_through_a_stop() -> None:
    rig = rig_on_its_way()
    rig.run(150)
    again = rig.new_core()
    for inputs, output in zip(rig.inputs, rig.outputs, strict=True):
        assert again.step(inputs).tick.tobytes() == output.tick.tobytes()
    assert rig.mode is Mode.HOLD


def test_a_step_that_is_not_refused_is_the_limiter_s_own() -> None:
    rig = rig_with()
    checked, plain = Drive(rig), RigLimiter(RigLimits.from_rig(rig), DT_S, rig.stack("home"))
    for k in range(300):
        target = rig.stack("home") + 0.1 * np.sin(0.02 * k + np.arange(14)) * (np.arange(14) % 7 != 6)
        checked.to(target)
        plain.step(target)
        assert checked.position.tobytes() == plain.motion.position.tobytes()
    assert checked.refused == 0
    assert ARM_SLICE["left"].stop == 7


def test_ticks_that_were_skipped_are_caught_up_on_clear_ways_only() -> None:
    rig = rig_on_its_way()
    for _ in range(60):
        rig.run(1)
        rig.run(2, control=False)
    assert rig.mode is Mode.HOLD
    clearance = Clearance.from_rig(rig.rig)
    assert min(clearance.at(output.command["position"]).least_m for output in rig.outputs) > -0.003


@pytest.mark.parametrize("name", ["sim-x5", "sim-piper"])
def test_the_quick_bound_of_a_stop_is_never_less_than_the_stop(name: str) -> None:
    rig = load_rig(name)
    limits, rng = RigLimits.from_rig(rig), np.random.default_rng(4)
    limiter, planner = RigLimiter(limits, DT_S, rig.stack("home")), Planner(limits.rates, DT_S)
    fastest = 0.0
    for _ in range(20):
        goal = rng.uniform(rig.stack("position_min"), rig.stack("position_max"))
        for _ in range(25):
            limiter.step(goal)
            bound = limiter.stop_within
            course = planner.brake(limiter.motion)
            for tick in (course.ticks // 2, course.ticks):
                assert (np.abs(course.at(tick) - limiter.motion.position) <= bound + 1e-9).all()
            fastest = max(fastest, float(np.abs(limiter.motion.velocity).max()))
    assert fastest > 1.0
