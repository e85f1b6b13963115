"""What points seen by several cameras say about a rig: which camera has moved, by how much, or was never right.

Each camera in turn is held against what the others make of the points: it is placed anew so that it agrees with
them. The camera whose new place mends most is put there, and the rest is looked at again. A camera is named
when its correction shifts its picture by more than tolerances and by more than its own uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float

from calib.camera import Camera
from calib.quality import Finding, Level
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.triangulate import triangulate

Kind = Literal["board", "keypoints"]

MOST_POINTS = 400
LEAST_POINTS = 30
_PICTURE_PX = 1600.0
"""Diagonal of a picture for which the tolerances below hold; they grow with the picture."""
_RESIDUAL: dict[Kind, tuple[float, float]] = {"board": (1.5, 6.0), "keypoints": (20.0, np.inf)}
_SHIFT: dict[Kind, tuple[float, float]] = {"board": (1.2, 2.0), "keypoints": (6.0, np.inf)}
"""Suspect and bad beyond: median residual, and shift of the picture that a correction of one camera makes, px.
A network sees some joints beside where they are, and differently in each view: keypoints never make a rig bad."""
_SURE = 5.0
_STEPS = 25
_WIDEST = 2.5
"""Tangent of the angle from the axis beyond which a straight picture stretches errors too much."""
_MENDS = 0.5
"""Another reading of a camera's numbers is named when it leaves less than this share of the residual."""


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
    if len(common) < LEAST_POINTS:
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
    read = _read_otherwise(rig, mended, px, flat, after, _RESIDUAL[kind][0] * scale)
    for name, words in read.items():
        after[rig.names.index(name)] = np.nan
        if name not in named:
            level: Level = "bad" if kind == "board" else "suspect"
            points = "the board" if kind == "board" else "the keypoints"
            what = f"{words}: so read, it agrees with the other cameras about {points}"
            findings.append(Finding(level, (name,), what, "correct the file, or calibrate again"))
    findings += _unexplained(rig, seen, before, after, named | read.keys(), scale, kind)
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


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _median_residuals(rig: Rig, px: np.ndarray) -> np.ndarray:
    """(V,) of points triangulated from all; those behind a camera count as far away."""
    points = triangulate(px, np.isfinite(px[..., 0]).astype(float), rig.arrays()) if len(rig) < 4 else _points(rig, px)
    return np.array([_median(row) for row in _residual(rig, px, points)])


@dataclass(frozen=True, slots=True)
class _Placed:
    camera: Camera
    before_px: float
    after_px: float
    covariance: np.ndarray
    depth_mm: float
    used: int


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
        best: tuple[float, int, _Placed, Rig, np.ndarray] | None = None
        noise = _noise(now, flat)
        base = _pooled(now, flat, noise)
        for v in range(len(now)):
            if now.names[v] in {c.camera for c in corrections}:
                continue
            others = np.delete(np.arange(len(now)), v)
            points = _points(now.select([now.names[k] for k in others]), flat[others])
            placed = _place(now.cameras[v], points, flat[v], noise)
            if placed is None:
                continue
            trial = now.with_cameras([*now.cameras[:v], placed.camera, *now.cameras[v + 1 :]])
            cost = _pooled(trial, flat, noise)
            if best is None or cost < best[0]:
                best = cost, v, placed, trial, points
        if best is None:
            break
        cost, v, placed, trial, points = best
        correction = _correction(now.cameras[v], placed, flat[v])
        if not matters(correction, float(scale[v]), kind) or cost >= base:
            break
        other = _other_reading(rig.cameras[v], points, px[v], placed.before_px, placed.after_px)
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


def _place(camera: Camera, points: np.ndarray, px: np.ndarray, noise: float) -> _Placed | None:
    """The camera placed so that it sees the points where it saw them: Gauss-Newton, weights of Geman and McClure.

    The scale of the weights comes down from what the start leaves to the noise, so that a start that is far off is
    mended and gross errors still do not count.
    """
    xy = camera.undistort(px)
    use = np.isfinite(xy).all(axis=-1) & np.isfinite(points).all(axis=-1)
    if use.sum() < LEAST_POINTS // 2:
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
        floor = 3 * noise
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
        cross = np.zeros((len(points), 3, 3))
        x, y, z = inside.T
        cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = z, -y, x
        cross[:, 1, 0], cross[:, 2, 0], cross[:, 2, 1] = -z, y, -x
        J = np.concatenate([du @ cross, du], axis=-1) * focal[:, None]
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
    left = _median(after)
    # Of a 2D error with normal components, the median length is 1.18 sigma.
    sigma = max(left / 1.18, 1e-3)
    covariance = np.linalg.pinv(H, hermitian=True) * sigma**2
    depth_mm = float(np.median(np.abs((points @ R.T + t)[:, 2])))
    return _Placed(mended, _median(before), left, covariance, depth_mm, len(seen))


def _correction(camera: Camera, placed: _Placed, px: np.ndarray) -> Correction:
    turn = placed.camera.R @ camera.R.T
    angle = float(np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0])))
    moved = float(np.linalg.norm(placed.camera.center_mm - camera.center_mm))
    deviation = np.sqrt(np.maximum(np.diag(placed.covariance), 0))
    # The centre moves with the turn too: C = -R^T t.
    x, y, z = placed.camera.t
    lever = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    to_center = np.concatenate([-lever, -np.eye(3)], axis=1)
    center = to_center @ placed.covariance @ to_center.T
    # How far the picture shifts: where its own points lay, at the depth that they have.
    sight = camera.undistort(px[np.isfinite(px[:, 0])])
    sight = sight[np.isfinite(sight).all(axis=-1)]
    points = np.concatenate([sight, np.ones((len(sight), 1))], axis=-1) * placed.depth_mm
    world = (points - camera.t) @ camera.R
    shift = _median(np.linalg.norm(placed.camera.project(world) - camera.project(world), axis=-1))
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


def _readings(camera: Camera) -> Iterator[tuple[str, Camera]]:
    """Other cameras that the same numbers could have meant."""
    K = camera.K.copy()
    K[0, 2], K[1, 2] = camera.K[1, 2], camera.K[0, 2]
    yield "its principal point has x and y swapped", replace(camera, K=K)
    inverse = cv2.Rodrigues(camera.R.T)[0].ravel()
    words = "its rotation and translation are those from camera to world"
    yield words, replace(camera, rvec=inverse, t=-camera.R.T @ camera.t)
    yield "its rotation is transposed", replace(camera, rvec=inverse)
    for factor, unit in ((10.0, "cm"), (1000.0, "m"), (0.1, "mm taken for cm"), (0.001, "mm taken for m")):
        yield f"its translation is in another unit ({unit})", replace(camera, t=camera.t * factor)
    for factor in (0.5, 2.0, 1.5, 2 / 3):
        scaled = camera.K.copy()
        scaled[:2] *= factor
        scaled[:2, 2] += (factor - 1) / 2
        yield f"its K is for pictures of {1 / factor:.2g} times the size", replace(camera, K=scaled)


def _other_reading(camera: Camera, points: np.ndarray, px: np.ndarray, before_px: float, after_px: float) -> str:
    """What a camera's numbers would have to mean instead, where that explains its points as a new place does."""
    best = ("", _MENDS * before_px)
    known = np.isfinite(px[:, 0]) & np.isfinite(points).all(axis=-1)
    if known.sum() < LEAST_POINTS // 2:
        return ""
    for words, other in _readings(camera):
        error = np.linalg.norm(other.project(points) - px, axis=-1)
        if np.isfinite(error[known]).mean() < 0.7:
            continue
        left = _median(error)
        if left < best[1]:
            best = words, left
    return best[0] if best[1] < max(1.5 * after_px, 0.1 * before_px) else ""


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
        before = _median(np.linalg.norm(rig.cameras[v].project(points) - px[v], axis=-1))
        before = before if np.isfinite(before) else float(np.hypot(*rig.cameras[v].size))
        words = _other_reading(rig.cameras[v], points, px[v], before, 0.0)
        if words:
            found[rig.names[v]] = words
    return found


def matters(correction: Correction, scale: float, kind: Kind) -> bool:
    """Whether a correction is more than tolerances and more than chance; ``scale`` from `picture_scale`."""
    sure = correction.shift_px > _SURE * correction.shift_deviation_px
    return sure and correction.shift_px > _SHIFT[kind][0] * scale


def picture_scale(camera: Camera) -> float:
    """How large a camera's pictures are, against those that tolerances in px are written for."""
    return float(np.hypot(*camera.size)) / _PICTURE_PX if min(camera.size) > 0 else 1.0


def moved_findings(
    rig: Rig,
    corrections: tuple[Correction, ...],
    scale: np.ndarray,
    kind: Kind,
    blamed: dict[str, str],
    noise_px: float = 0.0,
) -> Iterator[Finding]:
    """Corrections in words; ``blamed`` says of a camera what else explains it, ``noise_px`` what others leave."""
    points = "the board" if kind == "board" else "the keypoints"
    for c in corrections:
        size = scale[rig.names.index(c.camera)]
        level: Level = "bad" if c.shift_px > _SHIFT[kind][1] * size else "suspect"
        if c.camera in blamed:
            what = f"{blamed[c.camera]}: so read, it agrees with the other cameras about {points}"
            yield Finding(level, (c.camera,), what, "correct the file, or calibrate again")
            continue
        what = (
            f"does not agree with the other cameras about {points}: it would have to be turned by "
            f"{c.turned_deg:.2f} +- {c.turned_deviation_deg:.2f} deg and moved by {c.moved_mm:.1f} +- "
            f"{c.moved_deviation_mm:.1f} mm (residual {c.before_px:.1f} px, then {c.after_px:.1f} px)"
        )
        remedy = "was it moved? calibrate again, or rigpose calibrate refine"
        if 0 < 2 * noise_px < c.after_px and c.before_px < 5 * c.after_px:
            what += ", which is still much: its lens is wrong rather than its place"
            remedy = "calibrate its intrinsics; is the picture size the same?"
        elif kind == "keypoints":
            remedy += "; a network that sees joints elsewhere in this view looks the same: confirm with a board"
        yield Finding(level, (c.camera,), what, remedy)


def _unexplained(
    rig: Rig, seen: np.ndarray, before: np.ndarray, after: np.ndarray, named: set[str], scale: np.ndarray, kind: Kind
) -> Iterator[Finding]:
    """Residuals that moving single cameras does not explain."""
    suspect, bad = _RESIDUAL[kind]
    points = "board points" if kind == "board" else "keypoints"
    for v, name in enumerate(rig.names):
        n = int(seen[v].sum())
        if n < LEAST_POINTS // 2:
            what = f"shares {n or 'no'} {points} with another camera: too few to judge its place by"
            yield Finding("note", (name,), what, "show them to it too")
        elif not np.isfinite(before[v]) and name not in named:
            # Points whose views contradict each other are given up: then none of its own was kept.
            grade: Level = "bad" if kind == "board" else "suspect"
            what = f"none of its rays to {n} {points} meets those of the other cameras"
            yield Finding(grade, (name,), what, "was it moved? calibrate again")
    unit = np.where(np.isfinite(after), after / scale, np.nan)
    if not np.isfinite(unit).any() or np.nanmax(unit) <= suspect:
        return
    level: Level = "bad" if np.nanmax(unit) > bad else "suspect"
    worst = tuple(rig.names[v] for v in np.flatnonzero(unit > suspect))
    left = f"{np.nanmax(after):.1f} px"
    if len(rig) == 2 and named:
        return
    if len(rig) == 2:
        what = f"their rays to the same {points} miss each other: {left} in the median"
        yield Finding(level, rig.names, what, "one of them was moved or has wrong numbers: calibrate again")
    elif named:
        what = f"after correcting {', '.join(sorted(named))} the residual is still {left} in the median"
        yield Finding(level, worst, what, "more is wrong than single places: calibrate again")
    else:
        what = f"the residual of {points} is {left} in the median, and no single camera explains it"
        yield Finding(level, worst, what, "check the lenses and the time between cameras, then calibrate again")
