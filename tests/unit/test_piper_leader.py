"""Promises of a leading Piper: whole cycles, its own identifiers only, and silence said."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.arms import PIPER
from runtime.clock import NS_PER_MS
from runtime.drivers.base import DriverError
from runtime.drivers.conformance import check_leader
from runtime.drivers.emulators.can_hub import CanHub
from runtime.drivers.leaders.piper import PiperLeader
from runtime.drivers.piper.bus import Frame, join_emulated
from runtime.drivers.piper.codec import CanId, GripperTarget, JointPair
from tests.fake_arm import SteppedClock

NAME = f"leadtime-leader-{os.getpid()}"
POSE = np.array([0.1, 1.0, -0.5, 0.2, 0.3, -0.4, 0.5])


class Hand:
    """A person's arm: sends its joints 200 times a second."""

    def __init__(self, hub: CanHub, offset: int) -> None:
        self.hub, self.offset, self.silent, self.torn = hub, offset, False, False
        self.count = 0

    def step(self, now_ns: int) -> None:
        self.hub.receive()
        if now_ns % (5 * NS_PER_MS) or self.silent:
            return
        self.count += 1
        gripper = GripperTarget(POSE[6] * PIPER.gripper_stroke_m)
        frames = [Frame(CanId.GRIPPER_TARGET + self.offset, gripper.pack())]
        for i in range(3):
            if not (self.torn and i == 1):
                pair = JointPair(POSE[2 * i], POSE[2 * i + 1])
                frames.append(Frame(CanId.TARGET + i + self.offset, pair.pack()))
        self.hub.send(frames)


@pytest.fixture(params=[0, 0x10, 0x20])
def offset(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def hand(offset: int) -> Iterator[Hand]:
    hub = CanHub(NAME)
    yield Hand(hub, offset)
    hub.close()


def leader(offset: int) -> PiperLeader:
    return PiperLeader("right", PIPER, lambda: join_emulated(NAME), "can1", offset)


def test_a_leader_keeps_every_promise_of_a_leader(hand: Hand, offset: int) -> None:
    check_leader(lambda: leader(offset), SteppedClock(hand.step))


def test_a_sample_is_the_leaders_pose_in_rad_and_fractions(hand: Hand, offset: int) -> None:
    clock, driver = SteppedClock(hand.step), leader(offset)
    driver.open()
    samples = []
    for _ in range(20):
        clock.sleep_until_ns(clock.now_ns() + 5 * NS_PER_MS)
        samples += driver.read(clock.now_ns(), np.zeros(14)).samples
    driver.close()
    assert len(samples) >= 18
    assert samples[-1].side == "right"
    assert samples[-1].clutch
    np.testing.assert_allclose(samples[-1].position, POSE, atol=2e-5)


@pytest.mark.parametrize("how", ["silent", "torn", "elsewhere"])
def test_a_leader_that_says_nothing_whole_is_lost(hand: Hand, offset: int, how: str) -> None:
    clock, driver = SteppedClock(hand.step), leader((offset + 0x10) % 0x30 if how == "elsewhere" else offset)
    hand.silent, hand.torn = how == "silent", how == "torn"
    driver.open()
    with pytest.raises(DriverError, match="leading Piper on can1 sends nothing on 0x1"):
        for _ in range(100):
            clock.sleep_until_ns(clock.now_ns() + 5 * NS_PER_MS)
            assert driver.read(clock.now_ns(), np.zeros(14)).samples == ()
    driver.close()
