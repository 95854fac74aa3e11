"""What is read back from a Piper before it is ever commanded, and why it is refused. Pure: one step at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.drivers.base import DriverError
from runtime.drivers.piper.bus import Frame
from runtime.drivers.piper.codec import FIRMWARE_QUERY, CanId, Control, Query
from runtime.drivers.piper.feedback import Feedback
from runtime.layout import ARM_JOINTS

LISTEN_NS: Final = 300 * NS_PER_MS
"""How long the bus is listened to for another master before the arm is asked anything."""
TIMEOUT_NS: Final = 2 * NS_PER_S
ASK_EVERY_NS: Final = 50 * NS_PER_MS
ASK_MAX: Final = 6
"""Questions at once, of 13: a CAN interface refuses more than the ten frames that it queues by default."""
FIRMWARE_MIN: Final = (1, 6, 3)
"""The first release with the kinematics of this runtime's model (AgileX's "new DH")."""
ANGLE_APART_RAD: Final = 0.01
"""The firmware keeps angles in tenths of a degree, and AgileX's own tables round theirs."""
VELOCITY_APART_RAD_S: Final = 0.01
ACCELERATION_APART_RAD_S2: Final = 0.05
OUTSIDE_RAD: Final = 0.1
REST_APART_RAD: Final = 0.1


class Arming:
    """Asks an arm for its firmware and limits and compares them with the model's.

    `rest_rad` (6,), where given, is what the joints read while the arm lies on its rest without torque: joint zeros
    that have moved show there.
    """

    def __init__(self, model: ArmModel, name: str, rest_rad: Sequence[float] = ()) -> None:
        self._model, self._name, self._rest_rad = model, name, tuple(rest_rad)
        self._begun_ns: int | None = None
        self._asked_ns = 0

    def step(self, now_ns: int, feedback: Feedback) -> tuple[bool, list[Frame]]:
        """Return whether the arm is fit to be commanded, and the frames to send.

        Raises:
            DriverError: it is not, or says nothing; one line with what was found and what would be right.
        """
        if self._begun_ns is None:
            self._begun_ns = self._asked_ns = now_ns
        waited_ns = now_ns - self._begun_ns
        if feedback.foreign:
            raise self._refused(
                "another master sends it targets (0x155 to 0x157): unplug the leader, or move its identifiers with"
                " 0x470 (0xFA and 0x10 for each of the three offsets) and give the leader control_offset: 0x10"
            )
        if waited_ns > TIMEOUT_NS:
            raise self._refused(self._silence(feedback))
        if waited_ns < LISTEN_NS or not feedback.whole:
            return False, []
        missing = self._questions(feedback)
        if not missing:
            self._compare(feedback)
            return True, []
        if now_ns - self._asked_ns < ASK_EVERY_NS:
            return False, []
        self._asked_ns = now_ns
        return False, missing[:ASK_MAX]

    def _questions(self, feedback: Feedback) -> list[Frame]:
        frames = []
        if _version(feedback) is None:
            frames.append(Frame(CanId.FIRMWARE, FIRMWARE_QUERY.pack()))
        for motor in range(1, ARM_JOINTS + 1):
            if motor not in feedback.limits:
                frames.append(Frame(CanId.QUERY, Query(motor, 1).pack()))
            if motor not in feedback.accelerations:
                frames.append(Frame(CanId.QUERY, Query(motor, 2).pack()))
        return frames

    def _silence(self, feedback: Feedback) -> str:
        if feedback.status is None and feedback.state is None:
            return "no feedback: check its power, its cable, the bit rate (1000000) and the emergency stop"
        if not feedback.whole:
            return "its feedback is not whole: some of 0x2A1 to 0x2A8, 0x251 to 0x256, 0x261 to 0x266 is missing"
        return "it does not answer for its firmware (0x4AF) or its limits (0x472)"

    def _compare(self, feedback: Feedback) -> None:
        version, model = _version(feedback), self._model
        if version is None or version < FIRMWARE_MIN:
            found = ".".join(map(str, version or ()))
            raise self._refused(f"firmware {found} is older than 1.6-3, whose kinematics differ: update the arm")
        if feedback.status is not None and feedback.status.control in (Control.TEACHING, Control.LINKAGE):
            raise self._refused("it is in teaching or leader mode: set it to follower (0x470, 0xFC) and restart it")
        for joint in range(ARM_JOINTS):
            limit, acceleration = feedback.limits[joint + 1], feedback.accelerations[joint + 1]
            pairs = (
                ("lower limit", limit.low_rad, model.position_min[joint], ANGLE_APART_RAD, "rad"),
                ("upper limit", limit.high_rad, model.position_max[joint], ANGLE_APART_RAD, "rad"),
                ("top speed", limit.velocity_rad_s, model.velocity_max[joint], VELOCITY_APART_RAD_S, "rad/s"),
                (
                    "acceleration",
                    acceleration.acceleration_rad_s2,
                    model.acceleration_max[joint],
                    ACCELERATION_APART_RAD_S2,
                    "rad/s^2",
                ),
            )
            for what, found_value, right, apart, unit in pairs:
                if abs(found_value - right) > apart:
                    raise self._refused(
                        f"joint {joint + 1} keeps a {what} of {found_value:.3f} {unit} where the model has {right:.3f}:"
                        " restore the arm's own with AgileX's tool (0x474, 0x475)"
                    )
        self._compare_pose(feedback)

    def _compare_pose(self, feedback: Feedback) -> None:
        if feedback.state is None:
            return
        measured: list[float] = feedback.state["position"].tolist()
        for joint in range(ARM_JOINTS):
            low, high = self._model.position_min[joint], self._model.position_max[joint]
            if not low - OUTSIDE_RAD <= measured[joint] <= high + OUTSIDE_RAD:
                raise self._refused(
                    f"joint {joint + 1} reads {measured[joint]:.3f} rad, outside {low:.3f} to {high:.3f}:"
                    " its zero is wrong, or it was moved by hand beyond its range"
                )
            if self._rest_rad and not feedback.enabled:
                rest = self._rest_rad[joint]
                if abs(measured[joint] - rest) > REST_APART_RAD:
                    raise self._refused(
                        f"joint {joint + 1} reads {measured[joint]:.3f} rad where its rest is {rest:.3f}:"
                        " lay the arm on its rest, or find its zero again"
                    )

    def _refused(self, reason: str) -> DriverError:
        return DriverError(f"Piper on {self._name} is not armed: {reason}")


def _version(feedback: Feedback) -> tuple[int, int, int] | None:
    match = re.search(rb"S-V(\d+)\.(\d+)-(\d+)", feedback.firmware)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
