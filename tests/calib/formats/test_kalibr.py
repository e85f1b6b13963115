"""Kalibr's camchains, made here as its own code writes them."""

import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError


class TestKalibr:
    CHAIN = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.277, 0.067, 0.0009, 0.0001]
  distortion_model: radtan
  intrinsics: [461.629, 460.152, 362.680, 246.049]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [0.99998854, 0.00216014, 0.00427195, -0.11003785]
  - [-0.00221074, 0.99992702, 0.01187697, 0.00039977]
  - [-0.00424598, -0.01188627, 0.99992034, -0.00057481]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: pinhole
  distortion_coeffs: [0.01, -0.002, 0.0005, -0.0001]
  distortion_model: equidistant
  intrinsics: [460., 461., 370., 250.]
  resolution: [752, 480]
  rostopic: /right/image_raw
"""

    def read(self, tmp_path, text=CHAIN):
        (tmp_path / "camchain.yaml").write_text(text)
        return read_any(tmp_path / "camchain.yaml")

    def test_the_chain_in_metres(self, tmp_path):
        back = self.read(tmp_path).rig
        assert back.names == ("cam0", "right")
        assert back.metadata["world"] == "camera:cam0"
        assert [camera.fisheye for camera in back.cameras] == [False, True]
        np.testing.assert_allclose(back["right"].t, [-110.03785, 0.39977, -0.57481])
        np.testing.assert_allclose(back["cam0"].center_mm, 0)
        # A left camera sees the right one on its right.
        assert back["right"].center_mm[0] > 100

    def test_poses_add_up_along_the_chain(self, tmp_path):
        third = self.CHAIN[self.CHAIN.index("cam1:") :].replace("cam1:", "cam2:").replace("/right/", "/third/")
        back = self.read(tmp_path, self.CHAIN + third).rig
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = back["right"].R, back["right"].t
        both = step @ step
        np.testing.assert_allclose(back["third"].t, both[:3, 3], atol=1e-6)
        np.testing.assert_allclose(back["third"].R, both[:3, :3], atol=1e-9)

    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            (
                "camera_model: pinhole\n  distortion_coeffs: [-0",
                "camera_model: omni\n  distortion_coeffs: [-0",
                "cam0.*omni",
            ),
            ("  T_cn_cnm1:", "  T_other:", "cam1: has no T_cn_cnm1"),
            ("[0.99998854,", "[0.9,", "cam1: T_cn_cnm1 is no rotation"),
            ("  resolution: [752, 480]\n  rostopic: /cam0", "  rostopic: /cam0", "cam0: has no resolution"),
            ("[461.629,", "[", r"cam0: intrinsics has shape \[3\]"),
        ],
    )
    def test_mistakes_name_the_camera_and_the_key(self, tmp_path, old, new, named):
        assert old in self.CHAIN
        with pytest.raises(ConfigError, match=named):
            self.read(tmp_path, self.CHAIN.replace(old, new))
