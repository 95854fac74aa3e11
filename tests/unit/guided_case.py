"""A small policy network with made-up weights, and requests to it: what the guided loop is compared on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HORIZON: Final = 50
DOF: Final = 14
OBJECTS: Final = 7
WIDTH: Final = 16
BLOCKS: Final = 2
STEPS: Final = 5
CONDITION: Final = 3 * DOF + OBJECTS


@dataclass(frozen=True)
class Case:
    """One guided request; the plan's actions are in joint units."""

    steps: int
    delay: int
    execute: int
    beta: float
    seed: int


CASES: Final = (
    Case(steps=STEPS, delay=10, execute=20, beta=5.0, seed=1),
    Case(steps=STEPS, delay=0, execute=25, beta=5.0, seed=2),
    Case(steps=10, delay=3, execute=10, beta=2.0, seed=3),
)


def weights() -> dict[str, NDArray[Any]]:
    """Return float32 arrays by the names that FlowPolicy gives them, each exact in fp16."""
    rng = np.random.default_rng(7)

    def normal(shape: tuple[int, ...], scale: float) -> NDArray[Any]:
        return (scale * rng.standard_normal(shape)).astype(np.float16).astype(np.float32)

    table = {
        "state_mean": normal((DOF,), 0.3),
        "state_std": 0.25 + np.abs(normal((DOF,), 0.25)),
        "velocity_std": 0.5 + np.abs(normal((DOF,), 0.25)),
        "objects_mean": normal((OBJECTS,), 0.3),
        "objects_std": 0.5 + np.abs(normal((OBJECTS,), 0.25)),
        "arm": np.array([0.0 if i in (6, 13) else 1.0 for i in range(DOF)], np.float32),
        "action_scale": 0.125 + np.abs(normal((DOF,), 0.125)),
    }
    for name, out, into in (
        ("condition.0", 256, CONDITION + 16),
        ("condition.2", 256, 256),
        ("enter", WIDTH, HORIZON * (DOF + 1)),
        *((f"blocks.{i}.{part}", WIDTH, WIDTH) for i in range(BLOCKS) for part in ("up", "down")),
        *((f"blocks.{i}.inject", WIDTH, 256) for i in range(BLOCKS)),
        ("leave.1", HORIZON * DOF, WIDTH),
    ):
        table[f"head.{name}.weight"] = normal((out, into), 1.5 / math.sqrt(into))
        table[f"head.{name}.bias"] = normal((out,), 0.1)
    for name in (*(f"blocks.{i}.norm" for i in range(BLOCKS)), "leave.0"):
        table[f"head.{name}.weight"] = 1.0 + normal((WIDTH,), 0.1)
        table[f"head.{name}.bias"] = normal((WIDTH,), 0.1)
    return {name: array.astype(np.float32) for name, array in table.items()}


def request(case: Case) -> dict[str, NDArray[Any]]:
    """Return the observation, the noise and the plan (`target`) of a request, float32."""
    rng = np.random.default_rng(case.seed)
    state = 0.3 * rng.standard_normal(DOF)
    return {
        "object_state": rng.standard_normal(OBJECTS).astype(np.float32),
        "state": state.astype(np.float32),
        "velocity": (0.5 * rng.standard_normal(DOF)).astype(np.float32),
        "noise": rng.standard_normal((HORIZON, DOF)).astype(np.float32),
        "target": (state + 0.2 * rng.standard_normal((HORIZON, DOF))).astype(np.float32),
    }
