"""The truth node says at each tick where the joints really are, and nothing else listens to it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from capture.control import ControlServer
from capture.pose_wire import META, TRUTH, PoseSubscriber
from capture.rundir import RunDirectory
from capture.session import SessionReader
from capture.virtual.world import World
from engine.config import SystemConfig
from nodes.truth import virtual_world
from rigpose import codec
from rigpose.errors import ConfigError
from rigpose.pose import PoseSet, SubjectPose
from rigpose.skeleton import Skeleton
from rigpose.stamps import now_ns
from rigpose.summary import Summary
from tests.capture.virtual.scenarios import scenario

RATE = 30.0
PERIOD = round(1e9 / RATE)


def config(folder: Path, **sources: dict) -> SystemConfig:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario(rate=RATE).model_dump(mode="json")))
    plain = {"kind": "virtual", "scenario": str(path)}
    cameras = {name: {"source": {**plain, **sources.get(name, {})}} for name in ("cam1", "cam2")}
    return SystemConfig.model_validate({"version": 1, "rig": {"file": "rig.toml"}, "cameras": cameras})


class TestWorld:
    def test_it_is_that_of_the_cameras(self, tmp_path: Path) -> None:
        world, rate = virtual_world(config(tmp_path))
        assert rate == RATE
        assert np.array_equal(world.pose_mm(2.0), World(scenario()).pose_mm(2.0))

    def test_their_seed_counts(self, tmp_path: Path) -> None:
        world, _ = virtual_world(config(tmp_path, cam1={"seed": 9}, cam2={"seed": 9}))
        assert np.array_equal(world.pose_mm(2.0), World(scenario(), 9).pose_mm(2.0))

    def test_cameras_in_different_worlds_have_no_truth(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="differ in scenario, seed or rate"):
            virtual_world(config(tmp_path, cam1={"seed": 9}))

    def test_a_real_rig_has_none(self, tmp_path: Path) -> None:
        cameras = {"a": {"source": {"kind": "webcam"}}}
        real = SystemConfig.model_validate({"version": 1, "rig": {"file": "rig.toml"}, "cameras": cameras})
        with pytest.raises(ConfigError, match="no virtual camera"):
            virtual_world(real)


@pytest.mark.process
class TestProcess:
    def start(self, folder: Path, run_dir: RunDirectory, *options: str) -> subprocess.Popen:
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config(folder).model_dump(mode="json", exclude_none=True)))
        command = [sys.executable, "-m", "nodes.truth", str(path), "--run-dir", str(run_dir.path), *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def listen(self, run_dir: RunDirectory, n: int, process: subprocess.Popen) -> tuple[list[dict], list[int], dict]:
        messages: list[dict] = []
        arrived: list[int] = []
        meta: dict = {}
        with PoseSubscriber(run_dir.endpoint("truth"), (TRUTH, META)) as subscriber:
            end = time.monotonic() + 30
            while (len(messages) < n or not meta) and time.monotonic() < end and process.poll() is None:
                if (message := subscriber.receive(0.2)) is None:
                    continue
                body = codec.unpack(message[1])
                codec.check_header(body)
                if message[0] == META:
                    meta = body
                else:
                    messages.append(body)
                    arrived.append(now_ns())
        return messages, arrived, meta

    def test_each_tick_has_its_true_pose(self, tmp_path: Path, short_folder: Path) -> None:
        run_dir = RunDirectory.create("s", ("cam1", "cam2"), short_folder / "run")
        start_ns = now_ns() + 200_000_000
        run_dir = run_dir.update(clock={"start_ns": start_ns, "period_ns": PERIOD})
        process = self.start(tmp_path, run_dir, "--points2d")
        try:
            messages, arrived, meta = self.listen(run_dir, 20, process)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) in (0, 130)
        assert len(messages) >= 20
        world = World(scenario())
        ticks = [message["tick"] for message in messages]
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
        for message, at in zip(messages, arrived, strict=True):
            tick = message["tick"]
            assert message["type"] == "truth" and message["skeleton"] == "human36m17"
            assert message["exposed_ns"] == start_ns + tick * PERIOD <= at
            truth = world.truth(tick * PERIOD / 1e9)
            assert np.abs(message["position_mm"] - truth.position_mm).max() < 1e-6
            assert np.abs(message["points2d"] - truth.points2d).max() < 1e-6
        assert Skeleton.model_validate(meta["skeletons"]["human36m17"]) == world.skeleton
        assert meta["calibration_id"] == world.rig.calibration_id

    def test_launch_starts_and_stops_it(self, tmp_path: Path, short_folder: Path) -> None:
        run_dir = RunDirectory.create("s", ("cam1", "cam2"), short_folder / "run")
        server = ControlServer(run_dir.endpoint("control"), run_dir.session_id)
        process = self.start(tmp_path, run_dir, "--supervised")
        try:

            def wait_for(state: str):
                end = time.monotonic() + 30
                while time.monotonic() < end:
                    server.receive()
                    for report in server.reports.values():
                        if report.state == state:
                            return report
                    time.sleep(0.02)
                raise AssertionError(f"never {state}: {process.poll()}")

            report = wait_for("ready")
            assert (report.node, report.kind) == ("truth", "truth")
            start_ns = now_ns()
            server.start(report, start_ns)
            wait_for("running")
            messages, _, _ = self.listen(run_dir, 5, process)
            assert messages[0]["exposed_ns"] == start_ns + messages[0]["tick"] * PERIOD
            server.stop(report)
            assert process.wait(10) == 0
            server.receive()
            assert report.said_bye and report.counters["published"] >= 5
        finally:
            server.close()
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(5)


SETS = 45


def run_virtual_rig(folder: Path, sockets: Path, *options: str) -> tuple[Summary, list[PoseSet]]:
    """Run the rig that `rigpose launch` starts by itself over its first ``SETS`` ticks, every frame of them."""
    # The track is compared with the finder when the machine has time, which is not the same twice.
    command = [
        sys.executable, "-m", "nodes", "launch", "--lossless", "--sets", str(SETS), "--viewer", "none", "--quiet",
        "--set", "engine.tracker.verify_s=0", "--record-to", str(folder / "kept"),
        "--summary", str(folder / "summary.json"), *options,
    ]  # fmt: skip
    environment = {**os.environ, "RIGPOSE_RUN": str(sockets)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    (session,) = (folder / "kept").iterdir()
    summary = Summary.model_validate_json((folder / "summary.json").read_text())
    return summary, list(SessionReader(session).poses())


@pytest.mark.process
def test_with_the_truth_switched_off_the_poses_are_equal_to_the_last_bit(tmp_path: Path, short_folder: Path) -> None:
    with_truth, told = run_virtual_rig(tmp_path / "a", short_folder)
    without, alone = run_virtual_rig(tmp_path / "b", short_folder, "--set", "truth=false")
    assert with_truth.mpjpe_mm is not None and "truth" in with_truth.nodes
    assert without.mpjpe_mm is None and "truth" not in without.nodes

    assert [pose_set.sync.tick for pose_set in told] == [pose_set.sync.tick for pose_set in alone] == list(range(SETS))
    for one, other in zip(told, alone, strict=True):
        assert [frame and frame[1] for frame in one.frames] == [frame and frame[1] for frame in other.frames]
        assert len(one.subjects) == len(other.subjects) == 1
        for field in dataclasses.fields(SubjectPose):
            ours, theirs = (getattr(pose_set.subjects[0], field.name) for pose_set in (one, other))
            if isinstance(ours, np.ndarray):
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), field.name
                assert ours.tobytes() == theirs.tobytes(), f"{field.name} of tick {one.sync.tick}"
            else:
                assert ours == theirs, field.name
