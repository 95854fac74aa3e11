"""The simulated wrist camera's lens and place are found from pictures that MuJoCo renders of a board on the table."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import store
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.render import RenderUnavailable, SceneRenderer
from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.drivers.sim.task import EmptyTable
from runtime.kinematics.rotations import rotation_vector
from runtime.layout import ARM_JOINTS

pytest.importorskip("cv2")

from calibration import camera, hand_eye
from calibration.board import Board

Array = NDArray[np.float64]
BOARD = Board(7, 5, 0.03, 0.022)
WIDTH, HEIGHT = 640, 480
CAMERA = "cam_left_wrist"
SQUARE_PX = 60


class BoardOnTable(EmptyTable):
    """The board, with a white rim of one square, flat on the table before the left arm."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        drawn = np.pad(BOARD.picture(SQUARE_PX), SQUARE_PX, constant_values=255)
        pixels = np.ascontiguousarray(np.repeat(drawn[:, :, None], 3, axis=2))
        texture = spec.add_texture(
            name="board", type=mujoco.mjtTexture.mjTEXTURE_2D, width=pixels.shape[1], height=pixels.shape[0], nchannel=3
        )
        texture.data = pixels.tobytes()
        spec.add_material(name="board", emission=0.4).textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "board"
        half = (BOARD.columns + 2) * 0.015, (BOARD.rows + 2) * 0.015, 0.001
        place = (-0.30, 0.02, TABLE_TOP_Z_M + 0.001)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=place, size=half, material="board")


@pytest.fixture(scope="module")
def plant() -> Plant:
    return Plant("x5", BoardOnTable())


@pytest.fixture(scope="module")
def renderer(plant: Plant) -> Iterator[SceneRenderer]:
    try:
        made = SceneRenderer(plant.model, width=WIDTH, height=HEIGHT)
    except RenderUnavailable as error:
        pytest.skip(str(error))
    with made:
        yield made


def frame(position: Array, rotation: Array) -> Array:
    """A frame (4, 4)."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = rotation.reshape(3, 3), position
    return made


def test_the_lens_and_the_place_of_a_rendered_camera_are_the_model_s(plant: Plant, renderer: SceneRenderer) -> None:
    model, data, rng = plant.model, plant.data, np.random.default_rng(0)
    qpos = [int(model.joint(f"left_joint{j + 1}").qposadr[0]) for j in range(ARM_JOINTS)]
    home, pictures, hands = data.qpos[qpos].copy(), [], []
    for _ in range(400):
        data.qpos[qpos] = home + rng.uniform(-1.0, 1.0, ARM_JOINTS) * (0.25, 0.35, 0.35, 0.5, 0.5, 0.8)
        mujoco.mj_forward(model, data)
        picture = np.ascontiguousarray(renderer.render(data, CAMERA).mean(axis=2).astype(np.uint8))
        if BOARD.find(picture) is not None:
            pictures.append(picture)
            base = frame(data.body("left_base").xpos, data.body("left_base").xmat)
            hands.append(np.linalg.inv(base) @ frame(data.site("left_tcp").xpos, data.site("left_tcp").xmat))
        if len(pictures) == 12:
            break
    lens = camera.estimate(pictures, BOARD, "sim")
    focal_px = HEIGHT / 2.0 / np.tan(np.deg2rad(model.camera(CAMERA).fovy[0]) / 2.0)
    assert (lens.fx_px, lens.fy_px) == pytest.approx((focal_px, focal_px), rel=0.02)
    assert (lens.cx_px, lens.cy_px) == pytest.approx((WIDTH / 2, HEIGHT / 2), abs=8.0)
    exact = store.Intrinsics(
        device="sim", date="", samples=1, width_px=WIDTH, height_px=HEIGHT, fx_px=focal_px, fy_px=focal_px,
        cx_px=WIDTH / 2 - 0.5, cy_px=HEIGHT / 2 - 0.5, distortion=[0.0] * 5, residual_px=0.0,
    )  # fmt: skip
    boards = [BOARD.pose(picture, exact) for picture in pictures]
    found = hand_eye.estimate(hands, [board for board in boards if board is not None], "hand")
    # MuJoCo's camera looks along -z with y up, OpenCV's along z with y down.
    seen = frame(data.camera(CAMERA).xpos, data.camera(CAMERA).xmat) @ np.diag((1.0, -1.0, -1.0, 1.0))
    hand = frame(data.site("left_tcp").xpos, data.site("left_tcp").xmat)
    truth = np.linalg.inv(hand) @ seen
    assert found.pose[:3, 3] == pytest.approx(truth[:3, 3], abs=0.004)
    assert np.linalg.norm(rotation_vector(found.pose[:3, :3].T @ truth[:3, :3])) < 0.015
    assert found.residual_m < 0.004
