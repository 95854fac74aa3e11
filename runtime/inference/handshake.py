"""What a rig and a policy say of themselves at connection."""

from __future__ import annotations

from runtime.config import RigConfig
from runtime.inference.backends.pictures import Pictures
from runtime.inference.fit import RefusalError
from runtime.inference.policy import Policy
from runtime.inference.sampler import conditions_of
from runtime.inference.wire import RigSchema, Schema
from runtime.layout import JOINT_NAMES, SIDES


def rig_schema(rig: RigConfig) -> RigSchema:
    """Return what a rig offers to a policy."""
    return RigSchema(
        name=rig.name,
        arms=tuple(rig.arm_model(side).name for side in SIDES),
        joint_names=JOINT_NAMES,
        rate_hz=rig.policy_hz,
        cameras={name: (camera.width_px, camera.height_px) for name, camera in rig.cameras.items()},
        object_state=rig.simulated,
    )


def policy_schema(policy: Policy, task: str, latency_ms: float, rig: RigSchema | None = None) -> Schema:
    """Return what a policy reads and answers for a task; from a `rig`, pictures in its size where they can be resized.

    Raises:
        RefusalError: it was not trained for the task.
    """
    manifest = policy.manifest
    if not policy.knows(task):
        raise RefusalError(
            f"policy {manifest.name!r} was not trained for task {task[:64]!r}; its tasks: {', '.join(policy.tasks)}"
        )
    shape = policy.shape(task)
    width_px, height_px = _sent_size(shape.pictures, manifest.observation.rig_cameras, rig)
    return Schema(
        policy=manifest.name,
        policy_class=manifest.policy_class,
        arms=manifest.arms,
        joint_names=manifest.action.joint_names,
        rate_hz=manifest.rate_hz,
        horizon=shape.horizon,
        execute_steps=manifest.execute_steps,
        prefix_max=policy.prefix_max(task),
        cameras=manifest.observation.rig_cameras,
        width_px=width_px,
        height_px=height_px,
        velocity=manifest.observation.velocity,
        object_state=shape.object_state,
        latency_ms=latency_ms,
        conditions=tuple(condition.value for condition in conditions_of(policy, task)),
        parts=manifest.capabilities.parts,
    )


def _sent_size(pictures: Pictures, cameras: tuple[str, ...], rig: RigSchema | None) -> tuple[int, int]:
    """Return (width, height) of the pictures to be sent: the cameras' own where they share one that can be resized."""
    sizes = set() if rig is None else {rig.cameras[name] for name in cameras if name in rig.cameras}
    if pictures.resize == "none" or len(sizes) != 1:
        return pictures.width_px, pictures.height_px
    return sizes.pop()
