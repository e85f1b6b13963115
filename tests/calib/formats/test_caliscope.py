"""caliscope's TOML, made here as its own code writes it."""

import numpy as np
import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError


class TestCaliscope:
    """rotation_count turns pictures on its screen; its cameras are those of the video as it is."""

    TABLE = """[cameras.0]
cam_id = 0
size = [1280, 720]
rotation_count = 1
matrix = [[900.0, 0, 640.0], [0, 900.0, 360.0], [0, 0, 1]]
distortions = [0.1, 0, 0, 0, 0]
rotation = [0.1, 0.2, 0.3]
translation = [0.1, 0.2, 1.5]
"""

    def test_is_read_for_the_video_as_it_is_and_says_so(self, tmp_path):
        (tmp_path / "camera_array.toml").write_text(self.TABLE)
        back = read_any(tmp_path / "camera_array.toml", units="m")
        assert back.rig["cam_0"].size == (1280, 720)
        assert any("rotation_count of cam_0" in note for note in back.notes)

    def test_upright_gives_the_camera_of_the_turned_video(self, tmp_path):
        (tmp_path / "camera_array.toml").write_text(self.TABLE)
        plain = read_any(tmp_path / "camera_array.toml", units="m").rig["cam_0"]
        turned = read_any(tmp_path / "camera_array.toml", units="m", upright=True).rig["cam_0"]
        point = plain.center_mm + 1000 * plain.rays(np.array([[100.0, 50.0]]))[1]
        np.testing.assert_allclose(turned.project(point), [[720 - 1 - 50, 100]], atol=1e-9)

    def test_an_ignored_camera_is_left_out_and_an_unplaced_one_named(self, tmp_path):
        second = self.TABLE.replace("cameras.0", "cameras.1").replace("cam_id = 0", "cam_id = 1")
        unplaced = second.replace("rotation = [0.1, 0.2, 0.3]\n", "")
        (tmp_path / "a.toml").write_text(self.TABLE + unplaced + "ignore = true\n")
        assert read_any(tmp_path / "a.toml", units="m").rig.names == ("cam_0",)
        (tmp_path / "b.toml").write_text(self.TABLE + unplaced)
        with pytest.raises(ConfigError, match=r"cameras.1.*not placed"):
            read_any(tmp_path / "b.toml", units="m")
        (tmp_path / "c.toml").write_text(self.TABLE + second.replace("[0.1, 0.2, 0.3]", '"null"'))
        with pytest.raises(ConfigError, match=r"cameras.1.*not placed"):
            read_any(tmp_path / "c.toml", units="m")
