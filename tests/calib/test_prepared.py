"""The fast form says what the array form says."""

import array_api_compat.numpy as np_xp
import numpy as np
import pytest

from calib import lens, triangulate
from calib.prepared import Prepared, prepare, solve3
from tests.calib.scenes import cloud, ring, views

LENSES = {
    "none": ((), False, 1400),
    "mild": ((-0.1, 0.02, 0.001, 0.001, 0.0), False, 1400),
    "webcam": ((-0.332, 0.0464, -0.0043, 0.0041, 0.0666), False, 904),
    "barrel that folds": ((-0.2853, 0, 0, 0), False, 770),
    "everything": (
        (-0.2, -0.05, 0.001, -0.001, 0.02, 0.1, -0.02, 0.01, 2e-3, -1e-3, 3e-3, 1e-3, 0.05, -0.03),
        False,
        1400,
    ),
    "fisheye": ((-0.02, 0.005, -0.003, 0.0005), True, 400),
}


def rig_of(name):
    dist, fisheye, focal = LENSES[name]
    return ring(3, focal_px=focal, dist=dist, fisheye=fisheye)


def pixels(n=400):
    return np.random.default_rng(0).uniform(0, 1, (3, n, 2)) * (1279, 1023)


class TestLens:
    @pytest.mark.parametrize("name", LENSES)
    def test_undistorts_to_a_twentieth_of_a_pixel(self, name):
        arrays = rig_of(name).arrays()
        px = pixels()
        found, _ = Prepared(arrays).undistort(px.transpose(2, 0, 1))
        exact = lens.undistort_with_steps(px, arrays.K, arrays.dist, arrays.fisheye, 12)
        back = lens.distort(found.transpose(1, 2, 0), *arrays[:3])
        seen = np.isfinite(exact).all(axis=-1)
        assert seen.mean() > 0.6
        assert np.nanmax(np.linalg.norm(back - px, axis=-1)[seen]) < 0.1
        # What has no ray has none here; at the very fold the two may differ.
        assert (np.isnan(found[0]) == ~seen).mean() > 0.98

    @pytest.mark.parametrize("name", LENSES)
    def test_distorts_exactly(self, name):
        rig = rig_of(name)
        arrays = rig.arrays()
        normalised = np.random.default_rng(1).uniform(-0.3, 0.3, (3, 50, 2))
        found = Prepared(arrays).distort(normalised.transpose(2, 0, 1))
        np.testing.assert_allclose(found.transpose(1, 2, 0), lens.distort(normalised, *arrays[:3]), atol=1e-8)

    @pytest.mark.parametrize("name", LENSES)
    def test_its_derivative_is_that_of_finite_differences(self, name):
        arrays = rig_of(name).arrays()
        prepared = Prepared(arrays)
        xy = np.random.default_rng(1).uniform(-0.3, 0.3, (2, 3, 50))
        exact, derivative = prepared.distort_with_derivative(xy)
        np.testing.assert_allclose(exact, prepared.distort(xy), atol=1e-9)
        (xx, yy), cross = derivative or (np.ones((2, 1)), np.zeros(1))
        for one, other in zip(derivative or (), prepared.derivative(xy) or (), strict=True):
            np.testing.assert_array_equal(one, other)
        step = 1e-6
        along_x = (prepared.distort(xy + [[[step]], [[0]]]) - exact) / step / prepared.focal
        along_y = (prepared.distort(xy + [[[0]], [[step]]]) - exact) / step / prepared.focal
        # Tangential, prism and tilt terms are left out: one per cent, more for a sensor tilted by 3 degrees.
        allowed = 0.09 if name == "everything" else 0.012
        np.testing.assert_allclose(along_x[0], np.broadcast_to(xx, along_x[0].shape), atol=allowed)
        np.testing.assert_allclose(along_x[1], np.broadcast_to(cross, along_x[1].shape), atol=allowed)
        np.testing.assert_allclose(along_y[1], np.broadcast_to(yy, along_y[1].shape), atol=allowed)


class TestGeometry:
    def test_cameras_see_points_where_they_are(self):
        rig = ring(3, origin_mm=(5000, 0, 0))
        points = cloud(rig, 7, 500)
        prepared = Prepared(rig.arrays())
        seen = prepared.seen_from((points.T - prepared.origin) / prepared.unit) * prepared.unit
        for view, camera in enumerate(rig.cameras):
            np.testing.assert_allclose(seen[:, view].T, points @ camera.R.T + camera.t, atol=1e-6)

    @pytest.mark.parametrize("name", LENSES)
    def test_they_show_points_where_the_array_form_does_and_none_behind_them(self, name):
        rig = rig_of(name)
        arrays = rig.arrays()
        prepared = Prepared(arrays)
        points = np.concatenate([cloud(rig, 20, 400), [rig.cameras[0].center_mm * 1.5, [np.nan] * 3]])
        position = (points.T - prepared.origin) / prepared.unit
        found = prepared.project(position).transpose(1, 2, 0)
        exact = triangulate.reproject(np_xp, position.T, arrays)
        assert np.isnan(exact[0, 20]).all() and np.isfinite(exact[0, :20]).all()
        np.testing.assert_allclose(found, exact, atol=1e-6)

    def test_weighted_equations_are_those_of_a_least_squares_solver(self):
        rig = ring(4)
        prepared = Prepared(rig.arrays())
        rng = np.random.default_rng(0)
        px = views(rig, cloud(rig, 6, 500)) + rng.normal(0, 5, (4, 6, 2))
        weight = rng.uniform(0.1, 1, (4, 6))
        xy, _ = prepared.undistort(px.transpose(2, 0, 1))
        found = solve3(prepared.equations @ prepared.factors(xy, weight))
        Rt = rig.arrays().Rt
        for joint in range(6):
            rows = np.concatenate(
                [np.sqrt(weight[v, joint]) * (xy[:, v, joint, None] * Rt[v, 2] - Rt[v, :2]) for v in range(4)]
            )
            expected = np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)[0]
            np.testing.assert_allclose(found[:, joint], expected, atol=1e-5)


class TestPrepare:
    def test_the_same_arrays_are_prepared_once(self):
        arrays = ring(3).arrays()
        assert prepare(arrays) is prepare(arrays)
        assert prepare(ring(3).arrays()) is not prepare(arrays)

    def test_only_a_few_are_held(self):
        from calib import prepared

        for _ in range(40):
            prepare(ring(2).arrays())
        assert len(prepared._CACHE) <= 16
