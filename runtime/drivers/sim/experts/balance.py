"""Expert of `balance`: both hands carry the tray smoothly to its goal and lean it against the ball's way."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, OutputParameter, Ruckig

from runtime.drivers.sim.experts.guide import TICK_S
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.tasks.balance import Balance
from runtime.drivers.sim.tasks.tray import GRIP_M, GRIP_ROTATION
from runtime.errors import LeadtimeError
from runtime.kinematics.ik import ArmIk
from runtime.kinematics.rotations import rotation_vector
from runtime.layout import ARM_JOINTS, ARM_SLICE, RIG_DOF, SIDES

Array = NDArray[np.float64]

GRAVITY_M_S2: Final = 9.81
PER_M: Final = 1.19
PER_M_S: Final = 0.641
"""Lean against the ball's place and speed, rad per m and per m/s; see `STIFFNESS`."""
STIFFNESS: Final = 15.6
DAMPING: Final = 23.6
"""The lean follows with this frequency (rad/s) and damping (1/s). With 7 m/s^2 per rad of lean, the four numbers put
the poles of ball and lean at 4.5 rad/s (damping ratio 0.85) and 10 rad/s (0.8)."""
LEAN_MAX_RAD: Final = 0.075
LEAN_MAX_RAD_S2: Final = 5.0
SPEED_M_S: Final = 0.2
ACCELERATION_M_S2: Final = 0.35
JERK_M_S3: Final = 5.0
SERVO_LAG_S: Final = 0.03
"""The measured tray follows the commanded one by this much."""
RECOVERY_1_S: Final = 6.0
"""How fast joints that were pushed off the tray's way come back to it."""
SHUT: Final = 0.22
NEAR_M: Final = 0.02
NEWTON_STEPS: Final = 2
"""The tools' poses are met to a hundredth of a millimetre from a tick ago, with no dead zone."""


class BalanceExpert:
    """Phases: carry, settle."""

    def __init__(self) -> None:
        self.phase = "start"
        self._arms: list[ArmIk] = []
        self._otg = Ruckig(3, TICK_S)
        self._path = InputParameter(3)
        self._path.max_velocity = [SPEED_M_S] * 3
        self._path.max_acceleration = [ACCELERATION_M_S2] * 3
        self._path.max_jerk = [JERK_M_S3] * 3
        self._next = OutputParameter(3)
        self._lean_rad: Array = np.zeros(2)
        self._lean_rad_s: Array = np.zeros(2)
        self._joints: Array = np.zeros(RIG_DOF)
        self._aside: Array = np.zeros(RIG_DOF)
        self._aside_1_s: Array = np.zeros(RIG_DOF)
        self.blind_rad: Array | None = None
        """A lean, shape (2,), to keep whatever the ball does, until the next `adopt`; for disturbed demonstrations."""

    @property
    def commanded(self) -> Array:
        """The last target, shape (14,)."""
        return self._joints + self._aside

    def reset(self, plant: Plant) -> None:
        """Start an episode from the plant's present state. LeadtimeError when its task is another."""
        if not isinstance(plant.task, Balance):
            raise LeadtimeError(f"the expert of balance cannot do {plant.task.name}")
        self.phase = "start"
        self._arms = [ArmIk(plant.model, side) for side in SIDES]
        self.adopt(plant.position(), np.zeros(RIG_DOF))

    def adopt(self, position: Array, velocity: Array, before: Array | None = None) -> None:
        """Go on from what was commanded instead of the last target: rad and rad/s, shapes (14,).

        `before` (14,) is the target two ticks before `position`: then the tray goes on in its acceleration too, which
        else begins anew at zero.
        """
        self.blind_rad = None
        tray_m, self._lean_rad = self._tray(position)
        then_m, then_rad = self._tray(position + velocity * TICK_S)
        self._path.current_position = tray_m.tolist()
        self._path.current_velocity = ((then_m - tray_m) / TICK_S).tolist()
        speeding_m_s2 = np.zeros(3)
        if before is not None:
            last_m, earlier_m = self._tray(position - velocity * TICK_S)[0], self._tray(before)[0]
            speeding_m_s2 = (tray_m - 2.0 * last_m + earlier_m) / TICK_S**2
            speeding_m_s2 = np.clip(speeding_m_s2, -ACCELERATION_M_S2, ACCELERATION_M_S2)
        self._path.current_acceleration = speeding_m_s2.tolist()
        self._lean_rad_s = (then_rad - self._lean_rad) / TICK_S
        joints = self._reach(tray_m, self._lean_rad, position)
        moving = (self._reach(then_m, then_rad, joints) - joints) / TICK_S
        self._joints, self._aside, self._aside_1_s = joints, position - joints, velocity - moving

    def act(self, plant: Plant) -> Array:
        """Position target for the next 20 ms, shape (14,)."""
        if not self._arms:
            raise LeadtimeError("the expert must be reset with the plant before it acts")
        seen = plant.task.object_state(plant.model, plant.data).astype(np.float64)
        tray_m = self._carry(seen[9:])
        self._balance(seen[:2], seen[2:4])
        self._joints = self._reach(tray_m, self._lean_rad, self._joints)
        self._recover()
        self.phase = "carry" if np.linalg.norm(seen[9:] - seen[4:7]) > NEAR_M else "settle"
        return self.commanded

    def _carry(self, goal_m: Array) -> Array:
        """One tick on the way to the goal: the tray's next place, shape (3,)."""
        self._path.target_position = goal_m.tolist()
        self._otg.update(self._path, self._next)
        self._next.pass_to_input(self._path)
        return np.array(self._next.new_position)

    def _balance(self, ball_m: Array, ball_m_s: Array) -> None:
        """Lean against the ball's way, and into the tray's acceleration, which the ball would stay behind."""
        ahead_m = ball_m + SERVO_LAG_S * ball_m_s
        wanted_rad = np.array(self._next.new_acceleration[:2]) / GRAVITY_M_S2 - PER_M * ahead_m - PER_M_S * ball_m_s
        wanted_rad = _shortened(wanted_rad if self.blind_rad is None else self.blind_rad, LEAN_MAX_RAD)
        pull = STIFFNESS**2 * (wanted_rad - self._lean_rad) - DAMPING * self._lean_rad_s
        self._lean_rad_s += TICK_S * _shortened(pull, LEAN_MAX_RAD_S2)
        self._lean_rad = self._lean_rad + TICK_S * self._lean_rad_s

    def _recover(self) -> None:
        """Let what the joints are off the tray's way die out, critically damped."""
        rising = self._aside_1_s + RECOVERY_1_S * self._aside
        left = float(np.exp(-RECOVERY_1_S * TICK_S))
        self._aside = left * (self._aside + rising * TICK_S)
        self._aside_1_s = left * rising - RECOVERY_1_S * self._aside

    def _reach(self, tray_m: Array, lean_rad: Array, near: Array) -> Array:
        """The command that holds the tray there, shape (14,), found from the one `near` it."""
        turn = _leaning(lean_rad)
        rotation = turn @ GRIP_ROTATION
        commands = []
        for arm, side, grip_m in zip(self._arms, SIDES, GRIP_M, strict=True):
            joints = near[ARM_SLICE[side]][:ARM_JOINTS]
            for _ in range(NEWTON_STEPS):
                tool = arm.forward(joints)
                twist = (tray_m + turn @ grip_m - tool.position, rotation_vector(rotation @ tool.rotation.T))
                joints = joints + np.linalg.solve(arm.jacobian(joints), np.concatenate(twist))
            commands.append(np.append(joints, SHUT))
        return np.concatenate(commands)

    def _tray(self, position: Array) -> tuple[Array, Array]:
        """Place (3,) and lean (2,) of the tray that these joints would hold."""
        tools = [
            arm.forward(position[ARM_SLICE[side]][:ARM_JOINTS]) for arm, side in zip(self._arms, SIDES, strict=True)
        ]
        across = tools[1].position - tools[0].position
        along = sum((tool.rotation @ GRIP_ROTATION.T)[1, 2] for tool in tools) / len(tools)
        lean_rad = np.array((-across[2] / np.linalg.norm(across), along))
        turn = _leaning(lean_rad)
        middle_m = sum(tool.position for tool in tools) / len(tools)
        return middle_m - turn @ GRIP_M.mean(axis=0), lean_rad


def _shortened(vector: Array, longest: float) -> Array:
    return vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-9))


def _leaning(lean_rad: Array) -> Array:
    """Rotation (3, 3) of a tray, not turned about its normal, whose normal leans this far to x and to y."""
    normal = np.append(lean_rad, np.sqrt(1.0 - lean_rad @ lean_rad))
    across = np.array((1.0, 0.0, 0.0)) - lean_rad[0] * normal
    across /= np.linalg.norm(across)
    return np.column_stack((across, np.cross(normal, across), normal))
