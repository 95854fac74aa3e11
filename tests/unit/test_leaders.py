"""Promises of the leader process and the simple leaders: merged by side, never a takeover that nobody asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.config import load_rig
from runtime.devices import EvdevLeader, SimLeader
from runtime.drivers import lead
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.lead import BACKOFF_MAX_NS, BACKOFF_NS, KEEP_NS, Merger, Seat
from runtime.drivers.leaders.sim import ScriptedLeader
from runtime.errors import UsageError
from runtime.layout import ARM_SLICE, Side
from runtime.states import Mode

RIG = load_rig("sim-x5")
HOME = RIG.stack("home")
MS = 1_000_000


class StandIn:
    """A leader made up by a test; says what it is told to."""

    def __init__(self) -> None:
        self.reading = LeaderReading()
        self.gone = False
        self.opened = 0

    def open(self) -> None:
        if self.gone:
            raise DriverError("stand-in: not there")
        self.opened += 1

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        if self.gone:
            raise DriverError("stand-in: unplugged")
        return self.reading

    def close(self) -> None:
        pass


class Desk:
    """Seats with stand-ins and a merger, stepped together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 1) -> None:
        self.devices = [StandIn() for _ in range(count)]
        left = iter(self.devices)
        known: dict[int, StandIn] = {}
        configs = [SimLeader(offset_rad=float(i)) for i in range(count)]
        monkeypatch.setattr(
            lead, "make_leader", lambda c, _rig: known.setdefault(id(c), known.get(id(c)) or next(left))
        )
        self.seats = [Seat(str(i), config, RIG) for i, config in enumerate(configs)]
        for seat in self.seats:
            seat.open(0)
        self.merger = Merger(None)
        self.now_ns = 0

    def step(self, after_ns: int = 5 * MS) -> Any:
        self.now_ns += after_ns
        return self.merger.merge(self.seats, [seat.read(self.now_ns, HOME) for seat in self.seats], self.now_ns)

    def say(self, i: int, *sides: Side, clutch: bool, **more: Any) -> None:
        samples = tuple(LeaderSample(side, self.now_ns + 5 * MS, HOME[ARM_SLICE[side]], clutch) for side in sides)
        self.devices[i].reading = LeaderReading(samples, **more)


def held(record: Any) -> list[int]:
    return [int(part["clutch"]) for part in record["side"]]


def test_a_clutch_counts_only_once_it_was_seen_released(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.say(0, "left", "right", clutch=True)
    assert held(desk.step()) == [0, 0]
    desk.say(0, "left", "right", clutch=False)
    desk.step()
    desk.say(0, "left", clutch=True)
    assert held(desk.step()) == [1, 0]


def test_an_arm_without_a_dead_man_is_led_by_the_pedal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 2)
    for pressed, says in ((False, [0, 0]), (True, [1, 1]), (False, [0, 0])):
        desk.say(0, "left", "right", clutch=True)
        desk.devices[1].reading = LeaderReading(clutch=pressed)
        assert held(desk.step()) == says
    desk.devices[1].reading = LeaderReading(clutch=True)
    assert held(desk.step()) == [1, 1]
    desk.devices[1].gone = True
    assert held(desk.step()) == [0, 0], "a pedal that is gone is not held"


def test_a_leader_without_a_dead_man_takes_nothing_over_when_it_comes_beside_another_of_its_arm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, 3)
    pedal = desk.devices[2]
    desk.say(0, "left", clutch=False)
    assert held(desk.step()) == [0, 0]
    desk.say(1, "left", clutch=True)
    assert held(desk.step()) == [0, 0], "an arm that is switched on beside a pad"
    desk.devices[1].gone = True
    pedal.reading = LeaderReading(clutch=True)
    desk.step()
    desk.devices[1].gone = False
    desk.say(0, "left", clutch=False)
    desk.say(1, "left", clutch=True)
    assert held(desk.step(BACKOFF_NS)) == [0, 0], "or comes back under a pedal that is held"
    for pressed, says in ((False, [0, 0]), (True, [1, 0])):
        desk.say(0, "left", clutch=False)
        desk.say(1, "left", clutch=True)
        pedal.reading = LeaderReading(clutch=pressed)
        record = desk.step()
        assert held(record) == says


def test_a_pedal_that_a_new_leader_process_does_not_find_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    pedal = StandIn()
    pedal.gone = True
    monkeypatch.setattr(lead, "make_leader", lambda _config, _rig: pedal)
    desk.seats.append(Seat("foot", EvdevLeader(kind="pedal", device="/dev/input/event0"), RIG))
    for after_ns, says in ((0, [0, 0]), (8 * BACKOFF_NS, [1, 0])):
        desk.step(after_ns)
        for clutch in (False, True):
            desk.say(0, "left", clutch=clutch)
            record = desk.step()
        assert held(record) == says
        pedal.gone, pedal.reading = False, LeaderReading(clutch=True)


def test_a_bus_without_its_leader_is_opened_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(StandIn):
        """A bus that can be opened, on which nobody speaks."""

        def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
            raise DriverError("stand-in: sends nothing")

    desk = Desk(monkeypatch)
    mute = Mute()
    monkeypatch.setattr(lead, "make_leader", lambda _config, _rig: mute)
    desk.seats[0]._lose(DriverError("stand-in: unplugged"), 0)
    for _ in range(20 * BACKOFF_MAX_NS // (5 * MS)):
        desk.step()
    assert mute.opened < 28


def test_a_lost_device_is_no_longer_valid_is_opened_again_and_takes_nothing_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch)
    for clutch in (False, True):
        desk.say(0, "left", clutch=clutch)
        record = desk.step()
    assert held(record) == [1, 0]
    desk.devices[0].gone = True
    record = desk.step()
    assert (int(record["side"][0]["valid"]), held(record)) == (0, [1, 0]), "lost is not released"
    assert held(desk.step(KEEP_NS + 1)) == [0, 0]
    desk.devices[0].gone = False
    desk.step(8 * BACKOFF_NS)
    assert desk.devices[0].opened == 2
    desk.say(0, "left", clutch=True)
    record = desk.step()
    assert (int(record["side"][0]["valid"]), held(record)) == (1, [0, 0])


def test_buttons_are_counted_a_stop_wins_and_a_new_process_goes_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 2)
    desk.say(0, "left", clutch=False, want=Mode.HOLD, clear=True)
    desk.say(1, "left", clutch=False, want=Mode.POLICY)
    record = desk.step()
    assert (Mode(int(record["want"])), int(record["wants"]), int(record["clear"])) == (Mode.HOLD, 1, 1)
    desk.merger = Merger(record.copy())
    record = desk.step()
    assert (int(record["wants"]), int(record["clear"])) == (2, 2)


def test_of_two_devices_of_one_arm_the_one_that_is_held_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 2)
    for clutch in (False, True):
        desk.say(0, "left", clutch=False)
        desk.devices[1].reading = LeaderReading((LeaderSample("left", desk.now_ns + 5 * MS, HOME[:7] + 0.1, clutch),))
        record = desk.step()
    np.testing.assert_allclose(record["side"][0]["position"], HOME[:7] + 0.1)
    assert held(record) == [1, 0]


def test_every_leader_that_a_rig_can_name_has_a_driver_and_another_is_said_with_those_there_are() -> None:
    from runtime.devices import Device, Leader, driver_names
    from runtime.drivers.factory import LEADERS, make_leader

    assert set(LEADERS) == set(driver_names(Leader))

    class Odd(Device, frozen=True, kw_only=True, tag="odd"):
        """A leader that no factory knows."""

    with pytest.raises(UsageError, match=r"there are: .*sim"):
        make_leader(Odd(), RIG)  # type: ignore[arg-type]


def test_the_script_takes_hold_in_its_spans_and_asks_for_the_policy_once() -> None:
    leader = ScriptedLeader(SimLeader(clutch_s=((1.0, 2.0),), resume_s=0.5, sides=("left",)))
    readings = [leader.read(1 + i * 10 * MS, HOME.copy()) for i in range(400)]
    clutch = [reading.samples[0].clutch for reading in readings]
    assert clutch == [100 <= i < 200 for i in range(400)]
    assert [i for i, reading in enumerate(readings) if reading.want is Mode.POLICY] == [250]
    assert {sample.side for reading in readings for sample in reading.samples} == {"left"}
