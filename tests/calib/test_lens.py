"""Lenses against OpenCV, and the way back."""

import cv2
import numpy as np
import pytest
import torch

from calib import lens

K = np.array([[770.0, 0, 640], [0, 780.0, 512], [0, 0, 1]])

PINHOLES = {
    "none": ((), 1.0, 1e-9),
    "barrel": ((-0.2853, 0, 0, 0), 0.97, 1e-7),
    "webcam": ((-0.332, 0.0464, -0.0043, 0.0041, 0.0666), 0.8, 1e-5),
    "rational": ((0.1, -0.2, 0.001, -0.001, 0.05, 0.3, -0.1, 0.02), 0.8, 1e-5),
    "thin prism": ((-0.2, -0.05, 0.001, -0.001, 0.02, 0.1, -0.02, 0.01, 0.002, -0.001, 0.003, 0.001), 0.7, 1e-5),
    "tilted": (
        (-0.2, -0.05, 0.001, -0.001, 0.02, 0.1, -0.02, 0.01, 0.002, -0.001, 0.003, 0.001, 0.05, -0.03),
        0.7,
        1e-5,
    ),
}
FISHEYES = {"wide": ((-0.02, 0.005, -0.003, 0.0005), 80), "strong": ((0.1, -0.05, 0.02, -0.004), 70)}


def disc(radius, n=3000):
    rng = np.random.default_rng(0)
    angle, r = rng.uniform(0, 2 * np.pi, n), radius * np.sqrt(rng.uniform(0, 1, n))
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)[None]


def arrays(dist, fisheye=False):
    return K[None], lens.pad(np.array(dist, float))[None], np.array([float(fisheye)])


class TestDistort:
    @pytest.mark.parametrize("name", PINHOLES)
    def test_is_that_of_opencv(self, name):
        dist, radius, _ = PINHOLES[name]
        x = disc(radius)
        space = np.concatenate([x[0], np.ones((x.shape[1], 1))], axis=-1)
        expected = cv2.projectPoints(space, np.zeros(3), np.zeros(3), K, np.array(dist, float))[0][:, 0]
        np.testing.assert_allclose(lens.distort(x, *arrays(dist))[0], expected, atol=1e-9)

    @pytest.mark.parametrize("name", FISHEYES)
    def test_is_that_of_opencvs_fisheye(self, name):
        dist, degrees = FISHEYES[name]
        x = disc(np.tan(np.radians(degrees)))
        expected = cv2.fisheye.distortPoints(x, K, np.array(dist))[0]
        np.testing.assert_allclose(lens.distort(x, *arrays(dist, True))[0], expected, atol=1e-9)

    def test_views_of_one_call_may_have_different_lenses(self):
        x = disc(0.5, 20)
        each = [lens.distort(x, *arrays(*lens_)) for lens_ in ((PINHOLES["tilted"][0],), (FISHEYES["wide"][0], True))]
        both = [
            np.concatenate(pair)
            for pair in zip(arrays(PINHOLES["tilted"][0]), arrays(FISHEYES["wide"][0], True), strict=True)
        ]
        np.testing.assert_allclose(lens.distort(np.repeat(x, 2, axis=0), *both), np.concatenate(each), atol=1e-12)


class TestUndistort:
    @pytest.mark.parametrize("name", PINHOLES)
    def test_inverts_distort(self, name):
        dist, radius, within = PINHOLES[name]
        x = disc(radius)
        rig = arrays(dist)
        back = lens.distort(lens.undistort(lens.distort(x, *rig), *rig), *rig)
        assert np.abs(back - lens.distort(x, *rig)).max() < within

    @pytest.mark.parametrize("name", FISHEYES)
    def test_inverts_a_fisheye(self, name):
        dist, degrees = FISHEYES[name]
        x = disc(np.tan(np.radians(degrees)))
        rig = arrays(dist, True)
        np.testing.assert_allclose(lens.undistort(lens.distort(x, *rig), *rig), x, atol=1e-10)

    @pytest.mark.parametrize("name", PINHOLES)
    def test_float32_keeps_the_resolution_of_a_pixel_coordinate(self, name):
        dist, radius, _ = PINHOLES[name]
        rig = arrays(dist)
        px = lens.distort(disc(0.9 * radius), *rig)
        found = lens.undistort(px.astype(np.float32), *(a.astype(np.float32) for a in rig))
        assert found.dtype == np.float32
        assert np.abs(lens.distort(found.astype(float), *rig) - px).max() < 4e-4

    def test_torch_gives_the_same(self):
        rig = arrays(PINHOLES["tilted"][0])
        px = lens.distort(disc(0.7, 50), *rig)
        found = lens.undistort(torch.tensor(px), *map(torch.tensor, rig))
        np.testing.assert_allclose(found.numpy(), lens.undistort(px, *rig), atol=1e-12)

    def test_a_pixel_beyond_the_fold_of_the_lens_has_no_ray(self):
        # r - 0.2853 r^3 is never above 0.721: no ray of this lens reaches the picture's corner.
        rig = arrays((-0.2853, 0, 0, 0))
        corner = np.array([[[1279.0, 1023.0], [640.0, 512.0], [np.nan, np.nan]]])
        found = lens.undistort(corner, *rig)[0]
        assert np.isnan(found[0]).all()
        np.testing.assert_allclose(found[1], 0, atol=1e-12)
        assert np.isnan(found[2]).all()

    def test_a_fisheye_ray_beside_the_camera_has_no_place_on_the_plane(self):
        rig = arrays((0.0, 0, 0, 0), True)
        beside = K[:2, 2] + K[0, 0] * np.array([np.radians(95), 0])
        assert np.isnan(lens.undistort(beside[None, None], *rig)).all()
