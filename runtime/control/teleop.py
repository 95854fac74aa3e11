"""A person leads the arms: who has the clutch, whether leader and arm match, and where the arms go meanwhile.

An arm whose clutch is pressed approaches its leader slowly until the two match in position and velocity, and is
coupled to it from then on. Both are one motion, so that there is nothing to jump at the change. Whatever ends it
(the clutch, a lost leader, a stop, a fault) ends it until the clutch is pressed again.
"""

from __future__ import annotations

from enum import Enum
from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.control.chase import Chase, Track
from runtime.control.settings import ControlConfig
from runtime.control.trajectory import Course, Motion, Planner, Rates
from runtime.faults import BIT
from runtime.layout import ARM_GRIPPER, ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES

Array = NDArray[np.float64]
Record = NDArray[Any]

MATCH_GRIPPER: Final = 0.1
MATCH_RAD_S: Final = 0.3
"""How far gripper openings and joint velocities may be apart in a match."""
SLIP_RAD: Final = 0.35
"""A coupled arm that is further than this behind its leader approaches it slowly again."""
OUTSIDE_RAD: Final = 0.1
"""How far a leader may be outside its arm's limits when it takes over; a coupled one is followed as far as they go."""


class Coupling(Enum):
    """How an arm and its leader are connected."""

    FREE = "free"
    APPROACH = "approach"
    COUPLED = "coupled"


class Lead(NamedTuple):
    """What the leaders come to at a tick.

    `taken`: a clutch was pressed and is held, whatever has become of it. `sides`: bit i where side i is led.
    `matched`: all of those are coupled.
    """

    taken: bool = False
    sides: int = 0
    matched: bool = False
    faults: int = 0


NOBODY: Final = Lead()


class LedArm:
    """One arm and its leader, from tick to tick."""

    def __init__(self, config: ControlConfig, part: slice, dt_s: float) -> None:
        limits, handover = config.limits, config.handover
        self._low, self._high = limits.position_min[part], limits.position_max[part]
        rates = Rates(limits.velocity_max[part], limits.acceleration_max[part], limits.jerk_max[part])
        slow = Rates(rates.velocity_max * handover.velocity_fraction, rates.acceleration_max, rates.jerk_max)
        self._planner = Planner(rates, dt_s)
        self._match_rad, self._refuse_rad = handover.match_rad, handover.refuse_rad
        self._stale_ns = config.leader_stale_ns
        self._track = Track(dt_s)
        self._chase = Chase(slow, rates, dt_s)
        self._course: tuple[int, Course] | None = None
        self.clutch = True  # a press is seen only after a release: what is held from the start is none
        self._t_ns = 0
        self.coupling = Coupling.FREE
        self.taken = False
        self.refused = 0
        """Why the clutch that is held leads nothing, as a bit of the fault table."""

    def judge(self, leader: Record, now_ns: int, motion: Motion, *, may: bool) -> bool:
        """Take a LEADER_SIDE record in; returns whether the leader was lost, or put elsewhere, while it led.

        `may`: the arms are free to be led at all.
        """
        clutch = bool(leader["clutch"])
        pressed, self.clutch = clutch and not self.clutch, clutch
        self.taken = may and clutch and (pressed or self.taken)
        if not self.taken:
            self.free()
            self.refused = 0
            return False
        led = self.coupling is not Coupling.FREE
        if led:
            self._follow(leader, now_ns, motion)
        elif pressed:
            self._take(leader, now_ns, motion)
        if self.refused:
            self.free()
            return led
        if self.coupling is not Coupling.FREE:
            self._compare(motion)
        return False

    def free(self) -> None:
        """Let go of the leader until the clutch is pressed again."""
        self.coupling = Coupling.FREE

    def enter(self) -> None:
        """Begin from whatever the arm was doing."""
        self._course = None
        self._chase.end()

    def target(self, servo_tick: int, motion: Motion) -> Array:
        """Return where the arm should be (7,) at a servo tick, from its command at the last one; once a tick."""
        if self.coupling is Coupling.FREE:
            self._chase.end()
            if self._course is None:
                self._course = servo_tick - 1, self._planner.brake(motion)
            return self._course[1].at(servo_tick - self._course[0])
        self._course = None
        goal = self._inside(self._track.position)
        velocity = np.where(goal == self._track.position, self._track.velocity, 0.0)
        return self._chase.step(motion, goal, velocity, slow=self.coupling is Coupling.APPROACH)

    def _take(self, leader: Record, now_ns: int, motion: Motion) -> None:
        if not self._alive(leader, now_ns):
            self.refused = BIT["leader_lost"]
            return
        position = leader["position"]
        outside = np.maximum(self._low - position, position - self._high)[:ARM_JOINTS].max() > OUTSIDE_RAD
        if outside or self._apart(position, motion) > self._refuse_rad:
            self.refused = BIT["leader_apart"]
            return
        self._track.begin(position)
        self._t_ns = int(leader["t_ns"])
        self.coupling = Coupling.APPROACH

    def _follow(self, leader: Record, now_ns: int, motion: Motion) -> None:
        if not self._alive(leader, now_ns):
            self.refused = BIT["leader_lost"]
            return
        renewed = int(leader["t_ns"]) != self._t_ns
        self._t_ns = int(leader["t_ns"])
        self._track.step(leader["position"] if renewed else None)
        if self._apart(self._track.position, motion) > self._refuse_rad:
            self.refused = BIT["leader_apart"]

    def _compare(self, motion: Motion) -> None:
        """Couple where arm and leader match, and approach again where they have parted."""
        apart = self._apart(self._track.position, motion)
        if self.coupling is Coupling.COUPLED:
            if apart > SLIP_RAD:
                self.coupling = Coupling.APPROACH
            return
        parting = np.abs(self._track.velocity - motion.velocity)[:ARM_JOINTS].max()
        opening = abs(float(self._inside(self._track.position)[ARM_GRIPPER] - motion.position[ARM_GRIPPER]))
        if apart <= self._match_rad and opening <= MATCH_GRIPPER and parting <= MATCH_RAD_S:
            self.coupling = Coupling.COUPLED

    def _apart(self, position: Array, motion: Motion) -> float:
        """Return the largest distance of a joint from where a leader's position, brought inside the limits, has it."""
        return float(np.abs(self._inside(position) - motion.position)[:ARM_JOINTS].max())

    def _inside(self, position: Array) -> Array:
        inside: Array = np.minimum(np.maximum(position, self._low), self._high)
        return inside

    def _alive(self, leader: Record, now_ns: int) -> bool:
        fresh = bool(leader["valid"]) and now_ns - int(leader["t_ns"]) <= self._stale_ns
        return fresh and all(map(isfinite, leader["position"].tolist()))


class Teleop:
    """Both arms and their leaders."""

    def __init__(self, config: ControlConfig, dt_s: float) -> None:
        self._arms = {side: LedArm(config, ARM_SLICE[side], dt_s) for side in SIDES}

    def judge(self, leader: Record, now_ns: int, motion: Motion, *, may: bool) -> Lead:
        """Take a LEADER record in; `motion` (14,) is the command so far, `may` whether the arms are free to be led."""
        if not int(leader["seq"]) or not (self._held or any(leader["side"]["clutch"].tolist())):
            return NOBODY
        arms = list(self._arms.items())
        lost = [
            arm.judge(leader["side"][i], now_ns, _part(motion, ARM_SLICE[side]), may=may)
            for i, (side, arm) in enumerate(arms)
        ]
        faults = taken = sides = 0
        matched = True
        for i, (_, arm) in enumerate(arms):
            if any(lost):
                # Two arms may carry one thing: where one has lost its leader, neither goes on.
                arm.free()
            faults |= arm.refused
            taken |= arm.taken
            sides |= (arm.coupling is not Coupling.FREE) << i
            matched &= arm.coupling is not Coupling.APPROACH
        return Lead(taken=bool(taken), sides=sides, matched=matched, faults=faults)

    @property
    def _held(self) -> bool:
        """Whether a clutch was held when it was last looked at."""
        return any(arm.clutch for arm in self._arms.values())

    def enter(self) -> None:
        """Begin to give the targets, from whatever the arms were doing."""
        for arm in self._arms.values():
            arm.enter()

    def target(self, servo_tick: int, motion: Motion) -> Array:
        """Return where the rig should be (14,) at a servo tick; an arm that is not led brakes and stands."""
        target = np.empty(RIG_DOF)
        for side, arm in self._arms.items():
            target[ARM_SLICE[side]] = arm.target(servo_tick, _part(motion, ARM_SLICE[side]))
        return target


def _part(motion: Motion, part: slice) -> Motion:
    return Motion(motion.position[part], motion.velocity[part], motion.acceleration[part])
