"""ARX X5 through the compiled interface of its maker's partner, arx5-interface, which alone speaks to its motors.

Its controller runs at 500 Hz in a thread of its own. What was read in its source (real-stanford/arx5-sdk) and is
load-bearing here: it stamps a state each cycle whether or not a motor answered, so freshness is counted in frames on
the bus; opening enables the motors under damping; and its destructor lets an X5 sink.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.layout import ARM_GRIPPER, ARM_JOINTS
from runtime.shm import blank

MODEL: Final = "X5"
CONTROLLER: Final = "joint_controller"
MOTORS: Final = 7
"""Each answers every cycle; a state in which fewer did is not a new one."""
SILENT_NS: Final = 200 * NS_PER_MS
"""A bus that is silent for this long is lost; the guardian has braked since `state_stale_ms`."""
SOON: Final = 0.3
"""Servo periods from now: a target that is due sooner would be a step (the package has none within 1 ms)."""
FAR: Final = 2.0
TOLERANCE: Final = 1e-3


class Controller(Protocol):
    """What is used of `Arx5JointController`."""

    def get_joint_state(self) -> Any:
        """Return a JointState: pos(), vel(), torque() (6,) in rad, rad/s, N.m; gripper_pos in m; timestamp in s.

        The arrays are views of the state's own memory: it must outlive them.
        """

    def get_timestamp(self) -> float:
        """Return the controller's own time, s since it began."""

    def set_joint_cmd(self, cmd: Any) -> None:
        """Move to a JointState by its timestamp, at once where that is 0; ValueError where it has passed."""

    def set_gain(self, gain: Any) -> None:
        """Set a Gain; kp of zero is damping."""


class ArxX5:
    """One X5 on a SocketCAN interface; implements `ArmDriver`.

    `sdk` is the package, `received` counts the frames that came on the interface. `period_ns` is the servo's: a target
    is reached by then. `readout`: the gripper motor's reading when open, where it is not the package's own.
    """

    def __init__(
        self,
        model: ArmModel,
        channel: str,
        clock: Clock,
        sdk: Any,
        received: Callable[[], int],
        *,
        period_ns: int = 5 * NS_PER_MS,
        readout: float | None = None,
        sink: bool = False,
    ) -> None:
        self._model, self._channel, self._clock = model, channel, clock
        self._sdk, self._received, self._readout, self._sink = sdk, received, readout, sink
        self._period_s = period_ns / NS_PER_S
        self._anchor = (0, -np.inf)
        self._controller: Controller | None = None
        self._state: Any = blank(records.ARM_STATE)
        self._frames = self._heard_ns = 0

    def open(self) -> None:
        """Compare the package's configuration with the model, connect, and hold the arm where it is.

        The package enables the motors as it connects; the arm would float until the first command.

        Raises:
            DriverError: the configuration differs, or the arm does not answer.
        """
        sdk = self._sdk
        robot = sdk.RobotConfigFactory.get_instance().get_config(MODEL)
        gains = sdk.ControllerConfigFactory.get_instance().get_config(CONTROLLER, ARM_JOINTS)
        if self._readout is not None:
            robot.gripper_open_readout = self._readout
        self._compare(robot)
        try:
            self._controller = controller = sdk.Arx5JointController(robot, gains, self._channel)
            here = controller.get_joint_state()
            self._check_place(here)
            # Neither its time, which has passed, nor its torque, to which the package adds gravity's, is to be held.
            zeros = np.zeros(ARM_JOINTS)
            controller.set_joint_cmd(sdk.JointState(here.pos(), zeros, zeros, here.gripper_pos))
            controller.set_gain(
                sdk.Gain(gains.default_kp, gains.default_kd, gains.default_gripper_kp, gains.default_gripper_kd)
            )
        except (RuntimeError, ValueError) as error:
            raise DriverError(f"{self._what}: {' '.join(str(error).split())}") from None
        self._frames, self._heard_ns = self._received(), self._clock.now_ns()

    def read(self) -> NDArray[Any] | None:
        """Return the newest state, stamped when its last whole cycle was on the bus.

        Raises:
            DriverError: the bus is silent.
        """
        if self._controller is None:
            raise DriverError(f"{self._what} is not open")
        now_ns, frames = self._clock.now_ns(), self._received()
        if frames - self._frames >= MOTORS:
            self._frames, self._heard_ns = frames, now_ns
            self._take(self._controller.get_joint_state(), self._controller.get_timestamp(), now_ns)
        elif now_ns - self._heard_ns > SILENT_NS:
            raise DriverError(f"{self._what}: the bus has been silent for {SILENT_NS // NS_PER_MS} ms: cable, power?")
        return self._state.copy() if self._state["seq"] else None

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:  # noqa: ARG002
        """Send a target (7,), which the controller reaches a servo period after the command's tick."""
        if self._controller is None:
            raise DriverError(f"{self._what} is not open")
        zeros = np.zeros(ARM_JOINTS)
        opening_m = min(max(float(position[ARM_GRIPPER]), 0.0), 1.0) * self._model.gripper_stroke_m
        target = self._sdk.JointState(position[:ARM_JOINTS], zeros, zeros, opening_m)
        try:
            self._aim(self._controller, servo_tick, target)
        except ValueError:
            # This process stood still after it had looked at the time, until the target was overdue.
            self._aim(self._controller, servo_tick, target)

    def _aim(self, controller: Controller, servo_tick: int, target: Any) -> None:
        target.timestamp = self._due_s(servo_tick, controller.get_timestamp())
        controller.set_joint_cmd(target)

    def _due_s(self, servo_tick: int, now_s: float) -> float:
        """Return when a tick's target is to be reached: on the servo's grid, however late this process woke."""
        tick, due_s = self._anchor
        due_s += (servo_tick - tick) * self._period_s
        if not SOON <= (due_s - now_s) / self._period_s <= FAR:
            due_s = now_s + self._period_s
            self._anchor = (servo_tick, due_s)
        return due_s

    def close(self) -> None:
        """Let go of the controller; the arm keeps its last target, unless it is to `sink`.

        The package's destructor damps an X5 for two seconds and ends: the arm sinks. It is kept from running; the
        controller then goes on until this process ends, and the motors keep the last frame that they got.
        """
        if self._controller is not None and not self._sink:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._controller))
        self._controller = None

    @property
    def _what(self) -> str:
        return f"ARX X5 on {self._channel}"

    def _compare(self, robot: Any) -> None:
        model = self._model
        for name, theirs, ours in (
            ("lower limits", robot.joint_pos_min, model.position_min[:ARM_JOINTS]),
            ("upper limits", robot.joint_pos_max, model.position_max[:ARM_JOINTS]),
            ("top speeds", robot.joint_vel_max, model.velocity_max[:ARM_JOINTS]),
            ("torques", robot.joint_torque_max, model.torque_max[:ARM_JOINTS]),
            ("gripper width", [robot.gripper_width], [model.gripper_stroke_m]),
        ):
            there = np.asarray(theirs, dtype=np.float64)
            if there.shape != np.shape(ours) or np.abs(there - ours).max() > TOLERANCE:
                raise DriverError(
                    f"{self._what}: arx5-interface has {name} {there.tolist()}, runtime/arms.py {list(ours)}"
                )

    def _check_place(self, state: Any) -> None:
        low, high = (np.asarray(limit[:ARM_JOINTS]) for limit in (self._model.position_min, self._model.position_max))
        position = np.asarray(state.pos())
        if not np.isfinite(position).all() or (position < low - 0.1).any() or (position > high + 0.1).any():
            raise DriverError(
                f"{self._what}: joints at {position.round(3).tolist()}, outside their range: zero it anew"
            )

    def _take(self, state: Any, controller_s: float, now_ns: int) -> None:
        """Both times are of the controller's clock, so it does not matter which clock that is."""
        t_ns = now_ns - max(round((controller_s - state.timestamp) * NS_PER_S), 0)
        record = self._state
        if t_ns <= int(record["t_ns"]):
            return
        stroke_m = self._model.gripper_stroke_m
        record["seq"] += 1
        record["t_ns"] = t_ns
        record["position"] = [*state.pos(), state.gripper_pos / stroke_m]
        record["velocity"] = [*state.vel(), state.gripper_vel / stroke_m]
        record["effort"] = [*state.torque(), state.gripper_torque]


def load_sdk() -> Any:
    """Import arx5-interface; DriverError where it is not installed."""
    try:
        return importlib.import_module("arx5_interface")
    except ImportError as error:
        raise DriverError(f"an ARX X5 needs arx5-interface: pip install 'leadtime[arx]' ({error})") from None


def interface_counter(channel: str, root: Path = Path("/")) -> Callable[[], int]:
    """Return what counts the frames that a network interface has received; DriverError where there is none."""
    path = root / "sys/class/net" / channel / "statistics/rx_packets"
    if not path.exists():
        set_up = f"ip link set {channel} up type can bitrate 1000000 restart-ms 100"
        raise DriverError(f"ARX X5: there is no interface {channel}; `{set_up}` brings one up")

    def count() -> int:
        try:
            return int(path.read_text())
        except OSError:
            raise DriverError(f"ARX X5: the interface {channel} is gone") from None

    return count
