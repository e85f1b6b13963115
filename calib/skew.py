"""Cameras with a skew, as MATLAB may estimate one, brought to a lens that everything else here knows.

The live solvers, OpenCV and almost every file format have no skew. A skewed picture plane is, without
distortion, a turned camera with a tilted sensor; with distortion nearly so. `without_skew` fits that
lens over the whole picture and says how far it is off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import least_squares

from calib import lens
from calib.camera import Camera
from calib.rotation import vector_of
from rigpose.errors import ConfigError

# k1 k2 p1 p2 k3, thin prism and tilt; the denominator of the rational model gains nothing.
_FREE = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13])
_GRID = 24
_STEP = 1e-7
_ENOUGH = 1e-4


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a fitted lens is off, in px over a grid on the whole picture."""

    median_px: float
    max_px: float

    def __str__(self) -> str:
        return f"differs by {self.median_px:.2g} px in the median and {self.max_px:.2g} px at most"


def without_skew(camera: Camera) -> tuple[Camera, Deviation]:
    """The camera without skew that is nearest in the picture; it stands at the same place.

    Args:
        camera: With a picture size, which says where the lens must be right.

    Returns:
        A camera with 14 coefficients that is turned a little, and how far it is off. A camera that has
        no skew comes back as it is.

    Raises:
        ConfigError: The camera has no size.
    """
    if not camera.skew:
        return camera, Deviation(0.0, 0.0)
    if min(camera.size) <= 0:
        what = "its skew cannot be replaced by another lens without the size of its pictures"
        raise ConfigError(f"camera {camera.name}", what, "give the size (--size 1920x1080)")
    if camera.fisheye:
        raise ConfigError(f"camera {camera.name}", "a fisheye lens with skew", "calibrate without skew")
    x, y = (np.linspace(0, n - 1, _GRID) for n in camera.size)
    px = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    normalised = camera.undistort(px)
    seen = np.isfinite(normalised).all(axis=-1)
    rays = np.concatenate([normalised[seen], np.ones((seen.sum(), 1))], axis=1)
    px = px[seen]

    def project(parameters: np.ndarray) -> np.ndarray:
        """(S, N, 2) px for S sets of parameters (S, 18)."""
        turn = np.stack([cv2.Rodrigues(rvec)[0] for rvec in parameters[:, 4:7]])
        turned = rays @ turn.transpose(0, 2, 1)
        K = np.zeros((len(parameters), 3, 3))
        K[:, [0, 1], [0, 1]], K[:, :2, 2], K[:, 2, 2] = parameters[:, :2], parameters[:, 2:4], 1
        dist = np.zeros((len(parameters), lens.N_DIST))
        dist[:, _FREE] = parameters[:, 7:]
        return lens.distort(turned[..., :2] / turned[..., 2:], K, dist, np.zeros(len(parameters)))

    def residual(parameters: np.ndarray) -> np.ndarray:
        return (project(parameters[None])[0] - px).ravel()

    def jacobian(parameters: np.ndarray) -> np.ndarray:
        steps = _STEP * np.maximum(np.abs(parameters), 1.0)
        both = project(np.concatenate([parameters + np.diag(steps), parameters - np.diag(steps)]))
        ahead, behind = both.reshape(2, len(steps), -1)
        return ((ahead - behind) / (2 * steps[:, None])).T

    dist = lens.pad(camera.dist)
    start = np.concatenate([camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], np.zeros(3), dist[_FREE]])
    start[6] = -camera.K[0, 1] / (camera.K[0, 0] + camera.K[1, 1])
    found = []
    lean = float(np.sqrt(abs(camera.skew)))
    for tilt in (lean, -lean):
        begin = start.copy()
        begin[-2:] = tilt, -np.sign(camera.skew) * tilt
        found.append(
            least_squares(residual, begin, jac=jacobian, x_scale="jac", method="lm", ftol=_ENOUGH, max_nfev=60)
        )
    best = min(found, key=lambda fit: fit.cost).x
    off = np.linalg.norm(project(best[None])[0] - px, axis=-1)
    turn = cv2.Rodrigues(best[4:7])[0]
    K = np.array([[best[0], 0, best[2]], [0, best[1], best[3]], [0, 0, 1]])
    dist = np.zeros(lens.N_DIST)
    dist[_FREE] = best[7:]
    nearest = replace(camera, K=K, dist=dist, rvec=vector_of(turn @ camera.R), t=turn @ camera.t)
    return nearest, Deviation(float(np.median(off)), float(off.max()))
