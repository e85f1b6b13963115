"""Batches of moments: each once an epoch, as many views in all samples of a step, the same on every machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from capture.virtual.skeletons import HUMAN36M17
from rigpose.errors import ConfigError
from training.datasets.index import Index, Key
from training.datasets.pictures import check_pictures, cut, on_pixels
from training.datasets.shots import Shot, ShotSampler, in_order


class Few:
    """Eleven moments; every third lacks a camera."""

    name = "few"
    skeleton = HUMAN36M17
    index = Index.of(Key("S1", "Walking-1", frame) for frame in range(11))
    counts = np.array([3 if frame % 3 == 0 else 4 for frame in range(11)])

    def shot(self, key: Key) -> Shot:
        raise AssertionError("a sampler needs no pictures")

    def n_views(self, key: Key) -> int:
        return 3 if key.frame % 3 == 0 else 4

    def reported(self, key: Key) -> tuple[str, str]:
        return key.subject, key.action

    def sequence(self, key: Key) -> str:
        return key.action


def sampler(views: tuple[int, int] | None = None, seed: int = 3, first: int = 0, batch: int = 4) -> ShotSampler:
    return ShotSampler(Few(), views, seed, first, batch, lambda step: 32 * (step + 1))


class TestSampler:
    def test_an_epoch_shows_each_moment_in_another_order(self) -> None:
        # Four moments have three views, one batch of them; seven have four, two batches and so one comes again.
        orders = [order for step in range(12) for order in sampler().batch(step, 64)]
        epochs = [[o.key.frame for o in orders if o.epoch == epoch] for epoch in range(4)]
        assert all(set(epoch) == set(range(11)) and len(epoch) == 12 for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4
        assert len({(o.epoch, o.number) for o in orders}) == len(orders)

    def test_can_begin_anywhere(self) -> None:
        assert next(iter(sampler(first=5))) == sampler().batch(5, 6 * 32)

    def test_all_moments_of_a_batch_have_as_many_views_and_none_is_thrown_away(self) -> None:
        for step in range(30):
            batch = sampler().batch(step, 64)
            assert {Few().n_views(order.key) for order in batch} == {batch[0].views} == {o.views for o in batch}

    def test_views_are_drawn_for_each_step(self) -> None:
        counts = Counter(sampler((1, 4)).batch(step, 64)[0].views for step in range(400))
        # Two batches of three have four views: a quarter of them shows one, the third one a third of the time.
        assert set(counts) == {1, 2, 3, 4}
        assert min(counts[n] for n in (1, 2, 3)) > 85 and 45 < counts[4] < 90
        assert {o.views for step in range(40) for o in sampler((2, 2)).batch(step, 64)} == {2}
        # A rig with fewer cameras than are asked for gives what it has.
        assert {o.views for step in range(40) for o in sampler((9, 9)).batch(step, 64)} == {3, 4}

    def test_follows_from_seed_and_step_alone(self) -> None:
        one, other = sampler((1, 4)), sampler((1, 4))
        later = other.batch(17, 64)
        assert [one.batch(step, 64) for step in range(18)][17] == later
        assert [sampler((1, 4), seed=4).batch(step, 64) for step in range(3)] != [one.batch(s, 64) for s in range(3)]

    def test_a_batch_may_be_larger_than_the_data_set(self) -> None:
        batch = [order.key.frame for step in (0, 1) for order in sampler(batch=16).batch(step, 64)]
        assert Counter(batch) == {frame: 4 if frame % 3 == 0 else batch.count(frame) for frame in range(11)}
        assert all(2 <= batch.count(frame) <= 4 for frame in range(11)) and len(batch) == 32


def test_validation_shows_each_moment_once_with_all_its_views() -> None:
    batches = list(in_order(Few(), list(Few.index), 4, 96))
    orders = [order for batch in batches for order in batch]
    assert [order.key for order in orders] == list(Few.index)
    assert all(len({Few().n_views(order.key) for order in batch}) == 1 for batch in batches)
    assert all(order.views == 0 and order.size == 96 for order in orders) and max(map(len, batches)) <= 4


class TestCuts:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)

    def test_of_whole_pixels_are_those_pixels(self) -> None:
        assert np.array_equal(cut(self.picture, np.array([[1.0, 0, 7], [0, 1, 9]]), 20), self.picture[9:29, 7:27])

    def test_average_what_they_reduce(self) -> None:
        matrix = np.array([[2.0, 0, 4.5], [0, 2, 8.5]])
        wanted = self.picture[8:48, 4:44].reshape(20, 2, 20, 2, 3).astype(float).mean(axis=(1, 3))
        assert np.abs(cut(self.picture, matrix, 20) - wanted).max() <= 1

    @pytest.mark.parametrize("scale", [0.6, 1.0, 1.5, 2.0, 5.0])
    @pytest.mark.parametrize("turn", [0.0, 0.7])
    def test_show_a_slope_where_the_matrix_says(self, scale: float, turn: float) -> None:
        # Red grows with x and green with y: a crop px tells where in the picture it is from.
        rows, columns = np.mgrid[:200, :220]
        picture = np.stack([np.zeros_like(rows), rows, columns], axis=-1).astype(np.uint8)
        spin = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = np.column_stack([spin, np.array([110.0, 95]) - spin @ np.full(2, 7.5)])
        matrix = on_pixels(matrix, 16)
        crop = cut(picture, matrix, 16).astype(float)
        at = np.stack(np.meshgrid(np.arange(16), np.arange(16)), axis=-1) @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(crop[..., 2] - at[..., 0])[2:-2, 2:-2].max() < 1
        assert np.abs(crop[..., 1] - at[..., 1])[2:-2, 2:-2].max() < 1

    def test_are_black_beyond_the_picture_however_far(self) -> None:
        beside = cut(self.picture, np.array([[1.0, 0, 70], [0, 1, -5]]), 20)
        assert not beside[:, 10:].any() and not beside[:5].any() and beside[5:, :10].any()
        assert not cut(self.picture, np.array([[1.0, 0, 500], [0, 1, 500]]), 20).any()
        wide = cut(self.picture, np.array([[100.0, 0, -900], [0, 100, -900]]), 20)
        assert wide.shape == (20, 20, 3) and (wide.any(axis=-1)).sum() < 5

    def test_on_pixels_move_by_half_a_pixel_at_most(self) -> None:
        rng = np.random.default_rng(1)
        for _ in range(50):
            scale = rng.uniform(0.5, 4)
            matrix = np.array([[scale, 0, rng.uniform(-50, 50)], [0, scale, rng.uniform(-50, 50)]])
            moved = on_pixels(matrix, 64)
            corners = np.array([[-0.5, -0.5], [63.5, 63.5]])
            edges = corners @ moved[:, :2].T + moved[:, 2] + 0.5
            assert np.allclose(edges, np.rint(edges), atol=1e-6)
            assert np.abs(edges - 0.5 - (corners @ matrix[:, :2].T + matrix[:, 2])).max() <= 0.75 + 1e-6
            assert np.allclose(on_pixels(moved, 64), moved)

    def test_turned_ones_stay_where_they_are(self) -> None:
        turned = np.array([[1.0, 0.1, 3.3], [-0.1, 1.0, 4.4]])
        assert on_pixels(turned, 64) is turned


def test_missing_pictures_are_told_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").touch()
    check_pictures([tmp_path / "a" / "1.jpg"])
    with pytest.raises(ConfigError, match=r"2.jpg: no such picture, one of 2 missing ones of 3; others are .*3.jpg"):
        check_pictures([tmp_path / "a" / "1.jpg", tmp_path / "a" / "2.jpg", tmp_path / "b" / "3.jpg"])
