"""Whether a rig and a policy fit, decided at connection and before any motion."""

from __future__ import annotations

from runtime.inference.wire import RigSchema, Schema
from runtime.records import CHUNK_STEPS_MAX


class RefusalError(Exception):
    """A rig and a policy do not fit; the text says where and what would be right."""


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
