"""`leadtime calibrate`: make one estimate, keep it, show it. Nothing is ever written to a device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from calibration import gripper, latency, report, store, zero
from calibration.recorded import ArmHistory, arm_history
from calibration.store import Calibration, put, today
from runtime.blackbox import load_run
from runtime.cli import Calibrate
from runtime.config import RigConfig, load_rig
from runtime.devices import Correction, RealArm, device_id
from runtime.errors import LeadtimeError, UsageError
from runtime.files import write_text
from runtime.layout import ARM_JOINTS, Side
from runtime.yaml_file import convert, read_yaml

Maker = Callable[[Calibrate, RigConfig, Calibration], tuple[Calibration, str]]


def calibrate(command: Calibrate) -> int:
    """Make the estimate that is asked for and say what it is."""
    rig = load_rig(command.rig)
    path = command.out / f"{rig.name}.yaml"
    known, line = _MAKERS[command.what](command, rig, store.load(path, rig))
    store.save(path, known)
    page = path.with_suffix(".html")
    write_text(page, report.build_page(known))
    sys.stdout.write(f"{line}; kept in {path}, page: {page}\n")
    return 0


def _zero(command: Calibrate, rig: RigConfig, known: Calibration) -> tuple[Calibration, str]:
    jig = np.array(command.jig_rad or rig.arm_model(command.side).home[:ARM_JOINTS])
    if jig.shape != (ARM_JOINTS,) or not np.isfinite(jig).all():
        given = " ".join(map(str, command.jig_rad))
        raise UsageError(f"--jig-rad {given}: give the jig's {ARM_JOINTS} angles in rad")
    found = zero.estimate(_history(command, rig), jig)
    offset = [round(float(value), 6) for value in found.offset_rad]
    device = device_id(rig.arms[command.side])
    made = store.Zero(
        device=device, date=today(), samples=found.samples, offset_rad=offset, spread_rad=found.spread_rad
    )
    text = ", ".join(f"{value:+.4f}" for value in offset)
    line = f"{command.side} zeros off by {text} rad"
    arm = rig.arms[command.side]
    if isinstance(arm, RealArm):
        # The run was recorded with the correction that there is: what was found comes on top.
        total = [round(had + new, 4) for had, new in zip(arm.correction.zero_offset_rad, offset, strict=True)]
        _check_correction(command.side, {"zero_offset_rad": total}, "find the zeros anew with the arm's own tool")
        line += f"; in the rig's file: arms.{command.side}.correction.zero_offset_rad: {total}"
    return put(known, "zero", command.side, made), line


def _gripper(command: Calibrate, rig: RigConfig, known: Calibration) -> tuple[Calibration, str]:
    found = gripper.estimate(_history(command, rig))
    device = device_id(rig.arms[command.side])
    made = store.Gripper(device=device, date=today(), samples=found.samples, closed=found.closed, open=found.open)
    line = f"{command.side} gripper closed at {found.closed:.3f} and open at {found.open:.3f} of its stroke"
    arm = rig.arms[command.side]
    if isinstance(arm, RealArm):
        had = arm.correction
        span = had.gripper_open - had.gripper_closed
        closed, wide = (round(had.gripper_closed + end * span, 3) for end in (found.closed, found.open))
        ends = {"gripper_closed": closed, "gripper_open": wide}
        _check_correction(command.side, ends, "find the gripper's ends anew with the arm's own tool")
        line += (
            f"; in the rig's file: arms.{command.side}.correction: {{gripper_closed: {closed}, gripper_open: {wide}}}"
        )
    return put(known, "gripper", command.side, made), line


def _check_correction(side: Side, correction: dict[str, Any], remedy: str) -> None:
    """Raise LeadtimeError for what a rig's file would refuse."""
    try:
        msgspec.convert(correction, Correction)
    except msgspec.ValidationError as error:
        raise LeadtimeError(f"arms.{side}.correction: {correction}: {error}; {remedy}") from error


def _latency(command: Calibrate, rig: RigConfig, known: Calibration) -> tuple[Calibration, str]:
    found = latency.estimate(_history(command, rig))
    made = store.Delay(
        device=device_id(rig.arms[command.side]),
        date=today(),
        samples=found.samples,
        command_to_motion_ms=found.delay_s * 1000.0,
        correlation=found.correlation,
    )
    line = f"{command.side} arm moves {found.delay_s * 1000.0:.1f} ms after its command"
    return put(known, "delay", command.side, made), f"{line} (correlation {found.correlation:.3f})"


def _camera(command: Calibrate, rig: RigConfig, known: Calibration) -> tuple[Calibration, str]:
    folder = _images(command)
    from calibration import board, camera  # noqa: PLC0415  an extra

    pictures = board.pictures(folder)
    made = camera.estimate(pictures.values(), board.Board.parse(command.board), _camera_id(command, rig))
    line = f"{command.camera}: fx {made.fx_px:.1f}, fy {made.fy_px:.1f} px, residual {made.residual_px:.2f} px"
    return put(known, "intrinsics", command.camera, made), f"{line} over {made.samples} pictures"


def _hand_eye(command: Calibrate, rig: RigConfig, known: Calibration) -> tuple[Calibration, str]:
    folder = _images(command)
    from calibration import board, hand_eye  # noqa: PLC0415  an extra
    from runtime.inference.adapters.embodiment import RigKinematics  # noqa: PLC0415  builds the arms' model

    device, lens = _camera_id(command, rig), known.intrinsics.get(command.camera)
    if lens is None:
        raise UsageError(f"--camera {command.camera}: its intrinsics are not known; run `leadtime calibrate camera`")
    pictures, pattern = board.pictures(folder), board.Board.parse(command.board)
    joints = _joints(folder / "joints.yaml", list(pictures))
    kinematics = RigKinematics(rig.arms[command.side].model)
    base = kinematics.base[command.side]
    hands, boards = [], []
    for name, picture in pictures.items():
        seen = pattern.pose(picture, lens)
        if seen is not None:
            both = np.tile(np.concatenate([joints[name], [0.0]]), 2)
            hand = kinematics.forward(both)[command.side]
            at = np.eye(4)
            at[:3, :3] = base.rotation.T @ hand.rotation
            at[:3, 3] = base.rotation.T @ (hand.position - base.position)
            hands.append(at)
            boards.append(seen)
    found = hand_eye.estimate(hands, boards, command.mount)
    made = store.Mount(
        device=device,
        date=today(),
        samples=found.samples,
        parent=f"{command.side} {command.mount}",
        pose=found.pose.tolist(),
        residual_m=found.residual_m,
        residual_rad=found.residual_rad,
    )
    line = f"{command.camera} on the {command.side} {command.mount}: residual {found.residual_m * 1000.0:.1f} mm"
    return put(known, "mount", command.camera, made), f"{line} over {found.samples} poses"


def _history(command: Calibrate, rig: RigConfig) -> ArmHistory:
    if command.run is None:
        raise UsageError(f"calibrate {command.what} reads a recorded run: give --run FOLDER")
    run = load_run(command.run)
    if run.spec.rig.name != rig.name or run.spec.rig.arms != rig.arms:
        raise UsageError(
            f"--run {command.run}: of rig {run.spec.rig.name!r} with its arms, not of {rig.name!r} as it is"
        )
    return arm_history(run, command.side)


def _images(command: Calibrate) -> Path:
    if find_spec("cv2") is None:
        raise LeadtimeError(f"calibrate {command.what} needs OpenCV: pip install 'leadtime[calibration]'")
    if command.images is None or not command.images.is_dir():
        raise UsageError(f"calibrate {command.what} reads pictures of a board: give --images FOLDER")
    return command.images


def _camera_id(command: Calibrate, rig: RigConfig) -> str:
    if command.camera not in rig.cameras:
        raise UsageError(f"--camera {command.camera!r}: the rig has {', '.join(rig.cameras)}")
    return device_id(rig.cameras[command.camera])


def _joints(path: Path, names: list[str]) -> dict[str, list[float]]:
    if not path.is_file():
        raise UsageError(f"{path}: does not exist; it has the 6 joint angles (rad) of each picture by its name")
    try:
        angles: dict[str, list[float]] = convert(read_yaml(path), dict[str, store.Joints], path)
    except UsageError as error:
        raise UsageError(f"{error}; one line a picture, NAME: [6 joint angles in rad]") from None
    missing = [name for name in names if name not in angles]
    if missing:
        raise UsageError(f"{path}: no joint angles of {missing[0]}")
    return angles


_MAKERS: Final[dict[str, Maker]] = {
    "zero": _zero,
    "gripper": _gripper,
    "camera": _camera,
    "hand-eye": _hand_eye,
    "latency": _latency,
}
