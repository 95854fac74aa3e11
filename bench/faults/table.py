"""The 27 rows: what is injected and how, what must come of it, and the negative control with the detector blind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.faults import acts, relay
from bench.faults.acts import Act

PICTURES: Final = "demo"
STATES: Final = "demo-state"


@dataclass(frozen=True)
class Row:
    """One injection. `number` is its row in the fault table; `fault` the entry of `runtime.faults` that tells of it.

    `bound_ms` is what the design promises of a physical rig with the default times, None where it is not a time.
    `patches` misbehave in a child, `blind` switches the detector off besides. `missing` says what an injection at the
    device still waits for.
    """

    key: str
    number: int
    fault: str
    title: str
    injection: str
    act: Act | None
    blind: tuple[str, ...] = ()
    blind_act: Act | None = None
    patches: tuple[str, ...] = ()
    bound_ms: float | None = None
    relay: bool = False
    triggered: bool = False
    network: bool = False
    wall_clock: bool = False
    policy: str = STATES
    merge: str = "leadtime"
    missing: str = ""


_WIRE: Final = "a relay between client and server, over real sockets, "
ROWS: Final = (
    Row(
        "1", 1, "server_lost", "policy server killed", "SIGKILL to the server's process",
        acts.stops("server_lost", acts.kill("server"), acts.nothing, early=True),
        blind=("blind-drop", "blind-deadline"), bound_ms=50.0,
    ),
    Row(
        "2", 2, "answer_overdue", "server accepts, never answers", _WIRE + "holds every answer back",
        acts.stops("answer_overdue", acts.spoil(relay.on_chunks(relay.nothing)), acts.unspoil),
        blind=("blind-deadline",), bound_ms=600.0, relay=True,
    ),
    Row(
        "3", 3, "server_lost", "network partition", "the link of the server's network namespace is taken down",
        acts.stops("server_lost", acts.cut_link, acts.join_link),
        blind=("blind-drop", "blind-deadline"), bound_ms=600.0, network=True,
    ),
    Row(
        "4", 4, "answer_stray", "late reply taken for the next observation's",
        _WIRE + "answers with the chunk of the request before",
        acts.goes_on("answer_stray", acts.spoil(acts.stray()), acts.unspoil), blind=("blind-obs-seq",), relay=True,
    ),
    Row(
        "5", 5, "packets_corrupt", "corrupt or truncated packets", _WIRE + "cuts the last byte off every answer",
        acts.reconnects("packets_corrupt", acts.spoil(relay.on_chunks(relay.cut)), acts.unspoil),
        blind=("blind-corrupt",), relay=True,
    ),
    Row(
        "6", 6, "answer_invalid", "NaN in a chunk", _WIRE + "puts a NaN into every answer",
        acts.goes_on("answer_invalid", acts.spoil(relay.on_chunks(relay.nan)), acts.unspoil),
        blind=("blind-finite",), relay=True,
    ),
    Row(
        "7", 7, "policy_unfit", "wrong joint order", _WIRE + "agrees on a schema with the joints reversed",
        acts.refused, blind=("blind-fit",), relay=True,
    ),
    Row(
        "7b", 7, "answer_invalid", "wrong shape", _WIRE + "leaves out each answer's last step",
        acts.goes_on("answer_invalid", acts.spoil(relay.on_chunks(relay.short)), acts.unspoil),
        blind=("blind-shape",), relay=True,
    ),
    Row(
        "8", 8, "chunks_jump", "chunks start far from the target", _WIRE + "moves every answer 2 rad away",
        acts.stops("chunks_jump", acts.spoil(relay.on_chunks(relay.far)), acts.unspoil),
        blind=("blind-jump",), relay=True,
    ),
    Row(
        "9", 9, "answer_stray", "duplicate chunks", _WIRE + "sends every answer again 30 ms later",
        acts.goes_on("answer_stray", acts.spoil(relay.on_chunks(relay.twice)), acts.unspoil),
        blind=("blind-twice",), relay=True,
    ),
    Row(
        "10", 10, "chunk_late", "partly late chunk", _WIRE + "holds one answer back for 300 ms",
        acts.partly_late, blind=("blind-elapsed",), relay=True, merge="aligned",
    ),
    Row(
        "11", 11, "clock_jump", "wall clock jumps",
        "a preloaded shim sets the wall clock of every process an hour ahead and back; the host's own is not touched",
        acts.clock_jumps, blind=("wall-clock",), wall_clock=True,
    ),
    Row(
        "12", 12, "control_paused", "control process stopped for 500 ms", "SIGSTOP, SIGCONT",
        acts.control_stops, blind=("blind-expiry",), bound_ms=20.0,
    ),
    Row(
        "13", 13, "control_restarted", "control process killed", "SIGKILL",
        acts.control_dies, blind=("blind-restart", "blind-expiry"), bound_ms=20.0,
    ),
    Row(
        "14", 14, "guardian_lost", "a guardian killed", "SIGKILL to the left guardian",
        acts.stops("guardian_lost", acts.kill("guardian-left"), acts.nothing),
        blind=("mask:guardian_lost",), bound_ms=25.0,
    ),
    Row(
        "15", 15, "camera_frozen", "camera frozen", "one camera repeats its picture with advancing stamps",
        acts.stops("camera_frozen", acts.pull, acts.release),
        blind=("mute:camera_frozen", "blind-cameras"), patches=("camera-frozen",), bound_ms=100.0, triggered=True,
        policy=PICTURES,
    ),
    Row(
        "16", 16, "camera_lost", "camera unplugged", "one camera sends nothing",
        acts.stops("camera_lost", acts.pull, acts.release),
        blind=("mute:camera_lost", "blind-cameras"), patches=("camera-lost",), bound_ms=100.0, triggered=True,
        policy=PICTURES,
    ),
    Row(
        "17", 17, "cameras_apart", "cameras out of step", "one camera's stamps lag by 60 ms",
        acts.stops("cameras_apart", acts.pull, acts.release),
        blind=("blind-apart",), patches=("cameras-apart",), triggered=True, policy=PICTURES,
    ),
    Row(
        "18", 18, "arm_silent", "bus silent", "the left arm's feedback stops",
        acts.stops("arm_silent", acts.pull, acts.release),
        blind=("blind-health",), patches=("arm-silent",), bound_ms=25.0, triggered=True,
    ),
    Row(
        "19", 19, "feedback_unusable", "all-zero feedback", "the left arm reports zeros from the start",
        acts.never_arms, blind=("blind-usable",), patches=("arm-zero",), triggered=True,
    ),
    Row(
        "20", 20, "device_mismatch", "device limits differ from the configuration", "at the wire-level emulator", None,
        missing="an arm whose device can be asked for its limits",
    ),
    Row(
        "21", 21, "leader_lost", "leader lost in TELEOP", "at the leader's process", None, bound_ms=50.0,
        missing="a leader",
    ),
    Row(
        "22", 22, "leader_apart", "leader and follower apart at takeover", "at the leader's process", None,
        missing="a leader",
    ),
    Row(
        "23", 23, "overrun", "sustained CPU contention", "SIGSTOP for 8 of every 14 ms, for 8 s",
        acts.stops("overrun", acts.stutter(8.0, 14.0, 8.0), acts.nothing), blind=("blind-rate",),
    ),
    Row(
        "23b", 23, "overrun", "garbage collector's pause", "SIGSTOP for 12 of every 150 ms, for 2 s",
        acts.pauses, blind=("blind-skips",),
    ),
    Row(
        "24", 24, "disk_behind", "disk full in the recorder",
        "the kernel refuses the recorder's writes (RLIMIT_FSIZE on the live process)",
        acts.goes_on("disk_behind", acts.fill_disk, acts.free_disk), blind=("blind-disk",), bound_ms=1000.0,
    ),
    Row(
        "25", 25, "rig_taken", "a second instance, a viewer that stalls",
        "a second `leadtime run` of the rig; the viewer sleeps for 1.5 s",
        acts.second_instance(), blind_act=acts.second_instance(lock=False),
    ),
    Row(
        "26", 26, "device_fault", "fault of the device", "the left arm's feedback carries an error bit",
        acts.stops("device_fault", acts.pull, acts.release),
        blind=("blind-health",), patches=("arm-fault",), triggered=True,
    ),
    Row(
        "26b", 26, "tracking_lost", "an arm does not follow", "the left arm reports that it stays where it is",
        acts.stops("tracking_lost", acts.pull, acts.release),
        blind=("blind-tracking",), patches=("arm-stuck",), triggered=True,
    ),
    Row(
        "27", 27, "foresight_parts", "predicted frames part from the actual",
        _WIRE + "adds predicted pictures, right ones and then inverted ones",
        acts.foresight, blind=("blind-foresight",), relay=True, policy=PICTURES,
    ),
)  # fmt: skip
