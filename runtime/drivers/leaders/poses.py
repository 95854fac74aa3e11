"""Hand poses over ZeroMQ, as a headset's program sends them: relative motion while the clutch is held."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import zmq
from msgspec import Meta
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.devices import PoseLeader
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.leaders.hand import Hand
from runtime.errors import LeadtimeError
from runtime.kinematics.rotations import quaternion_matrix
from runtime.layout import ARM_GRIPPER, ARM_SLICE, SIDES, Side
from runtime.net.keys import ServerKeys, admission
from runtime.net.sockets import check_endpoint, of_this_host

Vector = NDArray[np.float64]

MESSAGE_BYTES_MAX: Final = 1024
READS_MAX: Final = 64
"""Messages that one reading takes, and that wait for it."""
UNIT_WITHIN: Final = 0.01
SILENT_NS: Final = 200 * NS_PER_MS
"""After a pause longer than this a clutch that is still held moves nothing until it is released."""
NOTE_NS: Final = 5 * NS_PER_S
GRIP_WITHIN: Final = 0.1

_Metre = Annotated[float, Meta(ge=-10.0, le=10.0)]
_Unit = Annotated[float, Meta(ge=-1.01, le=1.01)]


class PoseError(ValueError):
    """A message is no hand poses; the text says why."""


class HandPose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A person's hand: x forward, y left, z up in m, (w, x, y, z); `grip` from 0, open, to 1; the dead-man."""

    position_m: tuple[_Metre, _Metre, _Metre]
    wxyz: tuple[_Unit, _Unit, _Unit, _Unit]
    grip: Annotated[float, Meta(ge=0.0, le=1.0)]
    clutch: bool


class PoseMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One or both hands; `t` is the sender's clock in s, which nothing here depends on."""

    v: Literal[1]
    t: float = 0.0
    left: HandPose | None = None
    right: HandPose | None = None


_DECODER: Final = msgspec.msgpack.Decoder(PoseMessage)


def decode(data: bytes) -> PoseMessage:
    """Read one msgpack message; raises PoseError for anything else, NaN and no unit quaternions included."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise PoseError(f"{len(data)} bytes, more than {MESSAGE_BYTES_MAX}")
    try:
        message = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PoseError(str(error)) from None
    for side in SIDES:
        hand: HandPose | None = getattr(message, side)
        if hand is None:
            continue
        if not all(map(isfinite, (*hand.position_m, *hand.wxyz, hand.grip))):
            raise PoseError(f"a number of the {side} hand is not finite")
        if abs(float(np.linalg.norm(hand.wxyz)) - 1.0) > UNIT_WITHIN:
            raise PoseError(f"the {side} hand's wxyz is no unit quaternion")
    if not isfinite(message.t):
        raise PoseError("t is not finite")
    return message


class _Led:
    """One arm and the person's hand that leads it."""

    def __init__(self, arm: str, side: Side) -> None:
        self._hand, self._side = Hand(arm, side), side
        self._from, self._turned = np.zeros(3), np.eye(3)
        self._told, self._caught = 0.0, False
        self._t_ns = 0

    def take(self, pose: HandPose, now_ns: int, arm: Vector) -> LeaderSample:
        """Return the sample for a pose; motions count from the pose at which the clutch was last open."""
        place, turned = np.array(pose.position_m), quaternion_matrix(np.array(pose.wxyz))
        told = 1.0 - pose.grip
        paused = now_ns - self._t_ns > SILENT_NS
        self._t_ns = now_ns
        if not pose.clutch:
            self._hand.release(arm, now_ns)
            self._from, self._turned, self._caught = place, turned, False
        else:
            if paused:
                self._hand.release(arm, now_ns)
                self._hand.refuse()
            opening = self._opening(told)
            self._hand.place(now_ns, arm, place - self._from, turned @ self._turned.T, opening)
        self._told = told
        return LeaderSample(self._side, now_ns, self._hand.position, pose.clutch and not self._hand.refused)

    def _opening(self, told: float) -> float:
        """Return what the gripper is led to: where it is until the trigger has come there, so nothing is dropped."""
        here = float(self._hand.position[ARM_GRIPPER])
        passed = (told - here) * (self._told - here) <= 0.0
        self._caught = self._caught or passed or abs(told - here) <= GRIP_WITHIN
        return told if self._caught else here


def check_access(config: PoseLeader) -> ServerKeys | None:
    """Return the keys of those who may send, None where only this host can.

    Raises:
        DriverError: the endpoint or the folder of keys is none, or other hosts could send without keys.
    """
    try:
        check_endpoint(config.endpoint, bind=True, exposed=True)
        keys = ServerKeys.load(Path(config.keys)) if config.keys else None
    except LeadtimeError as error:
        raise DriverError(str(error)) from None
    if keys is None and not of_this_host(config.endpoint):
        raise DriverError(
            f"endpoint {config.endpoint!r}: other hosts could move the arms without keys; "
            "give keys: DIR (leadtime keys makes them), or bind tcp://127.0.0.1:PORT or ipc://PATH"
        )
    return keys


class PoseReceiver:
    """Hand poses at a bound PULL socket; implements `LeaderDriver`. The newest message wins."""

    def __init__(self, config: PoseLeader, arms: dict[Side, str]) -> None:
        self._config = config
        self._led = {side: _Led(arm, side) for side, arm in arms.items()}
        self._open = ExitStack()
        self._socket: Any = None
        self._heard_ns: int | None = None
        self._noted_ns: int | None = None
        self._refused = 0

    def open(self) -> None:
        """Bind; see LeaderDriver."""
        endpoint, keys = self._config.endpoint, check_access(self._config)
        with ExitStack() as stack:
            context = stack.enter_context(zmq.Context[Any]())
            stack.enter_context(admission(context, keys))
            link = stack.enter_context(context.socket(zmq.PULL))
            link.setsockopt(zmq.LINGER, 0)
            link.setsockopt(zmq.IPV6, "[" in endpoint)
            link.setsockopt(zmq.RCVHWM, READS_MAX)
            link.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
            if keys is not None:
                keys.guard(link)
            try:
                link.bind(endpoint)
            except zmq.ZMQError as error:
                raise DriverError(f"cannot bind {endpoint}: {error.strerror}; give another endpoint") from None
            self._socket, self._open = link, stack.pop_all()

    def close(self) -> None:
        """Unbind."""
        self._socket = None
        self._open.close()

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:
        """Return a sample of each hand that a message came for; see LeaderDriver. Silence gives none."""
        newest: dict[Side, HandPose] = {}
        for _ in range(READS_MAX):
            data = self._receive()
            if data is None:
                break
            try:
                message = decode(data)
            except PoseError as error:
                self._refused += 1
                self._note(f"not hand poses: {error} ({self._refused} so far)", now_ns)
                continue
            for side in SIDES:
                hand: HandPose | None = getattr(message, side)
                if hand is not None:
                    newest[side] = hand
        if newest:
            self._heard_ns = now_ns
        elif self._heard_ns is not None and now_ns - self._heard_ns > NS_PER_S:
            self._heard_ns = None
            self._note("the sender is silent", now_ns)
        return LeaderReading(
            tuple(self._led[side].take(pose, now_ns, follower[ARM_SLICE[side]]) for side, pose in newest.items())
        )

    def _receive(self) -> bytes | None:
        """Return the next message; one of several parts counts as an empty one, which is none."""
        try:
            data: bytes = self._socket.recv(zmq.NOBLOCK)
            if not self._socket.getsockopt(zmq.RCVMORE):
                return data
            while self._socket.getsockopt(zmq.RCVMORE):
                self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise DriverError(f"{self._config.endpoint}: {error.strerror}") from None
        return b""

    def _note(self, line: str, now_ns: int) -> None:
        if self._noted_ns is None or now_ns - self._noted_ns >= NOTE_NS:
            self._noted_ns = now_ns
            sys.stderr.write(f"leader at {self._config.endpoint}: {line}\n")
