"""Where one camera would have to stand to agree with points that the others have placed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from calib.bundle.loss import MEDIAN_TO_SIGMA
from calib.camera import Camera
from calib.medians import median_known
from calib.rotation import angle_deg
from calib.sight import skew

LEAST_POINTS = 15
"""That a camera must share with the others; with fewer its place is a guess."""

_STEPS = 25


@dataclass(frozen=True, slots=True)
class Correction:
    """Where a camera would have to stand to agree with the others.

    Attributes:
        camera: Its name.
        turned_deg: Angle of the turn.
        turned_deviation_deg: Its standard deviation.
        moved_mm: How far.
        moved_deviation_mm: Its standard deviation.
        shift_px: Median shift of the points in its picture.
        shift_deviation_px: Standard deviation of that.
        before_px: Median distance of its points from where the others say they are.
        after_px: The same once corrected.
    """

    camera: str
    turned_deg: float
    turned_deviation_deg: float
    moved_mm: float
    moved_deviation_mm: float
    shift_px: float
    shift_deviation_px: float
    before_px: float
    after_px: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A camera that was placed anew.

    Attributes:
        camera: Where it would have to stand.
        before_px: Median residual where it stood.
        after_px: Median residual where it would stand.
        covariance: (6, 6) of its turn in rad and its step in mm, both before the camera.
        depth_mm: Median depth of the points.
        used: How many points there were.
    """

    camera: Camera
    before_px: float
    after_px: float
    covariance: np.ndarray
    depth_mm: float
    used: int


def placed_anew(camera: Camera, points: np.ndarray, px: np.ndarray, noise_px: float) -> Placed | None:
    """The camera placed so that it sees the points where it saw them: Gauss-Newton, weights of Geman and McClure.

    The scale of the weights comes down from what the start leaves to the noise, so that a start that is far off is
    mended and gross errors still do not count.

    Args:
        camera: Where the file has it.
        points: (M, 3) of the world, mm; NaN = not known.
        px: (M, 2) where it saw them; NaN = not seen.
        noise_px: About how far points are off where cameras agree.

    Returns:
        ``None`` where there are too few points, or where they do not fix it.
    """
    xy = camera.undistort(px)
    use = np.isfinite(xy).all(axis=-1) & np.isfinite(points).all(axis=-1)
    if use.sum() < LEAST_POINTS:
        return None
    xy, points, seen = xy[use], points[use], px[use]
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    R, t = camera.R.copy(), camera.t.copy()
    scale = 0.0
    H = np.eye(6)
    for step in range(_STEPS):
        inside = points @ R.T + t
        depth = np.maximum(inside[:, 2], 1e-6)
        guess = inside[:, :2] / depth[:, None]
        error = (guess - xy) * focal
        length = np.linalg.norm(error, axis=-1)
        floor = 3 * noise_px
        scale = max(floor, 3 * float(np.median(length))) if step == 0 else max(floor, 0.7 * scale)
        weight = (1 + (length / scale) ** 2) ** -2.0 * (inside[:, 2] > 0)
        # d(x/z, y/z) after X' = X + w x X + u.
        zero = np.zeros_like(depth)
        du = np.stack(
            [
                np.stack([1 / depth, zero, -guess[:, 0] / depth], -1),
                np.stack([zero, 1 / depth, -guess[:, 1] / depth], -1),
            ],
            1,
        )
        J = np.concatenate([-du @ skew(inside), du], axis=-1) * focal[:, None]
        H = np.einsum("nki,n,nkj->ij", J, weight, J)
        g = np.einsum("nki,n,nk->i", J, weight, error)
        if not np.isfinite(H).all() or np.linalg.cond(H) > 1e18:
            return None
        delta = -np.linalg.solve(H + 1e-9 * np.diag(np.diag(H)), g)
        turn = cv2.Rodrigues(delta[:3])[0]
        R, t = turn @ R, turn @ t + delta[3:]
    mended = replace(camera, rvec=cv2.Rodrigues(R)[0].ravel(), t=t)
    after = np.linalg.norm(mended.project(points) - seen, axis=-1)
    before = np.linalg.norm(camera.project(points) - seen, axis=-1)
    left = median_known(after)
    sigma = max(left * MEDIAN_TO_SIGMA, 1e-3)
    covariance = np.linalg.pinv(H, hermitian=True) * sigma**2
    depth_mm = float(np.median(np.abs((points @ R.T + t)[:, 2])))
    return Placed(mended, median_known(before), left, covariance, depth_mm, len(seen))


def correction_of(camera: Camera, placed: Placed, px: np.ndarray) -> Correction:
    """What a new place changes, in numbers; ``px`` (M, 2) is what the camera saw, there its picture shifts."""
    angle = float(angle_deg(placed.camera.R, camera.R))
    moved = float(np.linalg.norm(placed.camera.center_mm - camera.center_mm))
    deviation = np.sqrt(np.maximum(np.diag(placed.covariance), 0))
    # The centre moves with the turn too: C = -R^T t.
    to_center = np.concatenate([-skew(placed.camera.t), -np.eye(3)], axis=1)
    center = to_center @ placed.covariance @ to_center.T
    # How far the picture shifts: where its own points lay, at the depth that they have.
    sight = camera.undistort(px[np.isfinite(px[:, 0])])
    sight = sight[np.isfinite(sight).all(axis=-1)]
    points = np.concatenate([sight, np.ones((len(sight), 1))], axis=-1) * placed.depth_mm
    world = (points - camera.t) @ camera.R
    shift = median_known(np.linalg.norm(placed.camera.project(world) - camera.project(world), axis=-1))
    if not np.isfinite(shift):
        shift = float(np.hypot(*camera.size))
    shift_deviation = placed.after_px / np.sqrt(max(placed.used, 1)) * np.sqrt(6)
    return Correction(
        camera.name,
        angle,
        float(np.degrees(np.linalg.norm(deviation[:3]))),
        moved,
        float(np.sqrt(np.trace(center))),
        shift,
        float(shift_deviation),
        placed.before_px,
        placed.after_px,
    )
