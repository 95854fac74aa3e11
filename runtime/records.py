"""The records that cross process boundaries, as numpy dtypes: what is in them, in which unit, in one place.

All `t_*_ns` are the robot host's monotonic clock. `tick` counts policy ticks and `servo_tick` servo ticks since
the run's `t0_ns`. Rig vectors follow `runtime.layout`: rad, grippers as a fraction of their opening.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from runtime.layout import ARM_DOF, RIG_DOF, SIDES

CHUNK_STEPS_MAX: Final = 128
"""Longest chunk a run accepts, in policy ticks."""
VIEW_PAST_TICKS: Final = 24
VIEW_FUTURE_TICKS: Final = 136
VIEW_TICKS: Final = VIEW_PAST_TICKS + VIEW_FUTURE_TICKS
TEXT_BYTES: Final = 240


def _record(fields: list[tuple[Any, ...]]) -> np.dtype[Any]:
    return np.dtype(fields, align=True)


LIFECYCLE: Final = _record([("t0_ns", "<i8"), ("stage", "u1"), ("stop", "u1")])
HEARTBEAT: Final = _record([("t_ns", "<i8"), ("count", "<u8"), ("pid", "<i4"), ("life", "u1")])

OPERATOR: Final = _record(
    [
        ("seq", "<u8"),
        ("t_ns", "<i8"),
        ("want", "u1"),  # Mode the operator asks for: DISARMED, HOLD, POLICY, PARK
        ("clear", "<u4"),  # grows by one each time the operator acknowledges the faults
    ]
)

LEADER_SIDE: Final = _record(
    [
        ("t_ns", "<i8"),  # when the leader was there
        ("position", "<f8", (ARM_DOF,)),
        ("clutch", "u1"),  # the dead-man of this arm is held
        ("valid", "u1"),  # a leader of this arm is connected and has spoken
    ]
)

LEADER: Final = _record(
    [
        ("seq", "<u8"),
        ("t_ns", "<i8"),
        ("side", LEADER_SIDE, (len(SIDES),)),
        ("want", "u1"),  # Mode that was asked for last with a button of a leader
        ("wants", "<u4"),  # grows by one each time one is asked for
        ("clear", "<u4"),  # grows by one each time the faults are acknowledged
    ]
)

ARM_STATE: Final = _record(
    [
        ("seq", "<u8"),
        ("t_ns", "<i8"),
        ("position", "<f8", (ARM_DOF,)),
        ("velocity", "<f8", (ARM_DOF,)),
        ("effort", "<f8", (ARM_DOF,)),
        ("fault", "<u4"),  # device error bits, 0 = none
    ]
)

GUARDIAN_STATUS: Final = _record(
    [
        ("seq", "<u8"),
        ("t_ns", "<i8"),
        ("state", "u1"),  # Guard
        ("reason", "u1"),  # Trip
        (
            "trips",
            "<u4",
        ),  # grows by one each time FOLLOW is left; a command must acknowledge it to be followed
        ("t_trip_ns", "<i8"),
        ("command_seq", "<u8"),
        ("limited", "<u8"),
        ("target", "<f8", (ARM_DOF,)),  # last position sent to the device
        ("device_tick", "<i8"),  # of that target: one more for each new one, several more after a pause
    ]
)

JOINT_COMMAND: Final = _record(
    [
        ("seq", "<u8"),
        ("servo_tick", "<i8"),
        ("t_ns", "<i8"),
        ("valid_until_ns", "<i8"),
        ("position", "<f8", (RIG_DOF,)),
        ("velocity", "<f8", (RIG_DOF,)),
        ("mode", "u1"),
        ("source", "u1"),
        ("armed", "u1"),
        ("limited", "<u4"),  # bit i: joint i was limited
        ("ack", "<u4", (len(SIDES),)),  # guardian trips that the control process has seen and re-seeded from
    ]
)

CAMERA_STATUS: Final = _record(
    [
        ("t_ns", "<i8"),
        ("link", "u1"),  # CameraLink
        ("frames", "<u8"),  # of this run
        ("drops", "<u8"),  # periods between two frames' stamps without a frame
        ("frozen", "u1"),  # the same picture three times or more, with advancing stamps; so is a still simulated scene
        ("reopened", "<u4"),  # times it was lost and opened again
        ("period_ns", "<i8"),  # between the stamps of the newest two frames, 0 before them
    ]
)
FORESEEN_GRID: Final = (12, 16)
"""Rows and columns of a predicted picture: where things are, not how they are textured."""
FORESEEN_MAX: Final = 8
"""Predicted pictures of one camera that are compared for a chunk."""
FORESEEN_CAMERAS: Final = 4
"""Cameras of a rig, the first, whose predicted pictures are kept."""
FORESEEN_PX: Final = (240, 320)
"""Rows and columns that predicted pictures are sent and kept with at most: they are compared on a grid much coarser."""

CHUNK: Final = _record(
    [
        ("chunk_id", "<u8"),
        ("request_seq", "<u8"),
        ("obs_seq", "<u8"),
        ("epoch", "<u4"),
        ("start_tick", "<i8"),  # tick at which actions[0] is due: the first to begin after the observation
        ("cold", "u1"),  # first of an epoch: asked for at standstill, starts when it arrives
        ("halts", "u1"),  # the next is asked for at a standstill behind this one: to wait there is no fault
        ("prefix_len", "<i4"),  # first steps that were committed when asked for (conditioned delay)
        ("horizon", "<i4"),
        ("t_obs_ns", "<i8"),
        ("t_request_ns", "<i8"),
        ("t_received_ns", "<i8"),
        ("actions", "<f8", (CHUNK_STEPS_MAX, RIG_DOF)),
    ]
)

AMENDMENT_STEPS_MAX: Final = 8
"""Ticks of a plan that one amendment may rewrite."""

AMENDMENT: Final = _record(
    [
        ("epoch", "<u4"),
        ("chunk_id", "<u8"),  # the newest chunk of the plan that it was made for
        ("first_tick", "<i8"),  # tick at which actions[0] is due
        ("count", "<i4"),
        ("t_obs_ns", "<i8"),
        ("t_made_ns", "<i8"),
        ("actions", "<f8", (AMENDMENT_STEPS_MAX, RIG_DOF)),  # of grippers nothing is taken over
    ]
)

TIMELINE_VIEW: Final = _record(
    [
        ("t_ns", "<i8"),
        ("tick", "<i8"),  # the policy tick under execution
        ("epoch", "<u4"),
        ("mode", "u1"),
        ("engaged", "u1"),  # 1 when the control process wants chunks of this epoch
        ("started", "u1"),  # 1 once a chunk of this epoch runs
        ("end_tick", "<i8"),  # first tick with no planned action
        ("chunk_id", "<u8"),  # newest chunk accepted
        ("chunks_seen", "<u8"),  # head of the chunk ring that this plan has taken into account
        ("actions", "<f8", (VIEW_TICKS, RIG_DOF)),  # row i: tick - VIEW_PAST_TICKS + i
    ]
)

REQUEST: Final = _record(
    [
        ("request_seq", "<u8"),
        ("obs_seq", "<u8"),
        ("epoch", "<u4"),
        ("obs_tick", "<i8"),
        ("cold", "u1"),
        ("prefix_len", "<i4"),
        ("forecast_ticks", "<i4"),
        ("delay_ticks", "<i4"),  # ticks from the observation's to the first at which the answer, or its part, could act
        ("verdict", "u1"),
        ("t_capture_ns", "<i8"),
        ("t_frame_ns", "<i8"),  # when the last of its frames was on the board
        ("t_request_ns", "<i8"),
        ("t_sent_ns", "<i8"),  # handed to the connection
        ("t_received_ns", "<i8"),
        ("server_ns", "<i8"),  # receipt to reply, on the server's clock; the next three are parts of it
        ("queue_ns", "<i8"),  # waited for its turn
        ("prepare_ns", "<i8"),  # made into what the model reads
        ("infer_ns", "<i8"),  # the model alone
        ("value", "<f8"),  # of the state that the policy expects to reach; NaN where it says none
        ("foreseen", "u1"),  # pictures of each camera that the policy predicted and that are compared with what comes
        ("trust", "u1"),  # runtime.inference.foresight: how far its predictions bear its actions
        ("t_part_ns", "<i8"),  # a part of it that was used came; 0: it came whole, which the other times are of
        ("part_ticks", "<i4"),  # actions of that part
        ("parted", "<f4"),  # how far the newest prediction was from what came, mean of 255; NaN before the first
    ]
)

FORESEEN: Final = _record(
    [
        ("chunk_id", "<u8"),
        ("t_received_ns", "<i8"),
        ("count", "u1"),
        ("cameras", "u1"),  # bit i: the rig's camera i was foreseen
        ("ticks", "<i8", (FORESEEN_MAX,)),  # when each picture is due
        # On the grid that they are compared at.
        ("pictures", "u1", (FORESEEN_CAMERAS, FORESEEN_MAX, *FORESEEN_GRID, 3)),
    ]
)

FORESEEN_PICTURE: Final = _record(
    [
        ("chunk_id", "<u8"),
        ("t_received_ns", "<i8"),
        ("tick", "<i8"),  # when it is due
        ("camera", "u1"),  # which of the rig's
        ("height", "<u2"),
        ("width", "<u2"),
        ("image", "u1", (*FORESEEN_PX, 3)),  # in its first `height` rows and `width` columns
    ]
)

CLIENT_STATUS: Final = _record(
    [
        ("t_ns", "<i8"),
        ("link", "u1"),
        ("requests", "<u8"),
        ("used", "<u8"),
        ("rejected", "<u8"),
        ("timeouts", "<u8"),
        ("reconnects", "<u8"),
        ("strategy", "u1"),  # runtime.control.strategy: how chunks are executed
        ("stretch", "<f8"),  # ticks that a step of the policy lasts
        ("forecast_ticks", "<i4"),
        ("coverage_target", "<f8"),
        ("covered", "<u8"),
        ("forecasts", "<u8"),
        ("overprovision_ticks", "<f8"),  # sum over covered forecasts of forecast - delay
        ("latency_ms", "<f8"),
        ("faults", "<u8"),  # bit i: row i of runtime.faults, as far as the client sees it
        ("distrusted", "u1"),  # what the policy predicts parts from what happens
        ("pictures", "u1"),  # runtime.states.Carriage: how they go to the server
        ("text", f"S{TEXT_BYTES}"),  # why refused or lost
    ]
)

TICK: Final = _record(
    [
        # inputs, all that a bit-exact replay of the tick needs
        ("servo_tick", "<i8"),
        ("now_ns", "<i8"),
        ("scheduled_ns", "<i8"),
        ("arm", ARM_STATE, (len(SIDES),)),
        ("guardian", GUARDIAN_STATUS, (len(SIDES),)),
        ("operator", OPERATOR),
        ("leader", LEADER),
        ("client_t_ns", "<i8"),
        ("client_link", "u1"),
        ("client_distrusted", "u1"),
        ("chunks_seen", "<u8"),  # head of the chunk ring at this tick
        ("amendments_seen", "<u8"),  # head of the amendment ring at this tick
        # outputs
        ("command", JOINT_COMMAND),
        ("target", "<f8", (RIG_DOF,)),  # before limits
        ("mode", "u1"),
        ("epoch", "<u4"),
        ("tick", "<i8"),
        ("ahead_ticks", "<i4"),  # planned actions left, 0 when none
        ("starved", "u1"),
        ("chunk_id", "<u8"),
        ("amended", "u1"),  # Verdict on the newest amendment that came, 0 where none did
        ("switched", "u1"),  # this tick runs the first action of a newly merged chunk
        ("seam_jump_rad", "<f8"),  # set where switched
        ("faults", "<u8"),  # bit i: row i of runtime.faults
        ("led", "u1"),  # bit i: a person leads side i
        # telemetry, not replayed
        ("compute_ns", "<i8"),  # from waking to the published command
        ("skipped", "<u4"),
    ]
)

RECORDER_STATUS: Final = _record(
    [
        ("t_ns", "<i8"),
        ("faults", "<u8"),  # bit i: row i of runtime.faults, as far as the recorder sees it
        ("frames_dropped", "<u8"),
        ("backlog_bytes", "<u8"),  # taken, and not on the disk yet
    ]
)

DEVICE_COMMAND: Final = _record(
    [
        ("seq", "<u8"),
        ("servo_tick", "<i8"),  # the guardian's device tick
        ("t_ns", "<i8"),
        ("position", "<f8", (ARM_DOF,)),
    ]
)

TASK_STATUS: Final = _record(
    [
        ("t_ns", "<i8"),
        ("episode", "<u4"),
        ("outcome", "i1"),  # 1 success, 0 failed, -1 undecided
        ("episode_s", "<f8"),
        ("limit_violations", "<u8"),
        ("late_steps", "<u8"),
        ("real_time_factor", "<f8"),
    ]
)

OBJECT_STATE_MAX: Final = 32
OBJECT_STATE: Final = _record(
    [("t_ns", "<i8"), ("length", "<i4"), ("state", "<f4", (OBJECT_STATE_MAX,))]  # the simulator's own truth
)

EPISODE_END: Final = _record(
    [
        ("t_ns", "<i8"),
        ("episode", "<u4"),
        ("success", "u1"),
        ("policy_s", "<f8"),  # from the first chunk to the verdict
        ("successes", "<u4"),  # of the run so far
        ("failures", "<u4"),
    ]
)

TASK_REQUEST: Final = _record([("episode", "<u4"), ("seed", "<u8"), ("t_ns", "<i8")])


def frame_dtype(width: int, height: int) -> np.dtype[Any]:
    """Return the record of one RGB frame, image uint8 (height, width, 3)."""
    return _record(
        [
            ("seq", "<u8"),
            ("t_capture_ns", "<i8"),
            ("t_published_ns", "<i8"),
            ("image", "u1", (height, width, 3)),
        ]
    )


def scene_dtype(length: int) -> np.dtype[Any]:
    """Return the record of a simulated scene's state, a flat float64 vector (length,)."""
    return _record([("t_ns", "<i8"), ("episode", "<u4"), ("state", "<f8", (length,))])
