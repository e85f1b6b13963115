"""What points seen by several cameras say about a rig: which camera has moved, by how much, or was never right.

Each camera in turn is held against what the others make of the points: it is placed anew so that it agrees with
them. The camera whose new place mends most is put there, and the rest is looked at again. A camera is named
when its correction shifts its picture by more than tolerances and by more than its own uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from calib.correction import Correction, Placed, correction_of, placed_anew
from calib.evidence_findings import RESIDUAL_PX, Kind, matters, moved_findings, picture_scale, unexplained
from calib.medians import median_known
from calib.misread import other_reading
from calib.quality import Finding, Level
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.triangulate import triangulate

MOST_POINTS = 400
LEAST_COMMON = 30
_WIDEST = 2.5
"""Tangent of the angle from the axis beyond which a straight picture stretches errors too much."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What some points say.

    Attributes:
        kind: ``board`` or ``keypoints``.
        points: How many at least two cameras saw (of those looked at).
        median_px: Median residual by camera, of points triangulated by all; NaN = it shares none.
        corrections: Of cameras that disagree with the others, the worst first.
        findings: In words.
        scale: Distances between the board's points in this rig over the true ones; ``None`` without a board.
        scale_deviation: Standard deviation of it.
    """

    kind: Kind
    points: int
    median_px: dict[str, float]
    corrections: tuple[Correction, ...]
    findings: tuple[Finding, ...]
    scale: float | None = None
    scale_deviation: float | None = None


def evidence(
    rig: Rig, px: Float[np.ndarray, "V M 2"], weight: Float[np.ndarray, "V M"] | None = None, *, kind: Kind
) -> Evidence:
    """Hold a rig against points.

    Args:
        rig: In whose order the views are.
        px: Raw px of M points of the world (all corners of all moments, all joints of all frames); NaN = not seen.
        weight: Confidence; 0 = not seen.
        kind: What the points are.
    """
    px = np.array(px, dtype=np.float64)
    if weight is not None:
        px[~(np.asarray(weight) > 0)] = np.nan
    seen = np.isfinite(px).all(axis=-1)
    common = np.flatnonzero(seen.sum(axis=0) >= 2)
    if len(common) > MOST_POINTS:
        common = common[np.linspace(0, len(common) - 1, MOST_POINTS).round().astype(int)]
    px, seen = px[:, common], seen[:, common]
    if len(common) < LEAST_COMMON:
        what = f"only {len(common)} points were seen by two cameras or more: too few to judge by"
        return Evidence(kind, len(common), {}, (), (Finding("note", (), what, "record more of them"),))
    scale = np.array([picture_scale(camera) for camera in rig.cameras])
    # Lenses are undone once; what is tried below are places.
    straight, flat = _straightened(rig, px)
    before = _median_residuals(straight, flat)
    corrections, mended, blamed = _corrected(rig, straight, px, flat, scale, kind)
    after = _median_residuals(mended, flat)
    noise = float(np.nanmedian(before)) if len(rig) > 2 and np.isfinite(before).any() else 0.0
    findings = [*moved_findings(rig, corrections, scale, kind, blamed, noise)]
    named = {c.camera for c in corrections}
    read = _read_otherwise(rig, mended, px, flat, after, RESIDUAL_PX[kind][0] * scale)
    for name, words in read.items():
        after[rig.names.index(name)] = np.nan
        if name not in named:
            level: Level = "bad" if kind == "board" else "suspect"
            points = "the board" if kind == "board" else "the keypoints"
            what = f"{words}: so read, it agrees with the other cameras about {points}"
            findings.append(Finding(level, (name,), what, "correct the file, or calibrate again"))
    findings += unexplained(rig, seen, before, after, named | read.keys(), scale, kind)
    names = dict(zip(rig.names, (float(x) for x in before), strict=True))
    return Evidence(kind, len(common), names, corrections, tuple(findings))


def _straightened(rig: Rig, px: np.ndarray) -> tuple[Rig, np.ndarray]:
    """The rig with lenses that bend nothing, and the points as they would have seen them; unlikely rays are dropped."""
    cameras, flat = [], np.full(px.shape, np.nan)
    for v, camera in enumerate(rig.cameras):
        K = np.diag([camera.K[0, 0], camera.K[1, 1], 1.0])
        xy = camera.undistort(px[v])
        xy[np.linalg.norm(xy, axis=-1) > _WIDEST] = np.nan
        flat[v] = xy * np.diag(K)[:2]
        cameras.append(replace(camera, K=K, dist=np.zeros(0), fisheye=False))
    return rig.with_cameras(cameras), flat


def _points(rig: Rig, px: np.ndarray) -> np.ndarray:
    """(M, 3) triangulated, robustly where there are views to spare."""
    arrays = rig.arrays()
    plain = triangulate(px, np.isfinite(px[..., 0]).astype(float), arrays)
    if len(rig) < 4:
        return plain
    error = _residual(rig, px, plain)
    sigma = float(np.clip(np.nanmedian(error) if np.isfinite(error).any() else 1.0, 0.5, 10.0))
    found = triangulate_robust(px, np.isfinite(px[..., 0]).astype(float), arrays, sigma_px=sigma)
    return found.position_mm


def _residual(rig: Rig, px: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(V, M) px."""
    return np.stack([np.linalg.norm(c.project(points) - px[v], axis=-1) for v, c in enumerate(rig.cameras)])


def _median_residuals(rig: Rig, px: np.ndarray) -> np.ndarray:
    """(V,) of points triangulated from all; those behind a camera count as far away."""
    points = triangulate(px, np.isfinite(px[..., 0]).astype(float), rig.arrays()) if len(rig) < 4 else _points(rig, px)
    return np.array([median_known(row) for row in _residual(rig, px, points)])


def _corrected(
    rig: Rig, straight: Rig, px: np.ndarray, flat: np.ndarray, scale: np.ndarray, kind: Kind
) -> tuple[tuple[Correction, ...], Rig, dict[str, str]]:
    """Cameras that disagree, the straight rig with them placed anew, and what else would explain them."""
    corrections: list[Correction] = []
    blamed: dict[str, str] = {}
    now = straight
    if len(rig) < 3:
        return (), now, blamed
    for _ in range(max(1, (len(rig) - 1) // 2)):
        best: tuple[float, int, Placed, Rig, np.ndarray] | None = None
        noise = _noise(now, flat)
        base = _pooled(now, flat, noise)
        for v in range(len(now)):
            if now.names[v] in {c.camera for c in corrections}:
                continue
            others = np.delete(np.arange(len(now)), v)
            points = _points(now.select([now.names[k] for k in others]), flat[others])
            placed = placed_anew(now.cameras[v], points, flat[v], noise)
            if placed is None:
                continue
            trial = now.with_cameras([*now.cameras[:v], placed.camera, *now.cameras[v + 1 :]])
            cost = _pooled(trial, flat, noise)
            if best is None or cost < best[0]:
                best = cost, v, placed, trial, points
        if best is None:
            break
        cost, v, placed, trial, points = best
        correction = correction_of(now.cameras[v], placed, flat[v])
        if not matters(correction, float(scale[v]), kind) or cost >= base:
            break
        other = other_reading(rig.cameras[v], points, px[v], placed.before_px, placed.after_px)
        if other:
            blamed[now.names[v]] = other
        corrections.append(correction)
        now = trial
    return tuple(sorted(corrections, key=lambda c: -c.shift_px)), now, blamed


def _noise(rig: Rig, px: np.ndarray) -> float:
    """About how far points are off where cameras agree: a low quantile stands whatever one camera does."""
    error = _residual(rig, px, _points(rig, px))
    error = error[np.isfinite(error)]
    return float(max(np.percentile(error, 25) * 1.5, 0.1)) if len(error) else 1.0


def _pooled(rig: Rig, px: np.ndarray, noise: float) -> float:
    """Mean bounded loss of all observations; one behind a camera or without a point counts as lost."""
    error = _residual(rig, px, _points(rig, px))[np.isfinite(px[..., 0])]
    squared = np.where(np.isfinite(error), (error / (3 * noise)) ** 2, 1e6)
    return float(np.mean(squared / (1 + squared)))


def _read_otherwise(
    rig: Rig, straight: Rig, px: np.ndarray, flat: np.ndarray, after: np.ndarray, limits: np.ndarray
) -> dict[str, str]:
    """Cameras that no new place mends, and what else their numbers could mean; by the points of the good ones."""
    off = np.flatnonzero(~(after <= limits))
    good = np.flatnonzero(after <= limits)
    if len(good) < 2 or not len(off):
        return {}
    points = _points(straight.select([rig.names[k] for k in good]), flat[good])
    found = {}
    for v in off:
        before = median_known(np.linalg.norm(rig.cameras[v].project(points) - px[v], axis=-1))
        before = before if np.isfinite(before) else float(np.hypot(*rig.cameras[v].size))
        words = other_reading(rig.cameras[v], points, px[v], before, 0.0)
        if words:
            found[rig.names[v]] = words
    return found
