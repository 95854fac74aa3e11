"""Observations: the frames of several cameras and the joints of both arms, brought to one stamp.

`t_obs_ns` is the stamp of the newest moment that every camera has seen: the slowest camera's newest frame. Each
other camera gives its frame nearest to that, and the joints are interpolated at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS
from runtime.layout import SIDES, Side

JOINT_SLACK_NS: Final = 25 * NS_PER_MS
"""How far the newest joint record may lie before `t_obs_ns`, and two records apart from each other."""


class ObservationError(Exception):
    """No observation can be made now; the text says what is missing or out of step."""

    fault = ""
    """The entry of the fault table that this is, "" for none."""


class OutOfStepError(ObservationError):
    """The cameras' frames lie too far apart in time."""

    fault = "cameras_apart"


class FrozenError(ObservationError):
    """A camera shows the same picture again and again."""

    fault = "camera_frozen"


class LostError(ObservationError):
    """A camera sends no pictures any more."""

    fault = "camera_lost"


@dataclass(frozen=True)
class Observation:
    """What a policy is asked about, all of it at `t_obs_ns`; the last of its frames could be read from `t_frame_ns` on.

    `images` uint8 (height, width, 3) by camera; `position` and `velocity` float64 (14,), rad and rad/s, grippers
    as fractions; `object_state` float32 (K,) from a simulator, or None.
    """

    t_obs_ns: int
    images: Mapping[str, NDArray[Any]]
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    object_state: NDArray[np.float32] | None = None
    t_frame_ns: int = 0


@dataclass(frozen=True)
class Alignment:
    """Which frame of each camera belongs to `t_obs_ns`: an index into that camera's stamps."""

    t_obs_ns: int
    index: Mapping[str, int]


def align_frames(stamps_ns: Mapping[str, Sequence[int]], tolerance_ns: int) -> Alignment:
    """Choose one frame of each camera, given the capture stamps of the newest few of each, oldest first.

    Raises:
        ObservationError: a camera has no frame, or none within `tolerance_ns` of the moment that all have seen.
    """
    for name, stamps in stamps_ns.items():
        if not stamps:
            raise ObservationError(f"camera {name!r} has no frame yet")
    t_obs_ns = min(stamps[-1] for stamps in stamps_ns.values())
    index: dict[str, int] = {}
    for name, stamps in stamps_ns.items():
        best = min(range(len(stamps)), key=lambda i: abs(stamps[i] - t_obs_ns))
        apart_ns = abs(stamps[best] - t_obs_ns)
        if apart_ns > tolerance_ns:
            raise OutOfStepError(
                f"cameras are out of step: {name!r} is {apart_ns / NS_PER_MS:.0f} ms from the others, "
                f"{tolerance_ns / NS_PER_MS:.0f} ms are allowed"
            )
        index[name] = best
    return Alignment(t_obs_ns, index)


def joints_at(
    records: Mapping[Side, Sequence[NDArray[Any]]], t_ns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return position and velocity (14,) of both arms at a time, linear between ARM_STATE records, oldest first.

    A time up to `JOINT_SLACK_NS` past the newest record gets the newest as it is.

    Raises:
        ObservationError: an arm's records do not reach the time, or leave a gap around it.
    """
    positions, velocities = [], []
    for side in SIDES:
        position, velocity = _arm_at(side, records[side], t_ns)
        positions.append(position)
        velocities.append(velocity)
    return np.concatenate(positions), np.concatenate(velocities)


def _arm_at(side: Side, records: Sequence[NDArray[Any]], t_ns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if not records:
        raise ObservationError(f"the {side} arm has sent no joint state yet")
    stamps = [int(record["t_ns"]) for record in records]
    if t_ns >= stamps[-1]:
        if t_ns - stamps[-1] > JOINT_SLACK_NS:
            raise ObservationError(f"the {side} arm's joint state is older than the frames")
        return records[-1]["position"], records[-1]["velocity"]
    if t_ns < stamps[0]:
        raise ObservationError(f"the {side} arm's joint state does not reach back to the frames")
    after = next(i for i, stamp in enumerate(stamps) if stamp > t_ns)
    old, new = records[after - 1], records[after]
    span_ns = stamps[after] - stamps[after - 1]
    if span_ns > JOINT_SLACK_NS:
        raise ObservationError(f"the {side} arm sent no joint state for {span_ns / NS_PER_MS:.0f} ms")
    share = (t_ns - stamps[after - 1]) / span_ns
    return (
        old["position"] + share * (new["position"] - old["position"]),
        old["velocity"] + share * (new["velocity"] - old["velocity"]),
    )
