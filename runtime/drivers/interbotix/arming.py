"""What is read back from an Interbotix arm before it is ever commanded, and why it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.arms import ArmModel
from runtime.clock import Clock
from runtime.drivers.base import DriverError
from runtime.drivers.interbotix import table
from runtime.drivers.interbotix.conversions import V_PER_UNIT
from runtime.drivers.interbotix.feedback import SHADOW_APART_RAD, VOLTAGE_MIN_V, Fault, Feedback, hardware_faults
from runtime.drivers.interbotix.servos import Servos
from runtime.drivers.interbotix.table import Entry, Operating, ServoSpec
from runtime.layout import ARM_JOINTS

GRIPPER_CURRENT_MAX: Final = 200
"""ALOHA's limit for the follower's gripper, in units of 2.69 mA: with more it burns out on what it holds."""
OUTSIDE_RAD: Final = 0.1
_BLOCKS: Final = (
    (table.MODEL_NUMBER.address, table.SHADOW_ID.address + 1),
    (table.CURRENT_LIMIT.address, table.CURRENT_LIMIT.size),
    (table.POSITION_MAX.address, table.POSITION_MAX.size + table.POSITION_MIN.size),
    table.BLOCK_TORQUE,
    table.BLOCK_HEALTH,
    (table.BUS_WATCHDOG.address, table.BUS_WATCHDOG.size),
    table.BLOCK_MOTION,
)


def read_back(servos: Servos, feedback: Feedback, model: ArmModel, clock: Clock, name: str) -> None:
    """Read what the arm keeps and where it stands, compare it with its build, and leave the reading in `feedback`.

    Nothing is written.

    Raises:
        DriverError: a servo is silent, or something differs; one line with what was found and what would be right.
    """
    try:
        kept: dict[tuple[int, int], int] = {}
        for address, size in _BLOCKS:
            reading = servos.fetch(clock, address, size)
            feedback.take(reading, holding=False)
            for servo_id, data in reading.data.items():
                for entry in table.TABLE:
                    if address <= entry.address and entry.address + entry.size <= address + size:
                        kept[servo_id, entry.address] = entry.unpack(data, address)
        for refusal in _differences(servos, kept, feedback, model):
            raise DriverError(refusal)
    except DriverError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise DriverError(f"{name} is not armed: {reason}") from None


def _differences(
    servos: Servos, kept: dict[tuple[int, int], int], feedback: Feedback, model: ArmModel
) -> Iterator[str]:
    for servo in servos.specs.values():
        for entry, right in _right(servo):
            found = kept[servo.servo_id, entry.address]
            if found != right:
                yield (
                    f"{servo.label} keeps a {entry.name} of {found} where the arm has {right}:"
                    f" set address {entry.address} with Dynamixel Wizard"
                )
        mode = kept[servo.servo_id, table.DRIVE_MODE.address]
        if bool(mode & table.REVERSED) != servo.reversed:
            right = mode ^ table.REVERSED
            yield (
                f"{servo.label} turns the wrong way: a drive mode of {mode} where the arm has {right}:"
                f" set address {table.DRIVE_MODE.address} with Dynamixel Wizard"
            )
        if mode & table.TORQUE_BY_GOAL:
            yield f"{servo.label} takes torque with any goal: clear bit 3 of its drive mode (address 10)"
        if servo.mode is Operating.CURRENT_POSITION:
            limit = kept[servo.servo_id, table.CURRENT_LIMIT.address]
            if not 0 < limit <= GRIPPER_CURRENT_MAX:
                yield (
                    f"{servo.label} keeps a current limit of {limit} where at most {GRIPPER_CURRENT_MAX} is safe:"
                    f" set address {table.CURRENT_LIMIT.address} with Dynamixel Wizard"
                )
        error = kept[servo.servo_id, table.HARDWARE_ERROR.address]
        if error:
            what = (hardware_faults(error).name or f"{error:#x}").lower().replace("_", " ")
            yield f"{servo.label} has a hardware error ({what}): relieve it, let it cool, switch the arm off and on"
        volts = kept[servo.servo_id, table.VOLTAGE.address] * V_PER_UNIT
        if volts < VOLTAGE_MIN_V:
            yield f"{servo.label} has {volts:.1f} V where the arm needs 12 V: check its supply"
    yield from _misplaced(feedback, model)


def _right(servo: ServoSpec) -> Iterator[tuple[Entry, int]]:
    yield table.MODEL_NUMBER, servo.model
    yield table.OPERATING_MODE, servo.mode
    yield table.SHADOW_ID, servo.shadows
    yield table.RETURN_DELAY, 0
    if servo.mode is Operating.POSITION:
        yield table.POSITION_MAX, servo.position_max
        yield table.POSITION_MIN, servo.position_min


def _misplaced(feedback: Feedback, model: ArmModel) -> Iterator[str]:
    if feedback.fault & Fault.SHADOW_APART:
        yield (
            f"two servos of one joint read more than {SHADOW_APART_RAD} rad apart: find the shadows' homing offset"
            " (address 20) again before they work against each other"
        )
    if feedback.state is None:
        return
    measured: list[float] = feedback.state["position"].tolist()
    for joint in range(ARM_JOINTS):
        low, high = model.position_min[joint], model.position_max[joint]
        if not low - OUTSIDE_RAD <= measured[joint] <= high + OUTSIDE_RAD:
            yield (
                f"joint {joint + 1} reads {measured[joint]:.3f} rad, outside {low:.3f} to {high:.3f}:"
                " its horn or homing offset is wrong, or it was moved by hand beyond its range"
            )
