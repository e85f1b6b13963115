"""`rigpose calibrate check`: verdicts on files, with what was filmed beside them, and exit codes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks._rigs import board_scene, moved, point_scene
from calib.observations import BoardViews
from calib.rig import write_rig
from nodes.calibrate.check import run
from rigpose.errors import ConfigError
from rigpose.program import guarded
from tests.calib.scenes import ring


@pytest.fixture
def rig_file(tmp_path):
    path = tmp_path / "rig.toml"
    write_rig(ring(4), path)
    return path


@pytest.fixture(scope="module")
def scene():
    return board_scene(4, 4, 25)


def kept(scene, folder):
    rig = scene.rig
    views = BoardViews(scene.target_mm, rig.names, tuple(c.size for c in rig.cameras), np.arange(25), scene.px)
    views.save(folder / "views.npz")
    return str(folder / "views.npz")


def written(rig, folder, name="rig.toml"):
    write_rig(rig, folder / name)
    return folder / name


class TestVerdict:
    def test_good(self, rig_file, capsys):
        assert run(rig_file) == 0
        told = capsys.readouterr().out
        assert told.startswith(f"{rig_file}: good")
        assert "nothing is wrong that can be seen" in told

    def test_bad_ends_with_four(self, tmp_path, capsys):
        rig = ring(4)
        copy = rig.with_cameras([*rig.cameras[:3], replace(rig.cameras[2], name="cam3")])
        assert run(written(copy, tmp_path)) == 4
        assert "bad: cam2, cam3: are identical" in capsys.readouterr().out

    def test_below_the_floor(self, tmp_path, capsys):
        path = written(ring(3, height_mm=-500), tmp_path)
        assert run(path) == 0
        assert run(path, floor=True) == 4
        assert "upside down" in capsys.readouterr().out

    def test_a_rotation_that_is_none_is_a_verdict(self, tmp_path, capsys):
        path = tmp_path / "camera_array.toml"
        path.write_text(
            "[cameras.0]\nsize = [640, 480]\nmatrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]\n"
            "distortions = [0.0, 0.0, 0.0, 0.0, 0.0]\ntranslation = [0.0, 0.0, 1.0]\n"
            "rotation = [[1.0, 0.0, 0.0], [0.0, 1.3, 0.0], [0.0, 0.0, 1.0]]\n"
        )
        assert run(path, units="m") == 4
        told = capsys.readouterr().out
        assert ": bad" in told
        assert "rotation" in told

    @pytest.mark.parametrize(("name", "units"), [("missing.toml", None), ("anipose.toml", None)])
    def test_what_cannot_be_read_is_no_verdict(self, tmp_path, name, units, capsys):
        (tmp_path / "anipose.toml").write_text(
            "[cam_0]\nname = 'a'\nsize = [640, 480]\nmatrix = [[500.0, 0, 320.0], [0, 500.0, 240.0], [0, 0, 1.0]]\n"
            "distortions = [0.0]\nrotation = [0.0, 0.0, 0.0]\ntranslation = [0.0, 0.0, 0.0]\n"
        )
        assert guarded(lambda: run(tmp_path / name, units=units)) == 2
        assert capsys.readouterr().err.count("\n") == 1

    def test_json(self, rig_file, capsys):
        assert run(rig_file, json=True) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["verdict"] == "good"


class TestWithABoard:
    def test_agrees(self, scene, tmp_path, capsys):
        assert run(written(scene.rig, tmp_path), boards=kept(scene, tmp_path)) == 0
        told = capsys.readouterr().out
        assert "median residual in px: cam01 0." in told
        assert "% of the true one" in told

    def test_a_moved_camera(self, scene, tmp_path, capsys):
        path = written(moved(scene.rig, "cam03", turned_deg=2), tmp_path)
        assert run(path, boards=kept(scene, tmp_path)) == 4
        assert "bad: cam03: does not agree with the other cameras" in capsys.readouterr().out

    def test_pictures_need_a_board(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="add --board"):
            run(rig_file, boards=str(tmp_path))


class TestWithKeypoints:
    @staticmethod
    def saved(scene, folder):
        path = folder / "keypoints.npz"
        np.savez(
            path, cameras=np.array(scene.rig.names), px=scene.px, confidence=np.isfinite(scene.px[..., 0]).astype(float)
        )
        return str(path)

    def test_agree(self, tmp_path, capsys):
        scene = point_scene(3, 4)
        assert run(written(scene.rig, tmp_path), keypoints=self.saved(scene, tmp_path)) == 0
        assert "keypoints: 400 points" in capsys.readouterr().out

    def test_a_moved_camera_is_suspect(self, tmp_path, capsys):
        scene = point_scene(3, 4)
        path = written(moved(scene.rig, "cam02", turned_deg=2), tmp_path)
        assert run(path, keypoints=self.saved(scene, tmp_path)) == 0
        told = capsys.readouterr().out
        assert "suspect: cam02: does not agree" in told
        assert "confirm with a board" in told


@pytest.mark.data
class TestRealRigs:
    def test_the_mouse(self, data_dir, capsys):
        assert run(data_dir / "mouse4-sleap/calibration.toml", units="mm") == 4
        assert "bad: side, top: are identical" in capsys.readouterr().out

    def test_letterboxed_videos_are_named_until_it_is_said_how(self, data_dir, capsys):
        rig = data_dir / "human4-balance/calibration/Calib_qualisys.toml"
        videos = str(data_dir / "human4-balance/videos")
        run(rig, units="m", videos=videos, timing=False, floor=True)
        told = capsys.readouterr().out
        assert "cam01: its pictures are 1080x1920, the rig is calibrated for 1088x1920" in told
        assert run(rig, units="m", videos=videos, timing=False, floor=True, fits=["letterbox"]) == 0
        assert ": good" in capsys.readouterr().out
