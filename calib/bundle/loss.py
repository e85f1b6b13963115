"""What a residual costs: its square while it may be noise, less than that when it must be a mistake."""

from __future__ import annotations

from typing import Literal

import numpy as np

LossName = Literal["linear", "huber", "soft_l1", "cauchy"]
MEDIAN_TO_SIGMA = float(1 / np.sqrt(2 * np.log(2)))
"""Of the length of a residual in the plane, whose x and y have a deviation of one."""


def evaluate(squared: np.ndarray, loss: LossName, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs, weights (their derivatives) and the derivatives of the weights.

    Args:
        squared: Squared length of residuals in sigmas.
        loss: ``linear`` is least squares.
        threshold: Sigmas from which on a residual counts less.
    """
    if loss == "linear":
        return squared, np.ones_like(squared), np.zeros_like(squared)
    k2 = threshold * threshold
    if loss == "huber":
        length = np.sqrt(np.maximum(squared, k2))
        weight = threshold / length
        return np.where(squared > k2, 2 * threshold * length - k2, squared), weight, -_beyond(squared, k2, weight)
    if loss == "soft_l1":
        root = np.sqrt(1 + squared / k2)
        return 2 * k2 * (root - 1), 1 / root, -0.5 / (k2 * root**3)
    inverse = 1 / (1 + squared / k2)
    return k2 * np.log1p(squared / k2), inverse, -inverse * inverse / k2


def _beyond(squared: np.ndarray, k2: float, weight: np.ndarray) -> np.ndarray:
    return np.where(squared > k2, 0.5 * weight / np.maximum(squared, k2), 0.0)


def noise_px(length_px: np.ndarray) -> float:
    """Deviation of x and of y behind residuals of these lengths, most of which are noise; NaN = not seen."""
    length_px = length_px[np.isfinite(length_px)]
    return MEDIAN_TO_SIGMA * float(np.median(length_px)) if length_px.size else float("nan")
