"""CAPTURE's recordings: one file a camera, matched by sample numbers."""

import numpy as np
import pytest
from scipy.io import savemat

from capture.labels.poses.skeletons import RAT20
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import assert_same_cameras
from tests.capture.labels.poses.made import barrels, captured, read, walk

SAMPLES = np.array([100, 110, 125, 140])


def test_a_recording(tmp_path):
    rig, position = barrels(), walk(4, 20)
    position[2, 5] = np.nan
    root = captured(tmp_path / "rat", "1", rig, position, SAMPLES)
    for path in (root, root / "data_3d_e1"):
        poses = read(path, size=(1280, 1024), subject="rat8")
        np.testing.assert_allclose(poses.position_mm, position)
        np.testing.assert_array_equal(poses.frame, SAMPLES)
        assert_same_cameras(rig.cameras, poses.rig.cameras, names=False)
        assert poses.rig.names == ("cam1", "cam2", "cam3")
        assert np.nanmax(poses.reprojection_px()) < 1e-9
        assert np.isnan(poses.points2d[0, 2]).all() and np.isfinite(poses.points2d[1, 2]).all()
        assert poses.skeleton == RAT20 and poses.subjects == ("rat8",)


def test_the_rat_has_its_sides():
    pairs = {(RAT20.joints[a], RAT20.joints[b]) for a, b in RAT20.left_right}
    assert ("ElbowL", "ElbowR") in pairs and len(pairs) == 6 and len(RAT20.edges) == 17


def test_recordings_with_one_calibration_are_one(tmp_path):
    rig, a, b = barrels(), walk(4, 20), walk(3, 20, seed=5)
    captured(tmp_path / "rat", "1", rig, a, SAMPLES)
    captured(tmp_path / "rat", "2", rig, b, SAMPLES[:3])
    poses = read(tmp_path / "rat")
    np.testing.assert_allclose(poses.position_mm, np.concatenate([a, b]))
    assert poses.subjects == ("rat",) and (np.diff(poses.frame) > 0).all()


def test_recordings_that_were_calibrated_apart_are_picked(tmp_path):
    a, b = walk(4, 20), walk(4, 20, seed=5)
    captured(tmp_path / "rat", "1", barrels(3), a, SAMPLES)
    captured(tmp_path / "rat", "2", barrels(4), b, SAMPLES)
    with pytest.raises(ConfigError, match="calibrated apart .*--pick one of e1, e2"):
        read(tmp_path / "rat")
    assert len(read(tmp_path / "rat", pick="e2").rig) == 4
    with pytest.raises(ConfigError, match="no recording"):
        read(tmp_path / "rat", pick="e3")


class TestWhatIsWrong:
    def test_no_calibration(self, tmp_path):
        root = captured(tmp_path / "rat", "1", barrels(), walk(4, 20), SAMPLES)
        (root / "calibration_e1" / "hires_cam2_params_rRDistort.mat").unlink()
        with pytest.raises(ConfigError, match="no calibration of its cameras 1, 2, 3"):
            read(root)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"data_3d": np.ones((4, 60))}, "not what the other cameras' files have"),
            ({"data_2d": np.ones((4, 38))}, "files of 19 and of 20 joints"),
            ({"data_sampleID": np.ones((3, 1))}, "4 rows in 3D, 4 in 2D and 3"),
            ({"data_sampleID": np.ones((4, 1))}, "one number twice"),
        ],
    )
    def test_cameras_that_do_not_go_together(self, tmp_path, changed, says):
        position = walk(4, 20)
        root = captured(tmp_path / "rat", "1", barrels(), position, SAMPLES)
        px = np.ones((4, 40))
        values = {"data_2d": px, "data_3d": position.reshape(4, -1), "data_sampleID": SAMPLES[:, None]}
        savemat(root / "data_3d_e1" / "1_cam2_data.mat", values | changed)
        with pytest.raises(ConfigError, match=says) as error:
            read(root)
        assert "\n" not in str(error.value)
