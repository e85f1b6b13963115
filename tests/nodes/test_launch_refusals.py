"""What launch refuses before it starts anything: one line on standard error, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from calib.rig import read_rig, write_rig
from capture.drawn import draw_recording
from nodes.cli import app

Refused = Callable[..., Result]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "drawn"
    draw_recording(folder, frames=2)
    return folder


@pytest.fixture
def refused(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Launch a rig, which must not start."""
    monkeypatch.setenv("RIGPOSE_RUN", str(tmp_path / "run"))

    def launch(*arguments: str, **changes: Any) -> Result:
        cameras = {f"cam{i}": {"source": {"kind": "video", "file": str(drawn / f"cam{i}.mp4")}} for i in range(1, 5)}
        document = {
            "version": 1,
            "rig": {"file": str(drawn / "rig.toml")},
            "cameras": cameras,
            "engine": {"model": "discs"},
            "record": {"to": "recordings"},
            **changes,
        }
        (tmp_path / "rig.yaml").write_text(yaml.safe_dump(document))
        summary = ["--summary", str(tmp_path / "summary.json")]
        result = CliRunner().invoke(
            app, ["launch", str(tmp_path / "rig.yaml"), "--viewer", "none", *summary, *arguments]
        )
        lines = result.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("rigpose: error: ") and result.stdout == "", result.output
        assert {path.name for path in tmp_path.iterdir()} & {"summary.json", "recordings", "run"} == set()
        return result

    return launch


BAD = {
    "a missing file": ({"rig": {"file": "absent.toml"}}, [], ["absent.toml", "no such"]),
    "a key that does not exist": ({"engine": {"modle": "discs"}}, [], ["rig.yaml", "engine.modle", "allowed are"]),
    "a key of the source": (
        {"cameras": {"cam1": {"source": {"kind": "video", "file": "a.mp4", "speed": 3}}}}, [],
        ["cameras.cam1", "speed"],
    ),
    "a kind of source": (
        {"cameras": {"cam1": {"source": {"kind": "camcorder"}}}}, [], ["camcorder", "video", "webcam"],
    ),
    "a video that is not there": (
        {"cameras": {"cam1": {"source": {"kind": "video", "file": "absent.mp4"}}}}, [], ["cam1", "absent.mp4"],
    ),
    "a camera that the rig does not know": (
        {"cameras": {"cam9": {"source": {"kind": "video", "file": "{drawn}/cam1.mp4"}}}}, [], ["cam9", "cam1, cam2"],
    ),
    "a model that is not there": ({}, ["--model", "absent.onnx"], ["absent.onnx"]),
    "a model that nobody knows": ({}, ["--model", "unheard"], ["unheard", "discs"]),
    "no model": ({"engine": {}}, [], ["engine.model", "--model"]),
    "a setting without a value": ({}, ["--set", "engine.threads"], ["--set", "a.b=value"]),
    "data that is not there": ({}, ["--data", "/absent"], ["/absent"]),
    "a runtime that does not exist": ({}, ["--set", "engine.runtime=warp"], ["rig.yaml", "engine.runtime", "onnx"]),
    "a world that is none": ({}, ["--set", "rig.world=moon"], ["rig.yaml", "rig.world", "floor"]),
    "a box of a camera that is none": (
        {}, ["--set", "engine.finder.boxes={cam7: [0, 0, 9, 9]}"], ["rig.yaml", "engine.finder.boxes", "cam7", "cam1"],
    ),
    "a summary that is a folder": ({}, ["--summary", "{drawn}"], ["drawn", "is a folder", "--summary"]),
    "a summary below a file": ({}, ["--summary", "{drawn}/rig.toml/a.json"], ["rig.toml", "not a folder", "--summary"]),
    "a recording below a file": ({"record": {"to": "{drawn}/rig.toml"}}, [], ["rig.toml", "not a folder", "record.to"]),
    "a variable that is not set": ({"rig": {"file": "${data}/rig.toml"}}, [], ["${data}", "--data"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_that_names_file_key_and_remedy(name: str, refused: Refused, drawn: Path) -> None:
    changes, arguments, words = BAD[name]
    arguments, changes = json.loads(json.dumps([arguments, changes]).replace("{drawn}", str(drawn)))
    result = refused(*arguments, **changes)
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr


def test_a_rig_file_without_units_asks_for_them(refused: Refused, drawn: Path, tmp_path: Path) -> None:
    lines = (drawn / "rig.toml").read_text().splitlines()
    file = tmp_path / "unitless.toml"
    file.write_text(
        "\n".join(line for line in lines if not line.startswith(("units", "format", "schema", "calibration_id")))
    )
    result = refused(rig={"file": str(file)})
    assert result.exit_code == 2 and "unitless.toml" in result.stderr and "units" in result.stderr


def test_pictures_of_another_size_are_refused_with_the_ways_to_fit(
    refused: Refused, drawn: Path, tmp_path: Path
) -> None:
    text = (drawn / "rig.toml").read_text().replace("640", "800", 1)
    (tmp_path / "other.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("calibration_id"))
    )
    result = refused(rig={"file": "other.toml"})
    assert result.exit_code == 2 and "letterbox" in result.stderr and "cam1" in result.stderr


def test_a_bad_rig_is_refused_before_anything_starts_with_the_worst_finding(
    refused: Refused, drawn: Path, tmp_path: Path
) -> None:
    whole = read_rig(drawn / "rig.toml")
    twin = replace(whole["cam1"], name="cam2")
    # What is only odd stands first in the file and must not hide what is wrong.
    odd = replace(whole["cam1"], name="cam3", K=whole["cam1"].K * [[1.4, 1, 1], [1, 1, 1], [1, 1, 1]])
    write_rig(type(whole)((odd, whole["cam1"], twin, whole["cam4"]), dict(whole.metadata)), tmp_path / "bad.toml")
    result = refused(rig={"file": "bad.toml"})
    assert result.exit_code == 4
    assert "bad.toml" in result.stderr and "identical" in result.stderr and "--accept-bad-rig" in result.stderr
