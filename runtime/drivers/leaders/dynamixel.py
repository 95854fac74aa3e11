"""A leader arm of Dynamixel servos without torque: a WidowX 250 S, or a GELLO."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, Clock
from runtime.devices import DynamixelLeader
from runtime.drivers.base import DriverError, LeaderReading, LeaderSample
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import LEADER_CLOSED_RAD, LEADER_OPEN_RAD, led_fraction, ticks_to_rad
from runtime.drivers.interbotix.port import Port, open_port
from runtime.drivers.interbotix.servos import Reading, Servos
from runtime.drivers.interbotix.table import GELLO_SERVOS, WX250S_SERVOS, joint_servos
from runtime.layout import ARM_DOF, ARM_GRIPPER

LOST_NS: Final = 50 * NS_PER_MS
ATTEMPTS: Final = 2
"""Of a question at the opening. The others wait meanwhile: 15 ms at 1 Mbaud, of the 40 they may be silent for."""
_SERVOS: Final = {"wx250s": WX250S_SERVOS, "gello": GELLO_SERVOS}


class DynamixelLeaderArm:
    """Reads where a person holds a leader; implements `LeaderDriver`.

    `read` never waits: one question is under way at a time, and is followed by the next as soon as all have answered,
    more than a hundred a second. A GELLO's joint is `sign * (read - zero)`.
    """

    def __init__(self, config: DynamixelLeader, connect: Callable[[], Port], clock: Clock) -> None:
        self._config, self._connect, self._clock = config, connect, clock
        self._name = f"leader {config.model} on {config.port}"
        self._specs = _SERVOS[config.model]
        self._joints = joint_servos(self._specs)
        self._signs = np.array(config.signs or (1,) * ARM_DOF, dtype=float)
        self._zeros_rad = np.array(config.zeros_rad or (0.0,) * ARM_DOF)
        self._port: Port | None = None
        self._servos: Servos | None = None
        self._heard_ns = self._looked_ns = 0

    def open(self) -> None:
        """Connect, see that every servo answers and is the build's, and take the torque off: the leader goes slack.

        Raises:
            DriverError: there is no port, a servo is silent or reads reversed, or the configuration does not fit.
        """
        self._require_configured()
        self._port = self._connect()
        try:
            self._servos = servos = Servos(self._port, self._specs, self._name, self._config.baud)
            modes = servos.fetch(self._clock, table.DRIVE_MODE.address, table.DRIVE_MODE.size, ATTEMPTS)
            self._require_directions(modes)
            servos.tell(table.TORQUE.address, dict.fromkeys(servos.specs, b"\0"))
            torques = servos.fetch(self._clock, table.TORQUE.address, table.TORQUE.size, ATTEMPTS)
            held = [servos.specs[i].label for i, data in torques.data.items() if table.TORQUE.unpack(data)]
            if held:
                raise DriverError(f"{self._name}: {held[0]} keeps its torque: a person could not lead it")
        except DriverError:
            self.close()
            raise

    def read(self, now_ns: int, follower: NDArray[np.float64]) -> LeaderReading:  # noqa: ARG002
        """Return the newest joints of the arm's side, if all servos have answered since.

        Raises:
            DriverError: the port is gone, or a servo has not answered for 50 ms.
        """
        if self._servos is None:
            raise DriverError(f"{self._name} is not open")
        if now_ns - self._looked_ns > LOST_NS // 2:
            # Silence counts only while somebody looks: nobody did between the opening and now, or in a pause.
            self._heard_ns = now_ns
        self._looked_ns = now_ns
        reading = self._servos.poll()
        if reading is not None:
            self._heard_ns = now_ns
        elif now_ns - self._heard_ns > LOST_NS:
            raise DriverError(f"{self._name}: {self._servos.silence()}")
        if not self._servos.busy(now_ns):
            self._servos.ask(now_ns, table.POSITION.address, table.POSITION.size)
        if reading is None:
            return LeaderReading()
        sample = LeaderSample(self._config.side, reading.t_ns, self._position(reading), clutch=True)
        return LeaderReading((sample,))

    def close(self) -> None:
        """Let the port go; the leader stays slack."""
        if self._port is not None:
            self._port.close()
        self._port = self._servos = None

    def _position(self, reading: Reading) -> NDArray[np.float64]:
        read = [ticks_to_rad(table.POSITION.unpack(reading.data[servo.servo_id])) for servo in self._joints]
        position: NDArray[np.float64] = self._signs * (np.array(read) - self._zeros_rad)
        closed_rad, open_rad = self._config.gripper_rad or (LEADER_CLOSED_RAD, LEADER_OPEN_RAD)
        position[ARM_GRIPPER] = led_fraction(read[ARM_GRIPPER], closed_rad, open_rad)
        return position

    def _require_configured(self) -> None:
        config = self._config
        gello = config.model == "gello"
        for key, value in (("signs", config.signs), ("zeros_rad", config.zeros_rad)):
            if len(value) not in ({ARM_DOF} if gello else {0, ARM_DOF}):
                raise DriverError(f"{self._name}: {key} has {len(value)} numbers; give seven, the gripper's last")
        if not set(config.signs) <= {1, -1} or not all(map(math.isfinite, config.zeros_rad)):
            raise DriverError(f"{self._name}: signs are 1 or -1 each, zeros_rad finite")
        if gello and config.gripper_rad is None:
            raise DriverError(f"{self._name}: gripper_rad is missing; give what the gripper reads closed and open")
        if config.gripper_rad is not None and config.gripper_rad[0] == config.gripper_rad[1]:
            raise DriverError(f"{self._name}: gripper_rad has the same angle for closed and open")

    def _require_directions(self, modes: Reading) -> None:
        """A WidowX' servos must turn as Interbotix sets them; a GELLO's directions are in its signs."""
        if self._config.model == "gello":
            return
        for servo in self._specs:
            mode = table.DRIVE_MODE.unpack(modes.data[servo.servo_id])
            if bool(mode & table.REVERSED) != servo.reversed:
                raise DriverError(
                    f"{self._name}: {servo.label} has drive mode {mode} where the arm has {mode ^ table.REVERSED}:"
                    f" set address {table.DRIVE_MODE.address} with Dynamixel Wizard"
                )


def open_leader(config: DynamixelLeader, clock: Clock) -> DynamixelLeaderArm:
    """Return the leader on its serial port."""
    return DynamixelLeaderArm(config, lambda: open_port(config.port, config.baud), clock)
