"""What is done to a run, and undone: to its processes, its devices, its link, its disk, and what the server sends."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from bench.faults import partition, relay
from bench.faults.expect import Begin, End
from bench.faults.stage import MissedError, Stage
from runtime.clock import NS_PER_MS
from runtime.drivers.bus import bus_name
from runtime.drivers.emulators.inject import inject
from runtime.inference import wire

SUCCESSOR_S: Final = 10.0


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


def kill_for_long(role: str) -> Begin:
    """Kill a role's process, and stop its successor: it would be back before the plan has run out."""

    def begin(stage: Stage) -> int:
        killed = stage.pid(role)
        t_ns = stage.send(role, signal.SIGKILL)

        def stop_successor() -> None:
            if stage.wait(lambda: stage.pid(role) != killed, SUCCESSOR_S):
                stage.send(role, signal.SIGSTOP)

        stage.aside(stop_successor)
        return t_ns

    return begin


def go_on(role: str) -> End:
    """Let a stopped process go on; one that the supervisor has replaced meanwhile needs no word."""

    def end(stage: Stage) -> None:
        with suppress(ProcessLookupError):
            stage.send(role, signal.SIGCONT)

    return end


def nothing(_stage: Stage) -> None:
    """Do nothing."""


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


def _limit_files(stage: Stage, most: int) -> None:
    resource.prlimit(stage.pid("recorder"), resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def fill_disk(stage: Stage) -> int:
    """Let the kernel refuse whatever the recorder still writes, its log too, as a full disk does (but EFBIG)."""
    t_ns = stage.now_ns()
    _limit_files(stage, 0)
    return t_ns


def free_disk(stage: Stage) -> None:
    """Make space again."""
    stage.pause(1.0)
    _limit_files(stage, resource.RLIM_INFINITY)


def cut_link(stage: Stage) -> int:
    """Cut the server's network."""
    t_ns = stage.now_ns()
    partition.cut(down=True)
    return t_ns


def join_link(_stage: Stage) -> None:
    """Join it again."""
    partition.cut(down=False)


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


def held_back(late_ms: float, answers: int) -> relay.Spoil:
    """Hold some answers back, each by as much."""
    left = [round(late_ms * NS_PER_MS)] * answers

    def change(_message: wire.Chunk, _arrays: dict[str, Any], frames: relay.Frames) -> Iterable[relay.Delayed]:
        return [(left.pop() if left else 0, frames)]

    return relay.on_chunks(change)
