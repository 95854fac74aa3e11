"""What must come of an injection, wherever it was made: the act of most rows, and the nouns of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.faults.stage import MissedError, Stage
from runtime.clock import NS_PER_MS
from runtime.states import Mode

SEEN_S: Final = 8.0
Begin = Callable[[Stage], int]
"""Injects and returns when (ns)."""
End = Callable[[Stage], object]


@dataclass
class Finding:
    """What came of an injection: the times to its detection, the standstill and the policy's return; the checks."""

    detected_ms: float | None = None
    stopped_ms: float | None = None
    cleared_s: float | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    note: str = ""


Act = Callable[[Stage, Finding], None]


def since_ms(stage: Stage, t_ns: int) -> float:
    """Return how long ago a moment is."""
    return round((stage.now_ns() - t_ns) / NS_PER_MS, 1)


def since_s(stage: Stage, t_ns: int) -> float:
    """Return the same in seconds."""
    return round(since_ms(stage, t_ns) / 1000.0, 2)


def detected(stage: Stage, found: Finding, fault: str, t_ns: int) -> bool:
    """Wait for a fault to be told of, and note how long after it began that was; False where it never is."""
    seen_ns = stage.seen(fault, t_ns, SEEN_S)
    found.checks["detected"] = seen_ns is not None
    found.detected_ms = None if seen_ns is None else round((seen_ns - t_ns) / NS_PER_MS, 1)
    return seen_ns is not None


def goes_on(fault: str, begin: Begin, end: End, *, lasting_s: float = 1.0) -> Act:
    """Expect a fault to be told of while the policy goes on."""

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        t_ns = begin(stage)
        if not detected(stage, found, fault, t_ns):
            return
        end(stage)
        found.checks["the policy goes on"] = stage.stays(Mode.POLICY, lasting_s)

    return act


def stops(fault: str, begin: Begin, end: End, *, clears: bool = True, early: bool = False) -> Act:
    """Expect a fault to be seen, both arms to brake and hold, and the policy to come back once it is cleared.

    `early`: seen while the plan still moves the arms.
    """

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        epoch = stage.epoch
        t_ns = begin(stage)
        if not detected(stage, found, fault, t_ns):
            return
        if early:
            found.checks["detected while the plan lasts"] = stage.mode is Mode.POLICY
        found.checks["both arms stop"] = stage.stopped()
        found.stopped_ms = since_ms(stage, t_ns)
        end(stage)
        if clears:
            ended_ns = stage.now_ns()
            found.checks["a new start clears it"] = stage.again(epoch)
            found.cleared_s = since_s(stage, ended_ns)

    return act


def reconnects(fault: str, begin: Begin, end: End) -> Act:
    """Expect the connection to be made anew by itself, and the policy to be there again."""

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        before = int(stage.latest("client")["reconnects"])
        t_ns = begin(stage)
        if not detected(stage, found, fault, t_ns):
            return
        end(stage)
        ended_ns = stage.now_ns()
        again = stage.wait(lambda: int(stage.latest("client")["reconnects"]) > before, SEEN_S)
        found.checks["the connection is made anew"] = again
        found.checks["the policy is there again"] = stage.wait(lambda: stage.mode is Mode.POLICY, SEEN_S)
        found.cleared_s = since_s(stage, ended_ns)

    return act


REFUSED: Final = "refused before anything moved"


def refused(stage: Stage, found: Finding) -> None:
    """Expect the run to end with a refusal before anything moves; the session notes the refusal itself."""
    found.checks[REFUSED] = False
    stage.wait(lambda: stage.mode is Mode.POLICY, 20.0)


def never_arms(end: End) -> Act:
    """Expect arms whose feedback is all zero to stay disarmed, and to arm by themselves once it is true."""
    return lambda stage, found: _never_arms(end, stage, found)


def _never_arms(end: End, stage: Stage, found: Finding) -> None:
    if not stage.wait(lambda: stage.mode is Mode.DISARMED, 60.0):
        raise MissedError("no control process")
    detected(stage, found, "feedback_unusable", stage.now_ns())
    found.checks["stays disarmed"] = stage.stays(Mode.DISARMED, 2.0)
    end(stage)
    cleared_ns = stage.now_ns()
    found.checks["arms by itself once it is true"] = stage.wait(lambda: stage.mode is not Mode.DISARMED, 10.0)
    found.cleared_s = since_s(stage, cleared_ns)
