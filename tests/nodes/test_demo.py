"""The demo is a whole rig whose poses are held against the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from capture.session import SessionReader
from rigpose.summary import Summary

pytestmark = pytest.mark.process


def test_it_runs_anywhere_meets_the_truth_and_leaves_what_it_says(tmp_path: Path, short_folder: Path) -> None:
    environment = {**os.environ, "RIGPOSE_RUN": str(short_folder)}
    command = [sys.executable, "-m", "nodes", "demo", "--seconds", "4"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    out = tmp_path / "runs" / "demo"
    summary = Summary.model_validate_json((out / "summary.json").read_text())
    assert all(camera.balanced for camera in summary.cameras.values()) and not summary.notes
    assert summary.sets > 60 and summary.poses == summary.sets
    assert summary.mpjpe_mm is not None and summary.mpjpe_mm.mean is not None and summary.mpjpe_mm.mean < 30
    assert "error to the truth: mean" in ran.stdout
    picture = cv2.imread(str(out / "pose.png"))
    assert picture is not None and picture.std() > 10
    (session,) = (out / "recordings").iterdir()
    # The last moment may be one that not all cameras had yet: it is told and recorded, and is no set.
    recorded = [pose_set.status for pose_set in SessionReader(session).poses()]
    assert len(recorded) - recorded.count("incomplete") == summary.sets
