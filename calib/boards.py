"""Calibration boards: what is printed on them, where their points lie, and how a board is written down.

A board is written as a short text, as in ``charuco:4x5:54:40.5:4X4_1000:inverted``,
``chessboard:9x6:30`` or ``aprilgrid:6x6:40:0.3``; `read_board` takes that text or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

import cv2
import numpy as np
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator

from rigpose.config import Config

WORDS = ("legacy", "inverted", "two-sided")
"""What may stand at the end of a board's text."""

Kind = Literal["chessboard", "charuco", "aprilgrid"]
Layout = Literal["kalibr", "plain"]

# OpenCV lists some names twice, as 36h11 and 36H11; the last one stays.
DICTIONARIES = tuple(
    sorted({name.lower(): name[5:] for name in sorted(dir(cv2.aruco)) if name.startswith("DICT_")}.values())
)
"""The marker dictionaries that OpenCV knows, as written in a board's text: ``4X4_1000``, ``APRILTAG_36h11``."""


def marker_dictionary(name: str) -> Any:
    """OpenCV's dictionary of that name."""
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))


def dictionary_size(name: str) -> int:
    """How many markers a dictionary holds."""
    return int(marker_dictionary(name).bytesList.shape[0])


def known_dictionary(name: str) -> str:
    """The name as in `DICTIONARIES`, however it was written (``DICT_4x4_1000``, ``t36h11``).

    Raises:
        ValueError: OpenCV knows no such dictionary.
    """
    plain = str(name).strip().upper().removeprefix("CV2.ARUCO.").removeprefix("DICT_")
    if plain.startswith("T") and "H" in plain:
        plain = plain.removeprefix("TAG").removeprefix("T")
    for known in DICTIONARIES:
        if plain in (known.upper(), known.upper().removeprefix("APRILTAG_")):
            return known
    raise ValueError(f"{name!r} is no marker dictionary known here (as in 4X4_100, 5X5_250, APRILTAG_36h11)")


class Board(Config):
    """A flat calibration board.

    The board's frame has its origin at the first point, x to the right along the columns, y down along
    the rows, and z into the board, as one looks at the print.

    Attributes:
        kind: ``chessboard``, ``charuco`` or ``aprilgrid``.
        columns: Inner corners (chessboard), squares (charuco) or tags (aprilgrid) from left to right.
        rows: The same from top to bottom.
        square_mm: Side of a square; for an aprilgrid the way from one tag to the next.
        marker_mm: Side of a marker or tag with its black border; 0 for a chessboard.
        dictionary: Of the markers, as in `DICTIONARIES`; empty for a chessboard.
        legacy: A ChArUco board with an even number of rows as OpenCV drew it before 4.6: its first square is white.
        inverted: Black and white are exchanged.
        two_sided: The back carries the same print mirrored, point on point: seen from behind, the picture is that of
            a mirrored board. Without this, a mirrored picture holds no board.
        first_id: Number of the first marker.
        layout: Of an aprilgrid. ``kalibr``: tags numbered from the bottom left, border of two bits, black squares
            between the tags. ``plain``: numbered from the top left, border of one bit, nothing between
            (OpenCV's grid board; with any dictionary).
    """

    kind: Kind
    columns: int = Field(ge=1, le=100)
    rows: int = Field(ge=1, le=100)
    square_mm: float = Field(gt=0, le=10_000, allow_inf_nan=False)
    marker_mm: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    dictionary: str = ""
    legacy: bool = False
    inverted: bool = False
    two_sided: bool = False
    first_id: int = Field(default=0, ge=0)
    layout: Layout = "kalibr"

    @field_validator("dictionary")
    @classmethod
    def _dictionary(cls, name: str) -> str:
        return known_dictionary(name) if name else ""

    @model_validator(mode="before")
    @classmethod
    def _gap(cls, values: Any) -> Any:
        """An aprilgrid may be given by its tags' side and ``gap``, the share of it that lies between two tags."""
        if not isinstance(values, dict) or values.get("kind") != "aprilgrid":
            return values
        values = dict(values)
        values.setdefault("dictionary", "APRILTAG_36h11")
        if "gap" in values:
            gap = values.pop("gap")
            if not isinstance(gap, int | float) or not 0 < gap <= 5:
                raise ValueError(f"the gap {gap!r} is no share of a tag (as in 0.3)")
            if "square_mm" in values:
                raise ValueError("give gap or square_mm, not both")
            values["square_mm"] = float(values.get("marker_mm", 0)) * (1 + gap)
        return values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        least = {"chessboard": 3, "charuco": 3, "aprilgrid": 1}[self.kind]
        if min(self.columns, self.rows) < least:
            raise ValueError(f"a {self.kind} of {self.columns}x{self.rows} is too small to calibrate with")
        if self.kind == "chessboard":
            if self.marker_mm or self.dictionary or self.first_id:
                raise ValueError("a chessboard has no markers (a board with markers is a charuco)")
            if self.inverted or self.legacy or self.two_sided:
                raise ValueError("a chessboard is neither inverted, legacy nor two-sided: leave that away")
            return self
        if not self.dictionary:
            raise ValueError("a charuco needs the dictionary of its markers (as in 4X4_1000)")
        if not 0 < self.marker_mm < self.square_mm:
            raise ValueError(
                f"markers of {self.marker_mm:g} mm do not fit into {self.square_mm:g} mm (a marker lies inside)"
            )
        if self.legacy and self.kind != "charuco":
            raise ValueError("only a charuco can be legacy")
        last, size = self.first_id + self.marker_count - 1, dictionary_size(self.dictionary)
        if last >= size:
            raise ValueError(f"dictionary {self.dictionary} ends at marker {size - 1}, this board needs {last}")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A checked copy; what was computed from the old values does not go with it."""
        return type(self).model_validate({**self.model_dump(), **(update or {})})

    @property
    def gap(self) -> float:
        """Of an aprilgrid: what lies between two tags, as a share of a tag."""
        return self.square_mm / self.marker_mm - 1 if self.marker_mm else 0.0

    @property
    def marker_count(self) -> int:
        """How many markers the board carries."""
        return {"chessboard": 0, "charuco": self.columns * self.rows // 2, "aprilgrid": self.columns * self.rows}[
            self.kind
        ]

    @property
    def grid(self) -> tuple[int, int]:
        """(columns, rows) of the board's corners; for an aprilgrid of its tags."""
        less = 1 if self.kind == "charuco" else 0
        return self.columns - less, self.rows - less

    @property
    def count(self) -> int:
        """How many points the board has: inner corners, or four corners a tag."""
        columns, rows = self.grid
        return columns * rows * (4 if self.kind == "aprilgrid" else 1)

    @cached_property
    def points_mm(self) -> Float[np.ndarray, "N 3"]:
        """Where the points lie in the board's frame; row by row from the top left, a tag's clockwise."""
        columns, rows = self.grid
        y, x = np.divmod(np.arange(columns * rows), columns)
        points = np.stack([x, y, np.zeros_like(x)], axis=-1) * self.square_mm
        if self.kind == "aprilgrid":
            tag = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * self.marker_mm
            points = (points[:, None] + tag).reshape(-1, 3)
        points = points.astype(np.float64)
        points.flags.writeable = False
        return points

    @cached_property
    def outline_mm(self) -> Float[np.ndarray, "4 2"]:
        """The printed pattern's four corners in the board's frame, clockwise from the top left."""
        (left, top), (right, bottom) = self.points_mm[:, :2].min(axis=0), self.points_mm[:, :2].max(axis=0)
        more = self.gap * self.marker_mm if self.kind == "aprilgrid" else self.square_mm
        left, top, right, bottom = left - more, top - more, right + more, bottom + more
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])

    @property
    def size_mm(self) -> tuple[float, float]:
        """(width, height) of the printed pattern without any margin."""
        width, height = self.outline_mm[2] - self.outline_mm[0]
        return float(width), float(height)

    @cached_property
    def markers(self) -> dict[int, Float[np.ndarray, "4 2"]]:
        """Each marker's number, and its corners in the board's frame in the order in which OpenCV reports them."""
        side = self.marker_mm
        square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side
        found: dict[int, np.ndarray] = {}
        if self.kind == "charuco":
            first = 1 if self.black_first else 0
            inset = (self.square_mm - side) / 2
            for row in range(self.rows):
                for column in range(self.columns):
                    if (row + column) % 2 == first:
                        at = np.array([column - 1, row - 1]) * self.square_mm + inset
                        found[self.first_id + len(found)] = at + square
        elif self.kind == "aprilgrid":
            kalibr = self.layout == "kalibr"
            # Kalibr draws the code as the AprilTag library does; in OpenCV's tables it stands on its head.
            corners = np.roll(square, 2, axis=0) if kalibr and self.dictionary.startswith("APRILTAG") else square
            for row in range(self.rows):
                for column in range(self.columns):
                    number = (self.rows - 1 - row if kalibr else row) * self.columns + column
                    found[self.first_id + number] = np.array([column, row]) * self.square_mm + corners
        return found

    @property
    def black_first(self) -> bool:
        """Whether the top left square is black (before an inversion); else it is white and holds a marker."""
        return not (self.kind == "charuco" and self.legacy and self.rows % 2 == 0)

    @property
    def border_bits(self) -> int:
        """Width of a marker's black border in bits."""
        return 2 if self.kind == "aprilgrid" and self.layout == "kalibr" else 1

    @property
    def ambiguous(self) -> bool:
        """Whether the board looks the same when turned by 180 degrees, so that views cannot tell its first point."""
        return self.kind == "chessboard" and (self.columns + self.rows) % 2 == 0

    @property
    def name(self) -> str:
        """The board as the short text that `read_board` takes."""
        parts = [self.kind, f"{self.columns}x{self.rows}"]
        if self.kind == "chessboard":
            return ":".join([*parts, number_text(self.square_mm)])
        if self.kind == "charuco":
            parts += [number_text(self.square_mm), number_text(self.marker_mm), self.dictionary]
        else:
            parts += [number_text(self.marker_mm), number_text(self.gap)]
            parts += [] if self.dictionary == "APRILTAG_36h11" else [self.dictionary]
            parts += [] if self.layout == "kalibr" else [self.layout]
        parts += [word for word in WORDS if getattr(self, word.replace("-", "_"))]
        return ":".join(parts + ([f"first={self.first_id}"] if self.first_id else []))

    def __str__(self) -> str:
        return self.name


def number_text(value: float) -> str:
    """A length as short as it can be written without a loss that a ruler or a lens could show."""
    return f"{value:.9g}"


def read_board(source: Any) -> Board:
    """The board in a short text or a file.

    Args:
        source: ``KIND:COLUMNSxROWS:...`` (see the module), or the path of our YAML, of caliscope's
            ``charuco.toml``, of sleap-anipose's ``board.toml``, of anipose's ``config.toml`` or of a Kalibr target.

    Raises:
        ConfigError: Names the text or the file, the part of it, and what is allowed there.
    """
    from calib.board_files import read

    return read(source)
