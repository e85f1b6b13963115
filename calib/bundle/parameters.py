"""Which parameters of the cameras are free, and the cameras as the numbers that the adjustment moves.

A camera's pose is changed in its own axes: turned about its centre, and its centre shifted. These six are nearly
independent of each other, and their deviations are what a person asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from calib import lens
from calib.bundle.jacobian import FISHEYE_NAMES, LAST_FREE, NAMES
from calib.camera import Camera
from rigpose.errors import ConfigError

Focal = Literal["held", "one", "both"]
EXTRINSICS = ("turn_x", "turn_y", "turn_z", "shift_x", "shift_y", "shift_z")
"""Radians about, and mm along, the camera's own axes."""


@dataclass(frozen=True, slots=True)
class Free:
    """What may change of one camera.

    Attributes:
        extrinsics: Its rotation and position.
        focal: ``one``: fx and fy by one factor; ``both``: each on its own.
        center: The principal point.
        dist: Indices into the camera's distortion coefficients (0 = k1, 1 = k2; pinhole: 2, 3 = p1, p2; 4 = k3 ...).
    """

    extrinsics: bool = True
    focal: Focal = "held"
    center: bool = False
    dist: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The free parameters of one camera, in order.

    Attributes:
        labels: Their names; of the intrinsics as in `calib.bundle.jacobian`, ``f`` for one focal length.
        extrinsics: Whether the first six are those of the pose.
        intrinsics: Of each further parameter, the intrinsics (index, factor) that it moves.
    """

    labels: tuple[str, ...]
    extrinsics: bool
    intrinsics: tuple[tuple[tuple[int, float], ...], ...]

    @property
    def wanted(self) -> frozenset[int]:
        """Indices of all intrinsics that move."""
        return frozenset(index for moves in self.intrinsics for index, _ in moves)


def columns(camera: Camera, free: Free) -> Columns:
    """The free parameters of a camera.

    Raises:
        ConfigError: A coefficient is to be free that the camera does not have, or the tilt of its sensor.
    """
    moves: list[tuple[tuple[int, float], ...]] = []
    labels: list[str] = list(EXTRINSICS) if free.extrinsics else []
    names = FISHEYE_NAMES if camera.fisheye else NAMES
    if free.focal == "one":
        moves.append(((0, 1.0), (1, float(camera.K[1, 1] / camera.K[0, 0]))))
        labels.append("f")
    elif free.focal == "both":
        moves += [((0, 1.0),), ((1, 1.0),)]
        labels += names[:2]
    if free.center:
        moves += [((2, 1.0),), ((3, 1.0),)]
        labels += names[2:4]
    for index in free.dist:
        where = f"camera {camera.name}"
        if not 0 <= index < min(len(camera.dist), 4 if camera.fisheye else len(camera.dist)):
            raise ConfigError(
                where, f"has no distortion coefficient {index} to be free", f"it has {len(camera.dist)}: pad them first"
            )
        if 4 + index > LAST_FREE:
            raise ConfigError(where, "the tilt of a sensor cannot be free", "hold coefficients 12 and 13")
        moves.append(((4 + index, 1.0),))
        labels.append(names[4 + index])
    return Columns(tuple(labels), free.extrinsics, tuple(moves))


def for_each(cameras: Sequence[Camera], free: Free | Sequence[Free]) -> tuple[Free, ...]:
    """One `Free` a camera.

    Raises:
        ConfigError: There are not as many as cameras.
    """
    every = (free,) * len(cameras) if isinstance(free, Free) else tuple(free)
    if len(every) != len(cameras):
        raise ConfigError("bundle", f"{len(every)} Free for {len(cameras)} cameras", "give one, or one a camera")
    return every


@dataclass(frozen=True, slots=True)
class State:
    """Cameras as numbers.

    Attributes:
        R: (V, 3, 3) from world to camera.
        centers: (V, 3) mm.
        intrinsics: (V, 18) fx, fy, cx, cy and 14 coefficients.
    """

    R: np.ndarray
    centers: np.ndarray
    intrinsics: np.ndarray

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> State:
        """That of cameras.

        Raises:
            ConfigError: One has a skew, which is no parameter here.
        """
        for camera in cameras:
            if camera.skew:
                remedy = "rigpose calibrate convert RIG --to NEW.toml replaces it by the nearest lens without"
                raise ConfigError(f"camera {camera.name}", "has a skew, which cannot be adjusted", remedy)
        intrinsics = [[c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2], *lens.pad(c.dist)] for c in cameras]
        return cls(
            np.stack([camera.R for camera in cameras]),
            np.stack([camera.center_mm for camera in cameras]),
            np.array(intrinsics),
        )

    def moved(self, table: Sequence[Columns], step: np.ndarray) -> State:
        """After a step (P,) of all free parameters, camera after camera."""
        R, centers, intrinsics = self.R.copy(), self.centers.copy(), self.intrinsics.copy()
        at = 0
        for view, of_camera in enumerate(table):
            mine = step[at : at + len(of_camera.labels)]
            at += len(mine)
            if of_camera.extrinsics:
                centers[view] += R[view].T @ mine[3:6]
                R[view] = cv2.Rodrigues(mine[:3])[0] @ R[view]
                mine = mine[6:]
            for value, moves in zip(mine, of_camera.intrinsics, strict=True):
                for index, factor in moves:
                    intrinsics[view, index] += factor * value
        return State(R, centers, intrinsics)

    def possible(self) -> bool:
        """Whether all focal lengths are positive and everything is finite."""
        return bool((self.intrinsics[:, :2] > 0).all() and np.isfinite(self.intrinsics).all())

    def cameras(self, like: Sequence[Camera]) -> tuple[Camera, ...]:
        """Cameras with these numbers and everything else as in ``like``."""
        changed = []
        for camera, R, center, values in zip(like, self.R, self.centers, self.intrinsics, strict=True):
            K = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1.0]])
            # Orthogonal to the last bit before it becomes a vector.
            u, _, vt = np.linalg.svd(R)
            rotation = u @ vt
            changed.append(
                replace(
                    camera,
                    K=K,
                    dist=values[4 : 4 + len(camera.dist)],
                    rvec=cv2.Rodrigues(rotation)[0].ravel(),
                    t=-rotation @ center,
                )
            )
        return tuple(changed)
