"""Promises of the X5's driver, in virtual time, over a stand-in of the compiled package and its genuine classes."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.arms import PIPER, X5
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.arx_x5 import MODEL, MOTORS, SILENT_NS, ArxX5, interface_counter, load_sdk
from runtime.drivers.base import DriverError
from runtime.drivers.conformance import check_arm
from runtime.drivers.emulators import arx5_stand_in
from runtime.drivers.emulators.arx5_stand_in import StandIn, StandInController
from tests.fake_arm import KinematicArm, SteppedClock

PERIOD_NS = 5 * NS_PER_MS
GENUINE = importlib.util.find_spec("arx5_interface") is not None
genuine = pytest.mark.skipif(not GENUINE, reason="arx5-interface is not installed")


class Genuine:
    """The package's own configurations, states and gains; only its controller, which needs an arm, is a stand-in."""

    def __init__(self, behind: KinematicArm, clock: SteppedClock) -> None:
        package = load_sdk()
        self.RobotConfigFactory, self.ControllerConfigFactory = (
            package.RobotConfigFactory,
            package.ControllerConfigFactory,
        )
        self.JointState, self.Gain = package.JointState, package.Gain
        self._stand_in = StandIn(behind, clock)
        self.received = self._stand_in.received
        self._behind, self._clock = behind, clock

    def Arx5JointController(self, robot: Any, gains: Any, channel: str) -> StandInController:  # noqa: N802
        return StandInController(self._behind, self._clock, self, robot, gains)


class Bench:
    """An arm, the stand-in before it, and the driver."""

    def __init__(self, sdk: Any = StandIn, start: Any = None, **options: Any) -> None:
        self.arm = KinematicArm(X5, start)
        self.clock = SteppedClock(self.arm.step)
        self.clock.sleep_until_ns(self.clock.now_ns() + NS_PER_MS)
        self.sdk = sdk(self.arm, self.clock)
        self.lost = 0
        self.driver = self.new(**options)

    def new(self, **options: Any) -> ArxX5:
        return ArxX5(X5, "can0", self.clock, self.sdk, self.received, **options)

    def received(self) -> int:
        return self.lost or self.sdk.received()

    def pass_time(self, span_ns: int) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + span_ns)

    @property
    def controller(self) -> Any:
        return self.driver._controller


@pytest.mark.parametrize("sdk", [StandIn, pytest.param(Genuine, marks=genuine)])
def test_the_driver_keeps_every_promise_of_an_arm(sdk: Any) -> None:
    bench = Bench(sdk)
    check_arm(bench.new, X5, bench.clock)


def test_from_its_opening_on_the_arm_is_held_where_it_is() -> None:
    start = np.array([0.3, 1.0, 0.9, -0.5, 0.1, 0.2, 0.25])
    bench = Bench(start=start)
    bench.driver.open()
    assert (bench.controller.get_gain().kp() > 0).all()
    bench.pass_time(NS_PER_S)
    assert np.allclose(bench.arm.position, start)
    assert all(np.allclose(command, start) for command in bench.arm.commands)


@pytest.mark.parametrize("sdk", [StandIn, pytest.param(Genuine, marks=genuine)])
def test_what_is_held_from_the_opening_on_is_a_place_and_neither_a_time_nor_a_torque(sdk: Any) -> None:
    bench = Bench(sdk)
    bench.pass_time(NS_PER_MS)
    # As old as a state can be at 500 Hz.
    bench.arm._record["t_ns"] -= 2 * NS_PER_MS
    bench.driver.open()
    held = bench.controller.get_joint_cmd()
    np.testing.assert_allclose(held.pos(), X5.home[:6])
    assert not held.vel().any()
    assert not held.torque().any()


def test_a_command_is_a_target_for_the_end_of_the_servo_period() -> None:
    bench = Bench(period_ns=PERIOD_NS)
    bench.driver.open()
    bench.pass_time(NS_PER_S)
    target = np.array([0.3, 1.0, 0.9, -0.5, 0.1, 0.2, 0.25])
    bench.driver.command(7, target, bench.clock.now_ns())
    cmd = bench.controller.get_joint_cmd()
    assert np.allclose(cmd.pos(), target[:6])
    assert cmd.gripper_pos == pytest.approx(0.25 * 0.088)
    assert cmd.timestamp == pytest.approx(bench.controller.get_timestamp() + 0.005)


def test_targets_are_due_on_the_servos_grid_however_late_the_driver_wakes() -> None:
    bench = Bench(period_ns=PERIOD_NS)
    bench.driver.open()
    begun_s = bench.controller.get_timestamp()
    due = []
    for tick, late_ms in ((10, 0), (11, 3), (12, 0), (15, 1), (16, 4), (17, 0), (18, 12)):
        until_ns = round((begun_s + (tick - 10) * 0.005 + late_ms * 0.001) * NS_PER_S) + bench.controller._began_ns
        bench.clock.sleep_until_ns(until_ns)
        bench.driver.command(tick, bench.arm.position, bench.clock.now_ns())
        due.append(round((bench.controller.get_joint_cmd().timestamp - begun_s) * 1000, 6))
    # The fifth would be due at once, so that the grid is laid anew; so with the last, which is late.
    assert due == [5.0, 10.0, 15.0, 30.0, 39.0, 44.0, 57.0]


def test_a_target_that_was_overdue_when_this_process_went_on_is_laid_on_the_grid_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(period_ns=PERIOD_NS)
    bench.driver.open()
    controller, pauses_ns = bench.controller, [12 * NS_PER_MS]
    now_s = controller.get_timestamp

    def looked_at_before_a_pause() -> float:
        seen_s = float(now_s())
        if pauses_ns:
            bench.pass_time(pauses_ns.pop())
        return seen_s

    monkeypatch.setattr(controller, "get_timestamp", looked_at_before_a_pause)
    bench.driver.command(7, bench.arm.position, bench.clock.now_ns())
    assert not pauses_ns
    assert controller.get_joint_cmd().timestamp == pytest.approx(now_s() + 0.005)


@pytest.mark.parametrize(("fraction", "opening_m"), [(-0.1, 0.0), (0.0, 0.0), (1.0, 0.088), (1.1, 0.088)])
def test_the_gripper_stays_between_closed_and_open(fraction: float, opening_m: float) -> None:
    bench = Bench()
    bench.driver.open()
    bench.driver.command(0, np.append(bench.arm.position[:6], fraction), bench.clock.now_ns())
    assert bench.controller.get_joint_cmd().gripper_pos == pytest.approx(opening_m)


def test_a_state_is_in_rad_and_fractions_at_the_time_it_was_measured() -> None:
    bench = Bench()
    bench.driver.open()
    bench.pass_time(NS_PER_MS)
    state = bench.driver.read()
    assert state is not None
    assert np.allclose(state["position"], bench.arm.position)
    assert bench.clock.now_ns() - int(state["t_ns"]) <= 1000
    bench.pass_time(NS_PER_MS)
    later = bench.driver.read()
    assert later is not None
    assert (int(later["seq"]), int(later["t_ns"])) == (int(state["seq"]) + 1, int(state["t_ns"]) + NS_PER_MS)


def test_a_controller_that_goes_on_stamping_while_the_bus_is_silent_is_not_believed() -> None:
    bench = Bench()
    bench.driver.open()
    bench.pass_time(NS_PER_MS)
    last = bench.driver.read()
    assert last is not None
    # All motors but one answer: the package stamps a state all the same.
    bench.lost = bench.received() + MOTORS - 1
    begun_ns = bench.clock.now_ns()
    while bench.clock.now_ns() - begun_ns < SILENT_NS:
        bench.pass_time(NS_PER_MS)
        state = bench.driver.read()
        assert state is not None
        assert state["t_ns"] == last["t_ns"]
    bench.pass_time(NS_PER_MS)
    with pytest.raises(DriverError, match="ARX X5 on can0: the bus has been silent for 200 ms"):
        bench.driver.read()


@pytest.mark.parametrize(("sink", "lives"), [(False, True), (True, False)])
def test_closing_keeps_the_packages_destructor_from_letting_the_arm_sink(sink: bool, lives: bool) -> None:
    bench = Bench(sink=sink)
    bench.driver.open()
    controller = weakref.ref(bench.controller)
    bench.driver.close()
    gc.collect()
    assert (controller() is not None) is lives
    with pytest.raises(DriverError, match="is not open"):
        bench.driver.read()


def test_limits_that_differ_from_the_model_are_refused() -> None:
    bench = Bench()
    driver = ArxX5(PIPER, "can0", bench.clock, bench.sdk, bench.sdk.received)
    with pytest.raises(DriverError, match="arx5-interface has lower limits"):
        driver.open()
    assert bench.arm.commands == []


@pytest.mark.parametrize(("beyond_rad", "refused"), [(0.09, False), (0.11, True)])
def test_an_arm_outside_its_range_is_not_held(beyond_rad: float, refused: bool) -> None:
    start = np.array(X5.home)
    start[3] = X5.position_min[3] - beyond_rad
    bench = Bench(start=start)
    if refused:
        with pytest.raises(DriverError, match="outside their range"):
            bench.driver.open()
        assert bench.arm.commands == []
    else:
        bench.driver.open()


def test_an_arm_that_does_not_answer_is_refused_in_one_line() -> None:
    bench = Bench(start=np.zeros(7))
    with pytest.raises(DriverError, match="ARX X5 on can0: None of the motors are initialized") as caught:
        bench.driver.open()
    assert "\n" not in str(caught.value)


def test_the_grippers_own_reading_reaches_the_package() -> None:
    bench = Bench(readout=-3.4)
    seen: list[float] = []
    make = bench.sdk.Arx5JointController
    bench.sdk.Arx5JointController = lambda robot, *rest: seen.append(robot.gripper_open_readout) or make(robot, *rest)
    bench.driver.open()
    assert seen == [-3.4]


def test_frames_are_counted_where_the_kernel_counts_them(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="no interface can7"):
        interface_counter("can7", tmp_path)
    counter = tmp_path / "sys/class/net/can7/statistics/rx_packets"
    counter.parent.mkdir(parents=True)
    counter.write_text("41\n")
    count = interface_counter("can7", tmp_path)
    assert count() == 41
    counter.unlink()
    with pytest.raises(DriverError, match="the interface can7 is gone"):
        count()


@genuine
def test_the_stand_in_has_the_names_and_values_of_the_package() -> None:
    package = load_sdk()
    for ours, theirs in (
        (StandInController, package.Arx5JointController),
        (arx5_stand_in.JointState, package.JointState),
        (arx5_stand_in.Gain, package.Gain),
    ):
        names = [name for name in vars(ours) if not name.startswith("_")]
        assert names
        assert [name for name in names if not hasattr(theirs, name)] == []
    robot = package.RobotConfigFactory.get_instance().get_config(MODEL)
    gains = package.ControllerConfigFactory.get_instance().get_config("joint_controller", 6)
    for ours, theirs in ((arx5_stand_in.RobotConfig(), robot), (arx5_stand_in.ControllerConfig(), gains)):
        for name, value in vars(ours).items():
            assert np.allclose(getattr(theirs, name), value), name
    # What closing has to be kept from.
    assert gains.shutdown_to_passive is True


@genuine
def test_the_package_refuses_an_interface_that_is_not_there() -> None:
    package = load_sdk()
    driver = ArxX5(X5, "can_none", SteppedClock(), package, lambda: 0)
    with pytest.raises(DriverError, match="ARX X5 on can_none: Failed to open USB-CAN adapter") as caught:
        driver.open()
    assert "\n" not in str(caught.value)
