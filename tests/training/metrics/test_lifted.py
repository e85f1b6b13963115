"""Figures of lifted poses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from training.metrics.lifted import (
    WITHIN_ONE,
    WITHIN_TWO,
    calibration,
    lifted_figures,
    per_coordinate_mm,
    procrustes_mm,
    scale_fitted,
    squared_mahalanobis,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(0, 100, (50, 8, 3))
TRUTH[:, [0, 4]] = 0
ROOTS = (0, 0, 0, 0, 4, 4, 4, 4)
NAMES = tuple("abcdefgh")


def test_the_bounds_are_those_of_three_degrees_of_freedom():
    assert chi2(3).cdf([WITHIN_ONE, WITHIN_TWO]) == pytest.approx([0.683, 0.954], abs=1e-3)


def test_per_coordinate_is_liftpose3ds_error():
    assert per_coordinate_mm(np.array([[[3.0, 0, -6]]]), np.zeros((1, 1, 3)))[0, 0] == 3.0


def test_a_factor_on_the_pose_is_no_n_mpjpe():
    assert np.allclose(scale_fitted(0.7 * TRUTH, TRUTH), TRUTH)


def test_each_roots_part_is_fitted_by_itself():
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    answer = TRUTH.copy()
    answer[:, :4] = answer[:, :4] @ turn.T
    answer[:, 4:] = 0.5 * answer[:, 4:] + 7
    assert np.nanmax(procrustes_mm(answer, TRUTH, ROOTS)) < 1e-8


def test_distances_are_mahalanobis():
    covariance = np.array([4.0, 0, 0, 9.0, 0, 16.0])
    assert squared_mahalanobis(np.array([2.0, 3.0, 8.0]), covariance) == pytest.approx(1 + 1 + 4)
    assert np.isnan(squared_mahalanobis(np.array([np.nan, 0, 0]), covariance))


def test_honest_deviations_hold_68_and_95_of_a_hundred():
    residual = RNG.normal(size=(20000, 3)) * [1, 2, 3]
    found = calibration(residual, np.tile([1.0, 0, 0, 4.0, 0, 9.0], (20000, 1)))
    assert found["within_one"] == pytest.approx(0.683, abs=0.01) and found["within_two"] == pytest.approx(
        0.954, abs=0.01
    )
    worse = calibration(residual, np.tile([1.0, 0, 0, 1.0, 0, 1.0], (20000, 1)))
    assert worse["minus_log_likelihood"] > found["minus_log_likelihood"] and worse["within_one"] < 0.4  # type: ignore[operator]
    assert calibration(np.full((2, 3), np.nan), np.ones((2, 6)))["n"] == 0


def test_roots_do_not_count_and_what_is_not_known_neither():
    answer = TRUTH + [3.0, 0, 4.0]
    truth = TRUTH.copy()
    truth[0, 1] = np.nan
    found = lifted_figures(answer, truth, None, joints=NAMES, root_of=ROOTS, body_mm=100.0)
    assert found["n"] == 50 * 6 - 1 and found["mpjpe_mm"] == pytest.approx(5.0)
    assert found["per_coordinate_mm"] == pytest.approx(7 / 3) and found["along_view_mm"] == pytest.approx(4.0)
    assert found["pck"]["0.02"] == 0.0 and found["pck"]["0.1"] == pytest.approx(1 - 1 / 300)
    assert list(found["joints_mm"]) == list("bcdfgh")


def test_a_joint_without_an_answer_is_told_and_is_not_near():
    answer = TRUTH.copy()
    answer[:, 2] = np.nan
    found = lifted_figures(answer, TRUTH, None, joints=NAMES, root_of=ROOTS, body_mm=100.0)
    assert found["answered"] == pytest.approx(5 / 6) and found["pck"]["0.1"] == pytest.approx(5 / 6)


def test_jitter_follows_tracks():
    frames = list(range(25)) * 2
    tracks = ["one"] * 25 + ["two"] * 25
    found = lifted_figures(TRUTH, TRUTH, None, joints=NAMES, root_of=ROOTS, body_mm=100.0, tracks=tracks, frames=frames)
    assert found["jitter_mm"] == pytest.approx(found["jitter_of_truth_mm"]) and found["jitter_mm"] > 0
