"""Why a board is not found, told in words that can be acted on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from nodes.cli import app
from tests.nodes.calibrate import filmed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed.film(tmp_path_factory.mktemp("film"), filmed.rig(2), filmed.poses(6))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGPOSE_CACHE", str(tmp_path / "cache"))


def doctor(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", "doctor", *map(str, words)])


def test_a_board_that_fits_is_well(folder: Path) -> None:
    result = doctor(folder, "--board", filmed.BOARD)
    assert result.exit_code == 0, result.output
    assert "cam1: found in 6 of 6 pictures" in result.stdout
    # Stills have no time, and that is said instead of a number.
    assert "time between cameras: not told" in result.stdout and "nothing is wrong here" in result.stdout


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("charuco:5x7:60:45:4X4_250", "columns and rows are swapped (7x5, not 5x7)"),
        ("charuco:7x5:60:45:4X4_250:inverted", "black and white are not exchanged"),
        ("charuco:7x5:60:45:5X5_250", "the dictionary is 4X4"),
    ],
)
def test_what_was_printed_is_named_once_for_all_cameras(folder: Path, told: str, words: str) -> None:
    result = doctor(folder, "--board", told, "--no-timing")
    assert result.exit_code == 4, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("  bad:")]
    assert line.startswith("  bad: cam1, cam2: what was printed is charuco:7x5:60:45:4X4_") and words in line


def test_mirrored_pictures_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cam1").mkdir()
    for file in (folder / "cam1").iterdir():
        cv2.imwrite(str(tmp_path / "cam1" / file.name), cv2.flip(cv2.imread(str(file)), 1))
    result = doctor(tmp_path / "cam1", "--board", filmed.BOARD, "--no-timing", "--json")
    assert result.exit_code == 4, result.output
    document = json.loads(result.stdout)
    (finding,) = document["findings"]
    assert finding["level"] == "bad" and finding["what"].startswith("its pictures are mirrored")
    assert document["diagnoses"]["cam1"]["best"]["mirrored"] is True


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    result = doctor(tmp_path / "nix", "--board", filmed.BOARD)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and "no such file or folder" in result.stderr
