"""The two training loops: the flow head on joints and objects, and the encoder from pictures to objects."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.training.closed_loop import prefix_max
from bench.training.demos import Demos
from bench.training.model import Encoder, FlowPolicy, Observed, Scales
from runtime.layout import GRIPPER_INDEX, RIG_DOF

STATE_NOISE_RAD = 0.002
VELOCITY_NOISE_RAD_S = 0.02
COLD_SHARE = 0.15
"""Share of samples without a prefix."""
START_SHARE = 0.1
"""Share of samples at an episode's first tick."""
RESUMED_SHARE = 0.25
"""Share of samples whose prefix ends as a burst does: what was committed did not know what is seen, and the expert
takes over from there. Without them a policy learns that its prefix, an expert's, is right, and follows it."""
EMA_DECAY = 0.999
REPORT_EVERY = 500
COARSE_SHARE = 0.75
"""Share of the flow head's steps whose products are in bfloat16."""


@dataclass(frozen=True)
class Budget:
    """Optimiser steps, samples per step and the peak learning rate of one stage."""

    steps: int
    batch: int
    rate: float


def scales_of(demos: Demos, rng: np.random.Generator, horizon: int) -> Scales:
    """Normalisation constants from the demonstrations, for chunks of `horizon` ticks."""
    ticks = rng.integers(0, demos.ticks, 20_000)
    chunk, first = demos.chunks(ticks, horizon)
    # Spread of the j-th action after an anchor, measured on rows that no disturbance touches.
    offset = chunk[:, 1:] - chunk[:, :1]
    clean = np.arange(1, horizon)[None] < first[:, :1]
    offset = np.where(clean[:, :, None], offset, np.nan)
    spread = np.sqrt(np.nanmean(offset**2, axis=0))
    spread = np.concatenate([spread, spread[-1:]])
    action_rad = np.sqrt((spread**2).mean(0)) + 0.02
    relative = spread / action_rad
    weight = 1.0 / (relative**2 + 0.15**2)
    weight[:, list(GRIPPER_INDEX)] = weight.mean()
    objects_std = demos.objects.std(0)
    return Scales(
        state_mean=demos.position.mean(0),
        state_std=demos.position.std(0) + 0.02,
        velocity_std=demos.velocity.std(0) + 0.05,
        objects_mean=demos.objects.mean(0),
        objects_std=np.where(objects_std < 1e-4, 1.0, objects_std).astype(np.float32),
        action_rad=action_rad.astype(np.float32),
        row_weight=(weight / weight.mean()).astype(np.float32),
    )


class Batches:
    """Random training samples: an observation tick, a prefix length and the commands from the tick on."""

    def __init__(self, demos: Demos, rng: np.random.Generator, horizon: int) -> None:
        self._demos, self.rng, self._horizon = demos, rng, horizon
        self.prefix_most = prefix_max(horizon)
        """The longest prefix that is drawn."""
        self._resumed = demos.resumed(prefix_max(horizon))
        self.objects = demos.objects
        self.objects_noise = np.zeros(demos.objects.shape[1], np.float32)
        self.noise_free = np.zeros(demos.ticks, np.bool_)
        """Ticks whose `objects` are an encoder's estimates already and get no noise on top."""

    def draw(self, count: int) -> tuple[Observed, Tensor, Tensor, Tensor]:
        """The arguments of `FlowPolicy.loss`: what is seen, chunk, prefix_len, until."""
        demos, rng = self._demos, self.rng
        ticks = rng.integers(0, demos.ticks, count)
        prefix = rng.integers(0, self.prefix_most + 1, count)
        prefix[rng.random(count) < COLD_SHARE] = 0
        resumed = rng.random(count) < (RESUMED_SHARE if len(self._resumed) else 0.0)
        if resumed.any():
            ticks[resumed] = rng.choice(self._resumed, int(resumed.sum())) - prefix[resumed]
        start = rng.random(count) < START_SHARE
        ticks[start] = rng.choice(demos.start[:-1], int(start.sum()))
        prefix[start] = 0
        chunk, first = demos.chunks(ticks, self._horizon)
        until = first[np.arange(count), prefix]
        state = demos.position[ticks] + rng.normal(0.0, STATE_NOISE_RAD, (count, RIG_DOF))
        velocity = demos.velocity[ticks] + rng.normal(0.0, VELOCITY_NOISE_RAD_S, (count, RIG_DOF))
        noise = rng.normal(0.0, 1.0, (count, self.objects.shape[1])) * self.objects_noise
        objects = self.objects[ticks] + noise * ~self.noise_free[ticks][:, None]
        return (
            Observed(*(torch.as_tensor(part.astype(np.float32)) for part in (state, velocity, objects))),
            torch.as_tensor(chunk),
            torch.as_tensor(prefix),
            torch.as_tensor(until),
        )


def fit(module: nn.Module, loss: Callable[[], Tensor], budget: Budget, name: str) -> None:
    """Minimise `loss` over the module's parameters (AdamW, cosine); leaves their moving average in place."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=budget.rate, weight_decay=1e-4, betas=(0.9, 0.99))
    warm = min(200, budget.steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + np.cos(np.pi * step / budget.steps)) + 0.002,
    )
    average = copy.deepcopy(module)
    begun, total = time.monotonic(), 0.0
    for step in range(1, budget.steps + 1):
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        decay = min(EMA_DECAY, step / (step + 10.0))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), module.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - decay)
        total += float(value.detach())
        if step % REPORT_EVERY == 0:
            print(
                f"{name} {step}/{budget.steps}: loss {total / REPORT_EVERY:.5f}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            total = 0.0
    module.load_state_dict(average.state_dict())


def fit_head(policy: FlowPolicy, batches: Batches, budget: Budget, name: str = "head") -> None:
    """Train the flow head: most of the way with products in bfloat16, three times as fast, the rest in full."""
    taken = itertools.count()

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=next(taken) < COARSE_SHARE * budget.steps):
            return policy.loss(*batches.draw(budget.batch))

    fit(policy, loss, budget, name)


def fit_encoder(
    encoder: Encoder,
    frames: NDArray[np.uint8],
    state_normal: NDArray[np.float32],
    objects_normal: NDArray[np.float32],
    *,
    kept: NDArray[np.int64],
    budget: Budget,
    rng: np.random.Generator,
) -> None:
    """Train the encoder to tell the objects from `frames` (n, 3, h, w, 3) uint8 and the joints, on rows `kept`."""

    encoder.to(memory_format=torch.channels_last)

    def loss() -> Tensor:
        rows = np.sort(rng.choice(kept, budget.batch))
        light = torch.as_tensor(rng.uniform(0.95, 1.05, (budget.batch, 1, 1, 1, 1))).to(torch.bfloat16)
        pictures = pictures_of(frames[rows], torch.bfloat16) * light
        state = torch.as_tensor(state_normal[rows])
        with torch.autocast("cpu", torch.bfloat16):
            estimate = encoder(pictures, state + 0.005 * torch.randn_like(state)).float()
        return nn.functional.smooth_l1_loss(estimate, torch.as_tensor(objects_normal[rows]), beta=0.1)

    fit(encoder, loss, budget, "encoder")


def estimate(encoder: Encoder, frames: NDArray[np.uint8], state_normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """The encoder's objects for stored frames, normalised, (n, K)."""
    out = []
    with torch.no_grad():
        for i in range(0, len(frames), 100):
            state = torch.as_tensor(state_normal[i : i + 100])
            out.append(encoder(pictures_of(frames[i : i + 100]), state).numpy())
    return np.concatenate(out)


def pictures_of(frames: NDArray[np.uint8], kind: torch.dtype = torch.float32) -> Tensor:
    """Stored frames (n, 3, h, w, 3) uint8 as the encoder's input (n, 3, 3, h, w) in 0..1."""
    return torch.as_tensor(np.array(frames)).permute(0, 1, 4, 2, 3).to(kind) / 255.0
