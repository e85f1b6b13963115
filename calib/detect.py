"""Finding a board's points in a picture, to a small part of a pixel.

A corner that cannot be trusted is left out: a missing corner costs little, a wrong one a calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

from calib import detect_chessboard, detect_markers
from calib.boards import Board
from rigpose.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """The points of a board that were found in one picture.

    Attributes:
        ids: (n,) which points, ascending: rows of `Board.points_mm`.
        px: (n, 2) where, float64 px; (0, 0) is the centre of the first pixel.
    """

    ids: Int[np.ndarray, " n"]
    px: Float[np.ndarray, "n 2"]

    def __len__(self) -> int:
        return len(self.ids)

    def spread(self, count: int) -> Float[np.ndarray, "N 2"]:
        """All ``count`` points of the board, NaN where one was not found."""
        px = np.full((count, 2), np.nan)
        px[self.ids] = self.px
        return px


MIN_POINTS = 4
"""Fewer say nothing about where a board is."""


def detect(picture: np.ndarray, board: Board) -> Detection | None:
    """The board's points in a picture.

    A board that looks the same when turned by 180 degrees (`Board.ambiguous`) is numbered so that its x axis
    points to the right in the picture.

    Args:
        picture: uint8, (H, W) or (H, W, 3) in BGR.
        board: What to look for.

    Returns:
        What was found, or ``None`` where the board, or enough of it, was not.

    Raises:
        ConfigError: The picture is no such array.
    """
    gray = grey(picture)
    if board.inverted:
        gray = cv2.bitwise_not(gray)
    ids, px = _find(gray, board)
    if not len(ids) and board.two_sided:
        ids, px = _find(np.ascontiguousarray(gray[:, ::-1]), board)
        px = np.stack([gray.shape[1] - 1 - px[:, 0], px[:, 1]], axis=-1)
    if not len(ids):
        return None
    order = np.argsort(ids)
    return Detection(ids[order], px[order].astype(np.float64))


def _find(gray: np.ndarray, board: Board) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    find = detect_chessboard.find if board.kind == "chessboard" else detect_markers.find
    ids, px = find(gray, board)
    if len(ids) < MIN_POINTS or _in_one_line(board.points_mm[ids]):
        return ids[:0], px[:0]
    return ids, px


def grey(picture: np.ndarray) -> np.ndarray:
    """The picture as uint8 (H, W).

    Raises:
        ConfigError: It is not uint8 (H, W) or (H, W, 3).
    """
    if (
        picture.dtype != np.uint8
        or picture.ndim not in (2, 3)
        or (picture.ndim == 3 and picture.shape[2] not in (1, 3))
    ):
        what = f"is {picture.dtype} of shape {list(picture.shape)}, not uint8 (H, W) or (H, W, 3)"
        raise ConfigError("picture", what, "convert it to 8 bits, grey or BGR")
    if picture.ndim == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.shape[2] == 3 else picture[..., 0]
    return picture


def _in_one_line(points_mm: np.ndarray) -> bool:
    flat = points_mm[:, :2] - points_mm[:, :2].mean(axis=0)
    widths = np.linalg.svd(flat, compute_uv=False)
    return bool(widths[1] < 1e-6 * widths[0])
