"""Pictures of another size than the calibrated: keypoints need the fitted cameras, a new file keeps the lenses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks._rigs import make_rig, point_scene
from calib.document import rig_document
from calib.fit import fit_camera
from calib.rig import Rig, read_rig, write_rig
from capture.session import SessionInfo, SessionReader, SessionWriter
from nodes.calibrate.keypoints import sightings
from nodes.calibrate.recorded_rig import RecordedRig, rig_of_session
from nodes.cli import app
from rigpose import codec
from rigpose.errors import ConfigError
from rigpose.pose import to_message
from tests.capture import poses

ROOT = Path(__file__).parents[3]
"""Of the repository."""


@pytest.fixture(scope="module")
def calibrated() -> Rig:
    return make_rig(4, 3)


def letterboxed(rig: Rig) -> tuple[Rig, tuple[int, int]]:
    """The rig with pictures of its first camera that were made smaller, with bars above and below."""
    first = rig.cameras[0]
    size = (first.size[0] // 2, first.size[1] // 2 + 40)
    return rig.with_cameras([fit_camera(first, size, "letterbox"), *rig.cameras[1:]]), size


def recorded(folder: Path, rig: Rig, fit: str | None = "letterbox", told: Rig | None = None) -> Path:
    """A session whose session.json has the rig as calibrated, as a recorder that is started with the rig writes it."""
    pictures, _ = letterboxed(rig)
    scene = point_scene(4, 3, 40, 12, rig=pictures, outliers=0.0)
    camera: dict[str, Any] = {"source": {"kind": "video", "file": "a.mp4"}}
    config = {"cameras": {"cam01": {**camera, "fit": fit}, "cam02": camera, "cam03": camera}}
    with SessionWriter(folder, "walk", SessionInfo(rig=rig_document(rig), config=config)) as writer:
        for one in pictures.cameras:
            writer.add_frame(poses.picture(one.name, 0, size=one.size))
        if told is not None:
            message = {"rig": rig_document(told), "calibration_id": rig.calibration_id}
            writer.add_meta(codec.pack(message))
        for k in range(scene.px.shape[1]):
            subject = poses.subject(np.zeros((17, 3)), n_views=3)
            points = np.full((3, 17, 2), np.nan, np.float32)
            points[:, :12] = scene.px[:, k]
            sure = np.where(np.isfinite(points[..., 0]), np.float32(0.9), np.float32(0))
            pose = poses.pose_set(k, (replace(subject, points2d=points, confidence2d=sure),))
            stamps = replace(
                pose.stamps, exposed_ns=pose.stamps.exposed_ns[:3], received_ns=pose.stamps.received_ns[:3]
            )
            pose = replace(pose, cameras=rig.names, frames=pose.frames[:3], stamps=stamps)
            writer.add_pose(codec.pack(to_message(pose, codec.header("s", "engine", "e", k))))
    return writer.path


def alike(a: Rig, b: Rig) -> bool:
    return all(
        one.size == other.size and np.allclose(one.K, other.K) for one, other in zip(a.cameras, b.cameras, strict=True)
    )


def test_the_fit_of_the_recordings_config_is_applied(calibrated: Rig, tmp_path: Path) -> None:
    found = rig_of_session(SessionReader(recorded(tmp_path, calibrated)))
    assert found is not None
    assert alike(found.calibration, calibrated) and alike(found.pictures, letterboxed(calibrated)[0])


def test_what_the_engine_told_goes_before_the_config(calibrated: Rig, tmp_path: Path) -> None:
    told, _ = letterboxed(calibrated)
    found = rig_of_session(SessionReader(recorded(tmp_path, calibrated, fit=None, told=told)))
    assert found is not None and alike(found.pictures, told)


def test_what_it_told_before_it_saw_a_picture_does_not(calibrated: Rig, tmp_path: Path) -> None:
    found = rig_of_session(SessionReader(recorded(tmp_path, calibrated, told=calibrated)))
    assert found is not None and alike(found.pictures, letterboxed(calibrated)[0])


def test_pictures_of_another_size_that_nothing_explains_are_refused(calibrated: Rig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"camera cam01: pictures are .* the rig says"):
        rig_of_session(SessionReader(recorded(tmp_path, calibrated, fit=None)))


def test_refined_places_are_right_and_stand_with_the_calibrated_lenses(calibrated: Rig, tmp_path: Path) -> None:
    session = recorded(tmp_path, calibrated)
    words = ["calibrate", "refine", str(session), "--to", str(tmp_path / "new.toml"), "--no-report", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    # With the lens for the full picture the keypoints of the first camera are hundreds of px off.
    assert told["before"]["median_px"] < 2
    new = read_rig(tmp_path / "new.toml")
    assert alike(new, calibrated) and new.metadata["parent"] == calibrated.calibration_id


def test_check_holds_another_calibration_against_the_same_pictures(calibrated: Rig, tmp_path: Path) -> None:
    session = recorded(tmp_path, calibrated)
    write_rig(calibrated, tmp_path / "rig.toml")
    result = CliRunner().invoke(
        app, ["calibrate", "check", str(tmp_path / "rig.toml"), "--keypoints", str(session), "--json"]
    )
    assert result.exit_code == 0, result.output
    (evidence,) = json.loads(result.stdout)["evidence"]
    assert max(evidence["median_px"].values()) < 2


def test_another_calibration_is_fitted_as_the_recordings_own(calibrated: Rig) -> None:
    pictures, _ = letterboxed(calibrated)
    other = calibrated.with_cameras(
        replace(camera, K=camera.K @ np.diag([1.01, 1.01, 1.0])) for camera in calibrated.cameras
    )
    fitted = RecordedRig(pictures, calibrated).fitted(other)
    assert alike(fitted, letterboxed(other)[0])


@pytest.mark.data
@pytest.mark.process
@pytest.mark.slow
def test_a_recording_of_four_real_videos_of_which_two_were_made_smaller(
    data_dir: Path, models_dir: Path, tmp_path: Path, short_folder: Path
) -> None:
    command = [
        sys.executable, "-m", "nodes", "launch", str(ROOT / "examples" / "human4.yaml"),
        "--data", str(data_dir / "human4-balance"), "--model", str(models_dir / "movenet_lightning_coco17.onnx"),
        "--lossless", "--sets", "5", "--viewer", "none", "--quiet", "--record-to", str(tmp_path),
    ]  # fmt: skip
    ran = subprocess.run(
        command, env={**os.environ, "RIGPOSE_RUN": str(short_folder)}, capture_output=True, text=True, timeout=180
    )
    assert ran.returncode == 0, ran.stderr
    (session,) = tmp_path.iterdir()
    seen = sightings(session)
    assert seen.rig is not None and seen.calibration is not None
    assert [camera.size for camera in seen.calibration.cameras] == [(1088, 1920)] * 4
    assert [camera.size for camera in seen.rig.cameras] == [(1080, 1920)] * 2 + [(1088, 1920)] * 2
    # Matching the lab's stills gives a scale of 0.9926 and 7 rows of bar.
    old, new = seen.calibration.cameras[0].K, seen.rig.cameras[0].K
    assert new[0, 0] / old[0, 0] == pytest.approx(1080 / 1088)
    assert new[1, 2] + 0.5 == pytest.approx((old[1, 2] + 0.5) * 1080 / 1088 + 7.06, abs=0.1)
