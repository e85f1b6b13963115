"""Rodrigues vectors of matrices and the angles between them, where OpenCV gives up digits."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calib.rotation import angle_deg, vector_of

axes = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)).filter(lambda a: np.linalg.norm(a) > 0.1)


@given(axes, st.floats(0, np.pi))
@example((1, 0, 0), np.pi)
@example((0.3, -0.5, 0.2), np.pi - 1e-9)
@example((0, 1, 0), 0.0)
@example((0, 0, 1), 1e-6)
def test_is_the_turn_to_the_last_digits(axis, angle):
    rvec = np.array(axis) / np.linalg.norm(axis) * angle
    matrix = Rotation.from_rotvec(rvec).as_matrix()
    found = vector_of(matrix)
    assert np.linalg.norm(found) <= np.pi + 1e-12
    np.testing.assert_allclose(Rotation.from_rotvec(found).as_matrix(), matrix, atol=5e-16 + 1e-15)


@pytest.mark.parametrize("angle", [1e-6, 9e-6])
def test_keeps_a_small_turn_that_opencv_drops(angle):
    matrix = Rotation.from_rotvec([0, 0, angle]).as_matrix()
    assert not cv2.Rodrigues(matrix)[0].any(), "OpenCV has learned it: this module is no longer needed"
    np.testing.assert_allclose(vector_of(matrix), [0, 0, angle], rtol=1e-9)


@given(axes, st.floats(0, np.pi))
@example((1, 0, 0), np.pi)
@example((0, 1, 0), 0.0)
@example((0, 0, 1), 1e-9)
def test_the_angle_between_rotations(axis, angle):
    rvec = np.array(axis) / np.linalg.norm(axis) * angle
    a = Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix()
    b = Rotation.from_rotvec(rvec).as_matrix() @ a
    np.testing.assert_allclose(angle_deg(b, a), np.degrees(angle), rtol=1e-9, atol=2e-14)
    np.testing.assert_allclose(angle_deg(np.stack([a, b]), np.stack([b, a])), np.degrees(angle), rtol=1e-9, atol=2e-14)
