"""The guardian process of one arm: alone talks to the device, follows fresh commands, else brakes and holds."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from runtime import realtime
from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, Clock
from runtime.control.guardian import GuardianCore
from runtime.drivers.factory import open_arm
from runtime.layout import SIDES, Side
from runtime.shm import Ring, TornReadError
from runtime.states import Guard

BEAT_EVERY_STEPS: Final = 20
MOVING: Final = (Guard.FOLLOW, Guard.BRAKE)
BRAKE_TIMEOUT_NS: Final = 800 * NS_PER_MS
"""How long a guardian outlives the stop of a run to brake its arm; the slowest arm's brake takes 0.62 s."""


def run_guard(board: Board, clock: Clock, heart: Heart, side: Side) -> None:
    """Guard one arm until the run stops and the arm is at rest, then leave it holding.

    It wakes on each new command, and one and a half servo periods after the last when none comes, to bridge it.
    However the run ends, or this process alone is told to, it takes no more commands, the last one expires, and the arm
    is braked before it goes.
    """
    spec = board.spec
    arm = open_arm(board, side)
    commands, states, statuses = board["joint_command"], board[f"arm/{side}"], board[f"guardian/{side}"]
    base = spec.tick_base(board.t0_ns)
    core = GuardianCore(
        spec.rig.arm_model(side),
        SIDES.index(side),
        base.servo_period_ns,
        command_ttl_ns=round(spec.rig.command_ttl_ms * NS_PER_MS),
        state_stale_ns=round(spec.rig.state_stale_ms * NS_PER_MS),
    )
    realtime.enter(f"guardian-{side}")
    steps = stop_ns = 0
    moving = False
    try:
        while not stop_ns or (moving and clock.now_ns() - stop_ns < BRAKE_TIMEOUT_NS):
            head = commands.head
            state = arm.read()
            now_ns = clock.now_ns()
            if state is not None:
                states.push(state)
                output = core.step(now_ns, None if stop_ns else _newest(commands), state)
                statuses.push(output.status)
                if output.enabled:
                    arm.command(output.servo_tick, output.position, now_ns)
                moving = int(output.status["state"]) in MOVING
            if steps % BEAT_EVERY_STEPS == 0:
                heart.beat(now_ns)
            steps += 1
            if board.stopping and not stop_ns:
                stop_ns = now_ns
            commands.wait(head, now_ns + 3 * base.servo_period_ns // 2 - clock.now_ns())
    finally:
        arm.close()


def _newest(commands: Ring) -> NDArray[Any] | None:
    try:
        return commands.latest()
    except TornReadError:
        return None


def run_guard_left(board: Board, clock: Clock, heart: Heart) -> None:
    """Main of the left arm's guardian."""
    run_guard(board, clock, heart, "left")


def run_guard_right(board: Board, clock: Clock, heart: Heart) -> None:
    """Main of the right arm's guardian."""
    run_guard(board, clock, heart, "right")
