"""Correctors: a small model beside the policy that puts the next actions right each tick, from what is seen just now.

A policy's answer is about what was seen a delay ago. A corrector (A2C2, arXiv 2509.23224) sees the present and the
plan, takes well under a millisecond, and runs on the robot's host. Graph inputs, no batch axis: `state` and optionally
`velocity` float32 (14,), `object_state` float32 (K,) where it reads it, `plan` float32 (PAST_STEPS + LEAD_TICKS + m,
14): what is planned from `PAST_STEPS` ticks before the observation's on. Output: `actions` float32 (m, 14), what should
be in the place of the last m of them, m at most `AMENDMENT_STEPS_MAX`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.clock import TickBase
from runtime.control.strategy import FULL_SPEED
from runtime.errors import UsageError
from runtime.inference.backends.onnx import open_graph
from runtime.inference.client.observation import Observation
from runtime.inference.policy import Policy
from runtime.inference.wire import Schema
from runtime.layout import RIG_DOF
from runtime.records import AMENDMENT, AMENDMENT_STEPS_MAX, VIEW_PAST_TICKS, VIEW_TICKS
from runtime.shm import blank

Array = NDArray[np.float64]

PAST_STEPS: Final = 2
LEAD_TICKS: Final = 1
"""The observation's own tick is under way before what is made of it can act."""
COMMITTED_STEPS: Final = PAST_STEPS + LEAD_TICKS
"""Rows at the beginning of `plan` that stay as they are."""
LEAST_LATENCY_MS: Final = 250.0
"""A policy that answers sooner does as well by itself (docs/measured.md)."""
_INPUTS: Final = frozenset({"state", "velocity", "object_state", "plan"})


class Corrector(Protocol):
    """What makes better actions of planned ones."""

    steps: int
    """How many actions it gives."""

    def correct(self, state: Array, velocity: Array, object_state: NDArray[Any] | None, plan: Array) -> Array | None:
        """Return actions (steps, 14) for the end of the plan (n, 14), or None to leave it as it is.

        `state` and `velocity` (14,) are rad and rad/s, grippers fractions.
        """


class OnnxCorrector:
    """A corrector's graph on one thread.

    Raises:
        UsageError: the file is no graph, or has other inputs and outputs than a corrector.
    """

    def __init__(self, path: Path, object_state: int) -> None:
        self._session, signature = open_graph(path)
        plan, actions = signature.inputs.get("plan"), signature.outputs.get("actions")
        self.steps = actions.shape[0] if actions is not None and len(actions.shape) == 2 else 0
        wanted = {
            "state": (RIG_DOF,),
            "velocity": (RIG_DOF,),
            "object_state": (object_state,),
            "plan": (COMMITTED_STEPS + self.steps, RIG_DOF),
        }
        if plan is None or not 1 <= self.steps <= AMENDMENT_STEPS_MAX:
            raise UsageError(
                f"{path}: no corrector; it needs an input 'plan' and an output 'actions' (1 to {AMENDMENT_STEPS_MAX}, "
                f"{RIG_DOF})"
            )
        for name, tensor in signature.inputs.items():
            if name not in _INPUTS or tensor.shape != wanted[name]:
                listed = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
                raise UsageError(f"{path}: input {name!r} {tensor.shape}; a corrector here may read {listed}")
        self._read = tuple(signature.inputs)

    def correct(self, state: Array, velocity: Array, object_state: NDArray[Any] | None, plan: Array) -> Array | None:
        """Return actions (steps, 14) for the end of the plan (n, 14); None where it reads objects and none are seen."""
        given = {"state": state, "velocity": velocity, "object_state": object_state, "plan": plan}
        if object_state is None and "object_state" in self._read:
            return None
        feed = {name: np.asarray(given[name], dtype=np.float32) for name in self._read}
        return np.asarray(self._session.run(["actions"], feed)[0], dtype=np.float64)


def load_corrector(policy: Policy, task: str) -> OnnxCorrector | None:
    """Return a policy's corrector for a task, None where it has none.

    Raises:
        UsageError: its file is no graph, or no corrector.
    """
    path = policy.corrector(task)
    return None if path is None else OnnxCorrector(path, policy.shape(task).object_state)


def is_worth_it(schema: Schema, stretch: Fraction = FULL_SPEED) -> bool:
    """Whether a corrector is used beside a policy: a slow one, at the pace that the corrector was trained at."""
    return schema.latency_ms >= LEAST_LATENCY_MS and stretch == FULL_SPEED


class Amender:
    """Decides when the plan is looked at again, once a policy tick, and writes down what comes of it."""

    def __init__(self, base: TickBase, corrector: Corrector) -> None:
        self._base = base
        self._corrector = corrector
        self._tick = -1

    def moment_ns(self, view: NDArray[Any], now_ns: int) -> int | None:
        """Return the moment to look at, the beginning of the tick under way; None where that was looked at already.

        Always the same phase of a tick: what is seen and what is planned are as far apart as in training.
        """
        tick = self._base.tick(now_ns)
        return self._base.time_ns(tick) if view["started"] and tick > self._tick else None

    def amend(self, view: NDArray[Any], seen: Observation, now_ns: int) -> NDArray[Any] | None:
        """Return the AMENDMENT of a TIMELINE_VIEW's plan by what was seen, None where there is nothing to amend."""
        self._tick = self._base.tick(seen.t_obs_ns)
        # As for a request: what is seen during a tick informs the actions from the next one on.
        obs_tick = self._tick + 1
        first_tick, steps = obs_tick + LEAD_TICKS, self._corrector.steps
        row = obs_tick - PAST_STEPS - int(view["tick"]) + VIEW_PAST_TICKS
        if not 0 <= row <= VIEW_TICKS - COMMITTED_STEPS - steps or first_tick >= int(view["end_tick"]):
            return None
        plan = np.array(view["actions"][row : row + COMMITTED_STEPS + steps])
        actions = self._corrector.correct(seen.position, seen.velocity, seen.object_state, plan)
        if actions is None:
            return None
        record: Any = blank(AMENDMENT)
        record["epoch"], record["chunk_id"] = view["epoch"], view["chunk_id"]
        record["first_tick"], record["count"] = first_tick, len(actions)
        record["t_obs_ns"], record["t_made_ns"] = seen.t_obs_ns, now_ns
        record["actions"][: len(actions)] = actions
        made: NDArray[Any] = record
        return made
