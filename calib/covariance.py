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
    derivative: tuple[np.ndarray, np.ndarray] | None,
    per_sigma: np.ndarray,
) -> np.ndarray:
    """(6, N) mm2 ``xx xy xz yy yz zz`` of positions as the cameras see them.

    Args:
        rig: Constants.
        xy: (2, V, N) reprojected, normalised.
        depth: (V, N) in units.
        derivative: Of the lens there, from `Prepared.derivative`.
        per_sigma: (V, N) 1/sigma in raw px; 0 = the view does not count.
    """
    scale = rig.focal * (per_sigma / depth)
    factors = np.empty((rig.n_views, 6, xy.shape[-1]))
    by_entry = factors.transpose(1, 0, 2)
    # J = diag(f / sigma / depth) D (r - xy r3) with D the lens's derivative; the metric is D^T f2 D.
    if derivative is None:
        metric = scale * scale
        to = metric * xy
        by_entry[5] = 0
    else:
        diagonal, cross = derivative
        straight, aslant = scale * diagonal, scale * cross
        between = straight * aslant
        between = between[0] + between[1]
        straight *= straight
        aslant *= aslant
        metric = straight + aslant[::-1]
        to = metric * xy
        to += between * xy[::-1]
        by_entry[5] = between
    by_entry[1:3] = to
    by_entry[3:5] = metric
    to *= xy
    np.add(to[0], to[1], out=by_entry[0])
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
        six = normal_covariance(prepared, xy, camera[2], prepared.derivative(xy), per_sigma)
        behind = (used & ~(camera[2] > 0)).any(axis=0)
    six = np.where((used.sum(axis=0) >= 2) & ~behind, six, np.nan)
    return six[[0, 1, 2, 1, 3, 4, 2, 4, 5]].T.reshape(*lead, joints, 3, 3)
