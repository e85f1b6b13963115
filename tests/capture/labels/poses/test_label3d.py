"""Label3D's labels and DANNCE's predictions."""

import numpy as np
import pytest
from scipy.io import savemat

from rigpose.errors import ConfigError
from tests.calib.formats.rigs import assert_same_cameras
from tests.capture.labels.poses.made import barrels, cells, label3d, read, walk

FRAMES = np.array([27, 72, 168, 230])


def skeleton(path, *names, pairs=((1, 2), (2, 3))):
    savemat(path, {"joint_names": cells(*names), "joints_idx": np.array(pairs), "color": np.ones((2, 4))})
    return path


class TestLabel3D:
    def test_labels_and_cameras_belong_together(self, tmp_path):
        rig, position = barrels(), walk(4, 5)
        position[1, 2] = np.nan
        path = label3d(tmp_path / "m.mat", rig, position, FRAMES)
        poses = read(path, size=(1280, 1024), subject="m1", rate_hz=100)
        np.testing.assert_allclose(poses.position_mm, position)
        assert_same_cameras(rig.cameras, poses.rig.cameras)
        assert np.isnan(poses.points2d[1, :, 2]).all() and np.nanmax(poses.reprojection_px()) < 1e-9
        np.testing.assert_array_equal(poses.frame, FRAMES)
        assert poses.subjects == ("m1",) and poses.rate_hz == 100
        assert any("add noise" in note for note in poses.notes)

    def test_joints_are_named_by_the_file_beside_or_by_the_user(self, tmp_path):
        path = label3d(tmp_path / "m.mat", barrels(), walk(4, 3), FRAMES)
        assert read(path).skeleton.joints == ("joint_0", "joint_1", "joint_2")
        skeleton(tmp_path / "mouse4_skeleton.mat", "a", "b", "c", "d")
        skeleton(tmp_path / "mouse3_skeleton.mat", "EarL", "EarR", "Snout")
        found = read(path).skeleton
        assert found.joints == ("EarL", "EarR", "Snout") and found.edges == ((0, 1), (1, 2)) and found.name == "mouse3"
        other = skeleton(tmp_path / "other.mat", "x", "y", "z")
        assert read(path, skeleton=other).skeleton.joints == ("x", "y", "z")

    def test_frames_come_in_the_order_of_time(self, tmp_path):
        position = walk(4, 3)
        path = label3d(tmp_path / "m.mat", barrels(), position, FRAMES[[2, 0, 3, 1]])
        poses = read(path)
        np.testing.assert_array_equal(poses.frame, FRAMES)
        np.testing.assert_allclose(poses.position_mm, position[[1, 3, 0, 2]])
        assert np.nanmax(poses.reprojection_px()) < 1e-9

    def test_2d_labels_with_an_error_of_their_own_are_not_called_exact(self, tmp_path):
        position = walk(4, 3)
        noisy = np.random.default_rng(0).normal(300, 5, (4, 6))
        path = label3d(tmp_path / "m.mat", barrels(), position, FRAMES, data_2d=noisy)
        assert not any("add noise" in note for note in read(path).notes)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"data_3d": np.ones((4, 9))}, "other 3D labels"),
            ({"data_3d": np.ones((4, 12))}, "not of 4 frames and 3 joints"),
            ({"data_2d": np.ones((3, 6))}, "not of 4 frames"),
            ({"data_2d": np.ones((4, 7))}, "2 columns a joint"),
        ],
    )
    def test_cameras_that_disagree(self, tmp_path, changed, says):
        path = label3d(tmp_path / "m.mat", barrels(), walk(4, 3), FRAMES, **changed)
        with pytest.raises(ConfigError, match=says) as error:
            read(path)
        assert "\n" not in str(error.value)

    def test_a_frame_that_is_labelled_twice(self, tmp_path):
        path = label3d(tmp_path / "m.mat", barrels(), walk(4, 3), FRAMES[[0, 1, 1, 2]])
        with pytest.raises(ConfigError, match="frame 72 twice"):
            read(path)

    def test_a_damaged_file_is_one_line(self, tmp_path):
        path = label3d(tmp_path / "m.mat", barrels(), walk(4, 3), FRAMES)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(ConfigError, match="no 3D poses that are known|no .mat file"):
            read(path)
        with pytest.raises(ConfigError, match="no .mat file that can be read"):
            read(path, format="label3d")


class TestDannce:
    def test_one_animal(self, tmp_path):
        position = walk(3, 4)
        savemat(tmp_path / "save_data_AVG.mat", {"pred": position.transpose(0, 2, 1), "sampleID": [[1, 11, 21]]})
        poses = read(tmp_path / "save_data_AVG.mat", subject="m3")
        np.testing.assert_allclose(poses.position_mm, position)
        np.testing.assert_array_equal(poses.frame, [1, 11, 21])
        assert poses.subjects == ("m3",) and poses.rig is None

    def test_two_animals(self, tmp_path):
        a, b = walk(3, 4, seed=1), walk(3, 4, seed=2)
        pred = np.stack([a, b], axis=1).transpose(0, 1, 3, 2)
        savemat(tmp_path / "save_data_AVG.mat", {"pred": pred, "sampleID": [[1, 11, 21]]})
        poses = read(tmp_path / "save_data_AVG.mat", subject="cage")
        np.testing.assert_allclose(poses.take(poses.subject == "cage_1").position_mm, b)
        assert poses.subjects == ("cage_0", "cage_1")

    def test_other_axes_are_refused(self, tmp_path):
        savemat(tmp_path / "s.mat", {"pred": np.ones((3, 4, 5)), "sampleID": [[1, 11, 21]]})
        with pytest.raises(ConfigError, match="frames x 3 x joints"):
            read(tmp_path / "s.mat")


@pytest.mark.data
def test_the_labelled_mouse(data_dir):
    poses = read(data_dir / "mouse6-dannce" / "label3d_mouse1.mat")
    assert poses.position_mm.shape == (81, 22, 3) and len(poses.rig) == 6 and poses.skeleton.name == "mouse22"
    off = poses.reprojection_px()
    assert np.isfinite(off).sum() == 10290 and np.nanmax(off) < 0.0005
    assert len(poses.skeleton.left_right) == 8
    assert (poses.frame[0], poses.frame[-1]) == (27, 17858)
