"""A recorded session is a film: its own videos, or the files that it refers to."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from capture.frame import Frame
from capture.session import SessionInfo, SessionWriter
from nodes.calibrate.detecting import detect_film
from nodes.calibrate.film import ReelReader
from nodes.calibrate.pictures import find_film
from rigpose.errors import ConfigError, RigposeError
from rigpose.stamps import now_ns
from tests.nodes.calibrate import filmed

PERIOD_NS = 100_000_000


def frame(camera: str, tick: int | None, image: np.ndarray, exposed_ns: int, **more: object) -> Frame:
    height, width = image.shape[:2]
    values = {"video": None, "roi_offset": (0, 0), **more}
    return Frame(camera, 0, image, "BGR8", exposed_ns, "device", now_ns(), (width, height), tick=tick, **values)  # type: ignore[arg-type]


def grey(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


class TestOwnVideos:
    def test_frames_of_one_tick_belong_together(self, tmp_path: Path) -> None:
        with SessionWriter(tmp_path, "rig") as writer:
            for tick in range(6):
                for camera, lost in (("a", 2), ("b", 4)):
                    if tick != lost:
                        writer.add_frame(frame(camera, tick, grey(30 * tick), tick * PERIOD_NS))
        film = find_film(writer.path)
        assert film.cameras == ("a", "b") and film.numbers.tolist() == list(range(6))
        assert film.matched == "the session's ticks"
        assert film.index.tolist() == [[0, 1, -1, 2, 3, 4], [0, 1, 2, 3, -1, 4]]
        assert film.times_s[0, 1] == pytest.approx(0.1)
        readers = [ReelReader(reel) for reel in film.reels]
        for f in (0, 3, 5):
            levels = []
            for v, reader in enumerate(readers):
                picture = reader.read(int(film.index[v, f]))
                assert picture is not None
                levels.append(picture.mean())
            assert levels == pytest.approx([30 * f, 30 * f], abs=3)
        for reader in readers:
            reader.close()

    def test_free_running_cameras_are_matched_by_time(self, tmp_path: Path) -> None:
        with SessionWriter(tmp_path, "rig") as writer:
            for k in range(5):
                writer.add_frame(frame("a", None, grey(k), k * PERIOD_NS))
                writer.add_frame(frame("b", None, grey(k), k * PERIOD_NS + 130_000_000))
        film = find_film(writer.path)
        pairs = {(int(i), int(j)) for i, j in film.index.T if i >= 0 and j >= 0}
        assert pairs == {(1, 0), (2, 1), (3, 2), (4, 3)}

    def test_an_odd_size_is_that_of_the_camera(self, tmp_path: Path) -> None:
        with SessionWriter(tmp_path, "rig") as writer:
            writer.add_frame(frame("a", 0, grey(90, (65, 47)), 0))
            writer.add_frame(frame("a", 1, grey(90, (65, 47)), PERIOD_NS))
        film = find_film(writer.path)
        reader = ReelReader(film.reels[0])
        picture = reader.read(1)
        reader.close()
        assert picture is not None and picture.shape[:2] == (47, 65)


class TestReferences:
    def test_boards_are_found_where_the_source_was_a_folder_of_images(self, tmp_path: Path) -> None:
        folder = filmed.film(tmp_path / "film", filmed.rig(2), filmed.poses(4))
        with SessionWriter(tmp_path / "sessions", "rig") as writer:
            for tick in range(4):
                for camera in ("cam1", "cam2"):
                    file = folder / camera / f"{tick:04d}.png"
                    image = np.asarray(cv2.imread(str(file)))
                    writer.add_frame(frame(camera, tick, image, tick * PERIOD_NS, video=(str(file), 0)))
        film = find_film(writer.path)
        assert not film.reels[0].is_video and film.reels[1].n == 4
        views = detect_film(film, filmed.board(), workers=1, keep=False)
        assert views.usable.all() and views.frames.tolist() == [0, 1, 2, 3]

    def test_two_views_of_one_picture_are_cut_out_of_it(self, tmp_path: Path) -> None:
        wide = np.concatenate([grey(40), grey(200)], axis=1)
        wide[:, :10] = 0
        cv2.imwrite(str(tmp_path / "both.png"), wide)
        views = {"left": {"region": [0, 0, 64, 48]}, "right": {"region": [64, 0, 64, 48], "flip": "horizontal"}}
        info = SessionInfo(config={"cameras": {"both": {"views": views}}})
        with SessionWriter(tmp_path / "sessions", "rig", info) as writer:
            for name in views:
                writer.add_frame(frame(name, 0, grey(0), 0, video=(str(tmp_path / "both.png"), 0)))
        film = find_film(writer.path)
        left, right = (ReelReader(reel).read(0) for reel in film.reels)
        assert left is not None and right is not None
        assert left[:, 20:].mean() == 40 and left[:, :10].mean() == 0 and right.mean() == 200

    def test_a_file_that_is_gone_is_named(self, tmp_path: Path) -> None:
        with SessionWriter(tmp_path, "rig") as writer:
            writer.add_frame(frame("a", 0, grey(0), 0, video=(str(tmp_path / "gone.mp4"), 0)))
        with pytest.raises(ConfigError, match=r"gone\.mp4: the pictures of camera a are gone"):
            find_film(writer.path)


def test_a_session_of_poses_alone_says_so(tmp_path: Path) -> None:
    with SessionWriter(tmp_path, "rig") as writer:
        writer.add_event("start", source="test")
    with pytest.raises(RigposeError, match="holds no pictures"):
        find_film(writer.path)
