"""Numbers of a camera that mean something else than the file's reader took them for."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.misread import other_reading
from tests.calib.scenes import look_at

TRUE = look_at("cam", (1000, -3000, 1500), (0, 0, 800), 1400, size=(1280, 1024))
POINTS = np.random.default_rng(0).uniform(-300, 300, (40, 3)) + (0, 0, 800)


def swapped(camera):
    K = camera.K.copy()
    K[[0, 1], 2] = K[[1, 0], 2]
    return replace(camera, K=K)


def inverse(camera):
    return replace(camera, rvec=cv2.Rodrigues(camera.R.T)[0].ravel(), t=-camera.R.T @ camera.t)


def halved(camera):
    K = camera.K.copy()
    K[:2] *= 0.5
    K[:2, 2] -= 0.25
    return replace(camera, K=K)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (swapped(TRUE), "principal point has x and y swapped"),
        (inverse(TRUE), "from camera to world"),
        (replace(TRUE, rvec=-TRUE.rvec), "rotation is transposed"),
        (replace(TRUE, t=TRUE.t / 10), "another unit (cm)"),
        (halved(TRUE), "K is for pictures of 0.5 times the size"),
    ],
)
def test_what_it_could_mean_is_named(written, words):
    assert words in other_reading(written, POINTS, TRUE.project(POINTS), 300.0, 0.5)


def test_a_camera_that_only_moved_is_not_misread():
    moved = replace(TRUE, t=TRUE.t + (80, 0, 0))
    before = float(np.median(np.linalg.norm(moved.project(POINTS) - TRUE.project(POINTS), axis=-1)))
    assert other_reading(moved, POINTS, TRUE.project(POINTS), before, 0.5) == ""


def test_a_few_points_name_nothing():
    assert other_reading(inverse(TRUE), POINTS[:10], TRUE.project(POINTS[:10]), 300.0, 0.5) == ""
