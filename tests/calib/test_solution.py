"""Staged rejection, held-out blocks and rigidity."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import _rigs
from calib.bundle import Free
from calib.held_out import LEAST_MOMENTS, judge_held_out, predicted_residuals, rigidity_of, triangulated
from calib.outcome import spread_of
from calib.sight import sight_of
from calib.solution import GATE, GROSS, limit_of, noise_of, residuals_of, settle_boards, solve
from tests.calib.scenes import film


@pytest.fixture(scope="module")
def scene():
    return _rigs.board_scene(61, 3, 30)


@pytest.fixture(scope="module")
def solved(scene):
    views = film(scene)
    return views, solve(views, scene.rig.cameras, scene.poses, Free(), views.seen)


def test_gross_errors_are_left_out_and_little_else(scene, solved):
    views, solution = solved
    placed = np.isfinite(solution.residual_px[..., 0]) & (solution.used.any(axis=(0, 2)))[:, None]
    wrong = scene.outlier & placed
    assert (solution.used & wrong).sum() <= 0.005 * wrong.sum()
    common = (views.usable.sum(axis=0) >= 2)[:, None] & views.usable[..., None]
    right = placed & ~scene.outlier & common
    assert (right & ~solution.used).sum() <= 0.02 * right.sum()
    # The median of what was seen, a tenth of it wrong, is a little above that of the noise.
    assert solution.sigma_px == pytest.approx(0.3, rel=0.15)


def test_residuals_are_those_of_the_cameras(scene, solved):
    _, solution = solved
    exact = residuals_of(scene.rig.cameras, scene.poses, film(scene))
    clean = scene.px - scene.clean_px
    there = np.isfinite(exact[..., 0]) & np.isfinite(clean[..., 0])
    assert np.allclose(exact[there], clean[there], atol=1e-6)


def test_noise_is_that_of_a_coordinate():
    residual = np.random.default_rng(0).normal(0, 0.7, (4, 50, 20, 2))
    assert noise_of(residual, np.ones(residual.shape[:-1], dtype=bool)) == pytest.approx(0.7, rel=0.03)


class TestLimit:
    def test_normal_noise_loses_next_to_nothing(self):
        residual = np.random.default_rng(0).normal(0, 1.0, (1, 100, 100, 2))
        seen = np.ones(residual.shape[:-1], dtype=bool)
        assert limit_of(residual, seen, 1.0) == GATE
        assert (np.linalg.norm(residual, axis=-1) > GATE).mean() < 3e-4

    def test_a_heavy_tail_loses_a_bounded_share(self):
        residual = np.random.default_rng(0).standard_t(2.5, (1, 100, 100, 2))
        seen = np.ones(residual.shape[:-1], dtype=bool)
        sigma = noise_of(residual, seen)
        length = np.linalg.norm(residual, axis=-1)
        assert (length > GATE * sigma).mean() > 0.03, "the tail is not heavy enough to show anything"
        assert (length > limit_of(residual, seen, sigma)).mean() < 0.025

    def test_gross_errors_all_go_however_many(self):
        rng = np.random.default_rng(0)
        residual = rng.normal(0, 1.0, (1, 100, 100, 2))
        wrong = rng.random(residual.shape[:-1]) < 0.2
        residual[wrong] += 50
        limit = limit_of(residual, np.ones(wrong.shape, dtype=bool), 1.0)
        assert GATE <= limit <= GROSS
        assert (np.linalg.norm(residual[wrong], axis=-1) > limit).all()


def test_settled_boards_are_the_best_for_cameras_that_are_held(scene, solved):
    views, solution = solved
    sight = sight_of(views, solution.cameras)
    start = solution.poses + np.random.default_rng(0).normal(0, 1, solution.poses.shape) * ([0.01] * 3 + [5.0] * 3)
    settled = settle_boards(solution.cameras, start, sight, solution.used, views.target_mm)
    before = spread_of(solution.residual_px, solution.used).rms_px
    after = spread_of(residuals_of(solution.cameras, settled, views), solution.used).rms_px
    assert after == pytest.approx(before, rel=0.02)


def test_held_out_moments_are_judged_by_rigs_that_did_not_see_them(scene, solved):
    views, solution = solved
    free = [Free()] * 3
    sight = sight_of(views, solution.cameras)
    trial = judge_held_out(views, sight, solution, free)
    assert trial is not None and len(trial.rigs) == 5
    assert (np.diff(trial.block[trial.block >= 0]) >= 0).all(), "blocks are contiguous"
    judged = solution.used & (trial.block >= 0)[:, None]
    fitted = spread_of(solution.residual_px, judged).rms_px
    unseen = spread_of(trial.residual_px, judged).rms_px
    predicted = spread_of(trial.predicted_px, judged & np.isfinite(trial.predicted_px[..., 0])).rms_px
    assert fitted < unseen < 1.3 * fitted
    assert unseen < predicted < 6 * fitted
    for rig in trial.rigs:
        assert any((a.t != b.t).any() for a, b in zip(rig[1:], solution.cameras[1:], strict=True))


def test_too_few_moments_hold_nothing_out(scene):
    views = film(scene)
    few = views.select(np.flatnonzero(views.usable.sum(axis=0) >= 2)[: LEAST_MOMENTS - 1])
    poses = scene.poses[few.frames]
    solution = solve(few, scene.rig.cameras, poses, Free(), few.seen)
    assert judge_held_out(few, sight_of(few, solution.cameras), solution, [Free()] * 3) is None


def test_a_camera_that_stands_wrong_is_predicted_wrong(scene):
    views = film(scene)
    rig = _rigs.moved(scene.rig, "cam02", turned_deg=1.0)
    used = views.seen & ~scene.outlier & (views.usable.sum(axis=0) >= 2)[:, None] & views.usable[..., None]
    right = predicted_residuals(views, sight_of(views, scene.rig.cameras), scene.rig.cameras, scene.poses, used)
    wrong = predicted_residuals(views, sight_of(views, rig.cameras), rig.cameras, scene.poses, used)

    def median(ahead, v):
        return np.nanmedian(np.linalg.norm(ahead[v][used[v]], axis=-1))

    assert median(right, 1) < 3
    assert median(wrong, 1) > 8


class TestRigidity:
    def test_true_points_have_true_distances(self):
        target = _rigs.board_points(5, 4)
        rigidity = rigidity_of(np.stack([target, target + 100]), target)
        assert rigidity is not None
        assert rigidity.rms_mm < 1e-9 and abs(rigidity.scale) < 1e-12 and rigidity.pairs == 2 * 190

    def test_a_wrong_scale_shows_as_one(self):
        target = _rigs.board_points(5, 4)
        rigidity = rigidity_of(1.02 * target[None], target)
        assert rigidity is not None
        assert rigidity.scale == pytest.approx(0.02) and rigidity.relative == pytest.approx(0.02)

    def test_points_that_one_camera_saw_have_no_distances(self, scene):
        views = film(scene).select([0, 1, 2])
        used = views.seen.copy()
        used[1:] = False
        points = triangulated(scene.rig.cameras, views, used)
        assert np.isnan(points).all() and rigidity_of(points, views.target_mm) is None

    def test_clean_views_triangulate_to_the_board(self):
        scene = _rigs.board_scene(62, 3, 10, sigma_px=0.0, outliers=0.0)
        views = film(scene)
        rigidity = rigidity_of(triangulated(scene.rig.cameras, views, views.seen), views.target_mm)
        assert rigidity is not None
        assert rigidity.rms_mm < 1e-3
