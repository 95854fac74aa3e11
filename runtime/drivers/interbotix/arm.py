"""An Interbotix follower as a driver: read back at opening, under torque from the first command on, held at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.first_target import require_near
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.arming import read_back
from runtime.drivers.interbotix.conversions import gripper_rad, rad_to_ticks
from runtime.drivers.interbotix.feedback import Fault, Feedback
from runtime.drivers.interbotix.port import Port, PortError
from runtime.drivers.interbotix.servos import Reading, Servos
from runtime.drivers.interbotix.table import ServoSpec, joint_servos
from runtime.drivers.patience import open_patiently
from runtime.layout import ARM_GRIPPER

SILENT_NS: Final = 200 * NS_PER_MS
"""An arm that has not answered whole for this long is lost; the guardian has braked since `state_stale_ms`."""
FAILING_NS: Final = 25 * NS_PER_MS
ENABLE_TIMEOUT_NS: Final = 2 * NS_PER_S
LOOSE_NS: Final = NS_PER_S
"""An arm that is sound but without torque for this long is to be armed anew."""
WATCHDOG_UNITS: Final = 5
WATCHDOG_NS: Final = WATCHDOG_UNITS * 20 * NS_PER_MS
"""The servos stop by themselves when the host has sent nothing for 100 ms: the guardian speaks every 7.5 ms."""
SLOW_EVERY: Final = 20
"""Questions of motion between two of the others: each of three kinds comes three times a second."""
GAIN_P: Final = 800
PROFILE_HOLD: Final = 20
"""0.48 rad/s while the arm is taken hold of: a goal from before is no jump."""
PROFILE_HOLD_MS: Final = 2000
"""The same where a servo's profiles are by time."""
_SLOW: Final = (table.BLOCK_TORQUE, table.BLOCK_HEALTH, (table.BUS_WATCHDOG.address, table.BUS_WATCHDOG.size))
_GAINS: Final = ((table.GAIN_D, 0), (table.GAIN_I, 0), (table.GAIN_P, GAIN_P))
_SETTINGS: Final = (
    *_GAINS,
    (table.BUS_WATCHDOG, WATCHDOG_UNITS),
    (table.PROFILE_ACCELERATION, 0),
    (table.PROFILE_VELOCITY, 0),
)


class InterbotixArm:
    """One arm on a port of its own; implements `ArmDriver`.

    Neither `read` nor `command` ever waits: each takes what has come, and sends what is due when the bus is free. At
    1 Mbaud a target, a question and nine answers take 2.7 ms and the adapter 1 ms, so that each servo period has its
    exchange; where it takes longer the newest target goes out with the next one, at half the rate.

    `connect` opens the port at `baud`, `name` is what errors call it. While `patience_ns` last, `open` goes on trying.
    An arm that is lost ends the guardian by a DriverError, and is read back and compared anew.
    """

    def __init__(
        self,
        model: ArmModel,
        servos: tuple[ServoSpec, ...],
        connect: Callable[[], Port],
        name: str,
        clock: Clock,
        patience_ns: int = 0,
        baud: int = 1_000_000,
    ) -> None:
        self._model, self._specs, self._connect, self._clock = model, servos, connect, clock
        self._baud = baud
        self._name = f"Interbotix arm on {name}"
        self._patience_ns = patience_ns
        self._joints = joint_servos(servos)
        self._port: Port | None = None
        self._servos = Servos(_NoPort(), servos, self._name)
        self._feedback = Feedback(servos)
        self._hold = _Hold(self._servos, self._feedback)
        self._target: NDArray[np.float64] | None = None
        self._commanded = self._led = False
        self._heard_ns = self._sound_ns = self._spoke_ns = self._failing_ns = 0
        self._questions = 0
        self._slow = 0
        self._turn = False

    def open(self) -> None:
        """Connect and compare what the servos keep with the arm's build; they are sent questions only.

        Raises:
            DriverError: there is no port, no arm, or one that differs.
        """
        open_patiently(self._arm, self._let_go, self._clock, self._patience_ns)

    def _arm(self) -> None:
        self._port = self._connect()
        self._servos = Servos(self._port, self._specs, self._name, self._baud)
        self._feedback = Feedback(self._specs)
        self._hold = _Hold(self._servos, self._feedback)
        read_back(self._servos, self._feedback, self._model, self._clock, self._name)
        self._heard_ns = self._sound_ns = self._spoke_ns = self._clock.now_ns()

    def read(self) -> NDArray[Any] | None:
        """Return the newest whole ARM_STATE, stamped when it was asked for.

        Raises:
            DriverError: the port or a servo is lost, or the arm has been without torque for long.
        """
        if self._port is None:
            raise DriverError(f"{self._name} is not open")
        now_ns = self._clock.now_ns()
        if now_ns - self._spoke_ns > WATCHDOG_NS:
            # Silence counts only while somebody asks: nobody did between the opening and now, or in a pause.
            self._heard_ns = now_ns
        reading = self._servos.poll()
        if reading is not None:
            self._take(reading, now_ns)
        elif now_ns - self._heard_ns > SILENT_NS:
            raise DriverError(f"{self._name}: {self._servos.silence()}")
        # While commands come, they and the questions go out together.
        if not self._commanded:
            self._talk(now_ns)
        self._commanded = False
        fault = self._feedback.fault
        if fault != Fault.TORQUE_LOST:
            self._sound_ns = now_ns
        elif now_ns - self._sound_ns > LOOSE_NS:
            raise DriverError(f"{self._name} has lost its torque")
        return self._feedback.state

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:  # noqa: ARG002
        """Send a target (7,); before the torque is there, hold the arm where it is and ask for torque.

        Raises:
            DriverError: the port takes no bytes, or the torque does not come, or comes late.
        """
        if self._port is None:
            raise DriverError(f"{self._name} is not open")
        self._target, self._commanded = position.copy(), True
        self._hold.begin(now_ns)
        self._talk(now_ns)

    def close(self) -> None:
        """Let the port go; the servos hold their last target under torque, with their watchdog off."""
        if self._port is not None and self._hold.done and not self._feedback.tripped:
            try:
                while self._servos.busy(self._clock.now_ns()):
                    self._servos.poll()
                    self._clock.sleep_until_ns(self._clock.now_ns() + NS_PER_MS)
                self._servos.tell(table.BUS_WATCHDOG.address, dict.fromkeys(self._servos.specs, b"\0"))
                self._servos.flush()
            except PortError:
                pass
        self._let_go()

    def _let_go(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _take(self, reading: Reading, now_ns: int) -> None:
        self._heard_ns = now_ns
        self._feedback.take(reading, holding=self._hold.done)
        self._hold.take(reading)
        if (
            reading.alerts
            and reading.address == table.CURRENT.address
            and not reading.alerts <= set(self._feedback.errors)
        ):
            self._questions = SLOW_EVERY
            self._slow = _SLOW.index(table.BLOCK_TORQUE)
        if self._feedback.tripped and reading.address == table.BUS_WATCHDOG.address:
            self._hold.again()
            self._led = False

    def _talk(self, now_ns: int) -> None:
        """Send what is due, unless answers are under way."""
        if self._servos.busy(now_ns):
            return
        if now_ns - self._spoke_ns > WATCHDOG_NS // 2:
            # After a silence of the host the servos may have stopped: ask them before they are sent anything.
            self._questions, self._slow = SLOW_EVERY, len(_SLOW) - 1
        try:
            # Every other question stays one of motion: the state must not age while the torque comes.
            self._turn = self._hold.wanted and not self._turn
            question = self._hold.step(now_ns, self._name) if self._turn else None
            if self._hold.done and self._target is not None:
                if not self._led:
                    require_near(self._name, self._target, self._feedback.state)
                self._send_target(self._target)
                self._target, self._led = None, True
            self._servos.ask(now_ns, *(question or self._question()))
        except PortError:
            # A full queue passes; a port that is gone does not.
            self._failing_ns = self._failing_ns or now_ns
            if now_ns - self._failing_ns > FAILING_NS:
                raise
        else:
            self._failing_ns, self._spoke_ns = 0, now_ns

    def _question(self) -> tuple[int, int]:
        self._questions += 1
        if self._questions <= SLOW_EVERY:
            return table.BLOCK_MOTION
        self._questions = 0
        block = _SLOW[self._slow]
        self._slow = (self._slow + 1) % len(_SLOW)
        return block

    def _send_target(self, position: NDArray[np.float64]) -> None:
        joints: list[float] = position.tolist()
        joints[ARM_GRIPPER] = gripper_rad(joints[ARM_GRIPPER])
        goals = {}
        for servo, rad in zip(self._joints, joints, strict=True):
            ticks = min(max(rad_to_ticks(rad), servo.position_min), servo.position_max)
            goals[servo.servo_id] = table.GOAL_POSITION.pack(ticks)
        self._servos.tell(table.GOAL_POSITION.address, goals)


class _Hold:
    """Takes an arm under torque where it stands, and its settings with it; verified before it is `done`."""

    def __init__(self, servos: Servos, feedback: Feedback) -> None:
        self._servos, self._feedback = servos, feedback
        self.wanted = self.done = False
        self._since_ns = 0
        self._told = self._held = False

    def begin(self, now_ns: int) -> None:
        """Want the arm under torque."""
        if not self.wanted and not self.done:
            self.wanted, self._since_ns = True, now_ns

    def again(self) -> None:
        """The servos have stopped by themselves: hold them anew, where they stand, with the next command."""
        if self.done:
            self.wanted = self.done = self._told = self._held = False

    def step(self, now_ns: int, name: str) -> tuple[int, int]:
        """Send what is missing and return what to ask."""
        if now_ns - self._since_ns > ENABLE_TIMEOUT_NS:
            servo = self._servos.specs[self._feedback.loose[0]].label if self._feedback.loose else "a servo"
            what = "torque" if self._feedback.loose else "its settings"
            raise DriverError(f"{name}: {servo} does not take {what}: check the arm's supply")
        if not self._held:
            self._told = True
            self._take_torque()
            return table.BLOCK_TORQUE
        self._every(table.PROFILE_ACCELERATION.address, bytes(8))
        self._every(table.BUS_WATCHDOG.address, table.BUS_WATCHDOG.pack(WATCHDOG_UNITS))
        return table.BLOCK_SETTINGS

    def take(self, reading: Reading) -> None:
        """Take what was asked for; what was asked before anything was told says nothing of that."""
        if not (self.wanted and self._told):
            return
        if reading.address == table.TORQUE.address and not self._feedback.loose:
            self._held = True
        elif reading.address == table.GAIN_D.address and all(map(_is_set, reading.data.values())):
            self.wanted, self.done = False, True

    def _take_torque(self) -> None:
        feedback = self._feedback
        self._every(table.GAIN_D.address, b"".join(entry.pack(value) for entry, value in _GAINS))
        none = table.PROFILE_ACCELERATION.pack(0)
        paces = {i: PROFILE_HOLD_MS if i in feedback.by_time else PROFILE_HOLD for i in self._servos.specs}
        slow = {i: none + table.PROFILE_VELOCITY.pack(pace) for i, pace in paces.items()}
        self._servos.tell(table.PROFILE_ACCELERATION.address, slow)
        self._every(table.BUS_WATCHDOG.address, b"\0")
        # The target comes before the torque: an old one in a servo's memory would be a jump.
        still = self._servos.specs if feedback.tripped else feedback.loose
        goals = {i: table.GOAL_POSITION.pack(_inside(self._servos.specs[i], feedback.ticks[i])) for i in still}
        self._servos.tell(table.GOAL_POSITION.address, goals)
        self._servos.tell(table.TORQUE.address, dict.fromkeys(feedback.loose, b"\1"))

    def _every(self, address: int, data: bytes) -> None:
        self._servos.tell(address, dict.fromkeys(self._servos.specs, data))


def _is_set(data: bytes) -> bool:
    base = table.GAIN_D.address
    return all(entry.unpack(data, base) == value for entry, value in _SETTINGS)


def _inside(servo: ServoSpec, ticks: int) -> int:
    return min(max(ticks, servo.position_min), servo.position_max)


class _NoPort:
    """Before the port is open."""

    def send(self, data: bytes) -> None:  # noqa: ARG002
        """Refuse."""
        raise PortError("the port is not open")

    def receive(self) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Nothing to let go."""
