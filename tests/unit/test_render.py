"""The simulated cameras see the scene, in both looks; without OpenGL one line says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.config import SIM_CAMERAS
from runtime.drivers.sim import gl_context
from runtime.drivers.sim.plant import Plant
from runtime.drivers.sim.render import RenderUnavailable, SceneRenderer
from runtime.drivers.sim.scene import TABLE_TOP_Z_M
from runtime.drivers.sim.task import EmptyTable
from runtime.errors import UsageError
from runtime.layout import ARM_GRIPPER, ARM_SLICE, SIDES

WIDTH, HEIGHT = 160, 120


class RedCube(EmptyTable):
    """A red cube in the middle of the table."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        spec.worldbody.add_geom(
            name="red",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(0.0, 0.0, TABLE_TOP_Z_M + 0.03),
            size=(0.03, 0.03, 0.03),
            rgba=(0.9, 0.05, 0.05, 1.0),
        )


@pytest.fixture(scope="module")
def plant() -> Plant:
    return Plant("x5", RedCube())


@pytest.fixture(scope="module")
def fast(plant: Plant) -> Iterator[SceneRenderer]:
    try:
        renderer = SceneRenderer(plant.model, width=WIDTH, height=HEIGHT)
    except RenderUnavailable as error:
        pytest.skip(str(error))
    with renderer:
        yield renderer


def red_pixels(picture: NDArray[np.uint8]) -> NDArray[np.intp]:
    red, green, blue = (picture[..., c].astype(int) for c in range(3))
    return np.argwhere((red > 90) & (green < red // 3) & (blue < red // 3))


@pytest.mark.parametrize("camera", SIM_CAMERAS)
def test_every_camera_gives_an_rgb_picture_with_content(fast: SceneRenderer, plant: Plant, camera: str) -> None:
    picture = fast.render(plant.data, camera)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    np.testing.assert_array_equal(picture, fast.render(plant.data, camera))


def test_the_head_camera_sees_the_table_centre_in_the_middle_right_way_up(fast: SceneRenderer, plant: Plant) -> None:
    rows, columns = red_pixels(fast.render(plant.data, "cam_high")).mean(axis=0)
    assert abs(rows - HEIGHT / 2) < HEIGHT * 0.12
    # The camera stands 32 mm to the left of the centre line.
    assert WIDTH / 2 < columns < WIDTH * 0.62


def test_the_front_camera_sees_the_cube_below_its_horizon_and_to_its_left(fast: SceneRenderer, plant: Plant) -> None:
    rows, columns = red_pixels(fast.render(plant.data, "cam_front")).mean(axis=0)
    assert rows > HEIGHT / 2
    assert columns < WIDTH / 2


@pytest.mark.parametrize("arm", ARM_MODELS)
def test_the_wrist_cameras_see_the_grasp_point_and_both_finger_tips(arm: str) -> None:
    rig = Plant(arm)
    for side in SIDES:
        camera = rig.data.camera(f"cam_{side}_wrist")
        fovy = np.radians(rig.model.camera(f"cam_{side}_wrist").fovy[0])
        turn = camera.xmat.reshape(3, 3)
        points = [rig.data.site(f"{side}_tcp").xpos]
        for finger in (1, 2):
            pad = rig.data.geom(f"{side}_finger{finger}_pad")
            size = rig.model.geom(f"{side}_finger{finger}_pad").size
            points.append(pad.xpos + pad.xmat.reshape(3, 3)[:, 0] * size[0])
        for point in points:
            x, y, depth = turn.T @ (point - camera.xpos) * (1, 1, -1)
            assert depth > 0.02
            assert abs(y / depth) < np.tan(fovy / 2)
            assert abs(x / depth) < np.tan(fovy / 2) * 4 / 3
            assert y < 0, "the fingers come in from below"


def test_the_wrist_camera_sees_its_gripper_close(fast: SceneRenderer, plant: Plant) -> None:
    opened = fast.render(plant.data, "cam_left_wrist").astype(int)
    target = np.tile(plant.arm.home_array, len(SIDES))
    target[ARM_SLICE["left"].start + ARM_GRIPPER] = 0.0
    plant.command(target)
    for _ in range(250):
        plant.step()
    closed = fast.render(plant.data, "cam_left_wrist").astype(int)
    plant.reset(0)
    assert (np.abs(opened - closed).max(axis=2) > 40).mean() > 0.03


def test_the_rich_look_adds_shadows_and_leaves_the_model_alone(fast: SceneRenderer, plant: Plant) -> None:
    before = (plant.model.vis.quality.offsamples, plant.model.vis.global_.offwidth)
    with SceneRenderer(plant.model, width=WIDTH, height=HEIGHT, look="rich") as rich:
        pictures = [r.render(plant.data, "cam_high").astype(int) for r in (fast, rich, fast)]
        size = SceneRenderer(plant.model, width=64, height=48)
        assert size.render(plant.data, "cam_high").shape == (48, 64, 3)
        size.close()
        size.close()
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert (pictures[0] - pictures[1] > 20).all(axis=2).mean() > 0.003
    assert before == (plant.model.vis.quality.offsamples, plant.model.vis.global_.offwidth)


def test_an_unknown_camera_or_look_is_refused_with_the_valid_names(fast: SceneRenderer, plant: Plant) -> None:
    with pytest.raises(UsageError, match="cam_high, cam_front"):
        fast.render(plant.data, "cam_low")
    with pytest.raises(UsageError, match="fast, rich"):
        SceneRenderer(plant.model, width=8, height=8, look="best")  # type: ignore[arg-type]


def test_without_any_backend_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl_context, "_BACKENDS", {"egl": "no_such_egl", "osmesa": "no_such_osmesa"})
    with pytest.raises(RenderUnavailable, match=r"egl: .*osmesa: .*apt-get install libegl1") as caught:
        gl_context.open_gl_context(8, 8)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_a_process_that_wants_one_backend_gets_a_picture_or_the_remedy(backend: str) -> None:
    script = (
        "import sys\n"
        "from runtime.drivers.sim.plant import Plant\n"
        "from runtime.drivers.sim.render import RenderUnavailable, SceneRenderer\n"
        "plant = Plant('x5')\n"
        "try:\n"
        "    good = SceneRenderer(plant.model, width=64, height=48).render(plant.data, 'cam_high').std() > 5\n"
        "except RenderUnavailable as error:\n"
        "    good = 'apt-get install' in str(error)\n"
        "sys.exit(0 if good else 3)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**env, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_second_backend_is_tried_from_a_clean_slate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first backend that binds PyOpenGL and then fails must not spoil the second one's import."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.setattr(gl_context, "_BACKENDS", {"egl": "first_gl", "osmesa": "second_gl"})
    for name in [n for n in sys.modules if n.split(".")[0] == "OpenGL"]:
        monkeypatch.delitem(sys.modules, name)
    opened: list[str] = []

    class Context:
        def __init__(self, width: int, height: int) -> None:
            opened.append(os.environ.get("PYOPENGL_PLATFORM", "unbound"))
            os.environ["PYOPENGL_PLATFORM"] = "bound"
            sys.modules["OpenGL.stale"] = ModuleType("OpenGL.stale")
            if len(opened) == 1:
                raise OSError("no display\nand a long story")

        def make_current(self) -> None:
            assert "OpenGL.stale" in sys.modules

    for name in ("first_gl", "second_gl"):
        module = ModuleType(name)
        module.GLContext = Context  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    try:
        assert isinstance(gl_context.open_gl_context(8, 8), Context)
    finally:
        sys.modules.pop("OpenGL.stale", None)
    assert opened == ["unbound", "unbound"]
