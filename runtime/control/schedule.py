"""When to ask for a chunk, how much of the plan to commit, and whether the numbers can work at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.records import CHUNK_STEPS_MAX

MARGIN_TICKS: Final = 3
"""Plan left beyond the forecast when a request is made early: the observation's age and one tick of doubt."""


@dataclass(frozen=True)
class Feasibility:
    """Whether d <= s <= H - d has a solution; `s_min_ticks..s_max_ticks` are the execution horizons that solve it.

    `text` says it in one sentence, with what happens and what would help where it is infeasible.
    """

    feasible: bool
    s_min_ticks: int
    s_max_ticks: int
    text: str


def feasibility(horizon: int, delay_ticks: int, policy_hz: int, execute_steps: int = 1) -> Feasibility:
    """Judge a chunk of `horizon` ticks against a delay; `execute_steps` is the least horizon the policy wants."""
    tick_ms = 1000.0 / policy_hz
    s_min = max(delay_ticks, execute_steps, 1)
    s_max = horizon - delay_ticks
    what = f"chunk of {horizon} at {policy_hz} Hz, delay {delay_ticks} ticks ({delay_ticks * tick_ms:.0f} ms)"
    if s_min <= s_max:
        return Feasibility(True, s_min, s_max, f"{what}: feasible, a new chunk every {s_min}..{s_max} ticks")
    if delay_ticks <= s_max:
        text = f"{what}: feasible, but {execute_steps} steps between chunks are too many, {s_max} are used"
        return Feasibility(True, s_max, s_max, text)
    text = (
        f"{what}: infeasible, the arms will brake and hold between chunks; it takes a chunk of "
        f"{2 * delay_ticks} or a delay of at most {horizon // 2} ticks ({horizon // 2 * tick_ms:.0f} ms)"
    )
    return Feasibility(False, s_min, s_max, text)


@dataclass(frozen=True)
class RequestPlan:
    """A request to make now: for which observation, with how many committed steps, at which forecast."""

    obs_tick: int
    prefix_len: int
    forecast_ticks: int


@dataclass(frozen=True)
class RequestScheduler:
    """Decides when to ask in a running epoch, for one request in flight at a time.

    `horizon` is the chunk's length, `execute_steps` the execution horizon s that the policy prefers, both in
    ticks; `prefix_max` the longest prefix it accepts, 0 for a policy that takes none.
    """

    horizon: int
    execute_steps: int
    prefix_max: int = CHUNK_STEPS_MAX
    margin_ticks: int = MARGIN_TICKS

    def decide(
        self,
        *,
        now_tick: int,
        end_tick: int,
        obs_tick: int,
        last_obs_tick: int | None,
        forecast_ticks: int,
        in_flight: bool = False,
    ) -> RequestPlan | None:
        """Return the request to make now, or None.

        A request is due s ticks after the last one's observation, and earlier when the plan would run out
        before an answer came. `end_tick` is the first tick with no planned action, `obs_tick` the newest
        observation's tick, `last_obs_tick` that of the epoch's last request (None before it).
        """
        if in_flight or (last_obs_tick is not None and obs_tick <= last_obs_tick):
            return None
        due = last_obs_tick is None or obs_tick - last_obs_tick >= self.spacing(forecast_ticks)
        short = end_tick - now_tick <= forecast_ticks + self.margin_ticks
        if not (due or short):
            return None
        committed = min(forecast_ticks, self.prefix_max, end_tick - obs_tick)
        return RequestPlan(obs_tick, max(committed, 0), forecast_ticks)

    def spacing(self, forecast_ticks: int) -> int:
        """Return the execution horizon s in force: the preferred one, within d <= s <= H - d."""
        return max(min(max(forecast_ticks, self.execute_steps), self.horizon - forecast_ticks), 1)
