"""What else could explain the residuals of a rig: a camera that moved, or one that exposes late.

Both are tested on what single views ask for (`calib.moments.Blocks`), with everything else left free: the board's pose
at every moment and all cameras' poses are projected out (a score test), so that only what no rig can explain counts. A
suspicion is named when it explains a large part of *all* squared residuals. That holds whatever the noise is: chance
explains a few degrees of freedom of thousands, a moved or late camera nearly everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Camera
from calib.moments import Blocks, place, stance_of
from calib.observations import BoardViews
from calib.outcome import Offset
from calib.sight import Sight, rotations
from calib.solution import settle_boards

EXPLAINS = 0.2
"""Share of all squared residuals from which on one cause is named. From pure noise the best of all changes (cameras
times moments) takes a chi-square of about 30, of 600 degrees of freedom in the smallest rig that is judged: 5 %."""
SURE = 5.0
"""Deviations that an offset must be away from nothing."""
LEAST_OFFSET = 0.1
"""Of a frame: less is what shutters and exposure times make, and no calibration sees it."""
_LEAST_SIDE = 5
"""Moments of a camera before and after a step: fewer are a few bad views, and a step of six numbers fits them."""
_BOUND = 2.0
"""Times the usual residual of a view from which on a view counts less."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A camera that stood elsewhere from a moment on.

    Attributes:
        camera: Its name; two names where nothing tells which of them it was.
        frame: Number of the first moment after it.
        turned_deg: By how much it turned.
        moved_mm: How far its centre moved.
        explains: Share of all squared residuals that this explains.
    """

    camera: tuple[str, ...]
    frame: int
    turned_deg: float
    moved_mm: float
    explains: float


@dataclass(frozen=True, slots=True)
class Late:
    """Time offsets of all cameras against their median.

    Attributes:
        offsets: One a camera; empty where the board did not move enough to tell.
        camera: The one that stands out; two names in a rig of two.
        explains: Share of all squared residuals that this camera's offset explains.
    """

    offsets: tuple[Offset, ...]
    camera: tuple[str, ...]
    explains: float


@dataclass(frozen=True, eq=False)
class Reduced:
    """The equations of all cameras' small motions (V, 6), with the board's pose at each moment projected out.

    Attributes:
        normal: (F, 6 V, 6 V).
        right: (F, 6 V).
        chi2: Sum of squared residuals, with the boards at their best.
        scale: (6 V,) by which unknowns were divided, so that angles and lengths are alike.
    """

    normal: np.ndarray
    right: np.ndarray
    chi2: float
    scale: np.ndarray


def blocks_at_best(
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    sight: Sight,
    kept: Bool[np.ndarray, "V F N"],
    target_mm: Float[np.ndarray, "N 3"],
) -> tuple[Blocks, np.ndarray, np.ndarray, np.ndarray]:
    """Blocks with the board placed by all views alike, and its poses: (moments,), R, t; two views a moment at least."""
    views = (kept & sight.seen).sum(axis=-1) >= 4
    frames = np.flatnonzero(np.isfinite(poses).all(axis=-1) & (views.sum(axis=0) >= 2))
    part = Sight(sight.xy[:, frames], sight.px_per[:, frames], sight.seen[:, frames])
    use = kept[:, frames] & part.seen & views[:, frames, None]
    R, t, blocks = place(
        stance_of(cameras), rotations(poses[frames, :3]), poses[frames, 3:], part, use, target_mm, steps=6
    )
    return blocks, frames, R, t


def bounded(blocks: Blocks) -> Blocks:
    """The blocks with views that are far off counting less, as in a Huber loss.

    A single view that went wrong could otherwise be all there is to explain; the many of a camera that moved remain.
    """
    seen = blocks.count > 0
    rms = np.sqrt(blocks.chi2 / np.maximum(blocks.count, 1))
    usual = float(np.median(rms[seen])) if seen.any() else 1.0
    weight = 1 / np.maximum(rms / max(_BOUND * usual, 1e-9), 1.0)
    return Blocks(
        blocks.normal * weight[..., None, None],
        blocks.right * weight[..., None],
        blocks.chi2 * weight,
        blocks.count,
        blocks.residual_px,
    )


def reduce(blocks: Blocks, cameras: Sequence[Camera], unit_mm: float) -> Reduced:
    """Project the board's poses out."""
    through = stance_of(cameras).adjoint
    n_views, n_frames = blocks.count.shape
    carried = blocks.normal @ through[:, None]
    whole = np.einsum("vji,vfjk->fik", through, carried, optimize=True)
    scale = np.repeat([1.0, unit_mm], 3)
    unit = whole * scale[:, None] * scale
    trace = np.einsum("fii->f", unit)[:, None, None]
    inverse = np.linalg.inv(unit + (1e-12 * trace + 1e-300) * np.eye(6)) * scale[:, None] * scale
    stacked = np.moveaxis(carried, 0, 1).reshape(n_frames, 6 * n_views, 6)
    normal = -stacked @ inverse @ np.swapaxes(stacked, -1, -2)
    for v in range(n_views):
        rows = slice(6 * v, 6 * v + 6)
        normal[:, rows, rows] += blocks.normal[v]
    board = np.einsum("vji,vfj->fi", through, blocks.right, optimize=True)
    right = np.moveaxis(blocks.right, 0, 1).reshape(n_frames, -1) - (stacked @ (inverse @ board[..., None]))[..., 0]
    every = np.tile(scale, n_views)
    chi2 = float(blocks.chi2.sum()) - float(np.einsum("fi,fij,fj->", board, inverse, board, optimize=True))
    return Reduced(normal * every[:, None] * every, right * every, chi2, every)


def _without_rig(reduced: Reduced) -> tuple[np.ndarray, np.ndarray, float]:
    """Pseudo-inverse of the cameras' equations of all moments, their right-hand side, and chi-square at their best."""
    normal, right = reduced.normal.sum(axis=0), reduced.right.sum(axis=0)
    inverse = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)
    return inverse, right, max(reduced.chi2 - float(right @ inverse @ right), 1e-9)


def find_moved(reduced: Reduced, names: Sequence[str], frames: np.ndarray) -> Moved | None:
    """The camera and moment whose step explains most; ``None`` where there are too few moments for any."""
    n_frames, size = reduced.right.shape
    if n_frames < 2 * _LEAST_SIDE:
        return None
    inverse, total, chi2 = _without_rig(reduced)
    after = np.cumsum(reduced.normal[::-1], axis=0)[::-1]
    after_right = np.cumsum(reduced.right[::-1], axis=0)[::-1]
    best: tuple[float, int, int, np.ndarray] | None = None
    for v in range(size // 6):
        rows = slice(6 * v, 6 * v + 6)
        cross = after[:, rows]
        normal = after[:, rows, rows] - cross @ inverse @ np.swapaxes(cross, -1, -2)
        right = after_right[:, rows] - cross @ (inverse @ total)
        # Moments of this camera on both sides of a step; without them it is no step but a guess.
        there = np.einsum("fii->f", reduced.normal[:, rows, rows]) > 0
        before_n, after_n = np.cumsum(there) - there, np.cumsum(there[::-1])[::-1]
        possible = (before_n >= _LEAST_SIDE) & (after_n >= _LEAST_SIDE)
        trace = np.einsum("fii->f", normal)[:, None, None]
        step = np.linalg.solve(normal + (1e-9 * trace + 1e-300) * np.eye(6), right[..., None])[..., 0]
        gain = np.where(possible, (step * right).sum(axis=-1), -np.inf)
        at = int(gain.argmax())
        if np.isfinite(gain[at]) and (best is None or gain[at] > best[0]):
            best = (float(gain[at]), v, at, step[at] * reduced.scale[rows])
    if best is None:
        return None
    gain_of, v, at, motion = best
    who = tuple(names) if len(names) == 2 else (names[v],)
    return Moved(
        who,
        int(frames[at]),
        float(np.degrees(np.linalg.norm(motion[:3]))),
        float(np.linalg.norm(motion[3:])),
        min(gain_of / chi2, 1.0),
    )


def find_late(
    reduced: Reduced, cameras: Sequence[Camera], names: Sequence[str], motion: Float[np.ndarray, "F 6"], unit: str
) -> Late:
    """Offsets of all cameras, and the one that explains most."""
    through = stance_of(cameras).adjoint
    n_frames, size = reduced.right.shape
    n_views = size // 6
    inverse, total, chi2 = _without_rig(reduced)
    # A camera that is late by one sees the board where it was: minus its motion.
    column = np.zeros((n_frames, n_views, size))
    for v in range(n_views):
        rows = slice(6 * v, 6 * v + 6)
        column[:, v, rows] = -(motion @ through[v].T) / reduced.scale[rows]
    carried = column @ reduced.normal
    cross = carried.sum(axis=0)
    normal = np.einsum("fvi,fwi->vw", carried, column, optimize=True) - cross @ inverse @ cross.T
    right = np.einsum("fvi,fi->v", column, reduced.right, optimize=True) - cross @ (inverse @ total)
    diagonal = np.diag(normal).copy()
    nothing = Late((), (), 0.0)
    if not (diagonal > 1e-9).all():
        return nothing
    # All late alike is no offset at all: pinned by leaving the common part out.
    information = np.linalg.pinv(normal, rcond=1e-6, hermitian=True)
    offsets = information @ right
    single = right**2 / diagonal
    worst = int(single.argmax())
    # How sure: from how much single moments disagree, as residuals of one moment are not independent.
    rig = inverse @ (total - cross.T @ offsets)
    left = reduced.right - np.einsum("fij,fj->fi", reduced.normal, rig + np.einsum("fvi,v->fi", column, offsets))
    score = np.einsum("fvi,fi->fv", column, left) - left @ (cross @ inverse).T
    spread = information @ (score.T @ score) @ information
    deviation = np.sqrt(np.maximum(np.diag(spread), 0) * n_frames / max(n_frames - 7, 1))
    # Two cameras say nothing about which of them is right; of more, most are.
    offsets = offsets - (offsets[0] if n_views == 2 else np.median(offsets))
    said = tuple(Offset(name, float(o), float(d), unit) for name, o, d in zip(names, offsets, deviation, strict=True))
    who = tuple(names) if n_views == 2 else (names[worst],)
    return Late(said, who, min(float(single[worst]) / chi2, 1.0))


@dataclass(frozen=True, eq=False)
class Suspicions:
    """What was found to explain more than noise.

    Attributes:
        moved: The best step of a camera, whether or not it explains enough.
        late: The offsets.
        moments: How many moments were looked at.
    """

    moved: Moved | None
    late: Late
    moments: int

    @property
    def has_moved(self) -> bool:
        """Whether a camera's step explains enough, and more than anybody's lateness."""
        return self.moved is not None and self.moved.explains >= max(EXPLAINS, self.late.explains)

    @property
    def is_late(self) -> bool:
        """Whether a camera's offset explains enough, is sure and large.

        In a rig of two a step and an offset can look alike: then both are said.
        """
        step = self.moved.explains if self.moved is not None else 0.0
        least = max(EXPLAINS, 0.0 if len(self.late.camera) == 2 else step)
        return self.late.explains >= least and any(
            abs(o.frames) >= max(SURE * o.deviation, LEAST_OFFSET if o.unit == "frames" else 0.0)
            for o in self.late.offsets
            if o.camera in self.late.camera
        )


def suspicions_of(
    views: BoardViews,
    sight: Sight,
    kept: Bool[np.ndarray, "V F N"],
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    motion: tuple[Float[np.ndarray, "F 6"], str],
) -> Suspicions:
    """Test everything.

    Args:
        views: All moments.
        sight: Of these views.
        kept: Points that agree with the others of their own view: what fits its view but not the rig must count.
        cameras: As solved.
        poses: Of the board at each moment, roughly; NaN = unknown.
        motion: From `calib.board_motion.motion_of`.
    """
    settled = settle_boards(cameras, poses, sight, kept, views.target_mm)
    blocks, frames, _, _ = blocks_at_best(cameras, settled, sight, kept, views.target_mm)
    if len(frames) < 2 * _LEAST_SIDE:
        return Suspicions(None, Late((), (), 0.0), len(frames))
    unit = float(np.median(np.linalg.norm(settled[frames, 3:], axis=-1)))
    reduced = reduce(bounded(blocks), cameras, unit)
    moved = find_moved(reduced, views.names, views.frames[frames])
    late = find_late(reduced, cameras, views.names, motion[0][frames], motion[1])
    return Suspicions(moved, late, len(frames))


def carried_views(
    views: BoardViews,
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    motion: Float[np.ndarray, "F 6"],
    late: Late,
) -> BoardViews:
    """What each camera would have seen at the common time, had it exposed then.

    By the board's motion at each moment; a view of a camera that is late at a moment whose motion is not known is left
    out.
    """
    stance = stance_of(cameras)
    through = stance.adjoint
    moving = motion.any(axis=-1)
    placed = np.isfinite(poses).all(axis=-1) & moving
    px = views.px.copy()
    by_name = {offset.camera: offset for offset in late.offsets}
    for v, camera in enumerate(cameras):
        offset = by_name[camera.name]
        if abs(offset.frames) < 2 * offset.deviation:
            continue
        px[v, ~placed] = np.nan
        world = views.target_mm @ np.swapaxes(rotations(poses[placed, :3]), -1, -2) + poses[placed, None, 3:]
        before = world @ stance.R[v].T + stance.t[v]
        step = offset.frames * motion[placed] @ through[v].T
        after = before @ np.swapaxes(rotations(step[:, :3]), -1, -2) + step[:, None, 3:]
        bare = replace(camera, rvec=np.zeros(3), t=np.zeros(3))
        px[v, placed] += bare.project(after) - bare.project(before)
    return replace(views, px=px)
