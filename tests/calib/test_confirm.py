"""Telling two rigs apart by what was not fitted."""

import numpy as np
import pytest

from benchmarks._rigs import moved, point_scene
from calib.confirm import confirm


def test_two_equal_rigs_are_not_told_apart():
    scene = point_scene(16, 3, 40, 10)
    assert confirm(scene.rig, scene.rig, scene.px).verdict == "undecided"


def test_few_groups_decide_nothing():
    scene = point_scene(17, 4, 60, 3, outliers=0.0)
    hit = moved(scene.rig, "cam01", turned_deg=2)
    assert confirm(hit, scene.rig, scene.px).verdict == "undecided"


@pytest.mark.parametrize("seed", range(4))
def test_the_right_rig_is_confirmed_and_the_wrong_one_refuted(seed):
    scene = point_scene(40 + seed, 3 + seed, 30, 10, sigma_px=2.0, outliers=0.1)
    hit = moved(scene.rig, "cam02", turned_deg=1.5, seed=seed)
    right, wrong = confirm(hit, scene.rig, scene.px), confirm(scene.rig, hit, scene.px)
    assert right.verdict == "confirmed" and right.after_px < right.before_px
    assert wrong.verdict == "refuted" and wrong.low > 1
    assert right.n > 500 and right.groups == 10
    assert right.cameras_px[1][0] > right.cameras_px[1][1]


def test_points_of_the_scene_are_one_frame():
    scene = point_scene(50, 4, 1, 20, sigma_px=0.5, outliers=0.0)
    hit = moved(scene.rig, "cam01", turned_deg=1.0)
    assert confirm(hit, scene.rig, scene.px, what="marks").verdict == "confirmed"


def test_doubtful_points_do_not_count():
    scene = point_scene(51, 4, 30, 10, sigma_px=1.0, outliers=0.0)
    rng = np.random.default_rng(0)
    doubtful = rng.random(scene.px.shape[:-1]) < 0.4
    px = scene.px + np.where(doubtful[..., None], rng.normal(0, 80, scene.px.shape), 0)
    hit = moved(scene.rig, "cam01", turned_deg=0.5)
    said = confirm(hit, scene.rig, px, np.where(doubtful, 0.2, 0.7), min_confidence=0.5)
    assert said.verdict == "confirmed" and said.after_px < 1.5


def test_nothing_seen_decides_nothing():
    scene = point_scene(52, 3, 5, 6)
    assert confirm(scene.rig, scene.rig, np.full_like(scene.px, np.nan)).verdict == "undecided"


def test_arrays_that_do_not_belong_together_are_refused():
    scene = point_scene(53, 3, 5, 6)
    with pytest.raises(ValueError, match="of 3 cameras"):
        confirm(scene.rig, scene.rig, scene.px[:2])
