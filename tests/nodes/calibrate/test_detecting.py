"""Boards are found in all pictures, in several processes, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from nodes.calibrate import detecting
from nodes.calibrate.detecting import cache_folder, detect_film
from nodes.calibrate.pictures import find_film
from tests.nodes.calibrate import filmed

N = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filmed.film(tmp_path_factory.mktemp("film"), filmed.rig(2), filmed.poses(N))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIGPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def truth() -> np.ndarray:
    """(2, N, points, 2) where the board's points are."""
    rig, board = filmed.rig(2), filmed.board()
    import cv2

    points = [board.points_mm @ cv2.Rodrigues(pose[:3])[0].T + pose[3:] for pose in filmed.poses(N)]
    return np.stack([camera.project(np.stack(points)) for camera in rig.cameras])


class TestViews:
    def test_are_where_the_board_is(self, folder: Path) -> None:
        views = detect_film(find_film(folder), filmed.board(), workers=1)
        assert views.names == ("cam1", "cam2") and views.still
        assert views.usable.mean() > 0.9
        off = np.linalg.norm(views.px - truth()[:, views.frames], axis=-1)
        assert np.nanmedian(off) < 0.15 and np.nanmax(off) < 1.0

    def test_are_the_same_from_a_pool(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here = detect_film(find_film(folder), filmed.board(), workers=1, keep=False)
        monkeypatch.setattr(detecting, "SOON_S", 0.0)
        pool = detect_film(find_film(folder), filmed.board(), workers=2, keep=False)
        assert np.array_equal(here.px, pool.px, equal_nan=True)

    def test_are_at_most_as_many_moments_as_wanted(self, folder: Path) -> None:
        views = detect_film(find_film(folder), filmed.board(), look_at=4, workers=1)
        assert len(views.frames) <= 4


class TestKept:
    def test_pictures_are_looked_at_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = detect_film(find_film(folder), filmed.board(), workers=1)
        monkeypatch.setattr(detecting, "_work", lambda task: pytest.fail("looked again"))
        again = detect_film(find_film(folder), filmed.board(), workers=1)
        assert np.array_equal(first.px, again.px, equal_nan=True)

    def test_another_board_is_another_thing(self, folder: Path) -> None:
        detect_film(find_film(folder), filmed.board(), workers=1)
        other = filmed.board().model_copy(update={"dictionary": "5X5_250"})
        assert len(detect_film(find_film(folder), other, workers=1).frames) == 0
        assert len(list(cache_folder().glob("*.npz"))) == 4

    def test_a_file_that_is_broken_is_as_if_it_were_not_there(self, folder: Path) -> None:
        first = detect_film(find_film(folder), filmed.board(), workers=1)
        for file in cache_folder().glob("*.npz"):
            file.write_bytes(b"PK broken")
        again = detect_film(find_film(folder), filmed.board(), workers=1)
        assert np.array_equal(first.px, again.px, equal_nan=True)

    def test_a_cache_that_cannot_be_written_stops_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RIGPOSE_CACHE", "/proc/no/such")
        assert len(detect_film(find_film(folder), filmed.board(), workers=1).frames) > 0


@pytest.mark.process
class TestEnd:
    def test_ctrl_c_leaves_no_worker_and_keeps_what_was_found(self, folder: Path, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "from nodes.calibrate import detecting\n"
            "from nodes.calibrate.pictures import find_film\n"
            "from calib.boards import read_board\n"
            "from rigpose.program import run\n"
            "detecting.SOON_S = 0.0\n"
            "detecting.CHUNK = 1\n"
            "if __name__ == '__main__':\n"
            "    film, board = find_film(sys.argv[1]), read_board(sys.argv[2])\n"
            "    print('go', flush=True)\n"
            "    def main():\n"
            "        while True: detecting.detect_film(film, board, workers=2, keep=True)\n"
            "    run(main)\n"
        )
        script = tmp_path / "long.py"
        # Without a cache that answers, so that there is always work.
        script.write_text(code.replace("keep=True", "keep=False"))
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), filmed.BOARD],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        assert process.stdout is not None
        process.stdout.readline()
        end = time.monotonic() + 20
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        process.stdout.close()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive
