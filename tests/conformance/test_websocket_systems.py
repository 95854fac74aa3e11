"""What is each websocket system's own: keys, units, orders, histories, and what is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.errors import UsageError
from runtime.inference.adapters.base import AdapterError, Executed
from runtime.inference.adapters.dreamzero import DreamZero
from runtime.inference.adapters.openpi import OpenPi, OpenPiSettings
from runtime.inference.adapters.pictures import padded, stretched
from runtime.inference.adapters.poses import DeltaHand, delta_rows
from runtime.inference.adapters.starvla import StarVla, StarVlaSettings
from runtime.inference.adapters.unnormalise import Method, load_statistics
from runtime.inference.adapters.vla_jepa import VlaJepa, VlaJepaSettings
from runtime.inference.adapters.websocket import one_line
from runtime.inference.adapters.xpolicylab import XPolicyLab, XPolicyLabSettings
from runtime.kinematics.rotations import quaternion, quaternion_matrix, vector_matrix
from tests.conformance.emulators.dreamzero import DreamZeroProtocol
from tests.conformance.emulators.numpy_msgpack import packb
from tests.conformance.emulators.openpi import OpenPiProtocol, drift
from tests.conformance.emulators.starvla import CHUNK, RIG_TO_STARVLA, StarVlaProtocol, VlaJepaProtocol
from tests.conformance.emulators.websocket_peer import running
from tests.conformance.emulators.xpolicylab import XPolicyLabProtocol
from tests.conformance.franka import franka
from tests.conformance.kinematics import x5_hands
from tests.conformance.suite import ANSWER_S, PATIENCE_S, PROMPT, home, question, view
from tests.conformance.websocket_table import STATISTICS


@contextmanager
def opened(adapter: Any) -> Iterator[Any]:
    try:
        adapter.open(ANSWER_S)
        adapter.reset(PROMPT)
        yield adapter
    finally:
        adapter.close()


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (100, 50), (224, 224), (37, 400), (224, 300)])
def test_pictures_are_padded_as_openpis_client_does(size: tuple[int, int]) -> None:
    tools = pytest.importorskip("openpi_client.image_tools", reason="openpi-client is not installed")
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(padded(image, 224, 224), tools.resize_with_pad(image, 224, 224))


def test_pictures_keep_their_shape_between_black_borders() -> None:
    image = np.full((240, 320, 3), 200, dtype=np.uint8)
    small = padded(image, 224, 224)
    assert (small.shape, small.dtype) == ((224, 224, 3), np.uint8)
    assert (small[:28].max(), small[196:].max()) == (0, 0)
    assert (small[28:196] == 200).all()
    content = np.random.default_rng(2).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    reference = np.asarray(Image.fromarray(content).resize((224, 168), Image.Resampling.BILINEAR))
    assert np.array_equal(padded(content, 224, 224)[28:196], reference)


def test_pictures_are_stretched_by_the_mean_of_what_each_pixel_covers() -> None:
    image = np.random.default_rng(3).integers(0, 256, (448, 672, 3), dtype=np.uint8)
    means = image.reshape(224, 2, 224, 3, 3).mean(axis=(1, 3))
    assert np.abs(stretched(image, 224, 224) - means).max() <= 1.0
    assert stretched(image[:100, :100], 224, 224).shape == (224, 224, 3)


def test_openpis_key_goes_into_the_header_and_its_grippers_into_its_unit() -> None:
    with running(OpenPiProtocol) as peer:
        settings = OpenPiSettings(api_key="k-1", gripper_open=0.08, horizon=50)
        with opened(OpenPi(peer.endpoint, settings)) as adapter:
            reply = adapter.infer(question())
        assert peer.protocol.headers[0]["Authorization"] == "Api-Key k-1"
        (asked,) = peer.requests
        start = home()
        assert asked["state"][[6, 13]] == pytest.approx(0.08 * start[[6, 13]])
        assert asked["state"][:6] == pytest.approx(start[:6])
        assert (asked["images"]["cam_high"][:, 112, 112] == 20).all()
        wanted = drift(np.where(np.isin(np.arange(14), (6, 13)), 0.08 * start, start), 50)[:, [6, 13]] / 0.08
        np.testing.assert_allclose(reply.actions[:, [6, 13]], np.clip(wanted, 0.0, 1.0), atol=1e-5)
        assert reply.timing_ms["infer_ms"] == pytest.approx(11.0)


def test_a_peer_that_speaks_unasked_is_not_believed() -> None:
    class Chatty(OpenPiProtocol):
        def hello(self) -> bytes:
            return packb({})

    with running(Chatty) as peer, opened(OpenPi(peer.endpoint, OpenPiSettings(horizon=50))) as adapter:
        (connection,) = peer._connections
        connection.send(packb({"actions": np.full((50, 14), 0.7, np.float32)}))
        until_seen = adapter._peer._link._open_connection()
        assert until_seen.recv_messages.frames.get(timeout=ANSWER_S) is not None
        connection.send(packb({"actions": np.full((50, 14), 0.7, np.float32)}))
        with pytest.raises(AdapterError, match="unasked"):
            while True:
                assert adapter.infer(question(timeout_s=ANSWER_S)).actions.max() < 2.0
        np.testing.assert_allclose(adapter.infer(question(1)).actions, drift(view(1).position, 50), atol=1e-5)


def test_an_error_text_becomes_one_line_without_what_is_behind_it() -> None:
    said = "Traceback (most recent call last):\n  File \"/srv/a/b.py\", line 3\n    x\nKeyError: 'cam_low'\n"
    assert one_line(said) == "KeyError: 'cam_low'"
    assert one_line("first\nsecond") == "first"
    assert one_line("") == "no reason given"
    assert one_line("no file /home/someone/x.pt here") == "no file (file) here"
    assert one_line("bad \x1b[31m text") == "bad  [31m text"
    assert len(one_line("x" * 10_000)) <= 160


def test_a_peer_that_takes_nothing_is_not_waited_for() -> None:
    with running(OpenPiProtocol) as peer, opened(OpenPi(peer.endpoint, OpenPiSettings(horizon=50))) as adapter:
        peer.behave("silent")
        for _ in range(3):
            with pytest.raises(AdapterError):
                adapter.infer(question(timeout_s=PATIENCE_S))


@pytest.mark.parametrize("mode", ["abs", "delta", "rel"])
def test_starvlas_joints_come_in_its_order_and_by_its_mode(mode: Any) -> None:
    given = np.linspace(0.01, 0.02, CHUNK * 14, dtype=np.float32).reshape(CHUNK, 14)

    class Model(StarVlaProtocol):
        def predict_action(self, examples: Any, unnorm_key: Any, **kwargs: Any) -> dict[str, Any]:
            return {"actions": given[:, RIG_TO_STARVLA][None]}

    with running(Model) as peer, opened(StarVla(peer.endpoint, StarVlaSettings(mode=mode))) as adapter:
        first = adapter.infer(question(0))
        plan = np.tile(home() + np.float32(0.005), (3, 1))
        later = adapter.infer(replace(question(1), planned=plan))
    start = home()
    if mode == "abs":
        wanted, then = given, given
    elif mode == "rel":
        wanted, then = given + start, given + start
    else:
        wanted, then = start + np.cumsum(given, axis=0), plan[0] + np.cumsum(given, axis=0) - given[0]
    for reply, rows in ((first, wanted), (later, then)):
        np.testing.assert_allclose(reply.actions, np.where(grippers(), np.clip(rows, 0, 1), rows), atol=1e-5)


def grippers() -> Any:
    return np.isin(np.arange(14), (6, 13))


def test_starvlas_data_set_must_be_named_where_it_has_several() -> None:
    class Several(StarVlaProtocol):
        keys = ("oxe_bridge", "oxe_rt1")

    with running(Several) as peer:
        with pytest.raises(AdapterError, match="oxe_bridge, oxe_rt1"):
            StarVla(peer.endpoint, StarVlaSettings()).open(ANSWER_S)
        with pytest.raises(AdapterError, match="oxe_bridge, oxe_rt1"):
            StarVla(peer.endpoint, StarVlaSettings(unnorm_key="other")).open(ANSWER_S)
        settings = StarVlaSettings(unnorm_key="oxe_rt1", state=True)
        with opened(StarVla(peer.endpoint, settings)) as adapter:
            adapter.infer(question())
        assert peer.requests[-1]["payload"]["unnorm_key"] == "oxe_rt1"


def test_starvla_can_move_one_hand_where_an_arm_and_an_embodiment_are_declared() -> None:
    class OneHand(StarVlaProtocol):
        def predict_action(self, examples: Any, unnorm_key: Any, **kwargs: Any) -> dict[str, Any]:
            return {"actions": np.tile(np.array((0.0, 0.0, 0.001, 0, 0, 0, 1.0)), (1, CHUNK, 1))}

    settings = StarVlaSettings(hand=DeltaHand(arm="left"))
    with pytest.raises(UsageError, match="arms=MODEL"):
        StarVla("ws://127.0.0.1:9", settings).open(ANSWER_S)
    with running(OneHand) as peer, opened(StarVla(peer.endpoint, settings, x5_hands())) as adapter:
        reply = adapter.infer(question())
    forward = x5_hands().forward
    rise = (
        forward(reply.actions[-1].astype(np.float64))["left"].position - forward(home().astype(float))["left"].position
    )
    np.testing.assert_allclose(rise, (0.0, 0.0, 0.001 * CHUNK), atol=1e-3)
    np.testing.assert_array_equal(reply.actions[:, 7:], np.tile(home()[7:], (CHUNK, 1)))


def test_vla_jepa_is_refused_where_it_cannot_drive_this_rig() -> None:
    nowhere = "ws://127.0.0.1:9"
    with pytest.raises(UsageError, match="not 14 joints"):
        VlaJepa(nowhere).open(ANSWER_S)
    with pytest.raises(UsageError, match=r"dataset_statistics\.json"):
        VlaJepa(nowhere, VlaJepaSettings(hand=DeltaHand(arm="left")), x5_hands()).open(ANSWER_S)


def test_vla_jepa_sends_what_its_own_client_sends() -> None:
    settings = VlaJepaSettings(statistics=str(STATISTICS), hand=DeltaHand(arm="right"), unnorm_key="arms")
    with running(VlaJepaProtocol) as peer, opened(VlaJepa(peer.endpoint, settings, x5_hands())) as adapter:
        adapter.infer(question())
        payload = peer.requests[-1]["payload"]
    assert set(payload) == {"batch_images", "instructions", "unnorm_key", "do_sample", "use_ddim", "num_ddim_steps"}
    assert (payload["instructions"], payload["unnorm_key"]) == ([PROMPT], "arms")


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("min_max", (0.005, 0.01, -0.01)),
        ("q01_q99", (0.01, 0.02, -0.02)),
        ("mean_std", (0.0035, 0.011, -0.009)),
    ],
)
def test_actions_are_brought_back_to_their_units(method: Method, wanted: tuple[float, ...]) -> None:
    statistics = load_statistics(STATISTICS, "", method, 7)
    normalised = np.zeros((3, 7))
    normalised[:, 0], normalised[:, 6] = (0.5, 2.0, -2.0), 1.0
    restored = statistics.restore(normalised)
    np.testing.assert_allclose(restored[:, 0], wanted)
    assert (restored[:, 6] == 1.0).all()


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ("[]", "", "no data sets"),
        ("{", "", "no JSON"),
        ("[" * 100_000, "", "no JSON"),
        ('{"a": {}, "b": {}}', "", "a, b"),
        ('{"a": {}}', "c", "'c'"),
        ('{"a": {}}', "", "no statistics"),
        ('{"a": {"action": {"min": [0], "max": [1]}}}', "", "row of 7"),
        ('{"a": {"action": {"min": [0,0,0,0,0,0,NaN], "max": [1,1,1,1,1,1,1]}}}', "", "row of 7"),
    ],
)
def test_statistics_that_are_none_are_said(tmp_path: Path, text: str, key: str, part: str) -> None:
    path = tmp_path / "dataset_statistics.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=part):
        load_statistics(path, key, "min_max", 7)
    with pytest.raises(UsageError, match="No such file"):
        load_statistics(tmp_path / "other.json", "", "min_max", 7)


def test_the_statistics_of_the_tests_are_whole() -> None:
    assert json.loads(STATISTICS.read_text())["arms"]["action"]["mask"][-1] is False


def test_a_turn_of_the_hand_is_about_the_worlds_axes() -> None:
    start = home().astype(np.float64)
    deltas = np.zeros((10, 7))
    deltas[:, 5] = 0.01
    rows = delta_rows(x5_hands(), DeltaHand(arm="left", rotation_rad=2.0), deltas, start, AdapterError)
    before, after = x5_hands().forward(start)["left"], x5_hands().forward(rows[-1])["left"]
    turned = vector_matrix(np.array((0.0, 0.0, 0.2))) @ before.rotation
    np.testing.assert_allclose(after.rotation, turned, atol=5e-3)
    np.testing.assert_allclose(quaternion_matrix(quaternion(turned)), turned, atol=1e-9)


def test_dreamzero_is_refused_without_an_embodiment_of_its_seven_joints() -> None:
    with pytest.raises(UsageError, match="one arm of 7 joints and a gripper, this rig has two of 6"):
        DreamZero("ws://127.0.0.1:9").open(ANSWER_S)


@pytest.mark.parametrize(
    ("wish", "part"),
    [
        ({"action_space": "cartesian_velocity"}, "another space"),
        ({"needs_stereo_camera": True}, "stereo"),
        ({"n_external_cameras": 3}, "more exterior cameras"),
        ({"image_resolution": "large"}, "no size"),
    ],
)
def test_dreamzeros_wishes_that_this_rig_cannot_meet_are_said(wish: dict[str, Any], part: str) -> None:
    class Wishing(DreamZeroProtocol):
        def hello(self) -> bytes:
            return packb({"n_external_cameras": 2, **wish})

    with running(Wishing) as peer, pytest.raises(AdapterError, match=part):
        DreamZero(peer.endpoint, embodiment=franka()).open(ANSWER_S)


def test_dreamzero_gets_one_picture_first_and_then_four_a_camera() -> None:
    with running(DreamZeroProtocol) as peer, opened(DreamZero(peer.endpoint, embodiment=franka())) as adapter:
        rows = adapter.infer(question(1)).actions
        seen = Executed(rows, tuple(view(level) for level in (2, 3, 4, 5)), (0, 7, 15, 23))
        adapter.infer(question(6, executed=seen))
        first_session = peer.requests[-1]["session_id"]
        stack = peer.requests[-1]["observation/exterior_image_0_left"]
        assert [int(picture[90, 160, 0]) for picture in stack] == [20 + 15 * level for level in (2, 3, 4, 6)]
        assert peer.protocol.frames == [1, 4]
        adapter.reset(PROMPT)
        adapter.infer(question(1, executed=seen))
        assert peer.protocol.frames == [1]
        assert peer.requests[-1]["session_id"] != first_session


def test_roboarenas_newer_map_of_actions_is_taken() -> None:
    class Newer(DreamZeroProtocol):
        def answer(self, request: Any) -> Any:
            found = super().answer(request)
            return found if isinstance(found, str) else {"actions": found}

    with running(Newer) as peer, opened(DreamZero(peer.endpoint, embodiment=franka())) as adapter:
        assert adapter.infer(question()).actions.shape == (24, 14)


def test_xpolicylab_is_led_through_a_trial_by_its_messages() -> None:
    with running(XPolicyLabProtocol) as peer:
        with opened(XPolicyLab(peer.endpoint, XPolicyLabSettings(case="stack_bowls"))) as adapter:
            adapter.infer(question())
            reply = adapter.infer(question(1))
            adapter.alive(ANSWER_S)
            adapter.reset(PROMPT)
            server = peer.protocol
        kinds = [request["message_type"] for request in server.requests]
        trial = ["prepare_case", "reset"]
        assert kinds[:8] == ["hello", *trial, "infer", "infer", "heartbeat", "trial_end", *trial][:8]
        assert kinds[8:10] == ["reset", "trial_end"]
        assert reply.timing_ms == {"latency_ms": 73.5}
        infers = [request for request in server.requests if request["message_type"] == "infer"]
        assert [request["step"] for request in infers] == [0, 1]
        assert len({request["trial_id"] for request in infers}) == 1
        assert len({request["message_id"] for request in server.requests}) == len(server.requests)
        state = infers[0]["payload"]["observation"]["state"]
        np.testing.assert_array_equal(state["right_ee_joint_state"], home()[13:])


def test_xpolicylabs_chunk_may_be_one_array_or_hand_poses() -> None:
    class OneArray(XPolicyLabProtocol):
        def actions(self, observation: Any) -> Any:
            return np.full((50, 14), 0.2, dtype=np.float32)

    class Poses(XPolicyLabProtocol):
        def actions(self, observation: Any) -> Any:
            state = observation["state"]
            poses = {f"{side}_ee_pose": state[f"{side}_ee_pose"] for side in ("left", "right")}
            return [{**poses, **{f"{side}_ee_joint_state": np.ones(1) for side in ("left", "right")}}] * 50

    with running(OneArray) as peer, opened(XPolicyLab(peer.endpoint)) as adapter:
        assert (adapter.infer(question()).actions == np.float32(0.2)).all()
    settings = XPolicyLabSettings(actions="ee")
    with pytest.raises(UsageError, match="arms=MODEL"):
        XPolicyLab("ws://127.0.0.1:9", settings).open(ANSWER_S)
    with running(Poses) as peer, opened(XPolicyLab(peer.endpoint, settings, x5_hands())) as adapter:
        rows = adapter.infer(question()).actions
    np.testing.assert_allclose(rows[:, :6], np.tile(home()[:6], (50, 1)), atol=5e-3)
    assert (rows[:, [6, 13]] == 1.0).all()


def test_an_answer_of_another_length_than_was_set_is_refused() -> None:
    with (
        running(XPolicyLabProtocol) as peer,
        opened(XPolicyLab(peer.endpoint, XPolicyLabSettings(horizon=32))) as adapter,
        pytest.raises(AdapterError, match="'horizon' is set to 32"),
    ):
        adapter.infer(question())
