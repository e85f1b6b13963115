"""The rig that runs: real processes and sockets, heard by the commands that a user types beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from calib.rig import read_rig
from capture.rundir import RunDirectory
from nodes.calibrate.keypoints import Heard, sightings
from rigpose.errors import RigposeError

pytestmark = [pytest.mark.process, pytest.mark.slow]

Start = Callable[..., RunDirectory]


@pytest.fixture
def start(short_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """The virtual rig, launched as a user does; it ends with the test."""
    monkeypatch.setenv("RIGPOSE_RUN", str(short_folder))
    processes: list[subprocess.Popen[bytes]] = []

    def launch(*words: str) -> RunDirectory:
        command = [sys.executable, "-m", "nodes", "launch", "--viewer", "none", "--quiet", "--no-record", *words]
        with open(tmp_path / "launch.txt", "wb") as said:
            processes.append(subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT))
        # As a shell does: a rig that has ended and that nobody waits for would seem to run.
        threading.Thread(target=processes[-1].wait, daemon=True).start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(RigposeError):
                return RunDirectory.latest()
            assert processes[-1].poll() is None, (tmp_path / "launch.txt").read_text()
            time.sleep(0.1)
        raise AssertionError("the rig never ran")

    yield launch
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def calibrate(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nodes", "calibrate", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=180,
        env=dict(os.environ),
    )


def test_every_pose_of_a_lossless_run_is_heard_and_the_rig_with_it(start: Start) -> None:
    """Listening begins before the first pose, and the time counts from there, however long the nodes take."""
    run = start("--lossless", "--sets", "90")
    with Heard(run) as heard:
        poses = [pose for pose in heard.poses(None) if pose is not None]
    assert [pose.sync.tick for pose in poses] == list(range(90))
    assert heard.rig is None or heard.rig.pictures.names == poses[0].cameras


def test_keypoints_of_a_live_rig_belong_to_its_cameras(start: Start) -> None:
    start("--live")
    seen = sightings("running", seconds=4)
    assert seen.rig is not None and seen.calibration is not None and seen.cameras == seen.rig.names
    assert seen.calibration.calibration_id == seen.rig.calibration_id
    assert seen.px.shape[1] >= 10 and (np.diff(seen.time_s) > 0).all()
    # Heard pixels are where the heard cameras see the subject: refined or not, the residual is small.
    assert np.isfinite(seen.px).all(axis=-1).mean() > 0.5


def test_refine_of_the_running_rig_names_its_parent(start: Start, tmp_path: Path) -> None:
    run = start("--lossless")
    result = calibrate("refine", "running", "--seconds", 6, "--to", tmp_path / "new.toml", "--no-report")
    assert result.returncode in (0, 4), result.stderr
    assert "keypoints: median" in result.stdout and "moved" in result.stdout
    if result.returncode == 0:
        new = read_rig(tmp_path / "new.toml")
        assert new.metadata["parent"] and str(run.path) in new.metadata["refined_from"]


def test_drift_of_a_rig_that_stands_still_sees_no_camera_move(start: Start) -> None:
    start("--lossless")
    result = calibrate("drift", "running", "--seconds", 20, "--window", 20, "--learn", 4)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "learning how the residuals are" in result.stdout and "no camera moved" in result.stdout
    # Then it was watched too briefly, which is told with what is needed.
    result = calibrate("drift", "running", "--seconds", 1)
    assert result.returncode == 1 and "is too short" in result.stderr and "600 are needed" in result.stderr
