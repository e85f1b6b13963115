"""One camera: how a point of the world becomes a pixel, and what ray a pixel looks along."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from calib import lens
from rigpose.errors import ConfigError

DIST_LENGTHS = (0, 4, 5, 8, 12, 14)
MOST_SKEW = 0.05
"""Largest skew that is believed, as a share of the focal length; above it K is another matrix."""


def _frozen(value: Any, shape: tuple[int, ...] | None, where: str, key: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(where, f"{key} holds something that is no number", "correct it") from None
    if shape is not None and array.shape != shape:
        raise ConfigError(where, f"{key} has shape {list(array.shape)}, not {list(shape)}", "correct it")
    if not np.isfinite(array).all():
        raise ConfigError(where, f"{key} holds a value that is not finite", "calibrate again")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera, as OpenCV describes it: ``x = K (R X + t)``, x right, y down, z forward.

    Attributes:
        name: Its name in the rig.
        size: (width, height) in px of the pictures that K belongs to.
        K: (3, 3) float64. A skew, ``K[0, 1]``, is what some MATLAB calibrations have; `project`, `undistort` and
            `rays` know it, the rig's arrays for the live solvers do not (see `calib.skew`).
        dist: 0, 4, 5, 8, 12 or 14 coefficients in OpenCV's order; 4 (or 0) for a fisheye.
        rvec: (3,) rotation from world to camera as a Rodrigues vector, radians.
        t: (3,) translation from world to camera, mm.
        fisheye: Whether ``dist`` are those of ``cv2.fisheye``.
        serial: Of the device; empty = not known.
        sensor_size: (width, height) of the whole sensor in px, where known.
        roi_offset: (x, y) of the picture's first pixel on the sensor, in sensor px.
        binning: Sensor px per picture px, (x, y).
        flip: ``none``, ``horizontal``, ``vertical`` or ``both``: what is done to the picture before K holds.
        lens: A note on the lens.

    Raises:
        ConfigError: A value has another shape, is not finite, or describes no camera.
    """

    name: str
    size: tuple[int, int]
    K: np.ndarray
    dist: np.ndarray
    rvec: np.ndarray
    t: np.ndarray
    fisheye: bool = False
    serial: str = ""
    sensor_size: tuple[int, int] | None = None
    roi_offset: tuple[int, int] = (0, 0)
    binning: tuple[int, int] = (1, 1)
    flip: str = "none"
    lens: str = ""

    def __post_init__(self) -> None:
        where = f"camera {self.name}"
        for key, shape in (("K", (3, 3)), ("dist", None), ("rvec", (3,)), ("t", (3,))):
            object.__setattr__(self, key, _frozen(getattr(self, key), shape, where, key))
        if self.dist.ndim != 1 or len(self.dist) not in DIST_LENGTHS:
            raise ConfigError(where, f"{self.dist.size} distortion coefficients", f"give one of {DIST_LENGTHS}")
        if self.fisheye and self.dist[4:].any():
            raise ConfigError(where, "a fisheye lens has four coefficients", "drop the others or set fisheye = false")
        for key in ("size", "sensor_size", "roi_offset", "binning"):
            value = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, (int(value[0]), int(value[1])))
        if min(self.size) < 0 or min(self.binning) < 1:
            raise ConfigError(where, f"size {self.size} or binning {self.binning} cannot be", "correct it")
        below = self.K[[1, 2, 2], [0, 0, 1]]
        if below.any() or self.K[2, 2] != 1 or min(self.K[0, 0], self.K[1, 1]) <= 0:
            raise ConfigError(
                where, "K is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with positive fx, fy", "transpose or correct it"
            )
        if abs(self.K[0, 1]) > MOST_SKEW * self.K[0, 0]:
            raise ConfigError(
                where, f"K has a skew of {self.K[0, 1]:g} px, which no camera has", "transpose or correct it"
            )

    @cached_property
    def R(self) -> np.ndarray:  # noqa: N802
        """(3, 3) rotation from world to camera."""
        return cv2.Rodrigues(self.rvec)[0]

    @cached_property
    def center_mm(self) -> np.ndarray:
        """(3,) where the camera stands in the world."""
        return -self.R.T @ self.t

    @property
    def axis(self) -> np.ndarray:
        """(3,) unit direction that the camera looks in."""
        return self.R[2]

    @property
    def skew(self) -> float:
        """Px that the x axis of the picture leans per px of y; 0 for almost every camera."""
        return float(self.K[0, 1] / self.K[1, 1])

    @cached_property
    def _lens(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.K[None], lens.pad(self.dist)[None], np.array([float(self.fisheye)])

    def project(self, points_mm: Float[np.ndarray, "*lead 3"]) -> Float[np.ndarray, "*lead 2"]:
        """Raw px of points of the world; NaN for a point that is NaN or behind the camera."""
        points_mm = np.asarray(points_mm, dtype=np.float64)
        seen = points_mm.reshape(-1, 3) @ self.R.T + self.t
        with np.errstate(invalid="ignore", divide="ignore"):
            normalised = np.where(seen[:, 2:] > 0, seen[:, :2] / seen[:, 2:], np.nan)
            px = lens.distort(normalised[None], *self._lens)[0]
        if self.skew:
            px[:, 0] += self.skew * (px[:, 1] - self.K[1, 2])
        return px.reshape(*points_mm.shape[:-1], 2)

    def undistort(self, px: Float[np.ndarray, "*lead 2"]) -> Float[np.ndarray, "*lead 2"]:
        """Raw px as points ``X/Z, Y/Z`` of the camera; NaN where the lens has no such ray."""
        px = np.asarray(px, dtype=np.float64)
        if self.skew:
            px = np.stack([px[..., 0] - self.skew * (px[..., 1] - self.K[1, 2]), px[..., 1]], axis=-1)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return lens.undistort(px.reshape(1, -1, 2), *self._lens)[0].reshape(px.shape)

    def rays(self, px: Float[np.ndarray, "*lead 2"]) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "*lead 3"]]:
        """The rays that raw px look along: origin in mm and unit directions in the world."""
        normalised = self.undistort(px)
        forward = np.concatenate([normalised, np.ones((*normalised.shape[:-1], 1))], axis=-1)
        directions = forward @ self.R
        return self.center_mm, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def relative_pose(a: Camera, b: Camera) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """R and t (mm) that bring a point from camera a's frame into camera b's."""
    R = b.R @ a.R.T
    return R, b.t - R @ a.t
