"""Episodes of an expert in lock-step with the physics, as arrays: the demonstrations a policy learns from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.experts import EXPERTS
from runtime.drivers.sim.experts.guide import TICK_S
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.errors import unknown_name
from runtime.layout import GRIPPER_INDEX, RIG_DOF

NOISE_CORRELATION_S: Final = 0.25
SETTLE_S: Final = 0.5
"""An episode goes on this long after its success, so that its end shows the arms leaving."""


@dataclass(frozen=True)
class Rollout:
    """One episode at 50 Hz: row t is what was seen at tick t and what was done from there, `runtime.layout` order.

    `actions` (T, 14): what the expert wanted; `executed` (T, 14): that with noise; `position`, `velocity` (T, 14):
    measured when the expert decided; `object_state` (T, K) float32; `states` (T, n): `Plant.state_vector`;
    `phases`: T names.
    """

    task: str
    seed: int
    actions: NDArray[np.float64]
    executed: NDArray[np.float64]
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    object_state: NDArray[np.float32]
    states: NDArray[np.float64]
    phases: tuple[str, ...]
    success: bool
    duration_s: float
    """Time until the outcome was decided."""


class CorrelatedNoise:
    """Ornstein-Uhlenbeck noise on the joints, none on the grippers: `std_rad` in the long run."""

    def __init__(self, std_rad: float, rng: np.random.Generator) -> None:
        self._rng = rng
        self._decay = float(np.exp(-TICK_S / NOISE_CORRELATION_S))
        self._kick = np.full(RIG_DOF, std_rad * float(np.sqrt(1.0 - self._decay**2)))
        self._kick[list(GRIPPER_INDEX)] = 0.0
        self._value = np.zeros(RIG_DOF)

    def next(self) -> NDArray[np.float64]:
        """The noise of the next tick, shape (14,), in rad; starts at zero."""
        self._value = self._decay * self._value + self._kick * self._rng.standard_normal(RIG_DOF)
        return self._value


@lru_cache(maxsize=4)
def _plant(task_name: str, arm: str) -> Plant:
    return Plant(arm, TASKS[task_name]())


def rollout(task_name: str, seed: int, *, noise: float = 0.0, max_s: float | None = None, arm: str = "x5") -> Rollout:
    """Run one episode of the task's expert from the start that `seed` decides; the same arguments, the same arrays.

    `noise`: standard deviation in rad of the disturbance on the executed joints. `max_s`: longest duration, the
    task's time limit by default. Raises UsageError for an unknown task.
    """
    if task_name not in EXPERTS:
        raise unknown_name("task", task_name, EXPERTS)
    plant, expert = _plant(task_name, arm), EXPERTS[task_name]()
    plant.reset(seed)
    expert.reset(plant)
    disturbance = CorrelatedNoise(noise, np.random.default_rng((seed, 1)))
    limit_s = plant.task.time_limit_s if max_s is None else max_s
    steps_per_tick = round(TICK_S / plant.timestep_s)
    rows: list[tuple[NDArray[np.float64], ...]] = []
    objects: list[NDArray[np.float32]] = []
    phases: list[str] = []
    outcome, decided_s = None, limit_s
    while plant.time_s < min(limit_s, decided_s + SETTLE_S) - 1e-9:
        position, velocity, state = plant.position(), plant.velocity(), plant.state_vector()
        objects.append(plant.task.object_state(plant.model, plant.data))
        action = expert.act(plant)
        executed = action + disturbance.next()
        rows.append((action, executed, position, velocity, state))
        phases.append(expert.phase)
        plant.command(executed)
        for _ in range(steps_per_tick):
            plant.step()
        if outcome is None:
            outcome = plant.task.outcome(plant.model, plant.data)
            decided_s = limit_s if outcome is None else plant.time_s
    actions, executed, position, velocity, states = (np.stack(column) for column in zip(*rows, strict=True))
    return Rollout(
        task=task_name,
        seed=seed,
        actions=actions,
        executed=executed,
        position=position,
        velocity=velocity,
        object_state=np.stack(objects),
        states=states,
        phases=tuple(phases),
        success=outcome is True,
        duration_s=decided_s,
    )
