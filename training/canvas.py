"""A white sheet that charts are drawn on with OpenCV: places in px of the picture, colours as BGR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SCALE = 2
"""Drawn so many times larger and averaged: smooth edges."""
FONT = cv2.FONT_HERSHEY_DUPLEX
WHITE, INK, PALE, LINE = (255, 255, 255), (52, 44, 38), (140, 130, 122), (228, 224, 220)
Colour = tuple[int, int, int]


class Sheet:
    """A picture that is not yet written.

    Args:
        size: (width, height) px.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.pixels = np.full((size[1] * SCALE, size[0] * SCALE, 3), 255, np.uint8)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle; nothing where it has no size."""
        if x1 > x0 and y1 > y0:
            corners = [(round(x * SCALE), round(y * SCALE)) for x, y in ((x0, y0), (x1, y1))]
            cv2.rectangle(self.pixels, corners[0], (corners[1][0] - 1, corners[1][1] - 1), colour, -1)

    def text(self, x: float, y: float, text: str, size: float, colour: Colour = INK, align: float = 0.0) -> None:
        """``align``: 0 = from x on, 0.5 = about it, 1 = up to it."""
        scale = size / 22 * SCALE
        plain = text.encode("ascii", "replace").decode()
        at = (round((x - align * self.width(text, size)) * SCALE), round(y * SCALE))
        cv2.putText(self.pixels, plain, at, FONT, scale, colour, SCALE if size > 15 else 1, cv2.LINE_AA)

    @staticmethod
    def width(text: str, size: float) -> float:
        """Of a text in px."""
        (width, _), _ = cv2.getTextSize(text.encode("ascii", "replace").decode(), FONT, size / 22 * SCALE, SCALE)
        return float(width) / SCALE

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 2.0) -> None:
        """Through the points, in their order."""
        corners = np.rint(np.array(points, dtype=float) * SCALE).astype(np.int32)
        cv2.polylines(self.pixels, [corners], False, colour, round(width * SCALE), cv2.LINE_AA)

    def dot(self, x: float, y: float, radius: float, colour: Colour, width: float = 0.0) -> None:
        """A disc, or with a width a ring."""
        thick = round(width * SCALE) if width else -1
        cv2.circle(self.pixels, (round(x * SCALE), round(y * SCALE)), round(radius * SCALE), colour, thick, cv2.LINE_AA)

    def picture(self, x: float, y: float, side: float, picture: np.ndarray) -> None:
        """A square picture, its corner at (x, y)."""
        px = round(side * SCALE)
        top, left = round(y * SCALE), round(x * SCALE)
        self.pixels[top : top + px, left : left + px] = cv2.resize(picture, (px, px), interpolation=cv2.INTER_CUBIC)

    def write(self, path: Path) -> None:
        """Write a PNG; OSError where that is not possible."""
        small = cv2.resize(self.pixels, self.size, interpolation=cv2.INTER_AREA)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), small):
            raise OSError(f"{path} cannot be written")
