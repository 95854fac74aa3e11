"""A policy as one exported step of its network for backend torch: the denoise loop here, gradients by autograd.

The program (`.pt2`, by `python -m bench.training.guided --torch`) takes `tokens` (1, H, 14), `committed` (1, H), `tau`
(1,), `anchor`, `state`, `velocity` (1, 14) and `object_state` (1, K), float32, and returns the clean tokens. Tokens
are actions relative to the anchor, in units of the program's `policy.action_scale`, grippers about half open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.errors import UsageError
from runtime.inference.backends.base import Guidance, ModelInputs, ModelOutputs
from runtime.inference.backends.rtc import schedule
from runtime.inference.backends.shape import GraphShape
from runtime.layout import RIG_DOF

_STATE: Final = ("steps", "policy.arm", "policy.action_scale", "policy.objects_mean", "policy.row_weight")


def is_step(program: Any) -> bool:
    """Whether an exported program is one step, to be repeated, not a whole policy."""
    return "tokens" in program.graph_signature.user_inputs


class StepBackend:
    """One program on the processor.

    Raises:
        UsageError: it is not a program for `shape`.
    """

    def __init__(self, torch: Any, path: Path, program: Any, shape: GraphShape) -> None:
        self._torch = torch
        self._shape = shape
        state = program.state_dict
        absent = [name for name in _STATE if name not in state]
        if absent:
            raise UsageError(f"{path}: the program has no {absent[0]!r}; make it with bench.training.guided --torch")
        have = (*state["policy.row_weight"].shape, len(state["policy.objects_mean"]))
        if have != (shape.horizon, RIG_DOF, shape.object_state) or shape.cameras:
            raise UsageError(
                f"{path}: horizon, joints and length of the object state are {have}; "
                f"this rig and policy need {(shape.horizon, RIG_DOF, shape.object_state)}, without cameras"
            )
        if not shape.noise:
            raise UsageError(f"{path}: the program denoises; leave out 'noise: false' in its manifest")
        self._steps = int(state["steps"])
        self._arm, self._scale = state["policy.arm"], state["policy.action_scale"]
        self._clean = program.module().requires_grad_(False)

    @property
    def provider(self) -> str:
        """What runs the program."""
        return f"torch {self._torch.__version__} on cpu"

    @property
    def guided(self) -> bool:
        """It can be: gradients are computed here."""
        return True

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation."""
        torch, guidance = self._torch, inputs.guidance
        prefix_len = 0 if guidance is not None else inputs.prefix_len
        committed = torch.arange(self._shape.horizon)[None] < prefix_len
        prefix = self._row(np.where(np.arange(self._shape.horizon)[:, None] < prefix_len, inputs.prefix, 0.0))
        state = self._row(inputs.state)
        anchor = prefix[:, prefix_len - 1] if prefix_len else state
        origin = (anchor * self._arm + 0.5 * (1.0 - self._arm))[:, None]
        known = (prefix - origin) / self._scale
        seen = anchor, state, self._row(inputs.velocity), self._row(inputs.object_state)
        tokens = self._row(inputs.noise)
        weights = () if guidance is None else schedule(self._steps, guidance.beta)
        for step in range(self._steps):
            tokens = torch.where(committed[:, :, None], known, tokens).requires_grad_(guidance is not None)
            tau = torch.full((1,), step / self._steps)
            clean = self._clean(tokens, committed.float(), tau, *seen)
            moved = tokens + (clean - tokens) / (self._steps - step)
            if guidance is not None:
                moved = moved + weights[step] / self._steps * self._pull(tokens, clean, origin, guidance)
            tokens = moved.detach()
        actions = origin + tokens * self._scale
        actions = torch.where(self._arm > 0, actions, actions.clamp(0.0, 1.0))
        actions = torch.where(committed[:, :, None], prefix, actions)
        return ModelOutputs(actions[0].numpy(), inputs.object_state)

    def _pull(self, tokens: Any, clean: Any, origin: Any, guidance: Guidance) -> Any:
        """Return the error against the plan, turned by the transposed Jacobian where that is asked for."""
        target = (self._row(guidance.target) - origin) / self._scale
        error = self._row(guidance.mask)[:, :, None] * (target - clean).detach()
        return self._torch.autograd.grad(clean, tokens, error)[0] if guidance.jacobian else error

    def _row(self, array: Any) -> Any:
        return self._torch.as_tensor(np.asarray(array, dtype=np.float32))[None]
