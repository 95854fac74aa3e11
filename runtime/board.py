"""The board: every shared-memory topic of a run, one line each, with who writes it."""

from __future__ import annotations

from typing import Any

from runtime import records
from runtime.layout import SIDES
from runtime.shm import Ring, Segment, Topic, blank
from runtime.spec import RunSpec
from runtime.states import Life

ROLES = (
    "sim",
    "emulator",
    "server",
    "recorder",
    "ros2",
    "camera",
    "leader",
    "client",
    "guardian-left",
    "guardian-right",
    "control",
)
"""Processes of a run in the order they may begin: whatever moves the arms comes last."""


def topics(spec: RunSpec) -> tuple[Topic, ...]:
    """Return the table of a run's topics."""
    table = [
        #     name            record                  entries   writer
        Topic("lifecycle", records.LIFECYCLE, 4),  # supervisor
        Topic("operator", records.OPERATOR, 64),  # supervisor
        Topic("task_request", records.TASK_REQUEST, 4),  # supervisor
        Topic("episode_end", records.EPISODE_END, 8),  # supervisor
        Topic("leader", records.LEADER, 64),  # leader
        Topic("joint_command", records.JOINT_COMMAND, 64),  # control
        Topic("timeline", records.TIMELINE_VIEW, 8),  # control
        Topic("tick", records.TICK, 4096),  # control
        Topic("chunk", records.CHUNK, 64),  # client
        Topic("amendment", records.AMENDMENT, 64),  # client
        Topic("request", records.REQUEST, 1024),  # client
        Topic("foreseen", records.FORESEEN, 32),  # client
        # Two chunks' of four cameras; no page of it is touched where a policy predicts no pictures.
        Topic("foreseen_picture", records.FORESEEN_PICTURE, 64, checksum=False),  # client
        Topic("client", records.CLIENT_STATUS, 8),  # client
        Topic("recorder", records.RECORDER_STATUS, 8),  # recorder
        Topic("task", records.TASK_STATUS, 8),  # sim
        Topic("object_state", records.OBJECT_STATE, 256),  # sim
        Topic("scene", records.scene_dtype(max(spec.scene_length, 1)), 8),  # sim
    ]
    for side in SIDES:
        table += [
            Topic(f"arm/{side}", records.ARM_STATE, 512),  # guardian of the side
            Topic(f"guardian/{side}", records.GUARDIAN_STATUS, 64),  # guardian of the side
            Topic(f"device/{side}/command", records.DEVICE_COMMAND, 64),  # guardian of the side
            Topic(f"device/{side}/state", records.ARM_STATE, 64),  # sim
        ]
    table += [Topic(f"heartbeat/{role}", records.HEARTBEAT, 4) for role in ROLES]
    for name, camera in spec.rig.cameras.items():
        table.append(Topic(f"camera/{name}", records.CAMERA_STATUS, 8))  # camera
        table.append(  # camera
            Topic(f"frame/{name}", records.frame_dtype(camera.width_px, camera.height_px), 12, checksum=False)
        )
    return tuple(table)


class Board:
    """The topics of one run, laid over its shared memory."""

    def __init__(self, spec: RunSpec, segment: Segment) -> None:
        self.spec = spec
        self.segment = segment
        self._stop_here = False

    @classmethod
    def create(cls, spec: RunSpec) -> Board:
        """Allocate the memory of a run (the supervisor does, once)."""
        return cls(spec, Segment.create(topics(spec)))

    @classmethod
    def attach(cls, spec: RunSpec, fd: int) -> Board:
        """Lay the topics over a descriptor inherited from the supervisor."""
        return cls(spec, Segment(topics(spec), fd))

    def __getitem__(self, name: str) -> Ring:
        """Return the ring of a topic; KeyError for a name that is not in the table."""
        return self.segment.rings[name]

    @property
    def t0_ns(self) -> int:
        """The time of tick zero, 0 until the supervisor has set it."""
        record = self["lifecycle"].latest()
        return 0 if record is None else int(record["t0_ns"])

    @property
    def stage(self) -> int:
        """How many of `ROLES` may have begun their work."""
        record = self["lifecycle"].latest()
        return 0 if record is None else int(record["stage"])

    @property
    def stopping(self) -> bool:
        """Whether this process, or every process of the run, was asked to end."""
        if self._stop_here:
            return True
        record = self["lifecycle"].latest()
        return record is not None and bool(record["stop"])

    @property
    def arms_left_alone(self) -> bool:
        """Whether both guardians have ended: until then an arm may still be braking, and what it is must go on."""
        beats = [self[f"heartbeat/guardian-{side}"].latest() for side in SIDES]
        return all(beat is None or int(beat["life"]) in {Life.STOPPING, Life.FAILED} for beat in beats)

    def stop_here(self) -> None:
        """Ask this process alone to end (what a termination signal does)."""
        self._stop_here = True


class Heart:
    """A process's heartbeat on the board."""

    def __init__(self, ring: Ring, pid: int) -> None:
        self._ring = ring
        self._record: Any = blank(records.HEARTBEAT)
        self._record["pid"] = pid

    def beat(self, now_ns: int, life: Life = Life.READY) -> None:
        """Say that the process is alive and where it stands."""
        self._record["t_ns"] = now_ns
        self._record["count"] += 1
        self._record["life"] = life
        self._ring.push(self._record)
