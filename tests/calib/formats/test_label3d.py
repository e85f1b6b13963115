"""Label3D's and DANNCE's .mat files, made here as MATLAB projects them."""

import numpy as np
import pytest
from scipy.io import savemat

from calib.convert import read_any
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, assert_same_cameras, check_of, rig_of
from tests.calib.scenes import cloud


class TestLabel3D:
    """MATLAB's worldToImage: [X 1] [r; t] K, distorted, pixels from 1."""

    def write(self, path, rig, points, radial=3, skew=0.0):
        n = len(rig)
        params, labels = np.empty((n, 1), object), np.empty((n, 1), object)
        for i, camera in enumerate(rig.cameras):
            k1, k2, p1, p2, k3 = np.pad(camera.dist, (0, 5 - len(camera.dist)))
            K = camera.K.T.copy()
            K[1, 0], K[2, :2] = skew, K[2, :2] + 1
            seen = points @ camera.R.T + camera.t
            xy = seen[:, :2] / seen[:, 2:]
            r2 = (xy**2).sum(-1, keepdims=True)
            bent = xy * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3)
            x, y = xy.T
            bent = bent + np.stack(
                [2 * p1 * x * y + p2 * (r2[:, 0] + 2 * x * x), p1 * (r2[:, 0] + 2 * y * y) + 2 * p2 * x * y], -1
            )
            px = (np.column_stack([bent, np.ones(len(bent))]) @ K)[:, :2]
            params[i, 0] = {"K": K, "RDistort": np.array([[k1, k2, k3][:radial]]), "TDistort": np.array([[p1, p2]]),
                            "r": camera.R.T, "t": camera.t[None]}  # fmt: skip
            px[0] = np.nan
            labels[i, 0] = {"data_2d": px.reshape(2, -1), "data_3d": points.reshape(2, -1)}
        names = np.empty((1, n), object)
        names[0] = [f"Camera{i}" for i in range(n)]
        savemat(path, {"params": params, "labelData": labels, "camnames": names})
        return path

    @pytest.mark.parametrize("radial", [2, 3])
    def test_two_or_three_radial_terms(self, tmp_path, radial):
        rig = rig_of(
            BARREL[:2] + (0.001, -0.002) + ((0.05,) if radial == 3 else (0.0,)),
            BARREL[:4],
            names=("Camera0", "Camera1"),
        )
        points = cloud(rig, 20, 200)
        back = read_any(self.write(tmp_path / "label3d.mat", rig, points, radial), size=(1280, 1024))
        assert_same_cameras(rig.cameras, back.rig.cameras)
        assert check_of(back).n == 2 * 19
        assert check_of(back).median_px < 1e-9

    def test_a_skew_is_kept_and_said(self, tmp_path):
        rig = rig_of(BARREL, BARREL)
        back = read_any(self.write(tmp_path / "label3d.mat", rig, cloud(rig, 20, 200), skew=-5.0))
        assert back.rig.cameras[0].K[0, 1] == -5
        assert check_of(back).median_px < 1e-9
        assert any("skew" in note and "Camera0 -5" in note for note in back.notes)

    def test_a_folder_of_one_camera_files_in_natural_order(self, tmp_path):
        rig = rig_of(*[BARREL] * 3)
        for number, camera in zip((1, 2, 10), rig.cameras, strict=True):
            K = camera.K.T.copy()
            K[2, :2] += 1
            k1, k2, p1, p2, k3 = camera.dist
            node = {"K": K, "RDistort": [k1, k2, k3], "TDistort": [p1, p2], "r": camera.R.T, "t": camera.t}
            savemat(tmp_path / f"hires_cam{number}_params.mat", node)
        back = read_any(tmp_path, size=(1280, 1024)).rig
        assert back.names == ("hires_cam1", "hires_cam2", "hires_cam10")
        assert_same_cameras(rig.cameras, back.cameras, names=False)

    def test_another_mat_file_is_one_line(self, tmp_path):
        savemat(tmp_path / "x.mat", {"a": 1})
        with pytest.raises(ConfigError, match="holds no cameras"):
            read_any(tmp_path / "x.mat")
        (tmp_path / "y.mat").write_bytes(b"nothing")
        with pytest.raises(ConfigError, match="no .mat file"):
            read_any(tmp_path / "y.mat")
