"""A policy as one exported step of its network for backend torch: the denoise loop here, gradients by autograd.

The program (`.pt2`, by `python -m bench.training.guided --torch`) takes `tokens` (1, H, 14), `committed` (1, H), `tau`
(1,), `anchor`, `state`, `velocity` (1, 14) and `object_state` (1, K), float32, and returns the clean tokens. Tokens
are actions relative to the anchor, in units of the program's `policy.action_scale`, grippers about half open.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.errors import UsageError
from runtime.inference.backends.base import ModelInputs, ModelOutputs
from runtime.inference.backends.rtc import guidance_limit
from runtime.inference.backends.shape import GraphShape, values
from runtime.inference.backends.torch_run import StaticRun, allow_tf32, described
from runtime.layout import RIG_DOF

_STATE: Final = ("steps", "policy.arm", "policy.action_scale", "policy.objects_mean", "policy.row_weight")


def is_step(program: Any) -> bool:
    """Whether an exported program is one step, to be repeated, not a whole policy."""
    return "tokens" in program.graph_signature.user_inputs


class StepBackend:
    """One program, repeated: the whole denoise loop is one run, which on a GPU is one CUDA graph, guided or not.

    What the network multiplies is rounded with `precision` bf16; noise, steps and the pull of a guidance stay in fp32.

    Raises:
        UsageError: it is not a program for `shape`.
    """

    def __init__(
        self, torch: Any, path: Path, program: Any, shape: GraphShape, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        self._torch = torch
        self._device = device
        self._precision = precision
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
        allow_tf32(torch, device, precision)
        self._runs = {jacobian: self._run(shape, jacobian) for jacobian in (None, True, False)}

    @property
    def provider(self) -> str:
        """Version, device, and whether the loop is one CUDA graph."""
        return described(self._torch, self._device, self._precision, self._runs[None].how)

    @property
    def guided(self) -> bool:
        """It can be: gradients are computed here."""
        return True

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Return the chunk for one observation."""
        guidance = inputs.guidance
        (actions,) = self._runs[None if guidance is None else guidance.jacobian].run(values(inputs))
        return ModelOutputs(actions, inputs.object_state)

    def _run(self, shape: GraphShape, jacobian: bool | None) -> StaticRun:
        """Return the run of chunks that are not guided (None), or that are, with or without the true Jacobian."""
        reads = replace(shape, velocity=True, prefix=True, guided=jacobian is not None).inputs()
        like = {name: np.zeros(tensor.shape, tensor.dtype) for name, tensor in reads.items()}
        return StaticRun(self._torch, self._device, like, functools.partial(self._chunk, jacobian=jacobian))

    def _chunk(self, given: dict[str, Any], *, jacobian: bool | None) -> list[Any]:
        torch, guided = self._torch, jacobian is not None
        # A guided chunk takes gradients, of the tokens alone.
        with torch.inference_mode(not guided):
            rows = {name: tensor[None] for name, tensor in given.items()}
            state, tokens = rows["state"], rows["noise"]
            committed, prefix, anchor = self._begin(rows, tokens, guided)
            origin = (anchor * self._arm + 0.5 * (1.0 - self._arm))[:, None]
            known = (prefix - origin) / self._scale
            seen = anchor, state, rows["velocity"], rows["object_state"]
            for step in range(self._steps):
                tokens = torch.where(committed[:, :, None], known, tokens).requires_grad_(guided)
                tau = tokens.new_full((1,), step / self._steps)
                clean = self._network(tokens, committed.float(), tau, *seen)
                moved = tokens + (clean - tokens) / (self._steps - step)
                if jacobian is not None:
                    weight = rows["beta"].clamp(max=guidance_limit(step / self._steps)) / self._steps
                    target = (rows["target"] - origin) / self._scale
                    error = rows["mask"][:, :, None] * (target - clean).detach()
                    moved = moved + weight * (torch.autograd.grad(clean, tokens, error)[0] if jacobian else error)
                tokens = moved.detach()
            actions = origin + tokens * self._scale
            actions = torch.where(self._arm > 0, actions, actions.clamp(0.0, 1.0))
            return [torch.where(committed[:, :, None], prefix, actions)[0]]

    def _begin(self, rows: dict[str, Any], tokens: Any, guided: bool) -> tuple[Any, Any, Any]:
        """Return which rows are committed (1, H), their actions (1, H, 14), and what they are relative to (1, 14)."""
        torch = self._torch
        if guided:
            return torch.zeros_like(tokens[:, :, 0], dtype=torch.bool), torch.zeros_like(tokens), rows["state"]
        count = rows["prefix_len"]
        committed = torch.ones_like(tokens[:, :, 0]).cumsum(1) <= count
        prefix = torch.where(committed[:, :, None], rows["prefix"], torch.zeros_like(tokens))
        last = prefix.index_select(1, (count - 1).clamp(min=0))[:, 0]
        return committed, prefix, torch.where(count > 0, last, rows["state"])

    def _network(self, *given: Any) -> Any:
        torch, half = self._torch, self._precision == "bf16"
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            return self._clean(*given).to(torch.float32)
