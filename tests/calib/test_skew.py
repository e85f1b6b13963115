"""Cameras with a skew: exact in the camera, replaced by the nearest lens where nobody knows skew."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from calib.bundle import Free, adjust_points
from calib.camera import Camera
from calib.fit import fit_camera
from calib.quality import judge
from calib.rig import Rig
from calib.skew import without_skew
from rigpose.errors import ConfigError
from tests.calib.scenes import cloud, ring


def skewed(px: float, dist=(-0.15, 0.3, 0.001, -0.002, 0.1)) -> Camera:
    """A camera of a ring whose x axis leans."""
    camera = ring(3, dist=dist).cameras[1]
    K = camera.K.copy()
    K[0, 1] = px
    return replace(camera, K=K)


class TestCameraWithSkew:
    def test_projects_as_its_matrix_says(self):
        camera = replace(skewed(-6.0), dist=np.zeros(0))
        points = np.random.default_rng(0).uniform(-500, 500, (50, 3))
        seen = points @ camera.R.T + camera.t
        homogeneous = seen @ camera.K.T
        np.testing.assert_allclose(camera.project(points), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-9)

    def test_undistortion_is_the_inverse(self):
        camera = skewed(-6.0)
        px = np.random.default_rng(1).uniform(0, 1000, (3, 40, 2))
        origin, rays = camera.rays(px)
        np.testing.assert_allclose(camera.project(origin + 1234.0 * rays), px, atol=1e-6)

    def test_a_scaled_picture_scales_the_skew(self):
        camera = skewed(-6.0)
        half = fit_camera(camera, (640, 512), "scale")
        points = np.random.default_rng(2).uniform(-500, 500, (20, 3))
        np.testing.assert_allclose(half.project(points) + 0.5, (camera.project(points) + 0.5) / 2, atol=1e-9)


class TestWithoutSkew:
    @pytest.mark.parametrize("skew", [-6.0, 1.4])
    def test_is_right_all_over_the_picture_and_stands_at_the_same_place(self, skew):
        camera = skewed(skew)
        nearest, off = without_skew(camera)
        assert nearest.skew == 0
        np.testing.assert_allclose(nearest.center_mm, camera.center_mm, atol=1e-6)
        px = np.random.default_rng(3).uniform(0, 1, (500, 2)) * np.array(camera.size)
        origin, rays = camera.rays(px)
        error = np.linalg.norm(nearest.project(origin + 4000 * rays) - px, axis=-1)
        assert error.max() <= 1.2 * off.max_px
        assert np.median(error) < 0.25
        assert off.median_px < 0.25

    def test_of_a_lens_without_distortion_is_a_tilted_sensor(self):
        _, off = without_skew(replace(skewed(-6.0), dist=np.zeros(0)))
        assert off.max_px < 0.05

    def test_leaves_other_cameras_alone(self):
        camera = ring(2).cameras[0]
        nearest, off = without_skew(camera)
        assert nearest is camera
        assert off.max_px == 0

    def test_a_tilted_sensor_is_not_called_swapped(self):
        camera = replace(ring(2).cameras[0], size=(1152, 1024), dist=np.array([0.0] * 12 + [0.067, 0.069]))
        K = camera.K.copy()
        K[:2, 2] = 544, 599
        rig = Rig((replace(camera, K=K), ring(2).cameras[1]))
        assert judge(rig).verdict == "good", judge(rig)

    def test_needs_the_size_of_the_picture(self):
        with pytest.raises(ConfigError, match="size"):
            without_skew(replace(skewed(2.0), size=(0, 0)))


def test_the_solvers_get_the_nearest_lens_and_the_log_says_so(caplog):
    rig = ring(3)
    cameras = (rig.cameras[0], skewed(-6.0, dist=()), rig.cameras[2])
    with caplog.at_level(logging.WARNING):
        arrays = Rig(cameras).arrays()
    assert "cam1: its skew of -6 px" in caplog.text
    assert (arrays.K[:, 0, 1] == 0).all()
    point = cloud(rig, 1, 300)[0]
    normalised = (point - arrays.world[:3]) / arrays.world[3]
    seen = arrays.Rt[1] @ np.append(normalised, 1.0)
    from calib import lens

    px = lens.distort((seen[:2] / seen[2])[None, None], arrays.K[1:2], arrays.dist[1:2], arrays.fisheye[1:2])
    np.testing.assert_allclose(px[0, 0], cameras[1].project(point), atol=0.01)


def test_the_bundle_adjustment_refuses_it_with_the_way_out():
    """Left in K, it would be adjusted away without a word."""
    rig = ring(2)
    with pytest.raises(ConfigError, match="cam1: has a skew, which cannot be adjusted .*calibrate convert"):
        adjust_points((rig.cameras[0], skewed(-6.0)), cloud(rig, 10, 300), np.zeros((2, 10, 2)), free=Free())
