"""A Franka Panda as an arm of a policy's own: as the documentation declares it, and from another source to check it by.

The other source is google-deepmind/mujoco_menagerie franka_emika_panda/panda.xml, whose bodies are from the vendor's
URDF: here its links up to the flange (`link8`), without their shapes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import mujoco
import numpy as np
import yaml
from numpy.typing import NDArray

from runtime.config import convert
from runtime.inference.adapters.embodiment import Embodiment, EmbodimentMap
from runtime.kinematics.pose import Pose
from tests.conformance.kinematics import x5_hands

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "systems-other.md"
GRIP_M: Final = 0.163
"""From the flange to the finger tips, in the documentation's example."""
_LINKS: Final = (
    ("0 0 0.333", "1 0 0 0", "-2.8973 2.8973"),
    ("0 0 0", "1 -1 0 0", "-1.7628 1.7628"),
    ("0 -0.316 0", "1 1 0 0", "-2.8973 2.8973"),
    ("0.0825 0 0", "1 1 0 0", "-3.0718 -0.0698"),
    ("-0.0825 0.384 0", "1 -1 0 0", "-2.8973 2.8973"),
    ("0 0 0", "1 1 0 0", "-0.0175 3.7525"),
    ("0.088 0 0", "1 1 0 0", "-2.8973 2.8973"),
)
_FLANGE: Final = '<site name="link8" pos="0 0 0.107"/>'


def example() -> str:
    """Return the embodiment that the documentation shows, as it stands there."""
    (text,) = (text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S) if "own_arm" in text)
    return text


@lru_cache(maxsize=1)
def declared() -> Embodiment:
    found: Embodiment = convert(yaml.safe_load(example()), Embodiment, PAGE)
    return found


def franka() -> EmbodimentMap:
    """Return the same on simulated X5 arms."""
    return EmbodimentMap(declared(), x5_hands())


@lru_cache(maxsize=1)
def menagerie() -> mujoco.MjModel:
    inside = _FLANGE
    for i in range(len(_LINKS), 0, -1):
        pos, quat, limits = _LINKS[i - 1]
        inside = (
            f'<body name="link{i}" pos="{pos}" quat="{quat}"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
            f'<joint name="joint{i}" axis="0 0 1" range="{limits}"/>{inside}</body>'
        )
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian" autolimits="true"/><worldbody>{inside}</worldbody></mujoco>'
    )


def flange(angles: NDArray[Any]) -> Pose:
    """Return where the other source has the flange at joints (7,) in rad, in the arm's base."""
    model = menagerie()
    data = mujoco.MjData(model)
    data.qpos[:] = angles
    mujoco.mj_kinematics(model, data)
    return Pose(data.site_xpos[0].copy(), data.site_xmat[0].reshape(3, 3).copy())


def grip(angles: NDArray[Any]) -> Pose:
    """Return where the fingers' tips are, with the axes of the rig's hands, by the other source, in the arm's base."""
    tip = flange(angles)
    x, y, z = tip.rotation.T
    return Pose(tip.position + GRIP_M * z, np.column_stack((z, -y, x)))


def rig_hand(angles: NDArray[Any]) -> Pose:
    """Return where the right hand of X5 arms is to be then, in the world."""
    body = declared().own_arm
    assert body is not None
    side = declared().arms[0]
    moved = grip(angles)
    base = Pose(moved.position + np.array(body.base.xyz_m), moved.rotation)
    return base.placed(x5_hands().base[side])
