from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calib import corners, detect_markers
from calib.board_files import read
from calib.boards import Board, read_board
from calib.detect import Detection, detect
from calib.pattern import board_to_picture, draw
from rigpose.errors import ConfigError
from tests.calib import pictured

BOARDS = (
    "charuco:5x7:36:27:4X4_100",
    "charuco:4x5:54:40.5:4X4_1000:inverted",
    "charuco:7x6:24:18:5X5_250:legacy",
    "chessboard:9x6:30",
    "aprilgrid:6x4:40:0.3",
    "aprilgrid:4x3:40:0.3:5X5_50:plain",
)
LENSES = {
    "pinhole": (pictured.camera(), 2.2),
    "barrel": (pictured.camera(f=580, dist=(-0.3, 0.1, 0, 0)), 1.7),
    "fisheye": (pictured.camera(f=350, dist=(0.02, -0.01, 0.003, 0), fisheye=True), 1.2),
}
AMBIGUOUS = ("chessboard:7x5:30", "chessboard:6x6:30")


def turned(picture: np.ndarray, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(picture, quarters))


class TestDrawnBoards:
    @pytest.mark.parametrize("text", [*BOARDS, *AMBIGUOUS])
    def test_what_is_drawn_is_what_is_expected(self, text: str) -> None:
        board = read_board(text)
        scale = 40 / board.square_mm
        found = detect(draw(board, scale), board)
        assert found is not None
        assert list(found.ids) == list(range(board.count))
        there = cv2.perspectiveTransform(board.points_mm[None, :, :2], board_to_picture(board, scale))[0]
        np.testing.assert_allclose(found.px, there, atol=0.08)

    def test_opencv_draws_the_same_charuco(self) -> None:
        theirs = cv2.aruco.CharucoBoard((5, 4), 54, 40.5, detect_markers.marker_dictionary("5X5_100"))
        theirs.setLegacyPattern(True)
        picture = cv2.copyMakeBorder(theirs.generateImage((600, 480)), 30, 30, 30, 30, cv2.BORDER_CONSTANT, value=255)
        board = read_board("charuco:5x4:54:40.5:5X5_100:legacy")
        found = detect(picture, board)
        assert found is not None and len(found) == board.count
        np.testing.assert_allclose(found.px, board.points_mm[:, :2] / 54 * 120 + 149.5, atol=0.1)

    @pytest.mark.parametrize("text", BOARDS)
    @pytest.mark.parametrize("lens", LENSES)
    def test_through_a_lens_to_a_tenth_of_a_pixel(self, text: str, lens: str) -> None:
        board = read_board(text)
        view, away = LENSES[lens]
        at = pictured.pose(board, away=away)
        found = detect(pictured.picture(board, view, at), board)
        assert found is not None
        error = np.linalg.norm(found.px - pictured.truth(board, view, at)[found.ids], axis=1)
        assert len(found) == board.count
        assert error.mean() < 0.07
        assert np.percentile(error, 90) < 0.1
        assert error.max() < 0.25

    @pytest.mark.parametrize("text", BOARDS)
    def test_the_numbers_stay_with_the_board_when_it_is_turned(self, text: str) -> None:
        board = read_board(text)
        view = pictured.camera()
        for turn in (95, 180, 265):
            at = pictured.pose(board, away=2.5, turn_deg=(15, -10, turn))
            found = detect(pictured.picture(board, view, at), board)
            assert found is not None and len(found) >= 0.9 * board.count
            error = np.linalg.norm(found.px - pictured.truth(board, view, at)[found.ids], axis=1)
            assert error.max() < 0.3

    @pytest.mark.parametrize("text", AMBIGUOUS)
    def test_an_ambiguous_chessboards_x_axis_points_to_the_right(self, text: str) -> None:
        board = read_board(text)
        assert board.ambiguous
        upright = draw(board, 1.2)
        for quarters in range(4):
            found = detect(turned(upright, quarters), board)
            assert found is not None and len(found) == board.count
            grid = found.px.reshape(board.rows, board.columns, 2)
            x, y = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
            assert x[0] * y[1] - x[1] * y[0] > 0
            if board.rows == board.columns or quarters % 2 == 0:
                assert x[0] > 0 and abs(x[1]) < 1

    def test_colour_and_grey_pictures_give_the_same(self) -> None:
        board = read_board(BOARDS[0])
        gray = draw(board, 1.5)
        a, b = detect(gray, board), detect(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), board)
        assert a is not None and b is not None
        np.testing.assert_array_equal(a.px, b.px)

    def test_the_back_of_a_two_sided_board(self) -> None:
        board = read_board(BOARDS[0])
        picture = draw(board, 1.5)
        behind = np.ascontiguousarray(picture[:, ::-1])
        assert detect(behind, board) is None
        found = detect(behind, board.model_copy(update={"two_sided": True}))
        front = detect(picture, board)
        assert found is not None and front is not None
        np.testing.assert_allclose(found.px[:, 0], picture.shape[1] - 1 - front.px[:, 0], atol=1e-9)
        np.testing.assert_array_equal(found.ids, front.ids)

    def test_a_hidden_part_is_left_out_and_the_rest_stays_right(self) -> None:
        board = read_board("charuco:8x6:30:22:4X4_100")
        view, at = pictured.camera(), pictured.pose(board, away=1.9)
        picture = pictured.picture(board, view, at)
        truth = pictured.truth(board, view, at)
        picture[:, : int(np.median(truth[:, 0]))] = 90
        found = detect(picture, board)
        assert found is not None and 8 <= len(found) < 0.7 * board.count
        assert np.linalg.norm(found.px - truth[found.ids], axis=1).max() < 0.25

    def test_a_marker_that_cannot_be_read_costs_no_corner(self) -> None:
        board = read_board(BOARDS[0])
        scale = 1.5
        picture = draw(board, scale)
        matrix = board_to_picture(board, scale)
        for number in (5, 8):
            low, high = cv2.perspectiveTransform(board.markers[number][None, [0, 2]], matrix)[0].astype(int)
            picture[low[1] : high[1], low[0] : high[0]] = 128
        found = detect(picture, board)
        assert found is not None and len(found) == board.count


class TestWhatIsNoBoard:
    @pytest.mark.parametrize("text", BOARDS)
    def test_nothing_in_noise_or_in_an_empty_picture(self, text: str) -> None:
        board = read_board(text)
        assert detect(np.full((480, 640), 127, np.uint8), board) is None
        assert detect(np.random.default_rng(1).integers(0, 255, (480, 640), np.uint8), board) is None

    @pytest.mark.parametrize(
        ("shown", "wanted"),
        [
            ("charuco:8x11:24:18:4X4_1000", "charuco:11x8:24:18:4X4_1000"),
            ("charuco:5x4:36:27:4X4_100", "charuco:5x4:36:27:4X4_100:legacy"),
            ("charuco:5x4:36:27:4X4_100", "charuco:5x4:36:27:4X4_100:inverted"),
            ("charuco:5x4:36:27:4X4_100", "charuco:5x4:36:27:5X5_100"),
            ("chessboard:9x6:30", "chessboard:8x6:30"),
            ("aprilgrid:6x4:40:0.3", "aprilgrid:4x6:40:0.3"),
        ],
    )
    def test_another_board_is_not_taken_for_it(self, shown: str, wanted: str) -> None:
        assert detect(draw(read_board(shown), 1.5), read_board(wanted)) is None

    def test_one_marker_alone_is_not_believed(self) -> None:
        board = read_board(BOARDS[0])
        assert detect_markers.consistent(board, {3: np.array([[0, 0], [9, 0], [9, 9], [0, 9.0]])}) == []

    def test_a_picture_of_another_type_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="not uint8"):
            detect(np.zeros((10, 10), np.float32), read_board(BOARDS[0]))


class TestCorners:
    def test_a_stray_corner_is_dropped(self) -> None:
        board = read_board("chessboard:9x6:30")
        px = board.points_mm[:, :2] * 1.1 + 40
        moved = px.copy()
        moved[20] += (3.0, -2.0)
        ids, kept = corners.without_strays(board.points_mm[:, :2], 30, np.arange(board.count), moved)
        assert list(np.setdiff1d(np.arange(board.count), ids)) == [20]
        np.testing.assert_array_equal(kept, px[ids])

    def test_local_maps_are_exact_in_perspective(self) -> None:
        matrix = np.array([[1.2, 0.1, 50], [-0.2, 1.1, 80], [4e-4, -3e-4, 1]])
        board = read_board("chessboard:5x4:20").points_mm[:, :2]
        px = cv2.perspectiveTransform(board[None], matrix)[0]
        told = corners.local_maps(board, board, px, 8, without_self=True)
        np.testing.assert_allclose(told.px, px, atol=1e-5)
        step = 1e-4
        right = cv2.perspectiveTransform((board + [step, 0])[None], matrix)[0]
        np.testing.assert_allclose(told.right, (right - px) / step, atol=1e-3)

    def test_detection_spreads_to_all_points(self) -> None:
        px = Detection(np.array([1, 3]), np.array([[1.0, 2.0], [3.0, 4.0]])).spread(4)
        np.testing.assert_array_equal(np.isnan(px[:, 0]), [True, False, True, False])
        np.testing.assert_array_equal(px[3], [3, 4])


def stills(folder: Path, pattern: str, every: int = 1) -> list[np.ndarray]:
    files = sorted(folder.glob(pattern))[::every]
    assert files
    return [np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) for file in files]


def frames(file: Path, every: int) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(file))
    pictures: list[np.ndarray] = []
    while True:
        there, picture = video.read()
        if not there:
            return pictures[::every]
        pictures.append(np.asarray(picture))


def intrinsic_residual(board: Board, found: list[Detection], size: tuple[int, int]) -> np.ndarray:
    """Distances in px between corners and a camera fitted to them by OpenCV."""
    objects = [board.points_mm[d.ids].astype(np.float32) for d in found]
    images = [d.px.astype(np.float32) for d in found]
    _, K, dist, rvecs, tvecs = cv2.calibrateCamera(objects, images, size, None, None)[:5]
    return np.concatenate(
        [
            np.linalg.norm(cv2.projectPoints(o, r, t, K, dist)[0].reshape(-1, 2) - p, axis=1)
            for o, p, r, t in zip(objects, images, rvecs, tvecs, strict=True)
        ]
    )


@pytest.mark.data
class TestRealPictures:
    def test_mouse_every_still_and_a_residual_below_the_peers(self, data_dir: Path) -> None:
        board = read(data_dir / "mouse4-sleap/board.toml")
        pictures = stills(data_dir, "mouse4-sleap/back/calibration_images/*.jpg", every=2)
        found = [detection for picture in pictures if (detection := detect(picture, board)) is not None]
        assert len(found) == len(pictures)
        assert min(map(len, found)) >= 60
        residual = intrinsic_residual(board, found, (1280, 1024))
        assert np.median(residual) < 0.16
        assert np.sqrt((residual**2).mean()) < 0.3

    def test_stereo_chessboards_all_corners_of_all_pictures(self, data_dir: Path) -> None:
        board = read_board("chessboard:9x6:30")
        for side in ("left", "right"):
            pictures = stills(data_dir, f"stereo-checkerboard/{side}*.jpg")
            found = [detection for picture in pictures if (detection := detect(picture, board)) is not None]
            assert len(found) == len(pictures)
            assert min(map(len, found)) >= 50
            residual = intrinsic_residual(board, found, (640, 480))
            # OpenCV's own corners: 0.198 and 0.210.
            assert np.sqrt((residual**2).mean()) < 0.19

    def test_portrait_pictures_of_a_large_chessboard(self, data_dir: Path) -> None:
        board = read_board("chessboard:4x7:60")
        folder = data_dir / "human4-balance/calibration/intrinsics"
        found = [detect(picture, board) for picture in stills(folder, "int_cam03_img/*.jpg")]
        assert all(detection is not None and len(detection) >= 27 for detection in found)

    def test_inverted_board_in_webcam_videos(self, data_dir: Path) -> None:
        board = read(data_dir / "charuco4-webcams/charuco.toml")
        pictures = frames(data_dir / "charuco4-webcams/calibration/extrinsic/cam_0.mp4", every=3)
        found = [detect(picture, board) for picture in pictures]
        assert sum(detection is not None for detection in found) >= 14
        assert np.mean([len(detection) for detection in found if detection is not None]) > 11

    def test_the_back_of_the_board_in_one_of_the_intrinsic_videos(self, data_dir: Path) -> None:
        board = read(data_dir / "charuco4-intrinsic/charuco.toml")
        pictures = frames(data_dir / "charuco4-intrinsic/calibration/intrinsic/cam_1.mp4", every=8)
        assert all(detect(picture, board) is None for picture in pictures)
        both = board.model_copy(update={"two_sided": True})
        assert all(detect(picture, both) is not None for picture in pictures)
