"""The servos of one bus: one question at a time, never waited for; writes between questions only.

The bus carries one direction at a time, so that a write into an answer would spoil both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.clock import NS_PER_MS, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.interbotix.port import Port
from runtime.drivers.interbotix.protocol import ALERT, OVERHEAD_BYTES, Instruction, Parser, sync_read, sync_write
from runtime.drivers.interbotix.table import ServoSpec

SLACK_NS: Final = 6 * NS_PER_MS
"""Beyond the bytes' own time: the adapter's latency, the servos' own, and a host that looks every 5 ms."""
NS_PER_BYTE_AT_1M: Final = 10_000
ATTEMPTS: Final = 5
POLL_NS: Final = NS_PER_MS


@dataclass(frozen=True)
class Reading:
    """What every servo answered, by id, to the question asked at `t_ns`; `alerts` have a hardware error."""

    address: int
    t_ns: int
    data: dict[int, bytes]
    alerts: frozenset[int]


@dataclass
class _Asked:
    address: int
    size: int
    t_ns: int
    until_ns: int
    left: list[int]
    data: dict[int, bytes] = field(default_factory=dict)
    alerts: set[int] = field(default_factory=set)


class Servos:
    """Asks and tells the servos of a bus. `name` is what errors call it."""

    def __init__(self, port: Port, servos: Sequence[ServoSpec], name: str, baud: int = 1_000_000) -> None:
        self._port, self._name = port, name
        self.specs = {servo.servo_id: servo for servo in servos}
        self._byte_ns = NS_PER_BYTE_AT_1M * 1_000_000 // baud
        self._parser = Parser()
        self._asked: _Asked | None = None
        self._told = b""
        self.missing: tuple[int, ...] = ()
        """Who did not answer the last question."""
        self.timeouts = 0

    @property
    def corrupt(self) -> int:
        """How many answers were spoilt on their way."""
        return self._parser.corrupt

    def busy(self, now_ns: int) -> bool:
        """Whether answers may still be under way; a question that was not answered in time is given up here."""
        asked = self._asked
        if asked is None:
            return False
        if now_ns < asked.until_ns:
            return True
        self._asked, self.missing = None, tuple(asked.left)
        self.timeouts += 1
        return False

    def ask(self, now_ns: int, address: int, size: int) -> None:
        """Send what was told, and ask every servo for `size` bytes at an address; only while not `busy`."""
        # What came late is not this question's answer.
        self._port.receive()
        self._parser.reset()
        request, self._told = self._told + sync_read(self.specs, address, size), b""
        bytes_due = len(request) + len(self.specs) * (OVERHEAD_BYTES + 1 + size)
        until_ns = now_ns + bytes_due * self._byte_ns + SLACK_NS
        self._asked = _Asked(address, size, now_ns, until_ns, list(self.specs))
        self._port.send(request)

    def tell(self, address: int, data: dict[int, bytes]) -> None:
        """Write bytes of one size at an address of some servos, with the next question; nobody answers."""
        if data:
            self._told += sync_write(address, data)

    def flush(self) -> None:
        """Send what was told without a question; only while not `busy`."""
        told, self._told = self._told, b""
        self._port.send(told)

    def poll(self) -> Reading | None:
        """Take what has come; return the answers when they are all there."""
        received = self._port.receive()
        if not received:
            return None
        for packet in self._parser.feed(received):
            asked = self._asked
            if asked is None or packet.instruction != Instruction.STATUS or packet.servo_id not in asked.left:
                continue
            if len(packet.data) != asked.size:
                continue
            asked.left.remove(packet.servo_id)
            asked.data[packet.servo_id] = packet.data
            if packet.error & ALERT:
                asked.alerts.add(packet.servo_id)
            if not asked.left:
                self._asked, self.missing = None, ()
                return Reading(asked.address, asked.t_ns, asked.data, frozenset(asked.alerts))
        return None

    def fetch(self, clock: Clock, address: int, size: int, attempts: int = ATTEMPTS) -> Reading:
        """Ask and wait, at an opening; DriverError names the servos that do not answer."""
        for _ in range(attempts):
            self.ask(clock.now_ns(), address, size)
            while self.busy(clock.now_ns()):
                reading = self.poll()
                if reading is not None:
                    return reading
                clock.sleep_until_ns(clock.now_ns() + POLL_NS)
        raise DriverError(f"{self._name}: {self.silence()}")

    def silence(self) -> str:
        """Return who does not answer, and what to check."""
        if len(self.missing) == len(self.specs):
            return "no servo answers: check the arm's supply, the cable and the baud rate"
        # Answers go from servo to servo: those behind a silent one may be silent because of it.
        first = self.specs[self.missing[0]].label if self.missing else "a servo"
        return f"{first} does not answer: check its cable, and reboot it if its light flashes"
