"""The first actions of a chunk before the rest of it: when they can act, and whether they are worth taking.

A part is a chunk that ends early. It is put on the timeline like any other, and so is the whole when it comes. Until
then the plan ends where the part does, so a part is taken only where it lasts until the whole is expected.
"""

from __future__ import annotations

from runtime.control.forecast import DelayForecast
from runtime.control.strategy import MARGIN_TICKS
from runtime.inference.client.ask import Ask


class Delays:
    """What is forecast of a request, in ticks from its observation.

    `first` is until the first actions that are taken can act, which is what is committed for; `whole` until the last
    part can, which requests are paced by. They are one and the same where chunks come `whole` only.
    """

    def __init__(self, initial_ticks: int = 1, *, parts: bool = False) -> None:
        self.first = DelayForecast(initial_ticks)
        self.whole = DelayForecast(initial_ticks) if parts else self.first

    def begun(self, ask: Ask, delay_ticks: int) -> None:
        """Learn from the first part of an answer that is taken."""
        self.first.observe(delay_ticks, ask.forecast_ticks, cold=ask.cold)

    def done(self, ask: Ask, delay_ticks: int) -> None:
        """Learn from a whole answer; where no part of it was taken, its first actions came with it."""
        if not ask.early:
            self.begun(ask, delay_ticks)
        if self.whole is not self.first:
            self.whole.observe(delay_ticks, ask.whole_ticks, cold=ask.cold)

    def overdue(self, ask: Ask, waited_ticks: int) -> None:
        """Learn from what has not come yet."""
        for forecast in self._awaited(ask):
            forecast.overdue(waited_ticks)

    def lost(self, ask: Ask, waited_ticks: int) -> None:
        """Learn from what is given up."""
        for forecast in self._awaited(ask):
            forecast.lost(waited_ticks)

    def _awaited(self, ask: Ask) -> tuple[DelayForecast, ...]:
        if self.whole is self.first or ask.early:
            return (self.whole,)
        return self.first, self.whole


def lasts(ask: Ask, ticks: int, now_tick: int, whole_ticks: int) -> bool:
    """Return whether a part of so many `ticks`, received in `now_tick`, gives the arms something to do until the whole.

    It must reach beyond the end of the prefix that it was conditioned on and beyond the present, and to when the whole
    is forecast, `whole_ticks` after the observation, with the margin that a plan is kept with.
    """
    end_tick = ask.obs_tick + ask.terms.lead_ticks + ticks
    acts_tick = max(now_tick + 1, ask.obs_tick + ask.terms.lead_ticks + ask.terms.committed)
    return end_tick > acts_tick and end_tick >= ask.obs_tick + whole_ticks + MARGIN_TICKS
