"""Policies as folders: a manifest that says what a policy reads and answers, beside its graph files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.errors import UsageError, unknown_name
from runtime.inference.backends.base import ENTRY_POINT
from runtime.inference.backends.onnx import read_signature
from runtime.inference.backends.shape import GraphShape
from runtime.inference.manifest import (
    ActionSpec,
    Capabilities,
    ObservationSpec,
    PolicyManifest,
    Units,
)
from runtime.layout import CAMERAS, JOINT_NAMES, RIG_DOF
from runtime.records import CHUNK_STEPS_MAX
from runtime.yaml_file import convert, read_yaml

__all__ = ["ANY_TASK", "Policy", "PolicyManifest", "load_policy", "policy_names"]

POLICY_FOLDER: Final = Path(__file__).parent.parent / "policies"
MANIFEST_NAME: Final = "manifest.yaml"
ANY_TASK: Final = "*"
"""Graph key of a policy that takes every task."""


@dataclass(frozen=True)
class Policy:
    """A policy on disk: its manifest and the folder its graph files are in."""

    manifest: PolicyManifest
    folder: Path

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks it was trained for; `*` when it takes any."""
        return sorted(self.manifest.graphs or self.manifest.torch)

    def knows(self, task: str) -> bool:
        """Whether it takes the task."""
        return task in self.tasks or ANY_TASK in self.tasks

    def graph(self, task: str) -> Path:
        """Return the graph file of a task.

        Raises:
            UsageError: the policy was not trained for it, or has no ONNX files; the message says what there is.
        """
        graphs = self.manifest.graphs
        if not graphs:
            raise UsageError(f"policy {self.manifest.name!r} has no ONNX graphs; serve it with --backend torch")
        name = graphs.get(task, graphs.get(ANY_TASK))
        if name is None:
            raise unknown_name(f"task for policy {self.manifest.name!r}:", task, self.tasks)
        return self.folder / name

    def guided_graph(self, task: str) -> Path | None:
        """Return the guided graph file of a task, None where it has none."""
        manifest = self.manifest
        name = manifest.guided.get(task, manifest.guided.get(ANY_TASK))
        return None if name is None else self.folder / name

    def corrector(self, task: str) -> Path | None:
        """Return the corrector's graph file of a task, None where it has none."""
        name = self.manifest.correctors.get(task, self.manifest.correctors.get(ANY_TASK))
        return None if name is None else self.folder / name

    def torch_program(self, task: str) -> str:
        """Return what backend torch runs for a task: the name of a file in the folder, or `module:function`.

        Raises:
            UsageError: the policy has none for it.
        """
        programs = self.manifest.torch
        name = programs.get(task, programs.get(ANY_TASK))
        if name is None:
            listed = ", ".join(sorted(programs)) or "no task"
            raise UsageError(f"policy {self.manifest.name!r} has a torch program for {listed}; {task!r} is wanted")
        return name

    def horizon(self, task: str) -> int:
        """Return how many steps a chunk of a task has."""
        return _of_task(self.manifest.horizon, task)

    def prefix_max(self, task: str) -> int:
        """Return the longest committed prefix that the policy takes on a task, 0 for none."""
        able = self.manifest.capabilities
        return _of_task(able.prefix_max, task) if able.prefix else 0

    def shape(self, task: str) -> GraphShape:
        """Return what the manifest says of a task's graph."""
        manifest, seen = self.manifest, self.manifest.observation
        return GraphShape(
            cameras=len(seen.cameras),
            height_px=seen.height_px,
            width_px=seen.width_px,
            object_state=_of_task(seen.object_state, task),
            velocity=seen.velocity,
            horizon=self.horizon(task),
            prefix=manifest.capabilities.prefix,
            noise=manifest.noise,
            resize=seen.resize,
            pixel_mean=None if seen.pixels is None else seen.pixels.mean,
            pixel_std=None if seen.pixels is None else seen.pixels.std,
        )


def _of_task(value: int | dict[str, int], task: str) -> int:
    """Return a number of the manifest that may differ by task, `*` for those not named; 0 where neither is there."""
    return value if isinstance(value, int) else value.get(task, value.get(ANY_TASK, 0))


def policy_names() -> list[str]:
    """Return the names of the built-in policies."""
    return sorted(path.parent.name for path in POLICY_FOLDER.glob(f"*/{MANIFEST_NAME}"))


def load_policy(name_or_path: str) -> Policy:
    """Read a built-in policy by name, a policy folder, or a bare ONNX file with the interface of a graph.

    Raises:
        UsageError: the name is unknown, or what is at the path is no policy; one line that says why.
    """
    path = Path(name_or_path)
    if (POLICY_FOLDER / name_or_path / MANIFEST_NAME).is_file() and path.parent == Path():
        return _load_folder(POLICY_FOLDER / name_or_path)
    if path.is_dir():
        return _load_folder(path)
    if path.is_file():
        return _load_bare(path)
    if path.suffix or path.parent != Path():
        raise UsageError(f"policy {name_or_path} does not exist; built-in policies: {', '.join(policy_names())}")
    raise unknown_name("policy", name_or_path, policy_names())


def _load_folder(folder: Path) -> Policy:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UsageError(f"policy folder {folder} has no {MANIFEST_NAME}")
    manifest: PolicyManifest = convert(read_yaml(path), PolicyManifest, path)
    policy = Policy(manifest, folder)
    named = {
        "graphs": manifest.graphs,
        "guided": manifest.guided,
        "correctors": manifest.correctors,
        "torch": manifest.torch,
    }
    for key, files in named.items():
        for task, name in files.items():
            if task not in policy.tasks:
                raise UsageError(f"{path}: key '{key}.{task}': no task of 'graphs': {', '.join(policy.tasks)}")
            entry = ENTRY_POINT.fullmatch(name) if key == "torch" else None
            file = name if entry is None else f"{entry['module']}.py"
            if Path(file).name != file or not (folder / file).is_file():
                raise UsageError(f"{path}: key '{key}.{task}': no file {file!r} in {folder}")
    for task in policy.tasks:
        horizon, prefix_max = policy.horizon(task), policy.prefix_max(task)
        if not horizon:
            raise UsageError(f"{path}: key 'horizon': none for task {task!r} of 'graphs'")
        if prefix_max >= horizon:
            raise UsageError(
                f"{path}: key 'capabilities.prefix_max': {prefix_max} is not below the horizon {horizon} of {task!r}"
            )
    for key, lengths in (
        ("horizon", manifest.horizon),
        ("capabilities.prefix_max", manifest.capabilities.prefix_max),
        ("observation.object_state", manifest.observation.object_state),
    ):
        for task in lengths if isinstance(lengths, dict) else ():
            if not policy.knows(task):
                raise UsageError(f"{path}: key '{key}.{task}': no task of 'graphs': {', '.join(policy.tasks)}")
    for key, reason in manifest.faults():
        raise UsageError(f"{path}: key '{key}': {reason}")
    return policy


def _load_bare(path: Path) -> Policy:
    signature = read_signature(path)
    images = signature.inputs.get("images")
    objects = signature.inputs.get("object_state")
    cameras, height_px, width_px = (
        (images.shape[0], *images.shape[1:3]) if images and len(images.shape) == 4 else (0, 240, 320)
    )
    for name, tensor in (("images", images), ("object_state", objects)):
        if tensor is not None and -1 in tensor.shape:
            raise UsageError(
                f"{path}: input {name!r} is {tensor}; a bare graph leaves no dimension open: export it with all"
            )
    if cameras > len(CAMERAS) or not (cameras or objects):
        raise UsageError(
            f"{path}: reads {cameras} cameras; a bare graph has 'images' of up to {len(CAMERAS)} cameras "
            f"(count, height, width, 3) or 'object_state'"
        )
    actions = signature.outputs.get("actions")
    horizon = actions.shape[0] if actions and actions.shape else 0
    if not 1 <= horizon <= CHUNK_STEPS_MAX:
        raise UsageError(
            f"{path}: answers with {horizon} actions; needs an output 'actions' (1 to {CHUNK_STEPS_MAX}, {RIG_DOF})"
        )
    takes_prefix = "prefix" in signature.inputs and "prefix_len" in signature.inputs
    manifest = PolicyManifest(
        name=path.stem[:64],
        description="a bare ONNX graph",
        policy_class="VLA",
        rate_hz=50,
        horizon=horizon,
        execute_steps=max(horizon // 4, 1),
        action=ActionSpec(
            representation="absolute_joint",
            dof=14,
            joint_names=JOINT_NAMES,
            units=Units(joint="rad", gripper="fraction"),
        ),
        observation=ObservationSpec(
            cameras=CAMERAS[:cameras],
            width_px=width_px,
            height_px=height_px,
            velocity="velocity" in signature.inputs,
            object_state=objects.shape[0] if objects and objects.shape else 0,
        ),
        capabilities=Capabilities(prefix=takes_prefix, prefix_max=horizon // 2 if takes_prefix else 0),
        noise="noise" in signature.inputs,
        graphs={ANY_TASK: path.name},
    )
    return Policy(manifest, path.parent)
