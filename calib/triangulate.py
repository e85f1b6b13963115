"""Triangulation without an SVD, one source for numpy, torch and the exported graph.

The point X seen by several cameras is the null vector of the 4x4 Gram matrix of their linear
equations (Hartley and Zisserman 2004, 12.2; weights as in Iskakov et al. 2019). Here the null vector
comes from the closed-form adjugate, whose columns are multiples of it, squared until the other
eigenvectors are gone. That holds in float32, because everything happens in the rig-normalised world
of `calib.rig.RigArrays`, where all numbers are about one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from calib import lens
from calib.rig import RigArrays

RIDGE = 1e-7
SQUARINGS = 3


def _minor_indices() -> tuple[np.ndarray, ...]:
    """Index tables of the adjugate of a flat 4x4 matrix.

    Six 2x2 minors of rows 0 and 1, then six of rows 2 and 3; each cofactor is three products of an
    entry and a minor of the two other rows.
    """
    pairs = list(combinations(range(4), 2))
    minors = [(4 * r + a, 4 * (r + 1) + b, 4 * r + b, 4 * (r + 1) + a) for r in (0, 2) for a, b in pairs]
    entry, minor, sign = [], [], []
    for row in range(4):
        partner = row ^ 1
        half = 6 if row < 2 else 0
        for column in range(4):
            others = [c for c in range(4) if c != column]
            for k, c in enumerate(others):
                rest = [o for o in others if o != c]
                entry.append(4 * partner + c)
                minor.append(half + pairs.index((rest[0], rest[1])))
                # Cofactor sign times the sign of the expansion along the partner row; within the
                # 3x3 minor the partner row is the first (row 0 or 2 removed: partner above the
                # minor's rows) or the last, which has the same parity.
                sign.append((-1) ** (row + column + k))
    return np.array(minors).T, np.array(entry), np.array(minor), np.array(sign, dtype=np.float64)


_MINORS, _ENTRY, _MINOR, _SIGN = _minor_indices()


def adjugate(xp: Any, matrix: Any) -> Any:
    """The adjugate of symmetric 4x4 matrices (..., 4, 4), in closed form and in few operations."""
    flat = xp.reshape(matrix, (*matrix.shape[:-2], 16))

    def pick(values: Any, index: np.ndarray) -> Any:
        return xp.take(values, xp.asarray(index.tolist(), device=values.device), axis=-1)

    first, second, third, fourth = _MINORS
    minors = pick(flat, first) * pick(flat, second) - pick(flat, third) * pick(flat, fourth)
    sign = xp.asarray(_SIGN.tolist(), dtype=matrix.dtype, device=matrix.device)
    products = pick(flat, _ENTRY) * pick(minors, _MINOR) * sign
    return xp.sum(xp.reshape(products, (*matrix.shape[:-2], 4, 4, 3)), axis=-1)


def null_vector(xp: Any, gram: Any) -> Any:
    """The eigenvector (..., 4) of the smallest eigenvalue of Gram matrices (..., 4, 4) of trace one."""
    ridge = xp.asarray((RIDGE * np.eye(4)).tolist(), dtype=gram.dtype, device=gram.device)
    power = adjugate(xp, gram + ridge)
    for _ in range(SQUARINGS):
        power = power / xp.max(xp.abs(power), axis=(-2, -1), keepdims=True)
        power = xp.matmul(power, power)
    # The squared matrix is v v^T but for a factor. Times its last column it is v again, as exact as
    # its largest column: what errors that column has are multiplied away once more.
    return xp.matmul(power, power[..., 3:])[..., 0]


def _rows(xp: Any, normalised: Any, weight: Any, rig: RigArrays) -> Any:
    """Weighted rows of unit length of the homogeneous equations, (..., J, 2V, 4)."""
    Rt = rig.Rt
    rows = normalised[..., None] * Rt[..., None, 2:3, :] - Rt[..., None, :2, :]
    length = xp.sqrt(xp.sum(rows * rows, axis=-1, keepdims=True))
    rows = rows * (weight[..., None, None] / length)
    views, joints = rows.shape[-4], rows.shape[-3]
    lead = tuple(range(rows.ndim - 4))
    n = len(lead)
    rows = xp.permute_dims(rows, (*lead, n + 1, n, n + 2, n + 3))
    return xp.reshape(rows, (*rows.shape[:-4], joints, 2 * views, 4))


def solve_normalised(
    xp: Any, normalised: Any, weight: Any, rig: RigArrays, null: Callable[[Any, Any], Any] = null_vector
) -> Any:
    """Points (..., J, 3) of the rig-normalised world from undistorted points (..., V, J, 2).

    Of the rig only ``Rt`` counts, which may have the leading axes of the points: a rig for each. ``null`` may be
    another one with the arguments of `null_vector`.
    """
    seen = xp.isfinite(xp.sum(normalised, axis=-1)) & (weight > 0)
    weight = xp.where(seen, weight, 0.0)
    rows = _rows(xp, xp.where(seen[..., None], normalised, 0.0), weight, rig)
    trace = xp.sum(rows * rows, axis=(-2, -1))[..., None, None]
    gram = xp.matmul(xp.matrix_transpose(rows), rows) / xp.where(trace > 0, trace, 1.0)
    vector = null(xp, gram)
    enough = xp.sum(xp.astype(seen, normalised.dtype), axis=-2) > 1.5
    return xp.where(enough[..., None], vector[..., :3] / vector[..., 3:], xp.nan)


def reproject(xp: Any, position: Any, rig: RigArrays) -> Any:
    """Raw px (..., V, J, 2) of points (..., J, 3) of the rig-normalised world; NaN behind a camera."""
    Rt = rig.Rt
    seen = xp.matmul(position[..., None, :, :], xp.matrix_transpose(Rt[:, :, :3])) + Rt[:, None, :, 3]
    depth = seen[..., 2:]
    normalised = seen[..., :2] / xp.where(depth > 0, depth, xp.nan)
    return lens.distort(normalised, rig.K, rig.dist, rig.fisheye)


def _distance(xp: Any, points: Any, position: Any, rig: RigArrays) -> Any:
    offset = reproject(xp, position, rig) - points
    return xp.sqrt(xp.sum(offset * offset, axis=-1))


def triangulate(
    points: Float[Any, "*lead V J 2"], weight: Float[Any, "*lead V J"], rig: RigArrays
) -> Float[Any, "*lead J 3"]:
    """Where the joints are that several views saw.

    Args:
        points: (..., V, J, 2) raw px, NaN = not seen.
        weight: (..., V, J) multiplies a view's equations (so a squared error counts by its square, as
            in Iskakov et al.); 0 = not seen. Only ratios between the views of a joint matter.
        rig: Arrays of the same kind, dtype and device.

    Returns:
        (..., J, 3) mm in the world; NaN with fewer than two views. In float32 the answer carries the
        rounding of a float32 in mm (0.004 mm at 100 m from the world's origin).
    """
    xp = array_namespace(points, weight)
    normalised = lens.undistort(points, rig.K, rig.dist, rig.fisheye)
    return solve_normalised(xp, normalised, weight, rig) * rig.world[3] + rig.world[:3]


def residuals(
    points: Float[Any, "*lead V J 2"], position_mm: Float[Any, "*lead J 3"], rig: RigArrays
) -> Float[Any, "*lead V J"]:
    """Distance in raw px between each view's point and the reprojected position.

    Returns:
        (..., V, J); NaN where the view did not see the joint, there is no position, or it lies behind
        the camera.
    """
    xp = array_namespace(points, position_mm)
    return _distance(xp, points, (position_mm - rig.world[:3]) / rig.world[3], rig)


def triangulate_with_residuals(
    points: Float[Any, "*lead V J 2"], weight: Float[Any, "*lead V J"], rig: RigArrays
) -> tuple[Float[Any, "*lead J 3"], Float[Any, "*lead V J"]]:
    """`triangulate` and `residuals` in one: what the exported head computes.

    The residuals come from the normalised position, before float32 rounds it to mm of a far origin.
    """
    xp = array_namespace(points, weight)
    normalised = lens.undistort(points, rig.K, rig.dist, rig.fisheye)
    position = solve_normalised(xp, normalised, weight, rig)
    return position * rig.world[3] + rig.world[:3], _distance(xp, points, position, rig)
