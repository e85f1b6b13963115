"""2D points of several cameras and a rig become poses."""

from dataclasses import replace

import numpy as np
import pytest

from calib.rig import Rig, write_rig
from rigpose.errors import ConfigError
from tests.capture.labels.made import write
from tests.capture.labels.poses.made import (
    analysis,
    barrels,
    columns_of,
    dlc_csv,
    dlc_hdf5,
    read,
    seen,
    walk,
)

JOINTS = ("nose", "ear_l", "ear_r", "tail")
CAMERAS = ("top", "side", "back", "front")


def rig() -> Rig:
    base = barrels(4)
    return base.with_cameras(replace(camera, name=name) for camera, name in zip(base.cameras, CAMERAS, strict=True))


def truth(n=6):
    position = walk(n, 4, size_mm=100.0)
    return position, seen(rig(), position)


class TestFilms:
    def films(self, folder, px, sure, writer=dlc_csv, name="run1_{}DLC_resnet50_miceMay1shuffle1_50000.csv"):
        columns = columns_of(JOINTS, ("x", "y", "likelihood"))
        for v, camera in enumerate(CAMERAS):
            cells = np.concatenate([px[:, v], sure[:, v, :, None]], axis=-1).reshape(len(px), -1)
            writer(folder / name.format(camera), columns, range(len(px)), cells)
        return folder

    @pytest.mark.parametrize("writer", [dlc_csv, dlc_hdf5])
    def test_deeplabcut(self, tmp_path, writer):
        position, px = truth()
        sure = np.full(px.shape[:3], 0.9)
        poses = read(self.films(tmp_path / "pose", px, sure, writer), rig=rig(), rate_hz=50)
        np.testing.assert_allclose(poses.position_mm, position, atol=1e-6)
        np.testing.assert_allclose(poses.points2d, px)
        assert poses.rig.names == CAMERAS and poses.subjects == ("pose",) and poses.rate_hz == 50
        assert poses.source == "2D points of DeepLabCut" and (poses.confidence == 0.9).all()

    def test_a_view_that_is_wrong_is_not_believed(self, tmp_path):
        position, px = truth()
        wrong = px.copy()
        wrong[:, 2, 1] += 80
        poses = read(self.films(tmp_path / "pose", wrong, np.full(px.shape[:3], 0.9)), rig=rig())
        np.testing.assert_allclose(poses.position_mm, position, atol=1e-6)

    def test_what_the_network_was_not_sure_of_does_not_count(self, tmp_path):
        _, px = truth()
        sure = np.full(px.shape[:3], 0.9)
        sure[:, 1:, 3] = 0.2
        folder = self.films(tmp_path / "pose", px, sure)
        poses = read(folder, rig=rig())
        assert not poses.there[:, 3].any() and poses.there[:, :3].all()
        assert np.isnan(poses.points2d[:, 1:, 3]).all() and np.isfinite(poses.points2d[:, 0, 3]).all()
        assert read(folder, rig=rig(), min_confidence=0.1).there.all()
        with pytest.raises(ConfigError, match="no point of a confidence of 0.95"):
            read(folder, rig=rig(), min_confidence=0.95)

    def test_a_folder_a_camera_and_its_csv_beside(self, tmp_path):
        position, px = truth()
        sure = np.full(px.shape[:3], 0.9)
        for writer, ending in ((dlc_csv, "csv"), (dlc_hdf5, "h5")):
            self.films(tmp_path, px, sure, writer, "{}/points." + ending)
        np.testing.assert_allclose(read(tmp_path, rig=rig()).position_mm, position, atol=1e-6)

    def test_two_recordings_are_two_subjects(self, tmp_path):
        position, px = truth()
        sure = np.full(px.shape[:3], 0.9)
        self.films(tmp_path, px, sure, name="mon_{}.csv")
        self.films(tmp_path, px[:4], sure[:4], name="tue_{}.csv")
        poses = read(tmp_path, rig=rig())
        assert poses.subjects == ("mon", "tue") and len(poses) == 10
        np.testing.assert_allclose(poses.take(poses.subject == "tue").position_mm, position[:4], atol=1e-6)

    def test_sleap(self, tmp_path):
        position, px = truth()
        scores = np.full(px.shape[:3], 0.8)
        scores[0, 0, 0] = np.nan  # A person set that point.
        for v, camera in enumerate(CAMERAS):
            file = tmp_path / camera / "minimal_proofread.analysis.h5"
            analysis(file, JOINTS, px[:, v, None], scores[:, v, None], (f"track_{v}",))
        poses = read(tmp_path, rig=rig())
        np.testing.assert_allclose(poses.position_mm, position, atol=1e-6)
        assert poses.source == "2D points of SLEAP" and poses.confidence[0, 0, 0] == 1
        assert poses.skeleton.edges == ((0, 1),)

    def test_individuals_are_known_by_their_names(self, tmp_path):
        a, b = walk(5, 4), walk(5, 4, seed=7)
        names = ("ann", "bob")
        for v, camera in enumerate(CAMERAS):
            order = (a, b) if v % 2 else (b, a)
            points = np.stack([seen(rig(), one)[:, v] for one in order], axis=1)
            tracks = names if v % 2 else names[::-1]
            analysis(tmp_path / f"{camera}.analysis.h5", JOINTS, points, np.ones(points.shape[:3]), tracks)
        poses = read(tmp_path, rig=rig())
        np.testing.assert_allclose(poses.take(poses.subject == "bob").position_mm, b, atol=1e-6)

    def test_cameras_of_the_rig_that_have_no_film_are_left_out(self, tmp_path):
        position, px = truth()
        folder = self.films(tmp_path, px, np.full(px.shape[:3], 0.9), name="{}.csv")
        (folder / "back.csv").unlink()
        poses = read(folder, rig=rig())
        assert poses.rig.names == ("top", "side", "front")
        np.testing.assert_allclose(poses.position_mm, position, atol=1e-6)
        for name in ("side", "front"):
            (folder / f"{name}.csv").unlink()
        with pytest.raises(ConfigError, match="points of top, and a position takes two"):
            read(folder, rig=rig())


class TestWhatIsWrong:
    @pytest.fixture
    def folder(self, tmp_path):
        _, px = truth()
        return TestFilms().films(tmp_path / "pose", px, np.full(px.shape[:3], 0.9))

    def test_no_rig(self, folder):
        with pytest.raises(ConfigError, match="--rig FILE"):
            read(folder)

    def test_cameras_that_are_copies_of_each_other(self, folder):
        cameras = rig().cameras
        copy = rig().with_cameras([cameras[0], replace(cameras[0], name="side"), *cameras[2:]])
        with pytest.raises(ConfigError, match="--rig: is bad: .*identical"):
            read(folder, rig=copy)
        assert len(read(folder, rig=copy, accept_bad_rig=True)) == 6

    def test_a_rig_file_with_other_names(self, folder, tmp_path):
        write_rig(barrels(4), tmp_path / "rig.toml")
        with pytest.raises(ConfigError, match="is of none of the cameras cam0, cam1"):
            read(folder, rig=tmp_path / "rig.toml")

    def test_files_of_other_joints(self, folder):
        dlc_csv(folder / "run1_back.csv", columns_of("abcd", ("x", "y", "likelihood")), range(2), np.ones((2, 12)))
        next(folder.glob("run1_backDLC*")).unlink()
        with pytest.raises(ConfigError, match="other joints than the other cameras"):
            read(folder, rig=rig())

    def test_one_film_twice(self, folder):
        dlc_csv(folder / "run1-top.csv", columns_of(JOINTS, ("x", "y", "likelihood")), range(2), np.ones((2, 12)))
        with pytest.raises(ConfigError, match="another file have frame 0 of top"):
            read(folder, rig=rig())


class TestLabels:
    def project(self, folder, px):
        """labeled-data of DeepLabCut with a folder of pictures a camera."""
        for v, camera in enumerate(CAMERAS):
            head = [",".join((name, *cells)) for name, cells in zip(
                ("scorer", "bodyparts", "coords"),
                (["Ada"] * 8, [j for j in JOINTS for _ in "xy"], list("xy") * 4), strict=True)]  # fmt: skip
            rows = [
                f"labeled-data/run1_{camera}/img{10 * t:03d}.png," + ",".join(repr(float(c)) for c in px[t, v].ravel())
                for t in range(len(px))
            ]
            write(folder / f"run1_{camera}" / "CollectedData_Ada.csv", "\n".join([*head, *rows]) + "\n")
        return folder

    def test_pictures_of_one_moment_are_triangulated(self, tmp_path):
        position, px = truth()
        poses = read(self.project(tmp_path / "labeled-data", px), rig=rig(), subject="m1")
        np.testing.assert_allclose(poses.position_mm, position, atol=1e-6)
        np.testing.assert_array_equal(poses.frame, 10 * np.arange(6))
        assert poses.source == "2D points of DeepLabCut" and poses.subjects == ("m1",)
        assert (poses.confidence == 1).all()


@pytest.mark.data
class TestTheMouse:
    def test_its_committed_calibration_is_refused(self, data_dir):
        folder = data_dir / "mouse4-sleap"
        with pytest.raises(ConfigError, match="identical: one is a copy of the other"):
            read(folder, format="2d", rig=folder / "calibration.toml", rig_units="mm")

    def test_three_cameras_that_are_no_copies(self, data_dir):
        from calib.rig import read_rig

        folder = data_dir / "mouse4-sleap"
        some = read_rig(folder / "calibration.toml", "mm").select(("back", "mid", "top"))
        with pytest.raises(ConfigError, match="is of none of the cameras"):
            read(folder, format="2d", rig=some)


@pytest.mark.data
def test_a_standing_person_of_openpose(data_dir):
    folder = data_dir / "human4-static"
    found = folder / "S00_P00_T00_StaticTrial" / "pose-associated"
    poses = read(found, rig=folder / "S00_Calibration" / "Calib_qualisys.toml", rig_units="m")
    assert poses.position_mm.shape == (12, 25, 3) and len(poses.rig) == 4
    joints = {name: np.median(poses.position_mm[:, i], axis=0) for i, name in enumerate(poses.skeleton.joints)}
    # This calibration is off by about 12 px, which the residual shows and the shape of the person does not.
    assert np.nanmedian(poses.reprojection_px()) < 12
    assert 1600 < joints["head_top"][2] < 1800 and 20 < joints["left_heel"][2] < 80
    assert 150 < np.linalg.norm(joints["left_hip"] - joints["right_hip"]) < 300
    shins = [np.linalg.norm(joints[f"{side}_knee"] - joints[f"{side}_ankle"]) for side in ("left", "right")]
    assert abs(shins[0] - shins[1]) < 25


@pytest.mark.slow
def test_a_long_recording(tmp_path):
    position, px = truth(2500)
    sure = np.full(px.shape[:3], 0.9)
    wrong = px + np.random.default_rng(0).normal(0, 0.5, px.shape)
    poses = read(TestFilms().films(tmp_path / "pose", wrong, sure, dlc_hdf5), rig=rig())
    off = np.linalg.norm(poses.position_mm - position, axis=-1)
    assert poses.there.mean() > 0.99 and np.nanmedian(off) < 2
