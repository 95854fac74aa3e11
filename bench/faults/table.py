"""The 27 rows: what is injected and how, what must come of it, and the negative control with the detector blind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.faults import expect, harm, relay, scenes
from bench.faults.expect import Act

PICTURES: Final = "demo"
STATES: Final = "demo-state"


@dataclass(frozen=True)
class Row:
    """One injection. `number` is its row in the fault table; `fault` the entry of `runtime.faults` that tells of it.

    `bound_ms` is what the design promises of a physical rig with the default times, None where it is not a time.
    `patches` misbehave in a child, `blind` switches the detector off besides. `from_start`: what waits to be triggered
    stands before anything runs; `led`: a scripted leader is there; `refusal`: a word of what refuses the run.
    """

    key: str
    number: int
    fault: str
    title: str
    injection: str
    act: Act
    blind: tuple[str, ...] = ()
    blind_act: Act | None = None
    patches: tuple[str, ...] = ()
    bound_ms: float | None = None
    relay: bool = False
    network: bool = False
    wall_clock: bool = False
    policy: str = STATES
    merge: str = "leadtime"
    rig: str = "sim-x5"
    from_start: bool = False
    led: bool = False
    refusal: str = "joint"


BUS: Final = "emulated-piper"
SWAY: Final = "sway"
_CAN: Final = "on the bytes of an emulated CAN bus, "
_WIRE: Final = "a relay between client and server, over real sockets, "
ROWS: Final = (
    Row(
        "1", 1, "server_lost", "policy server killed", "SIGKILL to the server's process, and its successor stopped",
        expect.stops("server_lost", harm.kill_for_long("server"), harm.go_on("server"), early=True),
        blind=("blind-drop", "blind-deadline"), bound_ms=50.0,
    ),
    Row(
        "2", 2, "answer_overdue", "server accepts, never answers", _WIRE + "holds every answer back",
        expect.stops("answer_overdue", harm.spoil(relay.on_chunks(relay.nothing)), harm.unspoil),
        blind=("blind-deadline",), bound_ms=600.0, relay=True,
    ),
    Row(
        "3", 3, "server_lost", "network partition", "the link of the server's network namespace is taken down",
        expect.stops("server_lost", harm.cut_link, harm.join_link),
        blind=("blind-drop", "blind-deadline"), bound_ms=600.0, network=True,
    ),
    Row(
        "4", 4, "answer_stray", "late reply taken for the next observation's",
        _WIRE + "answers with the chunk of the request before",
        expect.goes_on("answer_stray", harm.spoil(harm.stray()), harm.unspoil), blind=("blind-obs-seq",), relay=True,
    ),
    Row(
        "5", 5, "packets_corrupt", "corrupt or truncated packets", _WIRE + "cuts the last byte off every answer",
        expect.reconnects("packets_corrupt", harm.spoil(relay.on_chunks(relay.cut)), harm.unspoil),
        blind=("blind-corrupt",), relay=True,
    ),
    Row(
        "6", 6, "answer_invalid", "NaN in a chunk", _WIRE + "puts a NaN into every answer",
        expect.goes_on("answer_invalid", harm.spoil(relay.on_chunks(relay.nan)), harm.unspoil),
        blind=("blind-finite",), relay=True,
    ),
    Row(
        "7", 7, "policy_unfit", "wrong joint order", _WIRE + "agrees on a schema with the joints reversed",
        expect.refused, blind=("blind-fit",), relay=True,
    ),
    Row(
        "7b", 7, "answer_invalid", "wrong shape", _WIRE + "leaves out each answer's last step",
        expect.goes_on("answer_invalid", harm.spoil(relay.on_chunks(relay.short)), harm.unspoil),
        blind=("blind-shape",), relay=True,
    ),
    Row(
        "8", 8, "chunks_jump", "chunks start far from the target", _WIRE + "moves every answer 2 rad away",
        expect.stops("chunks_jump", harm.spoil(relay.on_chunks(relay.far)), harm.unspoil),
        blind=("blind-jump",), relay=True,
    ),
    Row(
        "9", 9, "answer_stray", "duplicate chunks", _WIRE + "sends every answer again 30 ms later",
        expect.goes_on("answer_stray", harm.spoil(relay.on_chunks(relay.twice)), harm.unspoil),
        blind=("blind-twice",), relay=True,
    ),
    Row(
        "10", 10, "chunk_late", "partly late chunk", _WIRE + "holds one answer back for 300 ms",
        scenes.partly_late, blind=("blind-elapsed",), relay=True, merge="aligned",
    ),
    Row(
        "11", 11, "clock_jump", "wall clock jumps",
        "a preloaded shim sets the wall clock of every process an hour ahead and back; the host's own is not touched",
        scenes.clock_jumps, blind=("wall-clock",), wall_clock=True,
    ),
    Row(
        "12", 12, "control_paused", "control process stopped for 500 ms", "SIGSTOP, SIGCONT",
        scenes.control_stops, blind=("blind-expiry",), bound_ms=20.0,
    ),
    Row(
        "13", 13, "control_restarted", "control process killed", "SIGKILL",
        scenes.control_dies, blind=("blind-restart", "blind-expiry"), bound_ms=20.0,
    ),
    Row(
        "14", 14, "guardian_lost", "a guardian killed", "SIGKILL to the left guardian",
        expect.stops("guardian_lost", harm.kill("guardian-left"), harm.nothing),
        blind=("mask:guardian_lost",), bound_ms=25.0,
    ),
    Row(
        "15", 15, "camera_frozen", "camera frozen", "one camera repeats its picture with advancing stamps",
        expect.stops("camera_frozen", harm.pull, harm.release),
        blind=("mute:camera_frozen", "blind-cameras"), patches=("camera-frozen",), bound_ms=100.0,
        policy=PICTURES,
    ),
    Row(
        "16", 16, "camera_lost", "camera unplugged", "one camera sends nothing",
        expect.stops("camera_lost", harm.pull, harm.release),
        blind=("mute:camera_lost", "blind-cameras"), patches=("camera-lost",), bound_ms=100.0,
        policy=PICTURES,
    ),
    Row(
        "17", 17, "cameras_apart", "cameras out of step", "one camera's stamps lag by 200 ms",
        expect.stops("cameras_apart", harm.pull, harm.release),
        blind=("blind-apart",), patches=("cameras-apart",), policy=PICTURES,
    ),
    Row(
        "18", 18, "arm_silent", "bus silent", "the left arm's feedback stops",
        expect.stops("arm_silent", harm.pull, harm.release),
        blind=("blind-health",), patches=("arm-silent",), bound_ms=25.0,
    ),
    Row(
        "18b", 18, "arm_silent", "bus silent", _CAN + "the left arm sends no frame",
        expect.stops("arm_silent", harm.give("silent"), harm.take("silent")),
        blind=("blind-health",), bound_ms=25.0, rig=BUS, policy=SWAY,
    ),
    Row(
        "18c", 18, "arm_silent", "bus off", _CAN + "every node is thrown off the left bus",
        expect.stops("arm_silent", harm.give("bus-off"), harm.take("bus-off")),
        blind=("blind-health",), bound_ms=25.0, rig=BUS, policy=SWAY,
    ),
    Row(
        "19", 19, "feedback_unusable", "all-zero feedback", "the left arm reports zeros from the start",
        expect.never_arms(harm.release), blind=("blind-usable",), patches=("arm-zero",), from_start=True,
    ),
    Row(
        "19b", 19, "feedback_unusable", "all-zero feedback", _CAN + "the left arm's frames hold zeros from the start",
        expect.never_arms(harm.take("all-zero")), blind=("blind-usable",), patches=("emulator:all-zero",),
        rig=BUS, policy=SWAY,
    ),
    Row(
        "20", 20, "device_mismatch", "device limits differ from the configuration",
        _CAN + "the left arm keeps an upper limit 0.3 rad lower", expect.refused,
        blind=("blind-limits",), patches=("emulator:wrong-limits",), rig=BUS, policy=SWAY, refusal="upper limit",
    ),
    Row(
        "20b", 20, "device_mismatch", "device units differ from the configuration",
        _CAN + "the left arm's firmware has other kinematics", expect.refused,
        blind=("blind-limits",), patches=("emulator:old-firmware",), rig=BUS, policy=SWAY, refusal="firmware",
    ),
    Row(
        "21", 21, "leader_lost", "leader lost in TELEOP", "SIGKILL to the leader's process",
        scenes.leader_lost(harm.kill("leader"), harm.nothing), blind=("blind-leader",), bound_ms=50.0, led=True,
    ),
    Row(
        "22", 22, "leader_apart", "leader and follower apart at takeover",
        "the leader takes hold 1.35 rad away from its arm",
        scenes.leader_apart, blind=("blind-reach",), patches=("leader-apart",), from_start=True, led=True,
    ),
    Row(
        "23", 23, "overrun", "sustained CPU contention", "SIGSTOP for 8 of every 14 ms, for 8 s",
        expect.stops("overrun", harm.stutter(8.0, 14.0, 8.0), harm.nothing), blind=("blind-rate",),
    ),
    Row(
        "23b", 23, "overrun", "garbage collector's pause", "SIGSTOP for 12 of every 150 ms, for 2 s",
        scenes.pauses, blind=("blind-skips",),
    ),
    Row(
        "24", 24, "disk_behind", "disk full in the recorder",
        "the kernel refuses the recorder's writes (RLIMIT_FSIZE on the live process)",
        expect.goes_on("disk_behind", harm.fill_disk, harm.free_disk), blind=("blind-disk",), bound_ms=1000.0,
    ),
    Row(
        "25", 25, "rig_taken", "a second instance, a viewer that stalls",
        "a second `leadtime run` of the rig; the viewer sleeps for 1.5 s",
        scenes.second_instance(), blind_act=scenes.second_instance(lock=False),
    ),
    Row(
        "26", 26, "device_fault", "fault of the device", "the left arm's feedback carries an error bit",
        expect.stops("device_fault", harm.pull, harm.release),
        blind=("blind-health",), patches=("arm-fault",),
    ),
    Row(
        "26c", 26, "device_fault", "collision flag of the device", _CAN + "the left arm's status says collision",
        expect.stops("device_fault", harm.give("collision"), harm.take("collision")),
        blind=("blind-health",), rig=BUS, policy=SWAY,
    ),
    Row(
        "26d", 26, "device_fault", "over-temperature", _CAN + "the left arm's second motor reports that it is hot",
        expect.stops("device_fault", harm.give("over-temperature"), harm.take("over-temperature")),
        blind=("blind-health",), rig=BUS, policy=SWAY,
    ),
    Row(
        "26b", 26, "tracking_lost", "an arm does not follow",
        "the left arm stays where it is, whatever its motors are told",
        expect.stops("tracking_lost", harm.pull, harm.release),
        blind=("blind-tracking",), patches=("arm-stuck",),
    ),
    Row(
        "27", 27, "foresight_parts", "predicted frames part from the actual",
        _WIRE + "adds predicted pictures, right ones and then inverted ones",
        scenes.foresight, blind=("blind-foresight",), relay=True, policy=PICTURES,
    ),
)  # fmt: skip
