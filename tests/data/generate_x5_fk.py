"""Write x5_fk.json: forward kinematics of the ARX X5 computed by arx5-interface's own solver.

    pip install arx5-interface numpy && python generate_x5_fk.py

Poses are uniform in the joint limits. The solver (Orocos KDL on the vendor's X5.urdf) answers x, y, z in m and
roll, pitch, yaw in rad about fixed axes, for eef_link in base_link.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import arx5_interface  # type: ignore[import-not-found, unused-ignore]
import numpy as np

LIMITS_RAD = ((-3.14, 2.618), (-0.05, 3.5), (-0.1, 3.2), (-1.6, 1.55), (-1.57, 1.57), (-2.0, 2.0))
POSES = 200


def main() -> None:
    """Sample the poses, ask the solver, write the table next to this script."""
    low, high = np.array(LIMITS_RAD).T
    joints = np.round(np.random.default_rng(10).uniform(low, high, (POSES, 6)), 6)
    urdf = Path(arx5_interface.__file__).parent / "models" / "X5.urdf"
    solver = arx5_interface.Arx5Solver(str(urdf), 6, low, high, "base_link", "eef_link", np.array([0.0, 0.0, -9.807]))
    poses = np.array([solver.forward_kinematics(q) for q in joints])
    table = {
        "source": f"arx5-interface {version('arx5-interface')} Arx5Solver on X5.urdf, eef_link in base_link",
        "joints_rad": joints.tolist(),
        "xyz_m": np.round(poses[:, :3], 8).tolist(),
        "rpy_rad": np.round(poses[:, 3:], 8).tolist(),
    }
    Path(__file__).with_name("x5_fk.json").write_text(json.dumps(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
