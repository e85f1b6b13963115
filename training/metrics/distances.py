"""Distances of joints from their truth: as they stand, from the root, scaled, and moved to fit best.

NaN in the truth means that a joint is not known, NaN in the answer that it was not solved; the distance of both is NaN.
All is computed in float64.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from rigpose.skeleton import Skeleton

_FEWEST = 3
"""Joints below which any pose can be turned onto any other."""


def errors_mm(answer: Float[np.ndarray, "*n J 3"], truth: Float[np.ndarray, "*n J 3"]) -> Float[np.ndarray, "*n J"]:
    """Distance of each joint from its truth; NaN where there is no answer."""
    return np.linalg.norm(np.asarray(answer, dtype=np.float64) - truth, axis=-1)


def from_root(position: Float[np.ndarray, "*n J 3"], skeleton: Skeleton) -> Float[np.ndarray, "*n J 3"]:
    """Positions relative to the skeleton's root."""
    return position - position[..., list(skeleton.root), :].mean(axis=-2, keepdims=True)


def extents_mm(truth: Float[np.ndarray, "*n J 3"]) -> Float[np.ndarray, " *n"]:
    """The longest side of the box about each pose's known joints, as in training's position loss; NaN without any."""
    known = np.isfinite(truth).all(axis=-1, keepdims=True)
    high = np.where(known, truth, -np.inf).max(axis=-2)
    low = np.where(known, truth, np.inf).min(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.where(known.any(axis=-2), high - low, np.nan).max(axis=-1)


def scaled(
    answer: Float[np.ndarray, "*n J 3"], truth: Float[np.ndarray, "*n J 3"], skeleton: Skeleton
) -> tuple[Float[np.ndarray, "*n J 3"], Float[np.ndarray, "*n J 3"]]:
    """Both relative to the root, the answer times the factor that fits it best: what N-MPJPE compares.

    Rhodin et al. 2018 ("Unsupervised geometry-aware representation for 3D human pose estimation").

    Returns:
        The answer and the truth. An answer whose joints all lie in its root keeps its size, none.
    """
    answer, truth = (from_root(np.asarray(p, dtype=np.float64), skeleton) for p in (answer, truth))
    both = np.isfinite(answer).all(axis=-1) & np.isfinite(truth).all(axis=-1)
    a, t = (np.where(both[..., None], p, 0.0) for p in (answer, truth))
    power = (a * a).sum(axis=(-2, -1), keepdims=True)
    factor = np.divide((a * t).sum(axis=(-2, -1), keepdims=True), power, out=np.ones_like(power), where=power > 0)
    return answer * factor, truth


def aligned(answer: Float[np.ndarray, "N J 3"], truth: Float[np.ndarray, "N J 3"]) -> Float[np.ndarray, "N J 3"]:
    """Each answer moved, turned and scaled to fit its truth best, never mirrored: what P-MPJPE compares.

    Umeyama 1991 ("Least-squares estimation of transformation parameters between two point patterns").

    Returns:
        NaN where the answer has no joint; all of it NaN where fewer than three joints are both known and solved.
    """
    answer, truth = np.asarray(answer, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    both = np.isfinite(answer).all(axis=-1) & np.isfinite(truth).all(axis=-1)
    count = both.sum(axis=-1)
    enough = count >= _FEWEST
    weight = (both & enough[:, None])[..., None]
    share = weight / np.maximum(count, 1)[:, None, None]

    def centred(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = (np.where(weight, position, 0.0) * share).sum(axis=1, keepdims=True)
        return np.where(weight, position - middle, 0.0), middle

    (a, a_middle), (t, t_middle) = centred(answer), centred(truth)
    left, strength, right = np.linalg.svd(np.einsum("nji,njk->nik", t, a))
    strength[:, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
    R = left @ right
    power = (a * a).sum(axis=(1, 2))
    scale = np.divide(strength.sum(axis=1), power, out=np.zeros_like(power), where=power > 0)
    moved = scale[:, None, None] * ((answer - a_middle) @ R.swapaxes(1, 2)) + t_middle
    return np.where(enough[:, None, None], moved, np.nan)
