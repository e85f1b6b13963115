"""A rig, started as a user starts it: real processes, real sockets, a recording that was drawn."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from capture.drawn import draw_recording
from capture.rundir import RunDirectory
from capture.session import SessionReader
from rigpose.summary import Summary

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
FRAMES = 60


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "drawn"
    draw_recording(folder, frames=FRAMES)
    return folder


class Rig:
    """A rig in a folder of its own, and what its processes said."""

    def __init__(self, folder: Path, drawn: Path, run: Path) -> None:
        self.folder, self.drawn, self.run = folder, drawn, run
        self.summary_file = folder / "summary.json"
        self.n_cameras = 4
        self.process: subprocess.Popen[str] | None = None

    def config(self, **changes: Any) -> Path:
        document: dict[str, Any] = {
            "version": 1,
            "name": "test",
            "rig": {"file": str(self.drawn / "rig.toml")},
            "cameras": {
                f"cam{i}": {"source": {"kind": "video", "file": str(self.drawn / f"cam{i}.mp4")}}
                for i in range(1, self.n_cameras + 1)
            },
            "engine": {"model": "discs"},
            "record": {"to": "recordings"},
            **changes,
        }
        file = self.folder / "rig.yaml"
        file.write_text(yaml.safe_dump(document))
        return file

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        command = [
            sys.executable, "-m", "nodes", "launch", str(self.config(**changes)), "--viewer", "none",
            "--summary", str(self.summary_file), *arguments,
        ]  # fmt: skip
        environment = {**os.environ, "RIGPOSE_RUN": str(self.run)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        return self.process

    def end(self, seconds: float = 90) -> tuple[int, str, str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def summary(self) -> Summary:
        return Summary.model_validate_json(self.summary_file.read_text())

    def status(self) -> dict[str, Any]:
        for run in self.run.glob("*/status.json"):
            return dict(json.loads(run.read_text()))
        return {"summary": {"sets": 0}, "nodes": {}}

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 90) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not condition(status := self.status()):
            assert self.process is not None and self.process.poll() is None, self.end()
            assert time.monotonic() < end, f"not within {seconds} s: {status['nodes']}"
            time.sleep(0.05)
        return status

    def interrupt(self, sign: signal.Signals = signal.SIGINT) -> None:
        assert self.process is not None
        self.process.send_signal(sign)

    def kill(self, node: str) -> int:
        pid = int(self.status()["nodes"][node]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    @property
    def session(self) -> SessionReader:
        (folder,) = (self.folder / "recordings").iterdir()
        return SessionReader(folder)


@pytest.fixture
def rig(tmp_path: Path, drawn: Path, short_folder: Path) -> Iterator[Rig]:
    result = Rig(tmp_path, drawn, short_folder)
    yield result
    if result.process is not None and result.process.poll() is None:
        result.process.kill()
        result.process.communicate()


@pytest.fixture
def pair(rig: Rig) -> Rig:
    """A rig of two cameras, which start sooner: where it is not about poses."""
    rig.n_cameras = 2
    return rig


def balanced(summary: Summary) -> None:
    for name, camera in summary.cameras.items():
        assert camera.balanced, (name, camera)
    assert not summary.notes


def test_lossless_every_frame_becomes_a_pose_and_the_truth_is_met(rig: Rig, drawn: Path) -> None:
    rig.start("--lossless")
    code, out, err = rig.end()
    assert code == 0, err
    summary = rig.summary()
    balanced(summary)
    assert (summary.sets, summary.poses) == (FRAMES, FRAMES)
    assert all(camera.used == FRAMES for camera in summary.cameras.values())
    assert summary.joints_solved_share is not None and summary.joints_solved_share > 0.98
    assert "60 poses in 60 sets" in out

    truth = np.load(drawn / "truth.npz")["position_mm"]
    session = rig.session
    assert session.closed and session.n_sets == FRAMES
    errors = []
    for pose_set in session.poses():
        frame = pose_set.video[0]
        assert frame is not None
        errors.append(np.linalg.norm(pose_set.subjects[0].position_mm - truth[frame[1]], axis=-1))
    error_mm = np.array(errors)
    assert np.nanmedian(error_mm) < 5 and np.nanpercentile(error_mm, 95) < 30


@pytest.mark.alone
def test_live_the_schedule_is_kept_and_a_loop_ends_at_the_sets_asked_for(rig: Rig) -> None:
    rig.start("--sets", "100", "--rate", "25")
    code, _, err = rig.end()
    assert code == 0, err
    summary = rig.summary()
    balanced(summary)
    assert summary.sets == 100 and summary.fps == pytest.approx(25, rel=0.1)
    assert summary.exposed_from == "schedule" and summary.latency_ms["exposed_to_published"].n == 100
    assert summary.sync.kind == "trigger" and summary.sync.spread_ms.max == 0


@pytest.mark.alone
def test_more_than_the_machine_can_do_the_newest_set_wins(rig: Rig) -> None:
    # The finder's tiles make each set cost several runs of the network: nothing is found in them.
    # At this rate a pause of the machine of 40 ms is two frames, so that the bound judges the queue.
    rig.start("--seconds", "4", "--rate", "50", "--set", "engine.tracker.found_share=1", "--set",
              "engine.tracker.max_residual_sigma=1e-6", "--set", "engine.finder={kind: tiles, tiles: 4}")  # fmt: skip
    code, _, err = rig.end()
    assert code == 0, err
    summary = rig.summary()
    balanced(summary)
    assert sum(camera.skipped.superseded for camera in summary.cameras.values()) > 0
    assert summary.lag_frames.max is not None and summary.lag_frames.max <= 3


def used(status: dict[str, Any], camera: str) -> int:
    return int(status["summary"]["cameras"][camera]["used"])


def test_a_killed_camera_is_missed_named_and_used_again(rig: Rig) -> None:
    rig.start("--seconds", "60")
    rig.until(lambda s: s["summary"]["sets"] > 20)
    rig.kill("cam2")
    back = rig.until(lambda s: s["nodes"]["cam2"]["deaths"] == 1 and s["nodes"]["cam2"]["state"] == "running")
    rig.until(lambda s: used(s, "cam2") > used(back, "cam2") + 10)
    rig.interrupt()
    code, _, err = rig.end()
    assert code == 130, err
    summary = rig.summary()
    balanced(summary)
    assert summary.cameras["cam2"].lost_upstream > 0, "the schedule went on without it"
    assert summary.cameras["cam1"].used > summary.cameras["cam2"].used
    sets = list(rig.session.poses())
    without = [s for s in sets if s.missing == ("cam2",)]
    assert without and all(s.subjects and s.subjects[0].measured.mean() > 0.5 for s in without[3:])
    assert all((s.subjects[0].views & 2 == 0).all() for s in without if s.subjects), "its bit stands nowhere"
    assert not sets[-1].missing, "it is used again"
    assert {e["name"] for e in rig.session.events()} >= {"node_died", "camera_silent", "camera_back"}


def test_a_killed_engine_comes_back_and_the_cameras_count_meanwhile(pair: Rig) -> None:
    pair.start("--seconds", "60")
    pair.until(lambda s: s["summary"]["sets"] > 20)
    pair.kill("engine")
    before = pair.until(lambda s: s["nodes"]["engine"]["deaths"] == 1)["summary"]["sets"]
    pair.until(lambda s: s["summary"]["sets"] > before + 10)
    pair.interrupt()
    code, _, err = pair.end()
    assert code == 130, err
    summary = pair.summary()
    for camera in summary.cameras.values():
        assert camera.balanced and camera.skipped.queue_full > 0
    assert summary.nodes["engine"]["restarts"] == 1


FAILING_ENGINE = """
import sys, threading, time
from pathlib import Path
mark = Path(MARK)
def break_it():
    while "engine.serve" not in " ".join(sys.orig_argv) or not hasattr(sys.modules.get("engine.pipeline"), "Pipeline"):
        time.sleep(0.01)
    pipeline = sys.modules["engine.pipeline"].Pipeline
    process = pipeline.process
    def failing(self, frames):
        if self._set_index > 20 and not mark.exists():
            mark.touch()
            raise RuntimeError("a driver went away")
        return process(self, frames)
    pipeline.process = failing
threading.Thread(target=break_it, daemon=True).start()
"""


def test_an_engine_that_fails_is_started_again_and_not_taken_for_the_end(
    pair: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAILING_ENGINE.replace("MARK", repr(str(tmp_path / "mark"))))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    pair.start("--seconds", "60")
    before = pair.until(lambda s: s["nodes"].get("engine", {}).get("deaths") == 1)["summary"]["sets"]
    pair.until(lambda s: s["summary"]["sets"] > before + 10)
    pair.interrupt()
    code, _, err = pair.end()
    assert code == 130, err
    summary = pair.summary()
    assert summary.nodes["engine"]["restarts"] == 1 and before > 0
    for name, camera in summary.cameras.items():
        assert camera.balanced, (name, camera)


def test_an_engine_that_comes_back_behind_the_last_frame_does_not_wait_for_ever(pair: Rig) -> None:
    pair.start(restart={"backoff_s": 2})
    pair.until(lambda s: s["summary"]["sets"] > 20)
    pair.kill("engine")
    code, _, err = pair.end()
    assert code == 0, err
    for name, camera in pair.summary().cameras.items():
        assert camera.balanced, (name, camera)


@pytest.mark.slow
def test_whoever_dies_and_however_often_each_frame_is_in_the_account(rig: Rig) -> None:
    chance = random.Random(1)
    process = rig.start("--seconds", "120", restart={"backoff_s": 0.1, "backoff_max_s": 0.5})
    rig.until(lambda s: s["summary"]["sets"] > 10)
    end = time.monotonic() + 6
    while time.monotonic() < end:
        try:
            rig.kill(chance.choice(["cam1", "cam2", "cam3", "cam1", "cam2", "engine", "recorder"]))
        except ProcessLookupError:  # it is dead already, which the status does not say yet
            time.sleep(0.05)
            continue
        time.sleep(chance.uniform(0.05, 1.5))
    with contextlib.suppress(ProcessLookupError):
        rig.kill("cam2")  # it comes back while the others are told to stop
    process.send_signal(signal.SIGINT)
    code, _, err = rig.end(40)
    assert code == 130, err
    summary = rig.summary()
    balanced(summary)
    assert sum(node["deaths"] for node in summary.nodes.values()) >= 5
    assert summary.recording is not None and summary.recording["closed"]
    kept = sum(session["poses"] for session in (summary.recording, *summary.recording["earlier"]))
    assert kept <= summary.sets + 20


def test_ctrl_c_ends_in_order_with_summary_and_closed_recording(pair: Rig) -> None:
    process = pair.start("--seconds", "60")
    pair.until(lambda s: s["summary"]["sets"] > 10)
    process.send_signal(signal.SIGINT)
    code, _, err = pair.end(20)
    assert code == 130 and "Traceback" not in err
    balanced(pair.summary())
    assert pair.session.closed
    assert not list(pair.run.glob("*/run.json")), "nobody finds a run that has ended"


def test_ctrl_c_while_everything_still_loads_does_not_wait_for_it(rig: Rig) -> None:
    process = rig.start("--seconds", "60")
    while not list(rig.run.glob("*/recorder.out")):  # its process exists, but has not said a word
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    code, _, err = rig.end(15)
    assert code == 130 and "Traceback" not in err
    assert not psutil.wait_procs(children, timeout=1)[1]
    assert not list(rig.run.glob("*/*.sock"))


def test_a_lost_terminal_ends_the_rig_in_order(pair: Rig) -> None:
    # Tests that run under nohup would hand on that it is ignored.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = pair.start("--seconds", "60")
    finally:
        signal.signal(signal.SIGHUP, before)
    pair.until(lambda s: s["summary"]["sets"] > 10)
    process.send_signal(signal.SIGHUP)
    code, _, _ = pair.end(30)
    assert code == 130
    balanced(pair.summary())
    assert pair.session.closed


def test_a_disk_that_fills_up_ends_the_recording_not_the_rig_and_is_told(pair: Rig) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        pair.start("--seconds", "3", "--rate", "60", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    code, _, err = pair.end()
    (line,) = [line for line in err.splitlines() if "error" in line]
    assert code == 1 and "the recording stopped" in line and str(pair.folder / "recordings") in line
    summary = pair.summary()
    assert summary.sets > pair.session.n_sets > 0, "poses went on, and what was recorded is readable"


def test_no_node_outlives_a_launch_that_was_killed(pair: Rig) -> None:
    process = pair.start("--seconds", "60")
    status = pair.until(lambda s: s["summary"]["sets"] > 5)
    pids = [node["pid"] for node in status["nodes"].values()]
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert not alive
    assert pair.session.n_sets >= 5, "what was recorded is readable"


def test_another_terminal_finds_the_run(pair: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.start("--seconds", "60")
    pair.until(lambda s: s["summary"]["sets"] > 5)
    monkeypatch.setenv("RIGPOSE_RUN", str(pair.run))
    assert RunDirectory.latest().is_running
    shown = subprocess.run(
        [sys.executable, "-m", "nodes", "status", "--once"], capture_output=True, text=True, timeout=20
    )
    assert shown.returncode == 0 and "engine" in shown.stdout and "running" in shown.stdout
    pair.interrupt()
    assert pair.end()[0] == 130


def test_the_server_side_needs_no_torch(pair: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "blocked"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'open3d', 'viser', 'openvino'):\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(blocker))
    pair.start("--lossless")
    code, _, err = pair.end()
    assert code == 0, err
    assert pair.summary().sets == FRAMES


def test_bad_input_is_one_line_of_the_process_too(rig: Rig) -> None:
    rig.start(engine={"modle": "discs"})
    code, out, err = rig.end()
    assert code == 2 and out == "" and err.startswith("rigpose: error: ") and err.count("\n") == 1
