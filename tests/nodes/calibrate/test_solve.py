"""From pictures to a rig file with a verdict: what the commands write, say and end with."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from calib.rig import Rig, read_rig, write_rig
from nodes.cli import app
from tests.nodes.calibrate import filmed

N = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed.film(tmp_path_factory.mktemp("film"), filmed.rig(3), filmed.poses(N))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIGPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def calibrate(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, words)])


def apart(rig: Rig) -> np.ndarray:
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    return np.linalg.norm(centers[:, None] - centers[None], axis=-1)


class TestAll:
    def test_finds_the_rig_and_says_so(self, folder: Path, tmp_path: Path) -> None:
        result = calibrate("all", folder, "--board", filmed.BOARD, "--to", tmp_path / "rig.toml")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert lines[0] in ("verdict: good", "verdict: suspect")
        assert lines[-1] == f"rig: {tmp_path / 'rig.toml'}" and f"report: {tmp_path / 'rig.html'}" in lines
        assert sum(line.startswith("hold a tape measure against this: cam") for line in lines) == 2
        rig = read_rig(tmp_path / "rig.toml")
        assert rig.names == ("cam1", "cam2", "cam3") and rig.metadata["world"] == "camera:cam1"
        assert np.allclose(apart(rig), apart(filmed.rig(3)), atol=2.0)
        assert all(camera.K[0, 0] == pytest.approx(filmed.FOCAL_PX, rel=0.01) for camera in rig.cameras)
        assert (tmp_path / "rig.html").stat().st_size > 1_000_000

    def test_json_says_the_same_and_nothing_else(self, folder: Path, tmp_path: Path) -> None:
        result = calibrate(
            "all", folder, "--board", filmed.BOARD, "--to", tmp_path / "rig.toml", "--json", "--no-report"
        )
        document = json.loads(result.stdout)
        assert document["verdict"] in ("good", "suspect") and document["file"] == str(tmp_path / "rig.toml")
        assert document["report"] is None and not (tmp_path / "rig.html").exists()
        assert [camera["name"] for camera in document["cameras"]] == ["cam1", "cam2", "cam3"]
        assert document["spread"]["rms_px"] < 0.5 and len(document["tape"]) == 2

    def test_kept_views_give_the_same_rig_again(self, folder: Path, tmp_path: Path) -> None:
        words = ("--board", filmed.BOARD, "--no-report")
        calibrate("all", folder, *words, "--to", tmp_path / "a.toml", "--keep-views", tmp_path / "views.npz")
        result = calibrate("all", tmp_path / "views.npz", *words, "--to", tmp_path / "b.toml")
        assert result.exit_code == 0
        assert read_rig(tmp_path / "a.toml").calibration_id == read_rig(tmp_path / "b.toml").calibration_id
        other = calibrate("all", tmp_path / "views.npz", "--board", "chessboard:9x6:30", "--to", tmp_path / "c.toml")
        assert other.exit_code == 2 and f"give --board {filmed.BOARD}" in other.stderr

    def test_cameras_that_share_no_moment_are_bad_and_named(self, folder: Path, tmp_path: Path) -> None:
        for k, name in enumerate(("cam1", "cam2")):
            (tmp_path / "film" / name).mkdir(parents=True)
            for f in range(k, N, 2):
                shutil.copy(folder / name / f"{f:04d}.png", tmp_path / "film" / name)
            # One picture of both without the board, so that numbers belong together.
            cv2.imwrite(str(tmp_path / "film" / name / "9999.png"), np.full((480, 640), 90, np.uint8))
        result = calibrate("all", f"{tmp_path}/film", "--board", filmed.BOARD, "--to", tmp_path / "r.toml")
        assert result.exit_code == 4, result.output
        assert "verdict: bad" in result.stdout and "cam1" in result.stdout and "cam2" in result.stdout
        assert not (tmp_path / "r.toml").exists() and (tmp_path / "r.html").exists()

    def test_frames_that_are_late_give_no_rig_file_unless_told_to(self, folder: Path, tmp_path: Path) -> None:
        for name in ("cam1", "cam2", "cam3"):
            (tmp_path / "film" / name).mkdir(parents=True)
            for f in range(N):
                late = 1 if name == "cam2" else 0
                shutil.copy(folder / name / f"{f:04d}.png", tmp_path / "film" / name / f"{f + late:04d}.png")
        words = ("all", tmp_path / "film", "--board", filmed.BOARD, "--no-report", "--to", tmp_path / "r.toml")
        result = calibrate(*words)
        assert result.exit_code == 4, result.output
        assert "verdict: bad" in result.stdout and "no rig file" in result.stdout
        assert not (tmp_path / "r.toml").exists()
        again = calibrate(*words, "--write-bad")
        assert again.exit_code == 4 and (tmp_path / "r.toml").exists() and "verdict: bad" in again.stdout


class TestExtrinsics:
    def test_holds_the_lenses_that_are_given(self, folder: Path, tmp_path: Path) -> None:
        write_rig(filmed.rig(3), tmp_path / "lenses.toml")
        result = calibrate(
            "extrinsics", folder, "--board", filmed.BOARD, "--given", tmp_path / "lenses.toml", "--to",
            tmp_path / "rig.toml", "--no-report",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        rig = read_rig(tmp_path / "rig.toml")
        assert all(np.array_equal(a.K, b.K) for a, b in zip(rig.cameras, filmed.rig(3).cameras, strict=True))
        assert np.allclose(apart(rig), apart(filmed.rig(3)), atol=1.0)

    def test_lenses_of_another_picture_size_ask_how_they_fit(self, folder: Path, tmp_path: Path) -> None:
        write_rig(filmed.rig(3, (1280, 960)), tmp_path / "lenses.toml")
        words = ("extrinsics", folder, "--board", filmed.BOARD, "--given", tmp_path / "lenses.toml", "--no-report")
        result = calibrate(*words, "--to", tmp_path / "rig.toml")
        assert result.exit_code == 2 and result.stderr.count("\n") == 1
        assert "pictures are 640x480 px, the rig says 1280x960 (--fit cam1=crop|scale|letterbox)" in result.stderr
        result = calibrate(*words, "--to", tmp_path / "rig.toml", "--fit", "crop")
        assert result.exit_code == 0, result.output


class TestIntrinsics:
    def test_finds_lenses_of_cameras_that_never_saw_the_board_together(self, folder: Path, tmp_path: Path) -> None:
        for k, name in enumerate(("cam1", "cam2")):
            (tmp_path / name).mkdir()
            for f in range(k, N, 2):
                shutil.copy(folder / name / f"{f:04d}.png", tmp_path / name / f"{name}_{f:04d}.png")
        result = calibrate(
            "intrinsics", "--camera", f"cam1={tmp_path / 'cam1'}", "--camera", f"cam2={tmp_path / 'cam2'}", "--board",
            filmed.BOARD, "--to", tmp_path / "lenses.toml", "--no-report",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        lenses = read_rig(tmp_path / "lenses.toml")
        assert all(camera.K[0, 0] == pytest.approx(filmed.FOCAL_PX, rel=0.01) for camera in lenses.cameras)

    def test_one_camera_is_enough(self, folder: Path, tmp_path: Path) -> None:
        result = calibrate(
            "intrinsics", folder / "cam1", "--board", filmed.BOARD, "--to", tmp_path / "l.toml", "--model", "pinhole8"
        )
        assert result.exit_code == 0, result.output
        assert len(read_rig(tmp_path / "l.toml").cameras[0].dist) == 8

    def test_too_few_views_are_bad(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "cam").mkdir()
        for f in range(2):
            shutil.copy(folder / "cam1" / f"{f:04d}.png", tmp_path / "cam")
        result = calibrate("intrinsics", tmp_path / "cam", "--board", filmed.BOARD, "--to", tmp_path / "l.toml")
        assert result.exit_code == 4 and "its lens cannot be found: 2 usable views" in result.stdout
        assert not (tmp_path / "l.toml").exists()


class TestInput:
    @pytest.mark.parametrize(
        ("words", "line"),
        [
            (["--board", "chess:9x6:30"], "is neither a board nor a file"),
            (["--board", filmed.BOARD, "--model", "thin"], "--model thin: 'thin' is not known (one of pinhole5"),
            (["--board", filmed.BOARD, "--model", "cam9=fisheye"], "--model cam9=...: names no camera of these"),
            (["--board", filmed.BOARD, "--given", "no.toml"], "no.toml: no such file"),
            (["--board", filmed.BOARD, "--to", "rig.yaml"], "rig.yaml: is no name for a rig file"),
            (["--board", filmed.BOARD, "--to", "no/rig.toml"], "no such folder"),
            (["--board", filmed.BOARD, "--camera", "cam1"], "--camera cam1: is not of the form NAME=PATH"),
            (["--board", filmed.BOARD, "--timestamps", "no.csv"], "no.csv: no such file"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_is_wrong_is_told_in_one_line(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = calibrate("all", folder, *words)
        assert result.exit_code == 2, result.output
        assert line in result.stderr and result.stderr.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_nothing_is_overwritten(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "rig.toml").write_text("mine")
        result = calibrate("all", folder, "--board", filmed.BOARD, "--to", tmp_path / "rig.toml")
        assert result.exit_code == 2 and "never overwrites another" in result.stderr
        assert (tmp_path / "rig.toml").read_text() == "mine"

    def test_a_board_that_is_nowhere_sends_to_the_doctor(self, folder: Path, tmp_path: Path) -> None:
        other = filmed.BOARD.replace("4X4", "6X6")
        result = calibrate("all", folder, "--board", other, "--to", tmp_path / "rig.toml")
        assert result.exit_code == 4 and f"found in none of {3 * N} pictures" in result.stderr
        assert f"rigpose calibrate doctor {folder} --board {other}" in result.stderr

    def test_without_the_extra_the_verdict_still_comes(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "plotly.offline", None)
        result = calibrate("all", folder, "--board", filmed.BOARD, "--to", tmp_path / "rig.toml")
        assert result.exit_code == 0 and "verdict:" in result.stdout and (tmp_path / "rig.toml").exists()
        assert result.stderr.count("\n") == 1 and 'pip install "rigpose[calibrate]"' in result.stderr
        assert not (tmp_path / "rig.html").exists()
