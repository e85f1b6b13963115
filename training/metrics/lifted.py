"""How good lifted poses are: relative to their roots, in mm, with how sure they said they were.

All joints here are relative to their roots; of a subject with several (a tethered fly's coxae) no pose as a whole is
compared, but each root's part: P-MPJPE fits each part by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from training.metrics.distances import aligned, errors_mm
from training.metrics.smoothness import smoothness

WITHIN_ONE, WITHIN_TWO = 3.53, 8.02
"""Squared Mahalanobis distances of three degrees of freedom below which 68.3 % and 95.4 % of a Gaussian lie."""
SHARES = (0.02, 0.05, 0.1)
"""Thresholds of PCK, of the body's length."""


def per_coordinate_mm(
    answer: Float[np.ndarray, "N J 3"], truth: Float[np.ndarray, "N J 3"]
) -> Float[np.ndarray, "N J"]:
    """LiftPose3D's error: the mean over x, y and z of the absolute difference, about half the distance."""
    return np.abs(answer - truth).mean(axis=-1)


def scale_fitted(answer: Float[np.ndarray, "N J 3"], truth: Float[np.ndarray, "N J 3"]) -> Float[np.ndarray, "N J 3"]:
    """Each pose times the factor that fits it best, about its roots: what N-MPJPE compares."""
    both = (np.isfinite(answer) & np.isfinite(truth)).all(axis=-1, keepdims=True)
    a, t = np.where(both, answer, 0.0), np.where(both, truth, 0.0)
    power = (a * a).sum(axis=(1, 2), keepdims=True)
    return answer * np.divide((a * t).sum(axis=(1, 2), keepdims=True), power, out=np.ones_like(power), where=power > 0)


def procrustes_mm(
    answer: Float[np.ndarray, "N J 3"], truth: Float[np.ndarray, "N J 3"], root_of: Sequence[int]
) -> Float[np.ndarray, "N J"]:
    """Errors after each root's part was moved, turned and scaled to fit; NaN for parts of fewer than three joints."""
    errors = np.full(truth.shape[:2], np.nan)
    root = np.asarray(root_of)
    for one in np.unique(root):
        part = np.flatnonzero(root == one)
        errors[:, part] = errors_mm(aligned(answer[:, part], truth[:, part]), truth[:, part])
    return errors


def squared_mahalanobis(
    residual_mm: Float[np.ndarray, "*n 3"], covariance_mm2: Float[np.ndarray, "*n 6"]
) -> Float[np.ndarray, "*n"]:
    """How far residuals lie off by their covariances (xx xy xz yy yz zz); NaN where either is not known."""
    matrix = covariance_mm2[..., np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])].astype(np.float64)
    ok = np.isfinite(residual_mm).all(axis=-1) & np.isfinite(covariance_mm2).all(axis=-1)
    safe = np.where(ok[..., None, None], matrix, np.eye(3))
    r = np.where(ok[..., None], residual_mm, 0.0)
    distance = (r * np.linalg.solve(safe, r[..., None])[..., 0]).sum(axis=-1)
    return np.where(ok, distance, np.nan)


def calibration(
    residual_mm: Float[np.ndarray, "*n 3"], covariance_mm2: Float[np.ndarray, "*n 6"]
) -> dict[str, float | int | None]:
    """Whether predicted deviations are honest.

    Returns:
        ``within_one`` and ``within_two``, the shares below `WITHIN_ONE` and `WITHIN_TWO` (0.68 and 0.95 where they
        are), ``minus_log_likelihood`` (a joint's mean, without the constant), and ``n``.
    """
    distance = squared_mahalanobis(residual_mm, covariance_mm2)
    ok = np.isfinite(distance)
    if not ok.any():
        return {"within_one": None, "within_two": None, "minus_log_likelihood": None, "n": 0}
    matrix = covariance_mm2[ok][:, np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])].astype(np.float64)
    likelihood = 0.5 * distance[ok] + 0.5 * np.linalg.slogdet(matrix)[1]
    return {
        "within_one": float((distance[ok] < WITHIN_ONE).mean()),
        "within_two": float((distance[ok] < WITHIN_TWO).mean()),
        "minus_log_likelihood": float(likelihood.mean()),
        "n": int(ok.sum()),
    }


def lifted_figures(
    answer: Float[np.ndarray, "N J 3"],
    truth: Float[np.ndarray, "N J 3"],
    covariance_mm2: Float[np.ndarray, "N J 6"] | None,
    *,
    joints: Sequence[str],
    root_of: Sequence[int],
    body_mm: float,
    tracks: Sequence[Any] | None = None,
    frames: Sequence[int | None] | None = None,
) -> dict[str, Any]:
    """All figures of N lifted poses.

    Args:
        answer: mm relative to each joint's root, in the camera's axes; NaN = no answer.
        truth: The same of the true pose; NaN = not known.
        covariance_mm2: Of the answer.
        joints: Their names.
        root_of: Each joint's root; roots do not count.
        body_mm: Length of the body, for PCK.
        tracks: (N,) what poses may follow each other in, for jitter; e.g. camera and animal.
        frames: (N,) their numbers in it.
    """
    lifted = np.array([joint for joint, root in enumerate(root_of) if joint != root])
    errors = errors_mm(answer, truth)[:, lifted]
    ok = np.isfinite(errors)

    def mean(values: np.ndarray) -> float | None:
        known = values[np.isfinite(values)]
        return float(known.mean()) if known.size else None

    result: dict[str, Any] = {
        "poses": len(truth),
        "n": int(ok.sum()),
        "answered": float(ok.sum() / max(1, np.isfinite(truth[:, lifted]).all(axis=-1).sum())),
        "mpjpe_mm": mean(errors),
        "median_mm": float(np.median(errors[ok])) if ok.any() else None,
        "p95_mm": float(np.percentile(errors[ok], 95)) if ok.any() else None,
        "p_mpjpe_mm": mean(procrustes_mm(answer, truth, root_of)[:, lifted]),
        "n_mpjpe_mm": mean(errors_mm(scale_fitted(answer, truth), truth)[:, lifted]),
        "per_coordinate_mm": mean(per_coordinate_mm(answer, truth)[:, lifted]),
        "along_view_mm": mean(np.abs(answer - truth)[:, lifted, 2]),
        "pck": {
            f"{share:g}": float((np.where(ok, errors, np.inf) <= share * body_mm).mean()) if ok.size else None
            for share in SHARES
        },
        "joints_mm": {joints[joint]: mean(errors[:, place]) for place, joint in enumerate(lifted)},
    }
    if covariance_mm2 is not None:
        result["calibration"] = calibration((answer - truth)[:, lifted], covariance_mm2[:, lifted])
    if tracks is not None and frames is not None:
        found = smoothness(answer[:, lifted], truth[:, lifted], tracks, tracks, frames)
        result["jitter_mm"] = found["jitter"]["mean"]
        result["jitter_of_truth_mm"] = found["jitter_of_truth"]["mean"]
    return result
