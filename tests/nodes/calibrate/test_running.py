"""The rig that runs: real processes and sockets, heard by the commands that a user types beside it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
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


class Launched:
    """The virtual rig, launched as a user does, and ended as a user does."""

    def __init__(self, folder: Path, said: Path, *words: str) -> None:
        self.folder, self.said = folder, said
        line = [sys.executable, "-m", "nodes", "launch", "--viewer", "none", "--quiet", "--no-record", *words]
        with open(said, "wb") as output:
            self.process = subprocess.Popen(line, stdout=output, stderr=subprocess.STDOUT)
        # As a shell does: a rig that has ended and that nobody waits for would seem to run.
        threading.Thread(target=self.process.wait, daemon=True).start()

    def until(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(RigposeError, OSError, ValueError):
                if ready():
                    return
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < end, "the rig never ran"
            time.sleep(0.1)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@contextlib.contextmanager
def launched(folder: Path, *words: str) -> Iterator[Launched]:
    with tempfile.TemporaryDirectory(prefix="rp") as sockets, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIGPOSE_RUN", sockets)
        rig = Launched(Path(sockets), folder / "launch.txt", *words)
        try:
            yield rig
        finally:
            rig.end()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A rig that runs while several tests listen to it."""
    with launched(tmp_path_factory.mktemp("live"), "--live", "--rate", "15") as rig:

        def posing() -> bool:
            status = json.loads((RunDirectory.latest().path / "status.json").read_text())
            return bool(status["summary"]["sets"])

        rig.until(posing)
        yield rig


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "nodes", "calibrate", *map(str, words)]


def calibrate(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=180)


def test_every_pose_of_a_lossless_run_is_heard_and_the_rig_with_it(tmp_path: Path) -> None:
    """Listening begins before the first pose, and the time counts from there, however long the nodes take."""
    with launched(tmp_path, "--lossless", "--sets", "60") as rig:
        rig.until(lambda: RunDirectory.latest().is_running)
        with Heard(RunDirectory.latest()) as heard:
            poses = [pose for pose in heard.poses(None) if pose is not None]
    assert [pose.sync.tick for pose in poses] == list(range(60))
    assert heard.rig is None or heard.rig.pictures.names == poses[0].cameras


@pytest.mark.usefixtures("live")
def test_keypoints_of_a_live_rig_belong_to_its_cameras() -> None:
    seen = sightings("running", seconds=2)
    assert seen.rig is not None and seen.calibration is not None and seen.cameras == seen.rig.names
    assert seen.calibration.calibration_id == seen.rig.calibration_id
    assert seen.px.shape[1] >= 3 and (np.diff(seen.time_s) > 0).all()
    # Heard pixels are where the heard cameras see the subject: refined or not, the residual is small.
    assert np.isfinite(seen.px).all(axis=-1).mean() > 0.5


def test_refine_of_the_running_rig_names_its_parent(live: Launched, tmp_path: Path) -> None:
    result = calibrate("refine", "running", "--seconds", 4, "--to", tmp_path / "new.toml", "--no-report")
    assert result.returncode in (0, 4), result.stderr
    assert "keypoints: median" in result.stdout and "moved" in result.stdout
    if result.returncode == 0:
        new = read_rig(tmp_path / "new.toml")
        assert new.metadata["parent"] and str(live.folder) in new.metadata["refined_from"]


@pytest.mark.usefixtures("live")
def test_drift_of_a_rig_that_stands_still_sees_no_camera_move() -> None:
    # Until Ctrl-C, so that a busy machine only takes longer to learn.
    watching = subprocess.Popen(
        command("drift", "running", "--window", 20, "--learn", 4), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        said: list[str] = []
        while not said or "no camera moved" not in said[-1]:
            assert (line := watching.stdout.readline()), (said, watching.communicate())
            said.append(line)
        assert "learning how the residuals are" in said[0]
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
        watching.communicate()
    assert watching.returncode == 130 and "Traceback" not in err
    assert "no camera moved" in out and out.count(" px\n") == 4, "the last word, and how sure it is of each camera"
    # The time counts from the first pose that can be judged; that was too short, which is told with what is needed.
    result = calibrate("drift", "running", "--seconds", 1)
    assert result.returncode == 1 and "is too short" in result.stderr and "600 are needed" in result.stderr
