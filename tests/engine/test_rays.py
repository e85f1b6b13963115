"""A keypoint fixes what is across its ray: against central differences of the cameras' own projection."""

from __future__ import annotations

import numpy as np
import pytest

from calib.camera import Camera
from calib.rig import Rig
from engine.rays import Rays


def camera(
    name: str,
    focal: tuple[float, float],
    dist: list[float],
    rvec: list[float],
    t: list[float],
    *,
    fisheye: bool = False,
) -> Camera:
    K = np.array([[focal[0], 0.0, 322.0], [0.0, focal[1], 238.0], [0.0, 0.0, 1.0]])
    return Camera(name, (640, 480), K, np.array(dist), np.array(rvec), np.array(t), fisheye=fisheye)


RIG = Rig(
    (
        camera("pin", (620, 615), [], [0.1, 0.2, 0.0], [0, 0, 3000]),
        camera("bent", (500, 502), [-0.28, 0.09, 0.0, 0.0, 0.01], [0.0, -0.7, 0.1], [100, 50, 2800]),
        camera("fish", (300, 300), [0.02, -0.01, 0.0, 0.0], [0.3, 1.2, 0.0], [-80, 0, 2500], fisheye=True),
    )
)
POINTS = np.random.default_rng(0).uniform(-500, 500, (6, 3))


def seen() -> np.ndarray:
    return np.stack([camera.project(POINTS) for camera in RIG.cameras])


@pytest.fixture
def rays() -> Rays:
    return Rays(RIG.arrays())


def test_the_information_is_that_of_the_cameras_derivative(rays: Rays) -> None:
    sigma = np.array([1.0, 2.0, 0.5])[:, None] * np.ones((3, 6))
    found = rays.information(seen(), rays.depth_mm(POINTS), sigma)
    for view, camera in enumerate(RIG.cameras):
        for joint, point in enumerate(POINTS):
            step = 0.1 * np.eye(3)
            jacobian = ((camera.project(point + step) - camera.project(point - step)) / 0.2).T / sigma[view, joint]
            np.testing.assert_allclose(found[view, joint], jacobian.T @ jacobian, rtol=2e-2, atol=1e-5)


def test_it_is_blind_along_the_ray(rays: Rays) -> None:
    found = rays.information(seen(), rays.depth_mm(POINTS), np.ones((3, 6)))
    for view in range(3):
        towards = POINTS - rays.centers_mm[view]
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        along = (towards[:, None] @ found[view] @ towards[..., None])[:, 0, 0]
        assert (along < 1e-6 * np.trace(found[view], axis1=1, axis2=2)).all()
        assert (np.linalg.matrix_rank(found[view], tol=1e-8) == 2).all()


def test_cameras_stand_where_the_rig_says(rays: Rays) -> None:
    np.testing.assert_allclose(rays.centers_mm, [camera.center_mm for camera in RIG.cameras], atol=1e-6)
    np.testing.assert_allclose(rays.to_world, [camera.R.T for camera in RIG.cameras], atol=1e-12)


def test_what_is_not_seen_says_nothing(rays: Rays) -> None:
    points = seen()
    points[0, 0] = np.nan
    depth = rays.depth_mm(POINTS).copy()
    depth[1, 1], depth[1, 2] = -5.0, np.nan
    sigma = np.ones((3, 6))
    sigma[2, 3] = np.nan
    found = rays.information(points, depth, sigma)
    silent = np.asarray(~found.any(axis=(-2, -1)))
    assert silent[0, 0] and silent[1, 1] and silent[1, 2] and silent[2, 3] and silent.sum() == 4


def test_residuals_are_those_of_the_cameras(rays: Rays) -> None:
    moved = seen() + np.array([3.0, 4.0])
    np.testing.assert_allclose(rays.residual_px(moved, POINTS), 5.0, atol=1e-6)
    behind = RIG.cameras[0].center_mm - 1000 * RIG.cameras[0].axis
    assert np.isnan(rays.residual_px(moved[:, :1], behind[None])[0, 0])
