"""Rotations of files: any turn, rounded digits, matrices that are none."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calib.formats.rotations import numbers, quaternion_of, rotation_of, rvec_of, rvec_of_quaternion, size_of
from rigpose.errors import ConfigError

turns = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1), st.floats(0, np.pi)).filter(
    lambda t: np.linalg.norm(t[:3]) > 0.1
)


def matrix_of(turn):
    axis = np.array(turn[:3]) / np.linalg.norm(turn[:3])
    return Rotation.from_rotvec(axis * turn[3]).as_matrix()


@given(turns)
@example((1, 0, 0, np.pi))
@example((0.3, -0.5, 0.2, np.pi - 1e-9))
@example((0, 1, 0, 0.0))
@example((0, 0, 1, 1e-9))
def test_matrix_vector_and_quaternion_are_one_turn(turn):
    matrix = matrix_of(turn)
    rvec = rvec_of(matrix, "file")
    np.testing.assert_allclose(Rotation.from_rotvec(rvec).as_matrix(), matrix, atol=1e-14)
    q = quaternion_of(rvec)
    np.testing.assert_allclose(abs(q @ np.roll(Rotation.from_matrix(matrix).as_quat(), 1)), 1, atol=1e-9)
    for sign in (1, -1):
        back = rvec_of_quaternion(sign * q, "file")
        np.testing.assert_allclose(
            Rotation.from_rotvec(back).as_matrix(), Rotation.from_rotvec(rvec).as_matrix(), atol=1e-12
        )


@given(turns, st.integers(4, 8))
def test_printed_digits_are_cleaned(turn, digits):
    matrix = np.round(matrix_of(turn), digits)
    cleaned = cv2.Rodrigues(rvec_of(matrix, "file"))[0]
    np.testing.assert_allclose(cleaned @ cleaned.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(cleaned, matrix, atol=10.0**-digits + 1e-7)


@pytest.mark.parametrize(
    ("matrix", "named"),
    [
        (np.diag([1.0, 1, -1]), "mirrored"),
        (np.eye(3) * 1.01, "stretches by 1.0 %"),
        (np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]]), "no rotation"),
        (np.zeros((3, 3)), "no rotation|mirrored"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.eye(4), "shape"),
    ],
)
def test_what_is_no_rotation(matrix, named):
    with pytest.raises(ConfigError, match=f"file: R .*({named})"):
        rvec_of(matrix, "file")


def test_a_vector_or_a_matrix():
    np.testing.assert_allclose(rotation_of([[0.1], [0.2], [0.3]], "file"), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(rotation_of(cv2.Rodrigues(np.array([0.1, 0.2, 0.3]))[0], "file"), [0.1, 0.2, 0.3])
    with pytest.raises(ConfigError, match="length 2.000"):
        rvec_of_quaternion([2, 0, 0, 0], "file")


@pytest.mark.parametrize("size", [["a", 3], [1.5, 2], [-1, 4], [1e9, 4], [np.inf, 1], [1], None])
def test_a_picture_size_that_is_none(size):
    with pytest.raises(ConfigError, match="file"):
        size_of(size, "file")


def test_numbers_in_text_count():
    np.testing.assert_array_equal(numbers(["1.", "2e+0"], "file", "K", (2,)), [1, 2])
