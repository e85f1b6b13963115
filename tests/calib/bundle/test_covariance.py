"""Reported deviations against errors: of synthetic rigs, with outliers rejected first."""

import cv2
import numpy as np
import pytest

from benchmarks._rigs import board_scene, moved, point_scene
from calib.bundle import Free, adjust_boards, adjust_points, gauge
from calib.bundle.parameters import State


def errors_in_sigmas(result, true):
    """Of each free parameter, in the tangent space at the estimate."""
    found = []
    for camera, truth, columns in zip(result.cameras, true, result.table, strict=True):
        spread = np.sqrt(np.diag(result.covariance_of(camera.name)))
        off = []
        if columns.extrinsics:
            off += [*cv2.Rodrigues(truth.R @ camera.R.T)[0].ravel(), *(camera.R @ (truth.center_mm - camera.center_mm))]
        values = [np.array([one.K[0, 0], one.K[1, 1], one.K[0, 2], one.K[1, 2], *one.dist]) for one in (camera, truth)]
        off += [values[1][moves[0][0]] - values[0][moves[0][0]] for moves in columns.intrinsics]
        found += list(np.array(off) / spread)
    return np.array(found)


def without_outliers(scene, free):
    px = scene.px.copy()
    result = adjust_boards(scene.rig.cameras, scene.poses, scene.target_mm, px, free=free)
    for _ in range(3):
        length = np.linalg.norm(result.residual_px, axis=-1)
        gross = length > 4 * np.nanmedian(length) / 1.1774
        if not gross.any():
            break
        px[gross] = np.nan
        assert result.poses is not None
        result = adjust_boards(result.cameras, result.poses, scene.target_mm, px, free=free)
    return result


@pytest.mark.parametrize("lenses", [False, True])
def test_errors_lie_within_the_deviations_as_often_as_they_should(lenses):
    off = []
    for seed in range(10):
        n_cameras = 2 + seed % 5
        scene = board_scene(100 + seed, n_cameras, 30, fisheye=(False, True, "mixed")[seed % 3])
        free = [
            Free(focal="both", center=True, dist=tuple(range(len(c.dist)))) if lenses else Free()
            for c in scene.rig.cameras
        ]
        off.append(errors_in_sigmas(without_outliers(scene, free), scene.rig.cameras))
    off = np.abs(np.concatenate(off))
    # 180 to 500 parameters, those of a rig not independent of each other.
    assert 0.60 < (off < 1).mean() < 0.78
    assert 0.91 < (off < 2).mean() < 0.995


def test_also_of_free_points_whose_frame_is_that_of_the_cameras_given():
    off = []
    for seed in range(12):
        scene = point_scene(200 + seed, 3 + seed % 4, 40, 10, sigma_px=1.0, outliers=0.0)
        n = len(scene.rig)
        result = adjust_points(scene.rig.cameras, scene.points_mm.reshape(-1, 3), scene.px.reshape(n, -1, 2))
        off.append(errors_in_sigmas(result, scene.rig.cameras))
    off = np.abs(np.concatenate(off))
    assert 0.55 < (off < 1).mean() < 0.85
    assert 0.90 < (off < 2).mean()


def test_a_focal_length_from_boards_at_one_distance_is_not_sure():
    near = board_scene(300, 3, 30, outliers=0.0)
    poses, px = near.poses.copy(), near.px.copy()
    # The same board upright before the first camera, at one distance, seen by it alone.
    camera = near.rig.cameras[0]
    free = [Free(extrinsics=False, focal="one")]
    turned = [camera.R.T @ cv2.Rodrigues(np.array([0.0, 0.0, 0.1 * i]))[0] for i in range(10)]
    middles = [camera.center_mm + camera.R.T @ [20.0 * i - 200, -100, 1200] for i in range(10)]
    flat = np.array([[*cv2.Rodrigues(R)[0].ravel(), *middle] for R, middle in zip(turned, middles, strict=True)])
    points = np.stack([near.target_mm @ R.T + middle for R, middle in zip(turned, middles, strict=True)])
    seen = camera.project(points)[None]
    seen = seen + np.random.default_rng(0).normal(0, 0.3, seen.shape)
    fronto = adjust_boards([camera], flat, near.target_mm, seen, free=free)
    tilted = adjust_boards([camera], poses, near.target_mm, px[:1], free=free)
    assert fronto.deviation(camera.name).focal_px[0] > 5 * tilted.deviation(camera.name).focal_px[0]


def test_motions_of_the_world_change_no_picture():
    scene = point_scene(5, 4, 5, 6, sigma_px=0.0, outliers=0.0)
    result = adjust_points(scene.rig.cameras, scene.points_mm.reshape(-1, 3), scene.px.reshape(4, -1, 2))
    state = State.of(scene.rig.cameras)
    for direction in gauge.motions(state, result.table, 1000.0).T:
        step = 1e-4 * direction
        forward = state.moved(result.table, step)
        back = gauge.alignment(state, forward, result.table, 1000.0).state(forward)
        np.testing.assert_allclose(back.centers, state.centers, atol=1e-3)
        np.testing.assert_allclose(back.R, state.R, atol=2e-7)


def test_a_rig_that_was_moved_as_a_whole_comes_back():
    rig = moved(point_scene(6, 5).rig, "cam03", turned_deg=0.0)
    state = State.of(rig.cameras)
    turn = cv2.Rodrigues(np.array([0.3, -0.2, 0.5]))[0]
    away = gauge.Similarity(1.3, turn, np.array([100.0, -50.0, 300.0])).state(state)
    table = adjust_points(rig.cameras, np.zeros((1, 3)) + 1, np.zeros((5, 1, 2)) + 500, max_iterations=1).table
    back = gauge.alignment(state, away, table, 1000.0).state(away)
    np.testing.assert_allclose(back.centers, state.centers, atol=1e-4)
