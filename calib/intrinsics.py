"""The lens of one camera from its views of a board, and whether those views can tell its focal length at all.

The model grows as far as the data carry it: each step frees more of the lens, and the step with the least Bayesian
information criterion stays. A lens found in this way does not bend where no point lay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from calib.bundle import Adjusted, Free, adjust_boards
from calib.camera import Camera
from calib.observations import BoardViews, choose
from calib.quality import OUTSIDE_CIRCLE
from calib.sight import board_poses, sight_of
from calib.solution import Solution, residuals_of, solve
from rigpose.errors import ConfigError

Model = Literal["pinhole5", "pinhole8", "fisheye"]
MODELS: tuple[Model, ...] = ("pinhole5", "pinhole8", "fisheye")
COEFFICIENTS = {"pinhole5": 5, "pinhole8": 8, "fisheye": 4}

LEAST_VIEWS = 4
"""A view of a flat board gives two equations about the lens; focal length, centre and first distortion need four."""
MOST_VIEWS = 60
OBSERVED = 0.02
"""A focal length is observed when its standard deviation is below this share of it. An error of the focal length shifts
what the camera says of distances by the same share: 2 % of two metres are 4 cm."""
_BLOCKS = 5
_FOCAL_TRIED = np.geomspace(0.3, 5.0, 12)
"""Of the picture's longer side: views of 118 to 11 degrees (pinhole), and what fisheye lenses have."""


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """What the views of one camera say about its lens.

    Attributes:
        camera: Standing in the world's origin.
        model: Of its lens.
        free: What of the lens the data carried.
        views: How many views it was fitted to.
        solution: Of the fit; ``None`` where there were too few views, and the lens is a guess.
        focal_deviation_px: Standard deviation of fx and fy, from how much blocks of views disagree where that is more
            than the residuals alone would make.
        focal_observable: Whether that is below `OBSERVED` of it.
        blocks_px: rms residual at views that a fit did not see, and of that fit at those it saw; NaN = too few.
    """

    camera: Camera
    model: Model
    free: Free
    views: int
    solution: Solution | None
    focal_deviation_px: tuple[float, float]
    focal_observable: bool
    blocks_px: tuple[float, float]

    @property
    def words(self) -> str:
        """What is wrong with the focal length, if anything."""
        if self.focal_observable:
            return ""
        f = float(self.camera.K[[0, 1], [0, 1]].mean())
        if self.solution is None:
            return f"focal length not observable: {self.views} usable views of the board"
        sure = max(self.focal_deviation_px)
        return f"focal length not observable: {f:.0f} +- {sure:.0f} px ({100 * sure / f:.1f} %)"


def guessed(name: str, size: tuple[int, int], model: Model, focal_px: float | None = None) -> Camera:
    """A camera without distortion in the world's origin; by default as wide as its picture is."""
    focal = float(max(size)) if focal_px is None else float(focal_px)
    K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])
    dist = np.zeros(COEFFICIENTS[model])
    return Camera(name, size, K, dist, np.zeros(3), np.zeros(3), fisheye=model == "fisheye")


def steps_of(model: Model) -> tuple[Free, ...]:
    """What is free in each step of the model, from one focal length on; each frees all that the one before did."""
    if model == "fisheye":
        dists: tuple[tuple[int, ...], ...] = ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3))
    else:
        dists = ((0,), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3, 4))
        if model == "pinhole8":
            dists = (*dists, (0, 1, 2, 3, 4, 5, 6, 7))
    first = Free(extrinsics=False, focal="one", dist=dists[0])
    rest = [Free(extrinsics=False, focal="one", center=True, dist=dist) for dist in dists]
    return (first, *rest, Free(extrinsics=False, focal="both", center=True, dist=dists[-1]))


def everything_of(model: Model) -> Free:
    """All of a lens and the camera's pose."""
    return replace(steps_of(model)[-1], extrinsics=True)


def solve_intrinsics(views: BoardViews, model: Model = "pinhole5") -> Intrinsics:
    """The lens of one camera.

    Args:
        views: Of exactly one camera.
        model: What to describe it by.

    Raises:
        ConfigError: There are several cameras, or the model is not known.
    """
    if model not in MODELS:
        raise ConfigError(f"lens model {model}", "is not known", f"one of {', '.join(MODELS)}")
    if len(views.names) != 1:
        raise ConfigError("intrinsics", f"{len(views.names)} cameras at once", "give the views of one")
    name, size = views.names[0], views.sizes[0]
    views = views.select(choose(views, MOST_VIEWS))
    n_views = int(views.usable.sum())
    start = _start(views, model) if n_views else None
    if n_views < LEAST_VIEWS or start is None:
        camera = guessed(name, size, model) if start is None else start
        nan = (float("nan"), float("nan"))
        return Intrinsics(camera, model, Free(extrinsics=False), n_views, None, (np.inf, np.inf), False, nan)
    return _fitted(views, model, start)


def _fitted(views: BoardViews, model: Model, start: Camera) -> Intrinsics:
    poses_found = board_poses(sight_of(views, [start]), views.target_mm, views.usable)
    poses = np.full((len(views.frames), 6), np.nan)
    for f in np.flatnonzero(poses_found.known[0]):
        poses[f] = [*cv2.Rodrigues(poses_found.R[0, f, 0])[0].ravel(), *poses_found.t[0, f, 0]]
    kept = poses_found.kept
    # Up the ladder, loosely, each step from where the one before ended; then what does not fit the richest is left out.
    ladder = steps_of(model)
    reached: list[Adjusted] = []
    cameras: Sequence[Camera] = [start]
    for free in ladder:
        adjusted = _adjusted(views, cameras, poses, free, kept, None, 1e-4)
        assert adjusted.poses is not None
        cameras, poses = adjusted.cameras, np.where(np.isfinite(adjusted.poses), adjusted.poses, poses)
        reached.append(adjusted)
    richest = solve(views, cameras, poses, ladder[-1], kept, alone=True, rounds=2, max_iterations=30)
    seen_px = views.px[richest.used]
    best, best_score = 0, np.inf
    ended: list[Adjusted] = []
    for number, (free, before) in enumerate(zip(ladder, reached, strict=True)):
        start_poses = np.where(np.isfinite(richest.poses), richest.poses, poses)
        if before.poses is not None:
            start_poses = np.where(np.isfinite(before.poses), before.poses, start_poses)
        adjusted = _adjusted(views, before.cameras, start_poses, free, richest.used, richest.sigma_px, 1e-6)
        ended.append(adjusted)
        score = _criterion(adjusted, free, richest.used) if is_lens(adjusted.cameras[0], seen_px) else np.inf
        if score < best_score:
            best, best_score = number, score
    chosen = ended[best]
    assert chosen.poses is not None
    residual = residuals_of(chosen.cameras, chosen.poses, views)
    solution = Solution(chosen, residual, richest.used, richest.sigma_px)
    return _judged(views, model, ladder[best], solution)


def _adjusted(
    views: BoardViews,
    cameras: Sequence[Camera],
    poses: np.ndarray,
    free: Free,
    used: np.ndarray,
    sigma: float | None,
    tolerance: float,
) -> Adjusted:
    px = np.where(used[..., None], views.px, np.nan)
    return adjust_boards(
        cameras, poses, views.target_mm, px, free=[free], sigma_px=sigma, tolerance=tolerance, max_iterations=40
    )


def _criterion(adjusted: Adjusted, free: Free, used: np.ndarray) -> float:
    """Bayesian information criterion of a fit, for residuals of unknown noise."""
    squares = (adjusted.residual_px[used] ** 2).sum(axis=-1)
    n = 2 * len(squares)
    parameters = {"held": 0, "one": 1, "both": 2}[free.focal] + 2 * free.center + len(free.dist)
    return float(n * np.log(max(squares.sum() / n, 1e-12)) + parameters * np.log(n))


def is_lens(camera: Camera, points_px: np.ndarray) -> bool:
    """Whether this is a lens: a centre within the picture, a ray for every point seen and for nearly all of it."""
    size = np.array(camera.size, dtype=np.float64)
    if ((camera.K[:2, 2] < 0) | (camera.K[:2, 2] > size)).any():
        return False
    if not 0.05 < camera.K[0, 0] / size.max() < 100:
        return False
    if np.isnan(camera.undistort(points_px)).any():
        return False
    # As in `calib.quality`: a fold in the last corners is odd, one in more of the picture is no lens; a fisheye's
    # picture may end before its corners do.
    grid = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 25) for n in camera.size)), axis=-1)
    most = OUTSIDE_CIRCLE if camera.fisheye else 0.1
    return bool(np.isnan(camera.undistort(grid)).any(axis=-1).mean() <= most)


def _start(views: BoardViews, model: Model) -> Camera | None:
    """The focal length, without distortion, with which a board explains the views best: all tried at once."""
    few = views.select(choose(views, 10))
    width = max(few.sizes[0])
    bends = (0.0,) if model == "fisheye" else (0.0, -0.25)
    tried = []
    for focal in _FOCAL_TRIED * width * (0.6 if model == "fisheye" else 1.0):
        for bend in bends:
            camera = guessed(few.names[0], few.sizes[0], model, focal)
            tried.append(replace(camera, dist=np.array([bend, *camera.dist[1:]])))
    names = tuple(str(i) for i in range(len(tried)))
    many = BoardViews(
        few.target_mm, names, few.sizes * len(tried), few.frames, np.tile(few.px, (len(tried), 1, 1, 1)), few.board
    )
    poses = board_poses(sight_of(many, tried), many.target_mm, many.usable)
    free = 2 * poses.kept.sum(axis=-1) - 6
    with np.errstate(all="ignore"):
        noise = np.where(poses.known & (free > 0), poses.chi2[..., 0] / np.maximum(free, 1), np.nan)
    # Views that a guess cannot place at all count as the worst that any guess makes of them.
    worst = np.nanmax(np.where(np.isfinite(noise), noise, np.nan), initial=0.0)
    if not np.isfinite(noise).any():
        return None
    cost = np.sqrt(np.where(np.isfinite(noise), noise, 4 * worst)).mean(axis=-1)
    return replace(tried[int(cost.argmin())], name=views.names[0])


def _judged(views: BoardViews, model: Model, free: Free, solution: Solution) -> Intrinsics:
    """How sure the lens is: by the residuals, and by how much blocks of views disagree."""
    camera = solution.cameras[0]
    deviation = solution.adjusted.deviation(camera.name)
    spread = np.nan_to_num(deviation.focal_px, nan=np.inf, posinf=np.inf)
    frames = np.flatnonzero(solution.used.any(axis=(0, 2)))
    blocks_px = (float("nan"), float("nan"))
    if len(frames) >= 2 * _BLOCKS:
        focal, unseen, seen = [], [], []
        for block in np.array_split(frames, _BLOCKS):
            train = solution.used.copy()
            train[:, block] = False
            adjusted = _adjusted(views, solution.cameras, solution.poses, free, train, solution.sigma_px, 1e-4)
            one = adjusted.cameras[0]
            focal.append(one.K[[0, 1], [0, 1]])
            unseen.append(_own_squares(views.select(block), one, solution.used[:, block]))
            rest = np.setdiff1d(frames, block)
            seen.append(_own_squares(views.select(rest), one, solution.used[:, rest]))
        jackknife = np.sqrt((len(focal) - 1) / len(focal) * ((focal - np.mean(focal, axis=0)) ** 2).sum(axis=0))
        spread = np.maximum(spread, jackknife)
        blocks_px = (float(np.sqrt(np.mean(np.concatenate(unseen)))), float(np.sqrt(np.mean(np.concatenate(seen)))))
    observable = bool((spread <= OBSERVED * camera.K[[0, 1], [0, 1]]).all()) and free.focal != "held"
    return Intrinsics(
        camera,
        model,
        free,
        len(frames),
        solution,
        (float(spread[0]), float(spread[1])),
        observable,
        blocks_px,
    )


def _own_squares(views: BoardViews, camera: Camera, used: np.ndarray) -> np.ndarray:
    """Squared residuals when only the board's pose is fitted."""
    px = np.where(used[..., None], views.px, np.nan)
    alone = replace(views, px=px)
    poses = board_poses(sight_of(alone, [camera]), alone.target_mm, alone.usable)
    n = np.maximum(poses.kept.sum(axis=-1), 1)
    return (poses.chi2[..., 0] / n)[poses.known]
