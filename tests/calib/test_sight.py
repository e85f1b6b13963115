"""Where a board stands before one camera: both poses of a flat board, and gross errors within a view."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import _rigs
from calib.observations import BoardViews
from calib.sight import _through_four, board_poses, rotations, sight_of


def views_of_scene(scene):
    frames = np.arange(scene.px.shape[1])
    return BoardViews(scene.target_mm, scene.rig.names, tuple(c.size for c in scene.rig.cameras), frames, scene.px)


def solved(scene):
    views = views_of_scene(scene)
    sight = sight_of(views, scene.rig.cameras)
    return views, sight, board_poses(sight, views.target_mm, views.usable)


def true_pose(scene, v, f):
    camera, pose = scene.rig.cameras[v], scene.poses[f]
    board = cv2.Rodrigues(pose[:3])[0]
    return camera.R @ board, camera.R @ pose[3:] + camera.t


def degrees_apart(a, b):
    return np.degrees(np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(2))


@pytest.mark.parametrize("fisheye", [False, True])
def test_a_perfect_view_gives_its_pose_to_the_last_digits(fisheye):
    scene = _rigs.board_scene(1, 3, 12, fisheye=fisheye, sigma_px=0.0, outliers=0.0)
    _, _, poses = solved(scene)
    assert poses.known.sum() > 15
    for v, f in np.argwhere(poses.known):
        R, t = true_pose(scene, v, f)
        assert degrees_apart(poses.R[v, f, 0], R) < 1e-4
        assert np.linalg.norm(poses.t[v, f, 0] - t) < 1e-3


def test_pose_agrees_with_an_independent_solver():
    scene = _rigs.board_scene(2, 3, 10, sigma_px=0.3, outliers=0.0)
    views, _, poses = solved(scene)
    for v, f in np.argwhere(poses.known)[:12]:
        camera, seen = scene.rig.cameras[v], poses.kept[v, f]
        count, rvecs, tvecs, _ = cv2.solvePnPGeneric(
            scene.target_mm[seen], views.px[v, f, seen], camera.K, camera.dist, flags=cv2.SOLVEPNP_IPPE
        )
        rvec, tvec = cv2.solvePnPRefineLM(
            scene.target_mm[seen], views.px[v, f, seen], camera.K, camera.dist, rvecs[0], tvecs[0]
        )
        assert degrees_apart(poses.R[v, f, 0], cv2.Rodrigues(rvec)[0]) < 0.02
        assert np.linalg.norm(poses.t[v, f, 0] - tvec.ravel()) < 0.5


def test_a_tenth_of_gross_errors_is_found_and_does_not_move_the_pose():
    scene = _rigs.board_scene(3, 4, 30, sigma_px=0.3, outliers=0.1)
    views, _, poses = solved(scene)
    seen = views.seen & poses.known[..., None]
    assert (poses.kept & scene.outlier).sum() < 0.01 * (scene.outlier & seen).sum()
    assert (seen & ~poses.kept & ~scene.outlier).sum() < 0.01 * seen.sum()
    assert poses.noise_px() == pytest.approx(0.3, rel=0.15)


def test_four_points_of_which_three_lie_in_a_line_break_nothing_for_the_others():
    board = np.array([[[0.0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [1, 0], [2, 0], [3, 0]], [[1, 1]] * 4])
    xy = np.array([[[5.0, 5], [7, 5], [7, 8], [5, 8]], [[0, 0], [1e9, 0], [2e9, 0], [3e9, 0]], [[0, 0]] * 4])
    found = _through_four(xy, board)
    there = np.concatenate([board[0], np.ones((4, 1))], axis=1) @ found[0].T
    np.testing.assert_allclose(there[:, :2] / there[:, 2:], xy[0], atol=1e-9)
    assert found.shape == (3, 3, 3)


def test_information_says_how_far_off_a_pose_is():
    """Squared distances in deviations follow chi-square of six: median 5.35, 95th percentile 12.6."""
    distances = []
    for seed in range(4):
        scene = _rigs.board_scene(seed, 4, 30, sigma_px=0.3, outliers=0.0)
        _, _, poses = solved(scene)
        for v, f in np.argwhere(poses.known):
            R, t = true_pose(scene, v, f)
            turn = R @ poses.R[v, f, 0].T
            motion = np.concatenate([cv2.Rodrigues(turn)[0].ravel(), t - turn @ poses.t[v, f, 0]])
            distances.append(motion @ poses.information[v, f, 0] @ motion / 0.3**2)
    assert np.median(distances) == pytest.approx(5.35, rel=0.2)
    assert np.mean(np.array(distances) < 12.6) > 0.9


def test_a_small_board_far_away_has_two_poses_and_the_true_one_is_among_them():
    scene = _rigs.board_scene(5, 3, 40, sigma_px=0.3, outliers=0.0)
    target = scene.target_mm * 0.3
    px = np.full((*scene.px.shape[:2], len(target), 2), np.nan)
    rng = np.random.default_rng(0)
    for f, pose in enumerate(scene.poses):
        world = target @ cv2.Rodrigues(pose[:3])[0].T + pose[3:]
        for v, camera in enumerate(scene.rig.cameras):
            if (cv2.Rodrigues(pose[:3])[0][:, 2] @ (world[0] - camera.center_mm)) > 300:
                px[v, f] = camera.project(world) + rng.normal(0, 0.25, (len(target), 2))
    views = BoardViews(target, scene.rig.names, tuple(c.size for c in scene.rig.cameras), np.arange(px.shape[1]), px)
    poses = board_poses(sight_of(views, scene.rig.cameras), target, views.usable)
    firsts, seconds = [], []
    for v, f in np.argwhere(poses.known):
        R, _ = true_pose(scene, v, f)
        firsts.append(degrees_apart(poses.R[v, f, 0], R))
        seconds.append(degrees_apart(poses.R[v, f, 1], R))
    first, second = np.array(firsts), np.array(seconds)
    wrong = (first > 10) & (second < 10)
    assert wrong.any(), "the scene is not hard enough to show anything"
    assert (np.minimum(first, second) < 10).mean() > 0.95


def test_views_without_a_pose_are_not_known():
    scene = _rigs.board_scene(6, 2, 5, outliers=0.0)
    px = scene.px.copy()
    px[0] = np.nan
    views = BoardViews(scene.target_mm, scene.rig.names, ((1280, 1024),) * 2, np.arange(5), px)
    poses = board_poses(sight_of(views, scene.rig.cameras), views.target_mm, views.usable)
    assert not poses.known[0].any() and np.isnan(poses.R[0]).all()
    nothing = board_poses(sight_of(views, scene.rig.cameras), views.target_mm, np.zeros_like(views.usable))
    assert not nothing.known.any()


def test_rotations_are_those_of_opencv():
    w = np.random.default_rng(0).normal(size=(20, 3)) * np.logspace(-9, 0.4, 20)[:, None]
    for vector, matrix in zip(w, rotations(w), strict=True):
        assert np.allclose(matrix, cv2.Rodrigues(vector)[0], atol=1e-12)
