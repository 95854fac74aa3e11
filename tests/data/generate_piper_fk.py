"""Write piper_fk.json: forward kinematics of the Piper computed by AgileX's own piper_sdk.

    pip install piper_sdk numpy && python generate_piper_fk.py

Poses are uniform in the joint limits; `dh_is_offset=0x01` is the kinematics of firmware S-V1.6-3 and newer. The
SDK answers in mm and degrees (roll, pitch, yaw about fixed axes); the table holds what it answered, in m and rad.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from piper_sdk.kinematics.piper_fk import C_PiperForwardKinematics

LIMITS_RAD = ((-2.618, 2.618), (0.0, 3.14), (-2.967, 0.0), (-1.745, 1.745), (-1.22, 1.22), (-2.0944, 2.0944))
POSES = 200


def main() -> None:
    """Sample the poses, ask the SDK, write the table next to this script."""
    low, high = np.array(LIMITS_RAD).T
    joints = np.round(np.random.default_rng(20).uniform(low, high, (POSES, 6)), 6)
    solver = C_PiperForwardKinematics(dh_is_offset=0x01)
    poses = [solver.CalFK(list(q))[-1] for q in joints]
    table = {
        "source": f"piper_sdk {version('piper_sdk')} C_PiperForwardKinematics(dh_is_offset=1), link 6 in the base",
        "joints_rad": joints.tolist(),
        "xyz_m": np.round(np.array(poses)[:, :3] / 1000, 8).tolist(),
        "rpy_rad": np.round(np.radians(np.array(poses)[:, 3:]), 8).tolist(),
    }
    Path(__file__).with_name("piper_fk.json").write_text(json.dumps(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
