"""How sure a triangulated position is: first-order propagation of the views' pixel noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from calib.prepared import Prepared, inverse3, prepare
from calib.rig import RigArrays


def normal_covariance(
    rig: Prepared,
    xy: np.ndarray,
    depth: np.ndarray,
    derivative: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    per_sigma: np.ndarray,
) -> np.ndarray:
    """(6, N) mm2 ``xx xy xz yy yz zz`` of positions as the cameras see them.

    Args:
        rig: Constants.
        xy: (2, V, N) reprojected, normalised.
        depth: (V, N) in units.
        derivative: Of the lens there, from `Prepared.distort_with_derivative`.
        per_sigma: (V, N) 1/sigma in raw px; 0 = the view does not count.
    """
    fx, fy = rig.focal * (per_sigma / depth)
    x, y = xy
    factors = np.empty((rig.n_views, 6, xy.shape[-1]))
    # J = diag(f / sigma / depth) D (r - xy r3) with D the lens's derivative; the metric is D^T f2 D.
    if derivative is None:
        m_xx, m_yy = fx * fx, fy * fy
        to_x, to_y = m_xx * x, m_yy * y
        factors[:, 5] = 0
    else:
        xx, cross, yy = derivative
        x_row, x_cross, y_cross, y_row = fx * xx, fx * cross, fy * cross, fy * yy
        m_xx = x_row * x_row + y_cross * y_cross
        m_xy = x_row * x_cross + y_cross * y_row
        m_yy = x_cross * x_cross + y_row * y_row
        to_x, to_y = m_xx * x + m_xy * y, m_xy * x + m_yy * y
        factors[:, 5] = m_xy
    factors[:, 0] = to_x * x + to_y * y
    factors[:, 1], factors[:, 2] = to_x, to_y
    factors[:, 3], factors[:, 4] = m_xx, m_yy
    normal = rig.products[:6].reshape(6, -1) @ factors.reshape(-1, xy.shape[-1])
    variances = inverse3(normal)
    variances *= rig.unit * rig.unit
    return variances


def covariance(
    position_mm: Float[np.ndarray, "*lead J 3"], sigma_px: Float[Any, "*lead V J"], rig: RigArrays
) -> Float[np.ndarray, "*lead J 3 3"]:
    """The covariance of a position from the noise of the views that it was made from.

    ``(J^T W J)^-1`` with J the derivative of raw px after the position and W the inverse variances;
    right to first order for the estimate that weighs views by 1/sigma.

    Args:
        position_mm: World; NaN gives NaN.
        sigma_px: Standard deviation in raw px, broadcastable to (..., V, J); infinite or NaN = the view
            was not used.
        rig: numpy arrays.

    Returns:
        (..., J, 3, 3) mm2; NaN where fewer than two views were used or the position lies behind one.
    """
    position_mm = np.asarray(position_mm, dtype=np.float64)
    prepared = prepare(rig)
    *lead, joints, _ = position_mm.shape
    sigma = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64), (*lead, prepared.n_views, joints))
    sigma = np.moveaxis(sigma, -2, 0).reshape(prepared.n_views, -1)
    position = (position_mm.reshape(-1, 3).T - prepared.origin) / prepared.unit
    with np.errstate(all="ignore"):
        used = np.isfinite(sigma) & (sigma > 0)
        camera = prepared.seen_from(position)
        xy = camera[:2] / camera[2]
        per_sigma = np.where(used, 1 / sigma, 0.0)
        six = normal_covariance(prepared, xy, camera[2], prepared.distort_with_derivative(xy)[1], per_sigma)
        behind = (used & ~(camera[2] > 0)).any(axis=0)
    six = np.where((used.sum(axis=0) >= 2) & ~behind, six, np.nan)
    return six[[0, 1, 2, 1, 3, 4, 2, 4, 5]].T.reshape(*lead, joints, 3, 3)
