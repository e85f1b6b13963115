"""Board views as each camera's rays, and where the board stands before each camera alone.

A flat board seen under a small angle has two poses that explain a view nearly equally well: the true one and its
mirror image about the line of sight (Schweighofer and Pinz 2006; Collins and Bartoli 2014). Both are found here, with
how sure each is, so that whoever combines views can tell them apart. All views are solved at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Camera
from calib.observations import BoardViews

_STEPS = 20
_DRAWS = 24
"""Fours of points tried where a view holds gross errors: with a tenth of them wrong, the chance that every four holds
one is 0.34 ** 24; with a quarter wrong 0.68 ** 24 = 1e-4."""
_GROSS = 5.0
"""Residuals beyond this many robust deviations of their view are gross: one in 200,000 of normal ones (2D)."""
_DOUBT = 0.6
"""Share of that limit from which on a view is looked at closely."""


@dataclass(frozen=True, eq=False)
class Sight:
    """Board views without their lenses.

    Attributes:
        xy: (V, F, N, 2) points of the normalised plane; NaN = not seen or no ray.
        px_per: (V, F, N, 2, 2) change of raw px with a change of ``xy`` there; zero where not seen.
        seen: (V, F, N).
    """

    xy: Float[np.ndarray, "V F N 2"]
    px_per: Float[np.ndarray, "V F N 2 2"]
    seen: Bool[np.ndarray, "V F N"]


@dataclass(frozen=True, eq=False)
class BoardPoses:
    """Both poses of the board before each camera, the likelier first.

    Attributes:
        R: (V, F, 2, 3, 3) from board to camera.
        t: (V, F, 2, 3) mm.
        chi2: (V, F, 2) sum of squared residuals of the points kept, px2.
        information: (V, F, 2, 6, 6) per px2 of noise, after a small motion ``X' = X + w x X + u`` in the camera's
            frame, in the order w, u.
        kept: (V, F, N) points that agree with the others of their view.
        known: (V, F) whether there is a pose.
        two: (V, F) whether the second is another pose than the first (else both are the same).
    """

    R: Float[np.ndarray, "V F 2 3 3"]
    t: Float[np.ndarray, "V F 2 3"]
    chi2: Float[np.ndarray, "V F 2"]
    information: Float[np.ndarray, "V F 2 6 6"]
    kept: Bool[np.ndarray, "V F N"]
    known: Bool[np.ndarray, "V F"]
    two: Bool[np.ndarray, "V F"]

    def noise_px(self) -> Float[np.ndarray, " V"]:
        """Standard deviation of a coordinate in each camera, from what its views leave by themselves."""
        free = 2 * self.kept.sum(axis=-1) - 6
        use = self.known & (free > 0)
        squares = np.where(use, self.chi2[..., 0] / np.maximum(free, 1), np.nan)
        with np.errstate(all="ignore"):
            return np.array([np.sqrt(np.nanmedian(row)) if use[v].any() else np.nan for v, row in enumerate(squares)])


def sight_of(views: BoardViews, cameras: Sequence[Camera]) -> Sight:
    """Undistort all views of cameras whose intrinsics are known."""
    xy = np.full(views.px.shape, np.nan)
    px_per = np.zeros((*views.px.shape, 2))
    for v, camera in enumerate(cameras):
        seen = views.seen[v]
        px = views.px[v][seen]
        if not len(px):
            continue
        # Half a pixel to each side: the lens is smooth on that scale.
        around = np.stack([px, px + (0.5, 0), px - (0.5, 0), px + (0, 0.5), px - (0, 0.5)])
        rays = camera.undistort(around)
        per_px = np.stack([rays[1] - rays[2], rays[3] - rays[4]], axis=-1)
        with np.errstate(all="ignore"):
            determinant = per_px[:, 0, 0] * per_px[:, 1, 1] - per_px[:, 0, 1] * per_px[:, 1, 0]
            inverse = np.empty_like(per_px)
            inverse[:, 0, 0], inverse[:, 1, 1] = per_px[:, 1, 1], per_px[:, 0, 0]
            inverse[:, 0, 1], inverse[:, 1, 0] = -per_px[:, 0, 1], -per_px[:, 1, 0]
            inverse /= determinant[:, None, None]
        bad = ~np.isfinite(inverse).all(axis=(-2, -1)) | ~np.isfinite(rays[0]).all(axis=-1) | (determinant <= 0)
        inverse[bad] = 0
        rays[0][bad] = np.nan
        xy[v][seen] = rays[0]
        px_per[v][seen] = inverse
    return Sight(xy, px_per, ~np.isnan(xy[..., 0]))


def board_poses(sight: Sight, target_mm: Float[np.ndarray, "N 3"], usable: Bool[np.ndarray, "V F"]) -> BoardPoses:
    """Both poses of each usable view.

    Args:
        sight: The views.
        target_mm: The flat board.
        usable: `BoardViews.usable`.

    Returns:
        Poses; a view without one is not ``known``.
    """
    shape = usable.shape
    n = len(target_mm)
    index = np.flatnonzero(usable.ravel())
    xy = sight.xy.reshape(-1, n, 2)[index]
    px_per = sight.px_per.reshape(-1, n, 2, 2)[index]
    seen = sight.seen.reshape(-1, n)[index]
    enough = seen.sum(axis=-1) >= 4
    index, xy, px_per, seen = index[enough], xy[enough], px_per[enough], seen[enough]
    xy = np.where(seen[..., None], xy, 0.0)
    # A board of its own: unit size about its middle, so that the equations are well scaled.
    middle = target_mm.mean(axis=0)
    unit = max(float(np.abs(target_mm - middle).max()), 1e-9)
    board = (target_mm - middle) / unit

    if not len(index):
        return _no_poses(shape, n)
    kept, homography = _homographies(xy, px_per, seen, board[:, :2])
    R, t = _both_poses(homography)
    R, t, chi2, information = _refined(R, t, xy, px_per, kept, board)
    swap = chi2[:, 1] < chi2[:, 0]
    for array in (R, t, chi2, information):
        array[swap] = array[swap][:, ::-1]
    known = np.isfinite(chi2[:, 0]) & (kept.sum(axis=-1) >= 4) & (t[:, 0, 2] > 0)
    apart = np.linalg.norm(R[:, 0] - R[:, 1], axis=(-2, -1)) / np.sqrt(2)
    two = known & np.isfinite(chi2[:, 1]) & (t[:, 1, 2] > 0) & (apart > np.radians(1.0))
    same = ~two
    R[same, 1], t[same, 1] = R[same, 0], t[same, 0]
    chi2[same, 1], information[same, 1] = chi2[same, 0], information[same, 0]
    # Back to the board's own frame and mm.
    t = unit * t - R @ middle
    scale = np.repeat([1.0, 1 / unit], 3)
    information = information * scale[:, None] * scale

    def whole(values: np.ndarray, fill: float) -> np.ndarray:
        out = np.full((shape[0] * shape[1], *values.shape[1:]), fill, dtype=values.dtype)
        out[index[known]] = values[known]
        return out.reshape(*shape, *values.shape[1:])

    return BoardPoses(
        whole(R, np.nan),
        whole(t, np.nan),
        whole(chi2, np.nan),
        whole(information, 0.0),
        whole(kept, False),
        whole(known, False),
        whole(two, False),
    )


def _no_poses(shape: tuple[int, ...], n: int) -> BoardPoses:
    nothing = np.zeros(shape, dtype=bool)
    return BoardPoses(
        np.full((*shape, 2, 3, 3), np.nan),
        np.full((*shape, 2, 3), np.nan),
        np.full((*shape, 2), np.nan),
        np.zeros((*shape, 2, 6, 6)),
        np.zeros((*shape, n), dtype=bool),
        nothing,
        nothing.copy(),
    )


def _homographies(
    xy: np.ndarray, px_per: np.ndarray, seen: np.ndarray, board: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points that one homography explains (M, N), and it (M, 3, 3): least squares where nothing stands out."""
    homography = _dlt(xy, seen.astype(np.float64), board)
    error = _homography_error(homography, xy, px_per, board)
    # An outlier bends a fit of few points to itself and hides: a view is looked at closely for little.
    spread = _limit(error, seen)
    largest = np.where(seen, error, 0.0).max(axis=-1)
    doubtful = (largest > _DOUBT * spread) | (spread > 2 * np.percentile(spread, 25))
    doubted = np.flatnonzero(doubtful & (seen.sum(axis=-1) > 5))
    kept = seen.copy()
    if len(doubted):
        kept[doubted] = _agreeing(xy[doubted], px_per[doubted], seen[doubted], board)
        homography[doubted] = _dlt(xy[doubted], kept[doubted].astype(np.float64), board)
    return kept, homography


def _limit(error: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(M,) what residual is gross: relative to the view's median, which stands for 1.18 deviations in 2D."""
    # A tenth of a pixel: no corner is found better, so a view fitted exactly rejects nothing.
    return _GROSS * np.maximum(_median(error, seen) / 1.18, 0.1)


def _median(error: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(...) medians of the errors (..., N) that were seen; infinite where they are not finite, or none was seen."""
    ordered = np.sort(np.where(seen & np.isfinite(error), error, np.inf), axis=-1)
    middle = np.maximum(np.broadcast_to(seen, error.shape).sum(axis=-1) - 1, 0) // 2
    return np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0]


def _through_four(xy: np.ndarray, board: np.ndarray) -> np.ndarray:
    """(..., 3, 3) homographies through four points: ``xy`` (..., 4, 2) of ``board`` (..., 4, 2)."""
    rows = np.zeros((*xy.shape[:-1], 2, 8))
    rows[..., 0, 0:2] = rows[..., 1, 3:5] = board
    rows[..., 0, 2] = rows[..., 1, 5] = 1
    rows[..., 6:8] = -xy[..., :, None] * board[..., None, :]
    flat = rows.reshape(*xy.shape[:-2], 8, 8)
    # Three points in a line fix nothing: whatever comes out is far from the other points, and the median sorts it out.
    singular = np.linalg.det(flat) == 0
    flat = np.where(singular[..., None, None], np.eye(8), flat)
    eight = np.linalg.solve(flat, xy.reshape(*xy.shape[:-2], 8, 1))[..., 0]
    return np.concatenate([eight, np.ones((*eight.shape[:-1], 1))], axis=-1).reshape(*eight.shape[:-1], 3, 3)


def _agreeing(xy: np.ndarray, px_per: np.ndarray, seen: np.ndarray, board: np.ndarray) -> np.ndarray:
    """(M, N) points that agree with the best of many homographies of four (least median of squares)."""
    rng = np.random.default_rng(0)
    views, n = seen.shape
    # Four random seen points of each view, in each draw.
    order = np.argsort(np.where(seen[:, None], rng.random((views, _DRAWS, n)), 2.0), axis=-1)[..., :4]
    tried = _through_four(np.take_along_axis(xy[:, None], order[..., None], axis=2), board[order])
    error = np.stack([_homography_error(tried[:, k], xy, px_per, board) for k in range(_DRAWS)], axis=1)
    best = _median(error, seen[:, None]).argmin(axis=-1)
    kept = seen.copy()
    error_best = error[np.arange(views), best]
    # Twice: a fit to all that agree is better than one to four.
    for _ in range(2):
        kept = seen & (error_best <= _limit(error_best, seen)[:, None])
        few = kept.sum(axis=-1) < 4
        kept[few] = seen[few]
        error_best = _homography_error(_dlt(xy, kept.astype(np.float64), board), xy, px_per, board)
    return kept & (error_best <= _limit(error_best, kept)[:, None])


def _dlt(xy: np.ndarray, weight: np.ndarray, board: np.ndarray) -> np.ndarray:
    """(M, 3, 3) homographies from board to ``xy`` by weighted linear least squares, points scaled and centred."""
    total = np.maximum(weight.sum(axis=-1), 1e-12)
    middle = (weight[..., None] * xy).sum(axis=-2) / total[:, None]
    offset = (xy - middle[:, None]) * (weight[..., None] > 0)
    size = np.sqrt((weight * (offset**2).sum(axis=-1)).sum(axis=-1) / total) + 1e-12
    x, y = np.moveaxis(offset / size[:, None, None], -1, 0)
    m, n = weight.shape
    source = np.concatenate([board, np.ones((n, 1))], axis=-1)
    rows = np.zeros((m, 2 * n, 9))
    rows[:, :n, 0:3] = source
    rows[:, n:, 3:6] = source
    rows[:, :n, 6:9] = -x[..., None] * source
    rows[:, n:, 6:9] = -y[..., None] * source
    root = np.sqrt(weight)
    rows *= np.concatenate([root, root], axis=-1)[..., None]
    vectors = np.linalg.eigh(np.swapaxes(rows, -1, -2) @ rows)[1]
    scaled = vectors[..., 0].reshape(m, 3, 3)
    back = np.zeros((m, 3, 3))
    back[:, 0, 0] = back[:, 1, 1] = size
    back[:, :2, 2] = middle
    back[:, 2, 2] = 1
    return back @ scaled


def _homography_error(homography: np.ndarray, xy: np.ndarray, px_per: np.ndarray, board: np.ndarray) -> np.ndarray:
    """(M, N) distance in px."""
    source = np.concatenate([board, np.ones((len(board), 1))], axis=-1)
    with np.errstate(all="ignore"):
        image = source @ np.swapaxes(homography, -1, -2)
        off = xy - image[..., :2] / image[..., 2:]
        return np.linalg.norm((px_per @ off[..., None])[..., 0], axis=-1)


def _both_poses(homography: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both rotations (M, 2, 3, 3) and the translations (M, 2, 3) of a plane z = 0 about its origin.

    From the homography's derivative at the origin (Collins and Bartoli 2014): along the line of sight the board looks
    like a parallelogram, which two tilts explain.
    """
    with np.errstate(all="ignore"):
        scaled = homography / homography[:, 2:, 2:]
        at = scaled[:, :2, 2]
        slope = scaled[:, :2, :2] - at[:, :, None] * scaled[:, 2:, :2]
    bad = ~np.isfinite(slope).all(axis=(-2, -1)) | ~np.isfinite(at).all(axis=-1)
    slope[bad], at[bad] = np.eye(2), 0.0
    sight = np.concatenate([at, np.ones((len(at), 1))], axis=-1)
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    to_sight = _from_z(sight)
    flat = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (len(at), 1, 1))
    flat[:, :, 2] = -at
    along = np.linalg.solve((flat @ to_sight)[..., :2], slope)
    size = np.linalg.svd(along, compute_uv=False)[:, 0]
    upper = along / np.maximum(size, 1e-300)[:, None, None]
    rest = np.eye(2) - np.swapaxes(upper, -1, -2) @ upper
    third = np.sqrt(np.maximum(np.einsum("mii->mi", rest), 0))
    third[:, 1] *= np.where(rest[:, 0, 1] < 0, -1.0, 1.0)
    out = np.empty((len(at), 2, 3, 3))
    for k, sign in enumerate((1.0, -1.0)):
        two = np.concatenate([upper, sign * third[:, None]], axis=1)
        columns = to_sight @ np.concatenate([two, np.cross(two[..., 0], two[..., 1])[..., None]], axis=-1)
        u, _, vt = np.linalg.svd(columns)
        u[..., 2] *= np.linalg.det(u @ vt)[:, None]
        out[:, k] = u @ vt
    t = np.concatenate([at, np.ones((len(at), 1))], axis=-1) / np.maximum(size, 1e-300)[:, None]
    return out, np.stack([t, t], axis=1)


def _from_z(direction: np.ndarray) -> np.ndarray:
    """(M, 3, 3) the shortest rotations from the z axis to unit directions before the camera."""
    w = np.cross(np.array([0.0, 0, 1]), direction)
    cosine = direction[:, 2]
    cross = skew(w)
    return np.eye(3) + cross + cross @ cross / (1 + cosine)[:, None, None]


def rotations(w: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices of Rodrigues vectors (..., 3)."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    with np.errstate(all="ignore"):
        sinc = np.where(angle > 1e-8, np.sin(angle) / angle, 1.0)
        cosc = np.where(angle > 1e-4, (1 - np.cos(angle)) / angle**2, 0.5)
    cross = skew(w)
    return np.eye(3) + sinc * cross + cosc * (cross @ cross)


def skew(w: np.ndarray) -> np.ndarray:
    """(..., 3, 3) matrices of the cross product with vectors (..., 3)."""
    out = np.zeros((*w.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -w[..., 2], w[..., 1], -w[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = w[..., 2], -w[..., 1], w[..., 0]
    return out


def project_with_motion(
    points: np.ndarray, xy: np.ndarray, px_per: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals in px (..., N, 2) of points (..., N, 3) before a camera, and their derivative (..., N, 2, 6).

    The derivative is that of the projection after a small motion w, u of the points: ``X' = X + w x X + u``. Points
    not kept, and behind the camera, count nothing.
    """
    depth = points[..., 2]
    good = kept & (depth > 1e-9)
    inverse = np.where(good, 1 / np.where(good, depth, 1.0), 0.0)
    x, y = points[..., 0] * inverse, points[..., 1] * inverse
    off = np.stack([np.where(good, xy[..., 0] - x, 0.0), np.where(good, xy[..., 1] - y, 0.0)], axis=-1)
    motion = np.zeros((*x.shape, 2, 6))
    motion[..., 0, 0], motion[..., 0, 1], motion[..., 0, 2] = -x * y, 1 + x * x, -y
    motion[..., 1, 0], motion[..., 1, 1], motion[..., 1, 2] = -1 - y * y, x * y, x
    motion[..., 0, 3], motion[..., 0, 5] = inverse, -x * inverse
    motion[..., 1, 4], motion[..., 1, 5] = inverse, -y * inverse
    motion *= good[..., None, None]
    return (px_per @ off[..., None])[..., 0], px_per @ motion


def _refined(
    R: np.ndarray, t: np.ndarray, xy: np.ndarray, px_per: np.ndarray, kept: np.ndarray, board: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Least squares in px of all poses (M, 2, ...) by damped Gauss-Newton; with chi2 (M, 2) and information."""
    xy, px_per, kept = xy[:, None], px_per[:, None], kept[:, None]

    def evaluate(R: np.ndarray, t: np.ndarray, which: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = board @ np.swapaxes(R, -1, -2) + t[..., None, :]
        residual, motion = project_with_motion(points, xy[which], px_per[which], kept[which])
        flat = motion.reshape(*motion.shape[:2], -1, 6)
        normal = np.swapaxes(flat, -1, -2) @ flat
        right = (np.swapaxes(flat, -1, -2) @ residual.reshape(*residual.shape[:2], -1, 1))[..., 0]
        chi2 = (residual**2).sum(axis=(-2, -1))
        # A point that went behind the camera is no success.
        lost = (kept[which] & (points[..., 2] <= 1e-9)).any(axis=-1)
        return np.where(lost, np.inf, chi2), normal, right

    chi2, normal, right = evaluate(R, t, slice(None))
    damping = np.full(chi2.shape, 1e-3)
    eye = np.eye(6)
    going = np.arange(len(R))
    for _ in range(_STEPS):
        diagonal = np.einsum("...ii->...i", normal[going])
        # A trace of the largest keeps views that do not fix all six solvable.
        damped = normal[going] + damping[going][..., None, None] * diagonal[..., None] * eye
        damped += (1e-12 * diagonal.max(axis=-1) + 1e-30)[..., None, None] * eye
        step = np.linalg.solve(damped, right[going][..., None])[..., 0]
        step = np.where(np.isfinite(step), step, 0.0)
        turn = rotations(np.clip(step[..., :3], -1, 1))
        new_R, new_t = turn @ R[going], (turn @ t[going][..., None])[..., 0] + step[..., 3:]
        new_chi2, new_normal, new_right = evaluate(new_R, new_t, going)
        before = chi2[going]
        better = new_chi2 <= before
        with np.errstate(invalid="ignore"):
            done = better & (before - new_chi2 <= 1e-6 * before + 1e-9)
        m, k = np.nonzero(better)
        R[going[m], k], t[going[m], k] = new_R[m, k], new_t[m, k]
        chi2[going[m], k], normal[going[m], k], right[going[m], k] = new_chi2[m, k], new_normal[m, k], new_right[m, k]
        damping[going] = np.where(better, damping[going] * 0.1, damping[going] * 10)
        going = going[~(done | (damping[going] > 1e6)).all(axis=-1)]
        if not len(going):
            break
    return R, t, chi2, normal
