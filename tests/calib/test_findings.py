"""What held-out moments say against a rig: that its fit has learned them, and never that a corner was filmed once."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import _rigs
from calib import findings
from calib.bundle import Free
from calib.held_out import judge_held_out
from calib.sight import sight_of
from calib.solution import solve
from tests.calib.scenes import film


@pytest.fixture(scope="module")
def judged():
    scene = _rigs.board_scene(61, 3, 30)
    views = film(scene)
    solution = solve(views, scene.rig.cameras, scene.poses, Free(), views.seen)
    return views, solution, judge_held_out(views, sight_of(views, solution.cameras), solution, [Free()] * 3)


def said(judged, trial):
    views, solution, _ = judged
    solved: Any = SimpleNamespace(
        views=views, solution=solution, trial=trial, poses=SimpleNamespace(noise_px=lambda: np.full(3, 0.5))
    )
    return [str(finding) for finding in findings._residuals(solved) if "where not fitted" in finding.what]


def test_what_lies_further_out_than_all_that_was_fitted_is_not_within(judged):
    views, solution, trial = judged
    radius = np.stack(
        [np.hypot(*(views.px[v] - camera.K[:2, 2]).transpose(2, 0, 1)) for v, camera in enumerate(solution.cameras)]
    )
    for v in range(3):
        for number in range(5):
            inside = trial.block == number
            reach = radius[v][~inside][solution.used[v][~inside]].max()
            np.testing.assert_array_equal(trial.within[v][inside], radius[v][inside] <= reach)
    assert 0.9 < trial.within[solution.used].mean() < 1


def test_a_good_rig_has_learned_no_moments(judged):
    assert not said(judged, judged[2])


def test_residuals_that_grow_where_not_fitted_are_told(judged):
    trial = judged[2]
    (what,) = said(judged, replace(trial, residual_px=2.5 * trial.residual_px))
    assert "film the board at more places and slants" in what


def test_the_only_views_of_a_corner_say_nothing(judged):
    trial = judged[2]
    far = np.where(trial.within[..., None], 1.0, 100.0) * trial.residual_px
    assert not said(judged, replace(trial, residual_px=far))
