"""Covariances against what noise really does."""

import numpy as np
import pytest

from calib.covariance import covariance
from calib.robust import triangulate_robust
from tests.calib.scenes import fly_rig, narrow_pair, ring, views

RIGS = {
    "four views": (ring(4), 400),
    "fly": (fly_rig(), 1.0),
    "converging pair": (narrow_pair(False), 200),
    "strong barrel": (ring(4, focal_px=770, dist=(-0.2853, 0, 0, 0)), 900),
    "fisheye": (ring(4, focal_px=400, dist=(-0.02, 0.005, -0.003, 0.0005), fisheye=True), 1500),
    "webcams": (ring(3, focal_px=904, dist=(-0.332, 0.0464, -0.0043, 0.0041, 0.0666)), 600),
}


@pytest.mark.parametrize("name", RIGS)
def test_is_the_scatter_of_noisy_solutions(name):
    rig, extent = RIGS[name]
    rng = np.random.default_rng(0)
    point = rig.working[0] + np.array([0.6, -0.5, 0.3]) * extent
    sigma = np.linspace(0.5, 1.0, len(rig))
    n = 4000
    px = views(rig, point[None])[:, 0, None] + sigma[:, None, None] * rng.normal(size=(len(rig), n, 2))
    solution = triangulate_robust(px, np.ones((len(rig), n)), rig.arrays(), sigma_px=sigma[:, None], gate=8)
    scatter = np.cov(solution.position_mm.T)
    stated = covariance(point[None], sigma[:, None], rig.arrays())[0]
    # Compared in the scatter's own axes, so that a long thin ellipsoid is held in all directions.
    values, axes = np.linalg.eigh(scatter)
    whitened = axes.T @ stated @ axes / np.sqrt(np.outer(values, values))
    np.testing.assert_allclose(whitened, np.eye(3), atol=0.12)
    np.testing.assert_allclose(
        np.median(solution.covariance_mm2, axis=0), stated, rtol=0.15, atol=0.02 * np.trace(stated)
    )


class TestCovariance:
    def test_views_with_infinite_sigma_do_not_count(self):
        rig = ring(4)
        point = rig.working[0][None] + 50
        three = covariance(point, np.ones((3, 1)), rig.with_cameras(rig.cameras[:3]).arrays())
        for absent in (np.inf, np.nan):
            sigma = np.ones((4, 1))
            sigma[3] = absent
            np.testing.assert_allclose(covariance(point, sigma, rig.arrays()), three, rtol=1e-6)

    def test_scales_with_the_square_of_sigma(self):
        rig = ring(4)
        point = rig.working[0][None]
        np.testing.assert_allclose(
            covariance(point, 3.0, rig.arrays()), 9 * covariance(point, 1.0, rig.arrays()), rtol=1e-6
        )

    def test_with_one_view_or_behind_a_used_one_there_is_none(self):
        rig = ring(4)
        point = rig.working[0][None]
        assert np.isnan(covariance(point, np.array([[1.0], [np.inf], [np.inf], [np.inf]]), rig.arrays())).all()
        behind = (rig.cameras[0].center_mm - 500 * rig.cameras[0].axis)[None]
        assert np.isnan(covariance(behind, 1.0, rig.arrays())).all()
        assert np.isnan(covariance(np.full((1, 3), np.nan), 1.0, rig.arrays())).all()

    def test_leading_axes(self):
        rig = ring(3)
        assert covariance(np.zeros((2, 5, 7, 3)), 1.0, rig.arrays()).shape == (2, 5, 7, 3, 3)
