"""Expert of `posts`: both hands straight at the posts, late and quickly round one side, then along with the targets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.experts.guide import TICK_S, ArmGuide, Goal, Pace
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.posts import HAND_Z_M, Posts
from runtime.errors import LeadtimeError
from runtime.kinematics.pose import Pose
from runtime.layout import ARM_JOINTS, ARM_SLICE, SIDES, Side

Array = NDArray[np.float64]

PACE: Final = Pace(velocity=2.2, acceleration=14.0, jerk=600.0)
"""Brisk: going aside takes 0.2 s, so that a plan that comes late meets hands that have chosen already."""
SPEED_M_S: Final = 0.17
ASIDE_M: Final = 0.044
"""How far beside the post a hand passes: 23 mm of play between its fingers and the post."""
TURN_M: Final = 0.068
"""How far before the post a hand goes aside; until there both sides look the same."""
STOP_M: Final = 0.041
"""A hand that is not aside yet comes no nearer to the post than this."""
STOPPING_M: Final = 0.012
"""Over this length before the stop it slows down."""
CLEAR_M: Final = 0.025
"""Aside by this much, its fingers clear the post."""
PAST_M: Final = 0.046
"""How far behind the post a hand is free of it."""
STRIDE_M: Final = 0.04
"""A target further away is approached in pieces of this length, which keeps the hand low."""
SERVO_LAG_S: Final = 0.03
"""The measured hand follows the commanded one by this much."""
LEANING_M: Final = 0.02
"""Hands this far to one side on average stay on it, whatever the coin says."""
SHUT: Final = 0.0


class PostsExpert:
    """Phases: approach, turn, pass, follow, as the foremost hand goes. The task's coin chooses the side.

    It decides anew at every tick from where the hands are, so that it mends what noise has spoilt.
    """

    def __init__(self, pace: Pace = PACE) -> None:
        self.phase = "start"
        self._pace = pace
        self._guides: list[ArmGuide] = []
        self._task: Posts | None = None
        self._rotation: list[Array] = []

    @property
    def commanded(self) -> Array:
        """The last target, shape (14,)."""
        return np.concatenate([guide.commanded for guide in self._guides])

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state. LeadtimeError when its task is another."""
        if not isinstance(plant.task, Posts):
            raise LeadtimeError(f"the expert of posts cannot do {plant.task.name}")
        self.phase = "start"
        self._task = plant.task
        self._guides = [ArmGuide(plant, side, self._pace) for side in SIDES]
        home = plant.arm.home_array[:ARM_JOINTS]
        self._rotation = [guide.ik.forward(home).rotation for guide in self._guides]

    def adopt(self, position: Array, velocity: Array) -> None:
        """Go on from what was commanded instead of the last target: rad and rad/s, shapes (14,)."""
        for side, guide in zip(SIDES, self._guides, strict=True):
            guide.adopt(position[ARM_SLICE[side]], velocity[ARM_SLICE[side]])

    def act(self, plant: Plant) -> Array:
        """Position target for the next 20 ms, shape (14,)."""
        if self._task is None:
            raise LeadtimeError("the expert must be reset with the plant before it acts")
        task, measured = self._task, plant.position()
        target_m, target_m_s = task.targets(plant.time_s + SERVO_LAG_S)
        hand_m = np.stack([guide.ik.forward(guide.commanded[:ARM_JOINTS]).position[:2] for guide in self._guides])
        post_m = task.posts()
        way_m = hand_m - post_m
        sign = _side(way_m, task.coin)
        commands = []
        for row, side in enumerate(SIDES):
            if way_m[row, 1] < PAST_M:
                goal_m, goal_m_s = _round_post(way_m[row], sign)
                goal_m += post_m[row]
            else:
                goal_m, goal_m_s = hand_m[row] + _shortened(target_m[row] - hand_m[row]), target_m_s[row]
            goal = Goal(Pose(np.array((*goal_m, HAND_Z_M)), self._rotation[row]), SHUT, np.array((*goal_m_s, 0.0)))
            commands.append(self._guides[row].follow(goal, measured[ARM_SLICE[side]]))
        self.phase = _phase(float(way_m[:, 1].max()))
        return np.concatenate(commands)


def _side(way_m: Array, coin: Side) -> float:
    """Which side both hands at `way_m` (2, 2) from their posts take: -1 for smaller x, +1 for larger x."""
    aside_m = float(way_m[:, 0].mean())
    if abs(aside_m) > LEANING_M:
        return float(np.sign(aside_m))
    return -1.0 if coin == "left" else 1.0


def _round_post(way_m: Array, sign: float) -> tuple[Array, Array]:
    """Where a hand at `way_m` from its post should be in a tick, from the post, and at what m/s: shapes (2,)."""
    line_m = sign * ASIDE_M if way_m[1] > -TURN_M else 0.0
    to_stop_m = -STOP_M - way_m[1] if sign * way_m[0] < CLEAR_M else np.inf
    speed_m_s = SPEED_M_S * float(np.clip(to_stop_m / STOPPING_M, 0.0, 1.0))
    return np.array((line_m, way_m[1] + speed_m_s * TICK_S)), np.array((0.0, speed_m_s))


def _shortened(gap_m: Array) -> Array:
    """The same way, (2,), no longer than a stride."""
    return gap_m * min(1.0, STRIDE_M / max(float(np.linalg.norm(gap_m)), 1e-9))


def _phase(ahead_m: float) -> str:
    if ahead_m < -TURN_M:
        return "approach"
    if ahead_m < -STOP_M:
        return "turn"
    return "pass" if ahead_m < PAST_M else "follow"
