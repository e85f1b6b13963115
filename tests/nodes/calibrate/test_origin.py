"""`rigpose calibrate origin`: a new file with its world on the floor, or a refusal and no file."""

import json

import numpy as np
import pytest
import yaml

from calib.observations import BoardViews
from calib.rig import read_rig, write_rig
from nodes.calibrate.origin import read_points, run
from rigpose.errors import ConfigError, VerdictError
from rigpose.program import guarded
from tests.calib.test_origin import AXES, FLOOR_POINTS, TRUE, board, elsewhere, named, seen


@pytest.fixture
def rig_file(tmp_path):
    write_rig(elsewhere(TRUE), tmp_path / "rig.toml")
    return tmp_path / "rig.toml"


def points_file(folder, points):
    document = {
        p.name: {
            **{c: [float(x) for x in at] for c, at in p.px.items()},
            **({"world_mm": list(p.world_mm)} if p.world_mm else {}),
        }
        for p in points
    }
    (folder / "points.yaml").write_text(yaml.safe_dump(document))
    return folder / "points.yaml"


def views_file(folder, px=None, target=None, name="charuco:8x6:80:60:4X4_50"):
    px = seen(TRUE, FLOOR_POINTS) if px is None else px
    sizes = tuple(c.size for c in TRUE.cameras)
    views = BoardViews(board() if target is None else target, TRUE.names, sizes, np.array([7]), px[:, None], name)
    views.save(folder / "floor.npz")
    return str(folder / "floor.npz")


class TestBoard:
    NAME = "charuco:8x6:80:60:4X4_50"

    def test_writes_a_child(self, rig_file, tmp_path, capsys):
        to = tmp_path / "floor.toml"
        assert run(rig_file, to, board=self.NAME, pictures=views_file(tmp_path)) == 0
        told = capsys.readouterr().out
        assert "height above the floor in mm: cam0 1500, cam1 1950, cam2 2400, cam3 1500" in told
        new = read_rig(to)
        assert new.metadata["world"] == "floor"
        assert new.metadata["parent"] == read_rig(rig_file).calibration_id
        np.testing.assert_allclose(new.cameras[1].center_mm[2], TRUE.cameras[1].center_mm[2], atol=0.5)

    def test_upside_down_is_refused_and_nothing_is_written(self, rig_file, tmp_path):
        to = tmp_path / "floor.toml"
        mirrored = board()
        mirrored[:, 0] = mirrored[:, 0].max() - mirrored[:, 0]
        views = views_file(tmp_path, target=mirrored)
        with pytest.raises(VerdictError, match="upside down"):
            run(rig_file, to, board=self.NAME, pictures=views)
        assert not to.exists()
        assert guarded(lambda: run(rig_file, to, board=self.NAME, pictures=views)) == 4

    def test_a_moment_that_is_not_there(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="not found in frame 3"):
            run(rig_file, tmp_path / "floor.toml", board=self.NAME, pictures=views_file(tmp_path), moment=3)

    def test_a_board_without_a_direction_is_refused(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="turned by 180"):
            run(rig_file, tmp_path / "f.toml", board="chessboard:7x5:80", pictures=views_file(tmp_path))

    def test_another_board_in_the_file(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="holds views of"):
            run(rig_file, tmp_path / "f.toml", board="charuco:5x7:80:60:4X4_50", pictures=views_file(tmp_path))

    def test_nothing_is_overwritten(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="exists"):
            run(rig_file, rig_file, board=self.NAME, pictures=views_file(tmp_path))


class TestPoints:
    def test_axes(self, rig_file, tmp_path, capsys):
        to = tmp_path / "floor.toml"
        assert run(rig_file, to, points=points_file(tmp_path, named(TRUE, AXES)), json=True) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["world"] == "floor"
        np.testing.assert_allclose(read_rig(to).cameras[2].center_mm, TRUE.cameras[2].center_mm, atol=0.5)

    def test_axes_and_a_length_in_one_step(self, tmp_path):
        write_rig(elsewhere(TRUE, scale=0.5), tmp_path / "half.toml")
        to = tmp_path / "floor.toml"
        points = points_file(tmp_path, named(TRUE, AXES))
        assert run(tmp_path / "half.toml", to, points=points, lengths=["origin:x:800"]) == 0
        new = read_rig(to)
        np.testing.assert_allclose(new.cameras[2].center_mm, TRUE.cameras[2].center_mm, atol=1)
        assert new.metadata["parent"] == read_rig(tmp_path / "half.toml").calibration_id

    def test_cameras_and_a_tape(self, rig_file, tmp_path):
        apart = float(np.linalg.norm(TRUE.cameras[0].center_mm - TRUE.cameras[1].center_mm))
        to = tmp_path / "scaled.toml"
        assert run(rig_file, to, lengths=[f"cam0:cam1:{2 * apart}"]) == 0
        new = read_rig(to)
        assert np.linalg.norm(new.cameras[0].center_mm - new.cameras[1].center_mm) == pytest.approx(2 * apart)
        assert new.metadata["world"] == "camera:cam0"

    def test_nothing_is_said(self, rig_file, tmp_path):
        with pytest.raises(ConfigError, match="give --board, --points or --length"):
            run(rig_file, tmp_path / "f.toml")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "names no points"),
            ("origin: 3", "point origin.*has no cameras"),
            ("origin: {cam1: [1]}", "cam1 is not 2 numbers"),
            ("origin: {cam1: [1, 2], world_mm: [1, .nan, 2]}", "world_mm is not 3 numbers"),
            ("a: [", "neither YAML nor JSON"),
        ],
    )
    def test_a_file_that_cannot_be_used(self, tmp_path, text, words):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_points(tmp_path / "p.yaml")

    @pytest.mark.parametrize("text", ["a:b", "a:b:-3", "a::3", "a:b:x"])
    def test_a_length_that_is_none(self, rig_file, tmp_path, text):
        with pytest.raises(ConfigError, match="two names and mm"):
            run(rig_file, tmp_path / "f.toml", lengths=[text])
