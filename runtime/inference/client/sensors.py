"""Reads observations from a run's board."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.board import Board
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.devices import RecordedCamera, SimCamera
from runtime.inference.client.eyes import Eye
from runtime.inference.client.gallery import FRAMES_KEPT, Gallery
from runtime.inference.client.observation import (
    Alignment,
    FrozenError,
    LostError,
    Observation,
    ObservationError,
    align_frames,
    joints_at,
)
from runtime.inference.wire import Schema
from runtime.layout import SIDES, Side
from runtime.shm import Ring

JOINT_RECORDS: Final = 64
OBJECT_RECORDS: Final = 64
OBJECT_SLACK_NS: Final = 25 * NS_PER_MS
PERIOD_SHARE: Final = 0.75
"""Of the slowest camera's period: free-running cameras of one rate are at most half a period apart."""


@dataclass(frozen=True)
class Shot:
    """A camera's picture, uint8 (height, width, 3), with its stamps."""

    t_capture_ns: int
    t_published_ns: int
    image: NDArray[Any]


class Sensors:
    """The newest frames of the cameras that a policy reads, in a gallery, and the joints at their stamp.

    A policy without cameras observes the newest moment that both arms have reported.
    """

    def __init__(self, board: Board, schema: Schema, gallery: Gallery) -> None:
        self._board = board
        self._schema = schema
        self._gallery = gallery
        self._stale_ns = round(board.spec.rig.frame_stale_ms * NS_PER_MS)
        cameras = board.spec.rig.cameras
        slowest_hz = min((cameras[name].rate_hz for name in schema.cameras), default=1)
        self._tolerance_ns = round(PERIOD_SHARE * NS_PER_S / slowest_hz)
        self._rings = {name: board[f"frame/{name}"] for name in schema.cameras}
        self._frames: dict[str, deque[Shot]] = {name: deque(maxlen=FRAMES_KEPT) for name in schema.cameras}
        self._cursors = dict.fromkeys(schema.cameras, 0)
        self._eyes = {
            name: Eye(cameras[name].rate_hz, noiseless=isinstance(cameras[name], SimCamera | RecordedCamera))
            for name in schema.cameras
        }

    def align(self, now_ns: int) -> Alignment:
        """Take in the frames that came and return the newest moment that can be observed.

        Raises:
            ObservationError: a camera or arm has sent nothing, a camera is frozen, lost or out of step, or the moment
                is too long ago.
        """
        self.look(now_ns)
        for name, eye in self._eyes.items():
            if eye.frozen:
                raise FrozenError(f"camera {name!r} shows the same picture again and again")
        if self._rings:
            alignment = align_frames(
                {name: [frame.t_capture_ns for frame in frames] for name, frames in self._frames.items()},
                self._tolerance_ns,
            )
        else:
            alignment = Alignment(min(self._newest_joints_ns(side) for side in SIDES), {})
        age_ns = now_ns - alignment.t_obs_ns
        lost = [name for name, eye in self._eyes.items() if eye.lost(now_ns)]
        if age_ns > self._stale_ns and lost:
            raise LostError(f"camera {lost[0]!r} sends no pictures any more")
        if age_ns > self._stale_ns:
            raise ObservationError(f"the newest observation is {age_ns / NS_PER_MS:.0f} ms old")
        return alignment

    def look(self, now_ns: int) -> set[str]:
        """Take in the frames that came; returns the faults of the cameras that can be told from them.

        A camera that is lost is told of at once, but asked about until its last picture is too old: it may be late.
        """
        for name, ring in self._rings.items():
            head = ring.head
            for index in range(max(self._cursors[name], head - FRAMES_KEPT), head):
                frame = self._frame(name, ring, index)
                if frame is not None:
                    self._frames[name].append(frame)
                    self._eyes[name].take(frame.image, frame.t_published_ns, self._joints(frame.t_capture_ns))
            self._cursors[name] = head
        frozen = {FrozenError.fault for eye in self._eyes.values() if eye.frozen}
        return frozen | {LostError.fault for eye in self._eyes.values() if eye.lost(now_ns)}

    def _frame(self, camera: str, ring: Ring, index: int) -> Shot | None:
        """Take a frame off its ring into the gallery; None where it was overwritten meanwhile."""
        record = ring.peek(index)
        if record is None:
            return None
        t_capture_ns, t_published_ns = int(record["t_capture_ns"]), int(record["t_published_ns"])
        image = self._gallery.take(camera, record["image"], t_capture_ns)
        return Shot(t_capture_ns, t_published_ns, image) if ring.holds(index) else None

    def _joints(self, t_ns: int) -> NDArray[np.float64] | None:
        try:
            return joints_at({side: _newest(self._board[f"arm/{side}"], JOINT_RECORDS) for side in SIDES}, t_ns)[0]
        except ObservationError:
            return None

    def observe(self, alignment: Alignment) -> Observation:
        """Return the observation of a moment that `align` has just returned.

        Raises:
            ObservationError: the joints, or the object state where the policy reads it, do not cover the moment.
        """
        t_obs_ns = alignment.t_obs_ns
        records = {side: _newest(self._board[f"arm/{side}"], JOINT_RECORDS) for side in SIDES}
        position, velocity = joints_at(records, t_obs_ns)
        frames = {name: self._frames[name][i] for name, i in alignment.index.items()}
        return Observation(
            t_obs_ns=t_obs_ns,
            t_frame_ns=max((frame.t_published_ns for frame in frames.values()), default=t_obs_ns),
            images={name: frame.image for name, frame in frames.items()},
            position=position,
            velocity=velocity,
            object_state=self._objects(t_obs_ns) if self._schema.object_state else None,
        )

    def glance(self, t_ns: int) -> Observation:
        """Return what is known of a moment without the cameras.

        Raises:
            ObservationError: an arm has not reported that far yet, or the object state does not cover the moment.
        """
        if min(self._newest_joints_ns(side) for side in SIDES) < t_ns:
            raise ObservationError("an arm has not reported this tick yet")
        position, velocity = joints_at(
            {side: _newest(self._board[f"arm/{side}"], JOINT_RECORDS) for side in SIDES}, t_ns
        )
        objects = self._objects(t_ns) if self._schema.object_state else None
        return Observation(t_ns, {}, position, velocity, objects)

    def _newest_joints_ns(self, side: Side) -> int:
        records = _newest(self._board[f"arm/{side}"], 2)
        if not records:
            raise ObservationError(f"the {side} arm has sent no joint state yet")
        return int(records[-1]["t_ns"])

    def _objects(self, t_obs_ns: int) -> NDArray[np.float32]:
        records = _newest(self._board["object_state"], OBJECT_RECORDS)
        nearest = min(records, key=lambda record: abs(int(record["t_ns"]) - t_obs_ns), default=None)
        if nearest is None or abs(int(nearest["t_ns"]) - t_obs_ns) > OBJECT_SLACK_NS:
            raise ObservationError("the simulator's object state does not cover the moment")
        if int(nearest["length"]) != self._schema.object_state:
            raise ObservationError(
                f"this task's object state has {nearest['length']} numbers, "
                f"the policy reads {self._schema.object_state}"
            )
        return np.array(nearest["state"][: self._schema.object_state], dtype=np.float32)


def _newest(ring: Ring, count: int) -> list[NDArray[Any]]:
    # The newest entry may be half written: it is then the one that is missing, the others stand.
    return ring.since(max(ring.head - count, 0))[0]
