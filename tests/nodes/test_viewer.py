"""The view: real pictures, drawn off screen, looked at by their pixels."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.document import rig_document
from calib.rig import Rig
from capture.control import ControlServer
from capture.pose_wire import META, POSES, PosePublisher
from capture.rundir import RunDirectory
from capture.session import SessionInfo, SessionReader, SessionWriter
from nodes import playback, viewer
from nodes.scene import CAMERA_COLOUR, MISSING_COLOUR, SIDE_COLOURS
from rigpose import codec
from rigpose.errors import ConfigError, MissingError, RigposeError
from tests.calib.scenes import ring
from tests.capture.poses import COCO17, STANDING_MM, payload, pose_set, stride, subject

RIG = ring(4, radius_mm=3500, height_mm=1700)
FLOOR = Rig(RIG.cameras, {"world": "floor"})


def record(folder: Path, sets, rig: Rig = FLOOR) -> Path:
    info = SessionInfo(session_id="s", rig=rig_document(rig), skeletons=(COCO17,))
    with SessionWriter(folder, "bench", info) as writer:
        for pose in sets:
            writer.add_pose(payload(pose))
    return writer.path


def walking(n: int, first: int = 0):
    return [pose_set(i, (subject(stride(i / 8)),)) for i in range(first, first + n)]


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    """40 sets of a person; nobody in the first 15 and in 18 to 22, a camera missing from 30 on."""
    sets = [
        pose_set(i, () if i < 15 or 18 <= i <= 22 else (subject(stride(i / 8)),), missing=(2,) if i >= 30 else ())
        for i in range(40)
    ]
    return record(tmp_path_factory.mktemp("session"), sets)


@pytest.fixture
def no_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def can_draw():
    if problem := viewer.problem_of_drawing():
        pytest.skip(f"{problem} ({viewer.APT})")


def places(image: np.ndarray, colour, tolerance: float = 0.12) -> np.ndarray:
    """(N, 2) pixels x, y of about a colour's hue, whatever the light made of its brightness."""
    rgb = image[..., ::-1].astype(float) / 255
    bright = rgb.max(axis=-1, keepdims=True)
    wanted = np.array(colour) / max(colour)
    close = (np.abs(rgb / np.maximum(bright, 1e-6) - wanted) < tolerance).all(axis=-1) & (bright[..., 0] > 0.3)
    return np.argwhere(close)[:, ::-1]


@pytest.mark.gui
@pytest.mark.process
@pytest.mark.usefixtures("can_draw")
class TestPicture:
    def draw(self, session: Path, tmp_path: Path, **arguments) -> np.ndarray:
        png = tmp_path / "pose.png"
        assert viewer.view(session, png=png, **arguments) == 0
        image = cv2.imread(str(png))
        assert image is not None
        return image

    def test_skeleton_cameras_and_floor_are_there_and_right_side_up(self, session, tmp_path, no_display):
        image = self.draw(session, tmp_path, set_index=16, size=(960, 720))
        assert image.shape == (720, 960, 3)
        # The legend at the bottom and the caption at the top left are not the scene.
        image[650:], image[:200, :420] = 0, 0
        left, right = places(image, SIDE_COLOURS["left"]), places(image, SIDE_COLOURS["right"])
        cameras = places(image, CAMERA_COLOUR)
        assert len(places(image[:400], MISSING_COLOUR)) == 0, "no camera is missing (below is the x axis)"
        assert min(len(left), len(right)) > 300 and len(cameras) > 1000
        assert left[:, 0].mean() > right[:, 0].mean() + 10, "seen from the front, its left is on our right"
        # White are nose, shoulders and hips: all in the upper half of a body that stands on its feet.
        body = np.concatenate([left, right])
        white = places(image, SIDE_COLOURS["middle"], 0.05)
        top, bottom = body[:, 1].min(), body[:, 1].max()
        assert 100 < bottom - top < 500 and len(white) > 50
        assert top - 20 < white[:, 1].min() and white[:, 1].max() < (top + bottom) / 2 + 10
        assert cameras[:, 0].min() > 20 and cameras[:, 0].max() < 940, "frusta are whole"
        floor = image[500:650].max(axis=-1)
        assert 0.01 < (floor > 35).mean() < 0.3, "lines of the grid on a dark floor"

    def test_without_a_floor_no_grid_is_drawn(self, tmp_path, no_display):
        path = record(tmp_path, walking(3), Rig(RIG.cameras, {"world": "board"}))
        image = self.draw(path, tmp_path, size=(960, 720))
        assert (image[560:650].max(axis=-1) > 35).mean() < 0.002

    def test_a_missing_camera_is_red(self, session, tmp_path, no_display):
        image = self.draw(session, tmp_path, set_index=31, size=(640, 480))
        assert len(places(image[:250], MISSING_COLOUR)) > 150

    def test_by_default_a_set_with_a_good_pose_in_the_middle(self, session, tmp_path, no_display, capsys):
        self.draw(session, tmp_path, size=(320, 240))
        assert "set 23 of 40" in capsys.readouterr().out, "the nearest ones to the middle, 20, are 17 and 23"

    def test_a_session_without_any_subject_is_drawn_too(self, tmp_path, no_display):
        path = record(tmp_path, [pose_set(i) for i in range(3)])
        assert len(places(self.draw(path, tmp_path, size=(640, 480)), CAMERA_COLOUR)) > 500

    def test_a_machine_that_cannot_draw_says_so_and_does_not_die(self, session, tmp_path, no_display, monkeypatch):
        """With a library in the way that ends the process as missing drivers do."""
        trap = tmp_path / "trap"
        trap.mkdir()
        (trap / "open3d.py").write_text("import os; os.abort()")
        monkeypatch.setenv("PYTHONPATH", str(trap))
        with pytest.raises(MissingError, match=r"cannot draw: the drawing process died of signal 6.*apt-get install"):
            viewer.view(session, png=tmp_path / "pose.png")

    def test_a_folder_that_does_not_exist(self, session, tmp_path):
        with pytest.raises(ConfigError, match="its folder does not exist"):
            viewer.view(session, png=tmp_path / "nowhere" / "pose.png")


class TestChoice:
    def test_the_nearest_set_to_the_middle_with_a_good_pose(self, session):
        assert playback.choose(SessionReader(session), None, None) in (17, 23)

    @pytest.mark.parametrize(("time_s", "index"), [(0.0, 0), (0.1, 6), (0.324, 19), (0.65, 39)])
    def test_a_time_is_that_of_the_nearest_set(self, session, time_s, index):
        assert playback.choose(SessionReader(session), None, time_s) == index

    def test_a_time_after_the_end(self, session):
        with pytest.raises(ConfigError, match=r"is over at 9 s \(its last set is at 0.65 s\)"):
            playback.choose(SessionReader(session), None, 9.0)

    def test_a_set_that_does_not_exist(self, session):
        with pytest.raises(ConfigError, match="has no set 40"):
            playback.choose(SessionReader(session), 40, None)

    def test_an_empty_session(self, tmp_path):
        with pytest.raises(RigposeError, match="holds no pose set"):
            playback.choose(SessionReader(record(tmp_path, [])), None, None)


class TestErrors:
    def test_no_display(self, session, no_display):
        with pytest.raises(MissingError, match=r"no display for a window \(draw a picture .* --png FILE\)"):
            viewer.view(session)

    def test_no_session_for_a_picture(self, tmp_path):
        with pytest.raises(ConfigError, match="draws a recorded session"):
            viewer.view(None, png=tmp_path / "a.png")

    def test_the_extra_is_not_installed(self, session, monkeypatch):
        monkeypatch.setattr(viewer, "is_there", lambda _: False)
        with pytest.raises(MissingError, match=r"extra viewer .*rigpose\[viewer\]"):
            viewer.view(session)

    def test_not_a_png(self, session, tmp_path):
        with pytest.raises(ConfigError, match="ending .png"):
            viewer.view(session, png=tmp_path / "a.jpg")

    def test_importing_the_viewer_does_not_import_open3d(self):
        program = "import sys, nodes.viewer; sys.exit('open3d' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


class TestPlayer:
    def test_it_keeps_the_pace_of_the_recording_and_begins_again(self, tmp_path):
        reader = SessionReader(record(tmp_path, walking(20)))
        player = playback.Player(reader)
        began, shown = time.monotonic(), []
        for pose in player:
            shown.append((time.monotonic() - began, pose.set_index))
            if shown[-1][0] > 1.1:
                break
            time.sleep(0.005)
        at = {index: t for t, index in reversed(shown)}
        assert at[10] == pytest.approx(10 / 60, abs=0.08)
        assert shown[-1][1] < 19 < len(shown), "it began again half a second after its end"

    def test_pause_and_steps(self, tmp_path):
        player = playback.Player(SessionReader(record(tmp_path, walking(5))), 2, paused=True)
        turns = iter(player)
        assert [pose.set_index for pose in islice(turns, 3)] == [2, 2, 2]
        player.forward()
        assert next(turns).set_index == 3
        for _ in range(6):
            player.back()
        assert next(turns).set_index == 0


def meta(seq: int, rig: Rig = FLOOR) -> bytes:
    return codec.pack(
        {
            **codec.header("live", "engine", "e", seq),
            "type": "meta",
            "name": "bench",
            "skeletons": {COCO17.name: COCO17.model_dump(mode="json")},
            "rig": rig_document(rig),
            "calibration_id": rig.calibration_id,
        }
    )


@pytest.mark.gui
@pytest.mark.process
@pytest.mark.usefixtures("can_draw")
class TestLive:
    def test_it_shows_the_newest_pose_outlives_the_engine_and_ends_when_told(self, short_folder, no_display):
        """A late viewer needs no file; the engine goes and comes back with another rig."""
        run_dir = RunDirectory.create("live", (), short_folder / "run")
        server = ControlServer(run_dir.endpoint("control"), "live")
        command = [
            sys.executable,
            "-m",
            "nodes.viewer",
            "--run-dir",
            str(run_dir.path),
            "--supervised",
            "--size",
            "320x240",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            shown = 0
            for start in range(2):
                with PosePublisher(run_dir.endpoint("poses")) as publisher:
                    rig = FLOOR if start == 0 else Rig(ring(3).cameras, {"world": "board"})
                    deadline = time.monotonic() + 30
                    goal, seq = shown + 30, 0
                    while shown < goal and time.monotonic() < deadline:
                        if seq % 50 == 0:
                            publisher.send(META, meta(seq, rig))
                        publisher.send(
                            POSES, payload(pose_set(seq, (subject(stride(seq / 10)),) if seq % 60 < 50 else ()))
                        )
                        seq += 1
                        time.sleep(0.005)
                        server.receive()
                        shown = max((report.counters.get("poses", 0) for report in server.reports.values()), default=0)
                    assert shown >= goal, process.poll()
                    assert shown < seq or start, "it takes the newest, not every pose"
                time.sleep(0.7)
            (report,) = server.reports.values()
            assert report.state == "running" and report.counters["rejected"] == 0
            server.stop(report)
            out, _ = process.communicate(timeout=15)
            assert process.returncode == 0, out
        finally:
            process.kill()
            process.communicate()
            server.close()
            run_dir.remove()

    def test_it_ends_with_the_rig(self, short_folder, no_display):
        run_dir = RunDirectory.create("live", (), short_folder / "run").update(pid=2**22 + 1)
        live = viewer.Live(run_dir, (320, 240), supervised=False)
        assert live.main() == 0


def test_a_pose_without_its_skeleton_is_no_subject_to_draw():
    strange = dataclasses.replace(subject(STANDING_MM), skeleton="octopus")
    from nodes.scene import subjects_of

    assert subjects_of(pose_set(0, (strange,)), {"coco17": COCO17}) == []
