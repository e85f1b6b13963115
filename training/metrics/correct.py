"""PCK: the share of joints that lie near enough to their truth, and the area below its curve.

Mehta et al. 2017 ("Monocular 3D human pose estimation in the wild"). A joint that was not solved is not near.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from training.metrics.resampling import Resampling

THRESHOLDS_MM = (25.0, 50.0, 100.0, 150.0)
THRESHOLDS_SHARE = (0.01, 0.02, 0.05, 0.1)
"""Of the subject's extent: they mean the same for a fly and a person."""
_STEPS = 30


def curve_to(end: float) -> Float[np.ndarray, " T"]:
    """31 thresholds from 0 on, whose mean PCK is the AUC."""
    return np.linspace(0.0, end, _STEPS + 1)


def pck(
    errors: Float[np.ndarray, "N J"],
    known: Bool[np.ndarray, "N J"],
    thresholds: tuple[float, ...],
    resampling: Resampling,
) -> dict[str, Any]:
    """PCK at each threshold, and the AUC up to the last one.

    Args:
        errors: In the thresholds' unit; NaN = not solved.
        known: Whether the truth is known: what counts.
        thresholds: Rising.
        resampling: Of the N frames.
    """
    far = np.where(np.isfinite(errors), errors, np.inf)
    curve = curve_to(thresholds[-1])
    # The share of the curve's thresholds that a joint passes; its mean over joints is the mean of the PCKs.
    passed = (len(curve) - np.searchsorted(curve, far)) / len(curve)
    return {
        "at": {f"{threshold:g}": resampling.figure(far <= threshold, known) for threshold in thresholds},
        "auc": resampling.figure(passed, known),
    }
