from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.board_doctor import diagnose
from calib.boards import Board, read_board
from calib.pattern import draw
from tests.calib import pictured


def drawn(text: str, count: int = 3) -> list[np.ndarray]:
    """A few views of a board."""
    board = read_board(text)
    view = pictured.camera()
    turns = ((10, -20, 5), (-15, 10, 95), (20, 15, 170))[:count]
    return [pictured.picture(board, view, pictured.pose(board, away=2.0, turn_deg=turn)) for turn in turns]


def mirrored(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]


def same_print(a: Board, b: Board) -> bool:
    """Whether two descriptions put the same ink at the same places (a dictionary may have a longer name)."""
    return a.size_mm == b.size_mm and np.array_equal(draw(a, 1.0), draw(b, 1.0))


class TestDrawnBoards:
    @pytest.mark.parametrize(
        ("shown", "described"),
        [
            ("charuco:5x4:36:27:4X4_100", "charuco:4x5:36:27:4X4_100"),
            ("charuco:5x4:36:27:4X4_100:legacy", "charuco:5x4:36:27:4X4_100"),
            ("charuco:5x4:36:27:4X4_100", "charuco:5x4:36:27:4X4_100:legacy"),
            ("charuco:5x4:36:27:4X4_100:inverted", "charuco:5x4:36:27:4X4_100"),
            ("charuco:5x4:36:27:6X6_250", "charuco:5x4:36:27:4X4_50"),
            ("charuco:7x5:36:27:5X5_100", "charuco:5x4:36:27:5X5_100"),
            ("charuco:6x4:36:27:4X4_50:legacy:inverted", "charuco:4x6:36:27:5X5_50"),
            ("aprilgrid:5x4:40:0.3", "aprilgrid:4x5:40:0.3"),
            ("aprilgrid:5x4:40:0.3", "aprilgrid:5x4:40:0.3:plain"),
            ("aprilgrid:5x4:40:0.3:5X5_50:plain", "aprilgrid:5x4:40:0.3"),
            ("charuco:5x4:36:27:4X4_100:first=20", "charuco:5x4:36:27:4X4_100"),
        ],
    )
    def test_the_right_description_is_named(self, shown: str, described: str) -> None:
        diagnosis = diagnose(drawn(shown), read_board(described))
        assert diagnosis.best is not None and not diagnosis.fits and not diagnosis.mirrored
        assert same_print(diagnosis.best.board, read_board(shown)), str(diagnosis)
        assert diagnosis.best.board.name in str(diagnosis)

    def test_one_that_fits_is_left_alone(self) -> None:
        diagnosis = diagnose(drawn("charuco:5x4:36:27:4X4_100"), read_board("charuco:5x4:36:27:4X4_100"))
        assert diagnosis.fits and diagnosis.best is diagnosis.given
        assert len(diagnosis.trials) == 1
        assert "fits" in str(diagnosis)

    def test_mirrored_pictures_are_told_from_the_back_of_a_board(self) -> None:
        diagnosis = diagnose(mirrored(drawn("charuco:5x4:36:27:4X4_100")), read_board("charuco:5x4:36:27:4X4_100"))
        assert diagnosis.mirrored
        assert "mirrored" in str(diagnosis) and ":two-sided" in str(diagnosis)

    def test_another_size_of_markers_is_measured(self) -> None:
        diagnosis = diagnose(drawn("charuco:5x4:36:27:4X4_100"), read_board("charuco:4x5:36:18:4X4_100"))
        assert diagnosis.best is not None
        assert diagnosis.best.board.marker_mm == pytest.approx(27, rel=0.05)
        assert "ruler" in str(diagnosis)

    def test_a_chessboard_described_by_its_squares(self) -> None:
        diagnosis = diagnose(drawn("chessboard:9x6:25"), read_board("chessboard:10x7:25"))
        assert diagnosis.best is not None and diagnosis.best.board.name == "chessboard:9x6:25"
        assert "inner corners" in str(diagnosis)

    def test_a_chessboard_of_another_size(self) -> None:
        diagnosis = diagnose(drawn("chessboard:9x6:25", count=1), read_board("chessboard:7x4:25"))
        assert diagnosis.best is not None
        assert {diagnosis.best.board.columns, diagnosis.best.board.rows} == {9, 6}

    def test_nothing_to_see_is_said_with_a_reason(self) -> None:
        dark = diagnose([np.full((240, 320), 12, np.uint8)], read_board("charuco:5x4:36:27:4X4_100"))
        assert dark.best is None and "dark" in str(dark)
        noise = np.random.default_rng(2).integers(0, 255, (240, 320), np.uint8)
        assert diagnose([noise], read_board("chessboard:9x6:25")).best is None
        assert "no pictures" in str(diagnose([], read_board("chessboard:9x6:25")))

    def test_the_document_is_plain(self) -> None:
        document = diagnose(drawn("charuco:5x4:36:27:4X4_100", 1), read_board("charuco:4x5:36:27:4X4_100")).document()
        assert json.loads(json.dumps(document)) == document
        assert document["best"]["board"] == "charuco:5x4:36:27:4X4_100"


Stills = Callable[[str, int], list[np.ndarray]]

WEBCAM, MOUSE = "charuco:4x5:54:40.5:4X4_1000:inverted", "charuco:8x11:24:18.75:4X4_1000"


@pytest.fixture(scope="module")
def stills(data_dir: Path) -> Stills:
    """Every nth picture of a folder's images, or of a video."""

    def read(pattern: str, every: int) -> list[np.ndarray]:
        files = sorted(data_dir.glob(pattern))
        assert files
        if files[0].suffix != ".mp4":
            return [np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) for file in files[::every]]
        video = cv2.VideoCapture(str(files[0]))
        pictures: list[np.ndarray] = []
        while True:
            there, picture = video.read()
            if not there:
                return pictures[::every]
            pictures.append(np.asarray(picture))

    return read


@pytest.mark.data
@pytest.mark.slow
class TestRealPictures:
    @pytest.mark.parametrize(
        "described",
        [
            "charuco:5x4:54:40.5:4X4_1000:inverted",
            "charuco:4x5:54:40.5:4X4_1000",
            "charuco:4x5:54:40.5:5X5_100:inverted",
            "charuco:5x4:54:40.5:4X4_1000:legacy:inverted",
            "charuco:5x7:54:40.5:6X6_250",
            "chessboard:3x4:54",
        ],
    )
    def test_the_inverted_webcam_board(self, stills: Stills, described: str) -> None:
        pictures = stills("charuco4-intrinsic/calibration/intrinsic/cam_0.mp4", 16)
        best = diagnose(pictures, read_board(described)).best
        assert best is not None and not best.mirrored and best.found == best.pictures
        found = best.board.model_copy(update={"marker_mm": 40.5})
        assert same_print(found, read_board(WEBCAM)), best.board.name
        assert best.board.marker_mm == pytest.approx(40.5, rel=0.05)

    def test_the_boards_back_in_one_of_the_webcam_videos(self, stills: Stills) -> None:
        pictures = stills("charuco4-intrinsic/calibration/intrinsic/cam_1.mp4", 16)
        diagnosis = diagnose(pictures, read_board(WEBCAM))
        assert diagnosis.mirrored and diagnosis.given.found == 0
        assert ":two-sided" in str(diagnosis)

    @pytest.mark.parametrize(
        "described",
        [
            "charuco:11x8:24:18.75:4X4_1000",
            "charuco:11x8:24:18.75:4X4_1000:legacy",
            "charuco:8x11:24:18.75:4X4_1000:inverted",
            "charuco:8x11:24:18.75:5X5_250",
        ],
    )
    def test_the_mouse_board(self, stills: Stills, described: str) -> None:
        pictures = stills("mouse4-sleap/*/calibration_images/*.jpg", 28)
        best = diagnose(pictures, read_board(described)).best
        assert best is not None and not best.mirrored and best.found == best.pictures
        assert same_print(best.board, read_board(MOUSE)), best.board.name

    def test_mirrored_pictures_of_the_mouse_board(self, stills: Stills) -> None:
        pictures = mirrored(stills("mouse4-sleap/*/calibration_images/*.jpg", 28))
        diagnosis = diagnose(pictures, read_board(MOUSE))
        assert diagnosis.mirrored and diagnosis.best is not None and diagnosis.best.board == read_board(MOUSE)

    def test_with_an_odd_number_of_rows_legacy_makes_no_difference(self, stills: Stills) -> None:
        pictures = stills("mouse4-sleap/*/calibration_images/*.jpg", 28)
        assert diagnose(pictures, read_board(MOUSE + ":legacy")).fits

    @pytest.mark.parametrize("described", ["chessboard:10x7:30", "charuco:10x7:30:22:4X4_50"])
    def test_the_stereo_chessboard(self, stills: Stills, described: str) -> None:
        best = diagnose(stills("stereo-checkerboard/left*.jpg", 5), read_board(described)).best
        assert best is not None and best.board.name == "chessboard:9x6:30"

    def test_the_portrait_chessboard(self, stills: Stills) -> None:
        pictures = stills("human4-balance/calibration/intrinsics/int_cam03_img/*.jpg", 3)
        best = diagnose(pictures, read_board("chessboard:5x8:60")).best
        assert best is not None and best.board.name == "chessboard:4x7:60"
        assert diagnose(pictures, read_board("chessboard:7x4:60")).fits
