"""Medians, and deviations from them, of which gross errors and what is not known spoil nothing."""

from __future__ import annotations

import numpy as np

MAD_TO_SIGMA = 1.4826
"""A normal error's standard deviation over the median of its size."""


def median_known(values: np.ndarray) -> float:
    """Of all that is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def robust_deviation(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The standard deviation that the middle of the values speaks for, were they normal (Hampel 1974)."""
    middle = np.median(values, axis=axis, keepdims=True)
    return np.asarray(MAD_TO_SIGMA * np.median(np.abs(values - middle), axis=axis))
