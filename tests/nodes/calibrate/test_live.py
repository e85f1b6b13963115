"""A board moved before running cameras: real camera nodes, real sockets, and what is still missing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

from calib.detect import Detection
from capture.frame import Frame, FrameSet
from nodes.calibrate.live import Gathered, _lines_each, _Screen, film_live, judge
from nodes.calibrate.live_cameras import load_cameras
from rigpose.errors import ConfigError, RigposeError, VerdictError
from rigpose.pose import SyncInfo
from tests.nodes.calibrate import filmed

RATE = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = filmed.film(tmp_path_factory.mktemp("film"), filmed.rig(2), filmed.poses(30))
    (folder / "rig.yaml").write_text(config("cam1/*.png", "cam2/*.png"))
    return folder


def config(*files: str) -> str:
    cameras = "".join(
        f"  cam{k}: {{source: {{kind: video, file: {file}, rate: {RATE}}}}}\n" for k, file in enumerate(files, 1)
    )
    return f"version: 1\nrate: {RATE}\ncameras:\n{cameras}"


def frame_set(tick: int, cameras: tuple[str, ...] = ("cam1", "cam2")) -> FrameSet:
    frames = tuple(
        Frame(name, tick, None, "Mono8", tick * 100_000_000, "schedule", 0, filmed.SIZE, tick=tick) for name in cameras
    )
    return FrameSet(cameras, frames, SyncInfo("trigger", 0, tick), 0, tick)


def detection(x: float, y: float) -> Detection:
    points = filmed.board().points_mm[:, :2] * 0.4 + (x, y)
    return Detection(np.arange(len(points)), points)


class TestGathered:
    def test_a_board_that_is_held_still_is_kept_once(self) -> None:
        gathered = Gathered(filmed.board(), ("cam1", "cam2"))
        assert gathered.add(frame_set(0), {"cam1": detection(50, 60), "cam2": None})
        assert not gathered.add(frame_set(1), {"cam1": detection(51, 60), "cam2": None})
        assert gathered.add(frame_set(2), {"cam1": detection(90, 60), "cam2": None})
        assert gathered.kept == 2 and gathered.looked == 3

    def test_a_second_camera_that_sees_it_is_new(self) -> None:
        gathered = Gathered(filmed.board(), ("cam1", "cam2"))
        gathered.add(frame_set(0), {"cam1": detection(50, 60), "cam2": None})
        assert gathered.add(frame_set(1), {"cam1": detection(50, 60), "cam2": detection(10, 10)})
        views = gathered.views()
        assert views is not None and views.frames.tolist() == [0, 1]
        assert views.time_s is not None and views.time_s[0].tolist() == [0.0, 0.1]

    def test_a_camera_without_pictures_is_named(self) -> None:
        gathered = Gathered(filmed.board(), ("cam1", "cam2"))
        gathered.add(frame_set(0, ("cam1",)), {"cam1": detection(50, 60)})
        assert judge(gathered, together=True).words == ("no picture yet from cam2",)

    def test_cameras_that_share_no_moment_are_named_as_a_pair_to_film(self) -> None:
        gathered = Gathered(filmed.board(), ("cam1", "cam2"))
        for k in range(12):
            name = "cam1" if k % 2 else "cam2"
            gathered.add(frame_set(k), {name: detection(30 * k, 20 * k)})
        together, alone = judge(gathered, together=True), judge(gathered, together=False)
        assert any("cam1" in word and "cam2" in word for word in together.words)
        assert not any("cam1" in word and "cam2" in word for word in alone.words)
        assert not together.enough


class TestScreen:
    @pytest.mark.parametrize(("height", "lines"), [(50, 6), (22, 3), (16, 0)])
    def test_maps_shrink_so_that_the_words_fit(self, height: int, lines: int) -> None:
        assert _lines_each(2, height) == lines

    def test_shows_who_sees_it_where_and_what_is_missing(self) -> None:
        gathered = Gathered(filmed.board(), ("cam1", "cam2"))
        gathered.add(frame_set(0), {"cam1": detection(50, 60), "cam2": detection(300, 300)})
        gathered.add(frame_set(1), {"cam1": detection(500, 60), "cam2": None})
        screen = _Screen(("cam1", "cam2"), quiet=False, say=lambda _: None)
        screen._console = Console(width=100, height=60, record=True, file=io.StringIO())
        screen._console.print(screen._table(gathered, judge(gathered, together=True), 12.0))
        text = screen._console.export_text()
        assert "24 points" in text and "no board" in text and "█" in text
        assert "still missing:" in text and "cam1" in text and "2 moments kept of 2, 12 s left" in text


class TestConfig:
    def test_a_rig_that_is_not_calibrated_yet_needs_no_rig_file(self, folder: Path) -> None:
        config = load_cameras(folder / "rig.yaml")
        assert config.camera_names == ("cam1", "cam2") and config.rate == RATE and config.mode == "live"

    def test_a_wrong_key_names_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "rig.yaml").write_text("version: 1\ncamera: {}\n")
        with pytest.raises(ConfigError, match=r"rig\.yaml: key"):
            load_cameras(tmp_path / "rig.yaml")


@pytest.mark.process
class TestCameras:
    def test_boards_of_all_cameras_are_gathered(self, folder: Path, short_folder: Path) -> None:
        said: list[str] = []
        views = film_live(
            load_cameras(folder / "rig.yaml"), filmed.board(), together=True, seconds=4, run_dir=short_folder / "run",
            say=said.append,
        )  # fmt: skip
        assert views.names == ("cam1", "cam2")
        both = views.usable.all(axis=0)
        assert both.sum() >= 10
        # What the node plays at a tick is the picture of that number.
        truth = _truth(views.frames % 30)
        off = np.linalg.norm(views.px - truth, axis=-1)
        assert np.nanmedian(off) < 0.2
        assert any("moments kept" in line for line in said)
        assert not _camera_nodes()

    def test_a_camera_that_cannot_be_opened_is_told_in_its_own_words(self, folder: Path, short_folder: Path) -> None:
        file = folder / "broken.yaml"
        (folder / "no.mp4").write_bytes(b"no video")
        file.write_text(config("cam1/*.png", "no.mp4"))
        with pytest.raises(RigposeError, match=r"no\.mp4"):
            film_live(load_cameras(file), filmed.board(), together=True, seconds=5, run_dir=short_folder / "run")
        assert not _camera_nodes()

    def test_no_board_says_what_to_do(self, folder: Path, short_folder: Path) -> None:
        other = filmed.board().model_copy(update={"dictionary": "6X6_250"})
        with pytest.raises(VerdictError, match="rigpose calibrate doctor"):
            film_live(load_cameras(folder / "rig.yaml"), other, together=True, seconds=2, run_dir=short_folder / "run")

    def test_ctrl_c_ends_cleanly(self, folder: Path, short_folder: Path) -> None:
        command = [sys.executable, "-m", "nodes.cli", "calibrate", "all", str(folder / "rig.yaml")]
        process = subprocess.Popen(
            [*command, "--board", filmed.BOARD, "--to", str(short_folder / "rig.toml"), "--seconds", "60"],
            env={**os.environ, "RIGPOSE_RUN": str(short_folder / "run")},
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + 30
        while len(_camera_nodes(process.pid)) < 2:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        process.stderr.close()
        assert not _camera_nodes() and not (short_folder / "rig.toml").exists()


def _truth(moments: np.ndarray) -> np.ndarray:
    import cv2

    board = filmed.board()
    poses = filmed.poses(30)[moments]
    points = np.stack([board.points_mm @ cv2.Rodrigues(pose[:3])[0].T + pose[3:] for pose in poses])
    return np.stack([camera.project(points) for camera in filmed.rig(2).cameras])


def _camera_nodes(parent: int | None = None) -> list[int]:
    found = []
    for process in psutil.Process(parent or os.getpid()).children(recursive=True):
        try:
            if "nodes.camera" in process.cmdline():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
