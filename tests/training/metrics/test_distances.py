"""Distances agree with scipy in float64, and change with nothing that they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.transform import Rotation

from capture.virtual.skeletons import HUMAN36M17
from training.metrics.distances import aligned, errors_mm, extents_mm, from_root, scaled


def poses(seed: int = 0, n: int = 6, noise_mm: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 17, 3)) * [250, 200, 500]
    return truth + rng.normal(size=truth.shape) * noise_mm, truth


def moved(pose: np.ndarray, seed: int) -> np.ndarray:
    """Turned, scaled and shifted somewhere."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 5) * Rotation.random(random_state=seed).apply(pose) + rng.normal(size=3) * 1000


class TestErrors:
    def test_errors_are_distances(self) -> None:
        assert errors_mm(np.array([[3.0, 4, 0]]), np.zeros((1, 3))).tolist() == [5]

    def test_what_was_not_solved_or_is_not_known_has_none(self) -> None:
        answer, truth = poses(n=1)
        answer[0, 3, 1], truth[0, 5] = np.nan, np.nan
        assert np.flatnonzero(np.isnan(errors_mm(answer, truth)[0])).tolist() == [3, 5]

    def test_a_shift_of_the_whole_is_an_error_but_no_relative_one(self) -> None:
        pose = poses(n=4)[1]
        shifted = pose + [10, 20, 20]
        assert errors_mm(shifted, pose) == pytest.approx(np.full((4, 17), 30.0))
        assert np.allclose(from_root(pose, HUMAN36M17), from_root(shifted, HUMAN36M17))
        assert np.allclose(from_root(pose, HUMAN36M17)[:, 6], 0)

    def test_several_roots_are_their_mean(self) -> None:
        skeleton = HUMAN36M17.model_copy(update={"root": (2, 3)})
        pose = poses(n=1)[1]
        assert np.allclose(from_root(pose, skeleton)[:, [2, 3]].sum(axis=1), 0)

    def test_the_extent_is_the_longest_side_of_what_is_known(self) -> None:
        pose = np.zeros((2, 17, 3))
        pose[0, 4], pose[0, 5], pose[1] = (0, -3, 1), (0, 9, np.nan), np.nan
        assert extents_mm(pose)[0] == 3 and np.isnan(extents_mm(pose)[1])


class TestAligned:
    def test_it_is_what_scipy_s_rotations_find(self) -> None:
        for answer, truth in zip(*poses(), strict=True):
            a, t = answer - answer.mean(axis=0), truth - truth.mean(axis=0)
            turn, _ = Rotation.align_vectors(t, a)
            turned = turn.apply(a)
            factor = (turned * t).sum() / (turned**2).sum()
            expected = factor * turned + truth.mean(axis=0)
            assert np.allclose(aligned(answer[None], truth[None])[0], expected, atol=1e-9)

    def test_it_is_scipy_s_procrustes_where_that_does_not_mirror(self) -> None:
        answer, truth = (p[0] for p in poses(3))
        a, t = answer - answer.mean(axis=0), truth - truth.mean(axis=0)
        R, strength = orthogonal_procrustes(a, t)
        assert np.linalg.det(R) > 0
        expected = a @ R * (strength / (a**2).sum()) + truth.mean(axis=0)
        assert np.allclose(aligned(answer[None], truth[None])[0], expected, atol=1e-9)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10_000))
    def test_no_similarity_changes_it(self, seed: int) -> None:
        answer, truth = poses(seed, n=1)
        other = moved(answer[0], seed)[None]
        assert np.allclose(aligned(other, truth), aligned(answer, truth), atol=1e-7)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10_000))
    def test_what_is_only_moved_turned_and_scaled_is_the_truth(self, seed: int) -> None:
        truth = poses(seed, n=1)[1]
        assert np.allclose(aligned(moved(truth[0], seed)[None], truth), truth, atol=1e-7)

    def test_a_mirrored_pose_is_not_mirrored_back(self) -> None:
        truth = poses(n=1)[1]
        mirrored = truth * [-1, 1, 1]
        error = errors_mm(aligned(mirrored, truth), truth)
        assert error.mean() > 50

        # The best turn and factor above 0, sought without a decomposition.
        a, t = (p[0] - p[0].mean(axis=0) for p in (mirrored, truth))

        def off(x: np.ndarray) -> float:
            return float(((np.exp(x[3]) * Rotation.from_rotvec(x[:3]).apply(a) - t) ** 2).sum())

        begun = [Rotation.random(random_state=i).as_rotvec() for i in range(20)]
        best = min(minimize(off, [*turn, 0.0]).fun for turn in begun)
        assert (error**2).sum() == pytest.approx(best, rel=1e-5)

    def test_it_fits_better_than_the_answer_and_better_than_scaling(self) -> None:
        answer, truth = poses(1)
        answer = np.stack([moved(pose, i) for i, pose in enumerate(answer)])
        squared = (errors_mm(aligned(answer, truth), truth) ** 2).sum()
        assert squared < (errors_mm(*scaled(answer, truth, HUMAN36M17)) ** 2).sum()
        assert squared < (errors_mm(answer, truth) ** 2).sum()

    def test_only_joints_that_both_have_decide(self) -> None:
        answer, truth = poses(n=2)
        holed, unknown = answer.copy(), truth.copy()
        holed[0, 3], unknown[0, 4] = np.nan, np.nan
        kept = np.delete(np.arange(17), [3, 4])
        found = aligned(holed, unknown)
        assert np.allclose(found[:1, kept], aligned(answer[:1, kept], truth[:1, kept]))
        assert np.isnan(found[0, 3]).all() and np.isfinite(found[0, 4]).all()
        assert np.allclose(found[1], aligned(answer, truth)[1])

    def test_two_joints_fit_anything_and_are_no_answer(self) -> None:
        answer, truth = poses(n=1)
        answer[0, 2:] = np.nan
        assert np.isnan(aligned(answer, truth)).all()

    def test_an_answer_in_one_point_is_finite(self) -> None:
        truth = poses(n=1)[1]
        assert np.allclose(aligned(np.ones((1, 17, 3)), truth), truth.mean(axis=1, keepdims=True))


class TestScaled:
    def test_the_factor_is_the_best_one(self) -> None:
        answer, truth = poses(2, n=1)
        a, t = (from_root(p, HUMAN36M17) for p in (3 * answer, truth))
        best = minimize_scalar(lambda s: ((s * a - t) ** 2).sum()).x
        found, relative = scaled(3 * answer, truth, HUMAN36M17)
        assert np.allclose(found, best * a, atol=1e-4) and np.allclose(relative, t)

    def test_scale_and_shift_change_nothing_and_a_turn_does(self) -> None:
        answer, truth = poses(5)
        first = errors_mm(*scaled(answer, truth, HUMAN36M17))
        assert np.allclose(errors_mm(*scaled(7 * answer + 100, truth, HUMAN36M17)), first)
        turned = Rotation.from_euler("z", 30, degrees=True).apply(answer.reshape(-1, 3)).reshape(answer.shape)
        assert not np.allclose(errors_mm(*scaled(turned, truth, HUMAN36M17)), first, atol=10)

    def test_without_a_root_there_is_no_answer(self) -> None:
        answer, truth = poses(n=1)
        answer[0, 6] = np.nan
        assert np.isnan(errors_mm(*scaled(answer, truth, HUMAN36M17))).all()
