"""A camera node: what its source gives is sent or counted, for each of its cameras."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from capture.drawn import draw_recording
from capture.frame import EndOfFrames, Frame
from capture.rundir import RunDirectory
from capture.wire import FrameReceiver
from engine.config import load_system
from nodes.camera import CameraNode

FRAMES = 30
VIEWS = {"left": {"region": [0, 0, 320, 480]}, "mirror": {"region": [320, 0, 320, 480], "flip": "horizontal"}}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camera") / "drawn"
    draw_recording(folder, frames=FRAMES)
    return folder / "cam1.mp4"


@pytest.fixture
def run_dir() -> Iterator[RunDirectory]:
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        yield RunDirectory.create("session", ["box"], Path(folder))


def make(folder: Path, video: Path, run_dir: RunDirectory, mode: str, **section: Any) -> CameraNode:
    camera = {"source": {"kind": "video", "file": str(video)}, **section}
    document = {"version": 1, "rig": {"file": "r.toml"}, "mode": mode, "rate": 60, "cameras": {"box": camera}}
    file = folder / "rig.yaml"
    file.write_text(yaml.safe_dump(document))
    return CameraNode("box", load_system(file), run_dir, supervised=False)


def start(node: CameraNode) -> threading.Thread:
    thread = threading.Thread(target=node.main, daemon=True)
    thread.start()
    return thread


def receive_all(
    run_dir: RunDirectory, node: threading.Thread, pause_s: float = 0.0
) -> tuple[list[Frame], list[EndOfFrames]]:
    """All that a node sends until it has ended."""
    frames: list[Frame] = []
    last: list[EndOfFrames] = []
    end = time.monotonic() + 15
    with FrameReceiver(run_dir.frames_endpoint("box"), session_id="session") as receiver:
        while receiver.wait(0.1) or node.is_alive():
            assert time.monotonic() < end
            if (message := receiver.receive()) is None:
                continue
            if isinstance(message, EndOfFrames):
                last.append(message)
            else:
                frames.append(message)
                time.sleep(pause_s)
    return frames, last


def test_lossless_every_frame_of_every_view_arrives_with_its_last_word_behind(
    tmp_path: Path, video: Path, run_dir: RunDirectory
) -> None:
    node = make(tmp_path, video, run_dir, "lossless", views=VIEWS)
    thread = start(node)
    frames, last = receive_all(run_dir, thread)
    for name in VIEWS:
        own = [frame for frame in frames if frame.camera == name]
        assert [frame.seq for frame in own] == list(range(FRAMES))
        assert all(frame.size == (320, 480) and frame.node_epoch for frame in own)
    assert {end.camera: end.last_seq for end in last} == dict.fromkeys(VIEWS, FRAMES - 1)
    counted = node.counted()
    assert counted["seen"] == FRAMES and counted["queue_full"] == {"left": 0, "mirror": 0}


def test_live_what_the_engine_does_not_take_is_counted_for_the_camera_that_it_was_of(
    tmp_path: Path, video: Path, run_dir: RunDirectory
) -> None:
    # A clip that is looped is decoded before the first tick, so that no slow machine loses it upstream.
    looped = {"kind": "video", "file": str(video), "loop": 4}
    node = make(tmp_path, video, run_dir, "live", views=VIEWS, source=looped)
    thread = start(node)
    frames, last = receive_all(run_dir, thread, pause_s=0.05)
    counted = node.counted()
    refused = counted["queue_full"]
    assert sum(refused.values()) > 0, "the receiver was too slow for this test to mean something"
    for end in last:
        got = sum(frame.camera == end.camera for frame in frames)
        assert counted["seen"] == got + refused[end.camera], "each camera balances by itself"
        assert end.counters.queue_full == refused[end.camera]


def test_told_to_stop_it_ends_at_once_where_nobody_listens(tmp_path: Path, video: Path, run_dir: RunDirectory) -> None:
    node = make(tmp_path, video, run_dir, "lossless")
    thread = start(node)
    while not node.counted()["seen"]:
        time.sleep(0.01)
    node.control.stop_requested.set()
    thread.join(6)
    assert not thread.is_alive()


@pytest.mark.process
def test_a_second_node_of_the_same_name_is_refused_in_one_line(
    tmp_path: Path, video: Path, run_dir: RunDirectory
) -> None:
    make(tmp_path, video, run_dir, "lossless")
    command = [sys.executable, "-m", "nodes.camera", str(tmp_path / "rig.yaml"), "--name", "box"]
    command += ["--run-dir", str(run_dir.path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with FrameReceiver(run_dir.frames_endpoint("box"), session_id="session") as receiver:
            assert receiver.wait(30)
            assert isinstance(first_frame := receiver.receive(), Frame)
            second = subprocess.run(command, capture_output=True, text=True, timeout=30)
            assert second.returncode == 1 and len(second.stderr.strip().splitlines()) == 1
            assert "node box: runs already in" in second.stderr and f"process {first.pid}" in second.stderr
            epochs = {first_frame.node_epoch}
            while receiver.wait(0.5) and isinstance(frame := receiver.receive(), Frame):
                epochs.add(frame.node_epoch)
            assert len(epochs) == 1, "its frames came to nobody"
    finally:
        first.kill()
        first.wait(10)
