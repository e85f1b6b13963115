"""`rigpose calibrate board`: a board at true scale, to print."""

from __future__ import annotations

import json as json_module
from pathlib import Path

from calib.boards import read_board
from calib.sheet import lay_out, write_pdf, write_png
from rigpose.errors import ConfigError

_FORMATS = (".pdf", ".png")


def run(text: str, to: list[Path], page: str, dpi: int, json: bool) -> int:
    """Draw a board.

    Args:
        text: The board, in short text or as a file.
        to: Files to write, each a PDF or a PNG by its suffix.
        page: Name of the paper, or ``auto``.
        dpi: Of a PNG.
        json: Print what was drawn as JSON.

    Raises:
        ConfigError: The board or a file cannot be.
        MissingError: A PDF needs the extra.
    """
    for path in to:
        if path.suffix.lower() not in _FORMATS:
            raise ConfigError(path, f"is neither {' nor '.join(_FORMATS)}", "end its name in one of them")
        if path.exists():
            raise ConfigError(path, "exists, and nothing is overwritten", "give another name or remove it")
    board = read_board(text)
    sheet = lay_out(board, page)
    for path in to:
        if path.suffix.lower() == ".pdf":
            write_pdf(sheet, path)
        else:
            write_png(sheet, path, dpi)
    width, height = board.size_mm
    if json:
        document = {
            "board": board.name,
            "page": sheet.page,
            "page_mm": list(sheet.size_mm),
            "pattern_mm": [width, height],
            "points": board.count,
            "ambiguous": board.ambiguous,
            "files": [str(path) for path in to],
        }
        print(json_module.dumps(document, indent=2))
        return 0
    print(f"{board.name}: {width:g} x {height:g} mm, {board.count} points, on {sheet.page}")
    if board.ambiguous:
        print("mind: it looks the same turned by 180 degrees; cameras that stand on their heads would disagree")
    print("print it at 100 %, without fitting to the page; then hold a ruler against the line on it")
    print("and glue it onto something flat: paper that bends cannot calibrate")
    for path in to:
        print(f"file: {path}")
    return 0
