"""The emulator process: both arms' devices on their emulated buses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime import realtime
from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, Clock
from runtime.drivers.bus import bus_name
from runtime.drivers.emulators.base import ArmEmulator, BoardArm
from runtime.layout import SIDES, Side


def _piper(board: Board, side: Side) -> ArmEmulator:
    from runtime.drivers.emulators.piper import PiperEmulator  # noqa: PLC0415

    spec = board.spec
    return PiperEmulator(spec.rig.arm_model(side), BoardArm(board, side), bus_name(spec.run_dir, side), spec.seed)


def _interbotix(board: Board, side: Side) -> ArmEmulator:
    from runtime.drivers.emulators.dynamixel import DynamixelEmulator  # noqa: PLC0415
    from runtime.drivers.interbotix.port import emulated_port  # noqa: PLC0415
    from runtime.drivers.interbotix.table import VX300S_SERVOS  # noqa: PLC0415

    run_dir = board.spec.run_dir
    behind = BoardArm(board, side)
    return DynamixelEmulator(VX300S_SERVOS, behind, emulated_port(run_dir, side), bus_name(run_dir, side))


EMULATORS: Final[dict[str, Callable[[Board, Side], ArmEmulator]]] = {"piper": _piper, "interbotix": _interbotix}
"""The emulator of each arm driver, by the driver's name."""
STEP_NS: Final = NS_PER_MS
BEAT_EVERY_STEPS: Final = 50


def run_emulator(board: Board, clock: Clock, heart: Heart) -> None:
    """Step both arms' devices a thousand times a second until the run stops and the arms are left alone."""
    arms = [EMULATORS[board.spec.rig.arms[side].driver](board, side) for side in SIDES]
    for arm in arms:
        arm.open()
    realtime.enter("emulator")
    steps = 0
    due_ns = clock.now_ns()
    try:
        while not (board.stopping and board.arms_left_alone):
            now_ns = clock.now_ns()
            for arm in arms:
                arm.step(now_ns)
            if steps % BEAT_EVERY_STEPS == 0:
                heart.beat(now_ns)
            steps += 1
            due_ns = max(due_ns + STEP_NS, now_ns)
            clock.sleep_until_ns(due_ns)
    finally:
        for arm in arms:
            arm.close()
