"""Watching a recording: which camera moved, since when, and the refinement that is offered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchmarks._rigs import PointScene, make_rig, moved, point_scene
from calib.rig import Rig, read_rig
from nodes.cli import app
from tests.nodes.calibrate.test_refine import session

WINDOW, LEARN = 20, 5
N = 240
AT = 160


@pytest.fixture(scope="module")
def truth() -> Rig:
    return make_rig(5, 4)


@pytest.fixture(scope="module")
def recording(truth: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody runs into cam03 after 160 poses."""
    before = point_scene(5, 4, N, 12, rig=truth, outliers=0.0)
    after = point_scene(5, 4, N, 12, rig=moved(truth, "cam03", turned_deg=1.5), outliers=0.0)
    px = np.concatenate([before.px[:, :AT], after.px[:, AT:]], axis=1)
    scene = PointScene(truth, before.points_mm, px, before.outlier, before.sigma_px)
    return session(tmp_path_factory.mktemp("drift"), scene, truth)


def drift(*words: object) -> Result:
    return CliRunner().invoke(
        app, ["calibrate", "drift", *map(str, words), "--window", str(WINDOW), "--learn", str(LEARN)]
    )


def test_the_camera_that_moved_is_named_and_a_refinement_offered(recording: Path) -> None:
    result = drift(recording)
    assert result.exit_code == 4, result.output
    said = [line for line in result.stdout.splitlines() if "moved since" in line]
    assert len(said) >= 1 and said[-1].startswith("cam03 moved since frame")
    since = int(said[-1].split("frame ")[1].split()[0].rstrip(":"))
    assert abs(since - AT) <= WINDOW
    assert f"rigpose calibrate refine {recording}" in result.stdout


def test_the_refinement_is_made_from_what_came_after(recording: Path, truth: Rig, tmp_path: Path) -> None:
    result = drift(recording, "--refine-to", tmp_path / "new.toml")
    assert result.exit_code == 4, result.output
    new = read_rig(tmp_path / "new.toml")
    assert new.metadata["parent"] == truth.calibration_id and "since frame" in new.metadata["refined_from"]
    wanted = moved(truth, "cam03", turned_deg=1.5)["cam03"].R @ truth["cam01"].R.T
    found = new["cam03"].R @ new["cam01"].R.T
    off = np.degrees(np.arccos(np.clip((np.trace(found @ wanted.T) - 1) / 2, -1, 1)))
    assert off < 0.5


def test_a_rig_that_stands_still_is_steady(truth: Rig, tmp_path: Path) -> None:
    scene = point_scene(6, 4, N, 12, rig=truth)
    result = drift(session(tmp_path, scene, truth), "--json")
    assert result.exit_code == 0, result.output
    states = [json.loads(line) for line in result.stdout.splitlines()]
    assert states[-1]["learned"] and not states[-1]["moved"] and not states[-1]["suspected"]


def test_a_recording_that_is_too_short_says_how_long_it_must_be(truth: Rig, tmp_path: Path) -> None:
    scene = point_scene(6, 4, 30, 12, rig=truth)
    result = drift(session(tmp_path, scene, truth))
    assert result.exit_code == 1 and "is too short" in result.stderr and "100 are needed" in result.stderr


def test_a_rig_with_other_names_is_refused(truth: Rig, tmp_path: Path) -> None:
    from calib.rig import write_rig

    scene = point_scene(6, 4, 30, 12, rig=truth)
    other = Rig(tuple(replace(camera, name=camera.name.replace("cam", "view")) for camera in truth.cameras), {})
    write_rig(other, tmp_path / "other.toml")
    result = drift(session(tmp_path, scene, truth), "--rig", tmp_path / "other.toml")
    assert result.exit_code == 2 and "name them alike" in result.stderr
