"""Samples depend on seed, epoch and number alone, and their truth agrees with their pictures and rigs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.rig import RigArrays
from calib.triangulate import reproject
from capture.virtual.skeletons import HUMAN36M17
from capture.virtual.world import World
from rigpose.errors import ConfigError
from tests.training import tiny
from training.config import AugmentSection, CropSection, DataSection
from training.datasets.index import Key
from training.feed import batches
from training.samples import (
    SAMPLE_KEYS,
    Order,
    OrderSampler,
    Sample,
    VirtualSamples,
    cover,
    crop_matrix,
    patch,
    relit,
    render,
    to_crop,
    turned,
)
from training.sources import source_of


def same(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(getattr(one, key), getattr(other, key), equal_nan=key == "points") for key in SAMPLE_KEYS)


def test_a_sample_follows_from_its_order_alone() -> None:
    order, other = Order(1, 7, 3, 64), Order(0, 2, 3, 64)
    fresh, used = tiny.samples(), tiny.samples()
    # Neither what was made before nor a world that is held changes a sample.
    first = used[other]
    again = used[order]
    assert same(again, fresh[order])
    assert same(first, fresh[other])


@pytest.mark.parametrize("change", [{"epoch": 2}, {"number": 8}, {"world": 4}])
def test_every_part_of_an_order_changes_the_sample(change: dict[str, int]) -> None:
    order = Order(1, 7, 3, 64)
    made = tiny.samples()
    assert not np.array_equal(made[order].crops, made[order._replace(**change)].crops)


def test_another_seed_gives_other_samples() -> None:
    order = Order(0, 0, 0, 64)
    assert not np.array_equal(tiny.samples(seed=1)[order].position_mm, tiny.samples(seed=2)[order].position_mm)


def digest(workers: int) -> str:
    """Of three batches that begin at step 3."""
    data = tiny.config().data.model_dump() | {"views": [1, 3]}
    stream = batches(source_of(tiny.config(data=data)), tiny.CPU, 3, 2, workers, lambda _: 64)
    sums = hashlib.sha256()
    for _ in range(3):
        batch = next(stream)
        for tensor in (batch.crops, batch.crop_to_image, batch.position_mm, batch.base_mm, batch.hidden, *batch.rigs):
            sums.update(tensor.numpy().tobytes())
    stream.close()  # type: ignore[attr-defined]
    return sums.hexdigest()


@pytest.mark.process
@pytest.mark.slow
def test_batches_are_the_same_with_any_number_of_workers(root: Path) -> None:
    # In a process of its own, with which the helper of Python's multiprocessing ends.
    code = "from tests.training.test_samples import digest\nif __name__ == '__main__': print(digest(2))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=110)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == digest(0)


def test_pictures_of_another_size_show_the_same() -> None:
    made = tiny.samples(augment=False)
    small, large = made[Order(0, 3, 3, 64)], made[Order(0, 3, 3, 128)]
    assert np.array_equal(small.position_mm, large.position_mm)
    # Pixel edges lie at -0.5 and size - 0.5 in both.
    assert np.allclose((small.points + 0.5) * 2, large.points + 0.5, atol=1e-3, equal_nan=True)


def test_truth_in_3d_reprojects_onto_truth_in_the_crop() -> None:
    import array_api_compat.numpy as xp

    sample = tiny.samples(augment=False)[Order(0, 11, 2, 96)]
    rig = RigArrays(*(np.asarray(getattr(sample, key), dtype=float) for key in RigArrays._fields))
    normalised = (sample.position_mm - rig.world[:3]) / rig.world[3]
    raw = reproject(xp, normalised, rig)
    crop = np.stack([to_crop(points, matrix) for points, matrix in zip(raw, sample.crop_to_image, strict=True)])
    seen = np.isfinite(sample.points).all(axis=-1)
    assert seen.sum() > 30
    assert np.abs(crop - sample.points)[seen].max() < 0.02


def test_a_crop_shows_what_the_picture_shows() -> None:
    world = World(tiny.scenario(), seed=4)
    t_s, view = 1.5, 0
    whole = world.render(view, t_s).astype(int)
    height, width = whole.shape[:2]
    matrix = np.array([[1.0, 0, 60], [0, 1.0, 40]])
    crop = render(world, view, t_s, matrix, 128).astype(int)
    # The pictures' noise differs; smooth it away.
    difference = (crop - whole[40:168, 60:188]).reshape(16, 8, 16, 8, 3).mean(axis=(1, 3))
    assert np.abs(difference).mean() < 3
    beside = render(world, view, t_s, np.array([[1.0, 0, width - 64.0], [0, 1.0, height - 32.0]]), 128)
    assert not beside[:, 64:].any() and not beside[32:].any() and beside[:30, :60].any()


class TestCrops:
    def test_hold_the_subject_where_nothing_is_shifted(self) -> None:
        points = np.array([[100.0, 50], [140, 130], [np.nan, np.nan]])
        config = CropSection(margin=1.25, shift=0, scale=(1, 1), wide_share=0)
        matrix = crop_matrix(points, (320, 240), 100, config, np.random.default_rng(0))
        crop = to_crop(points, matrix)
        assert np.allclose(np.nanmean(crop, axis=0), 49.5)
        # 80 px high and a margin of a quarter in 100 px: 80 of them.
        assert np.isclose(np.ptp(crop[:2, 1]), 80)

    def test_never_enlarge_a_picture_more_than_twice(self) -> None:
        points = np.array([[100.0, 50], [101, 51]])
        matrix = crop_matrix(points, (320, 240), 100, CropSection(), np.random.default_rng(0))
        assert matrix[0, 0] >= 0.5

    def test_of_a_subject_that_no_one_sees_show_the_picture(self) -> None:
        matrix = crop_matrix(np.full((3, 2), np.nan), (320, 240), 100, CropSection(), np.random.default_rng(0))
        assert np.isfinite(matrix).all()


class TestTurnedCrops:
    def test_keep_centre_and_area_and_turn_no_further_than_asked(self) -> None:
        config = CropSection(turn_deg=30, stretch=0.4)
        matrix = np.array([[1.5, 0, 20], [0, 1.5, -7]])
        middle = np.full(2, (96 - 1) / 2)
        most_turn, most_ratio = 0.0, 1.0
        for seed in range(300):
            changed = turned(matrix, 96, config, np.random.default_rng(seed))
            assert np.allclose(changed[:, :2] @ middle + changed[:, 2], matrix[:, :2] @ middle + matrix[:, 2])
            assert np.isclose(np.linalg.det(changed[:, :2]), 1.5**2)
            u, sizes, vt = np.linalg.svd(changed[:, :2])
            turn = u @ vt
            most_turn = max(most_turn, abs(float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))))
            most_ratio = max(most_ratio, float(sizes[0] / sizes[1]))
        assert 25 < most_turn <= 30
        assert 1.3 < most_ratio <= 1.4

    def test_change_nothing_where_nothing_is_asked(self) -> None:
        matrix = np.array([[1.5, 0, 20], [0, 1.5, -7]])
        assert turned(matrix, 96, CropSection(), np.random.default_rng(0)) is matrix

    def test_show_the_joints_where_they_say(self) -> None:
        # A limb's colour lies under its middle, in the crop as in the picture: position and picture turn together.
        world = World(tiny.scenario(), seed=4)
        points = world.truth(1.5).points2d[0]
        plain = np.array([[1.0, 0, 60], [0, 1.0, 20]])
        matrix = turned(plain, 128, CropSection(turn_deg=60, stretch=0.4), np.random.default_rng(3))
        crop = cv2.GaussianBlur(render(world, 0, 1.5, matrix, 128), (3, 3), 0).astype(int)
        whole = cv2.GaussianBlur(world.render(0, 1.5), (3, 3), 0).astype(int)
        there = np.rint(to_crop(points, matrix)).astype(int)
        inside = ((there >= 2) & (there < 126)).all(axis=-1)
        assert inside.sum() >= 8
        raw = np.rint(points).astype(int)
        difference = np.abs(crop[there[:, 1].clip(0, 127), there[:, 0].clip(0, 127)] - whole[raw[:, 1], raw[:, 0]])
        assert np.median(difference[inside]) < 25

    def test_are_black_where_the_picture_ends(self) -> None:
        world = World(tiny.scenario(), seed=4)
        width, height = world.cameras[0].size
        corner = np.array([[1.0, 0, width - 64.0], [0, 1.0, height - 64.0]])
        matrix = turned(corner, 128, CropSection(turn_deg=40, stretch=0.2), np.random.default_rng(8))
        crop = render(world, 0, 1.5, matrix, 128)
        rows, columns = np.mgrid[:128, :128]
        raw = np.stack([columns, rows], axis=-1) @ matrix[:, :2].T + matrix[:, 2]
        outside = ((raw > np.array([width, height]) + 1) | (raw < -2)).any(axis=-1)
        within = ((raw < np.array([width, height]) - 2) & (raw > 1)).all(axis=-1)
        assert outside.any() and not crop[outside].any() and crop[within].any(axis=-1).mean() > 0.95


def test_patches_hide_the_joints_beneath_them() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    points = np.array([[20.0, 20], [40, 20], [np.nan, np.nan]])
    hidden = cover(picture, points, np.array([21.0, 19.0]), np.array([4.0, 5.0]), np.array([9, 8, 7]))
    assert hidden.tolist() == [True, False, False]
    assert (picture[20, 20] == [9, 8, 7]).all() and not picture[20, 40].any()
    rng = np.random.default_rng(0)
    assert not patch(picture, points, AugmentSection(patch_share=0), rng).any()


def test_orders_show_a_world_for_some_steps_and_replace_one_after_the_other() -> None:
    config = DataSection(scenario=tiny.SCENARIO, shows=4, epoch_size=10)
    sampler = OrderSampler(config, 0, 4, lambda _: 64)
    worlds = [[order.world for order in sampler.batch(step, 64)] for step in range(12)]
    assert [sum(a != b for a, b in zip(*pair, strict=True)) for pair in zip(worlds, worlds[1:], strict=False)] == [
        1
    ] * 11
    keys = [(order.epoch, order.number) for step in range(12) for order in sampler.batch(step, 64)]
    assert len(set(keys)) == len(keys)


def test_orders_can_begin_anywhere() -> None:
    config = DataSection(scenario=tiny.SCENARIO)
    late = iter(OrderSampler(config, 5, 8, lambda step: 32 * step))
    first = next(late)
    assert first == OrderSampler(config, 0, 8, lambda _: 0).batch(5, 160)


def test_a_tint_changes_colours_against_each_other() -> None:
    picture = np.full((16, 16, 3), 100, np.uint8)
    plain = relit(picture, AugmentSection(noise=0), np.random.default_rng(2)).reshape(-1, 3)
    tinted = relit(picture, AugmentSection(noise=0, tint=0.2), np.random.default_rng(2)).reshape(-1, 3)
    assert (plain == plain[0, 0]).all()
    assert np.ptp(tinted[0].astype(int)) > 5 and (tinted == tinted[0]).all()


def test_validation_sees_neither_turns_nor_tints() -> None:
    plain = tiny.samples(augment=False)
    changed = plain.config.model_copy(
        update={"crop": CropSection(turn_deg=40, stretch=0.3), "augment": AugmentSection(tint=0.2)}
    )
    order = Order(0, 1, 1, 64)
    assert same(plain[order], VirtualSamples(tiny.scenario(), changed, plain.seed, augment=False)[order])


class TestViews:
    """One to as many views as there are, drawn for each step."""

    def config(self, views: object) -> DataSection:
        return DataSection(scenario=tiny.SCENARIO, views=views)  # type: ignore[arg-type]

    def counts(self, seed: int = 0) -> list[int]:
        sampler = OrderSampler(self.config((1, 3)), 0, 4, lambda _: 64, seed)
        steps = [{order.views for order in sampler.batch(step, 64)} for step in range(300)]
        assert all(len(step) == 1 for step in steps)
        return [step.pop() for step in steps]

    def test_of_a_step_are_as_many_for_all_samples_and_follow_from_the_seed(self) -> None:
        counts = self.counts()
        assert all(75 < counts.count(views) < 125 for views in (1, 2, 3))
        assert counts == self.counts() != self.counts(seed=1)
        late = OrderSampler(self.config((1, 3)), 17, 4, lambda _: 64)
        assert next(iter(late))[0].views == counts[17]

    def test_a_number_means_just_so_many(self) -> None:
        sampler = OrderSampler(self.config(2), 0, 4, lambda _: 64)
        assert {order.views for step in range(20) for order in sampler.batch(step, 64)} == {2}
        assert self.config(None).view_range == (4, 4)

    @pytest.mark.parametrize("views", [1, 2, 3])
    def test_a_sample_has_as_many_and_knows_where_it_is(self, views: int) -> None:
        sample = tiny.samples(augment=False)[Order(0, 1, 1, 64, views)]
        assert len(sample.crops) == len(sample.K) == views
        root = sample.position_mm[list(HUMAN36M17.root)].mean(axis=0)
        assert np.allclose(sample.base_mm, root, atol=1e-3)
        assert sample.key == Key(tiny.scenario().name, "1", 1)
        # The rig knows how far it looks, however many cameras are left of it.
        assert 500 < sample.world[3] < 20_000

    def test_a_range_that_is_none_is_refused(self) -> None:
        for views in (0, [3, 2], [0, 2]):
            with pytest.raises(ConfigError, match="views are a number from 1 on, or the fewest and the most"):
                tiny.config(data={"scenario": str(tiny.SCENARIO), "views": views})
