"""A board on paper: PDF and PNG at true scale, with a line to hold a ruler against and the board's own text."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from calib.boards import Board, number_text
from calib.pattern import black_mm, board_to_picture, draw
from rigpose.errors import ConfigError
from rigpose.extras import missing

PAGES_MM = {
    "a5": (148.0, 210.0),
    "a4": (210.0, 297.0),
    "a3": (297.0, 420.0),
    "a2": (420.0, 594.0),
    "a1": (594.0, 841.0),
    "a0": (841.0, 1189.0),
    "letter": (215.9, 279.4),
    "legal": (215.9, 355.6),
    "tabloid": (279.4, 431.8),
}
"""(width, height) of the papers known by name, upright."""

MARGIN_MM = 5.0
"""What most printers leave white at each rim of a page."""

MIN_QUIET_MM = 3.0
FOOTER_MM = 15.0
MAX_PIXELS = 400_000_000


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where everything lies on the page; lengths in mm from the top left.

    Attributes:
        board: What is printed.
        page: Its name, or ``WIDTHxHEIGHT``.
        size_mm: (width, height) of the page as it lies.
        pattern_mm: (left, top) of the pattern.
        ruler_mm: (left, top, length) of the line for a ruler.
        lines: What is written beside and below it.
    """

    board: Board
    page: str
    size_mm: tuple[float, float]
    pattern_mm: tuple[float, float]
    ruler_mm: tuple[float, float, float]
    lines: tuple[str, ...]


def lay_out(board: Board, page: str = "auto") -> Sheet:
    """Put a board on a page, upright or lying, whichever fits.

    Args:
        board: What to print.
        page: A name in `PAGES_MM`, ``WIDTHxHEIGHT`` in mm, or ``auto`` = the smallest of A4 to A0 that it fits on.

    Raises:
        ConfigError: There is no such page, or the board is larger than it; says what would fit.
    """
    name = page.strip().lower()
    if name == "auto":
        for candidate in ("a4", "a3", "a2", "a1", "a0"):
            size = _fitting(board, PAGES_MM[candidate])
            if size is not None:
                return _placed(board, candidate, size)
        raise _too_large(board, "a0")
    size = _fitting(board, _page_mm(name))
    if size is None:
        raise _too_large(board, name)
    return _placed(board, name, size)


def write_pdf(sheet: Sheet, path: str | Path) -> None:
    """Write the sheet as PDF: vectors, true scale.

    Raises:
        ConfigError: The file exists (nothing is overwritten) or cannot be written.
        MissingError: reportlab is not installed.
    """
    try:
        from reportlab.pdfgen.canvas import Canvas
    except ImportError as error:
        raise (missing(error.name or "reportlab") or missing("reportlab") or error) from None
    path = _new_file(path)
    point = 72 / 25.4
    width, height = (side * point for side in sheet.size_mm)
    # Without the date of today, the same board gives the same file.
    canvas = Canvas(str(path), pagesize=(width, height), invariant=True)
    canvas.setTitle(sheet.board.name)
    canvas.setCreator("rigpose")
    left, top = sheet.pattern_mm

    def fill(boxes_mm: np.ndarray) -> None:
        # In one path no viewer draws seams between bits that touch; a box inside another one is left white.
        outline = canvas.beginPath()
        for x0, y0, x1, y1 in boxes_mm.tolist():
            outline.rect(x0 * point, height - y1 * point, (x1 - x0) * point, (y1 - y0) * point)
        canvas.drawPath(outline, stroke=0, fill=1, fillMode=0)

    outline_mm = sheet.board.outline_mm
    boxes = black_mm(sheet.board)
    if sheet.board.inverted:
        boxes = np.concatenate([np.concatenate([outline_mm[0], outline_mm[2]])[None], boxes])
    fill(boxes + np.tile([left, top] - outline_mm[0], 2))
    fill(_ruler(sheet))
    canvas.setFont("Helvetica", 8)
    for (x, y), text in zip(_text_places(sheet), sheet.lines, strict=True):
        canvas.drawString(x * point, height - y * point, text)
    try:
        canvas.save()
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "give another path") from None


def picture(sheet: Sheet, dpi: int = 300) -> UInt8[np.ndarray, "H W"]:
    """The sheet as grey pixels.

    Raises:
        ConfigError: It would have more than `MAX_PIXELS`.
    """
    scale = dpi / 25.4
    width, height = (round(side * scale) for side in sheet.size_mm)
    if dpi < 50 or width * height > MAX_PIXELS:
        raise ConfigError(f"--dpi {dpi}", f"makes a picture of {width}x{height} px", "give 50 to 600, or a PDF")
    # The pattern stands on whole pixels of the page; its scale stays exact.
    pattern = draw(sheet.board, scale, margin_mm=0)
    page = np.full((height, width), 255, np.uint8)
    left, top = (round(side * scale) for side in sheet.pattern_mm)
    bottom, right = min(top + pattern.shape[0], height), min(left + pattern.shape[1], width)
    page[top:bottom, left:right] = pattern[: bottom - top, : right - left]
    for x0, y0, x1, y1 in np.rint(_ruler(sheet) * scale).astype(int).tolist():
        page[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 0
    size = cv2.getTextSize("X", cv2.FONT_HERSHEY_SIMPLEX, 1, 1)[0][1]
    for (x, y), text in zip(_text_places(sheet), sheet.lines, strict=True):
        at = (round(x * scale), round(y * scale))
        cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 2.1 * scale / size, 0, max(1, round(scale / 5)))
    return page


def write_png(sheet: Sheet, path: str | Path, dpi: int = 300) -> None:
    """Write the sheet as PNG that says how large a pixel is.

    Raises:
        ConfigError: The file exists, cannot be written, or would be too large.
    """
    pixels = picture(sheet, dpi)
    path = _new_file(path)
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    # OpenCV writes no scale; the chunk belongs right behind the header, which is always 25 bytes.
    per_metre = round(dpi / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    scale = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    after_header = 8 + 25
    try:
        path.write_bytes(encoded[:after_header] + scale + encoded[after_header:])
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "give another path") from None


def _new_file(path: str | Path) -> Path:
    path = Path(path)
    if path.exists():
        raise ConfigError(path, "exists, and nothing is overwritten", "give another name or remove it")
    if not path.parent.is_dir():
        raise ConfigError(path.parent, "is no folder", "make it, or give another path")
    return path


def _page_mm(name: str) -> tuple[float, float]:
    if name in PAGES_MM:
        return PAGES_MM[name]
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)(?:mm)?", name)
    if match is None or not all(20 <= float(side) <= 5000 for side in match.groups()):
        known = ", ".join(key.upper() if len(key) == 2 else key for key in PAGES_MM)
        raise ConfigError(f"--page {name}", "is no page known here", f"one of {known}, or WIDTHxHEIGHT in mm")
    return float(match[1]), float(match[2])


def _needed_mm(board: Board) -> tuple[float, float]:
    """(width, height) that a page must have."""
    quiet = _quiet_mm(board)
    width, height = board.size_mm
    return width + 2 * quiet, height + quiet + max(quiet, MIN_QUIET_MM) + FOOTER_MM + MARGIN_MM - MIN_QUIET_MM


def _quiet_mm(board: Board) -> float:
    """Paper around the pattern: the printer's margin; a chessboard's outer squares need white beside them."""
    return max(MARGIN_MM, board.square_mm / 4 if board.kind == "chessboard" else 0.0)


def _fitting(board: Board, page_mm: tuple[float, float]) -> tuple[float, float] | None:
    width, height = _needed_mm(board)
    for size in (page_mm, page_mm[::-1]):
        if width <= size[0] + 1e-6 and height <= size[1] + 1e-6:
            return size
    return None


def _too_large(board: Board, page: str) -> ConfigError:
    page_mm = _page_mm(page)
    shown = page.upper() if len(page) == 2 else page
    shares = []
    for width, height in (page_mm, page_mm[::-1]):
        room = (width - 2 * MARGIN_MM, height - 2 * MARGIN_MM - FOOTER_MM)
        # A share of the board needs that share of the white around it.
        shares.append(min(room[0] / board.size_mm[0], room[1] / board.size_mm[1]))
    side = max(0.0, np.floor(max(shares) * board.square_mm * 0.95 * 2) / 2)
    what = "way from tag to tag" if board.kind == "aprilgrid" else "squares"
    larger = next((n for n in ("a4", "a3", "a2", "a1", "a0") if _fitting(board, PAGES_MM[n])), None)
    paper = f"take {larger.upper()}" if larger else "have it printed in parts, or give --page WIDTHxHEIGHT"
    size = f"{board.size_mm[0]:g} x {board.size_mm[1]:g} mm"
    return ConfigError(
        f"board {board.name}",
        f"its pattern of {size} does not fit on {shown} ({page_mm[0]:g} x {page_mm[1]:g} mm) with margin and ruler",
        f"{paper}, or make the {what} at most {side:g} mm",
    )


def _placed(board: Board, page: str, size: tuple[float, float]) -> Sheet:
    quiet = _quiet_mm(board)
    width, height = board.size_mm
    needed = _needed_mm(board)[1]
    left, top = (size[0] - width) / 2, quiet + (size[1] - needed) / 2
    ruler_top = top + height + max(quiet, MIN_QUIET_MM)
    # A whole number of cm, at most 20, that the pattern's width has room for.
    length = float(np.clip(np.floor((size[0] - 2 * MARGIN_MM) / 10), 1, 20)) * 10
    length = min(length, max(10.0, np.floor(width / 10) * 10))
    side = f"the markers {number_text(board.marker_mm)} mm" if board.markers else ""
    what = f"from tag to tag {number_text(board.square_mm)} mm" if board.kind == "aprilgrid" else ""
    measured = what or f"a square's side {number_text(board.square_mm)} mm"
    lines = (
        f'This line: {length:g} mm. Print at 100 % (not "fit to page"), then measure:'
        f" {measured}{', ' + side if side else ''}. Keep it flat.",
        f"rigpose board  {board.name}",
    )
    # The text is about 140 mm long, whatever the pattern is.
    ruler_left = max(MARGIN_MM, min(left, size[0] - MARGIN_MM - max(140.0, length)))
    return Sheet(board, page, size, (left, top), (ruler_left, ruler_top, length), lines)


def _ruler(sheet: Sheet) -> np.ndarray:
    """The line and its ticks, one each cm, as rectangles (n, 4) in mm of the page."""
    left, top, length = sheet.ruler_mm
    thick = 0.25
    boxes = [[left, top + 3 - thick, left + length, top + 3]]
    for tick in np.arange(0, length + 1, 10):
        tall = 3.0 if tick in (0, length) else 1.5
        # The outer edges of the first and the last tick are the length apart.
        at = left + (tick if tick == 0 else tick - thick if tick == length else tick - thick / 2)
        boxes.append([at, top + 3 - tall, at + thick, top + 3])
    return np.array(boxes)


def _text_places(sheet: Sheet) -> list[tuple[float, float]]:
    """(x, y) of the left end of each line's foot, mm."""
    left, top, _ = sheet.ruler_mm
    return [(left, top + 7.5 + 4.0 * row) for row in range(len(sheet.lines))]


__all__ = [
    "PAGES_MM",
    "Sheet",
    "board_to_picture",
    "draw",
    "lay_out",
    "picture",
    "write_pdf",
    "write_png",
]
