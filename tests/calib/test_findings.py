"""What held-out moments say against a rig: that its fit has learned them, and never that a corner was filmed once."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import _rigs
from benchmarks._calibration_faults import turned_meanwhile
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


class TestViewsThatContradictTheOthers:
    """Whole views that were left out: here of three cameras that saw 20 moments with 30 points each."""

    FRAMES = 10 * np.arange(20)

    def said(self, aside, *, has_moved=False, points=30):
        used = np.ones((3, 20, 30), dtype=bool)
        used[1, aside, :points] = False
        solved: Any = SimpleNamespace(
            views=SimpleNamespace(names=("left", "top", "right"), frames=self.FRAMES),
            poses=SimpleNamespace(kept=np.ones((3, 20, 30), dtype=bool)),
            solution=SimpleNamespace(used=used, poses=np.zeros((20, 6))),
            suspicions=SimpleNamespace(has_moved=has_moved),
        )
        return list(findings._contradictions(solved))

    def test_none_say_nothing(self):
        assert self.said([]) == []

    def test_the_last_ones_tell_when_the_camera_moved(self):
        (finding,) = self.said([17, 18, 19])
        assert (finding.level, finding.cameras) == ("suspect", ("top",))
        assert finding.what == (
            "3 of its 20 views contradict the other cameras and were left out (frames 170, 180, 190), "
            "as if it had moved at frame 170"
        )

    def test_the_first_ones_tell_it_too(self):
        (finding,) = self.said([0, 1, 2, 3, 4, 5])
        assert "(frames 0, 10, 20, 30 and 2 more), as if it had moved at frame 60" in finding.what

    def test_some_in_between_are_told_without_a_guess(self):
        (finding,) = self.said([3, 8, 12])
        assert "moved" not in finding.what

    def test_one_view_is_a_misread_board_and_two_of_twenty_are_too_few(self):
        assert self.said([19]) == [] and self.said([18, 19]) == []

    def test_gross_errors_of_single_points_are_none(self):
        assert self.said(slice(None), points=14) == []

    def test_a_move_that_was_named_is_not_told_twice(self):
        assert self.said([15, 16, 17, 18, 19], has_moved=True) == []

    def test_a_camera_that_was_turned_after_a_few_moments_is_named(self):
        said = turned_meanwhile(71)
        assert said.verdict == "suspect" and said.names("moved")
