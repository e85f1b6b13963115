"""Decoding: points from what networks answer, against closed truths and a slow float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import decode
from tests.engine import reference


def gaussian(x, y, sigma, height=1.0, size=(48, 64)):
    """A heatmap (h, w) with one peak at a cell position."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def heatmap(maps, stride=4.0, shift=1.5):
    points, score = decode.heatmap(np.asarray(maps)[None, None], stride, shift)
    return points[0, 0], score[0, 0]


class TestHeatmap:
    @given(
        x=st.floats(3, 60),
        y=st.floats(3, 44),
        sigma=st.floats(0.8, 4),
        height=st.floats(0.05, 1),
    )
    def test_finds_a_gaussian_of_any_width_and_height(self, x, y, sigma, height):
        point, score = heatmap(gaussian(x, y, sigma, height))
        # Narrow peaks: the far neighbour lies at the floor; wide ones: the window of five is exact.
        np.testing.assert_allclose(point, [4 * x + 1.5, 4 * y + 1.5], atol=0.06 if sigma < 1 else 0.02)
        assert 0.5 * height < score <= height

    @given(sigma=st.floats(1.2, 2.5), seed=st.integers(0, 1000))
    def test_a_weak_peak_in_noise_is_found_within_half_a_cell(self, sigma, seed):
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(5, 40, 2)
        noisy = gaussian(x, y, sigma, 0.25) + rng.normal(0, 0.01, (48, 64))
        point, score = heatmap(noisy, stride=1.0, shift=0.0)
        assert np.abs(point - [x, y]).max() < 0.5
        assert 0.15 < score < 0.32

    def test_another_weaker_peak_does_not_pull(self):
        alone, _ = heatmap(gaussian(20.3, 20.7, 1.5, 0.3))
        beside, _ = heatmap(gaussian(20.3, 20.7, 1.5, 0.3) + gaussian(50, 10, 3, 0.25))
        np.testing.assert_allclose(beside, alone, atol=1e-3)

    def test_a_peak_at_the_border_stays_in_the_picture(self):
        for x, y in ((0.0, 0.0), (63.0, 47.0), (-1.5, 20.0), (30.0, 49.0)):
            point, _ = heatmap(gaussian(x, y, 1.5))
            assert (point >= -0.5 - 4).all()
            assert (point <= np.array([64, 48]) * 4 - 0.5 + 4).all()
            inside = np.clip([x, y], 0, [63, 47])
            assert np.abs(point - (4 * inside + 1.5)).max() <= 4

    @pytest.mark.parametrize("value", [0.0, -1.0, 0.5])
    def test_a_map_without_a_peak_is_finite_and_says_its_value(self, value):
        point, score = heatmap(np.full((48, 64), value))
        assert np.isfinite(point).all()
        assert score == value

    def test_stride_and_half_a_pixel_are_kept(self):
        maps = gaussian(10, 20, 1.5)
        corner, _ = heatmap(maps, stride=8.0, shift=3.5)
        centre, _ = heatmap(maps, stride=8.0, shift=0.0)
        np.testing.assert_allclose(corner, [83.5, 163.5], atol=1e-6)
        np.testing.assert_allclose(centre, [80, 160], atol=1e-6)

    @settings(max_examples=20)
    @given(seed=st.integers(0, 10_000))
    def test_agrees_with_the_slow_reference_on_any_map(self, seed):
        rng = np.random.default_rng(seed)
        maps = rng.normal(0.1, 0.2, (3, 4, 12, 9))
        points, scores = decode.heatmap(maps, 4.0, 1.5)
        for n, j in np.ndindex(3, 4):
            cell, score = reference.heatmap_peak(maps[n, j])
            np.testing.assert_allclose(points[n, j], cell * 4 + 1.5, atol=1e-9)
            assert scores[n, j] == score


class TestHeatmapOffset:
    def test_is_what_deeplabcut_computes(self):
        # DeepLabCut's argmax_pose_predict, written as there: row before column, offsets (dx, dy).
        rng = np.random.default_rng(0)
        n, joints, h, w, stride, stdev = 2, 3, 10, 14, 8.0, 7.2801
        scoremap, locref = rng.normal(size=(n, h, w, joints)), rng.normal(size=(n, h, w, joints, 2))
        offsets = locref.reshape(n, h, w, 2 * joints).transpose(0, 3, 1, 2)
        points, scores = decode.heatmap_offset(scoremap.transpose(0, 3, 1, 2), offsets, stride, stride / 2, stdev)
        for i, j in np.ndindex(n, joints):
            maxloc = np.unravel_index(np.argmax(scoremap[i, :, :, j]), (h, w))
            offset = (locref[i] * stdev)[maxloc][j][::-1]
            wanted = np.array(maxloc).astype(float) * stride + 0.5 * stride + offset
            np.testing.assert_allclose(points[i, j], wanted[::-1])
            assert scores[i, j] == scoremap[i, :, :, j][maxloc]


class TestSimcc:
    @given(x=st.floats(2, 92), y=st.floats(2, 120), sigma=st.floats(2, 8))
    def test_finds_the_mean_of_a_gaussian_in_bins_of_half_a_pixel(self, x, y, sigma):
        bins_x, bins_y = np.arange(192), np.arange(256)
        logits_x = -((bins_x - 2 * x) ** 2) / (2 * sigma**2)
        logits_y = -((bins_y - 2 * y) ** 2) / (2 * sigma**2) - 0.25
        points, score = decode.simcc(logits_x[None, None], logits_y[None, None], 0.5, 0.0)
        np.testing.assert_allclose(points[0, 0], [x, y], atol=1e-6)
        assert score[0, 0] == min(logits_x.max(), logits_y.max())

    def test_at_the_end_of_a_row_the_bin_itself_counts(self):
        row = np.linspace(0, 1, 20)
        points, _ = decode.simcc(row[None, None], row[::-1][None, None], 0.5, 0.0)
        np.testing.assert_array_equal(points[0, 0], [9.5, 0.0])

    def test_a_flat_row_is_finite(self):
        points, _ = decode.simcc(np.zeros((1, 1, 20)), np.zeros((1, 1, 20)), 0.5, 0.0)
        assert np.isfinite(points).all()


class TestKeypoints:
    def test_order_unit_and_score_are_one_product(self):
        values = np.array([[[0.25, 0.5, 0.9]]])  # y, x, score of a picture of 64 x 48
        matrix = np.array([[0, 48.0, 0], [64.0, 0, 0], [0, 0, 1]])
        points, score = decode.keypoints(values, matrix, np.array([-0.5, -0.5, 0]))
        np.testing.assert_allclose(points[0, 0], [31.5, 11.5])
        assert score[0, 0] == 0.9


@pytest.mark.parametrize("kind", ["heatmap", "heatmap_offset", "simcc"])
def test_torch_and_numpy_agree(kind):
    rng = np.random.default_rng(0)
    arrays = {
        "heatmap": (rng.random((2, 3, 10, 14)), 4.0, 1.5),
        "heatmap_offset": (rng.random((2, 3, 10, 14)), rng.random((2, 6, 10, 14)), 8.0, 4.0, 7.28),
        "simcc": (rng.random((2, 3, 40)), rng.random((2, 3, 50)), 0.5, 0.0),
    }[kind]
    function = getattr(decode, kind)
    tensors = [torch.tensor(array) if isinstance(array, np.ndarray) else array for array in arrays]
    for one, other in zip(function(*arrays), function(*tensors), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-12)
