"""Medians and deviations that gross errors and unknown values do not spoil."""

import numpy as np
import pytest

from calib.medians import median_known, robust_deviation


def test_what_is_not_known_does_not_count():
    assert median_known(np.array([[3.0, np.nan], [np.inf, 5.0]])) == 4.0
    assert np.isnan(median_known(np.array([np.nan, np.inf])))
    assert np.isnan(median_known(np.zeros(0)))


def test_the_deviation_of_normal_values_with_gross_errors_among_them():
    values = np.random.default_rng(0).normal(7.0, 2.0, (3, 4000))
    values[:, :200] = 1e6
    # A twentieth of gross errors widens the middle half by about a twentieth.
    np.testing.assert_allclose(robust_deviation(values, axis=1), 2.0, rtol=0.12)
    assert robust_deviation(values[0]) == pytest.approx(robust_deviation(values, axis=1)[0])
