"""Robust triangulation: outliers are found, honest views kept, and nothing is guessed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.robust import triangulate_robust
from calib.triangulate import residuals, triangulate
from tests.calib.scenes import cloud, fly_rig, look_at, ring, views

SIGMA = 2.0


def scene(n_views, joints=40, sigma=SIGMA, seed=0, extent_mm=600, **camera):
    rig = ring(n_views, **camera)
    points = cloud(rig, joints, extent_mm, seed)
    rng = np.random.default_rng(seed + 100)
    px = views(rig, points)
    return rig, points, px + rng.normal(0, sigma, px.shape)


def spoil(px, views_per_joint, distance_px, seed=0):
    """Move some views of every joint, each in its own direction; returns which."""
    rng = np.random.default_rng(seed)
    n_views, joints, _ = px.shape
    moved = px.copy()
    spoiled = np.zeros((n_views, joints), bool)
    for joint in range(joints):
        for view in rng.choice(n_views, views_per_joint, replace=False):
            angle = rng.uniform(0, 2 * np.pi)
            moved[view, joint] += distance_px * np.array([np.cos(angle), np.sin(angle)])
            spoiled[view, joint] = True
    return moved, spoiled


def error(solution, points):
    return np.linalg.norm(solution.position_mm - points, axis=-1)


def solve(px, rig, **options):
    return triangulate_robust(px, np.ones(px.shape[:-1]), rig.arrays(), sigma_px=SIGMA, **options)


class TestClean:
    @pytest.mark.parametrize("n_views", [2, 3, 4, 8, 12])
    def test_is_as_good_as_the_plain_one(self, n_views):
        rig, points, px = scene(n_views, spread=4.0)
        plain = np.linalg.norm(triangulate(px, np.ones(px.shape[:-1]), rig.arrays()) - points, axis=-1)
        solution = solve(px, rig)
        assert solution.ok.all()
        assert np.sqrt(np.mean(error(solution, points) ** 2)) < 1.05 * np.sqrt(np.mean(plain**2))
        assert solution.used.mean() > 0.99

    def test_without_noise_it_returns_the_point(self):
        rig, points, px = scene(4, sigma=0)
        assert error(solve(px, rig), points).max() < 1e-5

    @settings(max_examples=25, deadline=None)
    @given(order=st.permutations(range(5)), seed=st.integers(0, 20))
    def test_the_order_of_the_cameras_does_not_matter(self, order, seed):
        rig, _, px = scene(5, joints=6, seed=seed)
        px, _ = spoil(px, 1, 80, seed)
        order = list(order)
        there = solve(px[order], rig.with_cameras(rig.cameras[i] for i in order))
        here = solve(px, rig)
        np.testing.assert_allclose(there.position_mm, here.position_mm, atol=1e-6)
        np.testing.assert_array_equal(there.used, here.used[order])

    def test_a_joint_does_not_depend_on_the_others(self):
        rig, _, px = scene(4)
        px, _ = spoil(px, 1, 60)
        together = solve(px, rig)
        for joint in (0, 7, 31):
            alone = solve(px[:, [joint]], rig)
            np.testing.assert_allclose(alone.position_mm[0], together.position_mm[joint], atol=1e-7)

    def test_leading_axes_are_batched(self):
        rig, _, px = scene(4, joints=24)
        px, _ = spoil(px, 1, 60)
        one = solve(px, rig)
        batch = solve(np.moveaxis(px.reshape(4, 2, 3, 4, 2), 0, 2), rig)
        np.testing.assert_allclose(batch.position_mm.reshape(24, 3), one.position_mm, atol=1e-8)
        np.testing.assert_allclose(batch.covariance_mm2.reshape(24, 3, 3), one.covariance_mm2, atol=1e-8)
        np.testing.assert_array_equal(np.moveaxis(batch.used, 2, 0).reshape(4, 24), one.used)
        np.testing.assert_allclose(np.moveaxis(batch.residual_px, 2, 0).reshape(4, 24), one.residual_px, atol=1e-8)


CASES = [
    # views, outliers, px, share of joints that must be within three times the clean error
    (3, 1, 80, 0.75),  # an outlier along the epipolar line of one other view cannot be told from the truth
    (4, 1, 80, 0.97),
    (4, 1, 25, 0.90),
    (4, 2, 80, 0.40),  # two against two: often nobody can say who is right
    (5, 2, 80, 0.93),
    (6, 2, 300, 0.98),
    (8, 3, 80, 0.98),
    (12, 5, 120, 0.98),
]


class TestOutliers:
    @pytest.mark.parametrize(("n_views", "outliers", "distance_px", "share"), CASES)
    def test_are_found_and_left_out(self, n_views, outliers, distance_px, share):
        rig, points, clean = scene(n_views, joints=200)
        px, spoiled = spoil(clean, outliers, distance_px)
        truth = np.sqrt(np.mean(error(solve(clean, rig), points) ** 2))
        solution = solve(px, rig)
        # Three of the worst-placed remaining views give a larger error than all.
        near = error(solution, points) < 4 * truth * np.sqrt(n_views / (n_views - outliers))
        assert near.mean() >= share
        # What is not found is given up, not guessed.
        assert (near | ~solution.ok).mean() >= 0.95
        assert not (solution.used & spoiled)[:, near].any() or distance_px < 50
        plain = np.linalg.norm(triangulate(px, np.ones(px.shape[:-1]), rig.arrays()) - points, axis=-1)
        assert np.nanmedian(error(solution, points)) < 0.5 * np.median(plain)

    def test_on_a_fly_rig(self):
        rig = fly_rig()
        points = cloud(rig, 100, 1.5)
        px = views(rig, points) + np.random.default_rng(0).normal(0, SIGMA, (7, 100, 2))
        px, spoiled = spoil(px, 2, 100)
        solution = solve(px, rig)
        assert np.percentile(error(solution, points), 95) < 0.05
        assert not (solution.used & spoiled).any()

    def test_with_views_missing_too(self):
        rig, points, px = scene(6, joints=200)
        px, _ = spoil(px, 1, 80)
        px[np.random.default_rng(3).uniform(size=px.shape[:2]) < 0.2] = np.nan
        solution = solve(px, rig)
        seen = np.isfinite(px).all(axis=-1)
        assert not (solution.used & ~seen).any()
        assert np.isnan(solution.residual_px[~seen]).all()
        enough = seen.sum(axis=0) >= 4
        assert (error(solution, points)[enough] < 60).mean() > 0.97

    def test_a_biased_rig_keeps_all_its_views(self):
        # Every camera is off by 12 px its own way, as a calibration that has drifted: no pair that
        # happens to agree may win over all four views, which agree within the gate.
        rig, points, px = scene(4, joints=200, sigma=1.0)
        bias = 12 * np.array([[1, 0], [0, 1], [-0.7, 0.7], [0.5, -0.9]])
        solution = triangulate_robust(px + bias[:, None], np.ones((4, 200)), rig.arrays(), sigma_px=8.0)
        assert solution.used.sum(axis=0).mean() > 3.95


class TestHonesty:
    def test_two_views_that_contradict_give_nothing(self):
        rig = ring(2, spread=3.0)
        px = views(rig, cloud(rig, 5, 300))
        px[1, :, 1] += 200
        solution = solve(px, rig)
        assert not solution.ok.any()
        assert np.isnan(solution.position_mm).all()
        assert np.isnan(solution.covariance_mm2).all()
        assert not solution.used.any()
        # What was seen is still compared with the best point there is.
        assert (solution.residual_px > 4 * SIGMA).any(axis=0).all()

    def test_two_views_against_two_give_nothing(self):
        rig = ring(4)
        here, there = cloud(rig, 5, 300, seed=1), cloud(rig, 5, 300, seed=2)
        px = np.concatenate([views(rig, here)[:2], views(rig, there)[2:]])
        assert not solve(px, rig).ok.any()
        # A third view decides.
        px[2] = views(rig, here)[2]
        np.testing.assert_allclose(solve(px, rig).position_mm, here, atol=1)

    def test_one_view_or_none_gives_nothing(self):
        rig, _, px = scene(4, joints=2)
        px[1:, 0] = np.nan
        px[:, 1] = np.nan
        assert not solve(px, rig).ok.any()

    def test_confidence_zero_or_nan_is_not_seen(self):
        rig, _, px = scene(4)
        confidence = np.ones((4, 40))
        confidence[0] = 0
        confidence[1] = np.nan
        solution = triangulate_robust(px, confidence, rig.arrays(), sigma_px=SIGMA)
        assert not solution.used[:2].any()
        assert np.isnan(solution.residual_px[:2]).all()

    def test_views_that_see_it_behind_them_do_not_count(self):
        rig = ring(3)
        turned = look_at("turned", (9000.0, 0, 0), (20000.0, 0, 0), 1400)
        rig = rig.with_cameras((*rig.cameras, turned))
        points = cloud(ring(3), 10, 300)
        px = np.concatenate([views(ring(3), points), np.full((1, 10, 2), 600.0)])
        solution = solve(px, rig)
        assert solution.ok.all()
        assert not solution.used[3].any()
        assert np.isnan(solution.residual_px[3]).all()
        assert error(solution, points).max() < 1

    def test_residuals_are_those_of_the_answer(self):
        rig, _, px = scene(4, dist=(-0.2, 0.05, 0.001, 0.001, 0))
        px, _ = spoil(px, 1, 80)
        solution = solve(px, rig)
        good = solution.ok
        expected = residuals(px[:, good], solution.position_mm[good], rig.arrays())
        np.testing.assert_allclose(solution.residual_px[:, good], expected, atol=1e-6)
