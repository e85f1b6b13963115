"""Several views' lifts are one, and no surer than their common bias lets them be."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lift_blend import blend, square

EYE = np.tile(np.eye(3), (4, 1, 1))
ROOTS = np.array([True, False, False])
SIX = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2])


def six(matrices: np.ndarray) -> np.ndarray:
    return matrices[..., SIX[0], SIX[1]]


def covariance(factor: np.ndarray) -> np.ndarray:
    return np.asarray(factor @ factor.swapaxes(-1, -2))


def alike(views: int, sigma: float = 30.0) -> np.ndarray:
    return six(np.tile(sigma**2 * np.eye(3), (views, 3, 1, 1)))


@pytest.mark.parametrize(("views", "correlation"), [(1, 0.0), (1, 1.0), (4, 0.0), (4, 0.5), (4, 1.0)])
def test_the_variance_is_that_of_a_mean_of_correlated_estimates(views: int, correlation: float) -> None:
    found = blend(np.zeros((views, 3, 3)), alike(views), EYE[:views], ROOTS, correlation, 1700.0)
    assert found is not None
    expected = 30.0**2 * (1 + correlation * (views - 1)) / views
    np.testing.assert_allclose(
        covariance(found.factor_mm)[1:], np.tile(expected * np.eye(3), (2, 1, 1)), rtol=1e-3, atol=1e-6
    )


def test_each_view_counts_where_it_is_sure() -> None:
    lifted = np.array([[[0, 0, 0], [10, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 20, 0], [0, 0, 0]]], float)
    deep = np.array([np.diag([1.0, 1e6, 1e6]), np.diag([1e6, 1.0, 1e6])])
    found = blend(lifted, six(np.tile(deep[:, None], (1, 3, 1, 1))), EYE[:2], ROOTS, 0.5, 1700.0)
    assert found is not None
    np.testing.assert_allclose(found.shape_mm[1, :2], [10, 20], atol=1e-3)


def test_views_meet_in_the_axes_of_the_world() -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    truth = np.array([[0, 0, 0], [1, 2, 3], [-4, 5, 6]], float)
    lifted = np.stack([truth, truth @ turn])  # the second camera's axes are turned
    spread = np.diag([1.0, 4.0, 9.0])
    given = np.stack([np.tile(spread, (3, 1, 1)), np.tile(turn.T @ spread @ turn, (3, 1, 1))])
    found = blend(lifted, six(given), np.stack([np.eye(3), turn]), ROOTS, 1.0, 1.0)
    assert found is not None
    np.testing.assert_allclose(found.shape_mm, truth, atol=1e-9)
    np.testing.assert_allclose(covariance(found.factor_mm)[1], spread, rtol=1e-4, atol=1e-9)


def test_a_root_is_zero_and_sure() -> None:
    found = blend(np.ones((2, 3, 3)), alike(2), EYE[:2], ROOTS, 0.5, 1700.0)
    assert found is not None and not found.shape_mm[0].any() and not found.factor_mm[0].any()


def test_a_view_without_a_lift_is_as_if_it_were_not_there() -> None:
    lifted = np.random.default_rng(0).normal(0, 100, (3, 3, 3))
    spread = alike(3)
    spread[1] = np.nan
    gap = lifted.copy()
    gap[1] = np.nan
    some = blend(gap, spread, EYE[:3], ROOTS, 0.7, 1700.0)
    less = blend(lifted[[0, 2]], alike(2), EYE[[0, 2]], ROOTS, 0.7, 1700.0)
    assert some is not None and less is not None
    np.testing.assert_array_equal(some.shape_mm, less.shape_mm)
    assert blend(np.full((2, 3, 3), np.nan), alike(2), EYE[:2], ROOTS, 0.7, 1700.0) is None


def test_six_numbers_are_a_symmetric_matrix() -> None:
    np.testing.assert_array_equal(square(np.arange(6.0)), [[0, 1, 2], [1, 3, 4], [2, 4, 5]])
