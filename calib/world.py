"""Rigs in another world: what stays of a calibration, what it is called then, and what is refused.

The cameras see the same; where they stand, their scale and the name of the world change. The answer is a new
calibration that names its parent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float

from calib.camera import Camera
from calib.quality import below_floor
from calib.rig import Rig
from rigpose.errors import ConfigError, VerdictError

Scale = Literal["auto", "keep", "set"]
"""``keep`` the rig's millimetre, ``set`` it by what is known here, or ``auto``: keep it where both agree within 1 %
or three deviations, else refuse to choose."""

SAME_SCALE = 0.01


@dataclass(frozen=True, slots=True)
class Placed:
    """A rig in its new world.

    Attributes:
        rig: The new one: world ``floor`` (or as before, where only a length was given), its parent, and how.
        how: In one sentence.
        residual_px: Median distance of what was seen from where it now should be.
        residual_mm: Median distance of triangulated points from where they should be; NaN with one view.
        scale: What lengths were multiplied by.
        scale_seen: What they would have to be multiplied by to fit what is known here; NaN = nothing tells.
        scale_deviation: Standard deviation of that; NaN = not known.
        heights_mm: Height of each camera above the floor; empty where the floor is not known.
        notes: What else a user should know.
    """

    rig: Rig
    how: str
    residual_px: float
    residual_mm: float
    scale: float
    scale_seen: float
    scale_deviation: float
    heights_mm: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Transform:
    """From the old world to the new one: ``new = scale * R @ (old - origin)``."""

    R: Float[np.ndarray, "3 3"]
    origin_mm: Float[np.ndarray, " 3"]
    scale: float = 1.0

    def points(self, points_mm: Float[np.ndarray, "*lead 3"]) -> Float[np.ndarray, "*lead 3"]:
        """Points of the old world in the new one."""
        return self.scale * (np.asarray(points_mm, dtype=np.float64) - self.origin_mm) @ self.R.T

    def camera(self, camera: Camera) -> Camera:
        """The same camera in the new world; it sees the same."""
        rotation = camera.R @ self.R.T
        # From the centre, so that a far origin costs no digits.
        center = self.points(camera.center_mm)
        return replace(camera, rvec=cv2.Rodrigues(rotation)[0].ravel(), t=-rotation @ center)


def moved_world(rig: Rig, transform: Transform, world: str | None, how: str, **facts: Any) -> Rig:
    """The rig in another world: a new calibration that names its parent.

    Args:
        rig: The old one.
        transform: Between the worlds.
        world: What the new one is called; ``None`` = as before.
        how: For the metadata.
        facts: For the metadata, beside ``how``.
    """
    metadata = {k: v for k, v in rig.metadata.items() if k not in ("calibration_id", "transparent_floor")}
    if "transparent_floor" in rig.metadata and world is None:
        metadata["transparent_floor"] = rig.metadata["transparent_floor"]
    distance = metadata.get("working_distance_mm")
    if distance is not None:
        metadata["working_distance_mm"] = float(distance) * transform.scale
    if world is not None:
        metadata["world"] = world
    metadata["parent"] = rig.calibration_id
    metadata["origin"] = {"how": how, "scale": transform.scale, **facts}
    return Rig(tuple(transform.camera(camera) for camera in rig.cameras), metadata)


def chosen_scale(wanted: float, deviation: float, scale: Scale, what: str) -> float:
    """The factor that lengths are multiplied by.

    Raises:
        ConfigError: The rig and what is known differ, and nobody chose.
    """
    if scale == "keep":
        return 1.0
    if scale == "set":
        return wanted
    if abs(wanted - 1) <= max(SAME_SCALE, 3 * deviation):
        return 1.0
    raise ConfigError(
        "origin",
        f"{what} says that the rig is {100 * (1 / wanted - 1):+.1f} % too {'large' if wanted < 1 else 'small'}".replace(
            "+", ""
        ).replace("-", ""),
        "measure a square and a distance of two cameras, then give --scale set or --scale keep",
    )


def rigid(source: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R, t with ``to = R source + t``, by least squares (Kabsch 1976)."""
    a, b = source.mean(axis=0), to.mean(axis=0)
    u, _, vt = np.linalg.svd((to - b).T @ (source - a))
    R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return R, b - R @ a


def heights_of(rig: Rig) -> dict[str, float]:
    """Height of each camera above z = 0 in mm."""
    return {camera.name: float(camera.center_mm[2]) for camera in rig.cameras}


def above_floor(placed: Placed, why: str) -> Placed:
    """The same, once it is sure that no camera stands below the floor.

    Raises:
        VerdictError: One does; ``why`` is the likely cause.
    """
    for finding in below_floor(placed.rig):
        if finding.cameras:
            who = f"camera {', '.join(finding.cameras)}"
            remedy = f"{why}; or, if they look through the floor, say so: --transparent-floor"
            raise VerdictError(who, f"would stand {finding.what}", remedy)
        raise VerdictError("origin", finding.what, f"probably {why}")
    up = np.mean([camera.axis[2] for camera in placed.rig.cameras])
    if up > np.sin(np.radians(30)):
        what = f"{placed.how}; but the cameras look up by {np.degrees(np.arcsin(up)):.0f} degrees in the mean"
        return replace(placed, notes=(*placed.notes, f"check that z is up: {what}"))
    return placed


def plain(value: Any) -> float:
    """A number for the metadata."""
    return round(float(value), 4)
