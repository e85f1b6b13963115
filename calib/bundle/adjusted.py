"""What an adjustment gives back: cameras, what they saw, how far off, and how sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.bundle.parameters import Columns
from calib.camera import Camera


@dataclass(frozen=True, slots=True)
class CameraDeviation:
    """Standard deviations of one camera's parameters; zero = held, infinite = nothing observes it.

    Attributes:
        camera: Its name.
        position_mm: (3,) of the centre, along the world's axes.
        turn_deg: (3,) of the rotation about the camera's own axes.
        focal_px: (2,) of fx and fy.
        center_px: (2,) of the principal point.
        dist: (n,) of the distortion coefficients.
    """

    camera: str
    position_mm: np.ndarray
    turn_deg: np.ndarray
    focal_px: np.ndarray
    center_px: np.ndarray
    dist: np.ndarray

    @property
    def position_total_mm(self) -> float:
        """Root of the summed variances of the three."""
        return float(np.linalg.norm(self.position_mm))

    @property
    def turn_total_deg(self) -> float:
        """Root of the summed variances of the three."""
        return float(np.linalg.norm(self.turn_deg))


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The result of an adjustment.

    Attributes:
        cameras: As given, with what was free at its best.
        poses: (F, 6) rvec and t from board to world; NaN where no camera saw the board. ``None`` for points.
        points_mm: (M, 3); NaN where fewer than two cameras saw the point. ``None`` for boards.
        residual_px: Of the shape of px, seen - projected; NaN = not seen, or behind the camera.
        weights: What the loss left of each observation, 0 to 1; 0 = not seen or not used.
        cost: Half the sum of what the residuals cost.
        iterations: Steps tried.
        converged: Whether nothing more was to gain.
        sigma_px: The deviation of x and y that the fit itself shows; times the deviations given, where they differ.
        covariance: (P, P) of all free camera parameters.
        table: Free parameters of each camera, in the order of the covariance.
    """

    cameras: tuple[Camera, ...]
    poses: np.ndarray | None
    points_mm: np.ndarray | None
    residual_px: np.ndarray
    weights: np.ndarray
    cost: float
    iterations: int
    converged: bool
    sigma_px: float
    covariance: np.ndarray
    table: tuple[Columns, ...]

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Camera and parameter of each row of the covariance."""
        return tuple(
            (camera.name, label)
            for camera, columns in zip(self.cameras, self.table, strict=True)
            for label in columns.labels
        )

    def covariance_of(self, name: str) -> np.ndarray:
        """The block (p, p) of one camera."""
        rows = [index for index, (camera, _) in enumerate(self.labels) if camera == name]
        return self.covariance[np.ix_(rows, rows)]

    def deviation(self, name: str) -> CameraDeviation:
        """The deviations of one camera."""
        view = [camera.name for camera in self.cameras].index(name)
        camera, columns = self.cameras[view], self.table[view]
        block = self.covariance_of(name)
        with np.errstate(invalid="ignore"):
            spread = np.sqrt(np.diag(block))
        turn, position = np.zeros(3), np.zeros(3)
        intrinsics = np.zeros(18)
        at = 0
        if columns.extrinsics:
            turn = np.degrees(spread[:3])
            shift = block[3:6, 3:6]
            if np.isfinite(shift).all():
                position = np.sqrt(np.maximum(np.diag(camera.R.T @ shift @ camera.R), 0))
            else:
                position = np.full(3, np.inf)
            at = 6
        for value, moves in zip(spread[at:], columns.intrinsics, strict=True):
            for index, factor in moves:
                intrinsics[index] = abs(factor) * value
        return CameraDeviation(
            name, position, turn, intrinsics[:2], intrinsics[2:4], intrinsics[4 : 4 + len(camera.dist)]
        )

    @property
    def deviations(self) -> tuple[CameraDeviation, ...]:
        """Those of all cameras."""
        return tuple(self.deviation(camera.name) for camera in self.cameras)
