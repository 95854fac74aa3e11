"""The demo policy's network: a flow-matching chunk head on joint state and an estimate of the objects.

The head predicts the clean chunk (x-prediction) from a noisy one whose first d rows are the actions already
committed, their flow time fixed at 1: training-time real-time chunking, arXiv 2512.05964. Actions are relative
to the last committed action (to the measured joints when there is none), grippers absolute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.training.jacobian import linearise
from runtime.inference.backends.rtc import guidance_limit
from runtime.layout import GRIPPER_INDEX, RIG_DOF

CAMERA_COUNT = 3
VIEW_STRIDES = (1, 2, 2)
"""Of each view's second convolution: an object is small in the head camera and large in the wrist cameras."""
POOL = 2
"""Images are averaged over POOL x POOL pixels before the first convolution."""


@dataclass(frozen=True)
class Scales:
    """Normalisation constants: `state`, `velocity`, `action` (14,) and `objects` (K,); `row_weight` (H, 14).

    `action_rad` is the spread of actions about their anchor; `row_weight[j]` weighs the loss of the j-th action
    after the prefix so that near rows, whose spread is small, are learnt as finely as far ones.
    """

    state_mean: NDArray[np.float32]
    state_std: NDArray[np.float32]
    velocity_std: NDArray[np.float32]
    objects_mean: NDArray[np.float32]
    objects_std: NDArray[np.float32]
    action_rad: NDArray[np.float32]
    row_weight: NDArray[np.float32]


class Observed(NamedTuple):
    """What a chunk starts from: `state`, `velocity` (B, 14), `objects` (B, K), in the units of the plant."""

    state: Tensor
    velocity: Tensor
    objects: Tensor


class Guide(NamedTuple):
    """What pulls a chunk towards a running plan: `target` (B, H, 14) its actions, `mask` (B, H) how much each counts.

    `jacobian` () is 1 for the true vector-Jacobian product and 0 for the identity in its place; `beta` () is the
    largest weight of the guidance.
    """

    target: Tensor
    mask: Tensor
    jacobian: Tensor
    beta: Tensor


class Head(nn.Module):  # type: ignore[misc]
    """Residual MLP over the flattened chunk: (B, H, 14) noisy tokens -> (B, H, 14) clean tokens."""

    def __init__(self, condition_dim: int, horizon: int, width: int = 512, blocks: int = 3) -> None:
        super().__init__()
        self.horizon = horizon
        self.register_buffer("frequency", torch.exp(torch.linspace(0.0, math.log(30.0), 8)))
        self.condition = nn.Sequential(nn.Linear(condition_dim + 16, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU())
        self.enter = nn.Linear(horizon * (RIG_DOF + 1), width)
        self.blocks = nn.ModuleList(Block(width, 256) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, horizon * RIG_DOF))

    def forward(self, tokens: Tensor, committed: Tensor, tau: Tensor, condition: Tensor) -> Tensor:
        """Clean tokens from noisy ones; `committed` (B, H) is 1 on prefix rows, `tau` (B,) the flow time."""
        phase = tau[:, None] * self.frequency[None]
        condition = self.condition(torch.cat([condition, phase.sin(), phase.cos()], dim=1))
        hidden = self.enter(torch.cat([tokens.flatten(1), committed], dim=1))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.leave(hidden).reshape(-1, self.horizon, RIG_DOF)


class Block(nn.Module):  # type: ignore[misc]
    """Pre-norm residual layer with the condition added before its nonlinearity."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.inject = nn.Linear(condition_dim, width)
        self.down = nn.Linear(width, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, width), (B, C) -> (B, width)."""
        inner = nn.functional.silu(self.up(self.norm(hidden)) + self.inject(condition))
        return hidden + self.down(inner)


class FlowPolicy(nn.Module):  # type: ignore[misc]
    """Scales, tokens and the denoise loop around a `Head`."""

    def __init__(self, scales: Scales, width: int = 512, blocks: int = 3) -> None:
        super().__init__()
        for name in ("state_mean", "state_std", "velocity_std", "objects_mean", "objects_std"):
            self.register_buffer(name, torch.as_tensor(getattr(scales, name)))
        arm = torch.ones(RIG_DOF)
        arm[list(GRIPPER_INDEX)] = 0.0
        self.register_buffer("arm", arm)
        self.register_buffer("action_scale", torch.as_tensor(scales.action_rad) * arm + 0.5 * (1.0 - arm))
        self.register_buffer("row_weight", torch.as_tensor(scales.row_weight))
        self.object_dim = len(scales.objects_mean)
        self.horizon = len(scales.row_weight)
        self.head = Head(3 * RIG_DOF + self.object_dim, self.horizon, width, blocks)

    def anchor(self, state: Tensor, prefix: Tensor, prefix_len: Tensor) -> Tensor:
        """What actions are relative to, (B, 14): the last committed action or the measured joints."""
        rows = torch.arange(self.horizon, device=prefix.device)
        last = (rows[None] == prefix_len[:, None] - 1).to(prefix.dtype)
        committed = (last[:, :, None] * prefix).sum(1)
        return torch.where((prefix_len > 0)[:, None], committed, state)

    def origin(self, anchor: Tensor) -> Tensor:
        """The zero of the tokens, (B, 1, 14): the anchor for the arms, half open for the grippers."""
        return (anchor * self.arm + 0.5 * (1.0 - self.arm))[:, None]

    def condition(self, seen: Observed, anchor: Tensor) -> Tensor:
        """The head's condition vector, (B, C)."""
        return torch.cat(
            [
                (seen.state - self.state_mean) / self.state_std,
                seen.velocity / self.velocity_std,
                (anchor - seen.state) / (0.2 * self.action_scale),
                (seen.objects - self.objects_mean) / self.objects_std,
            ],
            dim=1,
        )

    def sample(self, seen: Observed, prefix: Tensor, prefix_len: Tensor, noise: Tensor, *, steps: int) -> Tensor:
        """Denoise a chunk in `steps` Euler steps; absolute joint targets (B, H, 14)."""
        rows = torch.arange(self.horizon, device=prefix.device)
        committed = rows[None] < prefix_len[:, None]
        prefix = torch.where(committed[:, :, None], prefix, torch.zeros_like(prefix))
        anchor = self.anchor(seen.state, prefix, prefix_len)
        origin = self.origin(anchor)
        known = (prefix - origin) / self.action_scale
        condition = self.condition(seen, anchor)
        tokens = noise
        for step in range(steps):
            tau = torch.full_like(seen.state[:, 0], step / steps)
            tokens = torch.where(committed[:, :, None], known, tokens)
            clean = self.head(tokens, committed.to(tokens.dtype), tau, condition)
            # The last step's factor is 1: the result is the network's own prediction, free of noise.
            tokens = tokens + (clean - tokens) / (steps - step)
        return torch.where(committed[:, :, None], prefix, self.absolute(tokens, origin))

    def sample_guided(self, seen: Observed, guide: Guide, noise: Tensor, *, steps: int) -> Tensor:
        """Denoise a chunk that is pulled towards a running plan; absolute joint targets (B, H, 14).

        Real-time chunking, arXiv 2506.07339, algorithm 1, with the network's clean chunk for A1 and (clean - x) /
        (1 - tau) for the velocity. Grippers are guided like joints, as in the paper: a plan that opens a hand opens
        it in the next chunk too, unless the observation says otherwise strongly.
        """
        origin = self.origin(seen.state)
        target = (guide.target - origin) / self.action_scale
        condition = self.condition(seen, seen.state)
        free = torch.zeros_like(noise[:, :, 0])
        tokens = noise
        for step in range(steps):
            tau = torch.full_like(seen.state[:, 0], step / steps)
            clean, pull = linearise(self.head, tokens, free, tau, condition)
            error = guide.mask[:, :, None] * (target - clean)
            guidance = guide.jacobian * pull(error) + (1.0 - guide.jacobian) * error
            weight = guide.beta.clamp(max=guidance_limit(step / steps))
            tokens = tokens + (clean - tokens) / (steps - step) + weight * guidance / steps
        return self.absolute(tokens, origin)

    def absolute(self, tokens: Tensor, origin: Tensor) -> Tensor:
        """Joint targets (B, H, 14) from tokens; grippers stay within open and closed."""
        actions = origin + tokens * self.action_scale
        return torch.where(self.arm > 0, actions, actions.clamp(0.0, 1.0))

    def loss(self, seen: Observed, chunk: Tensor, prefix_len: Tensor, until: Tensor) -> Tensor:
        """Weighted x-prediction error over the rows from `prefix_len` to before `until`, both (B,); scalar.

        `chunk` (B, H, 14): what was commanded from the observation on.
        """
        rows = torch.arange(self.horizon)
        committed = rows[None] < prefix_len[:, None]
        anchor = self.anchor(seen.state, chunk, prefix_len)
        origin = self.origin(anchor)
        clean = (chunk - origin) / self.action_scale
        tau = torch.rand(len(chunk)).square()
        noisy = tau[:, None, None] * clean + (1.0 - tau[:, None, None]) * torch.randn_like(clean)
        tokens = torch.where(committed[:, :, None], clean, noisy)
        condition = self.condition(seen, anchor)
        predicted = self.head(tokens, committed.to(tokens.dtype), tau, condition).float()
        after = (rows[None] - prefix_len[:, None]).clamp(min=0)
        labelled = ~committed & (rows[None] < until[:, None])
        weight = self.row_weight[after] * labelled[:, :, None]
        error = nn.functional.smooth_l1_loss(predicted, clean, reduction="none", beta=0.5)
        return (weight * error).sum() / weight.sum().clamp(min=1.0)


class Encoder(nn.Module):  # type: ignore[misc]
    """Three pooled views and the joints -> the objects (K,), normalised: CNN per view with spatial softmax."""

    def __init__(self, object_dim: int, keypoints: int = 32) -> None:
        super().__init__()
        self.views = nn.ModuleList(View(keypoints, stride) for stride in VIEW_STRIDES)
        self.mix = nn.Sequential(
            nn.Linear(CAMERA_COUNT * 3 * keypoints + RIG_DOF, 256),
            nn.SiLU(),
            nn.Linear(256, 256),
            nn.SiLU(),
            nn.Linear(256, object_dim),
        )

    def forward(self, pooled: Tensor, state_normal: Tensor) -> Tensor:
        """`pooled` (B, 3 cameras, 3, h, w) in 0..1, `state_normal` (B, 14) -> (B, K)."""
        features = [view(pooled[:, i]) for i, view in enumerate(self.views)]
        return self.mix(torch.cat([*features, state_normal], dim=1))


class View(nn.Module):  # type: ignore[misc]
    """One camera's convolutions; keypoints as the mean position and the strength of each soft heat map."""

    def __init__(self, keypoints: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 24, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=stride, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, keypoints, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) in 0..1 -> (B, 3 * keypoints)."""
        maps = self.convolutions(image - 0.5).to(torch.float32)
        h, w = maps.shape[-2], maps.shape[-1]
        flat = maps.flatten(2)
        heat = torch.softmax(flat, dim=2)
        x = (heat * torch.linspace(-1.0, 1.0, w).repeat(h)).sum(2)
        y = (heat * torch.linspace(-1.0, 1.0, h).repeat_interleave(w)).sum(2)
        strength = (heat * flat).sum(2) * 0.1
        return torch.cat([x, y, strength], dim=1)


def pool(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W, 3) -> float (B, 3, 3, H / POOL, W / POOL) in 0..1 by block averages."""
    batch, cameras, height, width, _ = images.shape
    blocks = images.to(torch.float32).reshape(batch * cameras, height // POOL, POOL, width // POOL, POOL * 3)
    rows = blocks.sum(2).reshape(batch * cameras, height // POOL, width // POOL, POOL, 3).sum(3)
    mean = rows.permute(0, 3, 1, 2) / (255.0 * POOL * POOL)
    return mean.reshape(batch, cameras, 3, height // POOL, width // POOL)
