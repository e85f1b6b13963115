"""What the panoptic-toolbox downloads becomes labels and pictures; what was broken off goes on to the picture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rigpose.errors import ConfigError
from tests.training.datasets import made
from tests.training.datasets.test_human36m import EXACT, right_colours
from training.datasets import films
from training.datasets.index import Key
from training.datasets.panoptic import LABELS, Panoptic, absent_file
from training.datasets.pictures import check_pictures
from training.datasets.prepare_panoptic import prepare
from training.datasets.shots import ShotOrder, ShotSamples, picture_files

NAME = "171204_pose3"
CAMERAS = made.Panoptic.cameras
FRAMES = range(498, 504)
LENGTH = 503
"""Of the videos, in frames: the last scene has no picture."""


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> made.Panoptic:
    data = made.Panoptic(tmp_path_factory.mktemp("filmed"), (NAME,), FRAMES)
    data.scenes(NAME, packed=True)
    data.videos(NAME, LENGTH)
    return data


def bring(data: made.Panoptic, dest: Path, **options: object) -> tuple[str, ...]:
    return prepare(data.folder, dest, **({"sequences": (NAME,), "cameras": CAMERAS} | options))  # type: ignore[arg-type]


def shots_in(dest: Path) -> Panoptic:
    return Panoptic(dest, "train", sequences=(NAME,), cameras=CAMERAS)


def pictures(dest: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (dest / NAME / "hdImgs").glob("*/*")}


class TestVideos:
    def test_become_pictures_that_show_the_joints_where_they_say(self, filmed: made.Panoptic, tmp_path: Path) -> None:
        assert bring(filmed, tmp_path) == (NAME,)
        # Only what the protocol has: from frame 500 on.
        assert set(pictures(tmp_path)) == {f"{c}_{f:08d}.jpg" for c in CAMERAS for f in range(500, LENGTH)}
        shots = shots_in(tmp_path)
        check_pictures(picture_files(shots))
        section = EXACT.model_copy(update={"margin": 1.2})
        sample = ShotSamples(shots, section, None, 0)[ShotOrder(0, 0, Key("0", NAME, 501), 0, 320)]
        assert right_colours(sample, least=0.8)

    def test_a_frame_behind_their_end_has_no_view(self, filmed: made.Panoptic, tmp_path: Path) -> None:
        bring(filmed, tmp_path)
        assert absent_file(tmp_path / NAME, CAMERAS[0]).read_text() == "503\n"
        assert [key.frame for key in shots_in(tmp_path).index] == [500, 501, 502]

    def test_go_on_to_the_picture(self, filmed: made.Panoptic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        count = 0
        real: Callable[[Path, np.ndarray], None] = films._write

        def few(path: Path, image: np.ndarray) -> None:
            nonlocal count
            if count == 4:
                raise KeyboardInterrupt
            count += 1
            real(path, image)

        monkeypatch.setattr(films, "_write", few)
        with pytest.raises(KeyboardInterrupt):
            bring(filmed, tmp_path)
        before = pictures(tmp_path)
        assert len(before) == 4
        killed = tmp_path / NAME / "hdImgs" / CAMERAS[1] / f".{CAMERAS[1]}_00000501.jpg.77"
        killed.touch()
        monkeypatch.setattr(films, "_write", real)
        bring(filmed, tmp_path)
        after = pictures(tmp_path)
        assert len(after) == 9 and before.items() <= after.items() and not killed.exists()

    @pytest.mark.process
    @pytest.mark.slow
    def test_are_shared_by_processes(self, filmed: made.Panoptic, tmp_path: Path, root: Path) -> None:
        def command(source: Path, dest: Path) -> subprocess.CompletedProcess[str]:
            options = ["--sequences", NAME, "--cameras", ",".join(CAMERAS), "--jobs", "2"]
            called = [sys.executable, "-m", "training.prepare", "panoptic", str(source), str(dest), *options]
            return subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=110)

        bring(filmed, tmp_path / "one")
        answer = command(filmed.folder, tmp_path / "two")
        assert answer.returncode == 0, answer.stderr
        assert "12 of 12 pictures" in answer.stderr and "kind: panoptic" in answer.stderr
        one, two = ((tmp_path / name / NAME / "hdImgs").rglob("*.jpg") for name in ("one", "two"))
        assert [p.read_bytes() for p in sorted(one)] == [p.read_bytes() for p in sorted(two)]
        assert absent_file(tmp_path / "two" / NAME, CAMERAS[2]).read_text() == "503\n"
        # An error in one of them is the command's.
        broken = made.Panoptic(tmp_path / "broken", (NAME,), FRAMES)
        broken.scenes(NAME)
        for camera in CAMERAS:
            path = broken.folder / NAME / "hdVideos" / f"hd_{camera}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no video")
        answer = command(broken.folder, tmp_path / "three")
        assert answer.returncode == 2
        assert "cannot be read as video" in answer.stderr and "Traceback" not in answer.stderr

    def test_that_are_damaged_or_missing_are_one_line(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path / "source", (NAME,), FRAMES)
        data.scenes(NAME)
        with pytest.raises(ConfigError, match=r"hd_00_00.mp4: no such file, and no hdImgs either"):
            bring(data, tmp_path / "dest")
        for camera in CAMERAS:
            (data.folder / NAME / "hdVideos").mkdir(exist_ok=True)
            (data.folder / NAME / "hdVideos" / f"hd_{camera}.mp4").write_bytes(b"no video")
        with pytest.raises(ConfigError, match="hd_00_00.mp4: .*cannot be read as video"):
            bring(data, tmp_path / "dest")


class TestExtractedPictures:
    @pytest.fixture
    def data(self, tmp_path: Path) -> made.Panoptic:
        data = made.Panoptic(tmp_path / "source", (NAME,), FRAMES)
        data.scenes(NAME)
        data.pictures(NAME)
        return data

    def test_are_used_where_they_are(self, data: made.Panoptic, tmp_path: Path) -> None:
        bring(data, tmp_path / "dest")
        assert (tmp_path / "dest" / NAME / "hdImgs" / CAMERAS[0]).is_symlink()
        check_pictures(picture_files(shots_in(tmp_path / "dest")))
        assert len(shots_in(tmp_path / "dest").index) == 4

    def test_can_be_prepared_in_place(self, data: made.Panoptic) -> None:
        bring(data, data.folder)
        bring(data, data.folder)
        assert len(shots_in(data.folder).index) == 4

    def test_that_lack_a_frame_have_no_view_of_it(self, data: made.Panoptic, tmp_path: Path) -> None:
        name = CAMERAS[1]
        (data.folder / NAME / "hdImgs" / name / f"{name}_00000502.jpg").unlink()
        bring(data, tmp_path / "dest")
        shots = shots_in(tmp_path / "dest")
        assert name not in [view.camera.name for view in shots.shot(Key("0", NAME, 502)).views]
        assert name in [view.camera.name for view in shots.shot(Key("0", NAME, 501)).views]

    def test_of_another_kind_are_told(self, data: made.Panoptic, tmp_path: Path) -> None:
        for path in (data.folder / NAME / "hdImgs" / CAMERAS[2]).iterdir():
            path.rename(path.with_suffix(".png"))
        with pytest.raises(ConfigError, match="holds no picture such as 00_07_00000500.jpg.*as jpg"):
            bring(data, tmp_path / "dest")

    def test_every_so_manieth(self, data: made.Panoptic, tmp_path: Path) -> None:
        bring(data, tmp_path / "dest", every=3)
        assert [key.frame for key in shots_in(tmp_path / "dest").index] == [501]

    def test_with_a_detectors_boxes(self, data: made.Panoptic, tmp_path: Path) -> None:
        folder = tmp_path / "detections" / NAME / "mrcnn-detections"
        folder.mkdir(parents=True)
        for camera in CAMERAS:
            boxes = [[0, 0, 0, 0, 0]] * 500 + [[5, 6, 205, 206, 0.9]] * 4
            (folder / f"{camera}.json").write_text(json.dumps(boxes))
        bring(data, tmp_path / "dest", detections=tmp_path / "detections")
        shots = Panoptic(tmp_path / "dest", "train", sequences=(NAME,), cameras=CAMERAS, boxes="detections")
        assert {view.box for view in shots.shot(shots.index[0]).views} == {(4.5, 5.5, 204.5, 205.5)}
        (folder / "00_03.json").write_text("[[1, 2], [3]]")
        with pytest.raises(ConfigError, match="00_03.json: is no list with left, top"):
            bring(data, tmp_path / "other", detections=tmp_path / "detections")


class TestScenes:
    def test_are_the_same_from_folder_and_archive(self, filmed: made.Panoptic, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path / "source", (NAME,), FRAMES)
        data.scenes(NAME)
        data.pictures(NAME)
        bring(data, tmp_path / "a")
        bring(filmed, tmp_path / "b")
        with np.load(tmp_path / "a" / NAME / LABELS) as a, np.load(tmp_path / "b" / NAME / LABELS) as b:
            assert set(a.files) == set(b.files) and all(np.array_equal(a[name], b[name]) for name in a.files)
            assert a["frame"].tolist() == list(FRAMES)

    def test_bodies_that_are_not_told_apart_get_numbers(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path / "source", (NAME,), FRAMES, bodies=2)
        data.scenes(NAME)
        data.pictures(NAME)
        for path in (data.folder / NAME / "hdPose3d_stage1_coco19").iterdir():
            document = json.loads(path.read_text())
            for body in document["bodies"]:
                body["id"] = -1
            path.write_text(json.dumps(document))
        bring(data, tmp_path / "dest")
        assert set(shots_in(tmp_path / "dest").index.subjects) == {"1000", "1001"}

    def test_that_are_damaged_are_one_line(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path / "source", (NAME,), FRAMES)
        with pytest.raises(ConfigError, match="hdPose3d_stage1_coco19: no such folder, nor its .tar"):
            bring(data, tmp_path / "dest")
        data.scenes(NAME, packed=True)
        archive = data.folder / NAME / "hdPose3d_stage1_coco19.tar"
        archive.write_bytes(archive.read_bytes()[:1500])
        with pytest.raises(ConfigError, match=".tar: is damaged or not whole"):
            bring(data, tmp_path / "dest")


def test_what_cannot_be_is_said_at_once(filmed: made.Panoptic, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks 171026_pose1, .*--sequences"):
        bring(filmed, tmp_path / "a", sequences=())
    with pytest.raises(ConfigError, match="171204_pose9: is not in learnable_triangulation"):
        bring(filmed, tmp_path / "b", sequences=("171204_pose9",))
    with pytest.raises(ConfigError, match="knows no camera 00_11"):
        bring(filmed, tmp_path / "c", cameras=("00_11",))
    with pytest.raises(ConfigError, match="was begun with every 1, this is 2"):
        bring(filmed, tmp_path / "d")
        bring(filmed, tmp_path / "d", every=2)
