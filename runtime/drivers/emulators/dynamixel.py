"""An arm of Dynamixel servos down to the bytes on its bus: the answers, their timing, and the faults it can have."""

from __future__ import annotations

import contextlib
import os
import tty
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.clock import NS_PER_MS
from runtime.drivers.base import DriverError
from runtime.drivers.emulators.base import Behind
from runtime.drivers.emulators.inject import Injections
from runtime.drivers.emulators.servo import Servo
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import (
    CLOSED_RAD,
    LEADER_CLOSED_RAD,
    LEADER_OPEN_RAD,
    OPEN_RAD,
    gripper_fraction,
    gripper_rad,
    led_fraction,
)
from runtime.drivers.interbotix.protocol import ALERT, BROADCAST, HEADER, Instruction, Packet, Parser, Refusal, crc
from runtime.drivers.interbotix.table import NO_SHADOW, TORQUE_NM_PER_A, ServoSpec, joint_servos
from runtime.layout import ARM_DOF, ARM_GRIPPER

NS_PER_BYTE: Final = 10_000
"""Ten bits at 1 Mbaud."""
RETURN_DELAY_UNIT_NS: Final = 2_000
STALE_NS: Final = 20 * NS_PER_MS
"""A packet that has begun and does not go on is forgotten."""
READ_BYTES: Final = 4096
NOISE: Final = b"\xff\x13\xff\xff\xfd\x00\x42"
FAULTY: Final = 5
"""The servo that faults of one servo are of: the elbow's shadow; limits and reversal are those of the elbow, 4."""
_HARDWARE: Final = {
    "input-voltage": 0x01,
    "overheating": 0x04,
    "encoder": 0x08,
    "electrical-shock": 0x10,
    "overload": 0x20,
}
_WRONG: Final = {
    "wrong-drive-mode": (4, table.DRIVE_MODE, 0),
    "wrong-limits": (4, table.POSITION_MAX, 4095),
    "wrong-mode": (1, table.OPERATING_MODE, 4),
    "wrong-shadow": (5, table.SHADOW_ID, 255),
    "wrong-model": (8, table.MODEL_NUMBER, 1120),
    "wrong-current-limit": (9, table.CURRENT_LIMIT, 1193),
    "slow-answers": (6, table.RETURN_DELAY, 250),
    "torque-by-goal": (7, table.DRIVE_MODE, 9),
}
FAULTS: Final = (
    *_HARDWARE,
    *_WRONG,
    "silent",
    "silent-servo",
    "corrupt",
    "noise",
    "hot",
    "voltage-low",
    "shadow-apart",
    "torque-lost",
    "unplugged",
)
"""Names that `inject` takes."""


@dataclass(frozen=True)
class GripperJoint:
    """How a build's gripper joint and the opening of `Behind` are each other."""

    to_fraction: Callable[[float], float] = gripper_fraction
    to_rad: Callable[[float], float] = gripper_rad


def leader_gripper() -> GripperJoint:
    """Return the gripper joint of a WidowX leader, inverse to what its driver makes of it."""
    span_rad = LEADER_OPEN_RAD - LEADER_CLOSED_RAD

    def to_rad(fraction: float) -> float:
        return LEADER_CLOSED_RAD + (gripper_rad(fraction) - CLOSED_RAD) / (OPEN_RAD - CLOSED_RAD) * span_rad

    return GripperJoint(lambda rad: led_fraction(rad, LEADER_CLOSED_RAD, LEADER_OPEN_RAD), to_rad)


class DynamixelDevice:
    """The servos of a bus and the arm that they move. Without torque the arm stays: its fall is not simulated."""

    def __init__(self, specs: tuple[ServoSpec, ...], behind: Behind, gripper: GripperJoint | None = None) -> None:
        self._behind, self._gripper = behind, gripper or GripperJoint()
        self.servos = {spec.servo_id: Servo(spec) for spec in specs}
        self._joints = joint_servos(specs)
        self._joint_of = {spec.servo_id: joint for joint, spec in enumerate(self._joints)}
        for spec in specs:
            if spec.shadows != NO_SHADOW:
                self._joint_of[spec.servo_id] = self._joint_of[spec.shadows]
        self._share = [list(self._joint_of.values()).count(joint) for joint in range(ARM_DOF)]
        self._angles = [0.0] * ARM_DOF
        self._stepped_ns = 0
        self._moved = False
        self._kept: dict[str, int] = {}
        self._minded: set[str] = set()
        self.faults: set[str] = set()
        self.drops = 0
        """How often torque was taken off a servo by the host."""

    def step(self, now_ns: int) -> None:
        """Mind the watchdogs, and move what has a goal."""
        late = [servo for servo in self.servos.values() if servo.overdue(now_ns)]
        if late or self._moved:
            self._measure()
        for servo in late:
            servo.stop(self._angles[self._joint_of[servo.spec.servo_id]])
            self._moved = True
        span_ns, self._stepped_ns = now_ns - self._stepped_ns, now_ns
        if not self._moved:
            return
        under_way = False
        for servo_id, servo in self.servos.items():
            under_way |= servo.advance(span_ns * 1e-9, self._angles[self._joint_of[servo_id]])
        if any(servo.torque for servo in self.servos.values()):
            self._move(now_ns)
        self._moved = under_way

    def _measure(self) -> None:
        """Take the arm's state into the servos' tables."""
        state = self._behind.state()
        if state is None:
            return
        angles: list[float] = state["position"].tolist()
        angles[ARM_GRIPPER] = self._gripper.to_rad(angles[ARM_GRIPPER])
        self._angles = angles
        velocity, effort = state["velocity"].tolist(), state["effort"].tolist()
        velocity[ARM_GRIPPER] = 0.0
        for servo_id, servo in self.servos.items():
            joint = self._joint_of[servo_id]
            apart = 0.2 if "shadow-apart" in self.faults and servo_id == FAULTY else 0.0
            torque_nm = effort[joint] / self._share[joint]
            servo.be_at(angles[joint] + apart, velocity[joint], torque_nm / TORQUE_NM_PER_A[servo.spec.model])

    def _move(self, now_ns: int) -> None:
        target = list(self._angles)
        for joint, spec in enumerate(self._joints):
            servo = self.servos[spec.servo_id]
            target[joint] = servo.goal_rad if servo.torque else self._angles[joint]
        target[ARM_GRIPPER] = self._gripper.to_fraction(target[ARM_GRIPPER])
        self._behind.command(np.array(target), now_ns)

    def mind_faults(self) -> None:
        """Take up the faults that were switched on, and end those that were switched off."""
        if self.faults == self._minded:
            return
        self._minded = set(self.faults)
        for servo in self.servos.values():
            servo.set(table.VOLTAGE, 92 if "voltage-low" in self.faults else 120)
            if "torque-lost" in self.faults:
                servo.set(table.TORQUE, 0)
        for name, (servo_id, entry, value) in _WRONG.items():
            if servo_id not in self.servos:
                continue
            servo = self.servos[servo_id]
            if name in self.faults and name not in self._kept:
                self._kept[name] = servo.get(entry)
                servo.set(entry, value)
            elif name not in self.faults and name in self._kept:
                servo.set(entry, self._kept.pop(name))
        failing = self.servos[FAULTY]
        failing.set(table.TEMPERATURE, 75 if "hot" in self.faults else 38)
        error = sum(bit for name, bit in _HARDWARE.items() if name in self.faults)
        if error:
            failing.fail(error)
        elif failing.get(table.HARDWARE_ERROR):
            # Switched off and on again by its operator.
            failing.reboot()

    def receive(self, packet: Packet, now_ns: int) -> Iterator[tuple[int, bytes]]:
        """Take an instruction; yield each answer with the delay of its servo, in the order of the bus."""
        self._measure()
        for servo in self.servos.values():
            servo.heard_ns = now_ns
        parameters, instruction = packet.parameters, packet.instruction
        if instruction == Instruction.SYNC_READ:
            yield from self._read_all(_sync_ranges(parameters))
        elif instruction == Instruction.BULK_READ:
            yield from self._read_all(_bulk_ranges(parameters))
        elif instruction == Instruction.FAST_SYNC_READ:
            yield from self._read_fast(_sync_ranges(parameters))
        elif instruction == Instruction.SYNC_WRITE:
            self._write_all(_sync_writes(parameters))
        elif instruction == Instruction.BULK_WRITE:
            self._write_all(_bulk_writes(parameters))
        elif instruction == Instruction.ACTION:
            yield from self._act(packet.servo_id)
        elif instruction != Instruction.STATUS:
            yield from self._answer(packet)

    def _answer(self, packet: Packet) -> Iterator[tuple[int, bytes]]:
        """Instructions to one servo, or by broadcast to all."""
        everyone = packet.servo_id == BROADCAST
        for servo_id, servo in self.servos.items():
            mine = servo_id == packet.servo_id
            if not (mine or everyone or servo.shadow_of == packet.servo_id):
                continue
            refusal, data = self._obey(servo, packet)
            # A shadow obeys in silence, and a broadcast is answered by pings only.
            if mine or (everyone and packet.instruction == Instruction.PING):
                yield from self._status(servo, refusal, data)

    def _obey(self, servo: Servo, packet: Packet) -> tuple[Refusal, bytes]:
        parameters = packet.parameters
        if packet.instruction == Instruction.PING:
            return Refusal.NONE, bytes([*servo.table[:2], servo.table[6]])
        if packet.instruction == Instruction.READ:
            if len(parameters) != 4:
                return Refusal.LENGTH, b""
            return servo.read(_word(parameters, 0), _word(parameters, 2))
        if packet.instruction in {Instruction.WRITE, Instruction.REG_WRITE}:
            if len(parameters) < 3:
                return Refusal.LENGTH, b""
            address, data = _word(parameters, 0), parameters[2:]
            if packet.instruction == Instruction.REG_WRITE:
                servo.registered = address, data
                servo.set(table.REGISTERED, 1)
                return Refusal.NONE, b""
            return self._write(servo, address, data), b""
        if packet.instruction == Instruction.REBOOT:
            servo.reboot()
            return Refusal.NONE, b""
        # A factory reset would lose what the arm is: refused, as is what the protocol does not have.
        return (Refusal.RESULT if packet.instruction == Instruction.FACTORY_RESET else Refusal.INSTRUCTION), b""

    def _write(self, servo: Servo, address: int, data: bytes) -> Refusal:
        held = servo.torque
        refusal = servo.write(address, data)
        if "torque-lost" in self.faults:
            servo.set(table.TORQUE, 0)
        else:
            self.drops += held and not servo.torque
        self._moved |= servo.torque and not held
        end = address + len(data)
        # A goal from before is gone to when the watchdog is cleared.
        moving = (table.GOAL_POSITION, table.BUS_WATCHDOG)
        self._moved |= refusal is Refusal.NONE and any(address <= entry.address < end for entry in moving)
        return refusal

    def _write_all(self, writes: Iterable[tuple[int, int, bytes]]) -> None:
        for servo_id, address, data in writes:
            for servo in self.servos.values():
                if servo_id in {servo.spec.servo_id, servo.shadow_of}:
                    self._write(servo, address, data)

    def _act(self, servo_id: int) -> Iterator[tuple[int, bytes]]:
        for servo in self.servos.values():
            if servo_id not in {servo.spec.servo_id, BROADCAST}:
                continue
            refusal = Refusal.RESULT
            if servo.registered is not None:
                refusal = self._write(servo, *servo.registered)
                servo.registered = None
                servo.set(table.REGISTERED, 0)
            if servo_id != BROADCAST:
                yield from self._status(servo, refusal, b"")

    def _read_all(self, ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
        for servo_id, address, size in ranges:
            if servo_id not in self.servos or self._silent(servo_id):
                # Each waits for the answer of the one before.
                return
            servo = self.servos[servo_id]
            yield from self._status(servo, *servo.read(address, size))

    def _read_fast(self, ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
        asked = list(ranges)
        if any(servo_id not in self.servos or self._silent(servo_id) for servo_id, _, _ in asked):
            return
        length = 1 + sum(4 + size for _, _, size in asked)
        answer = HEADER + bytes([BROADCAST]) + length.to_bytes(2, "little") + bytes([Instruction.STATUS])
        for servo_id, address, size in asked:
            servo = self.servos[servo_id]
            refusal, data = servo.read(address, size)
            answer += bytes([self._error(servo, refusal), servo_id]) + data.ljust(size, b"\0")
            answer += crc(answer).to_bytes(2, "little")
        yield 0, answer

    def _status(self, servo: Servo, refusal: Refusal, data: bytes) -> Iterator[tuple[int, bytes]]:
        if self._silent(servo.spec.servo_id):
            return
        parameters = bytes([self._error(servo, refusal)]) + data
        raw = Packet(servo.spec.servo_id, Instruction.STATUS, parameters).pack()
        if "corrupt" in self.faults:
            raw = raw[:-1] + bytes([raw[-1] ^ 0x55])
        if "noise" in self.faults:
            raw = NOISE[: servo.spec.servo_id % len(NOISE)] + raw
        yield servo.get(table.RETURN_DELAY) * RETURN_DELAY_UNIT_NS, raw

    def _error(self, servo: Servo, refusal: Refusal) -> int:
        return refusal | (ALERT if servo.get(table.HARDWARE_ERROR) else 0)

    def _silent(self, servo_id: int) -> bool:
        return "silent" in self.faults or ("silent-servo" in self.faults and servo_id == FAULTY)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _sync_ranges(parameters: bytes) -> Iterator[tuple[int, int, int]]:
    for servo_id in parameters[4:]:
        yield servo_id, _word(parameters, 0), _word(parameters, 2)


def _bulk_ranges(parameters: bytes) -> Iterator[tuple[int, int, int]]:
    for at in range(0, len(parameters) - 4, 5):
        yield parameters[at], _word(parameters, at + 1), _word(parameters, at + 3)


def _sync_writes(parameters: bytes) -> Iterator[tuple[int, int, bytes]]:
    address, size = _word(parameters, 0), _word(parameters, 2)
    for at in range(4, len(parameters) - size, size + 1):
        yield parameters[at], address, parameters[at + 1 : at + 1 + size]


def _bulk_writes(parameters: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 5 <= len(parameters):
        size = _word(parameters, at + 3)
        yield parameters[at], _word(parameters, at + 1), parameters[at + 5 : at + 5 + size]
        at += 5 + size


class Pty:
    """A pseudo terminal with a fixed name, in place of a serial device."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sent_bytes = 0
        try:
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            path.unlink(missing_ok=True)
            path.symlink_to(os.ttyname(self._slave))
        except OSError as error:
            raise DriverError(f"emulated port {path}: {error.strerror or error}") from None

    def receive(self) -> bytes:
        """Return what the host has sent."""
        try:
            return os.read(self._master, READ_BYTES)
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        """Send bytes to the host; one that does not read them loses them."""
        with contextlib.suppress(OSError):
            self.sent_bytes += os.write(self._master, data)

    def close(self) -> None:
        """Be unplugged."""
        self._path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)


class DynamixelEmulator:
    """A device on its bus, with faults from outside; implements `ArmEmulator`.

    `path` is where the port is found, `bus` the name that faults are injected by.
    """

    def __init__(
        self, specs: tuple[ServoSpec, ...], behind: Behind, path: Path, bus: str, gripper: GripperJoint | None = None
    ) -> None:
        self.device = DynamixelDevice(specs, behind, gripper)
        self._path, self._bus = path, bus
        self._pty: Pty | None = None
        self._injections: Injections | None = None
        self._parser = Parser()
        self._heard_ns = 0
        self._late: deque[tuple[int, bytes]] = deque()

    def open(self) -> None:
        """Bring the port up."""
        self._injections = Injections(self._bus)
        self._pty = Pty(self._path)

    def step(self, now_ns: int) -> None:
        """Take what was sent, and send what the servos have answered by now."""
        if self._injections is None:
            raise DriverError(f"emulated port {self._path} is not open")
        self._injections.poll()
        self.device.faults = self._injections.faults
        self.device.mind_faults()
        if "unplugged" in self.device.faults:
            self._unplug()
            self.device.step(now_ns)
            return
        if self._pty is None:
            self._pty = Pty(self._path)
        received = self._pty.receive()
        if received:
            self._heard_ns = now_ns
        elif now_ns - self._heard_ns > STALE_NS:
            self._parser.reset()
        due_ns = now_ns
        for packet in self._parser.feed(received):
            for delay_ns, answer in self.device.receive(packet, now_ns):
                due_ns += delay_ns + len(answer) * NS_PER_BYTE
                self._late.append((due_ns, answer))
            # What waited in the port while this process did not run is done one after the other.
            self.device.step(now_ns)
        self.device.step(now_ns)
        answers = b""
        while self._late and self._late[0][0] <= now_ns:
            answers += self._late.popleft()[1]
        if answers:
            self._pty.send(answers)

    def _unplug(self) -> None:
        self._late.clear()
        if self._pty is not None:
            self._pty.close()
            self._pty = None

    def close(self) -> None:
        """Take the port down."""
        self._unplug()
        if self._injections is not None:
            self._injections.close()
