"""How sure the parameters of the cameras are."""

from __future__ import annotations

import numpy as np

from calib.bundle import loss as losses
from calib.bundle.parameters import State
from calib.bundle.problem import Blocks, Problem
from calib.bundle.solver import reduced, scale_of

_NULL = 1e-11
"""Of the largest eigenvalue: below it, a direction is observed by nothing."""
_SHARE = 1e-3


def noise_scale(problem: Problem, residuals: list[np.ndarray], n_free: int) -> tuple[float, float]:
    """What the inverse of the normal matrix is to be multiplied with, and the noise in units of sigma.

    That of an M-estimator (Huber 1981, section 7.6): the mean square of what residuals pull with, over the square of
    the mean slope of that pull, corrected for the free parameters.

    Args:
        problem: With the weights and the loss.
        residuals: Of each camera (2, b, N) px.
        n_free: Number of all parameters that were fitted, cameras' and blocks'.
    """
    squared = np.concatenate(
        [
            ((found * found).sum(axis=0) * seen.per_sigma**2)[(seen.per_sigma > 0) & np.isfinite(found[0])]
            for seen, found in zip(problem.views, residuals, strict=True)
        ]
    )
    spare = 2 * squared.size - n_free
    if spare <= 0 or not squared.size:
        return float("nan"), float("nan")
    _, weight, slope = losses.evaluate(squared, problem.loss, problem.threshold)
    pull = float((weight * weight * squared).sum()) / spare
    mean_slope = float((weight + slope * squared).mean())
    factor = pull / mean_slope**2 * float(weight.mean()) if mean_slope > 0 else float("nan")
    # What those residuals say that count in full.
    return factor, float(np.sqrt(pull / max(mean_slope, 1e-12)))


def camera_covariance(
    problem: Problem, state: State, blocks: Blocks, gauge: np.ndarray, unit: np.ndarray, factor: float
) -> np.ndarray:
    """(P, P) of the free parameters of all cameras; infinite on the diagonal for what nothing observes.

    Args:
        problem: The observations.
        state: Cameras at the minimum.
        blocks: Boards or points there.
        gauge: (P, g) motions of the world, see `calib.bundle.gauge`.
        unit: (P,) what the gauge weighs parameters with; zero for intrinsics.
        factor: From `noise_scale`.
    """
    P = problem.n_parameters
    if not P:
        return np.zeros((0, 0))
    normal = problem.linearised(state, blocks)
    matrix, scale = reduced(normal)[0], scale_of(normal)
    if gauge.size:
        # Least squares says nothing along these; the constraint unit^2 gauge . step = 0 does.
        held = np.linalg.qr(gauge * (unit**2 / scale)[:, None])[0]
        keep = np.linalg.svd(held, full_matrices=True)[0][:, held.shape[1] :]
    else:
        keep = np.eye(P)
    kept = keep.T @ (matrix / scale[:, None] / scale) @ keep
    values, vectors = np.linalg.eigh(0.5 * (kept + kept.T))
    known = values > _NULL * max(float(values[-1]), 0.0)
    directions = keep @ vectors
    usable = directions[:, known]
    covariance = factor * (usable / values[known]) @ usable.T / scale[:, None] / scale
    lost = (np.abs(directions[:, ~known]) > _SHARE).any(axis=1)
    covariance[lost, :] = np.nan
    covariance[:, lost] = np.nan
    covariance[lost, lost] = np.inf
    return covariance
