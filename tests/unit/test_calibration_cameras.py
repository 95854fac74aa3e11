"""Cameras: what was drawn is found again, the lens and the place, from pictures of a board made up for the purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from calibration import store
from runtime.cli import Calibrate
from runtime.config import load_rig
from runtime.errors import LeadtimeError, UsageError
from runtime.inference.adapters.embodiment import RigKinematics
from runtime.kinematics.rotations import rotation_vector

cv2 = pytest.importorskip("cv2")

from calibration import camera, hand_eye  # noqa: E402
from calibration.board import Board  # noqa: E402
from calibration.command import calibrate  # noqa: E402

Array = NDArray[np.float64]
BOARD = Board(7, 5, 0.03, 0.022)
SIZE = (480, 640)
K = np.array([[610.0, 0.0, 331.0], [0.0, 605.0, 236.0], [0.0, 0.0, 1.0]])
ANGLES = np.linspace(-1.0, 1.0, 10)
LENS = store.Intrinsics(
    device="d", date="d", samples=1, width_px=640, height_px=480, fx_px=610.0, fy_px=605.0, cx_px=331.0, cy_px=236.0,
    distortion=[0.0] * 5, residual_px=0.0,
)  # fmt: skip


def pose(turn: Array, move: Array) -> Array:
    """A frame (4, 4) from a rotation vector and a place."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = cv2.Rodrigues(np.asarray(turn, dtype=float))[0], move
    return made


def picture(board: Array) -> NDArray[np.uint8]:
    """What the camera K sees of a board that is at T_camera_board, without any code of the calibration."""
    scale = 40
    drawn = BOARD.picture(scale)
    drawn = np.pad(drawn, scale, constant_values=255)
    to_m = np.array([[0.03 / scale, 0, -0.03], [0, 0.03 / scale, -0.03], [0, 0, 1.0]])
    plane = np.column_stack([board[:3, 0], board[:3, 1], board[:3, 3]])
    shown = cv2.warpPerspective(drawn, K @ plane @ to_m, SIZE[::-1], flags=cv2.INTER_AREA, borderValue=120)
    return np.asarray(cv2.GaussianBlur(shown, (3, 3), 0.7), dtype=np.uint8)


def views(count: int, seed: int = 0) -> list[Array]:
    """T_camera_board of a board turned this way and that, in view."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        turned = pose(rng.uniform(-0.5, 0.5, 3), rng.uniform((-0.05, -0.05, 0.32), (0.05, 0.05, 0.5)))
        turned[:3, 3] -= turned[:3, :3] @ (0.105, 0.075, 0.0)
        found.append(turned)
    return found


def test_a_lens_is_found_from_pictures_of_the_board() -> None:
    found = camera.estimate([picture(view) for view in views(14)], BOARD, "uvc /dev/video0")
    assert (found.fx_px, found.fy_px) == pytest.approx((610.0, 605.0), rel=0.01)
    assert (found.cx_px, found.cy_px) == pytest.approx((331.0, 236.0), abs=6.0)
    assert found.residual_px < 0.5
    assert (found.samples, found.device) == (14, "uvc /dev/video0")


def test_pictures_without_the_board_or_of_two_cameras_are_refused() -> None:
    blank = np.full(SIZE, 128, dtype=np.uint8)
    with pytest.raises(LeadtimeError, match="in 5 of 6 pictures; it takes 6"):
        camera.estimate([*(picture(view) for view in views(5)), blank], BOARD, "d")
    with pytest.raises(LeadtimeError, match="2 sizes"):
        camera.estimate([blank, blank[:400]], BOARD, "d")


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.0)])
def test_a_board_that_is_turned_alike_in_every_picture_tells_no_focal_length(turn: tuple[float, ...]) -> None:
    rng = np.random.default_rng(2)
    alike = [pose(rng.normal(turn, 0.01), rng.uniform((-0.05, -0.05, 0.32), (0.05, 0.05, 0.5))) for _ in range(8)]
    for view in alike:
        view[:3, 3] -= view[:3, :3] @ (0.105, 0.075, 0.0)
    with pytest.raises(LeadtimeError, match="tilt it by"):
        camera.estimate([picture(view) for view in alike], BOARD, "d")


def test_where_the_board_is_in_a_picture_is_where_it_was_put() -> None:
    for view in views(5, seed=3):
        seen = BOARD.pose(picture(view), LENS)
        assert seen is not None
        assert seen[:3, 3] == pytest.approx(view[:3, 3], abs=0.003)
        assert np.linalg.norm(rotation_vector(seen[:3, :3].T @ view[:3, :3])) < 0.02


def test_a_picture_of_another_size_than_the_lens_was_found_at_is_refused() -> None:
    halved = cv2.resize(picture(views(1)[0]), (320, 240), interpolation=cv2.INTER_AREA)
    with pytest.raises(LeadtimeError, match="a picture of 320x240, but the camera's intrinsics are of 640x480"):
        BOARD.pose(halved, LENS)


def test_a_picture_with_one_line_of_corners_is_left_out() -> None:
    board = Board.parse("10x5:30:22")
    drawn = np.pad(board.picture(40), 40, constant_values=255)
    assert board.find(drawn[:130]) is None
    whole = board.find(drawn)
    assert whole is not None
    assert len(whole[0]) == 9 * 4


def noisy(made: Array, rng: np.random.Generator) -> Array:
    """A frame seen with half a millimetre and two thousandths of a radian of noise."""
    return made @ pose(rng.normal(scale=0.002, size=3), rng.normal(scale=0.0005, size=3))


@pytest.mark.parametrize("parent", ["hand", "base"])
def test_a_camera_s_place_is_found_through_noise(parent: hand_eye.Parent) -> None:
    rng = np.random.default_rng(5)
    truth = pose(np.array([0.3, -2.0, 0.4]), np.array([0.07, -0.02, 0.06]))
    still = pose(np.array([0.1, 0.2, 2.0]), np.array([0.4, 0.1, 0.05]))
    hands = [pose(rng.uniform(-1.2, 1.2, 3), rng.uniform(-0.3, 0.3, 3)) for _ in range(15)]
    moving = hands if parent == "hand" else [np.linalg.inv(hand) for hand in hands]
    boards = [noisy(np.linalg.inv(truth) @ np.linalg.inv(at) @ still, rng) for at in moving]
    found = hand_eye.estimate(hands, boards, parent)
    assert found.pose[:3, 3] == pytest.approx(truth[:3, 3], abs=0.002)
    assert np.linalg.norm(rotation_vector(found.pose[:3, :3].T @ truth[:3, :3])) < 0.005
    assert 0.0001 < found.residual_m < 0.003
    assert found.residual_rad == pytest.approx(0.002 * np.sqrt(3.0), rel=0.25)


def test_poses_that_do_not_determine_or_contradict_are_refused() -> None:
    rng = np.random.default_rng(6)
    alike = [pose(np.array([0.5, 0.0, 0.0]), rng.uniform(-0.3, 0.3, 3)) for _ in range(8)]
    with pytest.raises(LeadtimeError, match="turn it by"):
        hand_eye.estimate(alike, alike, "hand")
    wrist = [pose(np.array([0.0, 0.0, a]) + rng.normal(scale=0.02, size=3), rng.uniform(-0.3, 0.3, 3)) for a in ANGLES]
    still = pose(np.array([0.1, 0.2, 2.0]), np.array([0.4, 0.1, 0.05]))
    seen = [noisy(np.linalg.inv(at) @ still, rng) for at in wrist]
    with pytest.raises(LeadtimeError, match=r"at most about a second axis; turn it by 0\.3"):
        hand_eye.estimate(wrist, seen, "hand")
    with pytest.raises(LeadtimeError, match="4 poses"):
        hand_eye.estimate(alike[:4], alike[:4], "hand")
    turned = [pose(rng.uniform(-1.2, 1.2, 3), rng.uniform(-0.3, 0.3, 3)) for _ in range(8)]
    with pytest.raises(LeadtimeError, match="contradict"):
        hand_eye.estimate(turned, [pose(rng.uniform(-1.2, 1.2, 3), rng.uniform(-1, 1, 3)) for _ in turned], "hand")


@pytest.mark.parametrize("parent", ["hand", "base"])
@pytest.mark.parametrize("size", [0.9, 1.0, 1.2])
def test_a_board_of_another_size_than_was_said_is_refused(parent: hand_eye.Parent, size: float) -> None:
    """Printed to fit the page, or another than the default: the poses agree with each other to a centimetre."""
    rng = np.random.default_rng(3)
    truth = pose(np.zeros(3), np.array([-0.04, 0.01, 0.06]))
    still = pose(np.array([np.pi, 0.0, 0.0]), np.array([0.4, 0.1, 0.05]))
    boards = [pose(rng.uniform(-0.4, 0.4, 3), rng.uniform((-0.03, -0.03, 0.3), (0.03, 0.03, 0.5))) for _ in range(15)]
    moving = [still @ np.linalg.inv(board) @ np.linalg.inv(truth) for board in boards]
    hands = moving if parent == "hand" else [np.linalg.inv(at) for at in moving]
    seen = [noisy(board, rng) for board in boards]
    for board in seen:
        board[:3, 3] /= size
    if size == 1.0:
        assert hand_eye.estimate(hands, seen, parent).pose[:3, 3] == pytest.approx(truth[:3, 3], abs=0.003)
    else:
        with pytest.raises(LeadtimeError, match=rf"{size:.1f}\d times as large as was said; check --board"):
            hand_eye.estimate(hands, seen, parent)


def test_from_pictures_and_joint_angles_to_where_the_wrist_camera_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = pose(np.array([0.0, 0.0, -np.pi / 2]), np.array([-0.04, 0.01, 0.06])) @ pose(
        np.array([-np.pi / 2 + 0.5, 0.0, 0.0]), np.zeros(3)
    )
    kinematics, rng = RigKinematics("x5"), np.random.default_rng(8)
    home = load_rig("sim-x5").stack("home")[:6]
    first, base, angles, count = None, kinematics.base["left"], {}, 0
    while count < 12:
        joints = home + rng.uniform(-0.25, 0.25, 6)
        hand = kinematics.forward(np.tile(np.append(joints, 0.0), 2))["left"]
        at = np.eye(4)
        at[:3, :3], at[:3, 3] = base.rotation.T @ hand.rotation, base.rotation.T @ (hand.position - base.position)
        if first is None:
            first = at @ truth @ views(1, seed=9)[0]  # the board stands where the first picture has it
        seen = np.linalg.inv(at @ truth) @ first
        shown = picture(seen) if seen[2, 3] > 0.15 else np.zeros(SIZE, dtype=np.uint8)
        if BOARD.find(shown) is None:
            continue
        cv2.imwrite(str(tmp_path / f"{count:02}.png"), shown)
        angles[f"{count:02}.png"] = joints.tolist()
        count += 1
    (tmp_path / "joints.yaml").write_text(yaml.safe_dump(angles))
    command = Calibrate("hand-eye", camera="cam_left_wrist", images=tmp_path, out=tmp_path / "kept")
    with pytest.raises(UsageError, match="calibrate camera"):
        calibrate(command)
    rig = load_rig("sim-x5")
    known = store.put(
        store.Calibration(rig="sim-x5"), "intrinsics", "cam_left_wrist",
        store.Intrinsics(**{f: getattr(LENS, f) for f in LENS.__struct_fields__ if f != "device"}, device="sim"),
    )  # fmt: skip
    store.save(tmp_path / "kept/sim-x5.yaml", known)
    assert calibrate(command) == 0
    found = store.load(tmp_path / "kept/sim-x5.yaml", rig).mount["cam_left_wrist"]
    assert found.parent == "left hand"
    assert np.array(found.pose)[:3, 3] == pytest.approx(truth[:3, 3], abs=0.005)
    assert np.linalg.norm(rotation_vector(np.array(found.pose)[:3, :3].T @ truth[:3, :3])) < 0.02
    assert "residual" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["7x5", "7x5:30:30", "2x5:30:22", "7x5:30:0", "7x5:3.0.0:2", "7x5:.:.", "3x3:30:22", "12x9:30:22"]
)
def test_a_board_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--board"):
        Board.parse(text)


def test_a_board_reads_as_it_is_written() -> None:
    assert Board.parse("7x5:30:22") == BOARD
