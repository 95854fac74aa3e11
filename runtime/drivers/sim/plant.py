"""The physics of one simulated rig: model, data, and the rig's numbers in and out, nothing else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.drivers.sim.scene import TIMESTEP_S, build_model
from runtime.drivers.sim.task import EmptyTable, Task
from runtime.layout import ARM_JOINTS, ARM_SLICE, GRIPPER_INDEX, RIG_DOF, SIDES, Side

Vector = NDArray[np.float64]

_STATE: Final = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class PlantState:
    """Everything that continues a simulation: MuJoCo's integration state and the task's own attributes."""

    integration: Vector
    task: dict[str, Any]


class Plant:
    """One rig in MuJoCo; `step` advances it by `timestep_s`. Not thread-safe.

    Vectors are float64 in the order of `runtime.layout`, shape (14,): rad and N.m, the grippers as fraction of
    their opening and N.

    Raises UsageError for an unknown arm.
    """

    timestep_s: Final = TIMESTEP_S

    def __init__(self, arm: str, task: Task | None = None, *, seed: int = 0) -> None:
        self.task: Task = EmptyTable() if task is None else task
        self.model: mujoco.MjModel = build_model(arm, self.task)
        self.data: mujoco.MjData = mujoco.MjData(self.model)
        self.arm = ARM_MODELS[arm]
        self._seed = seed
        self._travel_m = self.arm.gripper_stroke_m / 2
        self._actuator = np.concatenate([self._actuators(side) for side in SIDES])
        joints = [self.model.joint(f"{side}_joint{i + 1}").id for side in SIDES for i in range(ARM_JOINTS)]
        self._arm_index = np.array([i for i in range(RIG_DOF) if i not in GRIPPER_INDEX])
        self._arm_qpos = self.model.jnt_qposadr[joints]
        self._arm_dof = self.model.jnt_dofadr[joints]
        fingers = [[self.model.joint(f"{side}_finger{i}").id for i in (1, 2)] for side in SIDES]
        self._finger_qpos = self.model.jnt_qposadr[fingers]
        self._finger_dof = self.model.jnt_dofadr[fingers]
        self._gripper_index = np.array(GRIPPER_INDEX)
        self._to_ctrl = np.ones(RIG_DOF)
        self._to_ctrl[self._gripper_index] = self._travel_m
        self.reset(0)

    def _actuators(self, side: Side) -> NDArray[np.int64]:
        names = (*(f"{side}_joint{i + 1}" for i in range(ARM_JOINTS)), f"{side}_gripper")
        return np.array([self.model.actuator(name).id for name in names])

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return float(self.data.time)

    def reset(self, episode_seed: int) -> None:
        """Put the arms at home and the task's objects at the places that the two seeds decide."""
        mujoco.mj_resetData(self.model, self.data)
        home = np.tile(self.arm.home_array, len(SIDES))
        self.data.qpos[self._arm_qpos] = home[self._arm_index]
        self.data.qpos[self._finger_qpos] = home[self._gripper_index][:, None] * self._travel_m
        self.command(home)
        self.lay_out(episode_seed)

    def lay_out(self, episode_seed: int) -> None:
        """Place the task's objects as the two seeds decide and restart time; the arms stay where they are."""
        self.data.time = 0.0
        self.task.reset(self.model, self.data, np.random.default_rng((self._seed, episode_seed)))
        mujoco.mj_forward(self.model, self.data)

    def command(self, position: Vector) -> None:
        """Set the position targets of both arms, shape (14,); MuJoCo clips them to the joints' ranges."""
        self.data.ctrl[self._actuator] = position * self._to_ctrl

    def command_arm(self, side: Side, position: Vector) -> None:
        """Set the position targets of one arm, shape (7,)."""
        part = ARM_SLICE[side]
        self.data.ctrl[self._actuator[part]] = position * self._to_ctrl[part]

    def step(self) -> None:
        """Advance physics and task by one time step."""
        mujoco.mj_step(self.model, self.data)
        self.task.advance(self.model, self.data)

    def position(self) -> Vector:
        """Measured positions, shape (14,)."""
        return self._gather(self.data.qpos, self._arm_qpos, self._finger_qpos)

    def velocity(self) -> Vector:
        """Measured velocities in rad/s (grippers: fractions/s), shape (14,)."""
        return self._gather(self.data.qvel, self._arm_dof, self._finger_dof)

    def effort(self) -> Vector:
        """Motor efforts with gravity's share, N.m (grippers: N, negative closes), shape (14,)."""
        out = np.empty(RIG_DOF)
        out[self._arm_index] = self.data.qfrc_actuator[self._arm_dof]
        out[self._gripper_index] = self.data.actuator_force[self._actuator[self._gripper_index]]
        return out

    def _gather(self, source: Vector, arm: NDArray[np.int64], fingers: NDArray[np.int64]) -> Vector:
        out = np.empty(RIG_DOF)
        out[self._arm_index] = source[arm]
        out[self._gripper_index] = source[fingers].mean(axis=1) / self._travel_m
        return out

    def snapshot(self) -> PlantState:
        """Copy everything that continues the simulation from here, for a clone or a rollout."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return PlantState(state, deepcopy(vars(self.task)))

    def restore(self, state: PlantState) -> None:
        """Continue from a snapshot of a plant of the same arm and task."""
        vars(self.task).clear()
        vars(self.task).update(deepcopy(state.task))
        mujoco.mj_setState(self.model, self.data, state.integration, _STATE)
        mujoco.mj_forward(self.model, self.data)

    def state_vector(self) -> Vector:
        """What a picture needs: time, qpos, mocap positions and quaternions, flat, shape (state_size,)."""
        data = self.data
        return np.concatenate(((data.time,), data.qpos, data.mocap_pos.reshape(-1), data.mocap_quat.reshape(-1)))


def state_size(model: mujoco.MjModel) -> int:
    """Length of `Plant.state_vector` for a model."""
    return 1 + int(model.nq) + 7 * int(model.nmocap)


def set_state_vector(model: mujoco.MjModel, data: mujoco.MjData, vector: Vector) -> None:
    """Pose `data` as a plant's `state_vector` says, ready to render; velocities are left alone.

    Raises ValueError when the vector's length is not the model's.
    """
    if vector.shape != (state_size(model),):
        raise ValueError(f"state vector has shape {vector.shape}, the model wants ({state_size(model)},)")
    nq, nmocap = int(model.nq), int(model.nmocap)
    data.time = vector[0]
    data.qpos[:] = vector[1 : 1 + nq]
    data.mocap_pos[:] = vector[1 + nq : 1 + nq + 3 * nmocap].reshape(nmocap, 3)
    data.mocap_quat[:] = vector[1 + nq + 3 * nmocap :].reshape(nmocap, 4)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
