"""Near-telecentric cameras whose principal point lies anywhere, brought to one in the picture's middle.

A lens of f = 16,000 px sees the same whether its principal point is moved or the camera is turned,
so calibrations of fly rigs leave that point free: DeepFly3D's stands outside the middle by a quarter
of the picture, with x and y swapped. `centred` turns the camera instead, and says how far off that is.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.optimize import least_squares

from calib.camera import Camera
from calib.rotation import vector_of
from calib.skew import Deviation

NARROW_RAD = 0.1
"""Only a camera whose picture spans less than this has a principal point that a turn can replace."""
OFF = 0.2
"""Share of the picture's half size by which a principal point must be off."""
_GRID = 15


def is_off_centre(camera: Camera) -> bool:
    """Whether `centred` has something to do: a narrow view without distortion, its principal point far off."""
    size = np.array(camera.size, dtype=float)
    if min(camera.size) <= 0 or camera.dist.any() or camera.skew:
        return False
    off = np.abs(camera.K[:2, 2] - (size - 1) / 2) / (size / 2)
    return bool(off.max() > OFF and (size / camera.K[[0, 1], [0, 1]]).max() < NARROW_RAD)


def centred(camera: Camera) -> tuple[Camera, Deviation]:
    """The camera with its principal point in the middle that sees the same, and how far off it is.

    It stands at the same place, a little turned, its focal lengths a little other. One that is not
    `is_off_centre` comes back as it is.
    """
    if not is_off_centre(camera):
        return camera, Deviation(0.0, 0.0)
    middle = (np.array(camera.size) - 1) / 2
    x, y = (np.linspace(0, n - 1, _GRID) for n in camera.size)
    px = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    rays = np.concatenate([camera.undistort(px), np.ones((len(px), 1))], axis=1)
    scale = np.array([*camera.K[[0, 1], [0, 1]], 1.0, 1.0, 1.0])

    def off(parameters: np.ndarray) -> np.ndarray:
        values = parameters * scale
        seen = rays @ cv2.Rodrigues(values[2:])[0].T
        return (seen[:, :2] / seen[:, 2:] * values[:2] + middle - px).ravel()

    found = least_squares(off, np.array([1.0, 1.0, 0, 0, 0]), method="lm").x * scale
    distance = np.linalg.norm(off(found / scale).reshape(-1, 2), axis=-1)
    turn = cv2.Rodrigues(found[2:])[0]
    K = np.array([[found[0], 0, middle[0]], [0, found[1], middle[1]], [0, 0, 1]])
    nearest = replace(camera, K=K, rvec=vector_of(turn @ camera.R), t=turn @ camera.t)
    return nearest, Deviation(float(np.median(distance)), float(distance.max()))
