"""Pictures of lifters: what they show is there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.training.lifting.made import SKELETON, poses
from training.lifting.pictures import LIFTED, OTHER, draw_curves, draw_poses, draw_violins


def colours(path):
    picture = cv2.imread(str(path))
    return {
        name: int(np.all(picture == np.array(colour), axis=-1).sum())
        for name, colour in (("lifted", LIFTED), ("other", OTHER))
    }


def test_violins_of_two_methods_stand_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    errors = {"lifter": rng.gamma(2, 1, (300, 4)), "ridge": rng.gamma(2, 2, (300, 4))}
    errors["lifter"][0, 0] = np.nan
    draw_violins(tmp_path / "joints.png", errors, SKELETON.joints[1:5], "errors")
    found = colours(tmp_path / "joints.png")
    assert found["lifted"] > 3000 and found["other"] > 3000


@pytest.mark.parametrize("roots", [(0, 0, 0, 3, 3, 3), (0,) * 6])
def test_poses_show_lifted_over_triangulated_ones(tmp_path, roots):
    truth = poses(20).position_mm
    truth = truth - truth[:, list(roots)]
    answer = truth + 40.0 * (np.array(roots) != np.arange(6))[:, None]
    answer[3:6, 2] = np.nan
    draw_poses(tmp_path / "poses.png", answer, truth, SKELETON.edges, roots)
    found = colours(tmp_path / "poses.png")
    assert found["lifted"] > 500 and found["other"] > 1000


def test_curves_need_no_look_at_the_validation_part(tmp_path):
    draw_curves(tmp_path / "curves.png", [(e, 100 / e) for e in range(1, 30)], [])
    assert colours(tmp_path / "curves.png")["other"] > 500
    draw_curves(tmp_path / "none.png", [], [])
    assert (tmp_path / "none.png").is_file()
