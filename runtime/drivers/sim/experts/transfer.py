"""Expert of `transfer`: the right arm picks, the left arm takes over in the air and places."""

from __future__ import annotations

from typing import Final

import numpy as np

from runtime.drivers.sim.experts.guide import Goal, Pace
from runtime.drivers.sim.experts.picking import CLEAR, DOWN, GRIP, HOVER_M, OPEN, Picker
from runtime.drivers.sim.experts.scripted import Intent, ScriptedExpert
from runtime.drivers.sim.experts.view import Hand, View
from runtime.drivers.sim.grasp import gripper_rotation
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.drivers.sim.tasks.transfer import CUBE, ZONE_RADIUS_M, ZONE_XY_M
from runtime.kinematics.pose import Pose
from runtime.layout import SIDES, Side

REST_Z_M: Final = TABLE_TOP_Z_M + CUBE.half_m
MEETING: Final = np.array((0.07, -0.12, 0.87))
GIVE: Final = Pose(MEETING, DOWN)
GIVEN: Final = GIVE.moved(x_m=0.015, y_m=-0.025, z_m=0.095)
TAKE: Final = Pose(MEETING, gripper_rotation((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
STAND_OFF_M: Final = 0.10
STAND_OFF: Final = TAKE.moved(x_m=-STAND_OFF_M)
ADJUST_M: Final = 0.02
"""The taking gripper follows the cube this far from the meeting point."""
OVER_ZONE: Final = Pose(np.array((*ZONE_XY_M, REST_Z_M + HOVER_M)), DOWN)
LIFTED_M: Final = 0.03
LANDED_M: Final = 0.006
ARRIVED_M: Final = 0.025
IN_LINE_M: Final = 0.018
"""The taking gripper comes in only along the line of its fingers: from the side it would strike the giving one."""
ENTERED_M: Final = 0.08
CLOSING_M: Final = 0.012
APART_M: Final = 0.07
TANGLED_M: Final = 0.08
LOOSE: Final = 0.6
"""Opening at which a gripper has let go of the cube and may leave."""
DOUBT_TICKS: Final = 15
"""How long a cube in the air that nobody seems to hold is believed to be still in hand: contacts flicker."""


class TransferExpert(ScriptedExpert):
    """Phases: reach, lower, grasp (or retry); carry, meet, take; release, place, set; leave, done; part."""

    def __init__(self, pace: Pace | None = None) -> None:
        super().__init__(CUBE, pace or Pace())
        self._pickers = {side: Picker() for side in SIDES}
        self._last = Intent("start", {})
        self._doubt_ticks = 0

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state."""
        super().reset(plant)
        for picker in self._pickers.values():
            picker.reset()
        self._last = Intent("start", {})
        self._doubt_ticks = 0

    def decide(self, view: View) -> Intent:
        """Who holds the cube decides the phase."""
        held = any(hand.grips for hand in view.hands.values())
        self._doubt_ticks = 0 if held or not _is_lifted(view) else self._doubt_ticks + 1
        if not 0 < self._doubt_ticks <= DOUBT_TICKS:
            self._last = self._choose(view)
        return self._last

    def _choose(self, view: View) -> Intent:
        left, right = view.hands["left"], view.hands["right"]
        if left.grips:
            return _release(right) if _distance_m(right, view) < APART_M else _place(view, left)
        if right.grips:
            return _hand_over(view, left, right)
        if np.linalg.norm(left.tcp.position - right.tcp.position) < TANGLED_M:
            return Intent("part", {"left": Goal(STAND_OFF, CLEAR), "right": Goal(GIVEN, CLEAR)})
        if _is_in_zone(view) and not _is_lifted(view):
            return _leave(view, left)
        side: Side = "right" if view.position_m[0] > 0.0 else "left"
        phase, pose, gripper = self._pickers[side].goal(view, view.hands[side])
        return Intent(phase, {side: Goal(pose, gripper)})


def _hand_over(view: View, left: Hand, right: Hand) -> Intent:
    giving = Goal(GIVE, GRIP)
    if not _is_lifted(view):
        return Intent("carry", {"right": giving})
    if np.linalg.norm(right.tcp.position - MEETING) > ARRIVED_M:
        return Intent("carry", {"right": giving, "left": Goal(STAND_OFF, OPEN)})
    take = Pose(MEETING + np.clip(view.position_m - MEETING, -ADJUST_M, ADJUST_M), TAKE.rotation)
    gap = take.position - left.tcp.position
    closing = left.opening < 0.9
    aside_m = float(np.hypot(gap[1], gap[2]))
    if aside_m > (2 * IN_LINE_M if gap[0] < ENTERED_M else IN_LINE_M):
        return Intent("carry", {"right": giving, "left": Goal(take.moved(x_m=-STAND_OFF_M), OPEN)})
    if max(aside_m, gap[0]) > (2 * CLOSING_M if closing else CLOSING_M):
        return Intent("meet", {"right": giving, "left": Goal(take, OPEN)})
    return Intent("take", {"right": giving, "left": Goal(take, GRIP)})


def _release(right: Hand) -> Intent:
    leaving = GIVE if right.opening < LOOSE else GIVEN
    return Intent("release", {"right": Goal(leaving, CLEAR), "left": Goal(TAKE, GRIP)})


def _place(view: View, left: Hand) -> Intent:
    aside_m = float(np.hypot(*(left.tcp.position - OVER_ZONE.position)[:2]))
    if aside_m > ARRIVED_M:
        return Intent("place", {"left": Goal(OVER_ZONE, GRIP)})
    landed = view.bottom_m < TABLE_TOP_Z_M + LANDED_M
    # The hand stops where the cube's lowest corner meets the table, however the cube sits between the fingers.
    in_zone = OVER_ZONE.moved(z_m=float(left.tcp.position[2]) - view.bottom_m + TABLE_TOP_Z_M - OVER_ZONE.position[2])
    return Intent("set" if landed else "place", {"left": Goal(in_zone, OPEN if landed else GRIP)})


def _leave(view: View, left: Hand) -> Intent:
    if _distance_m(left, view) > APART_M:
        return Intent("done", {})
    staying = Pose(left.tcp.position, DOWN) if left.opening < LOOSE else OVER_ZONE
    return Intent("leave", {"left": Goal(staying, OPEN)})


def _distance_m(hand: Hand, view: View) -> float:
    return float(np.linalg.norm(hand.tcp.position - view.position_m))


def _is_lifted(view: View) -> bool:
    return bool(view.position_m[2] > REST_Z_M + LIFTED_M)


def _is_in_zone(view: View) -> bool:
    return float(np.hypot(*(view.position_m[:2] - ZONE_XY_M))) < ZONE_RADIUS_M
