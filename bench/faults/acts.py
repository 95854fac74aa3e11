"""What a director does to a run, and what must come of it: one act an injection."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from bench.faults import partition, relay
from bench.faults.stage import CLEARED_S, STARTED_S, MissedError, Stage
from runtime.clock import NS_PER_MS
from runtime.drivers.emulators.base import bus_name
from runtime.drivers.emulators.inject import inject
from runtime.faults import BIT
from runtime.inference import wire
from runtime.states import LED, Guard, Mode, Trip

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


def _since_ms(stage: Stage, t_ns: int) -> float:
    return round((stage.now_ns() - t_ns) / NS_PER_MS, 1)


def goes_on(fault: str, begin: Begin, end: End, *, lasting_s: float = 1.0) -> Act:
    """Expect a fault to be told of while the policy goes on."""

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        t_ns = begin(stage)
        seen_ns = stage.seen(fault, t_ns, SEEN_S)
        found.checks["detected"] = seen_ns is not None
        if seen_ns is None:
            return
        found.detected_ms = round((seen_ns - t_ns) / NS_PER_MS, 1)
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
        seen_ns = stage.seen(fault, t_ns, SEEN_S)
        found.checks["detected"] = seen_ns is not None
        if seen_ns is None:
            return
        found.detected_ms = round((seen_ns - t_ns) / NS_PER_MS, 1)
        if early:
            found.checks["detected while the plan lasts"] = stage.mode is Mode.POLICY
        found.checks["both arms stop"] = stage.stopped()
        found.stopped_ms = _since_ms(stage, t_ns)
        end(stage)
        if clears:
            ended_ns = stage.now_ns()
            found.checks["a new start clears it"] = stage.again(epoch)
            found.cleared_s = round(_since_ms(stage, ended_ns) / 1000.0, 2)

    return act


def reconnects(fault: str, begin: Begin, end: End) -> Act:
    """Expect the connection to be made anew by itself, and the policy to be there again."""

    def act(stage: Stage, found: Finding) -> None:
        stage.moving()
        before = int(stage.latest("client")["reconnects"])
        t_ns = begin(stage)
        seen_ns = stage.seen(fault, t_ns, SEEN_S)
        found.checks["detected"] = seen_ns is not None
        if seen_ns is None:
            return
        found.detected_ms = round((seen_ns - t_ns) / NS_PER_MS, 1)
        end(stage)
        ended_ns = stage.now_ns()
        again = stage.wait(lambda: int(stage.latest("client")["reconnects"]) > before, SEEN_S)
        found.checks["the connection is made anew"] = again
        found.checks["the policy is there again"] = stage.wait(lambda: stage.mode is Mode.POLICY, SEEN_S)
        found.cleared_s = round(_since_ms(stage, ended_ns) / 1000.0, 2)

    return act


def control_dies(stage: Stage, found: Finding) -> None:
    """Expect the guardians to brake without the control process, and its successor to begin in HOLD."""
    stage.moving()
    epoch = stage.epoch
    t_ns = stage.send("control", signal.SIGKILL)
    tripped = stage.wait(lambda: all(guard is not Guard.FOLLOW for guard in stage.guards), 3.0)
    status = [stage.latest(f"guardian/{side}") for side in ("left", "right")]
    found.checks["detected"] = tripped and all(int(each["reason"]) == Trip.EXPIRED for each in status)
    if tripped:
        found.detected_ms = round((max(int(each["t_trip_ns"]) for each in status) - t_ns) / NS_PER_MS, 1)
    found.checks["both arms stop"] = stage.wait(lambda: stage.at_rest, 1.0)
    found.stopped_ms = _since_ms(stage, t_ns)
    said = stage.seen("control_restarted", t_ns, CLEARED_S)
    found.checks["its successor says so"] = said is not None
    if said is None:
        return
    found.note = f"its successor decides after {(said - t_ns) / 1e9:.1f} s"
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = round(_since_ms(stage, t_ns) / 1000.0, 2)


def pull(stage: Stage) -> int:
    """Begin what waits in a child."""
    return stage.pull()


def release(stage: Stage) -> None:
    """End it."""
    stage.release()


def give(fault: str) -> Begin:
    """Give the left arm's device, behind its emulated bus, a fault."""

    def begin(stage: Stage) -> int:
        t_ns = stage.now_ns()
        inject(bus_name(str(stage.run_dir), "left"), fault)
        return t_ns

    return begin


def take(fault: str) -> End:
    """Take the fault from it again."""
    return lambda stage: inject(bus_name(str(stage.run_dir), "left"), fault, on=False)


def kill(role: str) -> Begin:
    """Kill a role's process."""
    return lambda stage: stage.send(role, signal.SIGKILL)


def nothing(_stage: Stage) -> None:
    """Do nothing."""


def spoil(to_client: relay.Spoil) -> Begin:
    """Spoil what the server sends from now on."""

    def begin(stage: Stage) -> int:
        if stage.relay is None:
            raise MissedError("no relay")
        stage.relay.to_client = to_client
        return stage.now_ns()

    return begin


def unspoil(stage: Stage) -> None:
    """Pass everything on again."""
    if stage.relay is not None:
        stage.relay.to_client = relay.passes


def cut_link(stage: Stage) -> int:
    """Cut the server's network."""
    t_ns = stage.now_ns()
    partition.cut(down=True)
    return t_ns


def join_link(_stage: Stage) -> None:
    """Join it again."""
    partition.cut(down=False)


def stray() -> relay.Spoil:
    """Answer one request with the chunk of the one before, under the new request's number, and never truly."""
    seen: list[tuple[wire.Chunk, dict[str, Any]]] = []

    def change(message: wire.Chunk, arrays: dict[str, Any], frames: relay.Frames) -> Iterable[relay.Delayed]:
        seen.append((message, arrays))
        if len(seen) != 2:
            return [(0, frames)]
        old, old_arrays = seen[0]
        late = msgspec.structs.replace(old, session=message.session, request_seq=message.request_seq)
        return [(0, relay.packed(late, old_arrays))]

    return relay.on_chunks(change)


def unfit(message: wire.Message | None, frames: relay.Frames) -> Iterable[relay.Delayed]:
    """Agree on a schema with the joints in another order."""
    if not isinstance(message, wire.Welcome):
        return [(0, frames)]
    schema = msgspec.structs.replace(message.schema, joint_names=tuple(reversed(message.schema.joint_names)))
    return [(0, relay.packed(msgspec.structs.replace(message, schema=schema), {}))]


REFUSED: Final = "refused before anything moved"


def refused(stage: Stage, found: Finding) -> None:
    """Expect the run to end with a refusal before anything moves; the session notes the refusal itself."""
    found.checks[REFUSED] = False
    stage.wait(lambda: stage.mode is Mode.POLICY, 20.0)


def held_back(late_ms: float) -> relay.Spoil:
    """Hold one answer back."""
    done: list[bool] = []

    def change(_message: wire.Chunk, _arrays: dict[str, Any], frames: relay.Frames) -> Iterable[relay.Delayed]:
        late_ns = 0 if done else round(late_ms * NS_PER_MS)
        done.append(True)
        return [(late_ns, frames)]

    return relay.on_chunks(change)


def partly_late(stage: Stage, found: Finding) -> None:
    """Expect a late answer to begin where time is, not at its first action; the page of the run says how far."""
    stage.moving()
    t_ns = spoil(held_back(300.0))(stage)
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


def control_stops(stage: Stage, found: Finding) -> None:
    """Expect the guardians to brake without the control process, and no burst when it comes back."""
    stage.moving()
    epoch = stage.epoch
    t_ns = stage.send("control", signal.SIGSTOP)
    tripped = stage.wait(lambda: all(guard is not Guard.FOLLOW for guard in stage.guards), 3.0)
    stage.pause(0.5)
    status = [stage.latest(f"guardian/{side}") for side in ("left", "right")]
    found.checks["detected"] = tripped and all(int(each["reason"]) == Trip.EXPIRED for each in status)
    if tripped:
        found.detected_ms = round((max(int(each["t_trip_ns"]) for each in status) - t_ns) / NS_PER_MS, 1)
    found.checks["both arms stop"] = stage.wait(lambda: stage.at_rest, 1.0)
    resumed_ns = stage.send("control", signal.SIGCONT)
    found.checks["control says so"] = stage.seen("control_paused", resumed_ns, SEEN_S) is not None
    found.checks["it resumes into HOLD"] = stage.wait(lambda: stage.mode is not Mode.POLICY, 2.0)
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = round(_since_ms(stage, resumed_ns) / 1000.0, 2)


def never_arms(end: End) -> Act:
    """Expect arms whose feedback is all zero to stay disarmed, and to arm by themselves once it is true."""
    return lambda stage, found: _never_arms(end, stage, found)


def _never_arms(end: End, stage: Stage, found: Finding) -> None:
    if not stage.wait(lambda: stage.mode is Mode.DISARMED, 60.0):
        raise MissedError("no control process")
    t_ns = stage.now_ns()
    seen_ns = stage.seen("feedback_unusable", t_ns, SEEN_S)
    found.checks["detected"] = seen_ns is not None
    found.detected_ms = None if seen_ns is None else round((seen_ns - t_ns) / NS_PER_MS, 1)
    found.checks["stays disarmed"] = stage.stays(Mode.DISARMED, 2.0)
    end(stage)
    cleared_ns = stage.now_ns()
    found.checks["arms by itself once it is true"] = stage.wait(lambda: stage.mode is not Mode.DISARMED, 10.0)
    found.cleared_s = round(_since_ms(stage, cleared_ns) / 1000.0, 2)


def stutter(stop_ms: float, every_ms: float, seconds: float) -> Begin:
    """Take the processor away from the control process, again and again."""

    def begin(stage: Stage) -> int:
        t_ns = stage.now_ns()
        pid = stage.pid("control")

        def stutters() -> None:
            with suppress(ProcessLookupError):
                while not stage.over.is_set() and stage.now_ns() - t_ns < seconds * 1e9:
                    os.kill(pid, signal.SIGSTOP)
                    stage.pause(stop_ms / 1000.0)
                    os.kill(pid, signal.SIGCONT)
                    stage.pause((every_ms - stop_ms) / 1000.0)

        stage.aside(stutters)
        return t_ns

    return begin


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


def _limit_files(stage: Stage, most: int) -> None:
    resource.prlimit(stage.pid("recorder"), resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def fill_disk(stage: Stage) -> int:
    """Let the kernel refuse whatever the recorder still writes, as a full disk does (EFBIG in place of ENOSPC)."""
    t_ns = stage.now_ns()
    _limit_files(stage, 4096)
    return t_ns


def free_disk(stage: Stage) -> None:
    """Make space again."""
    stage.pause(1.0)
    _limit_files(stage, resource.RLIM_INFINITY)


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
        found.detected_ms = _since_ms(stage, t_ns)
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
        seen_ns = stage.seen("leader_lost", t_ns, SEEN_S)
        found.checks["detected"] = seen_ns is not None
        if seen_ns is None:
            return
        found.detected_ms = round((seen_ns - t_ns) / NS_PER_MS, 1)
        found.checks["both arms stop"] = stage.stopped()
        found.stopped_ms = _since_ms(stage, t_ns)
        end(stage)
        ended_ns = stage.now_ns()
        found.checks["it leads again once its clutch is pressed anew"] = stage.wait(
            lambda: stage.mode is Mode.TELEOP, CLEARED_S
        )
        found.cleared_s = round(_since_ms(stage, ended_ns) / 1000.0, 2)

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
    found.cleared_s = round(_since_ms(stage, ended_ns) / 1000.0, 2)


def foresees(*, wrong: bool) -> relay.Spoil:
    """Predict pictures: the scene as it is, or another one."""

    def change(message: wire.Chunk, arrays: dict[str, Any], _frames: relay.Frames) -> Iterable[relay.Delayed]:
        arrays |= {name: (255 - picture if wrong else picture) for name, picture in _FORESEEN.items()}
        return [(0, relay.packed(message, arrays))]

    return relay.on_chunks(change)


FORESEEN: Final = 10
"""Pictures a chunk, five ticks apart: the next chunk comes before half of them are due."""
_FORESEEN: Final[dict[str, Any]] = {}


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
    seen_ns = stage.seen("foresight_parts", t_ns, SEEN_S)
    found.checks["trusted while it foresees what comes"] = trusted
    found.checks["detected"] = seen_ns is not None
    found.detected_ms = None if seen_ns is None else round((seen_ns - t_ns) / NS_PER_MS, 1)
    epoch = stage.epoch
    found.checks["handed to the operator after three"] = stage.seen("distrusted", t_ns, SEEN_S) is not None
    found.checks["both arms stop"] = stage.stopped()
    found.stopped_ms = _since_ms(stage, t_ns)
    unspoil(stage)
    ended_ns = stage.now_ns()
    found.checks["a new start clears it"] = stage.again(epoch)
    found.cleared_s = round(_since_ms(stage, ended_ns) / 1000.0, 2)
