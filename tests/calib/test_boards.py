from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.board_files import board_document
from calib.boards import DICTIONARIES, Board, marker_dictionary, read_board
from rigpose.errors import ConfigError

TEXTS = (
    "charuco:4x5:54:40.5:4X4_1000:inverted",
    "charuco:11x8:24:18.75:5X5_250:legacy",
    "charuco:5x7:36:27:4X4_50:inverted:two-sided",
    "charuco:5x7:36:27:4X4_100:first=20",
    "chessboard:9x6:30",
    "chessboard:4x7:59.94",
    "aprilgrid:6x6:40:0.3",
    "aprilgrid:6x5:88:0.3:APRILTAG_25h9",
    "aprilgrid:4x3:40:0.25:5X5_50:plain",
)


class TestText:
    @pytest.mark.parametrize("text", TEXTS)
    def test_a_boards_name_is_the_text_that_gives_it(self, text: str) -> None:
        board = read_board(text)
        assert board.name == text
        assert read_board(board.name) == board

    @pytest.mark.parametrize("text", TEXTS)
    def test_our_yaml_gives_the_same_board(self, text: str, tmp_path: Path) -> None:
        import yaml

        path = tmp_path / "board.yaml"
        path.write_text(yaml.safe_dump(board_document(read_board(text))))
        assert read_board(path) == read_board(text)
        path.write_text(f"version: 1\nboard: {text}\n")
        assert read_board(str(path)) == read_board(text)

    def test_dictionaries_are_known_by_their_common_names(self) -> None:
        for name in ("DICT_4X4_1000", "4x4_1000", "cv2.aruco.DICT_4X4_1000"):
            assert read_board(f"charuco:4x5:54:40.5:{name}").dictionary == "4X4_1000"
        for name in ("t36h11", "tag36h11", "APRILTAG_36H11"):
            assert read_board(f"aprilgrid:6x6:40:0.3:{name}").dictionary == "APRILTAG_36h11"
        assert len({name.lower() for name in DICTIONARIES}) == len(DICTIONARIES)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("charuco:4x5", "lacks square_mm"),
            ("charuco:4x5:54:60:4X4_50", "markers of 60 mm do not fit into 54 mm"),
            ("charuco:4x5:54:40:4X9_50", "no marker dictionary known here"),
            ("charuco:20x20:54:40:4X4_50", "ends at marker 49, this board needs 199"),
            ("charuco:4x5:54:40:4X4_50:upside", "has 'upside' at its end"),
            ("chessboard:9:30", "how many columns and rows"),
            ("chessboard:9x6:-3", "not a length"),
            ("chessboard:9x6:nan", "not a length"),
            ("chessboard:2x6:30", "too small"),
            ("chessboard:9x6:30:inverted", "neither inverted"),
            ("aprilgrid:6x6:40:9", "the gap 9.0 is no share"),
            ("aprilgrid:6x6:40:0.3:legacy", "only a charuco can be legacy"),
            ("my-board", "neither a board nor a file"),
            ("no-such.toml", "no such board file"),
        ],
    )
    def test_what_cannot_be_is_said_in_one_line(self, text: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            read_board(text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


class TestForeignFiles:
    def test_kalibr_aprilgrid_is_in_metres(self, tmp_path: Path) -> None:
        path = tmp_path / "target.yaml"
        path.write_text("target_type: 'aprilgrid'\ntagCols: 6\ntagRows: 5\ntagSize: 0.088\ntagSpacing: 0.3\n")
        assert read_board(path).name == "aprilgrid:6x5:88:0.3"

    def test_kalibr_checkerboard_counts_inner_corners(self, tmp_path: Path) -> None:
        path = tmp_path / "target.yaml"
        text = "target_type: checkerboard\ntargetCols: 7\ntargetRows: 6\nrowSpacingMeters: {}\ncolSpacingMeters: 0.06\n"
        path.write_text(text.format(0.06))
        assert read_board(path).name == "chessboard:7x6:60"
        path.write_text(text.format(0.05))
        with pytest.raises(ConfigError, match="not square"):
            read_board(path)

    def test_anipose_config(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(
            '[calibration]\nboard_type = "charuco"\nboard_size = [11, 8]\nboard_marker_bits = 4\n'
            "board_marker_dict_number = 50\nboard_marker_length = 18.75\nboard_square_side_length = 25\n"
        )
        assert read_board(path).name == "charuco:11x8:25:18.75:4X4_50"

    def test_caliscope_without_an_override_fills_the_paper(self, tmp_path: Path) -> None:
        path = tmp_path / "charuco.toml"
        path.write_text(
            'columns = 4\nrows = 5\nboard_height = 11.0\nboard_width = 8.5\ndictionary = "DICT_4X4_50"\n'
            'units = "inch"\naruco_scale = 0.75\ninverted = false\n'
        )
        # 8.5 / 4 and 11 / 5 inches: the smaller one.
        assert read_board(path).square_mm == pytest.approx(2.125 * 25.4)

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("board.toml", "board_x = 8\n", "has no board_y"),
            ("board.toml", "some = 8\n", "holds no board"),
            ("board.toml", "= 8\n", "is not TOML"),
            ("board.yaml", "version: 2\nboard: chessboard:9x6:30\n", "version"),
            ("board.yaml", "version: 1\n", "has no key board"),
            ("board.yaml", "version: 1\nboard: {kind: chessboard, columns: 9, rows: 6, square_mm: 3, row: 3}\n", "row"),
            ("board.yaml", "target_type: circlegrid\n", "circlegrid"),
        ],
    )
    def test_a_file_that_holds_no_board_is_named(self, tmp_path: Path, name: str, text: str, said: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ConfigError, match="row|has no|holds no|is not|version|circlegrid") as caught:
            read_board(path)
        assert said in str(caught.value)
        assert name in str(caught.value)

    @pytest.mark.data
    def test_files_beside_real_recordings(self, data_dir: Path) -> None:
        names = {
            "charuco4-webcams/charuco.toml": "charuco:4x5:54:40.5:4X4_1000:inverted",
            "charuco4-webcams/config.toml": "charuco:4x5:54:40.5:4X4_1000:inverted",
            "charuco4-intrinsic/charuco.toml": "charuco:4x5:54:40.5:4X4_1000:inverted",
            "mouse4-sleap/board.toml": "charuco:8x11:24:18.75:4X4_1000",
        }
        assert {file: read_board(data_dir / file).name for file in names} == names


class TestPoints:
    def test_the_frame_starts_at_the_first_point_and_is_in_mm(self) -> None:
        board = read_board("chessboard:4x3:30")
        assert board.count == 12
        np.testing.assert_allclose(board.points_mm[:2], [[0, 0, 0], [30, 0, 0]])
        np.testing.assert_allclose(board.points_mm[-1], [90, 60, 0])
        assert board.size_mm == (150, 120)

    @pytest.mark.parametrize("legacy", [False, True])
    @pytest.mark.parametrize("size", [(8, 11), (11, 8), (4, 5), (5, 4), (6, 6), (7, 7)])
    def test_charuco_points_and_markers_are_opencvs(self, size: tuple[int, int], legacy: bool) -> None:
        theirs = cv2.aruco.CharucoBoard(size, 24, 18, marker_dictionary("4X4_1000"))
        theirs.setLegacyPattern(legacy)
        ours = read_board(f"charuco:{size[0]}x{size[1]}:24:18:4X4_1000{':legacy' if legacy else ''}")
        np.testing.assert_allclose(ours.points_mm, np.asarray(theirs.getChessboardCorners()) - [24, 24, 0], atol=1e-4)
        assert list(ours.markers) == list(np.ravel(theirs.getIds()))
        for corners, their_corners in zip(ours.markers.values(), theirs.getObjPoints(), strict=True):
            np.testing.assert_allclose(corners, np.asarray(their_corners)[:, :2] - 24, atol=1e-4)

    def test_plain_aprilgrid_points_are_those_of_opencvs_grid_board(self) -> None:
        theirs = cv2.aruco.GridBoard((4, 3), 40, 10, marker_dictionary("5X5_50"))
        ours = read_board("aprilgrid:4x3:40:0.25:5X5_50:plain")
        for corners, their_corners in zip(ours.markers.values(), theirs.getObjPoints(), strict=True):
            np.testing.assert_allclose(corners, np.asarray(their_corners)[:, :2], atol=1e-4)

    def test_kalibr_aprilgrid_starts_at_the_bottom_left_and_tags_stand_on_opencvs_head(self) -> None:
        board = read_board("aprilgrid:4x3:40:0.25")
        np.testing.assert_allclose(board.markers[0].mean(axis=0), [20, 120])
        np.testing.assert_allclose(board.markers[11].mean(axis=0), [170, 20])
        np.testing.assert_allclose(board.markers[8][0], [40, 40])

    @pytest.mark.parametrize(
        ("text", "ambiguous"),
        [("chessboard:9x6:30", False), ("chessboard:7x5:30", True), ("chessboard:8x8:30", True), (TEXTS[0], False)],
    )
    def test_a_chessboard_that_looks_the_same_upside_down_says_so(self, text: str, ambiguous: bool) -> None:
        assert read_board(text).ambiguous is ambiguous

    def test_a_changed_copy_forgets_what_was_computed(self) -> None:
        board = read_board("chessboard:9x6:30")
        assert board.points_mm[1, 0] == 30
        assert board.model_copy(update={"square_mm": 20.0}).points_mm[1, 0] == 20

    def test_a_board_is_a_value(self) -> None:
        board = read_board(TEXTS[0])
        assert board == Board.model_validate(board.model_dump())
        assert not board.points_mm.flags.writeable
