"""Small motions before cameras, and what they say about cameras that moved or are late."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _rigs
from calib.moments import adjoint, blocks_of, place, stance_of
from calib.observations import BoardViews
from calib.sight import board_poses, project_with_motion, rotations, sight_of
from calib.suspicions import EXPLAINS, bounded, carried_views, motion_of, suspicions_of, velocities

numbers = st.floats(-1, 1)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)


def film(scene, frames=None):
    n = scene.px.shape[1]
    sizes = tuple(camera.size for camera in scene.rig.cameras)
    return BoardViews(scene.target_mm, scene.rig.names, sizes, np.arange(n) if frames is None else frames, scene.px)


@given(vectors, vectors, vectors, vectors)
def test_the_adjoint_carries_a_small_motion_into_a_camera(w, t, turn, shift):
    R = rotations(w)
    t = 100 * t
    X = np.array([12.0, -30.0, 55.0])
    small = 1e-6
    moved = X + small * (np.cross(turn, X) + shift)
    motion = small * adjoint(R, t) @ np.concatenate([turn, shift])
    before = R @ X + t
    after = before + np.cross(motion[:3], before) + motion[3:]
    assert np.allclose(R @ moved + t, after, atol=1e-9)


@given(vectors, vectors)
def test_the_derivative_of_a_view_is_that_of_small_differences(w, u):
    rng = np.random.default_rng(0)
    points = rng.uniform(-100, 100, (6, 3)) + (0, 0, 600)
    px_per = np.tile(np.array([[900.0, 10.0], [-5.0, 950.0]]), (6, 1, 1))
    kept = np.ones(6, dtype=bool)
    xy = rng.normal(0, 0.1, (6, 2))
    step = np.concatenate([w, 50 * u]) * 1e-6
    residual, derivative = project_with_motion(points, xy, px_per, kept)
    moved = points + np.cross(step[:3], points) + step[3:]
    after, _ = project_with_motion(moved, xy, px_per, kept)
    assert np.allclose(residual - after, derivative @ step, atol=1e-6)


def test_boards_are_placed_where_they_stand():
    scene = _rigs.board_scene(71, 3, 10, sigma_px=0.0, outliers=0.0)
    views = film(scene)
    sight = sight_of(views, scene.rig.cameras)
    frames = np.flatnonzero(views.usable.any(axis=0))
    part = views.select(frames)
    sight = sight_of(part, scene.rig.cameras)
    true = scene.poses[frames]
    start = true + np.random.default_rng(0).normal(0, 1, true.shape) * ([0.05] * 3 + [20.0] * 3)
    R, t, blocks = place(
        stance_of(scene.rig.cameras), rotations(start[:, :3]), start[:, 3:], sight, part.seen, part.target_mm
    )
    assert np.abs(t - true[:, 3:]).max() < 1e-3
    assert blocks.chi2.max() < 1e-6


def test_velocities_are_those_of_the_motion():
    frames = np.arange(0, 60, 2)
    w, u = np.array([0.01, -0.02, 0.015]), np.array([3.0, -1.0, 2.0])
    R = np.stack([rotations(w * f) for f in frames])
    t = np.stack([rotations(w * f) @ np.array([100.0, 50, 900]) + u * f for f in frames])
    px = np.zeros((1, len(frames), 4, 2))
    target = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0]])
    views = BoardViews(target, ("a",), ((640, 480),), frames, px)
    motion, unit = velocities(views, np.arange(len(frames)), R, t)
    assert unit == "frames"
    inner = slice(3, -3)
    assert np.allclose(motion[inner, :3], w, atol=1e-5)
    # u of the motion X' = w x X + u, at the board's origin.
    speed = np.cross(motion[inner, :3], t[inner]) + motion[inner, 3:]
    true = np.cross(w, t[inner] - u * frames[inner, None]) + u
    assert np.allclose(speed, true, atol=0.02)


def test_the_speed_beside_a_gap_is_not_known():
    frames = np.array([0, 1, 2, 3, 40, 41, 42, 43, 44])
    R = np.tile(np.eye(3), (9, 1, 1))
    t = np.outer(frames, [1.0, 0, 0]) + (0, 0, 500)
    target = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0]])
    views = BoardViews(target, ("a",), ((640, 480),), frames, np.zeros((1, 9, 4, 2)))
    motion, _ = velocities(views, np.arange(9), R, t)
    known = motion.any(axis=-1)
    assert known.tolist() == [False, True, True, False, False, True, True, True, False]


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


def test_rodrigues_agrees_with_opencv_on_the_way():
    w = np.array([0.2, -1.0, 0.4])
    assert np.allclose(rotations(w), cv2.Rodrigues(w)[0])
