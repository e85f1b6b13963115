"""The same measures for every tool's cameras: points triangulated from the views alone, and the board's distances.

A tool's own residual depends on what it holds rigid and on what it left out; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.camera import Camera
from calib.rig import Rig
from calib.triangulate import residuals, triangulate


@dataclass(frozen=True, slots=True)
class Measured:
    """Residuals of points that at least two cameras saw, and errors of distances between them.

    Attributes:
        residual_px: (V, F, N) distance from the triangulated point; NaN = not seen, or by one camera only.
        distance_mm: Errors of all distances between the points of a moment, pooled.
    """

    residual_px: np.ndarray
    distance_mm: np.ndarray

    def rms_px(self) -> float:
        """Root of the mean square."""
        return rms(self.residual_px)

    def median_px(self) -> float:
        """Median."""
        return float(np.nanmedian(self.residual_px))

    def distance_rms_mm(self) -> float:
        """Root of the mean square error of the distances."""
        return rms(self.distance_mm)


def rms(values: np.ndarray) -> float:
    """Root of the mean square of what is finite."""
    values = np.asarray(values)[np.isfinite(values)]
    return float(np.sqrt((values**2).mean())) if len(values) else float("nan")


def triangulated(cameras: Sequence[Camera], px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (..., 3) that at least two cameras saw and residuals (V, ...) of px (V, ..., 2)."""
    shape = px.shape[1:-1]
    seen_by = np.isfinite(px).all(axis=-1)
    px = np.where((seen_by & (seen_by.sum(axis=0) >= 2))[..., None], px, np.nan)
    flat = px.reshape(len(cameras), -1, 2)
    arrays = Rig(tuple(cameras)).arrays()
    points = triangulate(flat, np.isfinite(flat[..., 0]).astype(float), arrays)
    length = residuals(flat, points, arrays)
    return points.reshape(*shape, 3), length.reshape(len(cameras), *shape)


def measure(cameras: Sequence[Camera], px: np.ndarray, target_mm: np.ndarray) -> Measured:
    """Measure cameras by views (V, F, N, 2) of a board."""
    points, length = triangulated(cameras, px)
    first, second = np.triu_indices(len(target_mm), 1)
    true = np.linalg.norm(target_mm[first] - target_mm[second], axis=-1)
    found = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
    off = (found - true)[np.isfinite(found)]
    return Measured(length, off)
