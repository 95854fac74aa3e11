"""The guardian's decisions for one arm: follow fresh commands within its own limits, else brake and hold.

It is the last layer before the device and shares no code with the control process's limits. A command says
where the arm is at its servo tick and how fast it moves, and that holds until the command expires: a tick
without a new command is bridged at that velocity, an expired command is braked from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.control.trajectory import Course, Motion, Rates, plan_brake
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
TRACKING_RAD: Final = 0.4
"""Distance of target and measured position that counts as lost tracking; grippers hold objects and are left out."""
TRACKING_NS: Final = 100 * NS_PER_MS
BRIDGE_AFTER: Final = 0.5
"""A missing command is bridged half a period after it was due, so that a late one is not overtaken."""


@dataclass(frozen=True)
class GuardianOutput:
    """What goes to the device: a position (7,) for a servo tick, where enabled; and the status to publish."""

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
        self._home = model.home_array
        self._low, self._high = np.array(model.position_min), np.array(model.position_max)
        self._v_max = np.array(model.velocity_max) * self._dt
        self._a_max = np.array(model.acceleration_max) * self._dt**2
        self._rates = Rates(np.array(model.velocity_max), np.array(model.acceleration_max), np.array(model.jerk_max))
        self._status: Any = blank(records.GUARDIAN_STATUS)
        self._state = Guard.DISARMED
        self._trip = Trip.NONE
        self._target = np.zeros(ARM_DOF)
        self._step = np.zeros(ARM_DOF)  # the last step, per tick
        self._before = np.zeros(ARM_DOF)  # the one before
        self._tick = 0
        self._t_ns = 0
        self._goal = np.zeros(ARM_DOF)
        self._pace = np.zeros(ARM_DOF)
        self._goal_tick = 0
        self._seen_tick = -1
        self._expires_ns = 0
        self._astray_ns = 0
        self._brake = Course(self._target, None, self._dt, 0)
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
        return GuardianOutput(
            self._target.copy(), self._state is not Guard.DISARMED, self._tick, self._publish(now_ns, command)
        )

    def _healthy(self, now_ns: int, state: NDArray[Any]) -> bool:
        """Whether the device's feedback is fresh, finite, not all zero, and free of device faults."""
        age_ns = now_ns - int(state["t_ns"])
        position, velocity = state["position"], state["velocity"]
        alive = int(state["t_ns"]) > 0 and age_ns <= self._stale_ns and int(state["fault"]) == 0
        finite = bool(np.isfinite(position).all() and np.isfinite(velocity).all())
        return alive and finite and bool(position.any() or velocity.any())

    def _take(self, command: NDArray[Any]) -> None:
        """Remember a new command as where the arm shall be, at which tick and pace, and until when that holds."""
        self._seen_tick = self._goal_tick = int(command["servo_tick"])
        self._goal = np.array(command["position"][self._part])
        self._pace = np.array(command["velocity"][self._part]) * self._dt
        if command["armed"]:
            # However long a command claims to be valid, it is followed no longer than its time to live.
            self._expires_ns = min(int(command["valid_until_ns"]), int(command["t_ns"]) + self._ttl_ns)

    def _valid(self, now_ns: int, command: NDArray[Any]) -> bool:
        """Whether a new command is armed, unexpired, finite, and knows of every trip."""
        known = int(command["ack"][self._side]) == int(self._status["trips"])
        return bool(command["armed"]) and known and now_ns <= self._expires_ns and self._finite()

    def _finite(self) -> bool:
        return bool(np.isfinite(self._goal).all() and np.isfinite(self._pace).all())

    def _arm(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> None:
        if command is None or not healthy or not self._valid(now_ns, command):
            return
        position = np.array(state["position"])
        near = np.abs(self._goal - position) <= ENGAGE
        inside = (position >= self._low - OUTSIDE) & (position <= self._high + OUTSIDE)
        if near.all() and inside.all():
            self._rest(np.clip(position, self._low, self._high))
            self._start(now_ns)

    def _start(self, now_ns: int) -> None:
        """Begin to follow the command just taken, from rest at the target."""
        self._state = Guard.FOLLOW
        self._tick, self._t_ns, self._astray_ns = self._goal_tick, now_ns, now_ns
        self._move(self._goal, self._pace)

    def _follow(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> None:
        if now_ns - self._t_ns > self._ttl_ns:
            # This process itself stood still, and so does the arm by now: what it missed is not made up for.
            self._tick += (now_ns - self._t_ns) // self._period_ns
            self._rest(self._target)
            self._leave(Trip.EXPIRED, now_ns)
            return
        trip = self._reason(now_ns, command, state, healthy)
        if trip is not Trip.NONE:
            self._leave(trip, now_ns)
            return
        if command is not None and not command["armed"]:
            if self._at_home():
                self._state = Guard.DISARMED
            return
        if command is not None:
            until, self._t_ns = self._goal_tick, now_ns
        else:
            missed = int((now_ns - self._t_ns) / self._period_ns - BRIDGE_AFTER)
            until = self._tick + missed
            self._t_ns += missed * self._period_ns
        for tick in range(max(self._tick, until - self._ticks_max) + 1, until + 1):
            self._move(self._goal + self._pace * (tick - self._goal_tick), self._pace)
        self._tick = max(self._tick, until)

    def _reason(self, now_ns: int, command: NDArray[Any] | None, state: NDArray[Any], healthy: bool) -> Trip:
        """Why the arm may no longer follow; NONE when it may."""
        if not healthy:
            return Trip.DEVICE
        if not self._finite():
            return Trip.NOT_FINITE
        if now_ns > self._expires_ns:
            return Trip.EXPIRED
        if command is not None:
            ticks = min(max(self._goal_tick - self._tick, 1), self._ticks_max)
            if (np.abs(self._goal - self._target) > self._v_max * ticks + JUMP).any():
                return Trip.JUMP
        astray = np.abs(self._target - state["position"])[:ARM_JOINTS] > TRACKING_RAD
        if not astray.any():
            self._astray_ns = now_ns
        return Trip.TRACKING if now_ns - self._astray_ns > TRACKING_NS else Trip.NONE

    def _leave(self, trip: Trip, now_ns: int) -> None:
        """Stop following: plan the brake from the last target's own motion."""
        self._trip = trip
        self._status["trips"] += 1
        self._status["t_trip_ns"] = now_ns
        self._state = Guard.BRAKE
        motion = Motion(self._target, self._step / self._dt, (self._step - self._before) / self._dt**2)
        self._brake = plan_brake(motion, self._rates, self._dt)
        self._braked = 0
        self._t_ns = now_ns - self._period_ns
        self._slow_down(now_ns, healthy=trip is not Trip.DEVICE)

    def _slow_down(self, now_ns: int, healthy: bool) -> None:
        """Play the brake in real time, however often this is called; then hold."""
        passed = round((now_ns - self._t_ns) / self._period_ns)
        self._t_ns += passed * self._period_ns
        self._tick += passed
        if passed > self._ticks_max:
            self._rest(self._target)
            self._state = Guard.HOLD if healthy else Guard.FAULT
            return
        for _ in range(passed):
            self._braked += 1
            goal = self._brake.at(self._braked)
            self._move(goal, goal - self._brake.at(self._braked - 1))
            if self._braked > self._brake.ticks and not self._step.any():
                self._state = Guard.HOLD if healthy else Guard.FAULT
                break

    def _hold(self, now_ns: int, command: NDArray[Any] | None, healthy: bool) -> None:
        """Stay, until a command that knows of the trip starts where the arm is."""
        self._state = Guard.HOLD if healthy else Guard.FAULT
        if command is None or not healthy:
            return
        if not command["armed"]:
            if self._at_home():
                self._state = Guard.DISARMED
        elif self._valid(now_ns, command) and (np.abs(self._goal - self._target) <= TAKE_UP).all():
            self._start(now_ns)

    def _at_home(self) -> bool:
        return not self._step.any() and bool((np.abs(self._target - self._home) <= AT_HOME)[:ARM_JOINTS].all())

    def _rest(self, position: Array) -> None:
        self._target = position
        self._step, self._before = np.zeros(ARM_DOF), np.zeros(ARM_DOF)

    def _move(self, goal: Array, pace: Array) -> None:
        """Advance the target one tick towards a goal that moves at `pace`, within the model's limits."""
        least = np.maximum(self._step - self._a_max, -self._v_max)
        most = np.minimum(self._step + self._a_max, self._v_max)
        least = np.maximum(least, -_first_step(self._target - self._low, self._a_max))
        most = np.minimum(most, _first_step(self._high - self._target, self._a_max))
        step = goal - self._target
        passed = (step >= least) & (step <= most)
        if passed.all():
            target = goal.copy()
        else:
            apart = step - pace
            step = pace + np.sign(apart) * _first_step(np.abs(apart), self._a_max)
            step = np.minimum(np.maximum(step, least), most)
            target = np.where(passed, goal, self._target + step)
            target = np.minimum(np.maximum(target, self._low), self._high)
            self._status["limited"] += 1
        self._before, self._step, self._target = self._step, target - self._target, target

    def _publish(self, now_ns: int, command: NDArray[Any] | None) -> NDArray[Any]:
        status = self._status
        status["seq"] += 1
        status["t_ns"] = now_ns
        status["state"] = self._state
        status["reason"] = self._trip
        if command is not None:
            status["command_seq"] = command["seq"]
        status["target"] = self._target
        published: NDArray[Any] = status.copy()
        return published


def _first_step(distance: Array, slower: Array) -> Array:
    """Return the longest first step with which steps shrinking by `slower` cover no more than a distance."""
    distance = np.maximum(distance, 0.0)
    count = np.floor(0.5 * (np.sqrt(1.0 + 8.0 * distance / slower) - 1.0))
    first: Array = distance / (count + 1.0) + 0.5 * slower * count
    return first
