"""Small motions before cameras, and boards placed by all views of a moment."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _rigs
from calib.moments import adjoint, place, stance_of
from calib.sight import project_with_motion, rotations, sight_of
from tests.calib.scenes import film

numbers = st.floats(-1, 1)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)


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


def test_rodrigues_agrees_with_opencv_on_the_way():
    w = np.array([0.2, -1.0, 0.4])
    assert np.allclose(rotations(w), cv2.Rodrigues(w)[0])
