"""Every camera that a rig can name has a driver, which asks for its package only when it is opened, in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.board import Board
from runtime.clock import MonotonicClock
from runtime.config import RIG_FOLDER, load_rig
from runtime.devices import ArxX5Arm, Camera, PiperArm, driver_names, has_emulated_bus, is_emulated
from runtime.drivers import arx_x5, factory, realsense, uvc
from runtime.drivers.base import DriverError
from runtime.errors import UsageError
from runtime.spec import RunSpec

SIZE = {"width_px": 64, "height_px": 48, "rate_hz": 30}
CAMERAS: dict[str, dict[str, Any]] = {
    "sim": {},
    "realsense": {"serial": "0815", "sync": 1, "exposure": 120.0, "delay_ms": 9.5},
    "orbbec": {"serial": "0815", "python": "/opt/orbbec/bin/python"},
    "uvc": {"device": "/dev/v4l/by-id/none", "pixels": "yuyv422"},
    "recorded": {"file": "none", "topic": "cam_high"},
}


def rig_file(folder: Path, cameras: dict[str, Any]) -> Path:
    file = folder / "rig.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load((RIG_FOLDER / "sim-x5.yaml").read_text()) | {"cameras": cameras}))
    return file


def test_every_driver_that_a_rig_can_name_is_made(tmp_path: Path) -> None:
    assert sorted(driver_names(Camera)) == sorted(CAMERAS) == sorted(factory.CAMERAS)
    cameras = {f"cam_{driver}": {"driver": driver, **SIZE, **keys} for driver, keys in CAMERAS.items()}
    cameras["cam_high"] = cameras.pop("cam_sim")
    texts = dict.fromkeys(("run_dir", "policy", "endpoint", "task", "prompt", "latency", "merge"), "x")
    numbers = {"seed": 0, "duration_s": 1.0, "episode_s": 1.0, "scene_length": 1}
    board = Board.create(RunSpec(rig=load_rig(str(rig_file(tmp_path, cameras))), serve=False, **texts, **numbers))  # type: ignore[arg-type]
    made = [type(factory.make_cameras(board, MonotonicClock(0), (name,))).__name__ for name in cameras]
    assert made == ["Realsense", "Orbbec", "Uvc", "Recorded", "SimCameras"]


def test_no_vendors_package_is_imported_before_it_is_named() -> None:
    code = "import sys, runtime.drivers.capture; print([n for n in sys.modules if n in {'av', 'pyrealsense2', 'PIL'}])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


@pytest.mark.parametrize(
    ("load", "extra"), [(realsense.load_sdk, "realsense"), (uvc.load_av, "uvc"), (arx_x5.load_sdk, "arx")]
)
def test_a_missing_package_is_named_with_its_extra_in_one_line(
    monkeypatch: pytest.MonkeyPatch, load: Any, extra: str
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(DriverError, match=rf"pip install 'leadtime\[{extra}\]'") as caught:
        load()
    assert "\n" not in str(caught.value)


def test_cameras_of_other_drivers_may_have_other_sizes_than_the_simulated(tmp_path: Path) -> None:
    table = {"driver": "recorded", **CAMERAS["recorded"], "width_px": 640, "height_px": 480, "rate_hz": 5}
    rig = load_rig(str(rig_file(tmp_path, {"cam_high": {"driver": "sim", **SIZE}, "cam_table": table})))
    assert [camera.driver for camera in rig.cameras.values()] == ["sim", "recorded"]
    two = {"cam_high": {"driver": "sim", **SIZE}, "cam_front": {"driver": "sim", **SIZE, "width_px": 80}}
    with pytest.raises(UsageError, match="the simulated cameras share one size and one rate"):
        load_rig(str(rig_file(tmp_path, two)))


@pytest.mark.parametrize(
    ("arm", "emulated", "bus"),
    [
        (ArxX5Arm(channel="emulated"), True, False),
        (ArxX5Arm(channel="can0"), False, False),
        (PiperArm(channel="emulated"), True, True),
        (PiperArm(channel="can0"), False, False),
    ],
)
def test_a_stand_in_of_a_package_needs_no_emulator_of_a_bus(arm: Any, emulated: bool, bus: bool) -> None:
    assert (is_emulated(arm), has_emulated_bus(arm)) == (emulated, bus)
