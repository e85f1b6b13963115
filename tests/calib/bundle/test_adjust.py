"""Adjustments of scenes whose truth is known, and against another solver on the same problem."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import scipy.optimize

from benchmarks._rigs import board_scene, point_scene
from calib.bundle import Free, adjust_boards, adjust_points
from rigpose.errors import ConfigError


def turned(camera, turn, shift_mm):
    rotation = cv2.Rodrigues(np.asarray(turn, float))[0] @ camera.R
    return replace(camera, rvec=cv2.Rodrigues(rotation)[0].ravel(), t=-rotation @ (camera.center_mm + shift_mm))


def disturbed(scene, seed=0, rad=0.01, mm=15.0, first_held=True):
    """Cameras and poses a little off the truth."""
    rng = np.random.default_rng(seed)
    cameras = [turned(camera, rng.normal(0, rad, 3), rng.normal(0, mm, 3)) for camera in scene.rig.cameras]
    if first_held:
        cameras[0] = scene.rig.cameras[0]
    return cameras


def moved_poses(scene, seed=1, rad=0.02, mm=15.0):
    rng = np.random.default_rng(seed)
    return scene.poses + rng.normal(0, 1, scene.poses.shape) * np.repeat([rad, mm], 3)


def all_free(cameras):
    return [Free(focal="both", center=True, dist=tuple(range(len(camera.dist)))) for camera in cameras]


def centers(cameras):
    return np.stack([camera.center_mm for camera in cameras])


class TestBoards:
    @pytest.mark.parametrize("fisheye", [False, True, "mixed"])
    def test_without_noise_the_truth_is_found_to_the_last_digits(self, fisheye):
        scene = board_scene(3, 4, 30, fisheye=fisheye, sigma_px=0.0, outliers=0.0)
        result = adjust_boards(
            disturbed(scene), moved_poses(scene), scene.target_mm, scene.px, loss="linear", tolerance=1e-14
        )
        assert result.converged
        np.testing.assert_allclose(centers(result.cameras), centers(scene.rig.cameras), atol=1e-5)
        assert np.nanmax(np.abs(result.residual_px)) < 1e-6

    def test_without_noise_the_lenses_are_found_too(self):
        scene = board_scene(4, 3, 40, fisheye="mixed", sigma_px=0.0, outliers=0.0)
        begin = [
            replace(camera, K=camera.K * np.array([[1.02, 1, 1], [1, 1.02, 1], [1, 1, 1]]), dist=camera.dist * 0.9)
            for camera in disturbed(scene)
        ]
        result = adjust_boards(
            begin, moved_poses(scene), scene.target_mm, scene.px, free=all_free(begin), loss="linear", tolerance=1e-14
        )
        for camera, true in zip(result.cameras, scene.rig.cameras, strict=True):
            np.testing.assert_allclose(camera.K, true.K, atol=1e-3)
            np.testing.assert_allclose(camera.dist, true.dist, atol=1e-4)

    @pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy"])
    def test_another_solver_finds_the_same_minimum(self, loss):
        scene = board_scene(7, 2, 8, columns=4, rows=3, sigma_px=0.5, outliers=0.0 if loss == "linear" else 0.05)
        cameras, poses = disturbed(scene), moved_poses(scene)
        free = [Free(), Free(focal="one", dist=(0,))]
        ours = adjust_boards(
            cameras, poses, scene.target_mm, scene.px, free=free, sigma_px=0.5, loss=loss, tolerance=1e-13
        )
        cost, center = _golden(cameras, poses, scene, loss, sigma=0.5, threshold=2.0)
        assert ours.cost == pytest.approx(cost, rel=1e-6)
        off = np.abs(ours.cameras[1].center_mm - center)
        assert (off < 0.03 * ours.deviation("cam02").position_mm).all()

    def test_what_is_held_does_not_move(self):
        scene = board_scene(5, 3, 20)
        cameras = disturbed(scene, first_held=False)
        free = [Free(), Free(extrinsics=False), Free(extrinsics=False, focal="one")]
        result = adjust_boards(cameras, scene.poses, scene.target_mm, scene.px, free=free)
        np.testing.assert_array_equal(result.cameras[1].K, cameras[1].K)
        np.testing.assert_allclose(result.cameras[1].rvec, cameras[1].rvec, atol=1e-12)
        np.testing.assert_allclose(result.cameras[2].center_mm, cameras[2].center_mm, atol=1e-9)
        assert result.cameras[2].K[0, 0] != cameras[2].K[0, 0]
        assert result.cameras[2].K[1, 1] / result.cameras[2].K[0, 0] == pytest.approx(
            cameras[2].K[1, 1] / cameras[2].K[0, 0]
        )
        assert np.abs(result.cameras[0].center_mm - cameras[0].center_mm).max() > 0.1
        assert result.deviation(cameras[1].name).position_total_mm == 0

    def test_gross_outliers_cost_little_with_a_robust_loss_and_much_without(self):
        scene = board_scene(6, 3, 30, outliers=0.1)
        off = {}
        for loss in ("huber", "linear"):
            result = adjust_boards(disturbed(scene), scene.poses, scene.target_mm, scene.px, loss=loss)
            off[loss] = np.abs(centers(result.cameras) - centers(scene.rig.cameras)).max()
        assert off["huber"] < 2.0 < off["linear"]

    def test_the_noise_that_was_put_in_is_found(self):
        scene = board_scene(8, 3, 30, sigma_px=0.4, outliers=0.0)
        for sigma_px in (None, 1.0, [0.2, 0.2, 0.2]):
            result = adjust_boards(
                disturbed(scene), scene.poses, scene.target_mm, scene.px, sigma_px=sigma_px, loss="linear"
            )
            assert result.sigma_px == pytest.approx(0.4, rel=0.05)

    def test_a_moment_without_a_pose_is_left_out(self):
        scene = board_scene(9, 2, 12, outliers=0.0)
        poses = scene.poses.copy()
        poses[4] = np.nan
        result = adjust_boards(disturbed(scene), poses, scene.target_mm, scene.px)
        assert result.poses is not None and np.isnan(result.poses[4]).all()
        assert np.isnan(result.residual_px[:, 4]).all()
        assert not result.weights[:, 4].any()
        there = np.isfinite(scene.px[..., 0])
        there[:, 4] = False
        np.testing.assert_array_equal(np.isfinite(result.residual_px[..., 0]), there)

    def test_cameras_that_share_no_board_have_no_finite_deviation(self):
        scene = board_scene(10, 2, 20, outliers=0.0)
        px = scene.px.copy()
        px[0, ::2], px[1, 1::2] = np.nan, np.nan
        result = adjust_boards(disturbed(scene), scene.poses, scene.target_mm, px)
        assert np.isinf(result.deviation("cam02").position_mm).all()

    def test_a_coefficient_that_the_lens_lacks_cannot_be_free(self):
        scene = board_scene(1, 2, 5)
        with pytest.raises(ConfigError, match="no distortion coefficient 7"):
            adjust_boards(scene.rig.cameras, scene.poses, scene.target_mm, scene.px, free=Free(dist=(7,)))


def _golden(cameras, poses, scene, loss, sigma, threshold):
    """SciPy's dense trust region with numeric derivatives, by OpenCV's projection; second camera, its f and k1 free."""
    seen = np.isfinite(scene.px[..., 0])

    def rho(s):
        k2 = threshold**2
        return {
            "linear": s,
            "huber": np.where(s > k2, 2 * threshold * np.sqrt(np.maximum(s, k2)) - k2, s),
            "soft_l1": 2 * k2 * (np.sqrt(1 + s / k2) - 1),
            "cauchy": k2 * np.log1p(s / k2),
        }[loss]

    def residuals(x):
        found = []
        for v, camera in enumerate(cameras):
            rvec, t = (camera.rvec, camera.t) if v == 0 else (x[:3], x[3:6])
            K, dist = camera.K.copy(), camera.dist.copy()
            if v == 1:
                K[0, 0], K[1, 1], dist[0] = K[0, 0] * x[6], K[1, 1] * x[6], x[7]
            for f, pose in enumerate(x[8:].reshape(-1, 6)):
                if seen[v, f].any():
                    world = scene.target_mm @ cv2.Rodrigues(pose[:3])[0].T + pose[3:]
                    px = cv2.projectPoints(world, rvec, t, K, dist)[0].reshape(-1, 2)
                    found.append((scene.px[v, f] - px)[seen[v, f]] / sigma)
        r = np.concatenate(found)
        s = (r**2).sum(axis=1)
        return (r * np.sqrt(rho(s) / np.maximum(s, 1e-30))[:, None]).ravel()

    begin = np.concatenate([cameras[1].rvec, cameras[1].t, [1.0, cameras[1].dist[0]], poses.ravel()])
    solved = scipy.optimize.least_squares(
        residuals, begin, jac="3-point", x_scale="jac", ftol=1e-13, xtol=1e-13, gtol=1e-13, max_nfev=40
    )
    rotation = cv2.Rodrigues(solved.x[:3])[0]
    return solved.cost, -rotation.T @ solved.x[3:6]


class TestPoints:
    def test_without_noise_the_shape_of_the_rig_is_found(self):
        scene = point_scene(2, 4, 20, 8, sigma_px=0.0, outliers=0.0)
        cameras = disturbed(scene, rad=0.005, mm=8.0, first_held=False)
        px = scene.px.reshape(4, -1, 2)
        result = adjust_points(cameras, scene.points_mm.reshape(-1, 3), px, loss="linear", tolerance=1e-14)
        assert np.nanmax(np.abs(result.residual_px)) < 1e-5
        between = [
            np.linalg.norm(c[:, None] - c[None], axis=-1)[np.triu_indices(4, 1)]
            for c in map(centers, (result.cameras, scene.rig.cameras))
        ]
        np.testing.assert_allclose(between[0] / between[0].sum(), between[1] / between[1].sum(), atol=1e-6)

    def test_the_rig_stays_where_it_was_as_a_whole(self):
        scene = point_scene(3, 5, 30, 10, sigma_px=1.0, outliers=0.0)
        cameras = disturbed(scene, rad=0.005, mm=8.0, first_held=False)
        result = adjust_points(cameras, scene.points_mm.reshape(-1, 3), scene.px.reshape(5, -1, 2))
        before, after = centers(cameras), centers(result.cameras)
        np.testing.assert_allclose(before.mean(axis=0), after.mean(axis=0), atol=2.0)
        size = [np.linalg.norm(c - c.mean(axis=0)) for c in (before, after)]
        assert size[1] == pytest.approx(size[0], rel=3e-3)

    def test_a_camera_that_was_knocked_over_moves_no_other(self):
        scene = point_scene(3, 5, 30, 10, sigma_px=0.5, outliers=0.0)
        cameras = list(scene.rig.cameras)
        cameras[2] = turned(cameras[2], (0.02, -0.03, 0.01), (20.0, -30.0, 10.0))
        result = adjust_points(cameras, scene.points_mm.reshape(-1, 3), scene.px.reshape(5, -1, 2))
        moved = np.linalg.norm(centers(result.cameras) - centers(cameras), axis=1)
        assert moved[2] > 25 and np.delete(moved, 2).max() < 3

    def test_deviations_of_points_that_are_wrong_together_are_larger(self):
        scene = point_scene(8, 4, 60, 12, sigma_px=0.5, outliers=0.0)
        rng = np.random.default_rng(0)
        px = (scene.px + rng.normal(0, 3, (4, 1, 12, 2))).reshape(4, -1, 2)
        joints = np.tile(np.arange(12), 60)
        points = scene.points_mm.reshape(-1, 3)
        alone = adjust_points(scene.rig.cameras, points, px)
        together = adjust_points(scene.rig.cameras, points, px, groups=joints)
        ratio = [
            b.position_total_mm / a.position_total_mm
            for a, b in zip(alone.deviations, together.deviations, strict=True)
        ]
        assert min(ratio) > 2
        off = np.linalg.norm(centers(together.cameras) - centers(scene.rig.cameras), axis=1)
        assert (off < 3 * np.array([one.position_total_mm for one in together.deviations])).all()

    def test_the_points_are_seen_where_the_result_says(self):
        scene = point_scene(4, 3, 20, 8, outliers=0.05)
        px = scene.px.reshape(3, -1, 2)
        result = adjust_points(disturbed(scene, rad=0.005, mm=8.0), scene.points_mm.reshape(-1, 3), px)
        assert result.points_mm is not None
        for camera, of_view, residual in zip(result.cameras, px, result.residual_px, strict=True):
            np.testing.assert_allclose(of_view - camera.project(result.points_mm), residual, atol=1e-6)

    def test_one_held_camera_holds_the_place_and_two_hold_the_scale_as_well(self):
        scene = point_scene(5, 4, 30, 10, sigma_px=1.0, outliers=0.0)
        cameras = disturbed(scene, rad=0.003, mm=5.0)
        points, px = scene.points_mm.reshape(-1, 3), scene.px.reshape(4, -1, 2)
        one = adjust_points(cameras, points, px, free=[Free(extrinsics=False), Free(), Free(), Free()])
        np.testing.assert_allclose(one.cameras[0].center_mm, cameras[0].center_mm, atol=1e-9)
        two = adjust_points(scene.rig.cameras, points, px, free=[Free(extrinsics=False)] * 2 + [Free()] * 2)
        np.testing.assert_allclose(two.cameras[1].center_mm, scene.rig.cameras[1].center_mm, atol=1e-9)
        assert np.linalg.norm(two.cameras[2].center_mm - scene.rig.cameras[2].center_mm) < 5

    def test_a_point_that_one_camera_saw_is_left_out(self):
        scene = point_scene(6, 2, 5, 6, outliers=0.0, missing=0.0)
        px = scene.px.reshape(2, -1, 2).copy()
        px[1, 3] = np.nan
        result = adjust_points(scene.rig.cameras, scene.points_mm.reshape(-1, 3), px)
        assert result.points_mm is not None and np.isnan(result.points_mm[3]).all()
        assert np.isnan(result.residual_px[:, 3]).all()
