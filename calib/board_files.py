"""Boards written down: the short text, our YAML, and files of caliscope, sleap-anipose, anipose and Kalibr."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calib.boards import WORDS, Board, known_dictionary
from rigpose.config import CONFIG_VERSION, read_yaml, validate
from rigpose.errors import ConfigError

FORMS = {
    "charuco": "charuco:COLUMNSxROWS:SQUARE_MM:MARKER_MM:DICTIONARY[:legacy][:inverted][:two-sided]",
    "chessboard": "chessboard:COLUMNSxROWS:SQUARE_MM with the numbers of inner corners",
    "aprilgrid": "aprilgrid:COLUMNSxROWS:TAG_MM:GAP_SHARE[:DICTIONARY][:plain][:inverted][:two-sided]",
}
"""How each kind of board is written as a short text."""
_REMEDY = "write it as in charuco:4x5:54:40.5:4X4_1000, chessboard:9x6:30 or aprilgrid:6x6:40:0.3, or give a file"
_CM_PER = {"inch": 2.54, "in": 2.54, "cm": 1.0, "mm": 0.1, "m": 100.0}


def read(source: str | os.PathLike[str]) -> Board:
    """See `calib.boards.read_board`."""
    text = str(source).strip()
    kind = text.partition(":")[0].lower()
    if not isinstance(source, os.PathLike) and kind in FORMS:
        return _from_text(text)
    path = Path(text).expanduser()
    if not path.suffix and not path.exists():
        raise ConfigError(f"board {text!r}", "is neither a board nor a file", _REMEDY)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    return _from_toml(path)


def board_document(board: Board) -> dict[str, Any]:
    """A board as our YAML holds it; `read_board` of that file gives the same board."""
    return {"version": CONFIG_VERSION, "board": board.model_dump(exclude_defaults=True)}


def _from_text(text: str) -> Board:
    where = f"board {text!r}"
    kind, _, rest = text.partition(":")
    kind = kind.lower()
    remedy = f"write {FORMS[kind]}"
    parts = [part.strip() for part in rest.split(":")] if rest else []
    match = re.fullmatch(r"(\d+)[x*,](\d+)", parts.pop(0).lower()) if parts else None
    if match is None:
        raise ConfigError(where, "does not say how many columns and rows, as in 9x6", remedy)
    values: dict[str, Any] = {"kind": kind, "columns": int(match[1]), "rows": int(match[2])}
    names = {
        "charuco": ["square_mm", "marker_mm", "dictionary"],
        "chessboard": ["square_mm"],
        "aprilgrid": ["marker_mm", "gap"],
    }
    for name in names[kind]:
        if not parts:
            raise ConfigError(where, f"lacks {name}", remedy)
        values[name] = parts.pop(0) if name == "dictionary" else _number(parts.pop(0), name, where)
    for word in parts:
        if word.lower() in WORDS:
            values[word.lower().replace("-", "_")] = True
        elif word.lower() in ("plain", "kalibr") and kind == "aprilgrid":
            values["layout"] = word.lower()
        elif re.fullmatch(r"first=\d+", word.lower()):
            values["first_id"] = int(word[6:])
        elif kind == "aprilgrid":
            values["dictionary"] = word
        else:
            raise ConfigError(where, f"has {word!r} at its end", remedy)
    return validate(values, Board, where)


def _number(text: Any, name: str, where: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise ConfigError(where, f"{name} is {text!r}, not a number", "give it in mm") from None
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(where, f"{name} is {text}, not a length", "give it in mm, more than 0")
    return value


def _from_yaml(path: Path) -> Board:
    document = read_yaml(path)
    if "target_type" in document:
        return validate(_kalibr(document, str(path)), Board, path)
    if document.get("version") != CONFIG_VERSION:
        what = f"key version: is {document.get('version')}, this program reads {CONFIG_VERSION}"
        raise ConfigError(path, what, f"write version: {CONFIG_VERSION} and board: ..., or give a Kalibr target")
    board = document.get("board")
    if isinstance(board, str):
        return _from_text(board)
    if not isinstance(board, dict):
        raise ConfigError(path, "has no key board", "write board: with kind, columns, rows and square_mm, or the text")
    return validate(board, Board, f"{path}, board")


def _from_toml(path: Path) -> Board:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, "no such board file", "check the path, or " + _REMEDY) from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give a board file that you may read") from None
    except UnicodeDecodeError:
        raise ConfigError(path, "is not text", "give a board file, or " + _REMEDY) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}", "mend that line") from None
    readers: tuple[tuple[Any, str, Callable[[dict[str, Any], str], dict[str, Any]]], ...] = (
        (document, "board_x", _sleap_anipose),
        (document, "aruco_scale", _caliscope),
        (document.get("charuco"), "aruco_scale", _caliscope),
        (document.get("calibration"), "board_size", _anipose),
    )
    for table, key, reader in readers:
        if isinstance(table, dict) and key in table:
            return validate(reader(table, str(path)), Board, path)
    what = "holds no board that rigpose can read"
    raise ConfigError(path, what, "give caliscope's charuco.toml, sleap-anipose's board.toml or anipose's config.toml")


def _key(table: dict[str, Any], key: str, where: str) -> Any:
    if key not in table:
        raise ConfigError(where, f"has no {key}", f"add {key}")
    return table[key]


def _sized(bits: Any, count: Any, where: str) -> str:
    """The dictionary of markers with so many bits a side and so many of them."""
    try:
        return known_dictionary(f"{int(bits)}X{int(bits)}_{int(count)}")
    except (TypeError, ValueError):
        remedy = "bits are 4, 5, 6 or 7, the number of markers 50, 100, 250 or 1000"
        raise ConfigError(where, f"names a dictionary of {count} markers with {bits} bits a side", remedy) from None


def _sleap_anipose(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Lengths are in mm there. Without markers it is a chessboard, counted in inner corners as OpenCV does."""
    values = {
        "columns": table["board_x"],
        "rows": _key(table, "board_y", where),
        "square_mm": _key(table, "square_length", where),
    }
    if "marker_length" not in table:
        return {"kind": "chessboard", **values}
    dictionary = _sized(_key(table, "marker_bits", where), _key(table, "dict_size", where), where)
    return {"kind": "charuco", **values, "marker_mm": table["marker_length"], "dictionary": dictionary}


def _anipose(table: dict[str, Any], where: str) -> dict[str, Any]:
    size = table["board_size"]
    if not isinstance(size, list) or len(size) != 2:
        raise ConfigError(where, "calibration.board_size is not two whole numbers", "write board_size = [11, 8]")
    kind = str(_key(table, "board_type", where)).lower()
    values = {"columns": size[0], "rows": size[1], "square_mm": _key(table, "board_square_side_length", where)}
    if kind in ("checkerboard", "chessboard"):
        return {"kind": "chessboard", **values}
    if kind != "charuco":
        raise ConfigError(where, f"calibration.board_type {kind!r} is not known here", "charuco or checkerboard")
    bits, count = _key(table, "board_marker_bits", where), table.get("board_marker_dict_number", 50)
    marker = _key(table, "board_marker_length", where)
    return {"kind": "charuco", **values, "marker_mm": marker, "dictionary": _sized(bits, count, where)}


def _caliscope(table: dict[str, Any], where: str) -> dict[str, Any]:
    columns, rows = _key(table, "columns", where), _key(table, "rows", where)
    square_cm = table.get("square_size_override_cm")
    if not square_cm:
        units = str(table.get("units", "cm"))
        if units not in _CM_PER:
            raise ConfigError(where, f"units {units!r} are not known here", f"one of {', '.join(_CM_PER)}")
        height, width = (_number(_key(table, key, where), key, where) for key in ("board_height", "board_width"))
        square_cm = min(height / max(int(rows), 1), width / max(int(columns), 1)) * _CM_PER[units]
    square = 10 * _number(square_cm, "square_size_override_cm", where)
    return {
        "kind": "charuco",
        "columns": columns,
        "rows": rows,
        "square_mm": round(square, 9),
        "marker_mm": round(square * _number(table["aruco_scale"], "aruco_scale", where), 9),
        "dictionary": _key(table, "dictionary", where),
        "inverted": bool(table.get("inverted", False)),
        "legacy": bool(table.get("legacy_pattern", False)),
    }


def _kalibr(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Lengths are in metres there."""
    kind = str(table["target_type"]).lower()
    if kind == "aprilgrid":
        return {
            "kind": "aprilgrid",
            "columns": _key(table, "tagCols", where),
            "rows": _key(table, "tagRows", where),
            "marker_mm": round(1000 * _number(_key(table, "tagSize", where), "tagSize", where), 9),
            "gap": _number(_key(table, "tagSpacing", where), "tagSpacing", where),
            "dictionary": table.get("tagFamily", "APRILTAG_36h11"),
            "first_id": table.get("codeOffset", 0),
        }
    if kind != "checkerboard":
        raise ConfigError(where, f"target_type {kind!r} is not known here", "aprilgrid or checkerboard")
    across, down = (_number(_key(table, key, where), key, where) for key in ("colSpacingMeters", "rowSpacingMeters"))
    if abs(across - down) > 1e-9 * across:
        raise ConfigError(where, "its squares are not square", "give a board with rowSpacingMeters = colSpacingMeters")
    columns, rows = _key(table, "targetCols", where), _key(table, "targetRows", where)
    return {"kind": "chessboard", "columns": columns, "rows": rows, "square_mm": round(1000 * across, 9)}
