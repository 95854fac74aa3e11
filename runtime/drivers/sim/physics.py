"""The physics process: one MuJoCo rig in real time, reached only through its devices' topics."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from runtime import realtime, records
from runtime.board import Board, Heart
from runtime.clock import NS_PER_S, Clock
from runtime.drivers.emulators.base import BUS_STEP_RAD
from runtime.drivers.sim.audit import LimitAudit
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.layout import ARM_SLICE, SIDES, Side
from runtime.shm import blank

SCENE_EVERY_STEPS: Final = 8
"""Steps between two published scenes: 16 ms, twice the rate of the cameras that read them."""
RESYNC_NS: Final = 200_000_000
"""Behind by more than this, the simulation gives the time up instead of racing after it."""


class Physics:
    """The simulated rig on the board: takes device commands, gives arm states, scenes and the task's outcome."""

    def __init__(self, board: Board) -> None:
        spec = board.spec
        self._board = board
        self._plant = Plant(spec.rig.arms["left"].model, TASKS[spec.task](), seed=spec.seed)
        self._states = {side: board[f"device/{side}/state"] for side in SIDES}
        self._commands = {side: board[f"device/{side}/command"] for side in SIDES}
        self._cursor = dict.fromkeys(SIDES, 0)
        self._record: dict[Side, Any] = {side: blank(records.ARM_STATE) for side in SIDES}
        self._scene: Any = blank(records.scene_dtype(spec.scene_length))
        self._objects: Any = blank(records.OBJECT_STATE)
        self._status: Any = blank(records.TASK_STATUS)
        self._status["outcome"] = -1
        period_s = 1.0 / spec.rig.servo_hz
        self._audit = {
            side: LimitAudit(
                spec.rig.arm_model(side),
                period_s,
                spec.rig.command_ticks,
                BUS_STEP_RAD.get(spec.rig.arms[side].driver, 0.0),
            )
            for side in SIDES
        }
        self._steps = 0

    @property
    def period_ns(self) -> int:
        """Length of a physics step."""
        return round(self._plant.timestep_s * NS_PER_S)

    def step(self, now_ns: int) -> None:
        """Take commands, advance one step, publish what a device would."""
        self._take_commands()
        self._plant.step()
        self._publish_arms(now_ns)
        if self._steps % SCENE_EVERY_STEPS == 0:
            self._publish_scene(now_ns)
        self._steps += 1

    def note_lateness(self, late_steps: int, real_time_factor: float) -> None:
        """Record how well the simulation keeps up with real time."""
        self._status["late_steps"] = late_steps
        self._status["real_time_factor"] = real_time_factor

    def _take_commands(self) -> None:
        for side in SIDES:
            fresh, self._cursor[side], _ = self._commands[side].since(self._cursor[side])
            for command in fresh:
                position = np.array(command["position"])
                self._audit[side].check(int(command["servo_tick"]), position)
                self._plant.command_arm(side, position)

    def _publish_arms(self, now_ns: int) -> None:
        position, velocity, effort = self._plant.position(), self._plant.velocity(), self._plant.effort()
        for side in SIDES:
            record, part = self._record[side], ARM_SLICE[side]
            record["seq"] += 1
            record["t_ns"] = now_ns
            record["position"], record["velocity"], record["effort"] = (
                position[part],
                velocity[part],
                effort[part],
            )
            self._states[side].push(record)

    def _publish_scene(self, now_ns: int) -> None:
        self._take_request()
        plant, status = self._plant, self._status
        self._scene["t_ns"] = now_ns
        self._scene["episode"] = status["episode"]
        self._scene["state"] = plant.state_vector()
        self._board["scene"].push(self._scene)
        objects = plant.task.object_state(plant.model, plant.data)
        self._objects["t_ns"], self._objects["length"] = now_ns, len(objects)
        self._objects["state"][: len(objects)] = objects
        self._board["object_state"].push(self._objects)
        if status["outcome"] < 0:
            outcome = plant.task.outcome(plant.model, plant.data)
            if outcome is not None:
                status["outcome"] = outcome
        status["t_ns"] = now_ns
        status["episode_s"] = plant.time_s
        status["limit_violations"] = sum(audit.violations for audit in self._audit.values())
        self._board["task"].push(status)

    def _take_request(self) -> None:
        request = self._board["task_request"].latest()
        if request is None or request["episode"] == self._status["episode"]:
            return
        self._plant.lay_out(int(request["seed"]))
        self._status["episode"] = request["episode"]
        self._status["outcome"] = -1


def run_physics(board: Board, clock: Clock, heart: Heart) -> None:
    """Step the physics in real time until the run stops and the arms are left alone.

    Late steps are caught up with, up to `RESYNC_NS`. A guardian that never says that it ended is not waited for:
    the supervisor ends what has not ended by itself.
    """
    physics = Physics(board)
    period_ns = physics.period_ns
    realtime.enter("sim")
    start_ns = due_ns = clock.now_ns()
    late = steps = 0
    while not (board.stopping and board.arms_left_alone):
        clock.sleep_until_ns(due_ns)
        now_ns = clock.now_ns()
        if now_ns - due_ns > period_ns:
            late += 1
        if now_ns - due_ns > RESYNC_NS:
            due_ns = now_ns
        physics.step(now_ns)
        steps += 1
        due_ns += period_ns
        if steps % 100 == 0:
            physics.note_lateness(late, steps * period_ns / max(now_ns - start_ns, 1))
            heart.beat(now_ns)
