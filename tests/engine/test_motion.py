"""Joints go on by their own motion, whatever the time between frames, and say how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.motion import Motion

EYE = np.eye(3)
UNKNOWN_MM = 1e4


def steps(motion: Motion, times: list[float]) -> np.ndarray:
    for dt in times:
        motion.predict(dt)
    return motion.covariance


def known(speed: float = 800.0, memory: float = 0.3) -> Motion:
    motion = Motion(np.full(2, speed), memory, UNKNOWN_MM)
    motion.update(np.tile(EYE, (2, 1, 1)), np.zeros((2, 3)))
    return motion


@given(st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_many_small_steps_are_one_large_one(times: list[float]) -> None:
    many, one = known(), known()
    np.testing.assert_allclose(steps(many, times), steps(one, [sum(times)]), rtol=1e-6, atol=1e-6)


def test_a_steady_joint_is_foreseen_and_an_unseen_one_stays_where_it_came_to() -> None:
    motion = Motion(np.array([1000.0]), 1.0, UNKNOWN_MM)
    velocity = np.array([300.0, -100.0, 50.0])
    for tick in range(40):
        motion.predict(0.01 if tick else 0.0)
        motion.update(EYE[None] / 0.1**2, tick * 0.01 * velocity[None])
    motion.predict(0.05)
    np.testing.assert_allclose(motion.position[0], 0.44 * velocity, atol=5)
    motion.predict(60.0)
    far = motion.position[0] - 0.39 * velocity
    np.testing.assert_allclose(far, 1.0 * velocity, rtol=0.2)


def test_its_covariance_is_that_of_motions_of_its_kind() -> None:
    rng = np.random.default_rng(3)
    speed, memory, dt, runs = 500.0, 0.3, 1 / 30, 4000
    fine = 1e-3
    keep = np.exp(-fine / memory)
    velocity = rng.normal(0, speed, (runs, 3))
    position = np.zeros((runs, 3))
    filters = Motion(np.full(runs, speed), memory, UNKNOWN_MM)
    filters.update(np.tile(EYE, (runs, 1, 1)), position + rng.normal(size=(runs, 3)))
    for _ in range(6):
        for _ in range(round(dt / fine)):
            after = keep * velocity + np.sqrt(1 - keep**2) * rng.normal(0, speed, (runs, 3))
            position += fine * (velocity + after) / 2
            velocity = after
        filters.predict(round(dt / fine) * fine)
    off = filters.position - position
    distance2 = (off[:, None] @ np.linalg.solve(filters.covariance, off[..., None]))[:, 0, 0]
    assert np.mean(distance2 < 3.53) == pytest.approx(0.683, abs=0.03)
    assert np.mean(distance2 < 8.02) == pytest.approx(0.954, abs=0.02)


def test_a_ray_tells_nothing_along_itself() -> None:
    motion = Motion(np.array([100.0]), 0.3, UNKNOWN_MM)
    across = np.diag([1.0, 1.0, 0.0])
    motion.update(across[None], np.array([[3.0, 4.0, 12345.0]]))
    np.testing.assert_allclose(motion.position[0, :2], [3, 4], atol=1e-3)
    np.testing.assert_allclose(np.diag(motion.covariance[0]), [1, 1, UNKNOWN_MM**2], rtol=1e-3)


def test_nothing_measured_changes_nothing_and_forgetting_forgets() -> None:
    motion, same = known(), known()
    motion.update(np.zeros((2, 3, 3)), np.full((2, 3), 99.0))
    np.testing.assert_array_equal(motion.position, same.position)
    np.testing.assert_allclose(motion.covariance, same.covariance)
    motion.reset()
    assert motion.covariance[0, 0, 0] == UNKNOWN_MM**2 and not motion.position.any()


def test_no_time_is_no_step() -> None:
    motion = known()
    before = motion.covariance.copy()
    motion.predict(0.0)
    motion.predict(-1.0)
    np.testing.assert_array_equal(motion.covariance, before)
