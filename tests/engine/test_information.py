"""Information adds; a ray has a direction of which it knows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from engine.information import Known, RayPoints

ACROSS_X = np.diag([0.0, 1.0, 1.0])
ACROSS_Y = np.diag([1.0, 0.0, 1.0])


def test_a_single_ray_is_met_at_its_nearest_point() -> None:
    rays = RayPoints.of(ACROSS_X[None, None], np.array([[-1000.0, 5.0, 7.0]]), np.array([[30.0, 0.0, 0.0]]))
    np.testing.assert_allclose(rays.at, [[30, 5, 7]], atol=1e-4)
    assert rays.there.tolist() == [True]


def test_two_rays_meet_where_they_cross() -> None:
    by_view = np.stack([ACROSS_X, ACROSS_Y])[:, None]
    rays = RayPoints.of(by_view, np.array([[-1000.0, 5, 7], [20, 1000.0, 7]]), np.zeros((1, 3)))
    np.testing.assert_allclose(rays.at, [[20, 5, 7]], atol=1e-4)


def test_no_ray_is_nothing() -> None:
    rays = RayPoints.of(np.zeros((2, 1, 3, 3)), np.zeros((2, 3)), np.ones((1, 3)))
    assert not rays.there.any() and np.isfinite(rays.at).all()


def test_a_ray_and_what_was_known_are_the_product_of_both() -> None:
    prior = Known(np.eye(3)[None] / 100, np.array([[10.0, 0, 0]]) / 100)
    joined = prior.joined(RayPoints(ACROSS_X[None], np.array([[99.0, 5, 0]])))
    np.testing.assert_allclose(joined.position[0], [10, 5 / 1.01, 0], atol=1e-9)
    np.testing.assert_allclose(np.diag(joined.covariance[0]), [100, 1 / 1.01, 1 / 1.01], rtol=1e-9)


def test_the_distance_of_a_ray_is_across_it_alone() -> None:
    prior = Known(np.eye(3)[None] / 4, np.array([[1.0, 2, 3]]) / 4)
    far_along = prior.distance2(ACROSS_X[None], np.array([[1e6, 2, 3]]))
    assert far_along[0] == pytest.approx(0, abs=1e-3)
    beside = prior.distance2(ACROSS_X[None], np.array([[0.0, 2, 8]]))
    assert beside[0] == pytest.approx(25 / 5)


def test_what_is_unknown_in_one_direction_is_not_known() -> None:
    information = np.stack([np.eye(3), ACROSS_X])
    assert Known(information, np.zeros((2, 3))).within(1000.0).tolist() == [True, False]
