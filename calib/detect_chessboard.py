"""Chessboards: find the grid in a small picture, refine it in the full one, and give it the board's numbers."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Int

from calib import corners
from calib.boards import Board

SEARCH_PX = 960
"""The grid is looked for in a picture whose longer side is at most this."""

MIN_CONTRAST = 8.0
"""Grey levels between the black and the white squares at a corner."""

MIN_SHARE = 0.75
"""With fewer of its corners confirmed, the grid was a mistake."""

WINDOW = 0.4
"""Half the side of the window in which a corner is refined, as a share of the way to the next edges."""

REACH = 0.4
"""How far from a corner the colours of its squares are looked at, as a share of a square."""

_CLASSIC = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
_THOROUGH = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE


def find(gray: np.ndarray, board: Board) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Numbers and places of a chessboard's inner corners; empty where it, or a part of it, is not in the picture."""
    nothing = np.zeros(0, int), np.zeros((0, 2))
    rough = _rough(gray, board.grid)
    if rough is None:
        return nothing
    rough = _right_handed(rough, board)
    ids, px, bright = _refined(gray, board, rough)
    if len(ids) < MIN_SHARE * board.count:
        return nothing
    return _numbered(board, ids, px, bright)


def _rough(gray: np.ndarray, grid: tuple[int, int]) -> Float[np.ndarray, "N 2"] | None:
    """The corners to a few px, row by row from any of the grid's corners."""
    scale = min(1.0, SEARCH_PX / max(gray.shape))
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray
    # This look costs a tenth of a search; it expects black and white, which a dim picture lacks.
    if not (cv2.checkChessboard(small, grid) or cv2.checkChessboard(cv2.equalizeHist(small), grid)):
        return None
    found, px = cv2.findChessboardCorners(small, grid, flags=_CLASSIC)
    if not found:
        found, px = cv2.findChessboardCornersSB(small, grid, flags=_THOROUGH)
    if not found and scale < 1:
        scale = 1.0
        found, px = cv2.findChessboardCorners(gray, grid, flags=_CLASSIC)
    if not found:
        return None
    return (px.reshape(-1, 2).astype(np.float64) + 0.5) / scale - 0.5


def _right_handed(px: Float[np.ndarray, "N 2"], board: Board) -> Float[np.ndarray, "N 2"]:
    """The grid as one sees it from the front: y is to the right of x when the picture's y points down."""
    columns, rows = board.grid
    grid = px.reshape(rows, columns, 2)
    x, y = (grid[:, -1] - grid[:, 0]).mean(axis=0), (grid[-1] - grid[0]).mean(axis=0)
    return px if x[0] * y[1] - x[1] * y[0] > 0 else grid[::-1].reshape(-1, 2)


def _refined(
    gray: np.ndarray, board: Board, rough: Float[np.ndarray, "N 2"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Confirmed corners: ids, places, and how much brighter the square to the lower right is than its neighbours."""
    points = board.points_mm[:, :2]
    ids = np.arange(board.count)
    px = rough
    # The rough corners may lie some px off, so a small window comes first.
    edges_mm = _next_edges(board)
    for share in (WINDOW / 2, WINDOW):
        told = corners.local_maps(points[ids], points[ids], px, 9)
        moved = corners.refine(gray, px, share * told.clear(edges_mm))
        with np.errstate(invalid="ignore"):
            keep = np.linalg.norm(moved - px, axis=-1) < np.maximum(0.2 * told.side(board.square_mm), 1.5)
        ids, px = ids[keep], moved[keep]
        if len(ids) < 4:
            return ids, px, np.zeros(len(ids))
    told = corners.local_maps(points[ids], points[ids], px, 9)
    reach_mm = REACH * board.square_mm
    bright = corners.contrast(gray, px, told.right * reach_mm, told.down * reach_mm)
    row, column = np.divmod(ids, board.grid[0])
    bright *= np.where((row + column) % 2 == 0, 1, -1)
    # All corners agree on which squares are the bright ones.
    sign = np.sign(np.median(bright))
    keep = sign * bright > max(MIN_CONTRAST, 0.2 * abs(float(np.median(bright))))
    ids, px = corners.without_strays(points, board.square_mm, ids[keep], px[keep])
    return ids, px, np.full(len(ids), sign)


def _numbered(
    board: Board, ids: Int[np.ndarray, " n"], px: Float[np.ndarray, "n 2"], bright: Float[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Turn the grid so that its first point is the board's.

    With an odd number of squares one way and an even one the other, the corner squares at the start of the
    board's x axis are black and those at its end white, or one side's above and the other's below.
    """
    columns, rows = board.grid
    if not board.ambiguous:
        # The first corner's lower right square has the colour of the first square of the board, black.
        turn = 2 if bright[0] > 0 else 0
        return _turned(board, ids, turn), px
    told = px - px.mean(axis=0)
    row, column = np.divmod(ids, columns)
    x = (told * (column - column.mean())[:, None]).sum(axis=0)
    y = (told * (row - row.mean())[:, None]).sum(axis=0)
    # Candidates for the x axis after 0, 1, 2, 3 quarter turns; only a square grid allows the odd ones.
    axes = [x, y, -x, -y]
    turns = range(4) if columns == rows and columns % 2 == 0 else (0, 2)
    best = max(turns, key=lambda turn: axes[turn][0] / np.linalg.norm(axes[turn]))
    return _turned(board, ids, best), px


def _turned(board: Board, ids: Int[np.ndarray, " n"], quarters: int) -> Int[np.ndarray, " n"]:
    """Numbers after the board's x axis was turned by quarter turns: 1 = the new x axis is the old y axis."""
    columns, rows = board.grid
    row, column = np.divmod(ids, columns)
    for _ in range(quarters):
        # New x = old y, new y = minus old x.
        row, column = columns - 1 - column, row
        columns, rows = rows, columns
    return row * columns + column


def _next_edges(board: Board) -> Float[np.ndarray, "k 2"]:
    """Points on the next edges around a corner, on two sides (the others are their mirror images)."""
    along = np.linspace(-1, 1, 9) * board.square_mm
    side = np.stack([np.full_like(along, board.square_mm), along], axis=-1)
    return np.concatenate([side, side[:, ::-1]])
