"""The acts of single rows, which are told of in more than one step."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from bench.faults import relay
from bench.faults.expect import SEEN_S, Act, Begin, End, Finding, detected, since_ms, since_s
from bench.faults.harm import held_back, spoil, stutter, unspoil
from bench.faults.stage import CLEARED_S, STARTED_S, MissedError, Stage
from runtime.clock import NS_PER_MS
from runtime.faults import BIT
from runtime.inference import wire
from runtime.layout import SIDES
from runtime.states import LED, Guard, Mode, Trip


def _commands_expire(stage: Stage, found: Finding, t_ns: int, stopped_s: float = 0.0) -> None:
    """Expect both guardians to brake their arms by themselves, for want of commands; look `stopped_s` later."""
    tripped = stage.wait(lambda: all(guard is not Guard.FOLLOW for guard in stage.guards), 3.0)
    stage.pause(stopped_s)
    status = [stage.latest(f"guardian/{side}") for side in SIDES]
    found.checks["detected"] = tripped and all(int(each["reason"]) == Trip.EXPIRED for each in status)
    if tripped:
        found.detected_ms = round((max(int(each["t_trip_ns"]) for each in status) - t_ns) / NS_PER_MS, 1)
    found.checks["both arms stop"] = stage.wait(lambda: stage.at_rest, 1.0)


def control_dies(stage: Stage, found: Finding) -> None:
    """Expect the guardians to brake without the control process, and its successor to begin in HOLD."""
    stage.moving()
    epoch = stage.epoch
    t_ns = stage.send("control", signal.SIGKILL)
    _commands_expire(stage, found, t_ns)
    found.stopped_ms = since_ms(stage, t_ns)
    said = stage.seen("control_restarted", t_ns, CLEARED_S)
    found.checks["its successor says so"] = said is not None
    if said is None:
        return
    found.note = f"its successor decides after {(said - t_ns) / 1e9:.1f} s"
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = since_s(stage, t_ns)


def control_stops(stage: Stage, found: Finding) -> None:
    """Expect the guardians to brake without the control process, and no burst when it comes back."""
    stage.moving()
    epoch = stage.epoch
    t_ns = stage.send("control", signal.SIGSTOP)
    _commands_expire(stage, found, t_ns, stopped_s=0.5)
    resumed_ns = stage.send("control", signal.SIGCONT)
    found.checks["control says so"] = stage.seen("control_paused", resumed_ns, SEEN_S) is not None
    found.checks["it resumes into HOLD"] = stage.wait(lambda: stage.mode is not Mode.POLICY, 2.0)
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = since_s(stage, resumed_ns)


def partly_late(stage: Stage, found: Finding) -> None:
    """Expect a late answer to begin where time is, not at its first action; the page of the run says how far."""
    stage.moving()
    # More than one, or the answer to the next request would take the late one's place at once.
    t_ns = spoil(held_back(300.0, answers=3))(stage)
    found.checks["the policy goes on"] = stage.stays(Mode.POLICY, 2.0)
    found.note = "what was executed is compared with the late chunk's own ticks"
    found.detected_ms = None
    found.checks["held back"] = any(
        int(chunk["t_received_ns"] - chunk["t_obs_ns"]) > 250 * NS_PER_MS and int(chunk["t_received_ns"]) > t_ns
        for chunk in stage.rings["chunk"].since(max(stage.rings["chunk"].head - 30, 0))[0]
    )


def clock_jumps(stage: Stage, found: Finding) -> None:
    """Expect nothing to come of an hour on the wall clock, forth and back."""
    stage.moving()
    ending = sum(BIT[name] for name in ("starved", "control_paused", "server_lost", "arm_silent", "guardian_lost"))
    ticks = stage.rings["tick"]
    cursor = ticks.head
    stage.pull()
    forth = stage.stays(Mode.POLICY, 1.5)
    stage.release()
    back = stage.stays(Mode.POLICY, 1.5)
    faults = int(np.bitwise_or.reduce([int(tick["faults"]) for tick in ticks.since(cursor)[0]], initial=0))
    found.checks["the policy goes on"] = forth and back
    found.checks["no fault"] = not faults & ending


def pauses(stage: Stage, found: Finding) -> None:
    """Expect short pauses to cost whole ticks, counted, and no stop."""
    stage.moving()
    ticks = stage.rings["tick"]
    cursor = ticks.head
    stutter(12.0, 150.0, 2.0)(stage)
    found.checks["the policy goes on"] = stage.stays(Mode.POLICY, 2.2)
    counted = sum(int(tick["skipped"]) for tick in ticks.since(cursor)[0])
    found.checks["skipped ticks are counted"] = counted > 0
    found.note = f"{counted} ticks skipped"


_SECOND: Final = "import sys; {patch}sys.argv = ['leadtime', *sys.argv[1:]]; from runtime.cli import main; main()"
_NO_LOCK: Final = (
    "import runtime.lock as lock; lock.RigLock.__init__ = lambda self, rig: None;"
    " lock.RigLock.release = lambda self: None; "
)


def second_instance(*, lock: bool = True) -> Act:
    """Expect a second run of the same rig to be refused, and a viewer that stalls to be missed by nobody."""

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        t_ns = stage.now_ns()
        program = _SECOND.format(patch="" if lock else _NO_LOCK)
        words = ("run", "--headless", "--policy", "demo-state", "--duration-s", "5", "--out", str(stage.trigger.parent))
        second = subprocess.Popen(
            [sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, said = second.communicate(timeout=STARTED_S)
        except subprocess.TimeoutExpired:
            second.send_signal(signal.SIGINT)
            _, said = second.communicate()
        found.detected_ms = since_ms(stage, t_ns)
        refused = second.returncode == 1 and "in use" in said
        found.checks["the second is refused"] = refused
        found.note = "" if refused else f"the second ended with {second.returncode}: {said.strip()[-160:]}"
        stage.moving()
        stage.stall_view_s = 1.5
        found.checks["a stalled viewer holds nobody up"] = stage.stays(Mode.POLICY, 1.5)

    return act


def leader_lost(begin: Begin, end: End) -> Act:
    """Expect both arms to brake when their leader is lost, and to be led again only once its clutch is pressed anew."""

    def act(stage: Stage, found: Finding) -> None:
        if not stage.wait(lambda: stage.mode is Mode.TELEOP and not stage.at_rest, STARTED_S):
            raise MissedError("the leader never led the arms")
        stage.pause(0.5)
        t_ns = begin(stage)
        if not detected(stage, found, "leader_lost", t_ns):
            return
        found.checks["both arms stop"] = stage.stopped()
        found.stopped_ms = since_ms(stage, t_ns)
        end(stage)
        ended_ns = stage.now_ns()
        found.checks["it leads again once its clutch is pressed anew"] = stage.wait(
            lambda: stage.mode is Mode.TELEOP, CLEARED_S
        )
        found.cleared_s = since_s(stage, ended_ns)

    return act


def leader_apart(stage: Stage, found: Finding) -> None:
    """Expect a leader far from its arm to lead nothing, and to lead once it is near and its clutch is pressed anew."""
    seen_ns = stage.seen("leader_apart", 0, STARTED_S)
    found.checks["detected"] = seen_ns is not None
    if seen_ns is None:
        return
    leaders = stage.rings["leader"]
    pressed = [
        int(each["t_ns"]) for each in leaders.since(max(leaders.head - 60, 0))[0] if each["side"]["clutch"].any()
    ]
    found.detected_ms = round((seen_ns - min(pressed)) / NS_PER_MS, 1) if pressed else None
    ticks = stage.rings["tick"]
    cursor = ticks.head
    found.checks["both arms stop"] = stage.stopped()
    stage.pause(2.0)
    found.checks["nothing is led"] = not any(int(tick["mode"]) in LED for tick in ticks.since(cursor)[0])
    stage.release()
    ended_ns = stage.now_ns()
    found.checks["it leads once it is near"] = stage.wait(lambda: stage.mode is Mode.TELEOP, CLEARED_S)
    found.cleared_s = since_s(stage, ended_ns)


FORESEEN: Final = 10
"""Pictures a chunk, five ticks apart: the next chunk comes before half of them are due."""
_FORESEEN: Final[dict[str, Any]] = {}


def foresees(*, wrong: bool) -> relay.Spoil:
    """Predict pictures: the scene as it is, or another one."""

    def change(message: wire.Chunk, arrays: dict[str, Any], _frames: relay.Frames) -> Iterable[relay.Delayed]:
        arrays |= {name: (255 - picture if wrong else picture) for name, picture in _FORESEEN.items()}
        return [(0, relay.packed(message, arrays))]

    return relay.on_chunks(change)


def foresight(stage: Stage, found: Finding) -> None:
    """Expect predictions that part from what comes to cost horizon first, and then the policy its trust."""
    names = list(stage.rings.spec.rig.cameras)

    def look() -> bool:
        for name in names:
            image = np.array(stage.latest(f"frame/{name}")["image"])[::8, ::8]
            _FORESEEN[f"frame/{name}"] = np.stack([image] * FORESEEN)
        return True

    stage.wait(look, 20.0)
    spoil(foresees(wrong=False))(stage)
    stage.moving()
    stage.wait(look, 1.0)
    trusted = not int(stage.latest("client")["distrusted"])
    t_ns = spoil(foresees(wrong=True))(stage)
    found.checks["trusted while it foresees what comes"] = trusted
    detected(stage, found, "foresight_parts", t_ns)
    epoch = stage.epoch
    found.checks["handed to the operator after three"] = stage.seen("distrusted", t_ns, SEEN_S) is not None
    found.checks["both arms stop"] = stage.stopped()
    found.stopped_ms = since_ms(stage, t_ns)
    unspoil(stage)
    ended_ns = stage.now_ns()
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = since_s(stage, ended_ns)
