"""What a perfect policy would come to under a delay: the bound that a delay itself sets on a task.

`python -m bench.training.foresight --task balance --latency gigaworld`: the scripted expert in place of a network, with
the physics itself to foresee where the committed actions lead, and with each delay known when the request is made. What
cannot be known at the observation, a knock still to come, it does not know either. Which part of a delay's cost is the
policy's, and which the world's, is read off the difference to a policy's own figures.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from bench.lab.server import DelayProcess
from bench.training.closed_loop import HORIZON, POLICY_HZ, hold_for_one_tick
from bench.training.evaluate import EVALUATION_SEED, wilson
from runtime.clock import NS_PER_S
from runtime.drivers.sim.experts import EXPERTS
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks import TASKS
from runtime.drivers.sim.tasks.balance import Balance
from runtime.errors import UsageError
from runtime.inference.server.latency import parse_latency
from runtime.layout import RIG_DOF

ARM: Final = "x5"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """Delays as of `latency`, a profile; at least `execute_ticks` between two requests; chunks of `horizon` ticks."""

    latency: str
    execute_ticks: int
    horizon: int


@dataclass(frozen=True)
class Foreseen:
    """An episode's outcome and when it was decided, in s."""

    success: bool
    duration_s: float


class Foresight:
    """Chunks by the expert, from where the committed actions lead."""

    def __init__(self, task: str, terms: Terms) -> None:
        self._task, self._terms = task, terms
        self._plant, self._clone = (Plant(ARM, TASKS[task]()) for _ in range(2))

    def play(self, seed: int) -> Foreseen:
        """Play one episode in lock-step, from a cold start, one request at a time.

        Raises UsageError for a profile that loses answers: nobody knows beforehand when those would come.
        """
        plant, terms = self._plant, self._terms
        plant.reset(seed)
        delays = DelayProcess(parse_latency(terms.latency), seed)
        ticks = int(plant.task.time_limit_s * POLICY_HZ)
        plan = np.zeros((ticks + terms.horizon, RIG_DOF))
        due = committed = 0
        for tick in range(ticks):
            if tick == due:
                before = plan[max(tick - 2, 0) : tick]
                chunk = self._chunk(before, plan[tick : tick + committed])
                # Where an answer comes after the end of the last one, the arms stay there.
                plan[tick : tick + terms.horizon], plan[tick + terms.horizon :] = chunk, chunk[-1]
                due += max(committed, terms.execute_ticks)
                committed = self._delay_ticks(delays, due)
            hold_for_one_tick(plant, plan[tick])
            outcome = plant.task.outcome(plant.model, plant.data)
            if outcome is not None:
                return Foreseen(outcome, plant.time_s)
        return Foreseen(False, plant.time_s)

    def _delay_ticks(self, delays: DelayProcess, tick: int) -> int:
        """Return for how many ticks a request at `tick` has no answer."""
        latency_ns = delays.next(tick * NS_PER_S // POLICY_HZ)
        if latency_ns is None:
            raise UsageError(f"latency {self._terms.latency!r} loses answers; give one that does not")
        return -(-latency_ns * POLICY_HZ // NS_PER_S)

    def _chunk(self, before: Array, committed: Array) -> Array:
        """Return a chunk from the present on whose first rows are `committed` (d, 14); `before` (n, 14) was done."""
        clone, expert = self._clone, EXPERTS[self._task]()
        clone.restore(self._plant.snapshot())
        clone.data.xfrc_applied[:] = 0.0
        if isinstance(clone.task, Balance):
            clone.task.calm()
        expert.reset(clone)
        rows = list(committed)
        for row in rows:
            hold_for_one_tick(clone, row)
        done = [*before, *rows][-2:]
        if len(done) == 2:
            expert.adopt(done[1].copy(), (done[1] - done[0]) * POLICY_HZ)
        while len(rows) < self._terms.horizon:
            # Where the committed actions lose the task, the expert has nothing to say any more.
            lost = clone.task.outcome(clone.model, clone.data) is False
            rows.append(rows[-1] if lost else expert.act(clone))
            hold_for_one_tick(clone, rows[-1])
        return np.stack(rows)


def _play(job: tuple[str, Terms, int]) -> Foreseen:
    task, terms, seed = job
    return Foresight(task, terms).play(seed)


def main(
    *,
    latency: str,
    execute_ticks: int = 10,
    task: Literal["balance"] = "balance",
    horizon: int = HORIZON,
    episodes: int = 40,
    workers: int = 2,
) -> None:
    """Play episodes of a task with perfect foresight.

    Args:
        task: a simulated task whose expert remembers nothing but its last command.
        latency: delay from observation to the first action that can act, a profile as in `leadtime run --latency`.
        execute_ticks: least ticks of 20 ms between two requests; what is committed at zero delay.
        horizon: ticks of a chunk.
        episodes: how many randomised episodes.
        workers: processes that play.
    """
    jobs = [(task, Terms(latency, execute_ticks, horizon), EVALUATION_SEED + i) for i in range(episodes)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        played = pool.map(_play, jobs, chunksize=4)
    times_s = [episode.duration_s for episode in played if episode.success]
    low, high = wilson(len(times_s), episodes)
    median_s = f"{np.median(times_s):.2f} s" if times_s else "none"
    print(
        f"{task} with foresight, {latency}, execute {execute_ticks}: {len(times_s)}/{episodes}"
        f" [{low:.2f}, {high:.2f}], median {median_s}"
    )


if __name__ == "__main__":
    tyro.cli(main)
