"""Make the demo policy from nothing: demonstrations, training, ONNX, success rate.

`python -m bench.training.train --task transfer --out runtime/policies/demo` (extras: `torch`, which
needs `onnxscript` too to export): about 40 minutes and 4 GB of cache a task on two cores without a GPU.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import nn

from bench.training import demos as demonstrations
from bench.training.closed_loop import HORIZON, Pace
from bench.training.demos import Demos
from bench.training.evaluate import EVALUATION_SEED, evaluate
from bench.training.export import export
from bench.training.learn import Batches, Budget, estimate, fit_encoder, fit_head, scales_of
from bench.training.model import Encoder, FlowPolicy

DENOISE_STEPS = 5
PACES = ((3, 10), (20, 28))
"""Delay and execution horizon, in ticks, of the evaluation."""
HELD_OUT_FRAMES = 500


@dataclass(frozen=True)
class Recipe:
    """What is spent on a policy.

    Args:
        task: name of a simulated task.
        out: directory that gets TASK.onnx and an entry in card.json.
        reads: what the policy sees beside the joints: images, or objects (the simulator's truth).
        arm: arm model of the rig.
        horizon: ticks of a chunk.
        cache: directory for demonstrations and pictures, reused when they are there.
        demos: episodes of the expert.
        frames: ticks that are rendered for the encoder.
        head_steps: optimiser steps of the flow head.
        polish_steps: further steps of it at a lower rate, with prefixes of a third of a chunk at most.
        encoder_steps: optimiser steps of the encoder.
        finetune_steps: optimiser steps of the head on the encoder's estimates.
        episodes: evaluation episodes per pace.
        workers: processes that record and render.
        threads: threads that train.
        seed: seed of the training.
    """

    task: str
    out: Path
    reads: Literal["images", "objects"] = "images"
    arm: str = "x5"
    horizon: int = HORIZON
    cache: Path = Path("/tmp/leadtime-demos")  # noqa: S108
    demos: int = 1000
    frames: int = 20_000
    head_steps: int = 6_000
    polish_steps: int = 0
    encoder_steps: int = 3_000
    finetune_steps: int = 8_000
    episodes: int = 100
    workers: int = 2
    threads: int = 2
    seed: int = 0


def train(recipe: Recipe) -> Path:
    """Run every stage that the cache does not hold yet; the path of the exported policy."""
    torch.set_num_threads(recipe.threads)
    stages = Stages(recipe)
    demos = _demos(recipe, stages)
    policy, batches = _head(recipe, demos, stages)
    encoder, rmse = None, None
    if recipe.reads == "images":
        encoder, rmse = _see(recipe, demos, policy, batches, stages)
    path = recipe.out / f"{recipe.task}.onnx"
    export(policy, encoder, path, steps=DENOISE_STEPS)
    scores = [
        evaluate(
            path,
            recipe.task,
            arm=recipe.arm,
            episodes=recipe.episodes,
            pace=Pace(*pace, recipe.horizon),
            seed=EVALUATION_SEED,
        )
        for pace in PACES
    ]
    _note(
        recipe.out / "card.json",
        recipe.task,
        {
            "command": _command(recipe),
            "demonstrations": len(demos.start) - 1,
            "demonstration_seed": demonstrations.DEMO_SEED,
            "stage_s": stages.seconds,
            "training_s": sum(stages.seconds.values()),
            "threads": recipe.threads,
            "horizon": recipe.horizon,
            "denoise_steps": DENOISE_STEPS,
            "estimate_rmse": None if rmse is None else [round(float(value), 5) for value in rmse],
            "scores": [asdict(score) for score in scores],
        },
    )
    for score in scores:
        print(
            f"{recipe.task}, delay {score.delay_ticks}: {score.successes}/{score.episodes},"
            f" 95 % interval {score.ci95[0]:.3f}..{score.ci95[1]:.3f}"
        )
    return path


class Stages:
    """The cache of a recipe's stages, and how long each took when it was made."""

    def __init__(self, recipe: Recipe) -> None:
        self.seconds: dict[str, int] = {}
        self._recipe = recipe

    def path(self, name: str) -> Path:
        """Where a stage's result is kept."""
        recipe = self._recipe
        return recipe.cache / f"{recipe.task}-{recipe.arm}-{recipe.demos}-{name}"

    def once(self, stage: str, path: Path, make: Callable[[], None]) -> None:
        """Call `make`, which writes `path`, unless the file is there from before."""
        clock = path.with_name(path.name + ".seconds")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = time.monotonic()
            make()
            clock.write_text(f"{time.monotonic() - begun:.0f}")
        if clock.exists():
            self.seconds[stage] = int(clock.read_text())

    def fit_once(self, stage: str, module: nn.Module, path: Path, fit: Callable[[], None]) -> None:
        """Train a module unless its weights are there from before; load them."""

        def make() -> None:
            fit()
            np.savez(path, **{name: value.contiguous().numpy() for name, value in module.state_dict().items()})

        self.once(stage, path, make)
        with np.load(path, allow_pickle=False) as stored:
            module.load_state_dict({name: torch.as_tensor(stored[name]) for name in stored.files})


def _command(recipe: Recipe) -> str:
    default = {field.name: field.default for field in fields(Recipe)}
    options = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(recipe).items()
        if value != default[name] and name not in {"cache", "workers", "threads"}
    ]
    return " ".join(["python -m bench.training.train", *options])


def _note(path: Path, task: str, entry: dict[str, object]) -> None:
    card = json.loads(path.read_text()) if path.exists() else {}
    card[task] = entry
    path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")


def _seeded(recipe: Recipe, stage: int) -> np.random.Generator:
    # Each stage has its own seed, so that a stage from the cache does not change the next.
    torch.manual_seed(recipe.seed * 100 + stage)
    return np.random.default_rng((recipe.seed, stage))


def _demos(recipe: Recipe, stages: Stages) -> Demos:
    path = stages.path("demos.npz")
    stages.once(
        "demonstrations",
        path,
        lambda: demonstrations.record(recipe.arm, recipe.task, recipe.demos, workers=recipe.workers).save(path),
    )
    return Demos.load(path)


def _head(recipe: Recipe, demos: Demos, stages: Stages) -> tuple[FlowPolicy, Batches]:
    rng = _seeded(recipe, 1)
    policy = FlowPolicy(scales_of(demos, rng, recipe.horizon))
    batches = Batches(demos, rng, recipe.horizon)
    batches.objects_noise = (0.02 * policy.objects_std).numpy()
    stages.fit_once(
        "head",
        policy,
        stages.path(f"head-{recipe.horizon}-{recipe.head_steps}-{recipe.seed}.npz"),
        lambda: fit_head(policy, batches, Budget(recipe.head_steps, 256, 1e-3)),
    )
    if recipe.polish_steps:
        # Most delays are far from the longest that a chunk can bear.
        batches.prefix_most = recipe.horizon // 3
        stages.fit_once(
            "polish",
            policy,
            stages.path(f"polish-{recipe.horizon}-{recipe.head_steps}-{recipe.polish_steps}-{recipe.seed}.npz"),
            lambda: fit_head(policy, batches, Budget(recipe.polish_steps, 256, 3e-4), "polish"),
        )
    return policy, batches


def _see(
    recipe: Recipe, demos: Demos, policy: FlowPolicy, batches: Batches, stages: Stages
) -> tuple[Encoder, NDArray[np.float32]]:
    """Train the encoder, then the head on its estimates; the encoder and its error on held-out pictures."""
    rng = _seeded(recipe, 2)
    ticks = np.sort(np.random.default_rng(recipe.seed).choice(demos.ticks, recipe.frames, replace=False))
    path = stages.path(f"frames-{recipe.frames}-{recipe.seed}.npy")
    stages.once(
        "frames",
        path,
        lambda: np.save(
            path, demonstrations.render(recipe.arm, recipe.task, demos.scene[ticks], workers=recipe.workers)
        ),
    )
    frames = np.load(path, mmap_mode="r")
    mean, std = policy.objects_mean.numpy(), policy.objects_std.numpy()
    state = (demos.position[ticks] - policy.state_mean.numpy()) / policy.state_std.numpy()
    target = (demos.objects[ticks] - mean) / std
    held_out = np.sort(rng.choice(recipe.frames, HELD_OUT_FRAMES, replace=False))
    kept = np.setdiff1d(np.arange(recipe.frames), held_out)
    encoder, budget = Encoder(policy.object_dim), Budget(recipe.encoder_steps, 64, 1e-3)
    stages.fit_once(
        "encoder",
        encoder,
        stages.path(f"encoder-{recipe.frames}-{recipe.encoder_steps}-{recipe.seed}.npz"),
        lambda: fit_encoder(encoder, frames, state, target, kept=kept, budget=budget, rng=rng),
    )
    seen = estimate(encoder, frames, state)
    rmse = np.sqrt(((seen - target)[held_out] ** 2).mean(0)) * std
    print("estimate error (rms, held out):", rmse.round(4).tolist(), flush=True)
    batches.objects = demos.objects.copy()
    batches.objects[ticks] = seen * std + mean
    batches.noise_free[ticks] = True
    batches.objects_noise = rmse.astype(np.float32)
    batches.rng = _seeded(recipe, 3)
    stages.fit_once(
        "finetune",
        policy,
        stages.path(
            f"finetune-{recipe.horizon}-{recipe.frames}-{recipe.encoder_steps}-{recipe.finetune_steps}-{recipe.seed}.npz"
        ),
        lambda: fit_head(policy, batches, Budget(recipe.finetune_steps, 256, 3e-4), "finetune"),
    )
    return encoder, rmse


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    train(tyro.cli(Recipe))
