"""Expert of `conveyor`: the right arm meets the moving block, goes along with it, takes it and drops it in the bin."""

from __future__ import annotations

from typing import Final

import numpy as np

from runtime.drivers.sim.experts.guide import TICK_S, Goal, Pace
from runtime.drivers.sim.experts.picking import ALIGNED_M, CLEAR, DOWN, GRIP, Picker
from runtime.drivers.sim.experts.scripted import Intent, ScriptedExpert
from runtime.drivers.sim.experts.view import View
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.conveyor import (
    BELT_HALF_WIDTH_M,
    BELT_SPEED_M_S,
    BELT_Y_M,
    BIN_XY_M,
    BLOCK,
    REST_Z_M,
)
from runtime.kinematics.pose import Pose

WIDTH: Final = 0.70
"""Opening over the block: 11 mm of play on either side, so that the timing matters."""
REACH_X_M: Final = (0.10, 0.37)
"""Where along the belt the arm can take a block."""
SERVO_LAG_S: Final = 0.02
"""The measured tool follows the commanded one by this much."""
BELT_VELOCITY_M_S: Final = np.array((BELT_SPEED_M_S, 0.0, 0.0))
OVER_BIN: Final = Pose(np.array((*BIN_XY_M, 0.86)), DOWN)
OVER_BIN_M: Final = 0.03
ON_BELT_M: Final = 0.012


class ConveyorExpert(ScriptedExpert):
    """Phases: wait, reach, lower, grasp (or retry), carry, drop, done."""

    def __init__(self, pace: Pace | None = None) -> None:
        super().__init__(BLOCK, pace or Pace())
        self._picker = Picker(WIDTH)

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state."""
        super().reset(plant)
        self._picker.reset()

    def decide(self, view: View) -> Intent:
        """Whether the block is in hand, on the belt or elsewhere decides the phase."""
        hand = view.hands["right"]
        if hand.grips:
            aside_m = float(np.hypot(*(hand.tcp.position - OVER_BIN.position)[:2]))
            if aside_m > OVER_BIN_M:
                return Intent("carry", {"right": Goal(OVER_BIN, GRIP)})
            return Intent("drop", {"right": Goal(OVER_BIN, CLEAR)})
        if not _is_takeable(view):
            return Intent("done", {})
        phase, pose, gripper = self._picker.goal(view, hand)
        to_come_m = REACH_X_M[0] - float(view.position_m[0])
        if to_come_m > ALIGNED_M:
            return Intent("wait", {"right": Goal(pose.moved(x_m=to_come_m), gripper)})
        ahead = pose.moved(x_m=BELT_SPEED_M_S * (TICK_S + SERVO_LAG_S))
        return Intent(phase, {"right": Goal(ahead, gripper, BELT_VELOCITY_M_S)})


def _is_takeable(view: View) -> bool:
    x_m, y_m, z_m = view.position_m
    aside, above = abs(y_m - BELT_Y_M) < BELT_HALF_WIDTH_M, abs(z_m - REST_Z_M) < ON_BELT_M
    return bool(aside and above and x_m < REACH_X_M[1])
