"""How chunks are executed while the next one is computed: without a break, slower, with several requests, in halts.

In ticks: chunk length H, delay d (from an observation to the first tick at which its answer can act), execution
horizon s (from one request to the next), c requests under way at once. An answer acts before the plan ends where
s <= H - d, and requests that often can be answered where s >= d / c; for c = 1 that is the condition of real-time
chunking, d <= s <= H - d (arXiv 2506.07339).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from typing import Final

from runtime.records import CHUNK_STEPS_MAX

MARGIN_TICKS: Final = 3
"""Plan left beyond the forecast when a request is made early: the observation's age and one tick of doubt."""
FULL_SPEED: Final = Fraction(1)
STRETCH_MAX: Final = 2
STRETCH_PARTS: Final = 8
"""Largest denominator of a stretch: with few fractions, steps and ticks meet often."""
STRETCHES: Final = tuple(
    sorted({Fraction(p, q) for q in range(1, STRETCH_PARTS + 1) for p in range(q + 1, STRETCH_MAX * q + 1)})
)


class Strategy(IntEnum):
    """A way to execute chunks that take a while."""

    CONTINUOUS = 0
    """One request under way; each answer continues what is executed until it acts."""
    OVERLAPPED = 1
    """Several requests under way; an answer does not know those that are still to come before it."""
    SLOW = 2
    """As CONTINUOUS, with each step of the policy lasting more than a tick."""
    PAUSE = 3
    """A chunk is executed, then the arms brake and hold until the next one is there."""


@dataclass(frozen=True)
class Execution:
    """How chunks are executed, all in ticks.

    `horizon_ticks` is the chunk's length at the pace of execution. Execution horizons from `s_min_ticks` to
    `s_max_ticks` work (none where the first is larger); `s_ticks` is the one in force, in PAUSE what is executed of a
    chunk. `commit_ticks` are the ticks of the plan that a request tells the policy. A step of the policy lasts
    `stretch` ticks, 1 at full speed. `text` says what is done, why, and what would help.
    """

    strategy: Strategy
    horizon_ticks: int
    delay_ticks: int
    s_min_ticks: int
    s_max_ticks: int
    s_ticks: int
    commit_ticks: int
    stretch: Fraction
    requests_in_flight: int
    text: str

    @property
    def feasible(self) -> bool:
        """Whether the arms need not stop between chunks."""
        return self.strategy is not Strategy.PAUSE


def plan_execution(
    horizon: int,
    delay_ticks: int,
    policy_hz: int,
    execute_steps: int = 1,
    *,
    prefix_max: int = 0,
    concurrency: int = 1,
    allow_slow: bool = False,
) -> Execution:
    """Choose how chunks of `horizon` steps are executed under a delay.

    `execute_steps` is the execution horizon that the policy prefers and `prefix_max` the longest prefix it takes
    (0: it is told of no plan), both in steps; `concurrency` is how many requests its server works on at once.

    The first of these that is possible: CONTINUOUS; SLOW where `allow_slow` says that the task can wait, as each
    answer still continues what is executed; OVERLAPPED, at full speed but with larger seams; PAUSE.
    """
    strategy, stretch, requests = _choose(horizon, delay_ticks, concurrency, allow_slow=allow_slow)
    length, preferred = stretched_span(horizon, stretch), stretched(execute_steps, stretch)
    if strategy is Strategy.OVERLAPPED:
        # Every switch of chunks is a seam: as few as the chunk allows.
        preferred = length
    pauses = strategy is Strategy.PAUSE
    spacing = fit_spacing(preferred, length, delay_ticks, requests)
    if pauses:
        # The far end of a chunk is its least certain part, but each stop costs a delay.
        spacing = max(min(execute_steps, length), length // 2)
    # A request can tell of the plan up to the end of the newest chunk that has been answered by then.
    known = length - spacing * -(-delay_ticks // spacing)
    accepted = stretched(prefix_max, stretch)
    made = Execution(
        strategy=strategy,
        horizon_ticks=length,
        delay_ticks=delay_ticks,
        s_min_ticks=least_spacing(delay_ticks, requests),
        s_max_ticks=length - delay_ticks,
        s_ticks=spacing,
        commit_ticks=0 if pauses else max(min(delay_ticks, known, accepted), 0),
        stretch=stretch,
        requests_in_flight=requests,
        text="",
    )
    text = _text(made, horizon, policy_hz, execute_steps)
    if strategy in (Strategy.CONTINUOUS, Strategy.SLOW) and 0 < accepted < delay_ticks:
        text += f"; its prefix ends at {accepted} ticks: expect seams"
    return replace(made, text=text)


def fit_spacing(preferred: int, horizon: int, delay_ticks: int, in_flight: int = 1) -> int:
    """Return the execution horizon nearest to a preferred one that works, less the margin where there is one."""
    least, most = least_spacing(delay_ticks, in_flight), horizon - delay_ticks
    return max(min(max(preferred, least), max(most - MARGIN_TICKS, least), most), 1)


def least_spacing(delay_ticks: int, in_flight: int = 1) -> int:
    """Return the shortest execution horizon that `in_flight` requests at once keep up with: ceil(d / c)."""
    return max(-(-delay_ticks // in_flight), 1)


def requests_needed(horizon: int, delay_ticks: int) -> int | None:
    """Return the fewest requests at once for which ceil(d / c) <= H - d; None where no number is enough."""
    spare = horizon - delay_ticks
    return max(-(-delay_ticks // spare), 1) if spare > 0 else None


def stretch_needed(horizon: int, delay_ticks: int) -> Fraction | None:
    """Return the least stretch at which a chunk lasts two delays and the margin; None where none is enough."""
    needed = 2 * delay_ticks + MARGIN_TICKS
    return next((stretch for stretch in STRETCHES if stretched_span(horizon, stretch) >= needed), None)


def stretched(steps: int, stretch: Fraction) -> int:
    """Return how many ticks begin while so many steps last: ceil(steps * stretch)."""
    return -(-steps * stretch.numerator // stretch.denominator)


def stretched_span(steps: int, stretch: Fraction) -> int:
    """Return for how many ticks a chunk has actions, first to last step, cut at the longest chunk of a run."""
    return min((steps - 1) * stretch.numerator // stretch.denominator + 1, CHUNK_STEPS_MAX)


def _choose(horizon: int, delay_ticks: int, concurrency: int, *, allow_slow: bool) -> tuple[Strategy, Fraction, int]:
    """Return the strategy, the stretch and the number of requests at once."""
    if 2 * delay_ticks <= horizon:
        return Strategy.CONTINUOUS, FULL_SPEED, 1
    stretch, requests = stretch_needed(horizon, delay_ticks), requests_needed(horizon, delay_ticks)
    if allow_slow and stretch is not None:
        return Strategy.SLOW, stretch, 1
    if requests is not None and requests <= concurrency:
        return Strategy.OVERLAPPED, FULL_SPEED, requests
    return Strategy.PAUSE, FULL_SPEED, 1


def _text(made: Execution, horizon: int, policy_hz: int, execute_steps: int) -> str:
    """Return what is done, why, and what would help; with all that is added it fits the client's status text."""
    delay, tick_ms = made.delay_ticks, 1000.0 / policy_hz
    what = f"chunk of {horizon} at {policy_hz} Hz, delay {delay} ticks ({delay * tick_ms:.0f} ms)"
    every = f"a new chunk every {made.s_ticks} ticks ({made.s_min_ticks} to {made.s_max_ticks} work)"
    remedies = [f"a delay of at most {horizon // 2} ticks ({horizon // 2 * tick_ms:.0f} ms)"]
    if 2 * delay <= CHUNK_STEPS_MAX:
        remedies.insert(0, f"a chunk of {2 * delay}")
    if made.strategy is Strategy.CONTINUOUS:
        return f"{what}: feasible, {every}" + (
            f", the policy prefers {execute_steps}" if execute_steps > made.s_ticks else ""
        )
    if made.strategy is Strategy.SLOW:
        return f"{what}: moving at {_percent(made.stretch)} speed, {every}; full speed takes {' or '.join(remedies)}"
    if made.strategy is Strategy.OVERLAPPED:
        many = made.requests_in_flight
        return f"{what}: {many} requests at once, with larger seams, {every}; one takes {' or '.join(remedies)}"
    stretch, requests = stretch_needed(horizon, delay), requests_needed(horizon, delay)
    if requests is not None:
        remedies.append(f"{requests} requests at once")
    if stretch is not None:
        remedies.append(f"leave to move at {_percent(stretch)} speed")
    return f"{what}: infeasible, the arms will brake and hold between chunks; it takes {', or '.join(remedies)}"


def _percent(stretch: Fraction) -> str:
    return f"{round(100 / stretch)} %"
