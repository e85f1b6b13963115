"""The .mat file of MATLAB's Camera Calibration Toolbox."""

import cv2
import numpy as np
from scipy.io import savemat

from calib.convert import read_any
from calib.rig import Rig
from tests.calib.formats.rigs import BARREL, rig_of
from tests.calib.scenes import cloud


class TestBouguet:
    def test_a_stereo_pair(self, tmp_path):
        left, right = rig_of(BARREL, BARREL, names=("left", "right")).cameras
        R, T = right.R @ left.R.T, right.t - right.R @ left.R.T @ left.t
        document = {"om": cv2.Rodrigues(R)[0], "T": T[:, None], "nx": 1280, "ny": 1024}
        for camera in (left, right):
            k1, k2, p1, p2, k3 = camera.dist
            document |= {
                f"fc_{camera.name}": camera.K[[0, 1], [0, 1]][:, None], f"cc_{camera.name}": camera.K[:2, 2][:, None],
                f"kc_{camera.name}": np.array([[k1, k2, p1, p2, k3]]).T, f"alpha_c_{camera.name}": 0.0,
            }  # fmt: skip
        savemat(tmp_path / "Calib_Results_stereo.mat", document)
        back = read_any(tmp_path / "Calib_Results_stereo.mat")
        points = cloud(Rig((left, right)), 20, 300)
        in_left = points @ left.R.T + left.t
        for ours, theirs in zip((left, right), back.rig.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(in_left), ours.project(points), atol=1e-7)
            assert theirs.size == ours.size
