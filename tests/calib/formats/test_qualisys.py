"""Qualisys's export: 1/64 px, axes, portrait cameras, cameras that see markers only."""

import cv2
import numpy as np
import pytest

from calib.convert import read_any, write_any
from calib.rig import Rig
from calib.turn import turned
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, assert_same_cameras
from tests.calib.scenes import look_at


def standing(n=3, size=(1088, 1920)):
    """Upright portrait cameras around a person, z up."""
    return Rig(
        tuple(
            look_at(f"cam0{i}", (3000 * np.cos(a), 3000 * np.sin(a), 1800), (0, 0, 900), 1680, size=size, dist=BARREL)
            for i, a in enumerate(np.linspace(0, 4, n))
        )
    )


def on_its_side(path, quarters, angle, rig=None):
    """The export of a rig whose cameras hang on their side, QTM showing them upright."""
    rig = rig or standing()
    write_any(Rig(tuple(turned(camera, -quarters) for camera in rig.cameras)), path, "qualisys")
    path.write_text(path.read_text().replace('viewrotation="0"', f'viewrotation="{angle}"'))
    return rig, path


class TestPortrait:
    @pytest.mark.parametrize(("quarters", "angle"), [(1, 90), (1, 270), (3, 90), (3, 270), (2, 180)])
    def test_turned_video_is_seen_as_by_upright_cameras(self, tmp_path, quarters, angle):
        """Whichever way the angle counts: the world's z says which quarter is meant."""
        rig, path = on_its_side(tmp_path / "Calib.qca.txt", quarters, angle)
        back = read_any(path, upright=True)
        assert_same_cameras(rig.cameras, back.rig.cameras)
        assert any(f"viewrotation {angle}" in note and "turned clockwise" in note for note in back.notes)

    def test_video_as_the_sensor_gave_it_is_the_default_and_is_said(self, tmp_path):
        rig, path = on_its_side(tmp_path / "Calib.qca.txt", 1, 90)
        back = read_any(path)
        assert back.rig.cameras[0].size == (1920, 1088)
        assert any("unturned pictures of 1920x1088" in note and "--upright" in note for note in back.notes)
        assert_same_cameras([turned(camera, -1) for camera in rig.cameras], back.rig.cameras)

    def test_an_angle_that_contradicts_the_rotation_is_refused(self, tmp_path):
        _, path = on_its_side(tmp_path / "Calib.qca.txt", 0, 90)
        with pytest.raises(ConfigError, match="cam00 has viewrotation 90, but its rotation says"):
            read_any(path, upright=True)


class TestCameras:
    def change(self, tmp_path, *changes):
        path = tmp_path / "Calib.qca.txt"
        write_any(standing(), path, "qualisys")
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
        return path

    def test_marker_cameras_and_idle_ones_are_left_out(self, tmp_path):
        path = self.change(
            tmp_path,
            ('model="none"', 'model="Oqus 700+"'),
            ('active="1" avg-residual="0" point-count="0" model="none"', 'active="0" model="none"'),
        )
        path.write_text(
            path.read_text().replace(
                'model="none" viewrotation="0" serial="cam02"', 'model="Miqus Hybrid" viewrotation="0" serial="cam02"'
            )
        )
        back = read_any(path)
        assert back.rig.names == ("cam02",)
        assert any("left out cam00: marker cameras" in note for note in back.notes)
        assert any("left out cam01: not active" in note for note in back.notes)

    def test_video_that_is_a_part_of_the_sensor(self, tmp_path):
        path = self.change(
            tmp_path,
            (
                '<fov_video left="0" top="0" right="1087" bottom="1919"/>',
                '<fov_video left="88" top="120" right="1087" bottom="1919"/>',
            ),
        )
        whole, part = standing().cameras[0], read_any(path).rig.cameras[0]
        assert part.size == (1000, 1800)
        point = np.array([10.0, 20, 900])
        np.testing.assert_allclose(part.project(point), whole.project(point) - [88, 120], atol=1e-6)

    def test_a_missing_number_names_camera_element_and_key(self, tmp_path):
        path = self.change(tmp_path, ("focalLengthU", "focal"))
        with pytest.raises(ConfigError, match="camera cam00: has no intrinsic focalLengthU"):
            read_any(path)

    def test_what_newer_exports_leave_out_is_zero(self, tmp_path):
        path = self.change(tmp_path, (' skew="0.0"', ""))
        assert_same_cameras(standing().cameras, read_any(path).rig.cameras)

    def test_a_world_with_cameras_below_zero_is_not_called_the_floor(self, tmp_path):
        assert read_any(self.change(tmp_path)).rig.metadata["world"] == "floor"
        path = tmp_path / "y_up.qca.txt"
        cameras = [look_at(f"c{i}", (x, 1800, -500 * i), (0, 900, 0), 1680) for i, x in enumerate((-2000, 2000))]
        write_any(Rig(tuple(cameras)), path, "qualisys")
        back = read_any(path)
        assert "world" not in back.rig.metadata
        assert any("below z = 0" in note for note in back.notes)

    def test_a_document_type_is_refused(self, tmp_path):
        path = self.change(tmp_path, ("<calibration", '<!DOCTYPE x [<!ENTITY a "b">]>\n<calibration'))
        with pytest.raises(ConfigError, match="document type"):
            read_any(path, "qualisys")


@pytest.mark.data
class TestTheBalanceRig:
    """Calib.qca.txt and what Pose2Sim made of it lie beside each other."""

    def both(self, data_dir):
        folder = data_dir / "human4-balance/calibration"
        return read_any(folder / "Calib.qca.txt").rig, read_any(folder / "Calib_qualisys.toml", units="m").rig

    def test_places_rotations_and_matrices_agree(self, data_dir):
        ours, theirs = self.both(data_dir)
        assert ours.names == theirs.names
        for a, b in zip(ours.cameras, theirs.cameras, strict=True):
            assert a.size == b.size
            np.testing.assert_allclose(a.K, b.K, atol=1e-6)
            # Pose2Sim's file has eight digits of a vector in radians and metres.
            np.testing.assert_allclose(a.R, b.R, atol=2e-7)
            np.testing.assert_allclose(a.t, b.t, atol=2e-5)

    def test_pose2sim_divides_the_distortion_by_64(self, data_dir):
        ours, theirs = self.both(data_dir)
        for a, b in zip(ours.cameras, theirs.cameras, strict=True):
            np.testing.assert_allclose(a.dist[:4], 64 * b.dist[:4], atol=1e-12)

    def test_a_reader_of_that_file_is_told(self, data_dir):
        folder = data_dir / "human4-balance/calibration"
        notes = read_any(folder / "Calib_qualisys.toml", units="m").notes
        assert any("divides that of Qualisys by 64" in note for note in notes)

    @pytest.mark.slow
    def test_board_images_say_that_it_should_not(self, data_dir):
        """Six pictures of a chessboard by cam02, calibrated by OpenCV alone."""
        ours, theirs = self.both(data_dir)
        folder = data_dir / "human4-balance/calibration/intrinsics/int_cam02_img"
        board = np.zeros((28, 3), np.float32)
        board[:, :2] = np.mgrid[0:4, 0:7].T.reshape(-1, 2) * 60
        found = []
        for file in sorted(folder.glob("*.jpg")):
            picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            ok, corners = cv2.findChessboardCornersSB(picture, (4, 7), flags=cv2.CALIB_CB_EXHAUSTIVE)
            if ok:
                found.append(corners)
        flags = cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST
        _, _, lens, _, _ = cv2.calibrateCamera([board] * len(found), found, (1088, 1920), None, None, flags=flags)
        k1, k2 = lens.ravel()[:2]
        assert abs(ours["cam02"].dist[0] - k1) < 0.015
        assert abs(ours["cam02"].dist[1] - k2) < 0.05
        assert abs(theirs["cam02"].dist[0] - k1) > 0.03

    def test_hung_on_its_side_it_still_agrees_through_viewrotation(self, data_dir, tmp_path):
        ours, theirs = self.both(data_dir)
        _, path = on_its_side(tmp_path / "side.qca.txt", 1, 90, ours)
        back = read_any(path, upright=True).rig
        for a, b in zip(back.cameras, theirs.cameras, strict=True):
            assert a.size == b.size
            np.testing.assert_allclose(a.K, b.K, atol=1e-6)
            np.testing.assert_allclose(a.t, b.t, atol=2e-5)
