"""Whether a rig and a policy fit, decided at connection and before any motion."""

from __future__ import annotations

from runtime.config import RigConfig
from runtime.inference.backends.pictures import Pictures
from runtime.inference.policy import Policy
from runtime.inference.sampler import conditions_of
from runtime.inference.wire import RigSchema, Schema
from runtime.layout import JOINT_NAMES, SIDES
from runtime.records import CHUNK_STEPS_MAX


class RefusalError(Exception):
    """A rig and a policy do not fit; the text says where and what would be right."""


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


def check_fit(schema: Schema, rig: RigSchema) -> None:
    """Refuse a policy that does not fit a rig; both sides of a connection ask.

    Raises:
        RefusalError: arms, joint order, rate, chunk length, cameras or their size differ, or the policy reads what
            only a simulated rig knows.
    """
    who = f"policy {schema.policy!r}"
    if schema.joint_names != rig.joint_names:
        raise RefusalError(f"{who}: {_joints(schema, rig)}")
    foreign = [arm for arm in rig.arms if arm not in schema.arms]
    if schema.arms and foreign:
        raise RefusalError(f"{who} was trained on {', '.join(schema.arms)}; rig {rig.name!r} has {', '.join(rig.arms)}")
    if schema.rate_hz != rig.rate_hz:
        raise RefusalError(f"{who} acts at {schema.rate_hz} Hz, rig {rig.name!r} at {rig.rate_hz} Hz")
    if not 1 <= schema.horizon <= CHUNK_STEPS_MAX or not 0 <= schema.prefix_max < schema.horizon:
        raise RefusalError(
            f"{who}: chunk of {schema.horizon} steps with a prefix of up to {schema.prefix_max}; "
            f"this rig takes 1 to {CHUNK_STEPS_MAX} steps and a shorter prefix"
        )
    size = (schema.width_px, schema.height_px)
    for name in schema.cameras:
        offered = rig.cameras.get(name)
        if offered is None:
            has = ", ".join(rig.cameras) or "none"
            raise RefusalError(f"{who} reads camera {name!r}; rig {rig.name!r} has {has}")
        if schema.width_px and offered != size:
            raise RefusalError(
                f"{who} reads {name!r} at {size[0]}x{size[1]}, rig {rig.name!r} gives {offered[0]}x{offered[1]}"
            )
    if schema.object_state and not rig.object_state:
        raise RefusalError(f"{who} reads the objects' state, which only a simulated rig knows")


def _joints(schema: Schema, rig: RigSchema) -> str:
    if len(schema.joint_names) != len(rig.joint_names):
        return f"drives {len(schema.joint_names)} joints, rig {rig.name!r} has {len(rig.joint_names)}"
    i = next(i for i, name in enumerate(rig.joint_names) if name != schema.joint_names[i])
    return (
        f"joint {i} of its actions is {schema.joint_names[i]!r}, of rig {rig.name!r} {rig.joint_names[i]!r}; "
        "the orders must agree"
    )
