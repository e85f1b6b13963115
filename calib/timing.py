"""How far apart in time cameras run, from what moves in their views; and whether their recordings have one length.

The similarity of two cameras' motion (the RV coefficient of their channels: Robert and Escoufier 1976)
is looked at for every shift between them; its peak, between frames, is the offset. Offsets of all pairs are
brought together by least squares. How sure that is comes from the recording itself: blocks of it are drawn
again and again with replacement, and everything is repeated (Kuensch 1989). Where the draws do not agree
on a peak, the offset cannot be told, and that is said instead of a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from calib.motion import MotionSignal
from calib.quality import Finding, Level
from rigpose.errors import ConfigError

Kind = Literal["motion", "rays"]

BAD_BEYOND: dict[Kind, float] = {"motion": 6.0, "rays": 4.0}
"""Deviations beyond which half a frame makes a recording bad; motion, in which views differ, is believed less."""
MAX_OFFSET_S = 2.0
DRAWS = 200
MOST_SAMPLES = 50_000
CHANNELS = 3
AGREE = 0.9
"""Share of the draws that have to find the same peak."""
MIN_BLOCKS = 8
MIN_EFFECTIVE = 3.0
_SLOW_S = 1.0
_SMOOTH_FRAMES = 0.7
_FINE = 10


@dataclass(frozen=True, slots=True)
class Offset:
    """When a camera shows what the reference shows.

    Attributes:
        camera: Its name.
        offset_ms: What the reference shows at ``t``, this camera shows at ``t + offset``; NaN = cannot be told.
        deviation_ms: Standard deviation of it; NaN = cannot be told.
        frames: The offset in frame periods.
        why: Why it cannot be told; empty where it can.
    """

    camera: str
    offset_ms: float
    deviation_ms: float
    frames: float
    why: str = ""

    @property
    def told(self) -> bool:
        """Whether there is a number."""
        return not self.why

    def __str__(self) -> str:
        if not self.told:
            return f"{self.camera}: cannot be told: {self.why}"
        return f"{self.camera}: {self.offset_ms:+.1f} ms +- {self.deviation_ms:.1f} ms ({self.frames:+.2f} frames)"


@dataclass(frozen=True, slots=True)
class Timing:
    """The offsets of all cameras to one of them.

    Attributes:
        reference: The camera whose offset is zero.
        offsets: One for each camera, in the order given.
        period_ms: Between frames.
        source: What they are made from, in words.
        kind: ``motion`` (similar in time alone) or ``rays`` (they have to meet).
    """

    reference: str
    offsets: tuple[Offset, ...]
    period_ms: float
    source: str
    kind: Kind = "motion"

    def __getitem__(self, camera: str) -> Offset:
        for offset in self.offsets:
            if offset.camera == camera:
                return offset
        raise KeyError(camera)

    @property
    def told(self) -> bool:
        """Whether every camera's offset could be told."""
        return all(offset.told for offset in self.offsets)

    def findings(self) -> tuple[Finding, ...]:
        """What the offsets mean for a calibration.

        Half a frame or more is bad where it is sure, a quarter is suspect; what cannot be told is a note.
        """
        found = []
        for offset in self.offsets:
            name = (offset.camera,)
            if not offset.told:
                what = f"its time offset to {self.reference} cannot be told: {offset.why}"
                found.append(Finding("note", name, what, "move something that both see, with stops and turns"))
                continue
            sure = abs(offset.offset_ms) / max(offset.deviation_ms, 1e-9)
            size = abs(offset.frames)
            if size < 0.25 or sure < 3:
                continue
            late = "late" if offset.offset_ms > 0 else "early"
            what = (
                f"runs {abs(offset.offset_ms):.0f} ms +- {offset.deviation_ms:.0f} ms {late} "
                f"({size:.1f} frames) against {self.reference}"
            )
            whole = round(size)
            drop = offset.camera if offset.offset_ms > 0 else f"every camera but {offset.camera}"
            first = "first frame" if whole == 1 else f"first {whole} frames"
            remedy = (
                f"synchronise the cameras; for this recording leave out the {first} of {drop}"
                if whole and abs(size - whole) < 0.25
                else "synchronise the cameras, or correct the time stamps by it"
            )
            level: Level = "bad" if size >= 0.5 and sure >= BAD_BEYOND[self.kind] else "suspect"
            found.append(Finding(level, name, what, remedy))
        return tuple(found)

    def document(self) -> dict[str, object]:
        """As plain values, for JSON: NaN is None."""
        offsets = {
            o.camera: {
                "offset_ms": round(o.offset_ms, 3) if o.told else None,
                "deviation_ms": round(o.deviation_ms, 3) if o.told else None,
                "frames": round(o.frames, 3) if o.told else None,
                **({"why": o.why} if o.why else {}),
            }
            for o in self.offsets
        }
        return {"reference": self.reference, "period_ms": self.period_ms, "source": self.source, "offsets": offsets}


def frame_counts(counts: Mapping[str, int]) -> tuple[Finding, ...]:
    """Cameras whose recordings are not as long as those of most.

    Args:
        counts: Frames of each camera.

    Returns:
        A finding for each odd camera: one frame is a note, more is suspect.
    """
    if len(counts) < 2:
        return ()
    values, how_often = np.unique(list(counts.values()), return_counts=True)
    if len(values) == 1:
        return ()
    remedy = "find out whether they lie at the start, at the end or in between: rigpose calibrate timing"
    if how_often.max() == 1 or (how_often == how_often.max()).sum() > 1:
        text = ", ".join(f"{name} {n}" for name, n in counts.items())
        level: Level = "note" if values[-1] - values[0] == 1 else "suspect"
        return (Finding(level, tuple(counts), f"differ in their number of frames: {text}", remedy),)
    usual = int(values[how_often.argmax()])
    found = []
    for name, n in counts.items():
        if n == usual:
            continue
        apart = abs(n - usual)
        frames = f"{apart} frame" + ("s" if apart > 1 else "")
        what = f"has {frames} {'more' if n > usual else 'fewer'} than the others ({n}, not {usual})"
        found.append(Finding("note" if apart == 1 else "suspect", (name,), what, remedy))
    return tuple(found)


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


def effective_blocks(strength: np.ndarray, length: int) -> float:
    """How many blocks there are, were all as strong: one strong movement among weak ones is one."""
    blocks = np.add.reduceat(strength, np.arange(0, len(strength), length))
    return float(blocks.sum() ** 2 / max(float((blocks**2).sum()), 1e-300))


def _index(names: Sequence[str], reference: str | None) -> int:
    if reference is None:
        return 0
    if reference not in names:
        raise ConfigError("timing", f"there is no camera {reference}", f"there are {', '.join(names)}")
    return list(names).index(reference)


def block_length(n: int, step_s: float) -> int:
    """Samples of a block: longer than what one movement lasts, short enough that there are some."""
    return max(4, round(0.25 / step_s), min(round(0.5 / step_s), n // 12))


def draws(n_blocks: int, seed: int) -> np.ndarray:
    """(1 + DRAWS, n_blocks) how often each block counts: once, then drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=DRAWS)
    return np.concatenate([np.ones((1, n_blocks)), drawn])


def shared_grid(times: Sequence[np.ndarray], step_s: float) -> np.ndarray:
    """Evenly spaced times over all recordings."""
    first, last = min(t[0] for t in times), max(t[-1] for t in times)
    # On the samples of the first camera, so that what is sampled alike is not interpolated.
    before = int(np.floor((times[0][0] - first) / step_s + 1e-6))
    after = int((last - times[0][0]) / step_s + 1e-6) + 1
    # A recording with holes of hours is looked at in its first part.
    return times[0][0] + step_s * np.arange(-before, min(after, MOST_SAMPLES - before))


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


def _solve(n: int, reference: int, pairs: list[tuple[int, int]], shifts: np.ndarray) -> dict[int, tuple[float, float]]:
    """Offset and deviation in steps of each camera that pairs link to the reference; shifts (P, D)."""
    if not pairs:
        return {}
    spread = np.abs(shifts - np.median(shifts, axis=1, keepdims=True))
    sigma = np.maximum(1.4826 * np.median(spread, axis=1), 0.02)
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
