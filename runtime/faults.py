"""The faults the runtime survives, as one table: what sees them, what is done, what clears them, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["note", "drop", "refuse", "hold", "brake"]
"""note: go on, say so. drop: leave the data out. refuse: do not arm or engage. hold: brake to HOLD until the
operator acts. brake: brake both arms into FAULT until the operator clears it."""
Clears = Literal["auto", "operator", "configuration"]


@dataclass(frozen=True)
class Fault:
    """One fault. `number` is its row in the table of the design; row i of `FAULTS` is bit i of `TICK.faults`."""

    name: str
    number: int
    detected_by: str
    detection: str
    action: Action
    clears: Clears
    message: str
    remedy: str


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        name="server_lost",
        number=1,
        detected_by="control",
        detection="the client reports its connection lost, or has itself fallen silent",
        action="note",
        clears="auto",
        message="the policy server does not answer; what is planned is still executed",
        remedy="check that the server runs and is reachable; the client reconnects by itself",
    ),
    Fault(
        name="starved",
        number=2,
        detected_by="control",
        detection="no action is due at the present tick",
        action="hold",
        clears="operator",
        message="actions ran out before the next chunk came; the arms braked and hold",
        remedy="check the server's latency against the chunk length, then engage again",
    ),
    Fault(
        name="chunk_stale",
        number=9,
        detected_by="control",
        detection="a chunk of another epoch, or older than one already accepted",
        action="drop",
        clears="auto",
        message="a chunk that belongs to the past was dropped",
        remedy="nothing to do; if it goes on, look at the server's queue",
    ),
    Fault(
        name="chunk_invalid",
        number=6,
        detected_by="control",
        detection="a number that is not finite, or a horizon or prefix out of range",
        action="drop",
        clears="auto",
        message="a chunk with impossible numbers was dropped",
        remedy="check the policy's outputs and its normalisation",
    ),
    Fault(
        name="chunk_jump",
        number=8,
        detected_by="control",
        detection="the first action to execute is far from the present target",
        action="drop",
        clears="auto",
        message="a chunk that starts far from where the arms are was dropped",
        remedy="check the policy's joint order, units and action representation",
    ),
    Fault(
        name="chunks_jump",
        number=8,
        detected_by="control",
        detection="three chunks in a row started far from the present target",
        action="hold",
        clears="operator",
        message="chunk after chunk starts far from where the arms are; the arms braked and hold",
        remedy="check the policy's joint order, units and action representation, then engage again",
    ),
    Fault(
        name="chunk_late",
        number=10,
        detected_by="control",
        detection="every action of a chunk lies in the past",
        action="drop",
        clears="auto",
        message="a chunk came after its last action was due and was dropped",
        remedy="check the server's latency against the chunk length",
    ),
    Fault(
        name="control_paused",
        number=12,
        detected_by="control",
        detection="ticks were missed for longer than a command lives, or a guardian's command expired",
        action="hold",
        clears="operator",
        message="the control process stood still; the guardians braked the arms",
        remedy="look for what stopped it (a debugger, swapping, a hogged core), then engage again",
    ),
    Fault(
        name="control_restarted",
        number=13,
        detected_by="control",
        detection="a guardian holds an armed arm when the control process starts",
        action="hold",
        clears="operator",
        message="the control process started anew under holding arms",
        remedy="look at the arms, then engage again",
    ),
    Fault(
        name="guardian_lost",
        number=14,
        detected_by="control",
        detection="a guardian's status is older than it may be",
        action="brake",
        clears="operator",
        message="a guardian has gone silent; the other arm braked",
        remedy="check the arm's bus and power; clear once the guardian is back",
    ),
    Fault(
        name="arm_silent",
        number=18,
        detected_by="control",
        detection="an arm's feedback is older than it may be, or not finite",
        action="brake",
        clears="operator",
        message="an arm gives no feedback; both arms braked",
        remedy="check the arm's bus, power and emergency stop, then clear",
    ),
    Fault(
        name="feedback_unusable",
        number=19,
        detected_by="control",
        detection="at arming: feedback missing, all zero, or outside the arm's limits",
        action="refuse",
        clears="auto",
        message="the arms cannot be armed: their feedback is missing, all zero or outside their limits",
        remedy="check power and calibration; an arm outside its limits is moved back by hand",
    ),
    Fault(
        name="overrun",
        number=23,
        detected_by="control",
        detection="more than one servo tick in ten is skipped for seconds",
        action="hold",
        clears="operator",
        message="the control process cannot keep its rate; the arms braked and hold",
        remedy="free the core it runs on; `leadtime doctor` says which settings are missing",
    ),
    Fault(
        name="device_fault",
        number=26,
        detected_by="control",
        detection="the device reports an error, or its guardian tripped on it",
        action="brake",
        clears="operator",
        message="an arm's device reports a fault; both arms braked",
        remedy="read the device's error, remove its cause, then clear",
    ),
    Fault(
        name="tracking_lost",
        number=26,
        detected_by="control",
        detection="a joint stays away from its command, seen by the control process or a guardian",
        action="brake",
        clears="operator",
        message="an arm does not follow its commands; both arms braked",
        remedy="look for an obstacle or a load beyond the arm's torque, then clear",
    ),
    Fault(
        name="command_refused",
        number=6,
        detected_by="control",
        detection="a guardian tripped on a command that was absurd or not finite",
        action="brake",
        clears="operator",
        message="a guardian refused a command; both arms braked",
        remedy="this is an error in the control process: keep the recording and report it",
    ),
    Fault(
        name="collision_ahead",
        number=28,
        detected_by="control",
        detection="braking from the next command would end too close to an arm, the table or a keep-out box",
        action="hold",
        clears="operator",
        message="the commanded path leads into a collision; the arms braked before it and hold",
        remedy="look at where the arms were going, and at `workspace` in the rig's file; then engage again",
    ),
)

BIT: Final[dict[str, int]] = {fault.name: 1 << i for i, fault in enumerate(FAULTS)}
"""The bit of each fault in `TICK.faults`."""


def mask(action: Action) -> int:
    """Return the bits of all faults with an action."""
    return sum(BIT[fault.name] for fault in FAULTS if fault.action == action)
