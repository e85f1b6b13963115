"""Real camera files of other programs; DeepFly3D's and Qualisys's have modules of their own."""

import numpy as np
import pytest

from calib.convert import for_live_use, read_any, reproject, writable, write_any
from calib.quality import judge
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import assert_same_cameras, check_of

pytestmark = pytest.mark.data


class TestDannce:
    def read(self, data_dir):
        return read_any(data_dir / "mouse6-dannce/label3d_mouse1.mat", size=(1152, 1024))

    def test_its_3d_labels_reproject_exactly(self, data_dir):
        back = self.read(data_dir)
        assert back.format == "label3d"
        assert check_of(back).median_px < 1e-9
        assert check_of(back).n > 10_000
        assert check_of(back).behind == 0

    def test_without_skew_it_is_good_and_reprojects_to_a_fiftieth_of_a_pixel(self, data_dir):
        back = self.read(data_dir)
        rig, _ = for_live_use(back.rig)
        assert judge(rig).verdict == "good"
        assert reproject(rig, back.views).median_px < 0.03
        rig.arrays()

    def test_written_it_comes_back_with_its_skew(self, data_dir, tmp_path):
        rig = self.read(data_dir).rig
        write_any(rig, tmp_path / "again.mat")
        assert_same_cameras(rig.cameras, read_any(tmp_path / "again.mat", size=(1152, 1024)).rig.cameras)


class TestBouguet:
    """The toolbox's own solution for OpenCV's stereo sample pictures."""

    @pytest.mark.parametrize(
        ("side", "focal", "center"), [("left", 533.00, (341.6, 234.3)), ("right", 536.98, (326.5, 249.3))]
    )
    def test_the_lens_and_its_corners(self, data_dir, side, focal, center):
        back = read_any(data_dir / f"stereo-checkerboard/Calib_Results_{side}.mat")
        camera = back.rig[side]
        assert back.format == "bouguet"
        assert camera.size == (640, 480)
        np.testing.assert_allclose(camera.K[0, 0], focal, atol=0.01)
        np.testing.assert_allclose(camera.K[:2, 2], center, atol=0.05)
        assert abs(camera.dist[0] + 0.289) < 0.01
        assert check_of(back).n == 14 * 54
        assert check_of(back).median_px < 0.25
        assert any("lens only" in note for note in back.notes)


REAL = {
    "human4-balance/calibration/Calib.qca.txt": (None, "qualisys"),
    "human4-static/S00_Calibration/Calib.qca.txt": (None, "qualisys"),
    "human4-balance/calibration/Calib_qualisys.toml": ("m", "pose2sim"),
    "charuco4-webcams/camera_array.toml": ("m", "caliscope"),
    "charuco4-corners/camera_array.toml": ("m", "caliscope"),
    "charuco4-webcams/config.toml": ("m", "caliscope"),
    "mouse4-sleap/calibration.toml": ("mm", "anipose"),
    "fly7-deepfly3d/df3d_reference.npz": (None, "deepfly3d"),
}


@pytest.mark.parametrize("file", REAL)
class TestEveryRealFile:
    def test_is_recognised(self, data_dir, file):
        units, name = REAL[file]
        back = read_any(data_dir / file, units=units)
        assert back.format == name
        assert back.rig.metadata["imported_from"] == name

    def test_goes_through_every_format_that_can_hold_it(self, data_dir, file, tmp_path):
        units, _ = REAL[file]
        rig = read_any(data_dir / file, units=units).rig
        went = set()
        for name in writable():
            path = tmp_path / f"{name}{'.yml' if name == 'opencv' else '.pkl' if name == 'deepfly3d' else ''}"
            try:
                write_any(rig, path, name)
            except ConfigError as error:
                assert "hold" in str(error), error
            else:
                went.add(name)
        assert {
            "rigpose",
            "anipose",
            "caliscope",
            "opencv",
            "qualisys",
            "easymocap",
            "panoptic",
            "jarvis",
            "label3d",
        } <= went


def test_caliscopes_own_points_try_its_cameras(data_dir):
    """2,175 corners of the 660 points that it triangulated."""
    back = read_any(data_dir / "charuco4-corners/camera_array.toml", units="m")
    check = check_of(back)
    assert check.n == 2175
    assert check.median_px < 1.2
    assert read_any(data_dir / "charuco4-webcams/camera_array.toml", units="m").check is None


def test_caliscopes_older_file_holds_the_same_cameras(data_dir):
    new = read_any(data_dir / "charuco4-webcams/camera_array.toml", units="m").rig
    old = read_any(data_dir / "charuco4-webcams/config.toml", units="m").rig
    assert_same_cameras(new.cameras, old.cameras)


def test_the_wrong_calibration_of_the_mouse_is_bad_and_names_its_cameras(data_dir):
    verdict = judge(read_any(data_dir / "mouse4-sleap/calibration.toml", units="mm").rig)
    assert verdict.verdict == "bad"
    assert verdict.findings[0].cameras == ("side", "top")


def test_sizes_of_a_file_without_them_are_asked_for(data_dir):
    back = read_any(data_dir / "mouse6-dannce/label3d_mouse1.mat")
    assert any("--size" in note for note in back.notes)
    np.testing.assert_array_equal([camera.size for camera in back.rig.cameras], 0)
