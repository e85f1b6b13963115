"""`rigpose calibrate convert` as a person types it."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from calib.convert import read_any, write_any
from calib.rig import Rig, read_rig
from nodes.cli import app
from rigpose.errors import ExitCode
from tests.calib.formats.rigs import BARREL, FISHEYE, assert_same_cameras, rig_of


def convert(*arguments):
    """Exit code and what stands on the screen."""
    result = CliRunner().invoke(app, ["calibrate", "convert", *map(str, arguments)])
    return result.exit_code, result.output


def test_there_and_back(tmp_path):
    rig = rig_of(BARREL, BARREL)
    write_any(rig, tmp_path / "Calib.qca.txt")
    code, told = convert(tmp_path / "Calib.qca.txt", "--to", tmp_path / "rig.toml")
    assert code == ExitCode.OK, told
    assert "Qualisys, 2 cameras" in told
    assert "verdict by itself: good" in told
    assert_same_cameras(rig.cameras, read_rig(tmp_path / "rig.toml").cameras)
    code, told = convert(tmp_path / "rig.toml", "--to", tmp_path / "calib", "--as", "easymocap")
    assert code == ExitCode.OK, told
    assert_same_cameras(rig.cameras, read_any(tmp_path / "calib").rig.cameras)


def test_without_a_target_it_only_looks(tmp_path):
    write_any(rig_of(BARREL, BARREL), tmp_path / "c.json", "panoptic")
    code, told = convert(tmp_path / "c.json", "--json")
    document = json.loads(told)
    assert code == ExitCode.OK
    assert document["format"] == "panoptic"
    assert document["check"] is None
    assert document["written"] is None
    assert [camera["name"] for camera in document["cameras"]] == ["cam0", "cam1"]


def test_a_bad_rig_is_not_written_unless_told(tmp_path):
    rig = rig_of(BARREL, BARREL)
    twice = Rig((rig.cameras[0], replace(rig.cameras[0], name="copy")))
    write_any(twice, tmp_path / "c.json", "panoptic")
    code, told = convert(tmp_path / "c.json", "--to", tmp_path / "rig.toml")
    assert code == ExitCode.BAD_VERDICT
    assert "identical" in told and "--write-bad" in told
    assert not (tmp_path / "rig.toml").exists()
    code, _ = convert(tmp_path / "c.json", "--to", tmp_path / "rig.toml", "--write-bad")
    assert code == ExitCode.BAD_VERDICT
    assert (tmp_path / "rig.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "out.toml", "--as", "pose2sim"), "fisheye lens"),
        (("--to", "out.zip"), "--as one of"),
        (("--from", "calibio"), "--from"),
        (("--size", "12by4"), "--size"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_any(rig_of(FISHEYE, FISHEYE, fisheye=[0, 1]), tmp_path / "cams.yml", "opencv")
    code, told = convert("cams.yml", *arguments)
    assert code == ExitCode.USAGE
    assert said in told
    assert len([line for line in told.splitlines() if "error" in line]) == 1
    assert "Traceback" not in told


@pytest.mark.data
def test_the_mouse_of_dannce_becomes_a_rig_for_live_use(data_dir, tmp_path):
    code, told = convert(
        data_dir / "mouse6-dannce/label3d_mouse1.mat", "--size", "1152x1024", "--to", tmp_path / "rig.toml"
    )
    assert code == ExitCode.OK, told
    assert "with the cameras as they stand in the file" in told
    assert all(camera.skew == 0 for camera in read_rig(tmp_path / "rig.toml").cameras)
    code, told = convert(data_dir / "mouse6-dannce/label3d_mouse1.mat", "--exact", "--json")
    assert json.loads(told)["check"]["median_px"] < 1e-9
