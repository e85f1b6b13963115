"""Robust triangulation: which views to believe is decided by all of them.

For each joint the least-squares point of all its views is tried first. Where a view disagrees with
it, the points of all leave-one-out subsets and of all pairs are computed in one batch, and the one
that all views together like best (bounded Geman-McClure loss of their residuals, so that a rejected
view costs as much as the gate) says which views to solve with. Minimal subsets that agree by chance
therefore do not win, as they do when inliers are counted. A joint that as many other views place
elsewhere is given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from calib.covariance import normal_covariance
from calib.prepared import Prepared, prepare, solve3, solve_and_invert, solve_views
from calib.rig import RigArrays

GATE = 4.0
"""Sigmas beyond which a view does not count."""
_DOUBT = 3.5
"""Sigmas: where no view is further from the point of all views, that point stands. Less than the gate, because
an outlier pulls that point towards itself."""
_SLACK = 1.5
_MATRIX = np.array((0, 1, 2, 1, 3, 4, 2, 4, 5))
_MAX_PAIRS_VIEWS = 16


@dataclass(frozen=True, slots=True)
class Solution:
    """Points and what they were made from.

    Attributes:
        position_mm: (..., J, 3); NaN where not ``ok``.
        covariance_mm2: (..., J, 3, 3); NaN where not ``ok``.
        used: (..., V, J) bool: views within the gate; all False where not ``ok``.
        residual_px: (..., V, J) of every view that saw the joint, rejected ones too; where the joint is
            not ``ok``, of the best point there is. NaN = not seen or behind.
        ok: (..., J) bool: at least two views agree, and no other views, as many, agree on another place.
    """

    position_mm: Float[np.ndarray, "*lead J 3"]
    covariance_mm2: Float[np.ndarray, "*lead J 3 3"]
    used: Bool[np.ndarray, "*lead V J"]
    residual_px: Float[np.ndarray, "*lead V J"]
    ok: Bool[np.ndarray, "*lead J"]


@lru_cache(maxsize=32)
def _subsets(n_views: int) -> np.ndarray:
    """(H, V) all views, each view left out, each pair (pairs up to 16 views)."""
    rows = [np.ones(n_views)]
    if n_views > 2:
        rows += list(1 - np.eye(n_views))
    if 3 < n_views <= _MAX_PAIRS_VIEWS:
        for a, b in combinations(range(n_views), 2):
            row = np.zeros(n_views)
            row[[a, b]] = 1
            rows.append(row)
    return np.stack(rows)


def _residual2(
    rig: Prepared, position: np.ndarray, xy: np.ndarray, per_sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Squared residuals in sigmas (V, N), infinite behind a camera, and depths (V, N)."""
    seen = rig.seen_from(position)
    depth = seen[2]
    error = seen[:2] / depth
    error -= xy
    error *= per_sigma
    error *= error
    squared = error[0]
    squared += error[1]
    return np.where(depth > 1e-6, squared, np.inf), depth


def _doubted(
    rig: Prepared, factors: np.ndarray, xy: np.ndarray, per_sigma: np.ndarray, strength: np.ndarray, gate2: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared residuals and depths of joints whose views disagree, at their best point, and whether it is contested.

    It is contested where at least as many views agree on another place, that is, share at most one view with it.
    """
    squared, depth, of_all, pairs = _hypotheses(rig, factors, xy, per_sigma, gate2)
    seen = per_sigma > 0
    chosen = (squared <= gate2) & seen
    agree = np.add.reduce(chosen)
    loose = np.flatnonzero(pairs & (agree > 2))
    if len(loose):
        squared[:, loose], depth[:, loose] = _refined(
            rig, xy[:, :, loose], per_sigma[:, loose], strength[:, loose], squared[:, loose], gate2
        )
        chosen = (squared <= gate2) & seen
        agree = np.add.reduce(chosen)
    # Only so many views are left for others to agree.
    contested = 2 * agree - 1 <= np.add.reduce(seen)
    if contested.any():
        inside = of_all <= gate2
        inside &= seen[:, None]
        rival = np.add.reduce(inside) >= agree
        inside &= chosen[:, None]
        rival &= np.add.reduce(inside) <= 1
        contested &= np.logical_or.reduce(rival)
    return squared, depth, contested


def _refined(
    rig: Prepared,
    xy: np.ndarray,
    per_sigma: np.ndarray,
    strength: np.ndarray,
    squared: np.ndarray,
    gate2: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Squared residuals and depths after one solve with soft weights (Tukey's biweight).

    A pair's point carries the noise of two views alone: a third at the edge of the gate is not lost to that.
    """
    soft = np.maximum(1 - squared / gate2, 0.0)
    soft *= soft
    soft *= strength
    return _residual2(rig, solve_views(rig, rig.factors(xy, soft)), xy, per_sigma)


def _hypotheses(
    rig: Prepared, factors: np.ndarray, xy: np.ndarray, per_sigma: np.ndarray, gate2: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the point that all views like best squared residuals and depths (V, N); of all (V, H, N); is it a pair's."""
    n = xy.shape[-1]
    subsets = _subsets(rig.n_views)
    points = solve3((rig.hypotheses(subsets) @ factors).reshape(9, -1))
    seen = rig.seen_from(points).reshape(3, rig.n_views, len(subsets), n)
    depth = seen[2]
    error = seen[:2] / depth
    error -= xy[:, :, None]
    error *= per_sigma[:, None]
    error *= error
    squared = error[0]
    squared += error[1]
    np.copyto(squared, np.inf, where=depth <= 1e-6)
    # Bounded: 1 - g2 / (r2 + g2) goes to one, also for a view that has the point behind it.
    loss = squared + gate2
    np.divide(-gate2, loss, out=loss)
    best = np.add.reduce(loss).argmin(axis=0)
    joints = np.arange(n)
    return squared[:, best, joints], depth[:, best, joints], squared, best > rig.n_views


def triangulate_robust(
    points: Float[np.ndarray, "*lead V J 2"],
    confidence: Float[np.ndarray, "*lead V J"],
    rig: RigArrays,
    *,
    sigma_px: Any = 1.0,
    gate: float = GATE,
) -> Solution:
    """Where joints are although some views are wrong about them.

    Args:
        points: Raw px; NaN = not seen.
        confidence: Weight of a view's equations (its rows, as in `calib.triangulate`); 0 = not seen.
        rig: numpy arrays.
        sigma_px: Standard deviation of a point in raw px, scalar or broadcastable to (..., V, J).
        gate: Residual in sigmas beyond which a view is rejected.

    Returns:
        A `Solution`; nothing is guessed where fewer than two views agree, or as many on another place.
    """
    points = np.asarray(points, dtype=np.float64)
    *lead, n_views, joints = points.shape[:-1]
    confidence = np.asarray(confidence, dtype=np.float64)
    sigma = np.asarray(sigma_px, dtype=np.float64)
    if lead:
        shape = (*lead, n_views, joints)
        px = np.moveaxis(points, (-1, -3), (0, 1)).reshape(2, n_views, -1)
        weight = np.moveaxis(confidence, -2, 0).reshape(n_views, -1)
        sigma = np.moveaxis(np.broadcast_to(sigma, shape), -2, 0).reshape(n_views, -1)
    else:
        px, weight = points.transpose(2, 0, 1), confidence
    # A confidence that is NaN is none.
    weight = np.fmax(weight, 0.0)
    prepared = prepare(rig)
    position, variances, used, residual, ok = solve_components(prepared, px, weight, sigma, gate)
    matrix = np.take(variances, _MATRIX, axis=0).T.reshape(-1, 3, 3)
    if not lead:
        return Solution(position.T, matrix, used, residual, ok)

    def back(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array.reshape(n_views, *lead, joints), 0, -2)

    return Solution(
        position.T.reshape(*lead, joints, 3),
        matrix.reshape(*lead, joints, 3, 3),
        back(used),
        back(residual),
        ok.reshape(*lead, joints),
    )


def solve_components(
    rig: Prepared, px: np.ndarray, weight: np.ndarray, sigma: np.ndarray, gate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`triangulate_robust` on component-first arrays: what runs once a frame.

    Args:
        rig: Constants.
        px: (2, V, N) raw px.
        weight: (V, N).
        sigma: px, broadcastable to (V, N).
        gate: In sigmas.

    Returns:
        Position (3, N) mm, covariance (6, N) mm2, used (V, N), residual (V, N) px, ok (N,).
    """
    with np.errstate(all="ignore"):
        position, variances, used, residual, ok = _solve(rig, px, weight, sigma, gate)
    position *= rig.unit
    position += rig.origin
    if not ok.all():
        position[:, ~ok] = np.nan
        variances[:, ~ok] = np.nan
    return position, variances, used, residual, ok


def _solve(
    rig: Prepared, px: np.ndarray, weight: np.ndarray, sigma: np.ndarray, gate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normalised positions, covariance in mm2, used, raw residuals and ok."""
    gate2 = gate * gate
    xy, unit_px = rig.undistort(px)
    absent = ~(weight > 0)
    seen = np.isfinite(xy[0])
    seen &= ~absent
    unseen = ~seen
    np.copyto(xy, 0.0, where=unseen)
    per_sigma = unit_px / sigma
    np.copyto(per_sigma, 0.0, where=unseen)
    strength = weight * per_sigma
    strength *= strength

    roughly = strength * rig.depth0
    factors = rig.factors(xy, roughly)
    position = solve_views(rig, factors)
    squared, depth = _residual2(rig, position, xy, per_sigma)
    contested = np.zeros(px.shape[-1], dtype=bool)
    if rig.n_views > 2:
        doubt = np.flatnonzero(np.maximum.reduce(squared) > min(_DOUBT, gate) ** 2)
        if len(doubt):
            of_doubt = [np.take(array, doubt, axis=-1) for array in (factors, xy, per_sigma, roughly)]
            squared[:, doubt], depth[:, doubt], contested[doubt] = _doubted(
                rig, of_doubt[0], of_doubt[1], of_doubt[2], of_doubt[3], gate2
            )
    used = squared <= gate2
    used &= seen
    per_depth = 1 / (depth * depth)
    hard = used * strength
    hard *= per_depth
    if rig.isotropic:
        # The matrix that the covariance needs differs by the confidences alone: both in one product.
        n = px.shape[-1]
        weights = np.empty((rig.n_views, 2 * n))
        weights[:, :n] = hard
        np.multiply(per_sigma, per_sigma, out=weights[:, n:])
        weights[:, n:] *= per_depth
        weights[:, n:] *= used
        factors = rig.factors(np.concatenate([xy, xy], axis=-1), weights)
        position, variances = solve_and_invert(rig, factors)
        variances *= rig.unit * rig.unit
        camera = rig.seen_from(position)
        depth = camera[2]
        away = rig.distort(camera[:2] / depth)
    else:
        position = solve_views(rig, rig.factors(xy, hard))
        camera = rig.seen_from(position)
        depth = camera[2]
        projected = camera[:2] / depth
        away, derivative = rig.distort_with_derivative(projected)
        variances = normal_covariance(rig, projected, depth, derivative, used / sigma)
    away -= px
    away *= away
    residual = np.sqrt(away[0] + away[1])
    behind = depth <= 1e-6
    wrong = residual > _SLACK * gate * sigma
    wrong |= behind
    wrong &= used
    ok = np.add.reduce(used) >= 2
    ok &= ~np.logical_or.reduce(wrong)
    ok &= ~contested
    used &= ok
    residual[behind | absent] = np.nan
    return position, variances, used, residual, ok
