"""Levenberg and Marquardt with the blocks eliminated (Schur complement; Triggs et al. 1999, "Bundle adjustment")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from calib.bundle.parameters import State
from calib.bundle.problem import Blocks, Normal, Problem

_FIRST_DAMPING = 1e-4
_LEAST_DAMPING, _MOST_DAMPING = 1e-12, 1e12
_TRUSTED = 1e-2
"""A small gain says that the end is reached only where not the damping made it small."""
_STEP = 1e4
"""Times the tolerance: squared length of a step of the cameras, in their own deviations, that moves none."""
_NOTHING = 1e-16
"""Squared sigmas an observation: residuals are what rounding leaves."""
_FLOOR = 1e-13
"""Of the damping: a parameter that no observation touches must not stop the others."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Where the iteration ended.

    Attributes:
        state: Cameras.
        blocks: Boards or points.
        cost: Half the sum of what residuals cost.
        iterations: Steps tried.
        converged: Whether it ended because nothing more was to gain.
    """

    state: State
    blocks: Blocks
    cost: float
    iterations: int
    converged: bool


def reduced(normal: Normal, damping: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The equations of the cameras alone, and what gives the blocks' steps back.

    Returns:
        Matrix (P, P), gradient (P,), the blocks' inverses (B, s, s) and ``coupling @ inverse`` (B, P, s).
    """
    diagonal = np.einsum("bii->bi", normal.blocks)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    per_scale = 1 / (scale[:, :, None] * scale[:, None])
    inner = normal.blocks * per_scale
    np.einsum("bii->bi", inner)[...] += damping
    try:
        inverse = np.linalg.inv(inner) * per_scale
    except np.linalg.LinAlgError:
        np.einsum("bii->bi", inner)[...] += _FLOOR
        inverse = np.linalg.inv(inner) * per_scale
    eliminated = normal.coupling @ inverse
    P = len(normal.cameras)
    flat = eliminated.transpose(1, 0, 2).reshape(P, -1)
    matrix = normal.cameras - flat @ normal.coupling.transpose(1, 0, 2).reshape(P, -1).T
    gradient = normal.camera_gradient - flat @ normal.block_gradient.reshape(-1)
    return 0.5 * (matrix + matrix.T), gradient, inverse, eliminated


def scale_of(normal: Normal) -> np.ndarray:
    """(P,) root of what observations say of each camera parameter while everything else is known."""
    diagonal = np.diag(normal.cameras)
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def step_of(normal: Normal, damping: float, gauge: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The damped step (P,) of the cameras, (B, s) of the blocks, and the cameras' squared length in deviations.

    Args:
        normal: The equations.
        damping: Of Marquardt: a share of the diagonal that is added to it.
        gauge: (P, g) orthonormal directions in which the cameras must not move, for nothing observes them.
    """
    matrix, gradient, inverse, eliminated = reduced(normal, damping)
    scale = scale_of(normal)
    matrix = matrix / scale[:, None] / scale
    matrix[np.diag_indices_from(matrix)] += damping + _FLOOR
    if gauge.size:
        held = np.linalg.qr(gauge * scale[:, None])[0]
        matrix += held @ held.T
    try:
        cameras = scipy.linalg.solve(matrix, gradient / scale, assume_a="pos", check_finite=False) / scale
    except scipy.linalg.LinAlgError:
        return np.full_like(gradient, np.nan), np.full_like(normal.block_gradient, np.nan), np.nan
    blocks = (inverse @ normal.block_gradient[..., None])[..., 0] - np.einsum("bps,p->bs", eliminated, cameras)
    return cameras, blocks, float(cameras @ gradient)


def descend(
    problem: Problem, state: State, blocks: Blocks, gauge: np.ndarray, *, tolerance: float, max_iterations: int
) -> Descent:
    """Go down until a step gains less than ``tolerance`` of the cost, or moves no camera by what could be told.

    Reweighted points that lie between two minima of a robust loss creep for long; the cameras do not follow them.
    """
    damping, grow = _FIRST_DAMPING, 2.0
    cost = problem.cost(state, blocks)
    nothing = _NOTHING * sum(int((seen.per_sigma > 0).sum()) for seen in problem.views)
    normal = problem.linearised(state, blocks)
    for iteration in range(1, max_iterations + 1):
        by_cameras, by_blocks, length2 = step_of(normal, damping, gauge)
        trial = np.inf
        if np.isfinite(by_cameras).all() and np.isfinite(by_blocks).all():
            moved, others = state.moved(problem.table, by_cameras), blocks.moved(by_blocks)
            trial = problem.cost(moved, others)
        promised = 0.5 * float(by_cameras @ normal.camera_gradient + (by_blocks * normal.block_gradient).sum())
        if trial <= cost:
            gained = cost - trial
            state, blocks, cost = moved, others, trial
            small = gained <= tolerance * cost or 0 < length2 <= _STEP * tolerance
            if (small and damping <= _TRUSTED) or cost <= nothing:
                return Descent(state, blocks, cost, iteration, True)
            # Nielsen 1999: the better the model foresaw the gain, the less damping.
            share = gained / max(promised, 1e-300)
            damping = max(damping * max(1 / 10, 1 - (2 * share - 1) ** 3), _LEAST_DAMPING)
            grow = 2.0
            normal = problem.linearised(state, blocks)
        else:
            if promised <= tolerance * cost and damping <= _TRUSTED:
                return Descent(state, blocks, cost, iteration, True)
            damping, grow = damping * grow, grow * 2
            if damping > _MOST_DAMPING:
                return Descent(state, blocks, cost, iteration, False)
    return Descent(state, blocks, cost, max_iterations, False)
