"""The guardian's decisions for one arm: follow fresh commands within its own limits, else brake and hold.

It is the last layer before the device and shares no code with the control process's limits. A command says
where the arm is at its servo tick and how fast it moves, and that holds until the command expires: a tick
without a new command is bridged at that velocity, an expired command is braked from.

A device has no clock of ours: what it sees is one target after the other. So each target is at most a tick's motion
from the one before, however long it took to come, and what a standstill missed is caught up with within limits.
"""

from __future__ import annotations

from itertools import repeat
from math import isfinite
from operator import add, gt, le, mul, sub
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.control.stepper import Joints, Stepper
from runtime.control.trajectory import Course, Planner, Rates
from runtime.layout import ARM_DOF, ARM_JOINTS
from runtime.shm import blank
from runtime.states import Guard, Trip

Array = NDArray[np.float64]

JUMP: Final = 0.15
"""How far (rad, gripper: fraction) a command may lie beyond what full speed explains before it is absurd."""
TAKE_UP: Final = 0.02
"""How near a command must be to the held target to be followed again."""
ENGAGE: Final = 0.05
"""How near the first command must be to the measured position."""
OUTSIDE: Final = 0.1
"""How far a measured position may lie outside the model's limits when the arm is armed."""
AT_HOME: Final = 0.1
"""How near to the rest pose the held target must be for the torque to be switched off."""
STILL: Final = 1e-8
"""A last step (rad, gripper: fraction) that is no motion but what rounding leaves of one: 2e-6 rad/s at 200 Hz."""
TRACKING_RAD: Final = 0.4
"""Distance of target and measured position that counts as lost tracking; grippers hold objects and are left out."""
TRACKING_NS: Final = 100 * NS_PER_MS
BRIDGE_AFTER: Final = 0.5
"""A missing command is bridged half a period after it was due, so that a late one is not overtaken."""


class GuardianOutput(NamedTuple):
    """What goes to the device, where enabled: a position (7,); and the status to publish.

    `servo_tick` counts the device's own ticks: one more for each new target, several more after a pause.
    """

    position: Array
    enabled: bool
    servo_tick: int
    status: NDArray[Any]


class GuardianCore:
    """Guards one arm. `side_index` is the arm's place in `runtime.layout.SIDES`."""

    def __init__(
        self,
        model: ArmModel,
        side_index: int,
        servo_period_ns: int,
        command_ttl_ns: int = 20 * NS_PER_MS,
        state_stale_ns: int = 25 * NS_PER_MS,
    ) -> None:
        self._side = side_index
        self._part = slice(side_index * ARM_DOF, (side_index + 1) * ARM_DOF)
        self._period_ns = servo_period_ns
        self._dt = servo_period_ns / NS_PER_S
        self._ttl_ns, self._stale_ns = command_ttl_ns, state_stale_ns
        self._ticks_max = max(command_ttl_ns // servo_period_ns, 1)
        self._home = list(model.home)
        rates = Rates(np.array(model.velocity_max), np.array(model.acceleration_max), np.array(model.jerk_max))
        self._planner = Planner(rates, self._dt)
        self._stepper = Stepper(model, self._dt)
        self._leaps = [
            [joint.v_max * ticks + JUMP for joint in self._stepper.joints] for ticks in range(self._ticks_max + 1)
        ]
        """How far each joint may be asked to go in so many ticks."""
        self._state = Guard.DISARMED
        self._trip = Trip.NONE
        self._trips = 0
        self._trip_ns = 0
        self._limited = 0
        self._seq = 0
        self._command_seq = 0
        self._tick = 0
        self._device_tick = 0
        self._t_ns = 0
        self._goal = [0.0] * ARM_DOF
        self._pace = [0.0] * ARM_DOF
        self._goal_tick = 0
        self._seen_tick = -1
        self._expires_ns = 0
        self._astray_ns = 0
        self._brake = Course(np.zeros(ARM_DOF), None, self._dt, 0)
        self._braked = 0

    def step(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any]) -> GuardianOutput:
        """Decide one step from the newest command (None before the first) and the newest measured state."""
        healthy = self._healthy(now_ns, state)
        fresh = command is not None and int(command["servo_tick"]) > self._seen_tick
        if command is not None and fresh:
            self._take(command)
        if self._state is Guard.DISARMED:
            self._arm(now_ns, command if fresh else None, state, healthy)
        elif self._state is Guard.FOLLOW:
            self._follow(now_ns, command if fresh else None, state, healthy)
        elif self._state is Guard.BRAKE:
            self._slow_down(now_ns, healthy)
        else:
            self._hold(now_ns, command if fresh else None, healthy)
        if command is not None:
            self._command_seq = int(command["seq"])
        target = np.array(self._stepper.target)
        return GuardianOutput(
            target, self._state is not Guard.DISARMED, self._device_tick, self._status(now_ns, target)
        )

    def _healthy(self, now_ns: int, state: NDArray[Any]) -> bool:
        """Whether the device's feedback is fresh, finite, not all zero, and free of device faults."""
        t_ns = int(state["t_ns"])
        alive = t_ns > 0 and now_ns - t_ns <= self._stale_ns and int(state["fault"]) == 0
        measured = state["position"].tolist() + state["velocity"].tolist()
        return alive and any(measured) and all(map(isfinite, measured))

    def _take(self, command: NDArray[Any]) -> None:
        """Remember a new command as where the arm shall be, at which tick and pace, and until when that holds."""
        self._seen_tick = self._goal_tick = int(command["servo_tick"])
        self._goal = command["position"][self._part].tolist()
        self._pace = [velocity * self._dt for velocity in command["velocity"][self._part].tolist()]
        if command["armed"]:
            # However long a command claims to be valid, it is followed no longer than its time to live.
            self._expires_ns = min(int(command["valid_until_ns"]), int(command["t_ns"]) + self._ttl_ns)

    def _valid(self, now_ns: int, command: NDArray[Any]) -> bool:
        """Whether a new command may be begun with: armed, finite, of this tick, unexpired, knowing of every trip.

        From rest, a command that is overdue would be begun with at a tick that has passed, and the next one caught up
        with in a single step.
        """
        known = int(command["ack"][self._side]) == self._trips
        due = now_ns - int(command["t_ns"]) < (1.0 + BRIDGE_AFTER) * self._period_ns and now_ns <= self._expires_ns
        return bool(command["armed"]) and known and due and self._finite()

    def _finite(self) -> bool:
        return all(map(isfinite, self._goal)) and all(map(isfinite, self._pace))

    def _arm(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> None:
        if command is None or not healthy or not self._valid(now_ns, command):
            return
        position = state["position"].tolist()
        joints = self._stepper.joints
        inside = all(j.low - OUTSIDE <= x <= j.high + OUTSIDE for j, x in zip(joints, position, strict=True))
        if inside and _near(self._goal, position, ENGAGE):
            self._stepper.rest([j.inside(x) for j, x in zip(joints, position, strict=True)])
            self._device_tick = self._goal_tick - 1
            self._start(now_ns)

    def _start(self, now_ns: int) -> None:
        """Begin to follow the command just taken, from rest at the target."""
        self._state = Guard.FOLLOW
        self._tick, self._t_ns, self._astray_ns = self._goal_tick, now_ns, now_ns
        self._move(self._goal, self._pace)

    def _follow(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> None:
        if now_ns - self._t_ns > self._ttl_ns:
            # This process itself stood still, and so does the arm by now: what it missed is not made up for.
            self._device_tick += (now_ns - self._t_ns) // self._period_ns
            self._stepper.rest(self._stepper.target)
            self._leave(Trip.EXPIRED, now_ns)
            return
        trip = self._reason(now_ns, command, state, healthy)
        if trip is not Trip.NONE:
            self._leave(trip, now_ns)
            return
        if command is not None and not command["armed"]:
            if self._at_home():
                self._state = Guard.DISARMED
            else:
                # Who lets go of an arm elsewhere, or in motion, has taken the last command back.
                self._leave(Trip.EXPIRED, now_ns)
            return
        if command is not None:
            until, self._t_ns = self._goal_tick, now_ns
        else:
            missed = int((now_ns - self._t_ns) / self._period_ns - BRIDGE_AFTER)
            until = self._tick + missed
            self._t_ns += missed * self._period_ns
        if until > self._tick:
            self._tick = until
            ahead = until - self._goal_tick
            self._move(list(map(add, self._goal, map(mul, self._pace, repeat(ahead)))), self._pace)

    def _reason(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> Trip:
        """Why the arm may no longer follow; NONE when it may."""
        if not healthy:
            return Trip.DEVICE
        if not self._finite():
            return Trip.NOT_FINITE
        if now_ns > self._expires_ns:
            return Trip.EXPIRED
        if command is not None and self._is_jump():
            return Trip.JUMP
        if _near(self._stepper.target[:ARM_JOINTS], state["position"][:ARM_JOINTS].tolist(), TRACKING_RAD):
            self._astray_ns = now_ns
        return Trip.TRACKING if now_ns - self._astray_ns > TRACKING_NS else Trip.NONE

    def _is_jump(self) -> bool:
        ticks = min(max(self._goal_tick - self._tick, 1), self._ticks_max)
        return any(map(gt, map(abs, map(sub, self._goal, self._stepper.target)), self._leaps[ticks]))

    def _leave(self, trip: Trip, now_ns: int) -> None:
        """Stop following: plan the brake from the last target's own motion."""
        self._trip = trip
        self._trips += 1
        self._trip_ns = now_ns
        self._state = Guard.BRAKE
        self._brake = self._planner.brake(self._stepper.motion)
        self._braked = 0
        self._t_ns = now_ns - self._period_ns
        self._slow_down(now_ns, healthy=trip is not Trip.DEVICE)

    def _slow_down(self, now_ns: int, healthy: bool) -> None:
        """Play the brake, a tick of it for each period, or for more where this is called less often; then hold."""
        passed = round((now_ns - self._t_ns) / self._period_ns)
        self._t_ns += passed * self._period_ns
        if passed > self._ticks_max:
            self._device_tick += passed
            self._stepper.rest(self._stepper.target)
            self._state = Guard.HOLD if healthy else Guard.FAULT
            return
        if passed == 0:
            return
        self._braked += 1
        goal = self._brake.at(self._braked)
        self._move(goal.tolist(), (goal - self._brake.at(self._braked - 1)).tolist())
        if self._braked > self._brake.ticks and not any(self._stepper.step):
            self._state = Guard.HOLD if healthy else Guard.FAULT

    def _hold(self, now_ns: int, command: NDArray[Any] | None, healthy: bool) -> None:
        """Stay, until a command that knows of the trip starts where the arm is."""
        self._state = Guard.HOLD if healthy else Guard.FAULT
        if command is None or not healthy:
            return
        if not command["armed"]:
            if self._at_home():
                self._state = Guard.DISARMED
        elif self._valid(now_ns, command) and _near(self._goal, self._stepper.target, TAKE_UP):
            self._start(now_ns)

    def _at_home(self) -> bool:
        still = all(map(le, map(abs, self._stepper.step), repeat(STILL)))
        return still and _near(self._stepper.target[:ARM_JOINTS], self._home[:ARM_JOINTS], AT_HOME)

    def _move(self, goal: Joints, pace: Joints) -> None:
        """Advance the target one tick towards a goal that moves at `pace`, and count where limits forbid it."""
        self._limited += not self._stepper.move(goal, pace)
        self._device_tick += 1

    def _status(self, now_ns: int, target: Array) -> NDArray[Any]:
        self._seq += 1
        status: Any = blank(records.GUARDIAN_STATUS)
        status["seq"] = self._seq
        status["t_ns"] = now_ns
        status["state"] = self._state
        status["reason"] = self._trip
        status["trips"] = self._trips
        status["t_trip_ns"] = self._trip_ns
        status["command_seq"] = self._command_seq
        status["limited"] = self._limited
        status["target"] = target
        status["device_tick"] = self._device_tick
        record: NDArray[Any] = status
        return record


def _near(position: Joints, other: Joints, apart: float) -> bool:
    return all(map(le, map(abs, map(sub, position, other)), repeat(apart)))
