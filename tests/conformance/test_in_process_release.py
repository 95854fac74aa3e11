"""What the adapters of policies in this process call is there in the released code, and takes what they pass."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from runtime.inference.adapters import fast_wam, motus
from tests.conformance.emulators.release import RELEASES, folder
from tests.conformance.releases import Release, check_out, releases

BACKBONES = "src/hub/backbones.py"
MOTUS_MODEL = "inference/robotwin/Motus/models/motus.py"
FAST_WAM_OPTIONS = (
    *("ckpt_setting", "dataset_stats_path", "device", "action_horizon", "replan_steps", "num_inference_steps"),
    "sim_task",
)

# Checkout, file, function, how many arguments are passed by place, and which by name.
CALLS = [
    ("FastWAM", fast_wam.FILE, "get_model", 1, ()),
    ("FastWAM", fast_wam.FILE, "WorldActionRobotWinPolicy.reset", 1, ()),
    (
        *("FastWAM", fast_wam.FILE, "WorldActionRobotWinPolicy._infer_action_chunk", 1),
        ("observation", "instruction"),
    ),
    ("Motus", motus.FILE, "get_model", 1, ()),
    ("Motus", motus.FILE, "MotusPolicy.set_instruction", 2, ()),
    ("Motus", motus.FILE, "MotusPolicy.update_obs", 2, ()),
    ("Motus", motus.FILE, "MotusPolicy.get_action", 1, ()),
    (
        *("Motus", MOTUS_MODEL, "Motus.inference_step", 1),
        ("first_frame", "state", "num_inference_steps", "language_embeddings", "vlm_inputs"),
    ),
    ("vjepa2", BACKBONES, "vjepa2_ac_vit_giant", 0, ()),
    ("vjepa2", "src/models/vision_transformer.py", "VisionTransformer.forward", 2, ()),
    ("vjepa2", "src/models/ac_predictor.py", "VisionTransformerPredictorAC.forward", 4, ()),
]
OPTIONS = [
    ("FastWAM", fast_wam.FILE, FAST_WAM_OPTIONS),
    ("Motus", motus.FILE, ("ckpt_setting", "wan_path", "vlm_path")),
]
KEPT = ("obs_cache", "action_cache", "current_state", "prev_action", "is_first_step", "pipeline_replan_idx")


def tree(name: str, file: str) -> ast.Module:
    checkout = folder(name)
    if checkout is None:
        pytest.skip(f"no checkout of {name}; {RELEASES} names the folder of such")
    return ast.parse((checkout / file).read_text(encoding="utf-8"))


def function(module: ast.Module, name: str) -> ast.FunctionDef:
    found: ast.Module | ast.ClassDef | ast.FunctionDef = module
    for part in name.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef)
        (found,) = (node for node in found.body if isinstance(node, kinds) and node.name == part)
    assert isinstance(found, ast.FunctionDef)
    return found


def takes(called: ast.FunctionDef, placed: int, named: tuple[str, ...]) -> bool:
    """Whether a function can be called with so many arguments by place and these by name."""
    given = called.args
    places = [each.arg for each in (*given.posonlyargs, *given.args)]
    required = {*places[: len(places) - len(given.defaults)]}
    required |= {each.arg for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value is None}
    known = {each.arg for each in (*given.args, *given.kwonlyargs)} - {*places[:placed]}
    right = (placed <= len(places) or given.vararg is not None) and ({*named} <= known or given.kwarg is not None)
    return right and required <= {*places[:placed], *named}


@pytest.mark.parametrize(("name", "file", "called", "placed", "named"), CALLS)
def test_what_is_called_is_there_and_takes_what_is_passed(
    name: str, file: str, called: str, placed: int, named: tuple[str, ...]
) -> None:
    assert takes(function(tree(name, file), called), placed, named)


@pytest.mark.parametrize(("name", "file", "options"), OPTIONS)
def test_every_option_is_one_that_the_released_code_reads(name: str, file: str, options: tuple[str, ...]) -> None:
    read = {node.value for node in ast.walk(function(tree(name, file), "get_model")) if isinstance(node, ast.Constant)}
    assert {*options} <= read


def test_motus_keeps_between_requests_what_the_adapter_forgets_and_its_model_gives_frames_first() -> None:
    module = tree("Motus", motus.FILE)
    made = {node.attr for node in ast.walk(function(module, "MotusPolicy.__init__")) if isinstance(node, ast.Attribute)}
    assert {*KEPT, "model", "save_images"} <= made
    asked = ast.unparse(function(module, "MotusPolicy.get_action"))
    assert "predicted_frames, predicted_actions = self.model.inference_step(" in asked


def test_vjepa2s_hub_names_the_model() -> None:
    imported = [node for node in tree("vjepa2", "hubconf.py").body if isinstance(node, ast.ImportFrom)]
    assert "vjepa2_ac_vit_giant" in {alias.name for node in imported for alias in node.names}
    returned = [
        node
        for node in ast.walk(function(tree("vjepa2", BACKBONES), "_make_vjepa2_ac_model"))
        if isinstance(node, ast.Return)
    ]
    assert [ast.unparse(node) for node in returned] == ["return (encoder, predictor)"]


@pytest.mark.parametrize(
    ("source", "placed", "named", "right"),
    [
        ("def f(self, a, b=1): ...", 2, (), True),
        ("def f(self, a, b): ...", 2, (), False),
        ("def f(self, a): ...", 1, ("a",), True),
        ("def f(self, a): ...", 1, ("b",), False),
        ("def f(self, a): ...", 3, (), False),
        ("def f(self, *, a, b=1): ...", 1, ("a",), True),
        ("def f(self, *, a): ...", 1, (), False),
        ("def f(*a, **b): ...", 5, ("c",), True),
    ],
)
def test_a_call_is_told_from_one_that_fails(source: str, placed: int, named: tuple[str, ...], right: bool) -> None:
    assert takes(function(ast.parse(source), "f"), placed, named) is right


def test_the_list_names_each_checkout_once_with_a_whole_commit() -> None:
    listed = releases()
    names = [release.folder for release in listed]
    assert sorted(names) == sorted({*names})
    assert all(len(release.commit) == 40 and release.paths for release in listed)
    assert {name for name, *_ in CALLS} <= {*names}


def test_a_checkout_has_the_paths_that_are_used_at_its_commit(tmp_path: Path) -> None:
    source = tmp_path / "base" / "owner" / "name"
    (source / "used").mkdir(parents=True)
    (source / "used" / "a.py").write_text("first")
    (source / "other.py").write_text("")

    def git(*arguments: str) -> str:
        named = ("-c", "user.name=n", "-c", "user.email=e@localhost")
        return subprocess.run(
            ["git", "-C", source, *named, *arguments], check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    git("config", "uploadpack.allowFilter", "true")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()
    (source / "used" / "a.py").write_text("later")
    git("commit", "--quiet", "-am", "later")

    base, into = f"file://{tmp_path}/base", tmp_path / "made" / "name"
    check_out(Release("owner/name", commit, ("used",)), base, into)
    assert (into / "used" / "a.py").read_text() == "first"
    assert {path.name for path in into.iterdir()} == {".git", "used"}
    with pytest.raises(subprocess.CalledProcessError):
        check_out(Release("owner/none", commit, ("used",)), base, into.with_name("none"))
    assert [path.name for path in into.parent.iterdir()] == ["name"], "nothing is left of what failed"
