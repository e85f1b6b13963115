"""How far apart in time cameras run, where the rig is known: rays to one moving point meet only at one moment.

For a pair of cameras the distance of each point from its epipolar line (Sampson's, in px) is looked at for every
shift of one against the other. That is far sharper than likeness of motion (`calib.timing_motion`), and as there,
blocks of the recording drawn with replacement say how sure it is (`calib.timing_pairs`).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

from calib.camera import Camera, relative_pose
from calib.medians import MAD_TO_SIGMA
from calib.rig import Rig
from calib.sight import skew
from calib.timing import Timing
from calib.timing_pairs import (
    AGREE,
    MAX_OFFSET_S,
    MIN_BLOCKS,
    PairCurves,
    block_length,
    draws,
    effective_blocks,
    shared_grid,
    together,
)
from rigpose.errors import ConfigError

MOST_POINTS = 12
MOST_MOMENTS = 3000
_FINE_STEP = 0.1
_FINE_REACH = 1.3
_LEAST_SCALE_PX = 0.2
_CLEAR = 0.15


def ray_offsets(
    rig: Rig,
    px: Float[np.ndarray, "V T J 2"],
    time_s: Float[np.ndarray, "V T"] | Float[np.ndarray, " T"],
    *,
    max_offset_s: float = MAX_OFFSET_S,
    reference: str | None = None,
    source: str = "points and the rig",
    seed: int = 0,
) -> Timing:
    """The time offsets of the rig's cameras from points that move.

    Args:
        rig: As calibrated; a camera that was moved since makes the answer less sure, hardly wrong.
        px: Keypoints or board corners in neighbouring frames; NaN = not seen.
        time_s: When each camera is said to have seen them, rising; NaN = no frame.
        max_offset_s: Offsets further from zero are not looked for.
        reference: The camera that others are compared with; default: the rig's first.
        source: What the points are, for the answer.
        seed: Of the draws.

    Raises:
        ConfigError: Shapes that do not fit the rig, or fewer than two cameras.
    """
    px = np.asarray(px, dtype=np.float64)
    if px.ndim != 4 or len(px) != len(rig) or px.shape[-1] != 2 or len(rig) < 2:
        raise ConfigError(
            "timing", f"points of shape {list(px.shape)} do not fit {len(rig)} cameras", "give (V, T, J, 2)"
        )
    times = np.broadcast_to(np.asarray(time_s, dtype=np.float64), px.shape[:2])
    steps = [np.diff(t[np.isfinite(t)]) for t in times]
    if any(len(step) < 4 or (step <= 0).any() for step in steps):
        raise ConfigError(
            "timing", "needs five frames or more with rising times of each camera", "check the time stamps"
        )
    # Board moments may have gaps: the period is the step that is seen most.
    step_s = float(np.median([np.percentile(step, 25) for step in steps]))
    grid = shared_grid([t[np.isfinite(t)] for t in times], step_s)[:MOST_MOMENTS]
    points = np.argsort(-np.isfinite(px[..., 0]).sum(axis=(0, 1)), kind="stable")
    points = np.sort(points[:MOST_POINTS]) if len(points) > MOST_POINTS else np.arange(len(points))
    tracks = [
        _on_grid(t, camera.undistort(seen[:, points]), grid, step_s)
        for camera, seen, t in zip(rig.cameras, px, times, strict=True)
    ]
    length = block_length(len(grid), step_s)
    blocks = -(-len(grid) // length)
    weights = draws(blocks, seed)
    reach = min(int(np.ceil(max_offset_s / step_s)), len(grid) - 2 * length)
    curves = []
    for a, b in combinations(range(len(rig)), 2):
        if reach < 2 or blocks < MIN_BLOCKS:
            curves.append(_nothing(a, b, "the recording is too short"))
        else:
            curves.append(_pair(a, b, rig.cameras[a], rig.cameras[b], tracks[a], tracks[b], reach, length, weights))
    moving = [effective_blocks(_strength(track), length) for track in tracks]
    start = rig.names.index(reference) if reference in rig.names else 0
    return together(rig.names, start, curves, step_s, source, max(moving), "rays")


def _nothing(a: int, b: int, why: str) -> PairCurves:
    return PairCurves(a, b, np.zeros(0), np.zeros((0, 0)), why)


def _strength(track: np.ndarray) -> np.ndarray:
    moved = np.sum(np.diff(track, axis=0) ** 2, axis=-1)
    known = np.isfinite(moved)
    count = np.maximum(known.sum(axis=1), 1)
    return np.append(np.where(known, moved, 0.0).sum(axis=1) / count, 0.0)


def _on_grid(time_s: np.ndarray, xy: np.ndarray, grid: np.ndarray, step_s: float) -> np.ndarray:
    """Tracks (n, J, 2) at the times of the grid: as seen, or straight between two neighbouring frames."""
    known = np.isfinite(time_s)
    time_s, xy = time_s[known], xy[known]
    after = np.clip(np.searchsorted(time_s, grid), 1, len(time_s) - 1)
    before = after - 1
    gap = time_s[after] - time_s[before]
    share = (grid - time_s[before]) / gap
    # What is nearly on a sample is that sample: jitter of time stamps is not worth smoothing the points.
    low, high = np.abs(share) * gap < 0.15 * step_s, np.abs(1 - share) * gap < 0.15 * step_s
    mixed = xy[before] * (1 - share)[:, None, None] + xy[after] * share[:, None, None]
    mixed[(share < 0) | (share > 1) | (gap > 1.6 * step_s)] = np.nan
    return np.where(low[:, None, None], xy[before], np.where(high[:, None, None], xy[after], mixed))


def _essential(a: Camera, b: Camera) -> np.ndarray | None:
    rotation, t = relative_pose(a, b)
    length = float(np.linalg.norm(t))
    if length < 1e-9:
        return None
    return skew(t / length) @ rotation


def _sampson(essential: np.ndarray, xa: np.ndarray, xb: np.ndarray, focal: float) -> np.ndarray:
    """Signed distance from the epipolar lines in px (first order; Hartley and Zisserman 2004, 11.4.3)."""
    line_b = xa @ essential[:, :2].T + essential[:, 2]
    line_a = xb @ essential[:2] + essential[2]
    error = xb[..., 0] * line_b[..., 0] + xb[..., 1] * line_b[..., 1] + line_b[..., 2]
    slope_a, slope_b = (line_a[..., :2] ** 2).sum(axis=-1), (line_b[..., :2] ** 2).sum(axis=-1)
    # Next to an epipole (the other camera in the picture) every line is near, and first order is not enough.
    clear = np.minimum(slope_a, slope_b) > _CLEAR**2
    return np.where(clear, focal * error / np.sqrt(np.where(clear, slope_a + slope_b, 1.0)), np.nan)


def _shifted(track: np.ndarray, lag: float, reach: int) -> tuple[np.ndarray, float]:
    """The track ``lag`` later, and the share of the noise's variance that interpolation leaves."""
    whole = int(np.floor(lag + 1e-9))
    part = lag - whole
    n = len(track)
    padded = np.full((n + 2 * (reach + 4), *track.shape[1:]), np.nan)
    start = reach + 4
    padded[start : start + n] = track

    def at(k: int) -> np.ndarray:
        return padded[start + whole + k : start + whole + k + n]

    if part < 1e-6:
        return at(0), 1.0
    # Lagrange's cubic through four samples.
    p = part
    factors = (
        -p * (p - 1) * (p - 2) / 6,
        (p + 1) * (p - 1) * (p - 2) / 2,
        -(p + 1) * p * (p - 2) / 2,
        (p + 1) * p * (p - 1) / 6,
    )
    moved = np.einsum("k,k...->...", np.array(factors), np.stack([at(k) for k in (-1, 0, 1, 2)]))
    return moved, float(np.square(factors).sum())


def _pair(
    a: int,
    b: int,
    camera_a: Camera,
    camera_b: Camera,
    xa: np.ndarray,
    xb: np.ndarray,
    reach: int,
    length: int,
    weights: np.ndarray,
) -> PairCurves:
    essential = _essential(camera_a, camera_b)
    if essential is None:
        return _nothing(a, b, "they stand at one place")
    focal = float(np.sqrt(camera_a.K[0, 0] * camera_b.K[0, 0]))

    def distance(lag: float | np.signedinteger) -> np.ndarray:
        moved, gain = _shifted(xb, float(lag), reach)
        return _sampson(essential, xa, moved, focal) / np.sqrt((1 + gain) / 2)

    whole = np.arange(-reach, reach + 1)
    away = [distance(lag) for lag in whole]
    counts = np.array([np.isfinite(d).sum() for d in away])
    if counts.max(initial=0) < 40:
        return _nothing(a, b, "they see too few points in common")
    with np.errstate(all="ignore"):
        middle = [
            np.nanmedian(np.abs(d)) if n >= 0.3 * counts.max() else np.inf for d, n in zip(away, counts, strict=True)
        ]
    scale = max(2.0 * MAD_TO_SIGMA * float(min(middle)), _LEAST_SCALE_PX)
    coarse = _agreement(away, scale, length, weights)
    best = int(coarse[0].argmax())
    if best in (0, len(whole) - 1):
        return _nothing(a, b, "there is too little motion that both see")
    near = np.abs(coarse.argmax(axis=1) - best) <= 1
    if near.mean() < AGREE:
        return _nothing(a, b, "there is too little motion that both see")
    fine = whole[best] + np.arange(-_FINE_REACH, _FINE_REACH + 1e-9, _FINE_STEP)
    clean = _clean(np.stack([distance(lag) for lag in whole[best] + np.arange(-3, 4)]))
    return PairCurves(
        a, b, fine, _agreement([np.where(clean, distance(lag), np.nan) for lag in fine], scale, length, weights)
    )


def _clean(distance: np.ndarray) -> np.ndarray:
    """(T, J) where a point is believed at neighbouring shifts (7, T, J) too.

    Interpolation spreads a gross error over four frames. If it counted, shifts by whole frames would look better
    than those between, and the answer would be drawn to them.
    """
    third = np.abs(np.diff(distance, n=3, axis=0))
    with np.errstate(all="ignore"):
        worst = third.max(axis=0)
        limit = 4 * MAD_TO_SIGMA * np.nanmedian(third)
    return np.asarray(worst <= max(float(limit), 1e-6)) if np.isfinite(limit) else np.zeros(worst.shape, dtype=bool)


def _agreement(away: list[np.ndarray], scale: float, length: int, weights: np.ndarray) -> np.ndarray:
    """(D, L) minus the mean bounded loss (Geman and McClure) of each draw."""
    starts = np.arange(0, len(away[0]), length)
    counts = np.empty((len(away), len(starts)))
    sums = np.empty_like(counts)
    for k, distance in enumerate(away):
        squared = (distance / scale) ** 2
        known = np.isfinite(squared)
        loss = np.where(known, squared / (1 + squared), 0.0)
        counts[k] = np.add.reduceat(known.sum(axis=1), starts)
        sums[k] = np.add.reduceat(loss.sum(axis=1), starts)
    drawn = weights @ counts.T
    enough = drawn >= 0.3 * drawn.max(axis=1, keepdims=True)
    return np.where(enough, -(weights @ sums.T) / np.maximum(drawn, 1), -1.0)
