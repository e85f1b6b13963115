"""What a solution is worth beyond its own fit: moments it did not see, cameras it did not ask, true lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from calib.bundle import Free, adjust_boards
from calib.camera import Camera
from calib.moments import blocks_of, predicted, stance_of
from calib.observations import BoardViews
from calib.outcome import HeldOut, Rigidity, spread_of
from calib.rig import Rig
from calib.sight import Sight, rotations, sight_of
from calib.solution import Solution, residuals_of, settle_boards
from calib.triangulate import triangulate

BLOCKS = 5
LEAST_MOMENTS = 10
"""Moments below which none can be spared: two a block, and four blocks that still fix the rig."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of judging each block by a rig solved without it.

    Attributes:
        residual_px: (V, F, N, 2) with the board's pose fitted; NaN = not judged.
        predicted_px: (V, F, N, 2) from where the other cameras say that the board is; NaN = no other sees it.
        rigs: Cameras of each block's rig.
        block: (F,) number of the block that each moment is in; -1 = in none.
        points_mm: (F, N, 3) triangulated by the rig that did not see the moment.
        within: (V, F, N) whether a point is no further from the middle of its picture than what its camera was fitted
            on without the block; what is further out tells of an extrapolated lens.
    """

    residual_px: Float[np.ndarray, "V F N 2"]
    predicted_px: Float[np.ndarray, "V F N 2"]
    rigs: tuple[tuple[Camera, ...], ...]
    block: np.ndarray
    points_mm: Float[np.ndarray, "F N 3"]
    within: Bool[np.ndarray, "V F N"]


def judge_held_out(
    views: BoardViews, sight: Sight, solution: Solution, free: Sequence[Free], blocks: int = BLOCKS
) -> Trial | None:
    """Solve without one contiguous block of moments after another and judge it; ``None`` = too few moments.

    Contiguous, because neighbouring moments of a recording are nearly the same view: a random choice would have seen
    what it judges.
    """
    together = solution.used.any(axis=-1).sum(axis=0) >= min(2, len(views.names))
    frames = np.flatnonzero(together & np.isfinite(solution.poses).all(axis=-1))
    if len(frames) < LEAST_MOMENTS:
        return None
    block = np.full(len(views.frames), -1)
    block[frames] = np.arange(len(frames)) * blocks // len(frames)
    residual, ahead = np.full(views.px.shape, np.nan), np.full(views.px.shape, np.nan)
    points = np.full((*views.px.shape[1:3], 3), np.nan)
    radius = _radius(solution.cameras, views)
    within = np.zeros(radius.shape, dtype=bool)
    rigs = []
    lenses_held = all(one.focal == "held" and not one.center and not one.dist for one in free)
    for number in range(blocks):
        inside = block == number
        train = solution.used & ~inside[:, None]
        # Each camera must still be seen by the rest, or it would be judged by chance.
        if (train.any(axis=-1).sum(axis=1) < 3).any():
            block[inside] = -1
            rigs.append(solution.cameras)
            continue
        px = np.where(train[..., None], views.px, np.nan)
        adjusted = adjust_boards(
            solution.cameras, solution.poses, views.target_mm, px,
            free=free, sigma_px=solution.sigma_px, tolerance=1e-4, max_iterations=10,
        )  # fmt: skip
        rigs.append(adjusted.cameras)
        reach = np.where(train, radius, 0.0).max(axis=(1, 2))
        within |= inside[:, None] & (radius <= reach[:, None, None])
        some = views.select(inside)
        used = solution.used[:, inside]
        if lenses_held:
            of_block = Sight(sight.xy[:, inside], sight.px_per[:, inside], sight.seen[:, inside])
        else:
            # Each block's rig has its own lenses.
            of_block = sight_of(some, adjusted.cameras)
        poses = settle_boards(adjusted.cameras, solution.poses[inside], of_block, used, views.target_mm)
        residual[:, inside] = residuals_of(adjusted.cameras, poses, some)
        ahead[:, inside] = predicted_residuals(some, of_block, adjusted.cameras, poses, used)
        points[inside] = triangulated(adjusted.cameras, some, used)
    return Trial(residual, ahead, tuple(rigs), block, points, within)


def _radius(cameras: Sequence[Camera], views: BoardViews) -> Float[np.ndarray, "V F N"]:
    """Px of each point from its camera's principal point, about which lenses bend."""
    middle = np.stack([camera.K[:2, 2] for camera in cameras])
    return np.asarray(np.linalg.norm(views.px - middle[:, None, None], axis=-1))


def held_out_of(trial: Trial | None, views: BoardViews, used: Bool[np.ndarray, "V F N"]) -> HeldOut | None:
    """The figures of a trial."""
    if trial is None:
        return None
    judged = used & (trial.block >= 0)[:, None]
    return HeldOut(
        spread_of(trial.residual_px, judged),
        spread_of(trial.predicted_px, judged & np.isfinite(trial.predicted_px[..., 0])),
        len(np.unique(trial.block[trial.block >= 0])),
        rigidity_of(trial.points_mm, views.target_mm),
    )


def predicted_residuals(
    views: BoardViews,
    sight: Sight,
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    used: Bool[np.ndarray, "V F N"],
) -> Float[np.ndarray, "V F N 2"]:
    """Distance of what each camera saw from where the other cameras say that it is; NaN where no other sees it."""
    out = np.full(views.px.shape, np.nan)
    placed = np.flatnonzero(np.isfinite(poses).all(axis=-1))
    if not len(placed) or len(cameras) < 2:
        return out
    stance = stance_of(cameras)
    R, t = rotations(poses[placed, :3]), poses[placed, 3:]
    part = Sight(sight.xy[:, placed], sight.px_per[:, placed], sight.seen[:, placed])
    blocks = blocks_of(stance, R, t, part, used[:, placed] & part.seen, views.target_mm)
    motion, others = predicted(blocks, stance)
    for v, camera in enumerate(cameras):
        mine = others[v] & (blocks.count[v] > 0)
        if not mine.any():
            continue
        before = views.target_mm @ np.swapaxes(stance.R[v] @ R[mine], -1, -2)
        before = before + (t[mine] @ stance.R[v].T + stance.t[v])[:, None]
        turned = before @ np.swapaxes(rotations(motion[v, mine, :3]), -1, -2) + motion[v, mine, None, 3:]
        bare = replace(camera, rvec=np.zeros(3), t=np.zeros(3))
        out[v, placed[mine]] = views.px[v, placed[mine]] - bare.project(turned)
    return out


def triangulated(
    cameras: Sequence[Camera], views: BoardViews, used: Bool[np.ndarray, "V F N"]
) -> Float[np.ndarray, "F N 3"]:
    """Each point of each moment from the views of it alone, knowing nothing of the board; NaN with fewer than two."""
    px = np.moveaxis(np.where(used[..., None], views.px, np.nan), 0, 1)
    weight = np.moveaxis(used, 0, 1).astype(np.float64)
    if len(cameras) < 2:
        return np.full((*views.px.shape[1:3], 3), np.nan)
    with np.errstate(all="ignore"):
        return np.asarray(triangulate(px, weight, Rig(tuple(cameras)).arrays()))


def rigidity_of(points_mm: Float[np.ndarray, "F N 3"], target_mm: Float[np.ndarray, "N 3"]) -> Rigidity | None:
    """Distances between triangulated points of a moment against those on the board; ``None`` = no pair."""
    first, second = np.triu_indices(len(target_mm), 1)
    # Boards of many points: every pair of 40 of them says what all pairs say.
    if len(target_mm) > 40:
        some = np.linspace(0, len(target_mm) - 1, 40).astype(int)
        i, j = np.triu_indices(len(some), 1)
        first, second = some[i], some[j]
    true = np.linalg.norm(target_mm[first] - target_mm[second], axis=-1)
    measured = np.linalg.norm(points_mm[:, first] - points_mm[:, second], axis=-1)
    there = np.isfinite(measured)
    if not there.any():
        return None
    true = np.broadcast_to(true, measured.shape)[there]
    error = measured[there] - true
    rms = float(np.sqrt((error**2).mean()))
    return Rigidity(
        rms_mm=rms,
        median_mm=float(np.median(np.abs(error))),
        relative=rms / float(np.sqrt((true**2).mean())),
        scale=float((measured[there] * true).sum() / (true**2).sum() - 1),
        pairs=int(there.sum()),
    )
