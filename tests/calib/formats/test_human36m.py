"""Human3.6M's cameras, in the files that others keep them in."""

import json

import cv2
import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import rig_of
from tests.calib.scenes import cloud


class TestHuman36m:
    """The intrinsics of one of the data set's cameras are public; its projection is that of its MATLAB code."""

    K = np.array([[1145.0494, 0, 512.5415], [0, 1143.7811, 515.4515], [0, 0, 1]])
    DIST = (-0.2070989, 0.2477752, -0.0014245, -0.0009757, -0.0030752)

    def document(self, subjects=("S1", "S9")):
        rig = rig_of((), (), names=("54138969", "other"))
        node = {"calibration_matrix": self.K.tolist(), "distortion": list(self.DIST)}
        poses = {c.name: {"R": c.R.tolist(), "t": c.t[:, None].tolist()} for c in rig.cameras}
        return rig, {"intrinsics": {n: node for n in rig.names}, "extrinsics": {s: poses for s in subjects}}

    def project(self, camera, points):
        k1, k2, p1, p2, k3 = self.DIST
        seen = points @ camera.R.T + camera.t
        xy = seen[:, :2] / seen[:, 2:]
        r2 = (xy**2).sum(-1)
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        tangential = p1 * xy[:, 1] + p2 * xy[:, 0]
        bent = xy * (radial + tangential)[:, None] + np.outer(r2, (p2, p1))
        return bent * self.K[[0, 1], [0, 1]] + self.K[:2, 2]

    def test_its_own_tangential_terms(self, tmp_path):
        rig, document = self.document()
        (tmp_path / "camera-parameters.json").write_text(json.dumps(document))
        back = read_any(tmp_path / "camera-parameters.json", pick="S9").rig
        assert back["54138969"].size == (1000, 1002)
        points = cloud(rig, 200, 900)
        for ours, theirs in zip(rig.cameras, back.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(points), self.project(ours, points), atol=1e-9)

    def test_opencv_with_the_same_five_numbers_is_off_by_a_pixel_in_the_corners(self):
        """Why the reader does not simply copy them."""
        rig, _ = self.document()
        camera = rig.cameras[0]
        corner = np.array([[0.0, 0.0]])
        _, ray = rig_of(self.DIST, self.DIST).cameras[0].rays(corner)
        point = camera.center_mm + 3000 * ray
        theirs = self.project(camera, point)
        copied = cv2.projectPoints(point, camera.rvec, camera.t, self.K, np.array(self.DIST))[0].reshape(-1, 2)
        assert 0.3 < np.linalg.norm(theirs - copied) < 3

    def test_the_labels_of_learnable_triangulation(self, tmp_path):
        rig, document = self.document()
        kind = np.dtype(
            [("R", np.float32, (3, 3)), ("t", np.float32, (3, 1)), ("K", np.float32, (3, 3)), ("dist", np.float32, 5)]
        )
        cameras = np.empty((2, 2), kind)
        for i, camera in enumerate(rig.cameras):
            cameras["R"][:, i], cameras["t"][:, i] = camera.R, camera.t[:, None]
            cameras["K"][:, i], cameras["dist"][:, i] = self.K, self.DIST
        table = np.zeros(5, [("subject_idx", np.int8), ("keypoints", np.float32, (17, 3))])
        labels = {"subject_names": ["S1", "S9"], "camera_names": list(rig.names), "action_names": ["A"],
                  "cameras": cameras, "table": table}  # fmt: skip
        np.save(tmp_path / "human36m-multiview-labels-GTbboxes.npy", np.array(labels, dtype=object))
        with pytest.raises(ConfigError, match="--pick one of S1, S9"):
            read_any(tmp_path / "human36m-multiview-labels-GTbboxes.npy")
        back = read_any(tmp_path / "human36m-multiview-labels-GTbboxes.npy", pick="S9").rig
        points = cloud(rig, 50, 500)
        for ours, theirs in zip(rig.cameras, back.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(points), self.project(ours, points), atol=2e-3)

    def test_a_plain_array_is_no_label_file(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros(3))
        with pytest.raises(ConfigError, match="no .npy file with a pickled value"):
            read_any(tmp_path / "x.npy", "human36m")

    def test_several_subjects_ask_for_one(self, tmp_path):
        (tmp_path / "c.json").write_text(json.dumps(self.document()[1]))
        with pytest.raises(ConfigError, match="--pick one of S1, S9"):
            read_any(tmp_path / "c.json")
