"""Rotations: matrices (3, 3), quaternions (w, x, y, z) as MuJoCo has them, rotation vectors and URDF's angles."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.kinematics.body import Vector3


def rpy_matrix(rpy: Vector3) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of URDF's roll, pitch, yaw (rad) about fixed axes: Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def matrix_rpy(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return URDF's roll, pitch, yaw (rad), shape (3,), of a rotation matrix (3, 3)."""
    roll, yaw = np.arctan2(matrix[2, 1], matrix[2, 2]), np.arctan2(matrix[1, 0], matrix[0, 0])
    return np.array((roll, np.arctan2(-matrix[2, 0], np.hypot(matrix[2, 1], matrix[2, 2])), yaw))


def quaternion(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternion (w, x, y, z), w not negative, of a rotation matrix (3, 3)."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix).reshape(9))
    return quat if quat[0] >= 0.0 else -quat


def vector_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of a rotation vector in rad, shape (3,) (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def quaternion_matrix(wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation matrix (3, 3) of a quaternion (w, x, y, z) of any length but zero."""
    w, x, y, z = wxyz / np.linalg.norm(wxyz)
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of a rotation matrix: axis times angle in rad, shape (3,)."""
    sine = 0.5 * np.array(
        (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])
    )
    cosine = 0.5 * (float(np.trace(rotation)) - 1.0)
    length = float(np.linalg.norm(sine))
    if length < 1e-9:
        if cosine > 0.0:
            return sine
        axis = np.sqrt(np.maximum((np.diag(rotation) + 1.0) / 2.0, 0.0))
        column = (rotation + np.eye(3))[:, int(np.argmax(axis))]
        return np.pi * axis * np.where(column < 0.0, -1.0, 1.0)
    return sine * (float(np.arctan2(length, cosine)) / length)


def quaternion_product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the product of two quaternions (w, x, y, z)."""
    aw, bw = a[0], b[0]
    return np.concatenate(((aw * bw - a[1:] @ b[1:],), aw * b[1:] + bw * a[1:] + np.cross(a[1:], b[1:])))


def quaternion_conjugate(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a unit quaternion (w, x, y, z)."""
    return np.concatenate((a[:1], -a[1:]))
