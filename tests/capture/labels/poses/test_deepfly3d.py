"""DeepFly3D's results: both eras of its points, sides told by where they lie."""

import numpy as np
import pytest

from calib.quality import judge
from capture.virtual.skeletons import FLY38
from rigpose.errors import ConfigError
from tests.calib.formats.test_deepfly3d import Bomb
from tests.capture.labels.poses.made import deepfly3d, fly, read


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_both_eras(tmp_path, pixels, protocol):
    points = fly()
    deepfly3d(tmp_path / "df3d_result.pkl", points, pixels, protocol)
    poses = read(tmp_path / "df3d_result.pkl", rate_hz=100)
    assert poses.skeleton == FLY38 and poses.rate_hz == 100 and poses.source == "DeepFly3D"
    np.testing.assert_allclose(poses.position_mm, points)
    sees = np.isfinite(poses.points2d[..., 0])
    assert sees[:, :3, :19].all() and sees[:, 4:, 19:].all() and sees.sum() == 4 * 6 * 19
    assert np.nanmax(poses.reprojection_px()) < 1e-6


def test_right_sides_come_behind_left_ones(tmp_path):
    points = fly(left_first=False)
    scores = np.full((7, 4, 19, 1), 0.25)
    deepfly3d(tmp_path / "result.pkl", points, heatmap_confidence=scores)
    poses = read(tmp_path / "result.pkl")
    np.testing.assert_allclose(poses.position_mm, np.roll(points, 19, axis=1))
    assert np.isfinite(poses.points2d[:, 0, 19:, 0]).all() and np.isnan(poses.points2d[:, 0, :19]).all()
    assert (poses.confidence[:, 0, 19:] == 0.25).all() and (poses.confidence[:, 0, :19] == 0).all()
    assert any("right side" in note for note in poses.notes)
    assert np.nanmax(poses.reprojection_px()) < 1e-6


def test_what_only_a_fit_to_a_template_left_is_said(tmp_path):
    deepfly3d(tmp_path / "result.pkl", fly(), points3d_wo_procrustes=None)
    assert any("template" in note for note in read(tmp_path / "result.pkl").notes)


def test_joints_that_were_not_found_are_missing(tmp_path):
    points = fly()
    deepfly3d(
        tmp_path / "result.pkl", points, points3d_wo_procrustes=np.where(np.arange(38)[:, None] == 4, 0.0, points)
    )
    poses = read(tmp_path / "result.pkl")
    assert not poses.there[:, 4].any() and poses.there.sum() == 4 * 37


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"points3d_wo_procrustes": None, "points3d": None}, "no 3D points"),
        ({"points3d_wo_procrustes": np.ones((4, 30, 3))}, "has 30 joints"),
        ({"points3d_wo_procrustes": np.ones((4, 3, 38))}, "exchange its axes"),
        ({"points2d": np.ones((7, 3, 38, 2))}, r"points2d has shape \[7, 3, 38, 2\]"),
    ],
)
def test_each_way_to_be_wrong_is_one_line(tmp_path, changed, says):
    deepfly3d(tmp_path / "result.pkl", fly(), **changed)
    with pytest.raises(ConfigError, match=says):
        read(tmp_path / "result.pkl")


def test_nothing_in_it_runs(tmp_path):
    deepfly3d(tmp_path / "result.pkl", fly(), points3d=Bomb(tmp_path / "ran"))
    with pytest.raises(ConfigError, match="pickle that is not read"):
        read(tmp_path / "result.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.data
def test_the_real_fly_reprojects_as_published(data_dir):
    poses = read(data_dir / "fly7-deepfly3d" / "df3d_reference.npz")
    off = poses.reprojection_px()
    assert poses.position_mm.shape == (15, 38, 3) and np.isfinite(off).sum() == 1590
    assert np.nanmedian(off) == pytest.approx(2.56, abs=0.05)
    assert judge(poses.rig).verdict == "good", "swapped principal points went to the middle"
    assert any("principal point far from the middle" in note for note in poses.notes)
    assert not any("right side" in note for note in poses.notes)
    assert 0 < poses.confidence.max() <= 1 and np.isnan(poses.points2d[:, 3]).all()
