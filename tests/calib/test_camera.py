"""One camera against OpenCV."""

import cv2
import numpy as np
import pytest

from calib.camera import Camera, relative_pose
from rigpose.errors import ConfigError
from tests.calib.scenes import look_at


@pytest.fixture
def camera():
    return look_at("left", (1000, -3000, 1500), (0, 0, 800), 1400, dist=(-0.2, 0.05, 0.001, -0.002, 0.01))


class TestProject:
    def test_is_that_of_opencv(self, camera):
        points = np.random.default_rng(0).uniform(-500, 500, (40, 3))
        expected = cv2.projectPoints(points, camera.rvec, camera.t, camera.K, camera.dist)[0][:, 0]
        np.testing.assert_allclose(camera.project(points), expected, atol=1e-8)

    def test_a_fisheye_is_that_of_opencv(self):
        camera = look_at("wide", (0, -1000, 500), (0, 0, 0), 400, dist=(-0.02, 0.005, -0.003, 0.0005), fisheye=True)
        points = np.random.default_rng(0).uniform(-500, 500, (40, 3))
        expected = cv2.fisheye.projectPoints(points[:, None], camera.rvec, camera.t, camera.K, camera.dist)[0][:, 0]
        np.testing.assert_allclose(camera.project(points), expected, atol=1e-8)

    def test_a_point_behind_is_not_seen(self, camera):
        behind = camera.center_mm - 100 * camera.axis
        assert np.isnan(camera.project(behind)).all()

    def test_any_leading_axes(self, camera):
        points = np.zeros((2, 3, 5, 3))
        assert camera.project(points).shape == (2, 3, 5, 2)
        assert camera.project(np.zeros(3)).shape == (2,)


class TestRays:
    def test_the_ray_of_a_projected_point_goes_through_it(self, camera):
        points = np.random.default_rng(1).uniform(-500, 500, (30, 3))
        origin, directions = camera.rays(camera.project(points))
        away = np.cross(points - origin, directions)
        assert np.linalg.norm(away, axis=-1).max() < 1e-5
        np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
        assert ((points - origin) * directions).sum(axis=-1).min() > 0


class TestValidation:
    def good(self, **changes):
        values = dict(name="a", size=(640, 480), K=np.diag([500.0, 500, 1]), dist=[], rvec=[0, 0, 0], t=[0, 0, 0])
        return Camera(**(values | changes))

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"dist": [0.1, 0.2, 0.3]}, "3 distortion"),
            ({"K": np.eye(2)}, "shape"),
            ({"K": np.array([[500.0, 0, 0], [0, 500, 0], [320, 240, 1]])}, "K is not"),
            ({"K": np.array([[500.0, 30, 320], [0, 500, 240], [0, 0, 1]])}, "skew"),
            ({"t": [0, 0, np.nan]}, "not finite"),
            ({"rvec": ["x", 0, 0]}, "no number"),
            ({"dist": [0, 0, 0, 0, 0.1], "fisheye": True}, "fisheye"),
            ({"binning": (0, 1)}, "binning"),
        ],
    )
    def test_what_cannot_be_is_refused_with_the_cameras_name(self, changes, named):
        with pytest.raises(ConfigError, match=named) as caught:
            self.good(**changes)
        assert "camera a" in str(caught.value)

    def test_its_arrays_cannot_be_changed(self):
        with pytest.raises(ValueError, match="read-only"):
            self.good().t[0] = 1


def test_a_relative_pose_brings_points_from_one_camera_into_the_other(camera):
    other = look_at("right", (-1000, -2500, 1200), (100, 0, 700), 1400)
    points = np.random.default_rng(0).uniform(-500, 500, (10, 3))
    R, t = relative_pose(camera, other)
    in_camera, in_other = (points @ one.R.T + one.t for one in (camera, other))
    np.testing.assert_allclose(in_camera @ R.T + t, in_other, atol=1e-9)
