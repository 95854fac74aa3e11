"""Draw both hands past a post each, on one side or the other, and keep them on targets that move behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.layout import SIDES, Side

Array = NDArray[np.float64]

POST_RADIUS_M: Final = 0.012
POST_HEIGHT_M: Final = 0.20
"""As high as the closed fingers of a hand at `HAND_Z_M`, lower than its palm, which passes over."""
POST_M: Final = np.array(((-0.30, 0.015), (0.30, 0.015)))
"""Places in x and y, rows in the order of `SIDES`: in front of each hand's home."""
POST_ASIDE_M: Final = (0.01, 0.005)
"""Each post stands up to this far from its place, in x and in y."""
POST_AWAY_M: Final = 0.025
"""Both posts and their targets stand up to this much nearer or further: the hands choose now sooner, now later."""
HAND_Z_M: Final = 0.925
"""Height of the tool points at home; the hands stay at it."""
TARGET_M: Final = POST_M + (0.0, 0.083)
TARGET_ASIDE_M: Final = 0.005
TARGET_REACH_M: Final = (0.030, 0.040)
TARGET_SHAPE: Final = np.array((1.0, 0.4))
"""A target runs along an ellipse: its half axes in x and y, as shares of its reach."""
QUARTER_RAD: Final = np.array((0.0, np.pi / 2))
"""The phases of a cosine that make an ellipse of x and y."""
TARGET_RATE_RAD_S: Final = 2 * np.pi / 1.6
"""Constant: 200 ms late is up to 31 mm beside the target."""
TARGET_Z_M: Final = 0.875
TOLERANCE_M: Final = 0.02
HOLD_S: Final = 1.2


@dataclass(frozen=True)
class _Handles:
    """Where the model keeps what the task moves and reads; rows in the order of `SIDES`."""

    posts: NDArray[np.int64]
    targets: NDArray[np.int64]
    tools: NDArray[np.int64]
    is_post: NDArray[np.bool_]


class Posts:
    """The `posts` task. Both sides of a post are equally open; a touched post sinks, and the episode has failed."""

    name = "posts"
    prompt = "pass the posts with both hands without touching them and stay on the moving discs"
    time_limit_s = 5.0

    def __init__(self) -> None:
        self._handles: _Handles | None = None
        self._post_m: Array = np.zeros((len(SIDES), 2))
        self._centre_m: Array = np.zeros((len(SIDES), 2))
        self._reach_m: Array = np.zeros((len(SIDES), 2))
        self._phase_rad: Array = np.zeros((len(SIDES), 2))
        self._touched = False
        self._on_target_s = 0.0
        self.coin: Side = "left"
        """Which way a demonstrator goes when nothing speaks for either; no observation tells it."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add a post and a target for each hand."""
        for side in SIDES:
            post = spec.worldbody.add_body(name=f"post_{side}", mocap=True)
            post.add_geom(
                name=f"post_{side}",
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=(POST_RADIUS_M, POST_HEIGHT_M / 2, 0.0),
                rgba=(0.85, 0.20, 0.16, 1.0),
            )
            target = spec.worldbody.add_body(name=f"target_{side}", mocap=True)
            stalk_m = (TARGET_Z_M - TABLE_TOP_Z_M) / 2
            _add_disc(target, 0.0, (TOLERANCE_M, 0.002), (0.16, 0.62, 0.36, 1.0))
            _add_disc(target, -stalk_m, (0.003, stalk_m), (0.62, 0.64, 0.67, 1.0))

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Stand the posts and start the targets, each somewhere on an ellipse of its own; toss the coin."""
        shape = (len(SIDES), 2)
        away_m = np.array((0.0, rng.uniform(-POST_AWAY_M, POST_AWAY_M)))
        self._post_m = POST_M + away_m + rng.uniform(-1.0, 1.0, shape) * POST_ASIDE_M
        self._centre_m = TARGET_M + away_m + rng.uniform(-TARGET_ASIDE_M, TARGET_ASIDE_M, shape)
        self._reach_m = rng.uniform(*TARGET_REACH_M, (len(SIDES), 1)) * TARGET_SHAPE
        self._phase_rad = rng.uniform(0.0, 2 * np.pi, (len(SIDES), 1)) - QUARTER_RAD
        self.coin = SIDES[int(rng.integers(len(SIDES)))]
        self._touched, self._on_target_s = False, 0.0
        self._stand(model, data, TABLE_TOP_Z_M)
        self._move_targets(model, data)

    def advance(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Move the targets; remember a touched post and for how long both hands have been on target."""
        target_m = self._move_targets(model, data)
        handles = self._bound(model)
        if self.outcome(model, data) is not None:
            return
        if data.ncon and handles.is_post[data.contact.geom].any():
            self._touched = True
            # Out of the way: the arm that ran into it has to go home.
            self._stand(model, data, TABLE_TOP_Z_M - POST_HEIGHT_M)
            return
        gap_m = data.site_xpos[handles.tools, :2] - target_m
        if np.hypot(gap_m[:, 0], gap_m[:, 1]).max() < TOLERANCE_M:
            self._on_target_s += model.opt.timestep

    def outcome(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool | None:  # noqa: ARG002
        """True: both hands were on target for long enough, in all. False: a post was touched. None: still open."""
        if self._touched:
            return False
        return True if self._on_target_s >= HOLD_S else None

    def object_state(self, model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float32]:  # noqa: ARG002
        """(12,), the left hand's six first: post x, y in m; target x, y in m; target velocity x, y in m/s.

        The targets' rate and the shape of their ellipses are fixed: position and velocity tell their future.
        """
        position_m, velocity_m_s = self.targets(float(data.time))
        return np.concatenate((self._post_m, position_m, velocity_m_s), axis=1).reshape(-1).astype(np.float32)

    def posts(self) -> Array:
        """Where the posts stand, x and y in m, shape (2, 2)."""
        return self._post_m.copy()

    def targets(self, time_s: float) -> tuple[Array, Array]:
        """The targets' x and y in m and their velocities in m/s at a time since the reset, shapes (2, 2)."""
        angle_rad = self._phase_rad + TARGET_RATE_RAD_S * time_s
        velocity_m_s = -TARGET_RATE_RAD_S * self._reach_m * np.sin(angle_rad)
        return self._centre_m + self._reach_m * np.cos(angle_rad), velocity_m_s

    def _move_targets(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        position_m, _ = self.targets(float(data.time))
        data.mocap_pos[self._bound(model).targets, :2] = position_m
        return position_m

    def _stand(self, model: mujoco.MjModel, data: mujoco.MjData, foot_z_m: float) -> None:
        posts = self._bound(model).posts
        data.mocap_pos[posts, :2] = self._post_m
        data.mocap_pos[posts, 2] = foot_z_m + POST_HEIGHT_M / 2
        data.mocap_pos[self._bound(model).targets, 2] = TARGET_Z_M

    def _bound(self, model: mujoco.MjModel) -> _Handles:
        if self._handles is None:
            posts = [model.body(f"post_{side}") for side in SIDES]
            self._handles = _Handles(
                posts=np.array([int(body.mocapid[0]) for body in posts]),
                targets=np.array([int(model.body(f"target_{side}").mocapid[0]) for side in SIDES]),
                tools=np.array([model.site(f"{side}_tcp").id for side in SIDES]),
                is_post=np.isin(model.geom_bodyid, [body.id for body in posts]),
            )
        return self._handles


def _add_disc(
    body: mujoco.MjsBody, z_m: float, size_m: tuple[float, float], rgba: tuple[float, float, float, float]
) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, z_m),
        size=(*size_m, 0.0),
        rgba=rgba,
        contype=0,
        conaffinity=0,
    )
