"""What OpenCV's samples, ROS and users write of their cameras."""

import cv2
import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, rig_of


class TestOpenCV:
    def test_the_calibration_sample_with_a_lens_and_no_pose(self, tmp_path):
        store = cv2.FileStorage(str(tmp_path / "out_camera_data.xml"), cv2.FILE_STORAGE_WRITE)
        camera = rig_of(BARREL, BARREL).cameras[0]
        for key, value in (
            ("calibration_time", "Thu"),
            ("image_width", 1280),
            ("image_height", 1024),
            ("fisheye_model", 0),
        ):
            store.write(key, value)
        store.write("camera_matrix", camera.K)
        store.write("distortion_coefficients", camera.dist[:, None])
        store.release()
        back = read_any(tmp_path / "out_camera_data.xml")
        np.testing.assert_array_equal(back.rig.cameras[0].K, camera.K)
        np.testing.assert_array_equal(back.rig.cameras[0].dist, camera.dist)
        assert back.rig.cameras[0].size == (1280, 1024)
        assert any("lens only" in note for note in back.notes)

    def test_a_stereo_pair_in_two_files(self, tmp_path):
        left, right = rig_of(BARREL, BARREL).cameras
        R, T = right.R @ left.R.T, right.t - right.R @ left.R.T @ left.t
        store = cv2.FileStorage(str(tmp_path / "intrinsics.yml"), cv2.FILE_STORAGE_WRITE)
        for n, camera in ((1, left), (2, right)):
            store.write(f"M{n}", camera.K)
            store.write(f"D{n}", camera.dist[None])
        store.release()
        store = cv2.FileStorage(str(tmp_path / "extrinsics.yml"), cv2.FILE_STORAGE_WRITE)
        store.write("R", R)
        store.write("T", T[:, None] / 10)
        store.release()
        back = read_any(tmp_path / "intrinsics.yml", units="cm").rig
        assert back.names == ("left", "right")
        apart = np.linalg.norm(left.center_mm - right.center_mm)
        np.testing.assert_allclose(np.linalg.norm(back["right"].center_mm), apart)

    def test_ros_camera_info(self, tmp_path):
        (tmp_path / "head.yaml").write_text(
            "image_width: 640\nimage_height: 480\ncamera_name: head\ndistortion_model: equidistant\n"
            "camera_matrix:\n  rows: 3\n  cols: 3\n  data: [300., 0, 320, 0, 301, 240, 0, 0, 1]\n"
            "distortion_coefficients:\n  rows: 1\n  cols: 4\n  data: [0.1, 0.01, 0.001, 0]\n"
        )
        camera = read_any(tmp_path / "head.yaml").rig["head"]
        assert camera.fisheye
        assert camera.size == (640, 480)

    def test_a_pose_needs_its_unit(self, tmp_path):
        eye = "[[1,0,0],[0,1,0],[0,0,1]]"
        (tmp_path / "c.json").write_text(
            f'{{"K": [[900,0,320],[0,900,240],[0,0,1]], "dist": [0.1], "R": {eye}, "t": [1,2,3], "w": 640, "h": 480}}'
        )
        with pytest.raises(ConfigError, match=r"c.json, camera c.*--units mm\|cm\|m"):
            read_any(tmp_path / "c.json")
        camera = read_any(tmp_path / "c.json", units="m").rig["c"]
        np.testing.assert_allclose(camera.t, [1000, 2000, 3000])
        assert list(camera.dist) == [0.1, 0, 0, 0]

    @pytest.mark.parametrize(
        ("R", "named"),
        [
            ("[[1,0,0],[0,1,0],[0,0,-1]]", "R is mirrored"),
            ("[[1,0,0],[0,2,0],[0,0,1]]", "R is no rotation: it stretches by 100.0 %"),
            ("[[1,0],[0,1]]", "R has shape"),
            ('[["a",0,0],[0,1,0],[0,0,1]]', "R is not an array of numbers"),
        ],
    )
    def test_a_rotation_that_is_none_is_refused(self, tmp_path, R, named):
        text = f'{{"K": [[900,0,320],[0,900,240],[0,0,1]], "R": {R}, "t": [1,2,3], "units": "mm"}}'
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ConfigError, match=named):
            read_any(tmp_path / "c.json")
