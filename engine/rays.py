"""What single views measure: a keypoint fixes the two directions across its ray, and nothing along it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from calib.prepared import prepare
from calib.rig import RigArrays


class Rays:
    """The views of a rig, each by itself.

    Args:
        rig: The rig's float64 arrays.

    Attributes:
        centers_mm: (V, 3) where the cameras stand, world: on every ray of theirs.
        to_world: (V, 3, 3) rotations from the cameras' axes to the world's.
        middle_mm: (3,) where the rig looks.
        unit_mm: How far away that is.
    """

    def __init__(self, rig: RigArrays) -> None:
        self._rig = prepare(rig)
        Rt = np.asarray(rig.Rt, np.float64)
        self.to_world = np.ascontiguousarray(Rt[:, :, :3].swapaxes(1, 2))
        own = -(self.to_world @ Rt[:, :, 3:])[..., 0]
        self.middle_mm, self.unit_mm = self._rig.origin.ravel(), self._rig.unit
        self.centers_mm = self.middle_mm + self.unit_mm * own
        self._axes = Rt[:, 2, :3]

    def depth_mm(self, position_mm: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "V N"]:
        """How far along each camera's axis positions lie."""
        return ((position_mm[None] - self.centers_mm[:, None]) * self._axes[:, None]).sum(axis=-1)

    def residual_px(
        self, points: Float[np.ndarray, "V N 2"], position_mm: Float[np.ndarray, "N 3"]
    ) -> Float[np.ndarray, "V N"]:
        """Distance in raw px of the views' points from reprojected positions; NaN where there is none, or behind."""
        rig = self._rig
        with np.errstate(all="ignore"):
            seen = rig.seen_from((position_mm.T - rig.origin) / rig.unit)
            px = rig.distort(np.where(seen[2] > 0, seen[:2] / seen[2], np.nan))
            return np.asarray(np.hypot(*(px - points.transpose(2, 0, 1))))

    def information(
        self,
        points: Float[np.ndarray, "V N 2"],
        depth_mm: Float[np.ndarray, "V N"],
        sigma_px: Float[np.ndarray, "V N"],
    ) -> Float[np.ndarray, "V N 3 3"]:
        """The inverse covariance that a keypoint gives of its joint's place, 1/mm2, in the axes of the world.

        Of rank two: the ray, through the camera's centre, is its null direction.

        Args:
            points: Raw px.
            depth_mm: About how far away the joint is; NaN or not positive = nothing is known.
            sigma_px: Standard deviation of the keypoint in raw px.

        Returns:
            Zero where a point, depth or deviation is not finite, or the lens has no such ray.
        """
        with np.errstate(all="ignore"):
            xy = self._rig.undistort(np.ascontiguousarray(np.asarray(points, np.float64).transpose(2, 0, 1)))[0]
            derivative = self._rig.derivative(xy)
            weight = 1 / (sigma_px * np.where(depth_mm > 0, depth_mm, np.nan))
            fx, fy = self._rig.focal * weight
            zero = np.zeros_like(fx)
            if derivative is None:
                rows = np.array([[fx, zero], [zero, fy]])
            else:
                (xx, yy), cross = derivative
                rows = np.array([[fx * xx, fx * cross], [fy * cross, fy * yy]])
            # d px / d camera = rows (e_xy - xy e_z) / depth.
            along = -(rows[:, 0] * xy[0] + rows[:, 1] * xy[1])
            jacobian = np.stack([rows[:, 0], rows[:, 1], along], axis=1).transpose(2, 3, 0, 1)
            jacobian = jacobian @ self.to_world.swapaxes(1, 2)[:, None]
            found = jacobian.swapaxes(-1, -2) @ jacobian
        good = np.isfinite(found).all(axis=(-2, -1), keepdims=True)
        return np.where(good, found, 0.0)
