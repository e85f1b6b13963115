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


def noise_scale(problem: Problem, residuals: list[np.ndarray], n_free: int) -> tuple[float, float, float]:
    """What the inverse of the normal matrix is to be multiplied with, and the noise in units of sigma.

    That of an M-estimator (Huber 1981, section 7.6): the mean square of what residuals pull with, over the square of
    the mean slope of that pull, corrected for the free parameters.

    Args:
        problem: With the weights and the loss.
        residuals: Of each camera (2, b, N) px.
        n_free: Number of all parameters that were fitted, cameras' and blocks'.

    Returns:
        The factor, the noise, and how much flatter the loss is than the normal matrix has it.
    """
    squared = np.concatenate(
        [
            ((found * found).sum(axis=0) * seen.per_sigma**2)[(seen.per_sigma > 0) & np.isfinite(found[0])]
            for seen, found in zip(problem.views, residuals, strict=True)
        ]
    )
    spare = 2 * squared.size - n_free
    if spare <= 0 or not squared.size:
        return float("nan"), float("nan"), float("nan")
    _, weight, slope = losses.evaluate(squared, problem.loss, problem.threshold)
    pull = float((weight * weight * squared).sum()) / spare
    mean_slope = float((weight + slope * squared).mean())
    factor = pull / mean_slope**2 * float(weight.mean()) if mean_slope > 0 else float("nan")
    flatter = float(weight.mean()) / mean_slope if mean_slope > 0 else float("nan")
    # What those residuals say that count in full.
    return factor, float(np.sqrt(pull / max(mean_slope, 1e-12))), flatter


def camera_covariance(
    problem: Problem,
    state: State,
    blocks: Blocks,
    gauge: np.ndarray,
    unit: np.ndarray,
    factor: float,
    groups: np.ndarray | None = None,
    flatter: float = 1.0,
) -> np.ndarray:
    """(P, P) of the free parameters of all cameras; infinite on the diagonal for what nothing observes.

    Args:
        problem: The observations.
        state: Cameras at the minimum.
        blocks: Boards or points there.
        gauge: (P, g) motions of the world, see `calib.bundle.gauge`.
        unit: (P,) what the gauge weighs parameters with; zero for intrinsics.
        factor: From `noise_scale`.
        groups: (B,) which blocks have errors in common. The covariance is then that of what whole groups pull with
            (Liang and Zeger 1986) instead of ``factor`` times that of independent noise.
        flatter: From `noise_scale`.
    """
    P = problem.n_parameters
    if not P:
        return np.zeros((0, 0))
    normal = problem.linearised(state, blocks)
    (matrix, _, _, eliminated), scale = reduced(normal), scale_of(normal)
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
    covariance = (usable / values[known]) @ usable.T / scale[:, None] / scale
    if groups is None:
        covariance *= factor
    else:
        pulls = normal.by_block - np.einsum("bps,bs->bp", eliminated, normal.block_gradient)
        numbers = np.unique(groups, return_inverse=True)[1]
        together = np.zeros((int(numbers.max()) + 1, P))
        np.add.at(together, numbers, pulls)
        spread = flatter * covariance @ together.T
        covariance = spread @ spread.T * len(together) / max(len(together) - 1, 1)
    lost = (np.abs(directions[:, ~known]) > _SHARE).any(axis=1)
    covariance[lost, :] = np.nan
    covariance[:, lost] = np.nan
    covariance[lost, lost] = np.inf
    return covariance
