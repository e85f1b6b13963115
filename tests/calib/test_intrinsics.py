"""The lens of one camera, and whether its views can tell the focal length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import _rigs
from calib.intrinsics import OBSERVED, is_lens, solve_intrinsics, steps_of
from calib.observations import BoardViews
from rigpose.errors import ConfigError


def views_of_one(camera, target, poses, sigma_px=0.2, seed=0, outliers=0.0):
    """What one camera sees of a board at poses (R, t) before it."""
    rng = np.random.default_rng(seed)
    bare = replace(camera, rvec=np.zeros(3), t=np.zeros(3))
    px = np.stack([bare.project(target @ R.T + t) for R, t in poses])
    inside = ((px > 0) & (px < np.array(camera.size) - 1)).all(axis=-1)
    px += rng.normal(0, sigma_px, px.shape)
    wrong = rng.random(px.shape[:2]) < outliers
    px[wrong] += rng.uniform(20, 80, (int(wrong.sum()), 2))
    px[~inside] = np.nan
    return BoardViews(target, (camera.name,), (camera.size,), np.arange(len(px)), px[None])


def about(rng, n, tilt, near_mm, far_mm, wide=0.45):
    """Poses of a board that was moved about."""
    import cv2

    poses = []
    for _ in range(n):
        z = rng.uniform(near_mm, far_mm)
        R = cv2.Rodrigues(rng.normal(0, tilt, 3))[0]
        middle = np.array([rng.uniform(-wide, wide) * z, rng.uniform(-wide, wide) * z * 0.8, z])
        poses.append((R, middle - R @ np.array([150.0, 100.0, 0])))
    return poses


TARGET = _rigs.board_points(7, 5, 50.0)


def test_a_pinhole_lens_is_found_within_its_deviations_in_spite_of_gross_errors():
    camera = _rigs.make_rig(3, 2).cameras[0]
    views = views_of_one(camera, TARGET, about(np.random.default_rng(1), 30, 0.5, 500, 1500), outliers=0.1)
    lens = solve_intrinsics(views)
    assert lens.focal_observable and lens.words == ""
    off = np.abs(lens.camera.K[[0, 1], [0, 1]] - camera.K[[0, 1], [0, 1]])
    assert (off < 4 * np.array(lens.focal_deviation_px)).all() and off.max() < 4
    assert lens.solution is not None
    assert lens.solution.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.1)
    grid = np.stack(np.meshgrid(np.linspace(100, 1180, 7), np.linspace(100, 920, 7)), axis=-1)
    bare = replace(camera, rvec=np.zeros(3), t=np.zeros(3))
    ray = np.concatenate([lens.camera.undistort(grid), np.ones((7, 7, 1))], axis=-1)
    assert np.median(np.linalg.norm(bare.project(ray) - grid, axis=-1)) < 5


def test_a_fisheye_lens_is_found():
    camera = _rigs.make_rig(4, 2, fisheye=True).cameras[1]
    views = views_of_one(camera, TARGET, about(np.random.default_rng(2), 30, 0.5, 250, 900, wide=1.0))
    lens = solve_intrinsics(views, "fisheye")
    assert lens.camera.fisheye and lens.focal_observable
    assert lens.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.01)


def test_a_board_that_was_never_tilted_does_not_tell_the_focal_length():
    camera = _rigs.make_rig(5, 2).cameras[0]
    views = views_of_one(camera, TARGET, about(np.random.default_rng(3), 20, 0.004, 995, 1005, wide=0.2), sigma_px=0.3)
    lens = solve_intrinsics(views)
    assert not lens.focal_observable
    assert lens.words.startswith("focal length not observable")
    assert max(lens.focal_deviation_px) > OBSERVED * lens.camera.K[0, 0]


def test_too_few_views_are_said_and_nothing_is_claimed():
    camera = _rigs.make_rig(6, 2).cameras[0]
    views = views_of_one(camera, TARGET, about(np.random.default_rng(4), 2, 0.5, 500, 1500))
    lens = solve_intrinsics(views)
    assert lens.solution is None and not lens.focal_observable
    assert lens.words == "focal length not observable: 2 usable views of the board"


def test_a_plain_lens_is_given_no_distortion_that_it_does_not_have():
    camera = replace(_rigs.make_rig(7, 2).cameras[0], dist=np.array([-0.1, 0, 0, 0, 0.0]))
    views = views_of_one(camera, TARGET, about(np.random.default_rng(5), 25, 0.5, 500, 1500), sigma_px=0.3)
    lens = solve_intrinsics(views)
    assert not lens.camera.dist[4], "k3 was freed although nothing asks for it"
    assert lens.camera.dist[0] == pytest.approx(-0.1, abs=0.01)


def test_a_lens_that_folds_where_points_lie_is_none():
    camera = _rigs.make_rig(8, 2).cameras[0]
    points = np.array([[40.0, 40.0], [640.0, 500.0]])
    assert is_lens(replace(camera, dist=np.array([-0.1, 0.01, 0, 0, 0])), points)
    assert not is_lens(replace(camera, dist=np.array([-0.8, 0, 0, 0, 0])), points)
    K = camera.K.copy()
    K[0, 2] = -5
    assert not is_lens(replace(camera, K=K), points)


def test_a_fisheye_whose_picture_has_corners_without_rays_is_a_lens():
    camera = replace(_rigs.make_rig(1, 3, fisheye=True).cameras[1], size=(1280, 1024))
    corners = np.array([[0.0, 0.0], [1279.0, 1023.0]])
    assert np.isnan(camera.undistort(corners)).all()
    assert is_lens(camera, np.array([[600.0, 500.0], [900.0, 700.0]]))
    assert not is_lens(camera, corners)


def test_each_step_of_a_model_frees_all_that_the_one_before_did():
    for model in ("pinhole5", "pinhole8", "fisheye"):
        steps = steps_of(model)
        for before, after in zip(steps, steps[1:], strict=False):
            assert set(before.dist) <= set(after.dist) and before.center <= after.center


def test_an_unknown_model_and_several_cameras_are_refused():
    camera = _rigs.make_rig(9, 2).cameras[0]
    views = views_of_one(camera, TARGET, about(np.random.default_rng(6), 5, 0.5, 500, 1500))
    with pytest.raises(ConfigError, match="pinhole5, pinhole8, fisheye"):
        solve_intrinsics(views, "pinhole7")  # type: ignore[arg-type]
    two = BoardViews(TARGET, ("a", "b"), views.sizes * 2, views.frames, np.repeat(views.px, 2, axis=0))
    with pytest.raises(ConfigError, match="2 cameras at once"):
        solve_intrinsics(two)
