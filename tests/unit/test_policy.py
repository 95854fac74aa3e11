"""Policies: a manifest or a bare graph is read whole, and whatever does not fit is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from runtime.config import RigConfig, load_rig
from runtime.errors import UsageError
from runtime.inference import policy as policy_module
from runtime.inference.backends.shape import GraphSignature, Tensor
from runtime.inference.check import check_policy
from runtime.inference.fit import RefusalError, check_fit
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import load_policy
from runtime.inference.server.openpi_request import task_of
from runtime.layout import CAMERAS, JOINT_NAMES
from runtime.records import CHUNK_STEPS_MAX

DATA = Path(__file__).parent.parent / "data"


def manifest() -> dict[str, Any]:
    return {
        "name": "tiny",
        "policy_class": "VLA",
        "rate_hz": 50,
        "horizon": 50,
        "execute_steps": 8,
        "action": {
            "representation": "absolute_joint",
            "dof": 14,
            "joint_names": list(JOINT_NAMES),
            "units": {"joint": "rad", "gripper": "fraction"},
        },
        "observation": {"cameras": list(CAMERAS), "width_px": 320, "height_px": 240},
        "capabilities": {"prefix": True, "prefix_max": 25},
        "graphs": {"transfer": "tiny_policy.onnx"},
    }


def seen(**change: Any) -> dict[str, Any]:
    """Return a change of what the manifest says of the observation."""
    return {"observation": manifest()["observation"] | change}


def acts(**change: Any) -> dict[str, Any]:
    """Return a change of what the manifest says of the actions."""
    return {"action": manifest()["action"] | change}


def folder(tmp_path: Path, raw: dict[str, Any]) -> Path:
    for name in ("tiny_policy.onnx", "tiny_objects.onnx", "tiny_guided.onnx"):
        shutil.copy(DATA / name, tmp_path)
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return tmp_path


@pytest.fixture
def rig() -> RigConfig:
    return load_rig("sim-x5")


def test_a_folder_with_a_manifest_loads_and_fits_the_rig(tmp_path: Path, rig: RigConfig) -> None:
    policy = load_policy(str(folder(tmp_path, manifest())))
    assert policy.tasks == ["transfer"]
    assert policy.prefix_max("transfer") == 25
    check_policy(policy, rig, "transfer")


def test_a_bare_graph_loads_with_what_it_says_of_itself(rig: RigConfig) -> None:
    policy = load_policy(str(DATA / "tiny_policy.onnx"))
    assert policy.horizon("any task at all") == 50
    assert policy.manifest.observation.cameras == CAMERAS
    assert policy.manifest.observation.velocity
    check_policy(policy, rig, "any task at all")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("images", Tensor("uint8", (-1, 240, 320, 3))),
        ("images", Tensor("uint8", (3, -1, -1, 3))),
        ("object_state", Tensor("float32", (-1,))),
    ],
)
def test_a_bare_graph_says_the_size_of_all_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tensor: Tensor
) -> None:
    signature = GraphSignature({name: tensor}, {"actions": Tensor("float32", (50, 14))})
    monkeypatch.setattr(policy_module, "read_signature", lambda _path: signature)
    (tmp_path / "bare.onnx").touch()
    with pytest.raises(UsageError, match=f"input '{name}' is .* leaves no dimension open"):
        load_policy(str(tmp_path / "bare.onnx"))


def test_a_bare_graph_that_reads_the_object_state_fits_a_simulated_rig_only(rig: RigConfig) -> None:
    policy = load_policy(str(DATA / "tiny_objects.onnx"))
    assert policy.shape("transfer").object_state == 7
    check_policy(policy, rig, "transfer")
    real = msgspec.structs.replace(rig_schema(rig), object_state=False)
    with pytest.raises(RefusalError, match="only a simulated rig knows"):
        check_fit(policy_schema(policy, "transfer", 0.0), real)


def test_a_graph_that_is_given_no_noise_says_so(tmp_path: Path, rig: RigConfig) -> None:
    check_policy(load_policy(str(DATA / "tiny_quiet.onnx")), rig, "transfer")
    raw = manifest() | seen(cameras=[], object_state=7) | {"graphs": {"transfer": "tiny_quiet.onnx"}}
    shutil.copy(DATA / "tiny_quiet.onnx", tmp_path)
    with pytest.raises(UsageError, match=r"tiny_quiet\.onnx: the graph has no input 'noise'.*'noise: false'"):
        check_policy(load_policy(str(folder(tmp_path, raw))), rig, "transfer")
    check_policy(load_policy(str(folder(tmp_path, raw | {"noise": False}))), rig, "transfer")


def test_the_object_state_may_differ_by_task(tmp_path: Path) -> None:
    raw = manifest()
    raw["observation"]["object_state"] = {"transfer": 7}
    policy = load_policy(str(folder(tmp_path, raw)))
    assert policy.shape("transfer").object_state == 7


def guided_manifest() -> dict[str, Any]:
    """A policy of object states with a guided graph."""
    raw = manifest()
    raw["observation"] = {"object_state": 7}
    raw["capabilities"] |= {"guidance": True, "best_of": True}
    raw["graphs"] = {"transfer": "tiny_objects.onnx", "conveyor": "tiny_objects.onnx"}
    raw["guided"] = {"transfer": "tiny_guided.onnx"}
    return raw


def test_a_policy_offers_guidance_on_the_tasks_it_has_guided_graphs_for(tmp_path: Path, rig: RigConfig) -> None:
    policy = load_policy(str(folder(tmp_path, guided_manifest())))
    for task in ("transfer", "conveyor"):
        check_policy(policy, rig, task)
    offered = {task: policy_schema(policy, task, 0.0).conditions for task in ("transfer", "conveyor")}
    assert offered["transfer"] == ("plain", "prefix", "guided", "guided_identity", "best_of")
    assert offered["conveyor"] == ("plain", "prefix", "best_of")
    assert policy_schema(load_policy(str(DATA / "tiny_policy.onnx")), "any", 0.0).conditions == ("plain", "prefix")


def test_a_guided_graph_that_is_not_one_is_refused_before_anything_starts(tmp_path: Path, rig: RigConfig) -> None:
    policy = load_policy(str(folder(tmp_path, guided_manifest() | {"guided": {"transfer": "tiny_objects.onnx"}})))
    with pytest.raises(UsageError, match=r"tiny_objects\.onnx: the graph has no input 'target'"):
        check_policy(policy, rig, "transfer")


def test_built_in_names_are_found_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    folder(tmp_path / "demo", manifest())
    monkeypatch.setattr(policy_module, "POLICY_FOLDER", tmp_path)
    assert load_policy("demo").folder == tmp_path / "demo"
    with pytest.raises(UsageError, match=r"unknown policy 'dmo'; valid: demo"):
        load_policy("dmo")


def test_a_task_it_was_not_trained_for_is_refused_with_those_it_was(tmp_path: Path, rig: RigConfig) -> None:
    policy = load_policy(str(folder(tmp_path, manifest())))
    with pytest.raises(UsageError, match=r"'juggle'.*transfer"):
        check_policy(policy, rig, "juggle")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("not a graph", encoding="utf-8")
    with pytest.raises(UsageError, match="is not an ONNX graph"):
        load_policy(str(path))


def test_a_graph_for_one_arm_is_refused_with_both_shapes(rig: RigConfig) -> None:
    policy = load_policy(str(DATA / "tiny_seven.onnx"))
    with pytest.raises(UsageError, match=r"float32 \(7,\).*need float32 \(14,\)"):
        check_policy(policy, rig, "transfer")


@pytest.mark.parametrize("text", ["gone.onnx", "some/where"])
def test_a_path_that_is_not_there_is_said_so(text: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_policy(text)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"horizn": 3}, "unknown key 'horizn'; did you mean 'horizon'"),
        ({"horizon": CHUNK_STEPS_MAX + 1}, "key 'horizon'"),
        ({"horizon": {"posts": 50}}, "key 'horizon': none for task 'transfer'"),
        ({"rate_hz": "fast"}, "key 'rate_hz'"),
        ({"graphs": {}}, "key 'graphs'"),
        ({"graphs": {"transfer": "gone.onnx"}}, "key 'graphs.transfer': no file 'gone.onnx'"),
        ({"graphs": {"transfer": "../tiny_policy.onnx"}}, "key 'graphs.transfer'"),
        ({"capabilities": {"prefix": True, "prefix_max": 50}}, "key 'capabilities.prefix_max'"),
        ({"guided": {"transfer": "gone.onnx"}}, "key 'guided.transfer': no file 'gone.onnx'"),
        ({"guided": {"posts": "tiny_guided.onnx"}}, "key 'guided.posts': no task of 'graphs': transfer"),
        ({"torch": {"transfer": "../small.pt2"}}, "key 'torch.transfer': no file '../small.pt2'"),
        ({"guided": {"transfer": "tiny_guided.onnx"}}, "'capabilities.guidance: true' and the files under 'guided'"),
        ({"graphs": {}, "torch": {"transfer": "net:load"}}, "key 'torch.transfer': no file 'net.py'"),
        ({"torch": {"transfer": "../net:load"}}, "key 'torch.transfer': no file '../net:load'"),
        ({"device": "tpu"}, "key 'device'"),
        ({"noise": False, "capabilities": {"best_of": True}}, "key 'noise': 'capabilities.best_of'"),
        ({"precision": "fp8"}, "key 'precision'"),
        (seen(rename={"cam_low": "head"}), "key 'observation.rename.cam_low': no camera of 'observation.cameras'"),
        (seen(rename={"cam_high": "cam_left_wrist"}), "key 'observation.rename': camera 'cam_left_wrist' comes twice"),
        (seen(cameras=["cam_high", "cam_high"]), "key 'observation.cameras': camera 'cam_high' comes twice"),
        (seen(resize="crop"), "key 'observation.resize'"),
        (seen(pixels={"mean": [0.5], "std": [1, 1, 1]}), "key 'observation.pixels.mean'"),
        (
            seen(pixels={"mean": [0, 0, 0], "std": [1, 0, 1]}),
            "key 'observation.pixels.std': give three numbers above 0",
        ),
        (seen(pixels={"mean": [0, 0, float("nan")], "std": [1, 1, 1]}), "key 'observation.pixels.mean[2]'"),
        (seen(normalisation={"state": {"mean": [0.0] * 14}}), "state': give 'mean' and 'std', or 'q01' and 'q99'"),
        (seen(normalisation={"state": {"mean": [0.0] * 14, "q99": [1.0] * 14}}), "give 'mean' and 'std', or"),
        (seen(normalisation={"velocity": {"mean": [0.0] * 7, "std": [1.0] * 7}}), "normalisation.velocity.mean'"),
        (seen(normalisation={"effort": {}}), "unknown key 'observation.normalisation.effort'"),
        (acts(normalisation={"mean": [0.0] * 14, "std": [1.0] * 13 + [-1.0]}), "joint 13 has a 'std' below 0"),
        (acts(normalisation={"q01": [0.5] * 14, "q99": [0.4] * 14}), "joint 0 has a 'q99' below its 'q01'"),
        (acts(normalisation={"mean": [float("inf")] * 14, "std": [1.0] * 14}), "key 'action.normalisation.mean[0]'"),
        (acts(normalization={"mean": [0.0] * 14, "std": [1.0] * 14}), "did you mean 'normalisation'?"),
        (acts(representation="delta_pose"), "key 'action.representation'"),
        ({"capabilities": {"guidance": True}}, "'capabilities.guidance: true' and the files under 'guided'"),
        (
            {"capabilities": {"prefix": True, "prefix_max": {"trasnfer": 9}}},
            "prefix_max.trasnfer': no task of 'graphs'",
        ),
        ({"horizon": {"transfer": 50, "posts": 50}}, "key 'horizon.posts': no task of 'graphs': transfer"),
        (seen(object_state={"posts": 7}), "key 'observation.object_state.posts': no task of 'graphs'"),
    ],
)
def test_a_wrong_manifest_names_file_and_key(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_policy(str(folder(tmp_path, manifest() | change)))
    assert part in str(caught.value)
    assert "manifest.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_normalised_differences_are_read_as_such(tmp_path: Path) -> None:
    raw = manifest() | acts(representation="delta_joint", normalisation={"q01": [-1] * 14, "q99": [3] * 14})
    space = load_policy(str(folder(tmp_path, raw))).manifest.space
    assert space.delta
    assert space.actions is not None
    assert np.allclose(space.actions.physical(np.zeros(14)), 1.0)
    assert space.state is None
    assert load_policy("demo-state").manifest.space.physical


def test_a_policy_may_have_a_torch_model_only(tmp_path: Path, rig: RigConfig) -> None:
    (tmp_path / "net.py").write_text("", encoding="utf-8")
    policy = load_policy(str(folder(tmp_path, manifest() | {"graphs": {}, "torch": {"*": "net:load"}})))
    assert policy.torch_program("any task at all") == "net:load"
    assert policy_schema(policy, "any task at all", 0.0).horizon == 50
    with pytest.raises(UsageError, match="has no ONNX graphs; serve it with --backend torch"):
        check_policy(policy, rig, "transfer")


def test_numbers_of_a_graph_for_every_other_task_are_those_of_every_other_task(tmp_path: Path, rig: RigConfig) -> None:
    raw = manifest() | {
        "horizon": {"*": 50, "transfer": 50},
        "capabilities": {"prefix": True, "prefix_max": {"*": 25, "transfer": 10}},
        "graphs": {"*": "tiny_policy.onnx", "transfer": "tiny_policy.onnx"},
    }
    policy = load_policy(str(folder(tmp_path, raw)))
    assert (policy.horizon("any task at all"), policy.prefix_max("any task at all")) == (50, 25)
    assert policy.prefix_max("transfer") == 10
    check_policy(policy, rig, "any task at all")
    asked = {"any task at all": "*", "transfer": "transfer"}
    assert {prompt: task_of({"prompt": prompt}, policy.tasks) for prompt in asked} == asked


def test_cameras_of_another_name_and_size_are_asked_for_as_the_rig_has_them(tmp_path: Path, rig: RigConfig) -> None:
    raw = manifest() | seen(cameras=["head", "left", "right"], width_px=224, height_px=224)
    raw["observation"]["rename"] = {"head": "cam_high", "left": "cam_left_wrist", "right": "cam_right_wrist"}
    offered = rig_schema(rig)
    schema = policy_schema(load_policy(str(folder(tmp_path, raw))), "transfer", 0.0, offered)
    assert schema.cameras == CAMERAS
    with pytest.raises(RefusalError, match="at 224x224"):
        check_fit(schema, offered)
    raw["observation"]["resize"] = "pad"
    policy = load_policy(str(folder(tmp_path, raw)))
    schema = policy_schema(policy, "transfer", 0.0, offered)
    assert (schema.width_px, schema.height_px) == offered.cameras["cam_high"]
    check_fit(schema, offered)
    # Without a rig, and for cameras of different sizes, the model's own size is what counts.
    assert policy_schema(policy, "transfer", 0.0).width_px == 224
    mixed = msgspec.structs.replace(offered, cameras=offered.cameras | {"cam_high": (640, 480)})
    with pytest.raises(RefusalError, match="at 224x224"):
        check_fit(policy_schema(policy, "transfer", 0.0, mixed), mixed)


def test_degrees_are_refused(tmp_path: Path) -> None:
    raw = manifest()
    raw["action"]["units"]["joint"] = "deg"
    with pytest.raises(UsageError, match=r"action.units.joint"):
        load_policy(str(folder(tmp_path, raw)))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rate_hz": 25}, "acts at 25 Hz"),
        ({"cameras": ("cam_low",)}, "camera 'cam_low'"),
        ({"width_px": 640}, "at 640x240"),
        ({"joint_names": JOINT_NAMES[7:] + JOINT_NAMES[:7]}, "joint 0 of its actions is 'right_joint1'"),
        ({"joint_names": JOINT_NAMES[:7]}, "drives 7 joints"),
        ({"horizon": CHUNK_STEPS_MAX + 1}, f"chunk of {CHUNK_STEPS_MAX + 1} steps"),
        ({"prefix_max": 50}, "prefix of up to 50"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused_with_the_reason(
    rig: RigConfig, change: dict[str, Any], part: str
) -> None:
    schema = policy_schema(load_policy(str(DATA / "tiny_policy.onnx")), "transfer", 0.0)
    check_fit(schema, rig_schema(rig))
    with pytest.raises(RefusalError) as caught:
        check_fit(msgspec.structs.replace(schema, **change), rig_schema(rig))
    assert part in str(caught.value)
