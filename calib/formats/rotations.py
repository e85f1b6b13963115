"""Rotations as files write them: matrices that may be rounded, mirrored or none at all, and quaternions."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from calib.rotation import vector_of
from rigpose.errors import ConfigError

MOST_PX = 1_000_000
ROUNDED = 2e-3
"""How far the rows of a matrix may be from perpendicular unit vectors: files print six digits, some four."""


def numbers(value: Any, where: str, key: str, *shapes: tuple[int, ...]) -> np.ndarray:
    """Finite float64 numbers of one of these shapes; a matrix of the same count is reshaped to the first.

    Raises:
        ConfigError: Names the place and the key.
    """
    if value is None:
        raise ConfigError(where, f"has no {key}", f"add {key}")
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(where, f"{key} is not an array of numbers", "correct it") from None
    if shapes and array.shape not in shapes:
        if array.size != np.prod(shapes[0]):
            raise ConfigError(where, f"{key} has shape {list(array.shape)}, not {list(shapes[0])}", "correct it")
        array = array.reshape(shapes[0])
    if not np.isfinite(array).all():
        raise ConfigError(where, f"{key} holds a value that is not finite", "calibrate again")
    return array


def size_of(value: Any, where: str, key: str = "the picture size") -> tuple[int, int]:
    """Two whole numbers of px.

    Raises:
        ConfigError: They are none, or no picture is that large.
    """
    width, height = numbers(value, where, key, (2,))
    if not all(0 <= side <= MOST_PX and side == round(side) for side in (width, height)):
        raise ConfigError(where, f"{key} is {width:g}x{height:g}", "write two whole numbers of px")
    return int(width), int(height)


def rvec_of(matrix: Any, where: str, key: str = "R") -> Float[np.ndarray, " 3"]:
    """The Rodrigues vector of a rotation matrix, cleaned of its rounding.

    Raises:
        ConfigError: It is mirrored, or no rotation at all.
    """
    matrix = numbers(matrix, where, key, (3, 3))
    u, s, vt = np.linalg.svd(matrix)
    nearest = u @ vt
    if np.linalg.det(nearest) < 0:
        raise ConfigError(where, f"{key} is mirrored (its determinant is -1)", "calibrate again, or correct an axis")
    off = float(np.abs(s - 1).max())
    if off > ROUNDED:
        raise ConfigError(where, f"{key} is no rotation: it stretches by {100 * off:.1f} %", "calibrate again")
    return vector_of(nearest)


def rotation_of(value: Any, where: str, key: str = "R") -> Float[np.ndarray, " 3"]:
    """The Rodrigues vector of what may be one or a 3x3 matrix."""
    array = numbers(value, where, key)
    return rvec_of(array, where, key) if array.size == 9 else numbers(array, where, key, (3,))


def rvec_of_quaternion(wxyz: Any, where: str) -> Float[np.ndarray, " 3"]:
    """The Rodrigues vector of a quaternion w, x, y, z.

    Raises:
        ConfigError: Its length is not 1.
    """
    q = numbers(wxyz, where, "quaternion", (4,))
    length = float(np.linalg.norm(q))
    if abs(length - 1) > ROUNDED:
        raise ConfigError(where, f"the quaternion has length {length:.3f}, not 1", "correct it")
    q = q / length * (1 if q[0] >= 0 else -1)
    sine = float(np.linalg.norm(q[1:]))
    angle = 2 * np.arctan2(sine, q[0])
    return np.zeros(3) if sine == 0 else q[1:] / sine * angle


def quaternion_of(rvec: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 4"]:
    """w, x, y, z of a Rodrigues vector."""
    angle = float(np.linalg.norm(rvec))
    axis = np.zeros(3) if angle == 0 else rvec / angle
    return np.append(np.cos(angle / 2), np.sin(angle / 2) * axis)
