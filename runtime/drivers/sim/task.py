"""What a simulated task is: the objects it adds to the rig, and physics' verdict on the outcome."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray


class Task(Protocol):
    """A task on the table. Its own state lives in plain attributes (copied by `Plant.snapshot`) or in MjData."""

    name: str
    prompt: str
    time_limit_s: float

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the task's bodies, belts and bins to the rig's spec before it is compiled."""

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place the objects for a new episode; the arms are already at home."""

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Run once after every physics step (a moving belt, a latched fact)."""

    def outcome(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool | None:
        """True: success; False: failed for good; None: undecided."""

    def object_state(self, model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float32]:
        """The objects' poses and velocities, shape (K,), layout documented by the task."""


class EmptyTable:
    """No objects, no end: the bare rig."""

    name = "empty"
    prompt = "hold still"
    time_limit_s = float("inf")

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add nothing."""

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place nothing."""

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Move nothing."""

    def outcome(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool | None:  # noqa: ARG002
        """Never decided."""
        return None

    def object_state(self, model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float32]:  # noqa: ARG002
        """An empty vector, shape (0,)."""
        return np.zeros(0, dtype=np.float32)
