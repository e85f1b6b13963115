"""Rig files: ours there and back, foreign ones with their traps, mistakes in one line."""

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tomli_w

from calib import formats
from calib.rig import Rig, read_rig, write_rig
from rigpose.errors import ConfigError
from tests.calib.scenes import ring

POSE2SIM = """
[cam01]
name = "cam01"
size = [ 1088.0, 1920.0]
matrix = [ [ 1681.2, 0.0, 532.9], [ 0.0, 1681.0, 948.1], [ 0.0, 0.0, 1.0]]
distortions = [ -0.0007, 0.0021, 9.5e-06, 1.07e-05]
rotation = [ 1.6, 1.0, -0.4]
translation = [ 0.3211, 0.9563, 2.8907]
fisheye = false
[metadata]
adjusted = false
error = 0.0
"""


def written(tmp_path, text, name="rig.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


class TestOurFile:
    def rig(self):
        rig = ring(3, dist=(-0.1, 0.02, 0.001, 0.0003, 1 / 3), origin_mm=(1 / 3, 2e4, 0))
        special = replace(
            rig.cameras[1],
            serial="4103",
            sensor_size=(2000, 1500),
            roi_offset=(8, 16),
            binning=(2, 1),
            flip="horizontal",
            lens="f8",
        )
        fisheye = replace(rig.cameras[2], dist=np.array([0.1, 1e-17, 0, 0]), fisheye=True)
        return Rig(
            (rig.cameras[0], special, fisheye), {"world": "board", "working_distance_mm": 4000.0, "how": {"tool": "x"}}
        )

    def test_comes_back_to_the_last_bit(self, tmp_path):
        rig = self.rig()
        write_rig(rig, tmp_path / "rig.toml")
        back = read_rig(tmp_path / "rig.toml")
        assert back.calibration_id == rig.calibration_id
        for ours, theirs in zip(rig.cameras, back.cameras, strict=True):
            for key in ours.__dataclass_fields__:
                np.testing.assert_array_equal(getattr(ours, key), getattr(theirs, key), strict=True)
        assert back.metadata == {**rig.metadata, "calibration_id": rig.calibration_id}

    def test_is_never_overwritten(self, tmp_path):
        path = tmp_path / "rig.toml"
        write_rig(self.rig(), path)
        before = path.read_bytes()
        with pytest.raises(ConfigError, match="never overwritten"):
            write_rig(ring(2), path)
        assert path.read_bytes() == before

    def test_an_edited_file_says_so(self, tmp_path, caplog):
        path = tmp_path / "rig.toml"
        write_rig(ring(2), path)
        path.write_text(path.read_text().replace("cam0", "front"))
        with caplog.at_level(logging.WARNING):
            read_rig(path)
        assert "edited" in caplog.text

    def test_a_later_schema_is_refused(self, tmp_path):
        path = tmp_path / "rig.toml"
        write_rig(ring(2), path)
        path.write_text(path.read_text().replace("schema = 1", "schema = 2"))
        with pytest.raises(ConfigError, match="schema 2"):
            read_rig(path)

    def test_has_what_anipose_reads(self, tmp_path):
        import tomllib

        write_rig(ring(2), tmp_path / "rig.toml")
        document = tomllib.loads((tmp_path / "rig.toml").read_text())
        assert list(document) == ["cam_0", "cam_1", "metadata"]
        assert {"name", "size", "matrix", "distortions", "rotation", "translation"} <= set(document["cam_0"])


class TestForeignFiles:
    def test_pose2sim_in_metres(self, tmp_path):
        camera = read_rig(written(tmp_path, POSE2SIM), units="m").cameras[0]
        assert (camera.name, camera.size, len(camera.dist)) == ("cam01", (1088, 1920), 4)
        np.testing.assert_allclose(camera.t, [321.1, 956.3, 2890.7])

    def test_without_units_is_an_error_that_asks_for_them(self, tmp_path):
        with pytest.raises(ConfigError, match=r"rig.toml.*--units mm\|cm\|m.*Pose2Sim.*metres"):
            read_rig(written(tmp_path, POSE2SIM))

    def test_units_may_stand_in_the_file(self, tmp_path):
        rig = read_rig(written(tmp_path, POSE2SIM.replace("[metadata]", '[metadata]\nunits = "cm"')))
        np.testing.assert_allclose(rig.cameras[0].t, [3.211, 9.563, 28.907])

    def test_units_that_contradict_are_refused(self, tmp_path):
        path = written(tmp_path, POSE2SIM.replace("[metadata]", '[metadata]\nunits = "cm"'))
        with pytest.raises(ConfigError, match="says cm, --units says m"):
            read_rig(path, units="m")

    def test_anipose_keeps_its_order_and_names(self, tmp_path):
        rig = ring(3)
        document = {
            f"cam_{i}": {
                "name": camera.name, "size": list(camera.size), "matrix": camera.K.tolist(),
                "distortions": [0.1] + [0] * 4, "rotation": camera.rvec.tolist(),
                "translation": (camera.t / 10).tolist(),
            }
            for i, camera in enumerate(rig.cameras)
        }  # fmt: skip
        back = read_rig(written(tmp_path, tomli_w.dumps(document)), units="cm")
        assert back.names == rig.names
        np.testing.assert_allclose(back.cameras[2].center_mm, rig.cameras[2].center_mm, atol=1e-9)

    def test_caliscope_gives_its_rotation_as_a_matrix(self, tmp_path):
        camera = ring(2).cameras[0]
        table = {
            "size": [1280, 1024], "matrix": camera.K.tolist(), "distortions": [0.0] * 5, "ignore": False,
            "rotation": cv2.Rodrigues(camera.rvec)[0].tolist(), "translation": (camera.t / 1000).tolist(),
        }  # fmt: skip
        back = read_rig(written(tmp_path, tomli_w.dumps({"cameras": {"3": table}})), units="m").cameras[0]
        assert back.name == "cam_3"
        np.testing.assert_allclose(back.center_mm, camera.center_mm, atol=1e-9)


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("matrix = [ [ 1681.2, 0.0, 532.9]", "matrix = [ [ -1.0, 0.0, 532.9]", r"\[cam01\].*K is not"),
            ("distortions = [ -0.0007,", "distortions = [", r"\[cam01\].*3 distortion"),
            ("rotation = [ 1.6, 1.0, -0.4]", "rotation = [ 1.6, 1.0]", r"\[cam01\].*rvec"),
            ("size = [ 1088.0, 1920.0]", "size = [ 1088.5, 1920.0]", r"\[cam01\].*size"),
            ("rotation =", "rotaton =", "no cameras"),
            ("[cam01]", "[cam01", "not TOML"),
            ("translation = [ 0.3211,", "translation = [ nan,", "not finite"),
        ],
    )
    def test_names_the_file_and_the_table(self, tmp_path, old, new, named):
        assert old in POSE2SIM
        with pytest.raises(ConfigError, match=named) as caught:
            read_rig(written(tmp_path, POSE2SIM.replace(old, new)), units="m")
        assert "rig.toml" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ConfigError, match="no such rig file"):
            read_rig(tmp_path / "none.toml")

    def test_a_unit_that_is_none(self, tmp_path):
        with pytest.raises(ConfigError, match="inch"):
            read_rig(written(tmp_path, POSE2SIM), units="inch")

    def test_every_reader_has_its_module(self):
        assert all(formats.reader_of({}) is None for _ in formats.READERS)


@pytest.mark.data
class TestRealFiles:
    def test_the_balance_rig(self, data_dir):
        rig = read_rig(data_dir / "human4-balance/calibration/Calib_qualisys.toml", units="m")
        assert rig.names == ("cam01", "cam02", "cam03", "cam04")
        # A room: cameras some metres apart, looking at one place.
        assert 2000 < rig.working[1] < 6000

    def test_caliscope_webcams_stand_as_far_apart_as_their_own_tool_says(self, data_dir):
        rig = read_rig(data_dir / "charuco4-webcams/camera_array.toml", units="m")
        assert len(rig) == 4
        # cam 0-1, 0-2, 0-3, 1-2, 1-3, 2-3 in cm, as printed by caliscope.
        centers = np.stack([camera.center_mm for camera in rig.cameras])
        pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
        found = [np.linalg.norm(centers[a] - centers[b]) / 10 for a, b in pairs]
        np.testing.assert_allclose(found, [113, 55, 43, 92, 144, 63], atol=1)
