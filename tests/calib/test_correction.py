"""A camera placed anew by points that others have placed, and how far that is from where it stood."""

from dataclasses import replace

import numpy as np
import pytest

from calib.correction import correction_of, placed_anew
from calib.rotation import angle_deg
from tests.calib.scenes import look_at

TRUE = look_at("cam", (1000, -3000, 1500), (0, 0, 800), 1400, size=(1280, 1024))


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-400, 400, (120, 3)) + (0, 0, 800)


@pytest.fixture
def moved():
    return replace(TRUE, rvec=TRUE.rvec + (0.02, -0.03, 0.01), t=TRUE.t + (-20, 10, 40))


def test_it_comes_back_to_where_the_points_say_in_spite_of_gross_errors(points, moved):
    rng = np.random.default_rng(1)
    px = TRUE.project(points) + rng.normal(0, 0.3, (120, 2))
    px[:12] += rng.uniform(-200, 200, (12, 2))
    px[20] = np.nan
    placed = placed_anew(moved, points, px, 0.3)
    assert placed is not None and placed.used == 119
    assert angle_deg(placed.camera.R, TRUE.R) < 0.05
    assert np.linalg.norm(placed.camera.center_mm - TRUE.center_mm) < 4
    assert placed.after_px < 0.6 and placed.before_px > 5


def test_the_correction_says_how_far_and_how_surely(points, moved):
    px = TRUE.project(points) + np.random.default_rng(2).normal(0, 0.3, (120, 2))
    placed = placed_anew(moved, points, px, 0.3)
    assert placed is not None
    found = correction_of(moved, placed, px)
    turn, shift = angle_deg(TRUE.R, moved.R), np.linalg.norm(TRUE.center_mm - moved.center_mm)
    assert abs(found.turned_deg - turn) < 4 * found.turned_deviation_deg
    assert abs(found.moved_mm - shift) < 4 * found.moved_deviation_mm
    assert found.shift_px == pytest.approx(found.before_px, rel=0.15)
    assert found.shift_deviation_px < 0.2


def test_a_camera_that_shares_few_points_is_not_placed(points):
    assert placed_anew(TRUE, points[:10], TRUE.project(points[:10]), 0.3) is None
