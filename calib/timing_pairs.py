"""Time offsets of all cameras from how well pairs of them agree when one is shifted against the other.

The best shift of a pair, between frames, is its offset; those of all pairs are brought together by least squares. How
sure that is comes from the recording itself: blocks of it are drawn again and again with replacement, and everything
is repeated (Kuensch 1989). Where the draws do not agree on a peak, the offset cannot be told, and that is said instead
of a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from calib.medians import robust_deviation
from calib.timing import Kind, Offset, Timing

MAX_OFFSET_S = 2.0
DRAWS = 200
MOST_SAMPLES = 50_000
AGREE = 0.9
"""Share of the draws that have to find the same peak."""
MIN_BLOCKS = 8
MIN_EFFECTIVE = 3.0
_FINE = 10


@dataclass(frozen=True, slots=True)
class PairCurves:
    """How well two cameras agree at each shift, ready to be drawn again by blocks.

    Attributes:
        a: Index of the first camera.
        b: Index of the second.
        lags: (L,) shifts of b against a, in steps of the grid.
        drawn: (D, L) agreement of each draw, higher is better; the first row is the recording as it is.
        why: Why this pair tells nothing; empty where it may.
    """

    a: int
    b: int
    lags: Float[np.ndarray, " L"]
    drawn: Float[np.ndarray, "D L"]
    why: str = ""


def shared_grid(times: Sequence[np.ndarray], step_s: float) -> np.ndarray:
    """Evenly spaced times over all recordings."""
    first, last = min(t[0] for t in times), max(t[-1] for t in times)
    # On the samples of the first camera, so that what is sampled alike is not interpolated.
    before = int(np.floor((times[0][0] - first) / step_s + 1e-6))
    after = int((last - times[0][0]) / step_s + 1e-6) + 1
    # A recording with holes of hours is looked at in its first part.
    return times[0][0] + step_s * np.arange(-before, min(after, MOST_SAMPLES - before))


def block_length(n: int, step_s: float) -> int:
    """Samples of a block: longer than what one movement lasts, short enough that there are some."""
    return max(4, round(0.25 / step_s), min(round(0.5 / step_s), n // 12))


def draws(n_blocks: int, seed: int) -> np.ndarray:
    """(1 + DRAWS, n_blocks) how often each block counts: once, then drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=DRAWS)
    return np.concatenate([np.ones((1, n_blocks)), drawn])


def effective_blocks(strength: np.ndarray, length: int) -> float:
    """How many blocks there are, were all as strong: one strong movement among weak ones is one."""
    blocks = np.add.reduceat(strength, np.arange(0, len(strength), length))
    return float(blocks.sum() ** 2 / max(float((blocks**2).sum()), 1e-300))


def together(
    names: Sequence[str],
    reference: int,
    curves: Sequence[PairCurves],
    step_s: float,
    source: str,
    effective: float,
    kind: Kind = "motion",
) -> Timing:
    """The offsets of all cameras from the agreement of pairs.

    Args:
        names: Of the cameras.
        reference: Index of the one whose offset is zero.
        curves: Of the pairs; all from the same draws.
        step_s: Of the grid.
        source: For the answer.
        effective: How many movements there are, about; few of them make all less sure.
        kind: For the answer.
    """
    # As Student's distribution is wider than the normal one; and what few draws from few blocks leave out.
    wider = 1.1 * float(np.sqrt(effective / max(effective - 2, 1.0)))
    if effective < MIN_EFFECTIVE:
        few = "only one or two movements are in the recording"
        curves = [replace(curve, why=curve.why or few) for curve in curves]
    pairs, shifts, why = [], [], {}
    for curve in curves:
        reason = curve.why
        if not reason and len(curve.lags) < 8:
            reason = "the recording is too short"
        if not reason:
            peak = _peaks(curve.drawn, curve.lags)
            near = np.abs(peak - peak[0]) < 1.5
            if not np.isfinite(peak[0]) or near.mean() < AGREE:
                reason = "there is too little motion that both see"
            else:
                pairs.append((curve.a, curve.b))
                shifts.append(np.where(near, peak, peak[0]))
        if reason:
            why[curve.a, curve.b] = reason
    solved = _solve(len(names), reference, pairs, np.array(shifts))
    result = []
    for v, name in enumerate(names):
        if v == reference:
            result.append(Offset(name, 0.0, 0.0, 0.0))
        elif v not in solved:
            reasons = [text for pair, text in why.items() if v in pair]
            own = why.get((min(v, reference), max(v, reference))) or (reasons[0] if reasons else "no link to others")
            result.append(Offset(name, np.nan, np.nan, np.nan, own))
        else:
            frames, deviation = solved[v]
            result.append(Offset(name, 1e3 * step_s * frames, 1e3 * step_s * deviation * wider, frames))
    return Timing(names[reference], tuple(result), 1e3 * step_s, source, kind)


def _peaks(curves: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """(D,) where each curve is highest, between its samples; NaN at an end."""
    best = curves.argmax(axis=1)
    ends = (best == 0) | (best == len(lags) - 1)
    found = np.full(len(curves), np.nan)
    window = np.arange(-3, 4)
    inner = np.clip(best, 3, len(lags) - 4)
    near = np.take_along_axis(curves, inner[:, None] + window, axis=1)
    fine = np.linspace(-3, 3, 6 * _FINE + 1)
    dense = CubicSpline(window, near, axis=1)(fine)
    top = dense.argmax(axis=1)
    good = ~ends & (top > 0) & (top < len(fine) - 1)
    rows = np.flatnonzero(good)
    left, middle, right = (dense[rows, top[rows] + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, (left - right) / (2 * np.where(bend < 0, bend, -1)), 0.0)
    step = lags[1] - lags[0]
    found[rows] = lags[inner[rows]] + step * (fine[top[rows]] + shift * (fine[1] - fine[0]))
    return found


def _solve(n: int, reference: int, pairs: list[tuple[int, int]], shifts: np.ndarray) -> dict[int, tuple[float, float]]:
    """Offset and deviation in steps of each camera that pairs link to the reference; shifts (P, D)."""
    if not pairs:
        return {}
    sigma = np.maximum(robust_deviation(shifts, axis=1), 0.02)
    # A deviation from few blocks is itself not sure: no pair may count for much more than the others.
    sigma = np.maximum(sigma, 0.7 * np.median(sigma))
    keep = np.ones(len(pairs), dtype=bool)
    while True:
        linked, grew = {reference}, True
        while grew:
            more = {v for k, pair in enumerate(pairs) if keep[k] and linked & set(pair) for v in pair} - linked
            linked |= more
            grew = bool(more)
        used = [k for k, pair in enumerate(pairs) if keep[k] and pair[0] in linked]
        free = sorted(linked - {reference})
        if not free:
            return {}
        design = np.zeros((len(used), len(free)))
        for row, k in enumerate(used):
            for v, sign in zip(pairs[k], (-1.0, 1.0), strict=True):
                if v != reference:
                    design[row, free.index(v)] = sign
        weight = 1 / sigma[used]
        answer = np.linalg.lstsq(design * weight[:, None], shifts[used] * weight[:, None], rcond=None)[0]
        misfit = (shifts[used][:, 0] - design @ answer[:, 0]) * weight
        spare = len(used) - len(free)
        worst = int(np.abs(misfit).argmax())
        # A pair that no other agrees with goes, where enough others are left to say so.
        if spare >= 2 and abs(misfit[worst]) > 5 and np.abs(misfit).sum() < 2.5 * abs(misfit[worst]):
            keep[used[worst]] = False
            continue
        # Where pairs contradict each other by more than they say, all are less sure.
        more_than_said = max(1.0, float(np.sqrt((misfit**2).sum() / spare))) if spare > 0 else 1.0
        spread = answer.std(axis=1) * more_than_said
        return {v: (float(answer[k, 0]), float(np.hypot(spread[k], 0.01))) for k, v in enumerate(free)}
