"""OpenMonkeyStudio's batches."""

import numpy as np
import pytest
from scipy.io import savemat

from rigpose.errors import ConfigError
from tests.calib.formats.rigs import assert_same_cameras
from tests.capture.labels.poses.made import openmonkey, read, walk

FRAMES = np.array([3120, 3140, 3200])


@pytest.fixture
def batch(tmp_path):
    position = walk(3, 13)
    folder, rig = openmonkey(tmp_path, position / 1000, FRAMES)
    return folder, rig, position


def test_a_batch(batch):
    folder, rig, position = batch
    poses = read(folder, units="m")
    np.testing.assert_allclose(poses.position_mm, position)
    np.testing.assert_array_equal(poses.frame, FRAMES)
    assert_same_cameras(rig.cameras, poses.rig.cameras)
    assert np.nanmax(poses.reprojection_px()) < 1e-6, "y stands before x, and pictures were cut out"
    assert np.isfinite(poses.points2d[:, 0]).all() and np.isnan(poses.points2d[2, 1]).all()
    assert poses.skeleton.name == "macaque13" and poses.skeleton.joints[2] == "neck" and poses.skeleton.root == (2,)
    assert len(poses.skeleton.left_right) == 4 and poses.subjects == ("Batch9a",)


def test_nobody_says_its_unit(batch):
    with pytest.raises(ConfigError, match=r"--units mm\|cm\|m"):
        read(batch[0])


def test_without_the_labels_beside_it_is_3d_alone(batch):
    folder, _, position = batch
    (folder.parent / "Data.mat").unlink()
    poses = read(folder, units="m")
    np.testing.assert_allclose(poses.position_mm, position)
    assert poses.points2d is None and any("no 2D points" in note for note in poses.notes)


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("coords", "says"),
        [
            (np.ones((26, 3)), r"shape \[26, 3\]"),
            (np.ones((25, 4)), "25 rows, which are not 13"),
            (np.column_stack([np.arange(26), np.ones((26, 3))]), "rows 1 to 13 of coords are not of one frame"),
            (np.ones((26, 4)), "frame 1 twice"),
        ],
    )
    def test_positions(self, batch, coords, says):
        savemat(batch[0] / "coords_3D.mat", {"coords": coords})
        with pytest.raises(ConfigError, match=says):
            read(batch[0], units="m")

    def test_a_camera_without_a_lens(self, batch):
        path = batch[0] / "intrinsic.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[5:]))
        with pytest.raises(ConfigError, match="has no camera 18064162"):
            read(batch[0], units="m")

    def test_a_line_that_is_missing(self, batch):
        path = batch[0] / "camera.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        with pytest.raises(ConfigError, match="not five of each"):
            read(batch[0], units="m")

    def test_a_matrix_that_is_no_rotation(self, batch):
        path = batch[0] / "camera.txt"
        lines = path.read_text().splitlines(keepends=True)
        lines[6] = lines[5]
        path.write_text("".join(lines))
        with pytest.raises(ConfigError, match="camera 18064162"):
            read(batch[0], units="m")
