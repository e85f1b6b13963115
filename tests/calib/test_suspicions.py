"""What small motions before cameras say about cameras that moved or are late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import _rigs
from calib.board_motion import motion_of
from calib.moments import blocks_of, stance_of
from calib.sight import board_poses, rotations, sight_of
from calib.suspicions import EXPLAINS, bounded, carried_views, suspicions_of
from tests.calib.scenes import film


def looked_at(scene, cameras, frames=None):
    views = film(scene, frames)
    sight = sight_of(views, cameras)
    poses = board_poses(sight, views.target_mm, views.usable)
    rough = scene.poses.copy()
    rough[views.usable.sum(axis=0) < 1] = np.nan
    motion = motion_of(views, views, cameras, rough)
    return views, motion, rough, suspicions_of(views, sight, poses.kept, cameras, rough, motion)


@pytest.mark.parametrize("cameras", [2, 3, 6])
def test_noise_is_suspected_of_nothing(cameras):
    scene = _rigs.board_scene(72 + cameras, cameras, 40)
    found = looked_at(scene, scene.rig.cameras)[3]
    assert not found.has_moved and not found.is_late
    assert found.moved.explains < EXPLAINS / 3 and found.late.explains < EXPLAINS / 3


def test_one_view_that_went_wrong_is_no_camera_that_moved():
    scene = _rigs.board_scene(75, 4, 40)
    px = scene.px.copy()
    v, f = np.argwhere(np.isfinite(px[..., 0]).sum(axis=-1) > 20)[30]
    px[v, f] += 60
    found = looked_at(replace(scene, px=px), scene.rig.cameras)[3]
    assert not found.has_moved and not found.is_late


def test_views_far_off_count_less_but_all_alike_count_alike():
    scene = _rigs.board_scene(76, 3, 12, outliers=0.0)
    views = film(scene)
    frames = np.flatnonzero(views.usable.all(axis=0))
    part = views.select(frames)
    sight = sight_of(part, scene.rig.cameras)
    R, t = rotations(scene.poses[frames, :3]), scene.poses[frames, 3:]
    blocks = blocks_of(stance_of(scene.rig.cameras), R, t, sight, part.seen, part.target_mm)
    same = bounded(blocks)
    assert np.allclose(same.normal, blocks.normal)


def test_what_a_late_camera_saw_is_carried_to_where_it_would_have_been():
    seed = 77
    frames = np.round(np.arange(60) * np.random.default_rng([seed, 3]).uniform(20, 30)).astype(int)
    late = _rigs.board_scene(seed, 4, 60, delay_frames=(0.0, 1.0, 0.0, 0.0), outliers=0.0, missing=0.0)
    views, motion, rough, found = looked_at(late, late.rig.cameras, frames)
    assert found.is_late and found.late.camera == (late.rig.names[1],)
    offset = next(o for o in found.late.offsets if o.camera == late.rig.names[1])
    assert offset.frames == pytest.approx(1.0, abs=0.1) and offset.deviation < 0.1
    carried = carried_views(views, late.rig.cameras, rough, motion[0], found.late)
    true = _rigs.board_scene(seed, 4, 60, outliers=0.0, missing=0.0).clean_px
    both = np.isfinite(carried.px[1, ..., 0]) & np.isfinite(true[1, ..., 0]) & motion[0].any(axis=-1)[:, None]
    before = np.linalg.norm(views.px[1][both] - true[1][both], axis=-1)
    after = np.linalg.norm(carried.px[1][both] - true[1][both], axis=-1)
    assert np.median(before) > 3 and np.median(after) < 0.35 * np.median(before)
    assert np.array_equal(carried.px[3], views.px[3], equal_nan=True)
