"""How far apart in time cameras run, from what moves in their views.

The similarity of two cameras' motion (the RV coefficient of their channels: Robert and Escoufier 1976) is looked at
for every shift between them; its peak is the offset (`calib.timing_pairs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from calib.motion import MotionSignal
from calib.timing import Timing
from calib.timing_pairs import (
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

CHANNELS = 3
_SLOW_S = 1.0
_SMOOTH_FRAMES = 0.7


def offsets(
    signals: Sequence[MotionSignal],
    *,
    max_offset_s: float = MAX_OFFSET_S,
    reference: str | None = None,
    source: str = "motion in the pictures",
    seed: int = 0,
) -> Timing:
    """The time offsets of cameras from their motion.

    Args:
        signals: Of each camera, with times that the cameras are said to share.
        max_offset_s: Offsets further from zero are not looked for.
        reference: The camera that others are compared with; default: the first.
        source: What the signals are made from, for the answer.
        seed: Of the draws.

    Raises:
        ConfigError: Fewer than two cameras, or a reference that is none of them.
    """
    names = [signal.camera for signal in signals]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError("timing", "needs two cameras or more of different names", "give more recordings")
    start = _index(names, reference)
    step_s = float(np.median([signal.period_s for signal in signals]))
    grid = shared_grid([signal.time_s for signal in signals], step_s)
    tracks = [_filtered(_resampled(s.time_s, s.motion, grid, s.period_s), step_s) for s in signals]
    reach = int(np.ceil(max_offset_s / step_s))
    length = block_length(len(grid), step_s)
    weights = draws(-(-len(grid) // length), seed)
    curves = []
    for a, b in combinations(range(len(names)), 2):
        x, y = tracks[a], tracks[b]
        if x is None or y is None:
            still = names[a] if x is None else names[b]
            curves.append(PairCurves(a, b, np.zeros(0), np.zeros((0, 0)), f"nothing moves in {still}"))
        else:
            curves.append(_similarity(a, b, x, y, reach, length, weights))
    moving = [effective_blocks((track**2).sum(axis=1), length) for track in tracks if track is not None]
    return together(names, start, curves, step_s, source, min(moving, default=0.0))


def _index(names: Sequence[str], reference: str | None) -> int:
    if reference is None:
        return 0
    if reference not in names:
        raise ConfigError("timing", f"there is no camera {reference}", f"there are {', '.join(names)}")
    return list(names).index(reference)


def _resampled(time_s: np.ndarray, values: np.ndarray, grid: np.ndarray, period_s: float) -> np.ndarray:
    """Values at the times of the grid; NaN outside, and in gaps of more than two periods."""
    known = np.isfinite(values).all(axis=1)
    time_s, values = time_s[known], values[known]
    result = np.full((len(grid), values.shape[1]), np.nan)
    if len(time_s) < 4:
        return result
    after = np.clip(np.searchsorted(time_s, grid), 1, len(time_s) - 1)
    nearest = np.where(grid - time_s[after - 1] < time_s[after] - grid, after - 1, after)
    off = np.abs(time_s[nearest] - grid)
    inside = (off < 0.51 * period_s) | (
        (grid >= time_s[0]) & (grid <= time_s[-1]) & (time_s[after] - time_s[after - 1] <= 2.1 * period_s)
    )
    if off[inside].max(initial=0) < 0.02 * period_s:
        result[inside] = values[nearest[inside]]
    else:
        spline = CubicSpline(time_s, values)
        result[inside] = spline(np.clip(grid[inside], time_s[0], time_s[-1]))
    return result


def _filtered(values: np.ndarray, step_s: float) -> np.ndarray | None:
    """The strongest channels (n, K) without what changes slowly; zero = not known; None where nothing moves."""
    known = np.isfinite(values).all(axis=1)
    if known.sum() < 8:
        return None
    present = known.astype(float)[:, None]
    filled = np.where(known[:, None], values, 0.0)

    def smooth(width: float) -> np.ndarray:
        weight = gaussian_filter1d(present, width, axis=0, mode="constant")
        return gaussian_filter1d(filled, width, axis=0, mode="constant") / np.maximum(weight, 1e-6)

    slow = max(_SLOW_S / step_s, 6.0)
    moved = (smooth(_SMOOTH_FRAMES) - smooth(slow)) * present
    u, strength, _ = np.linalg.svd(moved, full_matrices=False)
    if strength[0] <= 1e-9 * max(1.0, float(np.abs(filled).max())):
        return None
    return (u * strength)[:, :CHANNELS] / strength[0]


def _similarity(
    a: int, b: int, x: np.ndarray, y: np.ndarray, reach: int, length: int, weights: np.ndarray
) -> PairCurves:
    """RV coefficient of two tracks at each shift, for each draw of blocks."""
    n = len(x)
    reach = min(reach, n - 2 * length)
    if reach < 2 or weights.shape[1] < MIN_BLOCKS:
        return PairCurves(a, b, np.zeros(0), np.zeros((0, 0)), "the recording is too short")
    lags = np.arange(-reach, reach + 1)
    blocks = weights.shape[1]
    padded = np.zeros((blocks * length + 2 * reach, y.shape[1]))
    padded[reach : reach + n] = y
    x = np.concatenate([x, np.zeros((blocks * length - n, x.shape[1]))])
    seen_x = x.any(axis=1)
    xb = x.reshape(blocks, length, -1)
    agreement = np.empty((len(weights), len(lags)))
    for k, lag in enumerate(lags):
        moved = padded[reach + lag : reach + lag + len(x)]
        both = (seen_x & moved.any(axis=1)).reshape(blocks, length, 1)
        yb, xk = moved.reshape(blocks, length, -1) * both, xb * both
        xy, xx, yy = (
            np.tensordot(weights, p.transpose(0, 2, 1) @ q, axes=1) for p, q in ((xk, yb), (xk, xk), (yb, yb))
        )
        norm = np.sqrt((xx * xx).sum(axis=(1, 2)) * (yy * yy).sum(axis=(1, 2)))
        enough = weights @ both.sum(axis=(1, 2)) >= max(4 * length, 0.3 * seen_x.sum())
        agreement[:, k] = np.where(enough & (norm > 0), (xy * xy).sum(axis=(1, 2)) / np.maximum(norm, 1e-300), 0.0)
    return PairCurves(a, b, lags.astype(float), agreement)
