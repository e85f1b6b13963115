"""What else the numbers of a camera could mean: readings of a file that users and programs get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from calib.camera import Camera
from calib.correction import LEAST_POINTS
from calib.medians import median_known

_MENDS = 0.5
"""Another reading of a camera's numbers is named when it leaves less than this share of the residual."""


def other_reading(camera: Camera, points: np.ndarray, px: np.ndarray, before_px: float, after_px: float) -> str:
    """What a camera's numbers would have to mean instead, where that is as good as a new place; else empty.

    Args:
        camera: As the file has it.
        points: (M, 3) of the world, mm; NaN = not known.
        px: (M, 2) where it saw them; NaN = not seen.
        before_px: Median residual as the file has it.
        after_px: Median residual at the best new place; 0 = there is none.
    """
    best = ("", _MENDS * before_px)
    known = np.isfinite(px[:, 0]) & np.isfinite(points).all(axis=-1)
    if known.sum() < LEAST_POINTS:
        return ""
    for words, other in _readings(camera):
        error = np.linalg.norm(other.project(points) - px, axis=-1)
        if np.isfinite(error[known]).mean() < 0.7:
            continue
        left = median_known(error)
        if left < best[1]:
            best = words, left
    return best[0] if best[1] < max(1.5 * after_px, 0.1 * before_px) else ""


def _readings(camera: Camera) -> Iterator[tuple[str, Camera]]:
    """Other cameras that the same numbers could have meant."""
    K = camera.K.copy()
    K[0, 2], K[1, 2] = camera.K[1, 2], camera.K[0, 2]
    yield "its principal point has x and y swapped", replace(camera, K=K)
    inverse = cv2.Rodrigues(camera.R.T)[0].ravel()
    words = "its rotation and translation are those from camera to world"
    yield words, replace(camera, rvec=inverse, t=-camera.R.T @ camera.t)
    yield "its rotation is transposed", replace(camera, rvec=inverse)
    for factor, unit in ((10.0, "cm"), (1000.0, "m"), (0.1, "mm taken for cm"), (0.001, "mm taken for m")):
        yield f"its translation is in another unit ({unit})", replace(camera, t=camera.t * factor)
    for factor in (0.5, 2.0, 1.5, 2 / 3):
        scaled = camera.K.copy()
        scaled[:2] *= factor
        scaled[:2, 2] += (factor - 1) / 2
        yield f"its K is for pictures of {1 / factor:.2g} times the size", replace(camera, K=scaled)
