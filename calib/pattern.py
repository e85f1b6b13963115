"""What is black on a board: exact rectangles, and pictures drawn from them."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from calib.boards import Board, marker_dictionary


def black_mm(board: Board) -> Float[np.ndarray, "n 4"]:
    """The board's black rectangles (left, top, right, bottom) in its frame, mm; they do not overlap.

    Of an inverted board these are the white ones.
    """
    squares = _squares(board)
    markers = [_marker(board, number, corners) for number, corners in board.markers.items()]
    return np.concatenate([squares, *markers])


def draw(board: Board, px_per_mm: float, margin_mm: float | None = None) -> UInt8[np.ndarray, "H W"]:
    """A picture of the board as it is printed: 255 = paper.

    A pixel on an edge is grey by the share of it that is black, so the picture is exact at any scale. The
    middle of the board is the middle of the picture.

    Args:
        board: What to draw.
        px_per_mm: The scale.
        margin_mm: Paper around the pattern; ``None`` = half a square.
    """
    margin = board.square_mm / 2 if margin_mm is None else margin_mm
    size_mm = np.array(board.size_mm) + 2 * margin
    width, height = (max(1, int(np.ceil(side * px_per_mm - 1e-6))) for side in size_mm)
    origin = board.outline_mm[0] - (np.array([width, height]) / px_per_mm - board.size_mm) / 2
    ink = _ink(black_mm(board) - np.tile(origin, 2), px_per_mm, (height, width))
    if board.inverted:
        whole = np.concatenate([board.outline_mm[0], board.outline_mm[2]])[None]
        ink = _ink(whole - np.tile(origin, 2), px_per_mm, (height, width)) - ink
    return np.rint(255 * (1 - np.clip(ink, 0, 1))).astype(np.uint8)


def board_to_picture(board: Board, px_per_mm: float, margin_mm: float | None = None) -> Float[np.ndarray, "3 3"]:
    """The matrix from (x, y) mm of the board to px of the picture that `draw` makes of it."""
    margin = board.square_mm / 2 if margin_mm is None else margin_mm
    size_px = np.ceil((np.array(board.size_mm) + 2 * margin) * px_per_mm - 1e-6)
    origin = board.outline_mm[0] - (size_px / px_per_mm - board.size_mm) / 2
    matrix = np.diag([px_per_mm, px_per_mm, 1.0])
    matrix[:2, 2] = -origin * px_per_mm - 0.5
    return matrix


def _ink(rectangles: Float[np.ndarray, "n 4"], px_per_mm: float, shape: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """The share of each pixel that rectangles cover."""
    ink = np.zeros(shape, np.float32)
    for left, top, right, bottom in rectangles * px_per_mm:
        x, across = _cover(left, right, shape[1])
        y, down = _cover(top, bottom, shape[0])
        ink[y, x] += down[:, None] * across
    return ink


def _cover(start: float, end: float, size: int) -> tuple[slice, Float[np.ndarray, " n"]]:
    """Which pixels of a line lie between two places, and the share of each that does."""
    first, last = max(int(np.floor(start)), 0), min(int(np.ceil(end)), size)
    edges = np.clip(np.arange(first, max(last, first) + 1), start, end)
    return slice(first, max(last, first)), np.diff(edges).astype(np.float32)


def _squares(board: Board) -> Float[np.ndarray, "n 4"]:
    side = board.square_mm
    if board.kind == "aprilgrid":
        if board.layout == "plain":
            return np.zeros((0, 4))
        # Between the tags, so that at each corner of a tag two black and two white squares meet.
        size, places = side - board.marker_mm, np.indices((board.columns + 1, board.rows + 1)).reshape(2, -1).T
        corner = places * side - size
        return np.concatenate([corner, corner + size], axis=1)
    columns, rows = board.grid
    places = np.indices((columns + 1, rows + 1)).reshape(2, -1).T
    places = places[places.sum(axis=1) % 2 == (0 if board.black_first else 1)] - 1
    return np.concatenate([places, places + 1], axis=1) * side


def _marker(board: Board, number: int, corners_mm: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "n 4"]:
    """A marker's black bits, those beside each other in one rectangle."""
    dictionary = marker_dictionary(board.dictionary)
    bits = dictionary.markerSize + 2 * board.border_bits
    black = cv2.aruco.generateImageMarker(dictionary, number, bits, borderBits=board.border_bits) < 128
    if corners_mm[0, 0] > corners_mm[1, 0]:
        black = black[::-1, ::-1]
    step, origin = board.marker_mm / bits, corners_mm.min(axis=0)
    rectangles = []
    for row, line in enumerate(black):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], line, [0]])))
        for start, end in ends.reshape(-1, 2):
            rectangles.append([start, row, end, row + 1])
    return np.array(rectangles) * step + np.tile(origin, 2)
