"""PCK counts what is near, what was not solved as far, and its curve's area is the mean of it."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.correct import curve_to, pck
from training.metrics.resampling import Resampling

ERRORS = np.array([[10.0, 50.0, 120.0, np.nan], [25.0, 26.0, 1e9, 3.0]])
KNOWN = np.array([[True] * 4, [True, True, True, False]])


def test_each_threshold_counts_the_joints_within_it() -> None:
    found = pck(ERRORS, KNOWN, (25.0, 50.0, 150.0), Resampling(["a", "b"]))
    shares = {at: figure["mean"] for at, figure in found["at"].items()}
    # Of seven joints that are known, one was not solved: it is near to nothing.
    assert shares == pytest.approx({"25": 2 / 7, "50": 4 / 7, "150": 5 / 7})
    assert found["at"]["25"]["n"] == 7


def test_the_area_is_the_mean_over_the_curve() -> None:
    found = pck(ERRORS, KNOWN, (25.0, 150.0), Resampling(["a", "b"]))
    errors = ERRORS[KNOWN]
    expected = np.mean([np.mean(errors <= threshold) for threshold in np.arange(0, 151, 5)])
    assert found["auc"]["mean"] == pytest.approx(expected)
    assert curve_to(150).tolist() == np.arange(0, 151, 5).tolist()


def test_exact_answers_have_all_and_missing_ones_nothing() -> None:
    whole, names = np.ones((2, 4), bool), Resampling(["a", "b"])
    exact = pck(np.zeros((2, 4)), whole, (1.0, 2.0), names)
    assert exact["auc"]["mean"] == 1 and exact["at"]["1"]["interval"] == [1, 1]
    missing = pck(np.full((2, 4), np.nan), whole, (1.0, 2.0), names)
    assert missing["auc"]["mean"] == 0 == missing["at"]["2"]["mean"]
