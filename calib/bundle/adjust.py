"""The two adjustments: of cameras and moments of a board, and of cameras and free points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from calib.bundle import gauge
from calib.bundle.adjusted import Adjusted
from calib.bundle.covariance import camera_covariance, noise_scale
from calib.bundle.loss import LossName, evaluate, noise_px
from calib.bundle.parameters import Columns, Free, State, columns, for_each
from calib.bundle.problem import Blocks, Boards, Points, Problem, check_shapes, views_of
from calib.bundle.solver import Descent, descend
from calib.camera import Camera

TOLERANCE = 1e-9
_PASSES = 4
_SAME_NOISE = 0.03
_LEAST_PX = 1e-6


def adjust_boards(
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
    target_mm: Float[np.ndarray, "N 3"],
    px: Float[np.ndarray, "V F N 2"],
    *,
    free: Free | Sequence[Free] | None = None,
    sigma_px: Any = None,
    loss: LossName = "huber",
    threshold: float = 2.0,
    max_iterations: int = 60,
    tolerance: float = TOLERANCE,
) -> Adjusted:
    """The cameras and board poses that explain all views of a board best.

    The board's size sets the scale. Where no camera's extrinsics are held the first camera's are, so that the world
    stays where it is.

    Args:
        cameras: Where to begin, V of them.
        poses: rvec and t from board to world at each moment; NaN = not known, the moment is left out.
        target_mm: The board's points in its own frame.
        px: Raw px; NaN = not seen.
        free: What may change, of all cameras or of each; by default the extrinsics.
        sigma_px: Deviation of x and of y: one number, or broadcastable to (V, F, N). Only ratios matter to a linear
            loss; a robust one counts in them. ``None`` = one for all, found from the residuals.
        loss: See `calib.bundle.loss`.
        threshold: In sigmas, from which on a residual counts less.
        max_iterations: Steps, over all; 0 = nothing moves, and the covariance is that of where everything stands.
        tolerance: Ends where a step gains less than this share of the cost.

    Raises:
        ConfigError: A coefficient is to be free that a camera lacks.
        ValueError: Shapes do not fit, or nothing at all was seen.
    """
    px, target_mm = np.asarray(px, dtype=np.float64), np.asarray(target_mm, dtype=np.float64)
    poses = np.asarray(poses, dtype=np.float64)
    check_shapes(px, len(cameras), len(poses), len(target_mm))
    every = for_each(cameras, free if free is not None else Free())
    if every and all(one.extrinsics for one in every):
        every = (replace(every[0], extrinsics=False), *every[1:])
    table = tuple(columns(camera, one) for camera, one in zip(cameras, every, strict=True))
    known = np.isfinite(poses).all(axis=1) & np.isfinite(px).all(axis=-1).any(axis=(0, 2))
    run = _Run(tuple(cameras), table, px[:, known], _spread(sigma_px, px.shape[:3], known), loss, threshold)
    ended, problem = run.down(Boards.of(target_mm, poses[known]), tolerance, max_iterations, free_gauge=False)
    assert isinstance(ended.blocks, Boards)
    found = np.full((len(poses), 6), np.nan)
    found[known] = ended.blocks.poses(target_mm)
    return run.result(ended, problem, known, px.shape, poses=found)


def adjust_points(
    cameras: Sequence[Camera],
    points_mm: Float[np.ndarray, "M 3"],
    px: Float[np.ndarray, "V M 2"],
    *,
    free: Free | Sequence[Free] | None = None,
    sigma_px: Any = None,
    loss: LossName = "huber",
    threshold: float = 2.0,
    max_iterations: int = 60,
    tolerance: float = TOLERANCE,
    groups: np.ndarray | None = None,
) -> Adjusted:
    """The cameras and points that explain all views of the points best.

    Nothing observes where the world lies nor how large it is. With all extrinsics free, the cameras are afterwards
    brought as near as one turn, shift and scale can to where they were, and covariances are those of that choice;
    with one camera held only the scale is; with two or more held these say everything.

    Args:
        cameras: Where to begin, V of them.
        points_mm: Where to begin; NaN = not known, the point is left out.
        px: Raw px; NaN = not seen. A point that fewer than two cameras saw is left out.
        free: As for `adjust_boards`.
        sigma_px: As for `adjust_boards`, broadcastable to (V, M).
        loss: See `calib.bundle.loss`.
        threshold: In sigmas, from which on a residual counts less.
        max_iterations: Steps, over all.
        tolerance: Ends where a step gains less than this share of the cost.
        groups: (M,) numbers: points whose errors hang together, as those of a network about one joint do. Covariances
            are then made of what whole groups say. ``None`` = all errors are independent.

    Raises:
        ConfigError: A coefficient is to be free that a camera lacks.
        ValueError: Shapes do not fit, or no point was seen twice.
    """
    px, points_mm = np.asarray(px, dtype=np.float64), np.asarray(points_mm, dtype=np.float64)
    check_shapes(px, len(cameras), len(points_mm), None)
    every = for_each(cameras, free if free is not None else Free())
    table = tuple(columns(camera, one) for camera, one in zip(cameras, every, strict=True))
    known = np.isfinite(points_mm).all(axis=1) & (np.isfinite(px).all(axis=-1).sum(axis=0) >= 2)
    sigma = _spread(sigma_px, px.shape[:2], known)
    run = _Run(tuple(cameras), table, px[:, known, None], None if sigma is None else sigma[..., None], loss, threshold)
    ended, problem = run.down(Points(points_mm[known]), tolerance, max_iterations, free_gauge=True)
    assert isinstance(ended.blocks, Points)
    back = gauge.alignment(run.start, ended.state, table, run.unit_mm)
    moved = back.points(ended.blocks.position_mm)
    ended = replace(ended, state=back.state(ended.state), blocks=Points(moved))
    found = np.full(points_mm.shape, np.nan)
    found[known] = moved
    together = None if groups is None else np.asarray(groups)[known]
    return run.result(ended, problem, known, (*px.shape[:2], 1, 2), points_mm=found, groups=together)


def _spread(sigma_px: Any, shape: tuple[int, ...], known: np.ndarray) -> np.ndarray | None:
    if sigma_px is None:
        return None
    sigma = np.asarray(sigma_px, dtype=np.float64)
    if sigma.ndim == 1 and sigma.shape[0] == shape[0]:
        sigma = sigma.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(sigma, shape)[:, known]


@dataclass
class _Run:
    """One adjustment: what it is given, and the steps that both kinds share."""

    cameras: tuple[Camera, ...]
    table: tuple[Columns, ...]
    px: np.ndarray
    sigma: np.ndarray | None
    loss: LossName
    threshold: float

    def __post_init__(self) -> None:
        self.start = State.of(self.cameras)
        self.fisheye = tuple(camera.fisheye for camera in self.cameras)
        self.unit_mm = 1.0
        self.gauge_free = False
        if not np.isfinite(self.px).all(axis=-1).any():
            raise ValueError("nothing was seen that could be adjusted")

    def _problem(self, sigma_px: float) -> Problem:
        sigma = np.full(self.px.shape[:3], sigma_px) if self.sigma is None else self.sigma
        return Problem(views_of(self.px, sigma), self.fisheye, self.table, self.loss, self.threshold)

    def gauge(self, state: State) -> np.ndarray:
        """(P, g) what the observations cannot tell."""
        if not self.gauge_free:
            return np.zeros((sum(len(columns.labels) for columns in self.table), 0))
        return gauge.motions(state, self.table, self.unit_mm)

    def down(
        self, blocks: Blocks, tolerance: float, max_iterations: int, *, free_gauge: bool
    ) -> tuple[Descent, Problem]:
        """Go down; where the noise is not given, again until it is the one that the residuals show."""
        self.gauge_free = free_gauge
        middle = blocks.middle_mm if isinstance(blocks, Boards) else blocks.position_mm
        away = float(np.median(np.linalg.norm(self.start.centers[:, None] - middle, axis=-1)))
        self.unit_mm = gauge.length_mm(self.start.centers, away)
        state = self.start
        problem = self._problem(1.0)
        noise = self._noise(problem, state, blocks)
        used = 0
        for _ in range(_PASSES):
            if self.sigma is None:
                problem = self._problem(noise)
            problem = problem.without_behind(state, blocks)
            ended = descend(
                problem,
                state,
                blocks,
                self.gauge(state),
                tolerance=tolerance,
                max_iterations=max(max_iterations - used, min(max_iterations, 1)),
            )
            used += ended.iterations
            state, blocks = ended.state, ended.blocks
            before, noise = noise, self._noise(problem, state, blocks)
            settled = self.sigma is not None or self.loss == "linear" or abs(noise - before) < _SAME_NOISE * before
            if settled or used >= max_iterations:
                break
        return replace(ended, iterations=used), problem

    def _noise(self, problem: Problem, state: State, blocks: Blocks) -> float:
        lengths = [np.hypot(*found).ravel() for found in problem.residuals(state, blocks)]
        return max(noise_px(np.concatenate(lengths)), _LEAST_PX)

    def result(
        self,
        ended: Descent,
        problem: Problem,
        known: np.ndarray,
        shape: tuple[int, ...],
        poses: np.ndarray | None = None,
        points_mm: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Adjusted:
        """Everything in the shapes of the caller, with covariances."""
        residuals = problem.residuals(ended.state, ended.blocks)
        residual_px, weights = np.full(shape, np.nan), np.zeros(shape[:3])
        rows = np.flatnonzero(known)
        for view, (seen, found) in enumerate(zip(problem.views, residuals, strict=True)):
            squared = (found * found).sum(axis=0) * seen.per_sigma**2
            residual_px[view, rows[seen.blocks]] = found.transpose(1, 2, 0)
            weight = evaluate(squared, problem.loss, problem.threshold)[1]
            weights[view, rows[seen.blocks]] = np.where(np.isfinite(squared), weight, 0.0)
        blocks = ended.blocks
        n_blocks = len(blocks.middle_mm if isinstance(blocks, Boards) else blocks.position_mm)
        directions = self.gauge(ended.state)
        n_free = problem.n_parameters + n_blocks * blocks.size - directions.shape[1]
        factor, noise, flatter = noise_scale(problem, residuals, n_free)
        unit = gauge.weights(self.table, self.unit_mm)
        covariance = camera_covariance(problem, ended.state, blocks, directions, unit, factor, groups, flatter)
        if points_mm is not None:
            residual_px, weights = residual_px[:, :, 0], weights[:, :, 0]
        per_sigma = np.concatenate([seen.per_sigma[seen.per_sigma > 0] for seen in problem.views])
        return Adjusted(
            cameras=ended.state.cameras(self.cameras),
            poses=poses,
            points_mm=points_mm,
            residual_px=residual_px,
            weights=weights,
            cost=ended.cost,
            iterations=ended.iterations,
            converged=ended.converged,
            sigma_px=noise / float(np.median(per_sigma)),
            covariance=covariance,
            table=self.table,
        )
