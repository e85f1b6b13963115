"""From where to look at a scene: everything in the picture, right side up, nothing in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nodes.scene import Surroundings, shown_mm
from nodes.shapes import across
from rigpose.pose import SubjectPose
from rigpose.skeleton import Skeleton

FIELD_OF_VIEW = np.radians(35.0)
ELEVATION = np.radians(18.0)
CLEAR = np.radians(25.0)
"""A camera this near to the line of sight is in the way."""
QUARTER = np.radians(30.0)
"""Rather from beside the front than straight at it: depth shows."""


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """From where to look.

    Attributes:
        lookat_mm: (3,) middle of the picture.
        front: (3,) unit vector from there to the eye.
        up: (3,) unit vector that is up in the picture.
        distance_mm: From ``lookat_mm`` to the eye.
    """

    lookat_mm: Float[np.ndarray, " 3"]
    front: Float[np.ndarray, " 3"]
    up: Float[np.ndarray, " 3"]
    distance_mm: float

    def project(self, points_mm: Float[np.ndarray, "N 3"], size: tuple[int, int]) -> Float[np.ndarray, "N 2"]:
        """Pixels of points in a picture of (width, height); NaN behind the eye."""
        right, up, front = self._base
        relative = points_mm - self.lookat_mm
        depth = self.distance_mm - relative @ front
        focal = size[1] / 2 / np.tan(FIELD_OF_VIEW / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            x = size[0] / 2 + focal * (relative @ right) / depth
            y = size[1] / 2 - focal * (relative @ up) / depth
        return np.where((depth > 0)[:, None], np.stack([x, y], axis=-1), np.nan)

    @property
    def _base(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        right = np.cross(self.up, self.front)
        right /= np.linalg.norm(right)
        return right, np.cross(self.front, right), self.front


def facing(subjects: Iterable[tuple[SubjectPose, Skeleton]], up: Float[np.ndarray, " 3"]) -> np.ndarray | None:
    """Where subjects look to, from which side is left; ``None`` where that cannot be told."""
    total = np.zeros(3)
    for subject, skeleton in subjects:
        points, _ = shown_mm(subject)
        for left, right in skeleton.left_right:
            across = points[left] - points[right]
            if np.isfinite(across).all():
                total += across
    forward = np.cross(total, up)
    length = float(np.linalg.norm(forward))
    return forward / length if length > 0.1 * float(np.linalg.norm(total)) > 0 else None


def viewpoint(
    scene: Surroundings, points_mm: Float[np.ndarray, "N 3"], forward: np.ndarray | None, aspect: float
) -> Viewpoint:
    """A view in which subject and cameras fit, right side up, between the cameras and rather from the front.

    Args:
        scene: What stands still.
        points_mm: The subject's joints.
        forward: Where the subject looks to, if known.
        aspect: Width over height of the picture.
    """
    up = scene.up
    there = points_mm[np.isfinite(points_mm).all(axis=-1)]
    points = np.concatenate([scene.corners_mm.reshape(-1, 3), there, scene.center_mm[None]])
    first = across(up[None])[0][0]
    second = np.cross(up, first)
    azimuths = np.radians(np.arange(0, 360, 5.0))
    around = np.cos(azimuths)[:, None] * first + np.sin(azimuths)[:, None] * second
    sideways = scene.corners_mm[:, 0] - scene.center_mm
    sideways = sideways - (sideways @ up)[:, None] * up
    lengths = np.linalg.norm(sideways, axis=-1)
    sideways = sideways[lengths > 1e-9] / lengths[lengths > 1e-9, None]
    apart = np.arccos(np.clip(around @ sideways.T, -1, 1)).min(axis=1) if len(sideways) else 0 * azimuths
    score = np.minimum(apart / CLEAR, 1.0)
    if forward is not None:
        score = score + np.cos(np.arccos(np.clip(around @ forward, -1, 1)) - QUARTER)
    direction = around[int(np.argmax(score))]
    front = np.cos(ELEVATION) * direction + np.sin(ELEVATION) * up
    return fit(points, front, up, aspect)


def fit(
    points_mm: Float[np.ndarray, "N 3"], front: np.ndarray, up: np.ndarray, aspect: float, margin: float = 0.86
) -> Viewpoint:
    """The nearest viewpoint in a direction from which all points lie inside the picture."""
    front = front / np.linalg.norm(front)
    right = np.cross(up, front)
    right /= np.linalg.norm(right)
    above = np.cross(front, right)
    tan_y = np.tan(FIELD_OF_VIEW / 2) * margin
    tan_x = tan_y * aspect
    x, y, z = points_mm @ right, points_mm @ above, points_mm @ front
    # In each of the two planes there is one nearest eye; the farther of both, moved straight back, sees all.
    eye_x, depth_x = _apex(x, z, tan_x)
    eye_y, depth_y = _apex(y, z, tan_y)
    eye_z = max(depth_x, depth_y)
    middle_z = float((z.min() + z.max()) / 2)
    lookat = eye_x * right + eye_y * above + middle_z * front
    return Viewpoint(lookat, front, above, max(eye_z - middle_z, 1e-9))


def _apex(across: np.ndarray, depth: np.ndarray, tangent: float) -> tuple[float, float]:
    """Where two lines of sight meet that have all points between them: position across, and depth."""
    upper = float((across + tangent * depth).max())
    lower = float((across - tangent * depth).min())
    return (upper + lower) / 2, (upper - lower) / (2 * tangent)
