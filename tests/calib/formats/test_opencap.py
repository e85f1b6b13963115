"""OpenCap's sessions, made here as its own code writes them."""

import pickle

import numpy as np

from calib.convert import read_any
from tests.calib.formats.rigs import BARREL, assert_same_cameras, rig_of


class TestOpenCap:
    """A folder per camera with a pickle; height before width."""

    def write(self, folder, rig):
        for camera in rig.cameras:
            place = folder / "Videos" / camera.name
            place.mkdir(parents=True)
            node = {
                "distortion": camera.dist[None], "intrinsicMat": camera.K, "rotation": camera.R,
                "translation": camera.t[:, None], "rotation_EulerAngles": camera.rvec[:, None],
                "imageSize": np.array([[camera.size[1]], [camera.size[0]]]),
            }  # fmt: skip
            (place / "cameraIntrinsicsExtrinsics.pickle").write_bytes(pickle.dumps(node))
        return folder

    def test_a_session(self, tmp_path):
        rig = rig_of(BARREL, BARREL, names=("Cam0", "Cam1"), sizes=[(720, 1280), (1280, 720)])
        back = read_any(self.write(tmp_path / "session", rig))
        assert back.format == "opencap"
        assert_same_cameras(rig.cameras, back.rig.cameras)
        assert back.rig.metadata["world"] == "board"

    def test_one_camera(self, tmp_path):
        rig = rig_of(BARREL, BARREL, names=("Cam0", "Cam1"))
        self.write(tmp_path / "session", rig)
        back = read_any(tmp_path / "session/Videos/Cam1/cameraIntrinsicsExtrinsics.pickle")
        assert_same_cameras(rig.cameras[1:], back.rig.cameras)
