"""EasyMocap's pair of files, made here as its own code writes them."""

import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError


class TestEasyMocap:
    INTRI = """%YAML:1.0
---
names:
  - "01"
  - "2"
K_01: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [1000.5, 0.000000, 640.250000, 0., 1001.5, 360., 0.000000, 0.000000, 1.000000]
dist_01: !!opencv-matrix
  rows: 1
  cols: 5
  dt: d
  data: [-0.1, 0.02, 0.001, -0.002, 0.003]
K_2: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [900., 0., 320., 0., 900., 240., 0., 0., 1.]
dist_2: !!opencv-matrix
  rows: 5
  cols: 1
  dt: d
  data: [0., 0., 0., 0., 0.]
H_2: 480
W_2: 640
"""
    EXTRI = """%YAML:1.0
---
names:
  - "01"
  - "2"
""" + "".join(
        f"R_{n}: !!opencv-matrix\n  rows: 3\n  cols: 1\n  dt: d\n  data: [0.1, {y}, 0.3]\n"
        f"T_{n}: !!opencv-matrix\n  rows: 3\n  cols: 1\n  dt: d\n  data: [0.5, -1., 2.5]\n"
        for n, y in (("01", 0.2), ("2", -0.2))
    )

    def folder(self, tmp_path, intri=INTRI, extri=EXTRI):
        # Its own writer ends lines as Windows does.
        (tmp_path / "intri.yml").write_bytes(intri.replace("\n", "\r\n").encode())
        (tmp_path / "extri.yml").write_bytes(extri.replace("\n", "\r\n").encode())
        return tmp_path

    def test_names_with_a_leading_zero_and_metres(self, tmp_path):
        back = read_any(self.folder(tmp_path), size=(1280, 720))
        first, second = back.rig.cameras
        assert back.rig.names == ("01", "2")
        assert (first.size, second.size) == ((1280, 720), (640, 480))
        np.testing.assert_allclose(first.K[[0, 1, 0, 1], [0, 1, 2, 2]], [1000.5, 1001.5, 640.25, 360])
        np.testing.assert_allclose(first.dist, [-0.1, 0.02, 0.001, -0.002, 0.003])
        np.testing.assert_allclose(first.rvec, [0.1, 0.2, 0.3], atol=1e-15)
        np.testing.assert_allclose(first.t, [500, -1000, 2500])

    def test_one_of_the_files_stands_for_both(self, tmp_path):
        assert read_any(self.folder(tmp_path) / "extri.yml").format == "easymocap"

    def test_a_missing_size_is_said(self, tmp_path):
        assert any("no picture size for 01" in note for note in read_any(self.folder(tmp_path)).notes)

    def test_a_camera_without_pose_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"extri.yml, 2: has no R_2"):
            read_any(self.folder(tmp_path, extri=self.EXTRI.replace("R_2:", "Q_2:")))
