from __future__ import annotations

import dataclasses
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.boards import Board, read_board
from calib.detect import detect
from calib.sheet import MARGIN_MM, PAGES_MM, Sheet, lay_out, picture, write_pdf, write_png
from rigpose.errors import ConfigError, MissingError

BOARDS = (
    "charuco:5x7:36:27:4X4_100",
    "charuco:4x5:40:30:4X4_1000:inverted",
    "chessboard:9x6:25",
    "aprilgrid:6x6:22:0.3",
)


def errors_mm(pixels: np.ndarray, sheet: Sheet) -> np.ndarray:
    """(N, 2) how far each point on the page is from where the sheet says it is."""
    board = sheet.board
    found = detect(np.ascontiguousarray(pixels), board)
    assert found is not None and len(found) == board.count
    # A page is no whole number of pixels: the viewer stretches it by a part of one.
    on_page = (found.px + 0.5) * sheet.size_mm / pixels.shape[::-1]
    return on_page - (board.points_mm[:, :2] - board.outline_mm[0] + sheet.pattern_mm)


class TestTrueScale:
    @pytest.mark.parametrize("text", BOARDS)
    def test_a_rasterised_pdf_is_detected_where_the_board_says(self, text: str, tmp_path: Path) -> None:
        pypdfium2 = pytest.importorskip("pypdfium2")
        pytest.importorskip("reportlab")
        sheet = lay_out(read_board(text))
        write_pdf(sheet, tmp_path / "board.pdf")
        document = pypdfium2.PdfDocument(tmp_path / "board.pdf")
        page = document[0]
        assert np.allclose(np.array(page.get_size()) / 72 * 25.4, sheet.size_mm, atol=0.01)
        text_on_page = page.get_textpage().get_text_range()
        assert sheet.board.name in text_on_page
        assert "Print at 100 %" in text_on_page
        pixels = page.render(scale=150 / 72, grayscale=True).to_numpy().squeeze()
        off = errors_mm(pixels, sheet)
        assert np.abs(off).max() < 0.15
        # The scale itself: over the whole board a twentieth of a millimetre.
        assert np.ptp(off, axis=0).max() < 0.05
        document.close()

    @pytest.mark.parametrize("text", BOARDS)
    def test_a_png_is_detected_where_the_board_says_and_knows_its_scale(self, text: str, tmp_path: Path) -> None:
        sheet = lay_out(read_board(text))
        write_png(sheet, tmp_path / "board.png", dpi=200)
        encoded = (tmp_path / "board.png").read_bytes()
        at = encoded.index(b"pHYs")
        assert struct.unpack(">IIB", encoded[at + 4 : at + 13]) == (7874, 7874, 1)
        pixels = np.asarray(cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE))
        assert pixels.shape == tuple(round(side / 25.4 * 200) for side in sheet.size_mm[::-1])
        off = errors_mm(pixels, sheet)
        assert np.abs(off).max() < 0.15
        assert np.ptp(off, axis=0).max() < 0.07

    def test_the_printed_line_is_as_long_as_it_says(self) -> None:
        sheet = lay_out(read_board(BOARDS[0]))
        pixels = picture(sheet, dpi=254)
        left, top, length = sheet.ruler_mm
        line = pixels[round((top + 2.9) * 10), :]
        dark = np.flatnonzero(line < 128)
        assert dark[-1] - dark[0] + 1 == pytest.approx(length * 10, abs=1)
        assert f"{length:g} mm" in sheet.lines[0]

    def test_the_same_board_gives_the_same_file(self, tmp_path: Path) -> None:
        pytest.importorskip("reportlab")
        sheet = lay_out(read_board(BOARDS[2]))
        write_pdf(sheet, tmp_path / "a.pdf")
        write_pdf(sheet, tmp_path / "b.pdf")
        assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


class TestPages:
    def test_the_smallest_page_that_fits_is_taken_upright_or_lying(self) -> None:
        assert lay_out(read_board("charuco:5x7:36:27:4X4_100")).size_mm == PAGES_MM["a4"]
        assert lay_out(read_board("chessboard:9x6:25")).size_mm == PAGES_MM["a4"][::-1]
        assert lay_out(read_board("charuco:4x5:54:40.5:4X4_1000:inverted")).page == "a3"

    @pytest.mark.parametrize("text", BOARDS)
    @pytest.mark.parametrize("page", ["a3", "tabloid", "500x600", "auto"])
    def test_everything_lies_within_the_margins(self, text: str, page: str) -> None:
        sheet = lay_out(read_board(text), page)
        width, height = sheet.board.size_mm
        left, top = sheet.pattern_mm
        assert left >= MARGIN_MM - 1e-9 and left + width <= sheet.size_mm[0] - MARGIN_MM + 1e-9
        assert top >= MARGIN_MM - 1e-9 and top + height < sheet.ruler_mm[1]
        assert sheet.ruler_mm[0] + sheet.ruler_mm[2] <= sheet.size_mm[0] - MARGIN_MM + 1e-9
        assert sheet.ruler_mm[1] + 12 <= sheet.size_mm[1] - 3

    @pytest.mark.parametrize("text", ["charuco:5x7:60:45:4X4_100", "chessboard:12x9:40", "aprilgrid:6x6:40:0.3"])
    @pytest.mark.parametrize("page", ["a4", "letter", "300x300"])
    def test_a_board_that_is_too_large_says_what_would_fit(self, text: str, page: str) -> None:
        board = read_board(text)
        with pytest.raises(ConfigError, match="does not fit on") as caught:
            lay_out(board, page)
        assert "\n" not in str(caught.value)
        side = float(str(caught.value).split("at most ")[1].split(" mm")[0])
        share = side / board.square_mm
        smaller = board.model_copy(update={"square_mm": side, "marker_mm": board.marker_mm * share})
        assert lay_out(Board.model_validate(smaller.model_dump()), page).board.square_mm == side

    @pytest.mark.parametrize("page", ["a7", "x", "0x0", "10x99999", "nanxnan"])
    def test_a_page_that_is_none_is_named(self, page: str) -> None:
        with pytest.raises(ConfigError, match="is no page known here"):
            lay_out(read_board(BOARDS[0]), page)


class TestFiles:
    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "board.png"
        path.write_bytes(b"mine")
        with pytest.raises(ConfigError, match="nothing is overwritten"):
            write_png(lay_out(read_board(BOARDS[0])), path, dpi=100)
        assert path.read_bytes() == b"mine"

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is no folder"):
            write_png(lay_out(read_board(BOARDS[0])), tmp_path / "none" / "board.png", dpi=100)

    def test_a_resolution_that_cannot_be_is_refused(self, tmp_path: Path) -> None:
        sheet = dataclasses.replace(lay_out(read_board(BOARDS[0])), size_mm=(5000.0, 5000.0))
        with pytest.raises(ConfigError, match="--dpi 1200"):
            write_png(sheet, tmp_path / "board.png", dpi=1200)

    def test_without_the_extra_the_error_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "reportlab.pdfgen.canvas", None)
        with pytest.raises(MissingError, match=r"rigpose\[calibrate\]"):
            write_pdf(lay_out(read_board(BOARDS[0])), tmp_path / "board.pdf")
