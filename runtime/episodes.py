"""The operator's part in a simulated run: park, lay the task out, engage the policy, judge, repeat.

A pure state machine over what the board shows; the supervisor writes down what it asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from runtime.clock import NS_PER_S
from runtime.states import LED, Mode

SETTLE_NS: Final = NS_PER_S // 2
"""How long an outcome is shown before the arms go back: also lets a placed object come to rest."""
ENGAGE_NS: Final = 30 * NS_PER_S
"""How long the first chunk may take: the slowest published model answers in a few seconds."""
CLEAR_NS: Final = NS_PER_S // 2
"""How long the way to the rest pose may be barred before the scripted operator acknowledges the fault."""


OFFER_NS: Final = 15 * NS_PER_S
"""How long the arms of a simulated rig wait, held, for a person who could lead them or start the policy anew."""


class Phase(Enum):
    """Where an episode stands."""

    PARK = "parking"
    LAY_OUT = "laying out"
    ENGAGE = "engaging"
    RUN = "running"
    OFFER = "in a person's hands, or offered"
    SETTLE = "settling"
    OVER = "over"


@dataclass(frozen=True)
class Sight:
    """What the supervisor sees at one moment. `outcome` is None while undecided or where nothing judges."""

    now_ns: int
    mode: Mode
    at_rest: bool
    episode: int
    outcome: bool | None
    link_ready: bool


@dataclass(frozen=True)
class Episodes:
    """State of the sequence. `want` and `clear` are what the operator's record shall say; `wanted` episodes end it;
    `engaged`: the policy has moved the arms at least once. `leaders`: a person can lead the arms. `since_ns` is when
    the phase began, `began_ns` when a policy or a person first had the arms in this episode, 0 before.
    """

    end_ns: int
    limit_ns: int
    judged: bool
    wanted: int = 0
    leaders: bool = False
    phase: Phase = Phase.PARK
    want: Mode = Mode.PARK
    clear: int = 0
    episode: int = 0
    since_ns: int = 0
    began_ns: int = 0
    successes: int = 0
    failures: int = 0
    engaged: bool = False

    def step(self, sight: Sight) -> Episodes:
        """Return the next state; unchanged when there is nothing to do."""
        if self.phase is Phase.OVER:
            return self
        if sight.now_ns >= self.end_ns:
            return self._finish(sight)
        if sight.mode in LED:
            return self._offer(sight)
        if self.phase in {Phase.LAY_OUT, Phase.ENGAGE} and self._stuck(sight):
            return self._back(sight)
        match self.phase:
            case Phase.PARK:
                return self._park(sight)
            case Phase.LAY_OUT:
                laid_out = not self.judged or sight.episode == self.episode
                if laid_out and sight.link_ready:
                    return replace(self, phase=Phase.ENGAGE, want=Mode.POLICY, since_ns=sight.now_ns)
                return self
            case Phase.ENGAGE:
                if sight.mode is Mode.POLICY:
                    return replace(self, phase=Phase.RUN, since_ns=sight.now_ns, began_ns=sight.now_ns, engaged=True)
                return self
            case Phase.RUN:
                return self._run(sight)
            case Phase.OFFER:
                return self._offered(sight)
            case Phase.SETTLE:
                if self.wanted and self.successes + self.failures >= self.wanted:
                    return replace(self, phase=Phase.OVER)
                if sight.now_ns - self.since_ns >= SETTLE_NS:
                    return self._back(sight)
                return self

    def disturbed(self, sight: Sight) -> Episodes:
        """Return the state after a process that moves the arms was lost and replaced."""
        if self.phase is Phase.OVER:
            return self
        if not self.judged:
            return replace(self, phase=Phase.OVER, want=Mode.HOLD)
        lost = self.phase is Phase.RUN
        return replace(self._back(sight), want=Mode.HOLD if lost else Mode.PARK, failures=self.failures + lost)

    @property
    def over(self) -> bool:
        """Whether the sequence has ended."""
        return self.phase is Phase.OVER

    def _stuck(self, sight: Sight) -> bool:
        """Whether something ended the way into POLICY, so that a simulated rig has to begin again at its rest pose."""
        waited_ns = sight.now_ns - self.since_ns if self.phase is Phase.ENGAGE else 0
        return self.judged and (sight.mode is Mode.FAULT or waited_ns > ENGAGE_NS)

    def _park(self, sight: Sight) -> Episodes:
        if sight.mode is Mode.PARK and sight.at_rest:
            return replace(self, phase=Phase.LAY_OUT, episode=self.episode + 1, began_ns=0)
        # What ended the last episode is latched until it is acknowledged: on a simulated rig that harms nobody.
        kept_from_it = sight.mode in {Mode.FAULT, Mode.HOLD} and sight.now_ns - self.since_ns > CLEAR_NS
        if self.judged and kept_from_it:
            return replace(self, want=Mode.PARK, clear=self.clear + 1, since_ns=sight.now_ns)
        return self

    def _back(self, sight: Sight) -> Episodes:
        return replace(self, phase=Phase.PARK, want=Mode.PARK, since_ns=sight.now_ns)

    def _offer(self, sight: Sight) -> Episodes:
        """Leave the arms to a person: only a button of theirs starts the policy again."""
        began_ns = self.began_ns or sight.now_ns
        return replace(self, phase=Phase.OFFER, want=Mode.HOLD, since_ns=sight.now_ns, began_ns=began_ns)

    def _offered(self, sight: Sight) -> Episodes:
        if sight.mode is Mode.POLICY:
            return replace(self, phase=Phase.RUN, want=Mode.POLICY, since_ns=sight.now_ns, engaged=True)
        if not self.judged or sight.now_ns - self.since_ns <= OFFER_NS:
            return self
        won = bool(sight.outcome)
        done = replace(self, successes=self.successes + won, failures=self.failures + (not won))
        return replace(done, phase=Phase.SETTLE, want=Mode.HOLD, since_ns=sight.now_ns)

    def _run(self, sight: Sight) -> Episodes:
        undecided = sight.outcome is None or not self.judged
        if self.leaders and undecided and sight.mode in {Mode.HOLD, Mode.FAULT}:
            return self._offer(sight)
        if not self.judged:
            # On a real rig only a person may move the arms again after the policy was left.
            return self if sight.mode is Mode.POLICY else replace(self, phase=Phase.OVER, want=Mode.HOLD)
        timed_out = sight.now_ns - self.since_ns > self.limit_ns
        if sight.mode is not Mode.POLICY or sight.outcome is not None or timed_out:
            won = bool(sight.outcome)
            return replace(
                self,
                phase=Phase.SETTLE,
                want=Mode.HOLD,
                since_ns=sight.now_ns,
                successes=self.successes + won,
                failures=self.failures + (not won),
            )
        return self

    def _finish(self, sight: Sight) -> Episodes:
        # An episode cut short by the end of the run counts neither way, unless physics has decided it.
        decided = self.phase is Phase.RUN and sight.outcome is not None
        return replace(
            self,
            phase=Phase.OVER,
            want=Mode.HOLD,
            successes=self.successes + (decided and bool(sight.outcome)),
            failures=self.failures + (decided and not sight.outcome),
        )
