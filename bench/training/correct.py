"""Make the corrector of a policy: `python -m bench.training.correct --task balance --out runtime/policies/demo-state`.

The teacher is the task's expert, which goes on from where the committed actions lead (as in
`bench.training.foresight`); what is taught are the plans of the policy itself in the lab, under all kinds of delays,
with the corrector of the round before in part of each episode (DAgger, arXiv 1011.0686).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.decoupling.cells import lab
from bench.lab.episode import JOINT_INDEX
from bench.training.closed_loop import POLICY_HZ, hold_for_one_tick
from bench.training.export import save, traced
from bench.training.learn import Budget, fit
from runtime.control.amendment import AMEND_RAD_MAX
from runtime.drivers.sim.experts.balance import BalanceExpert
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.drivers.sim.tasks.balance import Balance
from runtime.inference.client.corrector import COMMITTED_STEPS, PAST_STEPS, OnnxCorrector
from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import AMENDMENT_STEPS_MAX

STEPS: Final = AMENDMENT_STEPS_MAX
DELAYS: Final = (
    "constant:0",
    "pi0",
    "fast-wam",
    "gigaworld",
    "lognormal:360,0.25",
    "drift:240,480,8",
    "burst:360,3,5,0.4",
)
TEACHING_SEED: Final = 3_000_000
"""Apart from the seeds of demonstrations, evaluation and comparison."""
MODE_TICKS: Final = (10, 80)
"""How long the same one decides in an episode: nobody, the teacher or the last round's corrector."""
WIDTH: Final = 256
RIDGE: Final = 1e-4
TYPICAL: Final = 0.68
EASY_RAD: Final = 0.002
"""Added to the spread of what is to be corrected: finer than this nothing need be learnt."""

JOINTS: Final = list(JOINT_INDEX)

Array = NDArray[np.float64]


@dataclass
class Lessons:
    """What was seen, (n, F): state, velocity, objects and plan in a row; and what should be done, (n, m, 14)."""

    seen: list[NDArray[np.float32]] = field(default_factory=list)
    wanted: list[NDArray[np.float32]] = field(default_factory=list)

    def extend(self, other: Self) -> None:
        """Add another's."""
        self.seen += other.seen
        self.wanted += other.wanted


class Teacher:
    """Corrects as the task's expert would, and keeps what it taught; `own` is the corrector of the round before."""

    steps = STEPS

    def __init__(self, clone: Plant, rng: np.random.Generator, own: OnnxCorrector | None) -> None:
        self._clone, self._rng, self._own = clone, rng, own
        self._left = 0
        self._mode = 0
        self.plant: Plant | None = None
        self.lessons = Lessons()

    def correct(self, state: Array, velocity: Array, object_state: NDArray[Any] | None, plan: Array) -> Array | None:
        """Return what the one whose turn it is would do in place of the plan's end."""
        wanted = self._taught(plan)
        if wanted is None or object_state is None or not np.abs(wanted - plan[COMMITTED_STEPS:]).max() < AMEND_RAD_MAX:
            # Lost, or too far for an amendment to be believed.
            return None
        seen = np.concatenate((state, velocity, object_state, plan.reshape(-1)))
        self.lessons.seen.append(seen.astype(np.float32))
        self.lessons.wanted.append(wanted.astype(np.float32))
        if self._left == 0:
            self._mode = int(self._rng.integers(2 if self._own is None else 4))
            self._left = int(self._rng.integers(*MODE_TICKS))
        self._left -= 1
        if self._mode == 0:
            return None
        if self._mode == 1 or self._own is None:
            return wanted
        return self._own.correct(state, velocity, object_state, plan)

    def _taught(self, plan: Array) -> Array | None:
        """Return the expert's actions (m, 14) from the end of the committed rows on; None where all is lost."""
        clone, expert = self._clone, BalanceExpert()
        if self.plant is None:
            return None
        clone.restore(self.plant.snapshot())
        clone.data.xfrc_applied[:] = 0.0
        if isinstance(clone.task, Balance):
            clone.task.calm()
        expert.reset(clone)
        for row in plan[PAST_STEPS - 1 : COMMITTED_STEPS]:
            hold_for_one_tick(clone, row)
        earlier, before, last = plan[:COMMITTED_STEPS]
        expert.adopt(last.copy(), (last - before) * POLICY_HZ, earlier)
        rows = []
        for _ in range(STEPS):
            if clone.task.outcome(clone.model, clone.data) is False:
                return None
            rows.append(expert.act(clone))
            hold_for_one_tick(clone, rows[-1])
        return np.stack(rows)


@dataclass(frozen=True)
class Round:
    """Episodes of a task to be taught from; `own` is the last round's corrector."""

    task: str
    own: Path | None
    seeds: tuple[int, ...]


@cache
def _clone(task: str) -> Plant:
    return Plant("x5", TASKS[task]())


def teach(job: Round) -> Lessons:
    """Play the episodes of a round and return what was taught."""
    clone, lessons = _clone(job.task), Lessons()
    own = None if job.own is None else OnnxCorrector(job.own, _object_state(job.task))
    for seed in job.seeds:
        rng = np.random.default_rng(seed)
        teacher = Teacher(clone, rng, own)
        episode = lab(job.task, str(rng.choice(DELAYS)), "leadtime", seed, corrector=teacher)
        teacher.plant = episode.plant
        episode.run()
        lessons.extend(teacher.lessons)
    return lessons


def _object_state(task: str) -> int:
    plant = _clone(task)
    return len(plant.task.object_state(plant.model, plant.data))


class Correction(nn.Module):  # type: ignore[misc]
    """From what is seen and the actions that stay to the next ones, as differences from going straight on.

    What was planned for them does not matter to the expert, and would only be a distraction. The ridge regression, near
    its goal the expert is linear in what it sees, and three layers for the rest.
    """

    def __init__(self, lessons: Lessons) -> None:
        super().__init__()
        seen, wanted = torch.as_tensor(np.stack(lessons.seen)), torch.as_tensor(np.stack(lessons.wanted))
        self.objects = seen.shape[1] - 2 * RIG_DOF - (COMMITTED_STEPS + STEPS) * RIG_DOF
        self.register_buffer("gripper", torch.tensor([i in GRIPPER_INDEX for i in range(RIG_DOF)]))
        self.register_buffer("steps", torch.arange(1.0, STEPS + 1.0)[:, None])
        inside, straight_on = self._split(seen)
        offset = wanted - straight_on
        self.register_buffer("mean", inside.mean(0))
        self.register_buffer("std", inside.std(0) + 1e-3)
        self.register_buffer("spread", offset.abs().quantile(TYPICAL, dim=0) + EASY_RAD)
        width, out = inside.shape[1], STEPS * RIG_DOF
        self.straight = nn.Linear(width, out)
        self.layers = nn.Sequential(
            nn.Linear(width, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, out),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self._begin_straight((inside - self.mean) / self.std, offset / self.spread)

    def _begin_straight(self, inside: Tensor, offset: Tensor) -> None:
        given = torch.cat((inside, torch.ones(len(inside), 1)), dim=1).double()
        ridge = RIDGE * len(given) * torch.eye(given.shape[1], dtype=torch.float64)
        fitted = torch.linalg.solve(given.T @ given + ridge, given.T @ offset.flatten(1).double())
        with torch.no_grad():
            self.straight.weight.copy_(fitted[:-1].T)
            self.straight.bias.copy_(fitted[-1])

    def _split(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is read, (B, F), and the actions (B, m, 14) that go straight on from those that stay."""
        sizes = (RIG_DOF, RIG_DOF, self.objects, (COMMITTED_STEPS + STEPS) * RIG_DOF)
        state, velocity, objects, plan = seen.split(sizes, dim=1)
        rows = plan.reshape(-1, COMMITTED_STEPS + STEPS, RIG_DOF)[:, :COMMITTED_STEPS]
        last = rows[:, -1]
        inside = torch.cat((state - last, velocity, objects, last, (rows[:, :-1] - last[:, None]).flatten(1)), dim=1)
        return inside, last[:, None] + self.steps * (last - rows[:, -2])[:, None]

    def actions(self, seen: Tensor) -> Tensor:
        """Return the actions (B, m, 14)."""
        inside, straight_on = self._split(seen)
        normal = (inside - self.mean) / self.std
        return straight_on + (self.straight(normal) + self.layers(normal)).reshape(-1, STEPS, RIG_DOF) * self.spread

    def loss(self, seen: Tensor, wanted: Tensor) -> Tensor:
        """Return the smooth error of the joints, in their spread."""
        error = ((self.actions(seen) - wanted) / self.spread)[..., JOINTS]
        return nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=1.0)

    def forward(self, state: Tensor, velocity: Tensor, object_state: Tensor, plan: Tensor) -> Tensor:
        """Return the actions (m, 14) for the end of the plan, grippers as they are planned."""
        seen = torch.cat((state, velocity, object_state, plan.flatten()))[None]
        return torch.where(self.gripper, plan[COMMITTED_STEPS:], self.actions(seen)[0])


def export(model: Correction, path: Path) -> None:
    """Write the graph that `runtime.inference.client.corrector` runs."""
    given = {
        "state": torch.zeros(RIG_DOF),
        "velocity": torch.zeros(RIG_DOF),
        "object_state": torch.zeros(model.objects),
        "plan": torch.zeros(COMMITTED_STEPS + STEPS, RIG_DOF),
    }
    save(traced(model, given, ["actions"]), path)


def learn(lessons: Lessons, steps: int, seed: int) -> Correction:
    """Train a corrector on all that was taught so far."""
    # Matrices this small are slower on several threads.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Correction(lessons)
    seen, wanted = torch.as_tensor(np.stack(lessons.seen)), torch.as_tensor(np.stack(lessons.wanted))

    def loss() -> Tensor:
        rows = torch.as_tensor(rng.integers(0, len(seen), 512))
        return model.loss(seen[rows], wanted[rows])

    fit(model, loss, Budget(steps, 512, 1e-3), "corrector")
    return model


def main(
    *,
    out: Path,
    task: Literal["balance"] = "balance",
    rounds: int = 6,
    episodes: int = 120,
    steps: int = 8000,
    workers: int = 2,
    seed: int = 0,
) -> None:
    """Teach a corrector in rounds and write TASK-corrector.onnx.

    Args:
        out: the policy's folder.
        task: a simulated task whose expert remembers nothing but its last command.
        rounds: how often is taught and learnt.
        episodes: of each round.
        steps: of the optimiser in each round.
        workers: processes that play.
        seed: of the training.
    """
    path, lessons, begun = out / f"{task}-corrector.onnx", Lessons(), time.monotonic()
    for number in range(rounds):
        first = TEACHING_SEED + number * episodes
        seeds = np.array_split(np.arange(first, first + episodes), workers * 8)
        jobs = [Round(task, path if number else None, tuple(map(int, part))) for part in seeds]
        for part in _taught(jobs, workers):
            lessons.extend(part)
        print(f"round {number}: {len(lessons.seen)} lessons, {time.monotonic() - begun:.0f} s", flush=True)
        export(learn(lessons, steps, seed), path)


def _taught(jobs: Sequence[Round], workers: int) -> list[Lessons]:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.map(teach, jobs, chunksize=1)


if __name__ == "__main__":
    tyro.cli(main)
