"""The Piper as a driver: read back and compared at opening, under torque from the first command on, held at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ArmModel
from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import DriverError
from runtime.drivers.first_target import require_near
from runtime.drivers.patience import open_patiently
from runtime.drivers.piper.arming import Arming
from runtime.drivers.piper.bus import Bus, BusError, Frame
from runtime.drivers.piper.codec import CanId, Control, Enable, GripperTarget, Mode
from runtime.drivers.piper.cycle import split
from runtime.drivers.piper.feedback import Fault, Feedback
from runtime.layout import ARM_DOF, ARM_GRIPPER, ARM_JOINTS

POLL_NS: Final = NS_PER_MS
ENABLE_EVERY_NS: Final = 20 * NS_PER_MS
ENABLE_TIMEOUT_NS: Final = 2 * NS_PER_S
"""Torque takes at least two requests after an emergency stop (piper_sdk, issue 66)."""
SILENT_NS: Final = 200 * NS_PER_MS
"""An arm that is silent for this long is lost; the guardian has braked since `state_stale_ms`."""
FAILING_NS: Final = 25 * NS_PER_MS
LOOSE_NS: Final = NS_PER_S
"""An arm that is sound but without torque or control for this long, or has them back, is to be armed anew."""
ALL_MOTORS: Final = 7
GRIPPER_TORQUE_NM: Final = 1.5
_LOOSE: Final = Fault.TORQUE_LOST | Fault.CONTROL_LOST


class PiperArm:
    """One Piper on a bus of its own; implements `ArmDriver`.

    `connect` opens its bus, `name` is what errors call it. While `patience_ns` last, `open` goes on trying to reach an
    arm that says nothing: for a guardian that is started anew after its bus was lost.

    A bus or an arm that is lost ends the guardian by a DriverError. It is started anew, the arm is read back and
    compared anew, and moves again, from where it then is, when the operator has cleared the fault.
    """

    def __init__(
        self,
        model: ArmModel,
        connect: Callable[[], Bus],
        name: str,
        clock: Clock,
        rest_rad: Sequence[float] = (),
        patience_ns: int = 0,
    ) -> None:
        self._model, self._connect, self._name, self._clock = model, connect, name, clock
        self._rest_rad, self._patience_ns = rest_rad, patience_ns
        self._bus: Bus | None = None
        self._feedback = Feedback(model)
        self._heard_ns = 0
        self._enabling_ns = self._asked_ns = 0
        self._sound_ns = 0
        self._lost = Fault(0)
        self._fallen = np.zeros(ARM_DOF, dtype=bool)
        self._failing_ns = 0

    def open(self) -> None:
        """Connect and compare what the arm keeps with the model; it is sent questions only.

        Raises:
            DriverError: there is no bus, no arm, or one that differs.
        """
        open_patiently(self._arm, self.close, self._clock, self._patience_ns)

    def _arm(self) -> None:
        bus = self._bus = self._connect()
        self._feedback = feedback = Feedback(self._model)
        arming = Arming(self._model, self._name, self._rest_rad)
        while True:
            now_ns = self._clock.now_ns()
            for frame in bus.receive():
                feedback.take(frame, now_ns)
            done, questions = arming.step(now_ns, feedback)
            for question in questions:
                bus.send(question)
            if done:
                self._heard_ns = self._sound_ns = now_ns
                return
            self._clock.sleep_until_ns(now_ns + POLL_NS)

    def read(self) -> NDArray[Any] | None:
        """Return the newest whole ARM_STATE.

        Raises:
            DriverError: the bus is lost, or the arm has lost its torque or its control for long.
        """
        if self._bus is None:
            raise DriverError(f"Piper on {self._name} is not open")
        now_ns = self._clock.now_ns()
        frames = self._bus.receive()
        # A leader on the same bus speaks on when the arm does not.
        if any(frame.can_id == CanId.STATUS for frame in frames):
            self._heard_ns = now_ns
        elif now_ns - self._heard_ns > SILENT_NS:
            raise DriverError(
                f"Piper on {self._name} has been silent for {SILENT_NS // NS_PER_MS} ms: check cable and power"
            )
        for frame in frames:
            self._feedback.take(frame, now_ns)
        if self._feedback.commanded:
            self._require_alone()
        fault = self._feedback.fault
        self._lost |= fault & _LOOSE
        if fault & Fault.TORQUE_LOST:
            self._fallen[self._feedback.loose] = True
        if fault & Fault.CONTROL_LOST:
            self._fallen[:ARM_JOINTS] = True
        if not self._lost or fault & ~_LOOSE:
            self._sound_ns = now_ns
        elif not fault or now_ns - self._sound_ns > LOOSE_NS:
            raise DriverError(
                f"Piper on {self._name} has lost its {'torque' if self._lost & Fault.TORQUE_LOST else 'control'}"
            )
        return self._feedback.state

    def command(self, servo_tick: int, position: NDArray[np.float64], now_ns: int) -> None:  # noqa: ARG002
        """Send a target (7,); while the torque is not there, hold the arm where it is, and ask for it the first time.

        Raises:
            DriverError: the bus takes no frames, another master is on it, or the torque or the control does not come,
                or comes late.
        """
        if not self._feedback.commanded:
            self._take_hold(position, now_ns)
        elif self._lost and self._feedback.state is not None:
            # Whoever gives it torque again would send it back to where it was held before it fell. What has not
            # fallen would sink under its weight, and the gripper let go, if told to be where it hangs.
            self._send_target(np.where(self._fallen, self._feedback.state["position"], position))
        else:
            self._send_target(position)

    def _require_alone(self) -> None:
        if self._feedback.foreign:
            raise DriverError(f"Piper on {self._name}: another master sends it targets (0x155 to 0x157)")

    def _take_hold(self, position: NDArray[np.float64], now_ns: int) -> None:
        feedback = self._feedback
        # With torque an arm goes to whoever's targets.
        self._require_alone()
        held = feedback.enabled and feedback.controlled
        # An arm that another program left under torque keeps that program's speed, which it does not report.
        if self._asked_ns and held:
            require_near(f"Piper on {self._name}", position, feedback.state)
            feedback.commanded = True
            return
        if not self._enabling_ns:
            self._enabling_ns = now_ns
        if now_ns - self._enabling_ns > ENABLE_TIMEOUT_NS:
            raise DriverError(
                f"Piper on {self._name} does not take "
                + (
                    "control by CAN: end its teaching, and whatever else commands it"
                    if feedback.enabled
                    else "torque: check its emergency stop and its supply"
                )
            )
        if now_ns - self._asked_ns < ENABLE_EVERY_NS or feedback.state is None:
            return
        self._asked_ns = now_ns
        # The target comes before the torque: an old one in the arm's memory would be a jump. An arm that an earlier
        # guardian left held at a target does not hang where that is, and is not let go of it.
        self._send(CanId.MODE, Mode(Control.CAN).pack())
        self._send_target(position if held else feedback.state["position"])
        self._send(CanId.ENABLE, Enable(ALL_MOTORS, on=True).pack())

    def _send_target(self, position: NDArray[np.float64]) -> None:
        # A pose beside its limits, of an arm at rest or after a correction, is a target that the arm refuses.
        limits = zip(position.tolist(), self._model.position_min, self._model.position_max, strict=True)
        target = [min(max(joint, low), high) for joint, low, high in limits]
        for i, pair in enumerate(split(target)):
            self._send(CanId.TARGET + i, pair.pack())
        opening_m = target[ARM_GRIPPER] * self._model.gripper_stroke_m
        self._send(CanId.GRIPPER_TARGET, GripperTarget(opening_m, GRIPPER_TORQUE_NM).pack())

    def _send(self, can_id: int, data: bytes) -> None:
        if self._bus is None:
            raise DriverError(f"Piper on {self._name} is not open")
        try:
            self._bus.send(Frame(can_id, data))
        except BusError:
            # A full queue passes; a bus that is off does not.
            now_ns = self._clock.now_ns()
            self._failing_ns = self._failing_ns or now_ns
            if now_ns - self._failing_ns > FAILING_NS:
                raise
        else:
            self._failing_ns = 0

    def close(self) -> None:
        """Let the bus go; the arm holds its last target with its torque on."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None
