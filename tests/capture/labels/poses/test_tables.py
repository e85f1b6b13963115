"""3D poses in tables: anipose's, DeepLabCut's, and sleap-anipose's HDF5."""

import pickle
import sys
from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigpose.errors import ConfigError, MissingError
from tests.calib.formats.test_deepfly3d import Bomb
from tests.capture.labels.poses.made import (
    analysis,
    anipose_csv,
    barrels,
    columns_of,
    dlc_csv,
    dlc_hdf5,
    read,
    walk,
)

JOINTS = ("l-base", "l_x", "tip")


def with_holes(n=5, joints=3, seed=0):
    position = walk(n, joints, seed=seed)
    position[1, 2] = np.nan
    return position


class TestAnipose:
    def test_parts_may_have_any_name(self, tmp_path):
        position = with_holes()
        poses = read(anipose_csv(tmp_path / "run1.csv", JOINTS, position / 10), units="cm", rate_hz=200)
        np.testing.assert_allclose(poses.position_mm, position)
        assert poses.skeleton.joints == JOINTS and poses.subjects == ("run1",) and poses.rate_hz == 200
        assert poses.notes == ()

    def test_its_own_frame_is_said_or_turned_back(self, tmp_path):
        position, matrix = with_holes(), cv2.Rodrigues(np.array([0.3, -0.2, 1.1]))[0]
        path = anipose_csv(tmp_path / "run1.csv", JOINTS, position, matrix, (5.0, -3.0, 8.0))
        alone = read(path, units="mm")
        np.testing.assert_allclose(alone.position_mm, position @ matrix.T - (5.0, -3.0, 8.0))
        assert any("not the cameras'" in note for note in alone.notes)
        np.testing.assert_allclose(read(path, units="mm", rig=barrels()).position_mm, position)

    @settings(max_examples=25, deadline=None)
    @given(
        turn=st.tuples(*[st.floats(-3, 3)] * 3), centre=st.tuples(*[st.floats(-1e3, 1e3)] * 3), seed=st.integers(0, 99)
    )
    def test_any_frame_is_turned_back(self, tmp_path_factory, turn, centre, seed):
        position = with_holes(seed=seed)
        matrix = cv2.Rodrigues(np.array(turn))[0]
        path = anipose_csv(tmp_path_factory.mktemp("a") / "run.csv", JOINTS, position, matrix, centre)
        np.testing.assert_allclose(read(path, units="mm", rig=barrels()).position_mm, position, atol=1e-8)

    def test_the_unit_is_asked_for(self, tmp_path):
        with pytest.raises(ConfigError, match="--units"):
            read(anipose_csv(tmp_path / "run1.csv", JOINTS, with_holes()))

    def test_a_cell_that_is_no_number(self, tmp_path):
        path = anipose_csv(tmp_path / "run1.csv", JOINTS, np.full((2, 3, 3), 7.0))
        path.write_text(path.read_text().replace("7.0", "seven", 1))
        with pytest.raises(ConfigError, match="row 2: l-base_x is 'seven'"):
            read(path, units="mm")


class TestDeepLabCut:
    @pytest.mark.parametrize("write", [dlc_csv, dlc_hdf5, partial(dlc_hdf5, kind="fixed")])
    def test_one_animal(self, tmp_path, write):
        position, frames = with_holes(), np.arange(10, 15)
        columns = columns_of(JOINTS, "xyz")
        path = write(tmp_path / "run.csv", columns, frames, position.reshape(5, -1))
        poses = read(path, units="mm", subject="m1")
        np.testing.assert_allclose(poses.position_mm, position)
        np.testing.assert_array_equal(poses.frame, frames)
        assert poses.skeleton.joints == JOINTS and poses.subjects == ("m1",)

    @pytest.mark.parametrize("write", [dlc_csv, dlc_hdf5])
    def test_several_animals(self, tmp_path, write):
        a, b = with_holes(), with_holes(seed=3)
        columns = columns_of(JOINTS, "xyz", ("ann", "bob"))
        cells = np.concatenate([a.reshape(5, -1), b.reshape(5, -1)], axis=1)
        poses = read(write(tmp_path / "run.h5", columns, np.arange(5), cells), units="mm")
        np.testing.assert_allclose(poses.take(poses.subject == "bob").position_mm, b)
        assert poses.subjects == ("ann", "bob")

    def test_a_row_that_is_too_short(self, tmp_path):
        path = dlc_csv(tmp_path / "run.csv", columns_of(JOINTS, "xyz"), range(2), np.ones((2, 9)))
        path.write_text(path.read_text().rpartition(",")[0] + "\n")
        with pytest.raises(ConfigError, match="row 5: has 9 columns instead of 10"):
            read(path, units="mm")

    def test_names_of_columns_cannot_run_anything(self, tmp_path):
        import h5py

        path = dlc_hdf5(tmp_path / "run.h5", columns_of(JOINTS, "xyz"), range(2), np.ones((2, 9)))
        with h5py.File(path, "a") as file:
            bomb = pickle.dumps([(1, Bomb(tmp_path / "ran"))], protocol=0)
            file["df_with_missing"].attrs["non_index_axes"] = np.bytes_(bomb)
        with pytest.raises(ConfigError, match="pickle that is not read"):
            read(path, format="table", units="mm")
        assert not (tmp_path / "ran").exists()


class TestTracks:
    def write(self, path, position):
        import h5py

        with h5py.File(path, "w") as file:
            file["tracks"] = position
        return path

    def test_names_come_from_the_films_below(self, tmp_path):
        position = np.stack([with_holes(), with_holes(seed=1)], axis=1)
        path = self.write(tmp_path / "points3d.h5", position)
        poses = read(path, units="mm", subject="cage")
        assert poses.skeleton.joints == ("joint_0", "joint_1", "joint_2")
        np.testing.assert_allclose(poses.take(poses.subject == "cage_1").position_mm, position[:, 1])
        analysis(tmp_path / "top" / "a.analysis.h5", JOINTS, np.ones((2, 1, 3, 2)), np.ones((2, 1, 3)))
        assert read(path, units="mm").skeleton.joints == JOINTS

    def test_other_axes_are_refused(self, tmp_path):
        path = self.write(tmp_path / "points3d.h5", np.ones((2, 3, 4, 5)))
        with pytest.raises(ConfigError, match="frames x animals x joints x 3"):
            read(path, units="mm")


@pytest.mark.data
def test_the_mouse_of_sleap_anipose(data_dir):
    poses = read(data_dir / "mouse4-sleap" / "points3d.h5", units="mm")
    assert poses.position_mm.shape == (120, 15, 3)
    assert "nose" in [joint.lower() for joint in poses.skeleton.joints]
    assert len(poses.skeleton.edges) == 14


@pytest.mark.parametrize(
    "data", [b"{}", b"\x89HDF\r\n\x1a\n", b"scorer,a\rb\n\x00", b"a_x,a_y,a_z\n", b"", b"\xff" * 99]
)
def test_what_is_no_table_is_one_line(tmp_path, data):
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read(path, units="mm")
    assert "\n" not in str(error.value)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = dlc_hdf5(tmp_path / "run.h5", columns_of(JOINTS, "xyz"), range(2), np.ones((2, 9)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingError, match=r"h5py.*pip install"):
        read(path, units="mm", format="table")
    with pytest.raises(MissingError, match=r"h5py.*pip install"):
        read(path, units="mm")
