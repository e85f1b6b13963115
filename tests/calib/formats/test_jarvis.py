"""JARVIS' folders, made here as its own code writes and projects them."""

import cv2
import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import rig_of
from tests.calib.scenes import cloud


class TestJarvis:
    def write(self, folder, rig):
        folder.mkdir()
        for camera in rig.cameras:
            store = cv2.FileStorage(str(folder / f"{camera.name}.yaml"), cv2.FILE_STORAGE_WRITE)
            store.write("intrinsicMatrix", np.ascontiguousarray(camera.K.T))
            store.write("distortionCoefficients", camera.dist[None])
            store.write("R", np.ascontiguousarray(camera.R.T))
            store.write("T", camera.t[:, None])
            store.release()
        return folder

    def test_the_annotation_tools_projection(self, tmp_path):
        """points (R, T stacked) K, then k1 and k2 about the principal point, as its HybridNet projects."""
        rig = rig_of((-0.2, 0.05, 0, 0, 0), (-0.1, 0.02, 0, 0, 0))
        back = read_any(self.write(tmp_path / "set", rig), size=(1280, 1024)).rig
        points = cloud(rig, 20, 200)
        for camera in back.cameras:
            store = cv2.FileStorage(str(tmp_path / "set" / f"{camera.name}.yaml"), cv2.FILE_STORAGE_READ)
            K, D, R, T = (store.getNode(k).mat() for k in ("intrinsicMatrix", "distortionCoefficients", "R", "T"))
            px = np.column_stack([points, np.ones(20)]) @ np.vstack([R, T.T]) @ K
            off = px[:, :2] / px[:, 2:] - K[2, :2]
            r2 = ((off / [K[0, 0], K[1, 1]]) ** 2).sum(-1, keepdims=True)
            seen = off * (1 + (D[0, 0] + D[0, 1] * r2) * r2) + K[2, :2]
            np.testing.assert_allclose(camera.project(points), seen, atol=1e-9)

    def test_a_folder_without_its_key_is_none(self, tmp_path):
        (tmp_path / "a.yaml").write_text("x: 1\n")
        with pytest.raises(ConfigError, match="no cameras that rigpose can read"):
            read_any(tmp_path)
