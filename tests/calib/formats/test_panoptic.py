"""CMU Panoptic's JSON, in centimetres."""

import json

import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, assert_same_cameras, rig_of


class TestPanoptic:
    def document(self, rig):
        nodes = [
            {
                "name": camera.name, "type": kind, "resolution": list(camera.size), "panel": 1, "node": i,
                "K": camera.K.tolist(), "distCoef": camera.dist.tolist(), "R": camera.R.tolist(),
                "t": [[value / 10] for value in camera.t],
            }
            for i, (camera, kind) in enumerate(zip(rig.cameras, ("vga", "hd", "hd"), strict=True))
        ]  # fmt: skip
        return {"calibDataSource": "160906_calib_norm", "cameras": nodes}

    def test_centimetres_and_the_hd_cameras(self, tmp_path):
        rig = rig_of(BARREL, BARREL, BARREL, names=("01_01", "00_00", "00_01"))
        (tmp_path / "calibration.json").write_text(json.dumps(self.document(rig)))
        back = read_any(tmp_path / "calibration.json")
        assert_same_cameras(rig.cameras[1:], back.rig.cameras)
        assert any("1 of type vga" in note for note in back.notes)
        assert read_any(tmp_path / "calibration.json", pick="vga").rig.names == ("01_01",)
        with pytest.raises(ConfigError, match="hd, vga"):
            read_any(tmp_path / "calibration.json", pick="kinect")
