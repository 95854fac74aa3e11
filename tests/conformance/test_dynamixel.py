"""The vendor's own SDK, unmodified: it agrees with our packets byte for byte, and drives the emulated servos."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dynamixel_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.arms import VX300S
from runtime.drivers.emulators.dynamixel import DynamixelEmulator
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.feedback import MOTION
from runtime.drivers.interbotix.protocol import HEADER, Instruction, Packet, Parser, Refusal, crc, stuff, unstuff
from runtime.drivers.interbotix.table import VX300S_SERVOS
from tests.fake_arm import KinematicArm

SDK = dynamixel_sdk.PacketHandler(2.0)
OK = dynamixel_sdk.COMM_SUCCESS
IDS = tuple(servo.servo_id for servo in VX300S_SERVOS)
LATENCY_MS = 200
"""Patience with a shared machine: the SDK gives up after twice this."""
# Bytes in which headers are likely.
BODY = st.lists(st.sampled_from([0xFF, 0xFD, 0x00, 0x55]) | st.integers(0, 255), max_size=60).map(bytes)


@given(BODY)
def test_checksums_are_the_vendors(data: bytes) -> None:
    assert crc(data) == SDK.updateCRC(0, data, len(data))


@given(st.integers(1, 252), st.sampled_from([Instruction.WRITE, Instruction.STATUS]), BODY)
def test_packets_are_the_vendors_byte_for_byte(servo_id: int, instruction: Instruction, body: bytes) -> None:
    class Wire:
        is_using = False
        written: list[int]

        def clearPort(self) -> None:  # noqa: N802
            pass

        def writePort(self, packet: list[int]) -> int:  # noqa: N802
            self.written = packet
            return len(packet)

    wire = Wire()
    packet = [0] * (len(body) + 10)
    packet[4], packet[5], packet[6] = servo_id, (len(body) + 3) & 0xFF, (len(body) + 3) >> 8
    packet[7 : 8 + len(body)] = [instruction, *body]
    assert SDK.txPacket(wire, packet) == OK
    assert Packet(servo_id, instruction, body).pack() == bytes(wire.written)


@given(BODY)
def test_stuffing_leaves_no_header_and_is_undone(body: bytes) -> None:
    stuffed = stuff(b"\x03" + body)
    assert HEADER not in stuffed
    assert unstuff(stuffed) == b"\x03" + body


@given(st.lists(st.tuples(st.integers(0, 252), BODY), max_size=5), BODY, st.data())
def test_packets_are_found_in_any_pieces_behind_any_noise(
    sent: list[tuple[int, bytes]], noise: bytes, data: st.DataObject
) -> None:
    """Noise without a whole header is passed over; what is cut in pieces is put together."""
    noise = noise.replace(HEADER, b"").replace(b"\xff\xff\xfd", b"")
    stream = b"".join(noise + Packet(i, Instruction.STATUS, body).pack() for i, body in sent)
    parser, found = Parser(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += parser.feed(stream[:cut])
        stream = stream[cut:]
    wanted = [Packet(i, Instruction.STATUS, body) for i, body in sent]
    assert [packet for packet in found if packet in wanted] == wanted


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    parser = Parser()
    list(parser.feed(data))
    parser.reset()
    good = Packet(3, Instruction.PING)
    assert list(parser.feed(good.pack())) == [good]


@given(BODY, st.integers(4, 60), st.integers(1, 255))
def test_a_changed_byte_is_never_a_different_packet(body: bytes, at: int, change: int) -> None:
    raw = bytearray(Packet(3, Instruction.STATUS, body).pack())
    raw[min(at, len(raw) - 1)] ^= change
    assert list(Parser().feed(bytes(raw))) == []


@dataclass
class Bench:
    """Emulated servos that run by themselves, and the SDK's port to them."""

    emulator: DynamixelEmulator
    behind: KinematicArm
    port: Any

    @property
    def faults(self) -> set[str]:
        if self.emulator._injections is None:
            raise LookupError("closed")
        return self.emulator._injections.faults


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(dynamixel_sdk.port_handler, "LATENCY_TIMER", LATENCY_MS)
    behind = KinematicArm(VX300S)
    emulator = DynamixelEmulator(VX300S_SERVOS, behind, tmp_path / "port", f"leadtime-test-{tmp_path.name}-sdk")
    emulator.open()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            behind.step(time.monotonic_ns())
            emulator.step(time.monotonic_ns())
            time.sleep(1e-4)

    thread = threading.Thread(target=work)
    thread.start()
    port = dynamixel_sdk.PortHandler(str(tmp_path / "port"))
    try:
        assert port.openPort()
        yield Bench(emulator, behind, port)
    finally:
        stop.set()
        thread.join()
        port.closePort()
        emulator.close()


def write(bench: Bench, servo_id: int, entry: table.Entry, value: int) -> tuple[int, int]:
    result, error = SDK.writeTxRx(bench.port, servo_id, entry.address, entry.size, list(entry.pack(value)))
    return result, error


def test_it_finds_every_servo_by_its_model(bench: Bench) -> None:
    for servo in VX300S_SERVOS:
        assert SDK.ping(bench.port, servo.servo_id) == (servo.model, OK, 0)


def test_it_reads_one_servo_and_all_at_once_slow_and_fast(bench: Bench) -> None:
    ticks, result, error = SDK.read4ByteTxRx(bench.port, 7, table.POSITION.address)
    assert (result, error) == (OK, 0)
    assert ticks == pytest.approx(2048 + VX300S.home[4] * 4096 / 6.2832, abs=1)
    address, size = table.BLOCK_MOTION
    for reads in ("txRxPacket", "fastSyncRead"):
        group = dynamixel_sdk.GroupSyncRead(bench.port, SDK, address, size)
        for servo_id in IDS:
            group.addParam(servo_id)
        assert getattr(group, reads)() == OK
        for servo_id, servo in bench.emulator.device.servos.items():
            assert group.getData(servo_id, 132, 4) == servo.get(table.POSITION)
            assert len(group.data_dict[servo_id]) == MOTION.size


def test_it_reads_different_entries_at_once(bench: Bench) -> None:
    group = dynamixel_sdk.GroupBulkRead(bench.port, SDK)
    group.addParam(2, table.POSITION_MIN.address, 4)
    group.addParam(9, table.CURRENT_LIMIT.address, 2)
    assert group.txRxPacket() == OK
    assert (group.getData(2, table.POSITION_MIN.address, 4), group.getData(9, 38, 2)) == (841, 200)


def test_it_moves_the_arm_by_sync_write_and_the_shadows_follow(bench: Bench) -> None:
    for servo_id in (1, 2, 4):
        goal = bench.emulator.device.servos[servo_id].get(table.POSITION)
        assert write(bench, servo_id, table.GOAL_POSITION, goal) == (OK, 0)
        assert write(bench, servo_id, table.TORQUE, 1) == (OK, 0)
    assert bench.emulator.device.servos[3].torque
    group = dynamixel_sdk.GroupSyncWrite(bench.port, SDK, table.GOAL_POSITION.address, 4)
    group.addParam(1, list(table.GOAL_POSITION.pack(2248)))
    group.addParam(2, list(table.GOAL_POSITION.pack(1700)))
    assert group.txPacket() == OK
    wait(lambda: abs(SDK.read4ByteTxRx(bench.port, 1, table.POSITION.address)[0] - 2248) <= 1)
    wait(lambda: abs(SDK.read4ByteTxRx(bench.port, 3, table.POSITION.address)[0] - 1700) <= 1)
    assert bench.emulator.device.servos[3].get(table.GOAL_POSITION) == 1700
    assert bench.behind.position[0] > 0.3


def test_a_registered_write_waits_for_its_action(bench: Bench) -> None:
    data = list(table.LED.pack(1))
    assert SDK.regWriteTxRx(bench.port, 6, table.LED.address, 1, data) == (OK, 0)
    assert SDK.read1ByteTxRx(bench.port, 6, table.LED.address)[0] == 0
    assert SDK.read1ByteTxRx(bench.port, 6, table.REGISTERED.address)[0] == 1
    # The SDK waits for no answer to an action: a late one shifts the answers that come after it.
    SDK.action(bench.port, 6)
    wait(lambda: SDK.read1ByteTxRx(bench.port, 6, table.LED.address) == (1, OK, 0))
    wait(lambda: SDK.read1ByteTxRx(bench.port, 6, table.REGISTERED.address) == (0, OK, 0))


def test_what_a_servo_does_not_take_is_refused_with_its_error(bench: Bench) -> None:
    assert write(bench, 1, table.TORQUE, 1) == (OK, 0)
    assert write(bench, 1, table.POSITION_MAX, 3000) == (OK, Refusal.ACCESS)  # kept, under torque
    assert write(bench, 1, table.POSITION, 0) == (OK, Refusal.ACCESS)  # measured
    assert write(bench, 1, table.TORQUE, 2) == (OK, Refusal.RANGE)
    assert write(bench, 2, table.GOAL_POSITION, 840) == (OK, Refusal.LIMIT)
    assert write(bench, 2, table.GOAL_POSITION, 841) == (OK, 0)
    assert SDK.readTxRx(bench.port, 1, 900, 4)[1:] == (OK, Refusal.ACCESS)
    assert SDK.factoryReset(bench.port, 1, 0xFF)[0] == OK
    assert SDK.factoryReset(bench.port, 1, 0xFF)[1] == Refusal.RESULT


def test_a_hardware_error_is_an_alert_and_takes_the_torque_until_a_reboot(bench: Bench) -> None:
    assert write(bench, 5, table.TORQUE, 1) == (OK, 0)
    bench.faults.add("overload")
    wait(lambda: SDK.ping(bench.port, 5)[2] == 0x80)
    assert SDK.read1ByteTxRx(bench.port, 5, table.HARDWARE_ERROR.address)[0] == 0x20
    assert write(bench, 5, table.TORQUE, 1) == (OK, 0x80 | Refusal.RESULT)
    bench.faults.discard("overload")
    wait(lambda: SDK.ping(bench.port, 5)[2] == 0)
    assert SDK.reboot(bench.port, 5) == (OK, 0)
    assert write(bench, 5, table.TORQUE, 1) == (OK, 0)


def test_a_silent_servo_a_spoilt_answer_and_noise_are_what_the_sdk_says_they_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.faults.add("noise")
    assert SDK.ping(bench.port, 4)[1:] == (OK, 0)
    monkeypatch.setattr(dynamixel_sdk.port_handler, "LATENCY_TIMER", 20)
    bench.faults.clear()
    bench.faults.add("silent-servo")
    assert SDK.ping(bench.port, 5)[1] == dynamixel_sdk.COMM_RX_TIMEOUT
    bench.faults.clear()
    bench.faults.add("corrupt")
    assert SDK.ping(bench.port, 4)[1] == dynamixel_sdk.COMM_RX_CORRUPT


def wait(what: Any, span_s: float = 10.0) -> None:
    until_s = time.monotonic() + span_s
    while not what():
        assert time.monotonic() < until_s
