"""The staged solution of a rig: adjust, look at what does not fit, leave it out, adjust again.

What is left out is decided by residuals relative to the noise that the solution itself shows, and decided anew in each
round, so that an observation that a bad start had put aside can come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from calib.bundle import Adjusted, Free, adjust_boards
from calib.bundle.loss import noise_px
from calib.camera import Camera
from calib.moments import place, stance_of
from calib.observations import LEAST_POINTS, BoardViews
from calib.sight import Sight, rotations

GATE = 4.5
"""Deviations of a coordinate below which nothing is an error: beyond lie 4 in 100,000 of normal ones (2D)."""
GROSS = 12.0
"""Deviations beyond which everything is an error: no noise that one would measure with reaches there."""
TAIL = 0.02
"""Between both, errors and the tail of noise that is not normal (a moving board, exposures that differ) look alike: as
much is cut there as makes this share of all together with the gross ones, or as many as there are gross ones. More
would make any residual look good."""
_ROUNDS = 4
_ROUGH = 1e-4
_SETTLED = 0.002
"""Rounds end when fewer than this share of the observations changed sides: the estimate is blind to less."""
LEAST_NOISE_PX = 0.02


@dataclass(frozen=True, eq=False)
class Solution:
    """Cameras, boards, and which observations they were fitted to.

    Attributes:
        adjusted: What the last adjustment gave.
        residual_px: (V, F, N, 2) seen minus projected of *all* that was seen at moments that were placed.
        used: (V, F, N) what the cameras were fitted to.
        sigma_px: Deviation of a coordinate.
    """

    adjusted: Adjusted
    residual_px: Float[np.ndarray, "V F N 2"]
    used: Bool[np.ndarray, "V F N"]
    sigma_px: float

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """The cameras as solved."""
        return self.adjusted.cameras

    @property
    def poses(self) -> Float[np.ndarray, "F 6"]:
        """(F, 6) of the board."""
        assert self.adjusted.poses is not None
        return self.adjusted.poses

    @property
    def rms_px(self) -> float:
        """Of the residuals that were used."""
        squares = (self.residual_px[self.used] ** 2).sum(axis=-1)
        return float(np.sqrt(squares.mean())) if len(squares) else float("nan")


def residuals_of(
    cameras: Sequence[Camera], poses: Float[np.ndarray, "F 6"], views: BoardViews
) -> Float[np.ndarray, "V F N 2"]:
    """Seen minus projected; NaN where not seen or not placed. A point behind a camera is infinitely far off."""
    world = np.full((len(poses), len(views.target_mm), 3), np.nan)
    for f in np.flatnonzero(np.isfinite(poses).all(axis=-1)):
        world[f] = views.target_mm @ cv2.Rodrigues(poses[f, :3])[0].T + poses[f, 3:]
    placed = np.isfinite(world[..., 0])
    residual = np.full(views.px.shape, np.nan)
    for v, camera in enumerate(cameras):
        seen = views.seen[v] & placed
        off = views.px[v][seen] - camera.project(world[seen])
        residual[v][seen] = np.where(np.isfinite(off), off, np.inf)
    return residual


def noise_of(residual_px: np.ndarray, used: np.ndarray, *, floor_px: float = LEAST_NOISE_PX) -> float:
    """Deviation of a coordinate, from the median length of the residuals in use."""
    length = np.linalg.norm(residual_px[used], axis=-1)
    sigma_px = noise_px(length)
    return max(sigma_px, floor_px) if np.isfinite(sigma_px) else floor_px


def limit_of(residual_px: np.ndarray, seen: np.ndarray, sigma_px: float) -> float:
    """Px beyond which an observation is left out."""
    length = np.linalg.norm(residual_px[seen], axis=-1)
    plain = length[length <= GROSS * sigma_px]
    if not len(plain):
        return GROSS * sigma_px
    gross = 1 - len(plain) / len(length)
    share = min(max(TAIL - gross, gross), TAIL)
    return max(float(np.quantile(plain, 1 - share)), GATE * sigma_px)


def useful(views: BoardViews, used: np.ndarray, *, alone: bool) -> np.ndarray:
    """``used`` without views of too few points and, unless ``alone``, moments that only one camera sees."""
    enough = used.sum(axis=-1) >= LEAST_POINTS
    if not alone:
        enough = enough & (enough.sum(axis=0) >= 2)
    return used & enough[..., None]


def solve(
    views: BoardViews,
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    free: Free | Sequence[Free],
    trusted: Bool[np.ndarray, "V F N"],
    *,
    alone: bool = False,
    rounds: int = _ROUNDS,
    tolerance: float = 1e-8,
    max_iterations: int = 60,
) -> Solution:
    """Adjust with staged rejection.

    Args:
        views: All observations.
        cameras: Where to begin.
        poses: Where to begin; NaN = not known.
        free: What of each camera may change.
        trusted: (V, F, N) what to begin with: observations that are not known to be gross errors.
        alone: Whether moments that one camera alone sees count; they say something about its lens, not where it is.
        rounds: At most that many decisions about what to leave out.
        tolerance: Of the last adjustment.
        max_iterations: Of each adjustment.
    """
    used = useful(views, trusted & views.seen, alone=alone)
    sigma: float | None = None
    adjusted = None
    for round_number in range(rounds + 1):
        last = round_number == rounds
        adjusted = _adjust(
            views, cameras, poses, free, used, sigma, tolerance if last or sigma else _ROUGH, max_iterations
        )
        cameras, poses = adjusted.cameras, _known(adjusted, poses)
        residual = residuals_of(cameras, poses, views)
        # Of all that was seen: noise of what was kept, gate, noise of what was kept ... would shrink without end.
        seen = useful(views, views.seen & np.isfinite(residual[..., 0]), alone=alone)
        sigma = noise_of(residual, seen)
        inside = seen & (np.linalg.norm(residual, axis=-1) <= limit_of(residual, seen, sigma))
        now = useful(views, inside, alone=alone)
        changed = (now != used).sum()
        if last or (round_number > 0 and changed <= _SETTLED * used.sum()):
            break
        used = now
    assert adjusted is not None and sigma is not None
    return Solution(adjusted, residual, used, sigma)


def _adjust(
    views: BoardViews,
    cameras: Sequence[Camera],
    poses: np.ndarray,
    free: Free | Sequence[Free],
    used: np.ndarray,
    sigma: float | None,
    tolerance: float,
    max_iterations: int,
) -> Adjusted:
    px = np.where(used[..., None], views.px, np.nan)
    return adjust_boards(
        cameras,
        poses,
        views.target_mm,
        px,
        free=free,
        sigma_px=sigma,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _known(adjusted: Adjusted, before: np.ndarray) -> np.ndarray:
    """Poses as adjusted; a moment that was left out this time keeps its old one, so that it may come back."""
    assert adjusted.poses is not None
    return np.where(np.isfinite(adjusted.poses), adjusted.poses, before)


def settle_boards(
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    sight: Sight,
    used: Bool[np.ndarray, "V F N"],
    target_mm: Float[np.ndarray, "N 3"],
) -> Float[np.ndarray, "F 6"]:
    """Only the board's poses (F, 6), with all cameras held; NaN stays NaN."""
    out = np.full(poses.shape, np.nan)
    placed = np.flatnonzero(np.isfinite(poses).all(axis=-1))
    if not len(placed):
        return out
    part = Sight(sight.xy[:, placed], sight.px_per[:, placed], sight.seen[:, placed])
    R, t, _ = place(
        stance_of(cameras),
        rotations(poses[placed, :3]),
        poses[placed, 3:],
        part,
        used[:, placed] & part.seen,
        target_mm,
    )
    for f, rotation in zip(placed, R, strict=True):
        out[f, :3] = cv2.Rodrigues(rotation)[0].ravel()
    out[placed, 3:] = t
    return out
