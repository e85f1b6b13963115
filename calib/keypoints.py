"""Keypoints of a subject in all cameras of a rig, and how far they are from the points that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calib.bundle.loss import MEDIAN_TO_SIGMA
from calib.medians import median_known
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.triangulate import residuals, triangulate

_CLOSE = 3.0
_LEAST_NOISE_PX = 0.5


@dataclass(frozen=True, slots=True)
class Residuals:
    """Distances between keypoints and their points' projections, each point made of all views that saw it.

    Attributes:
        median_px: Over all.
        p95_px: Over all.
        cameras_px: Median of each camera.
        n: How many.
    """

    median_px: float
    p95_px: float
    cameras_px: tuple[float, ...]
    n: int


def checked(rig: Rig, px: Any, confidence: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, with confidence zero where nothing was seen.

    Raises:
        ValueError: The shapes are not (V, T, J, 2) and (V, T, J).
    """
    px, confidence = np.asarray(px, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    if px.ndim != 4 or px.shape[0] != len(rig) or px.shape[-1] != 2 or confidence.shape != px.shape[:-1]:
        raise ValueError(f"px {px.shape} and confidence {confidence.shape} of {len(rig)} cameras")
    return px, np.where(np.isfinite(px).all(axis=-1) & np.isfinite(confidence), confidence, 0.0)


def count(px: np.ndarray) -> int:
    """Points that at least two cameras saw."""
    return int((np.isfinite(px[..., 0]).sum(axis=0) >= 2).sum())


def lengths(rig: Rig, px: np.ndarray) -> np.ndarray:
    """(T, V, J) px; only of points that at least two cameras saw, for one alone has no residual."""
    frames = np.moveaxis(px, 0, 1)
    seen = np.isfinite(frames[..., 0])
    seen &= seen.sum(axis=1, keepdims=True) >= 2
    arrays = rig.arrays()
    frames = np.where(seen[..., None], frames, np.nan)
    return residuals(frames, triangulate(frames, seen.astype(float), arrays), arrays)


def median(lengths: Sequence[np.ndarray]) -> float:
    """Of all that is finite; NaN where nothing is."""
    return median_known(np.concatenate([one.ravel() for one in lengths]))


def measured(rig: Rig, px: np.ndarray) -> Residuals:
    """The residuals of keypoints (V, T, J, 2) with a rig."""
    found = lengths(rig, px)
    values = found[np.isfinite(found)]
    if not values.size:
        return Residuals(float("nan"), float("nan"), (float("nan"),) * len(rig), 0)
    cameras = tuple(median([found[:, v]]) for v in range(len(rig)))
    return Residuals(float(np.median(values)), float(np.percentile(values, 95)), cameras, values.size)


def noise(rig: Rig, frames: np.ndarray, weight: np.ndarray) -> float:
    """Deviation of x and of y of points (T, V, J, 2), of what agrees."""
    arrays = rig.arrays()
    sigma = max(
        median([residuals(frames, triangulate(frames, weight, arrays), arrays)]) * MEDIAN_TO_SIGMA, _LEAST_NOISE_PX
    )
    for _ in range(4):
        solved = triangulate_robust(frames, weight, arrays, sigma_px=sigma, gate=_CLOSE)
        length = solved.residual_px[solved.used]
        if not length.size:
            break
        # A point takes three of eight coordinates of four views for itself.
        sigma = max(float(np.median(length)) * MEDIAN_TO_SIGMA * np.sqrt(8 / 5), _LEAST_NOISE_PX)
    return sigma
