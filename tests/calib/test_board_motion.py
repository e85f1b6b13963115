"""How fast a board moves, where its neighbours in time tell."""

from __future__ import annotations

import numpy as np

from calib.board_motion import velocities
from calib.observations import BoardViews
from calib.sight import rotations


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
