"""Where a lifted pose stands in the world: exact without noise, and as sure as it says with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calib.camera import Camera
from calib.rig import Rig
from engine.root_place import camera_to_world, root_in_world, six, square
from rigpose.errors import ConfigError


def camera(
    name: str, K: list[list[float]], dist: list[float], rvec: list[float], t: list[float], fisheye: bool = False
) -> Camera:
    a, b, c, d = (np.array(value, dtype=float) for value in (K, dist, rvec, t))
    return Camera(name, (640, 480), a, b, c, d, fisheye=fisheye)


RIG = Rig(
    (
        camera("a", [[900, 0, 322], [0, 905, 238], [0, 0, 1]], [-0.2, 0.05, 0, 0], [1.9, 0.2, 0.1], [50, 900, 3100]),
        camera(
            "b", [[700, 0, 318], [0, 702, 243], [0, 0, 1]], [0.02, 0, 0, 0], [1.7, 1.1, 0], [0, 800, 2800], fisheye=True
        ),
    )
)
N = 12
ROOTS = (0,) * N
SURE = np.ones(N)
EXACT = np.tile([1e-4, 0, 0, 1e-4, 0, 1e-4], (N, 1))


def scene(seed=0, view=0):
    """A subject that stands on the floor: world (J, 3), relative to joint 0 in the camera's axes, px."""
    rng = np.random.default_rng(seed)
    body = rng.uniform([-300, -300, 0], [300, 300, 900], (N, 3)) + [100, -200, 0]
    body[:, 2] -= body[:, 2].min()
    camera = RIG.cameras[view]
    return body, (body - body[0]) @ camera.R.T, camera.project(body)


@pytest.mark.parametrize("view", [0, 1])
def test_the_camera_stands_where_the_rig_says(view):
    turn, centre = camera_to_world(RIG.arrays(), view)
    np.testing.assert_allclose(turn, RIG.cameras[view].R.T, atol=1e-12)
    np.testing.assert_allclose(centre, RIG.cameras[view].center_mm, atol=1e-9)


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("unseen", [[], [0, 3, 7]])
def test_a_pose_in_true_mm_is_placed_exactly_whichever_joints_are_seen(view, unseen):
    body, lifted, px = scene(1, view)
    px[unseen] = np.nan
    placed = root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), view, root_of=ROOTS)
    np.testing.assert_allclose(placed.position_mm, body, atol=1e-3)
    np.testing.assert_allclose(placed.root_mm, np.tile(body[0], (N, 1)), atol=1e-3)
    assert placed.scale == pytest.approx(1.0)


@pytest.mark.parametrize("scale", ["size", "floor", "joints"])
def test_a_pose_of_the_wrong_size_is_placed_by_what_tells_the_size(scale):
    body, lifted, px = scene(2)
    known = np.full((N, 3), np.nan)
    known[[2, 5, 9]] = body[[2, 5, 9]]
    given: dict[str, dict[str, Any]] = {
        "size": {"size_mm": float(np.ptp(lifted, axis=0).max())},
        "floor": {},
        "joints": {"known_mm": known, "known_covariance_mm2": EXACT},
    }
    placed = root_in_world(0.9 * lifted, EXACT, px, SURE, RIG.arrays(), root_of=ROOTS, scale=scale, **given[scale])
    assert placed.scale == pytest.approx(1 / 0.9, rel=1e-4)
    np.testing.assert_allclose(placed.position_mm, body, atol=0.5)
    assert (
        np.abs(root_in_world(0.9 * lifted, EXACT, px, SURE, RIG.arrays(), root_of=ROOTS).root_mm - body[0]).max() > 100
    )


def test_joints_of_several_roots_are_placed_apart():
    body, _, px = scene(3)
    roots = np.array([0] * 6 + [6] * 6)
    lifted = (body - body[roots]) @ RIG.cameras[0].R.T
    placed = root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), root_of=tuple(roots))
    np.testing.assert_allclose(placed.position_mm, body, atol=1e-2)
    px[7:] = np.nan
    placed = root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), root_of=tuple(roots))
    np.testing.assert_allclose(placed.position_mm[:6], body[:6], atol=1e-2)
    assert np.isnan(placed.position_mm[6:]).all(), "one seen joint places no root"


def test_says_how_sure_it_is():
    # 2 px noise and lifted joints that are 15 mm off: squared Mahalanobis distances of the root have a mean of three.
    rng = np.random.default_rng(5)
    own = np.tile([225.0, 0, 0, 225.0, 0, 225.0], (N, 1))
    own[0] = 0
    distances, sizes = [], []
    for seed in range(300):
        body, lifted, px = scene(seed)
        noisy = lifted + rng.normal(0, 15, lifted.shape) * (np.arange(N) > 0)[:, None]
        placed = root_in_world(noisy, own, px + rng.normal(0, 2, px.shape), SURE, RIG.arrays(), root_of=ROOTS)
        offset = placed.root_mm[0] - body[0]
        distances.append(offset @ np.linalg.solve(square(placed.root_covariance_mm2[0]), offset))
        sizes.append(np.linalg.norm(offset))
    assert 2.4 < np.mean(distances) < 3.7
    assert 0.90 < np.mean(np.array(distances) < 8.02) <= 0.99
    assert np.mean(sizes) > 5, "there was something to be unsure of"


def test_an_uncertain_size_makes_the_distance_uncertain():
    body, lifted, px = scene(6)
    sure, unsure = (
        root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), root_of=ROOTS, size_spread=spread) for spread in (0, 0.1)
    )
    ray = body[0] - RIG.cameras[0].center_mm
    along = ray / np.linalg.norm(ray)
    deviation = np.sqrt(along @ square(unsure.root_covariance_mm2[0]) @ along)
    assert deviation == pytest.approx(0.1 * np.linalg.norm(ray), rel=0.1)
    assert np.sqrt(along @ square(sure.root_covariance_mm2[0]) @ along) < 0.1 * deviation


def test_too_few_joints_place_nothing():
    _, lifted, px = scene(7)
    px[2:] = np.nan
    placed = root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), root_of=ROOTS)
    assert np.isnan(placed.position_mm).all() and np.isnan(placed.scale)


@pytest.mark.parametrize("scale", ["size", "joints"])
def test_a_scale_needs_what_tells_it(scale):
    _, lifted, px = scene()
    with pytest.raises(ConfigError, match=f"scale {scale}"):
        root_in_world(lifted, EXACT, px, SURE, RIG.arrays(), root_of=ROOTS, scale=scale)


def test_six_numbers_are_a_matrix_and_back():
    numbers = np.arange(12.0).reshape(2, 6)
    assert np.array_equal(six(square(numbers)), numbers)
    assert np.array_equal(square(numbers), square(numbers).swapaxes(-1, -2))
