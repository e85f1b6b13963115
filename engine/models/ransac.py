"""Triangulation by consensus: the baseline of "Learnable Triangulation of Human Pose" (Iskakov et al. 2019).

Two views make a point, the views that it fits are counted, and the point is made again from the views of
the best pair (Fischler and Bolles 1981); then the reprojection error is minimised with a Huber loss.
`consensus` tries all pairs, through the true lenses, for all joints at once. `published` is the seed's own:
one joint at a time, in undistorted crop px, with half the distance as its error and scipy's optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from calib import lens
from calib.rig import RigArrays
from calib.triangulate import reproject, solve_normalised

INLIER_PX = 30.0
"""Crop px between a view's point and the reprojected one: beyond it does not agree."""
HUBER_PX = 2.0
"""Crop px from where on the loss grows linearly."""
_STEPS = 60
_DIFFERENCE = 1e-6
_DAMPING = 1e-4
_DAMPING_RANGE = (1e-9, 1e6)
_DONE = 1e-10


@dataclass(frozen=True, slots=True)
class Consensus:
    """Points and the views that agree on them.

    Attributes:
        position_mm: (B, J, 3); NaN with fewer than two views.
        inliers: (B, V, J) bool.
    """

    position_mm: Float[np.ndarray, "B J 3"]
    inliers: Bool[np.ndarray, "B V J"]


def consensus(
    points: Float[np.ndarray, "B V J 2"],
    px_in_crop: Float[np.ndarray, "B V"],
    rig: RigArrays,
    *,
    inlier_px: float = INLIER_PX,
    huber_px: float = HUBER_PX,
) -> Consensus:
    """Where the joints are that most views agree on.

    Args:
        points: Raw px; NaN = not seen.
        px_in_crop: Crop px in a raw px: errors are judged at the size that the network saw.
        rig: Numpy arrays; one rig for all.
        inlier_px: Crop px.
        huber_px: Crop px.

    Returns:
        Of the pairs whose point most views fit, the one that these views fit best counts.
    """
    points = np.asarray(points, np.float64)
    rig = rig.astype(np.float64)
    px_in_crop = np.broadcast_to(np.asarray(px_in_crop, np.float64), points.shape[:2])[..., None]
    batch, views, joints = points.shape[:3]
    flat = lens.undistort(points, rig.K, rig.dist, rig.fisheye)
    seen = np.isfinite(flat).all(axis=-1)
    if views < 2:
        return Consensus(np.full((batch, joints, 3), np.nan), np.zeros(seen.shape, bool))

    def off(position: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(reproject(np, position, rig) - points, axis=-1) * px_in_crop
        return np.where(seen & np.isfinite(distance), distance, np.inf)

    def solved(chosen: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return solve_normalised(np, flat, (chosen & seen).astype(np.float64), rig)

    best = np.zeros((batch, joints))
    misfit = np.full((batch, joints), np.inf)
    inliers = np.zeros((batch, views, joints), bool)
    for first, second in combinations(range(views), 2):
        pair = np.zeros((views, 1), bool)
        pair[[first, second]] = True
        pair = np.broadcast_to(pair, (batch, views, joints)) & (seen[:, first] & seen[:, second])[:, None]
        distance = off(solved(pair))
        agrees = (distance < inlier_px) | pair
        count = agrees.sum(axis=1)
        mean = np.where(agrees, np.minimum(distance, 1e6), 0).sum(axis=1) / np.maximum(count, 1)
        better = (count > best) | ((count == best) & (mean < misfit))
        best, misfit = np.where(better, count, best), np.where(better, mean, misfit)
        inliers = np.where(better[:, None], agrees, inliers)
    position = _least_huber(solved(inliers), points, inliers * px_in_crop, rig, huber_px)
    return Consensus(position * rig.world[3] + rig.world[:3], inliers)


def _least_huber(
    position: Float[np.ndarray, "B J 3"],
    points: Float[np.ndarray, "B V J 2"],
    scale: Float[np.ndarray, "B V J"],
    rig: RigArrays,
    huber_px: float,
) -> Float[np.ndarray, "B J 3"]:
    """Levenberg and Marquardt's method with weights (Huber 1964), for all joints at once.

    Args:
        position: Where it begins, in the rig-normalised world.
        points: Raw px.
        scale: Crop px in a raw px; 0 = not to be fitted.
        rig: Numpy arrays.
        huber_px: Crop px.
    """

    def errors(where: np.ndarray) -> np.ndarray:
        return (reproject(np, where, rig) - points) * scale[..., None]

    def cost(error: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(error, axis=-1)
        loss = np.where(distance < huber_px, distance**2, 2 * huber_px * distance - huber_px**2)
        # A point behind a camera that should see it is no answer.
        return np.where(scale > 0, np.nan_to_num(loss, nan=np.inf), 0).sum(axis=1)

    damping = np.full(position.shape[:-1], _DAMPING)
    now, loss = position, cost(errors(position))
    for _ in range(_STEPS):
        sides = [_DIFFERENCE * axis for axis in np.eye(3)]
        slope = np.stack([(errors(now + s) - errors(now - s)) / (2 * _DIFFERENCE) for s in sides], axis=-1)
        error = errors(now)
        # A view that does not see the joint has NaN here and no say.
        slope, error = np.where(np.isfinite(slope), slope, 0), np.where(np.isfinite(error), error, 0)
        distance = np.linalg.norm(error, axis=-1)
        weight = np.where(distance < huber_px, 1.0, huber_px / np.maximum(distance, huber_px))
        gram = np.einsum("bvjek,bvj,bvjel->bjkl", slope, weight, slope)
        pull = np.einsum("bvjek,bvj,bvje->bjk", slope, weight, error)
        diagonal = np.einsum("bjkk->bjk", gram)
        # Where the loss is linear it bends only across the error: Newton's step there, or it would take hundreds.
        away = np.einsum("bvje,bvjek->bvjk", error, slope) / np.maximum(distance, huber_px)[..., None]
        gram = gram - np.einsum("bvjk,bvj,bvjl->bjkl", away, weight * (distance >= huber_px), away)
        steeper = gram + np.eye(3) * (damping[..., None] * diagonal + 1e-30)[..., None]
        step = np.linalg.solve(steeper, -pull[..., None])[..., 0]
        after = cost(errors(now + step))
        good = after < loss
        now = np.where(good[..., None], now + step, now)
        damping = np.clip(np.where(good, damping / 10, damping * 10), *_DAMPING_RANGE)
        arrived = good & (np.linalg.norm(step, axis=-1) < _DONE)
        loss = np.where(good, after, loss)
        if (arrived | (damping >= _DAMPING_RANGE[1]) | ~np.isfinite(loss)).all():
            break
    return now


def published(
    points: Float[np.ndarray, "V 2"], matrices: Float[np.ndarray, "V 3 4"], *, refine: bool = True
) -> tuple[Float[np.ndarray, " 3"], Bool[np.ndarray, " V"]]:
    """The seed's own consensus for one joint, with all pairs in their order instead of ten that are drawn.

    Args:
        points: Undistorted crop px.
        matrices: From mm to crop px.
        refine: Minimise the Huber loss at the end.

    Returns:
        mm, and which views count. The first of the pairs with most views wins, and a pair counts itself.
    """
    # Here, for scipy's optimisers take half a second to load.
    from scipy.optimize import least_squares

    points, matrices = np.asarray(points, np.float64), np.asarray(matrices, np.float64)

    def solved(chosen: np.ndarray) -> np.ndarray:
        rows = points[chosen][..., None] * matrices[chosen, 2:] - matrices[chosen, :2]
        vector = np.linalg.svd(rows.reshape(-1, 4))[2][3]
        return vector[:3] / vector[3]

    def half_off(position: np.ndarray) -> np.ndarray:
        homogeneous = matrices[..., :3] @ position + matrices[..., 3]
        return np.linalg.norm(points - homogeneous[:, :2] / homogeneous[:, 2:], axis=-1) / 2

    inliers = np.zeros(len(points), bool)
    for pair in combinations(range(len(points)), 2):
        agrees = half_off(solved(np.array(pair))) < INLIER_PX / 2
        agrees[list(pair)] = True
        if agrees.sum() > inliers.sum():
            inliers = agrees
    chosen = np.flatnonzero(inliers)
    position = solved(chosen)
    if refine:
        position = least_squares(lambda x: half_off(x)[chosen], position, loss="huber", method="trf").x
    return position, inliers
