"""Corners of printed squares to a small part of a pixel, and whether a place is such a corner at all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

MIN_WINDOW_PX = 2
MAX_WINDOW_PX = 30
STRAY_PX, STRAY_SHARE = 1.0, 0.04
"""A corner strays where it lies further from what its neighbours say, in px and as a share of a square."""

_STOP = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 0.003)


def refine(
    gray: np.ndarray, px: Float[np.ndarray, "n 2"], reach_px: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Move corners to where the edges around them meet.

    Args:
        gray: uint8 (H, W).
        px: Where they are to within about half a window.
        reach_px: For each, how far its edges run before anything else begins: half the side of the window.

    Returns:
        Where they are; NaN at the rim of the picture, or the corner left the window.
    """
    # OpenCV mirrors what lies beyond the picture's rim, and so invents edges: there the window is smaller.
    size = np.array(gray.shape[::-1])
    to_rim = np.minimum(np.rint(px), size - 1 - np.rint(px)).min(axis=-1) - 1
    wanted = np.clip(np.floor(reach_px), MIN_WINDOW_PX, MAX_WINDOW_PX)
    window = np.minimum(wanted, to_rim).astype(int)
    inside = window >= np.minimum(wanted, np.maximum(wanted / 3, MIN_WINDOW_PX))
    refined = np.full(px.shape, np.nan)
    for half in np.unique(window[inside]):
        some = inside & (window == half)
        at = np.ascontiguousarray(px[some], dtype=np.float32).reshape(-1, 1, 2)
        refined[some] = cv2.cornerSubPix(gray, at, (int(half), int(half)), (-1, -1), _STOP).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        gone = ~(np.abs(refined - px).max(axis=-1) < window)
    refined[gone] = np.nan
    return refined


def contrast(
    gray: np.ndarray,
    px: Float[np.ndarray, "n 2"],
    right_px: Float[np.ndarray, "n 2"],
    down_px: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, " n"]:
    """How clearly two dark and two bright squares meet at a place, in grey levels.

    Args:
        gray: uint8 (H, W).
        px: The corners.
        right_px: From a corner along the board's x axis as far as its four squares are plain, in px.
        down_px: The same along its y axis.

    Returns:
        The darkest bright square less the brightest dark one, where the squares to the lower right and the
        upper left are the bright ones; negative the same the other way; 0 where they do not alternate.
    """
    steps = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], float)
    near = np.array([0.4, 0.6, 0.8])
    towards = steps[:, :1] * right_px[:, None] + steps[:, 1:] * down_px[:, None]
    at = px[:, None, None] + near[:, None] * towards[:, :, None]
    values = np.median(sample(gray, at), axis=-1)
    first, second = values[:, :2], values[:, 2:]
    bright_first = first.min(axis=-1) - second.max(axis=-1)
    dark_first = first.max(axis=-1) - second.min(axis=-1)
    return np.where(bright_first > 0, bright_first, np.where(dark_first < 0, dark_first, 0.0))


def sample(gray: np.ndarray, px: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, ...]:
    """Grey levels between pixels; outside the picture those of its rim."""
    flat = np.ascontiguousarray(px.reshape(-1, 2), dtype=np.float32)
    if not len(flat):
        return np.zeros(px.shape[:-1])
    # remap takes no more than 32767 rows or columns.
    rows = [
        cv2.remap(gray, part[None, :, 0], part[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        for part in np.array_split(flat, len(flat) // 30000 + 1)
    ]
    return np.concatenate(rows).astype(np.float64).reshape(px.shape[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class LocalMaps:
    """How the board lies in the picture around places of it: one homography a place.

    Attributes:
        px: (n, 2) where the places are in the picture; NaN where too little is known around them.
        right: (n, 2) px in the picture per mm along the board's x axis.
        down: (n, 2) the same along its y axis.
    """

    px: Float[np.ndarray, "n 2"]
    right: Float[np.ndarray, "n 2"]
    down: Float[np.ndarray, "n 2"]

    def side(self, mm: float) -> Float[np.ndarray, " n"]:
        """So many mm of the board in px, along that of its axes in which they are shorter."""
        return mm * np.minimum(np.linalg.norm(self.right, axis=-1), np.linalg.norm(self.down, axis=-1))

    def clear(self, edges_mm: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, " n"]:
        """Half the side of the largest upright window around each place that no such edge point reaches into.

        Args:
            edges_mm: Points of what lies around a place, relative to it.
        """
        offsets = edges_mm[:, :1] * self.right[:, None] + edges_mm[:, 1:] * self.down[:, None]
        return np.abs(offsets).max(axis=-1).min(axis=-1)


def local_maps(
    places: Float[np.ndarray, "n 2"],
    board: Float[np.ndarray, "m 2"],
    px: Float[np.ndarray, "m 2"],
    neighbours: int,
    *,
    without_self: bool = False,
) -> LocalMaps:
    """Fit a homography to the known points nearest to each place: a lens bends a board, but not a small part of it.

    Args:
        places: Of the board, mm.
        board: Where the known points are on the board, mm.
        px: Where they are in the picture.
        neighbours: How many of them each fit takes.
        without_self: Leave out a known point that is the place itself.
    """
    away = np.linalg.norm(places[:, None] - board, axis=-1)
    if without_self:
        away[away < 1e-6] = np.inf
    count = min(neighbours, len(board) - int(without_self))
    if count < 4:
        nothing = np.full((len(places), 2), np.nan)
        return LocalMaps(nothing, nothing, nothing)
    nearest = np.argpartition(away, count - 1, axis=-1)[:, :count]
    scale = np.take_along_axis(away, nearest, -1).max(axis=-1)[:, None, None]
    source = (board[nearest] - places[:, None]) / scale
    middle = px[nearest].mean(axis=1, keepdims=True)
    size = np.maximum(np.abs(px[nearest] - middle).max(axis=(1, 2), keepdims=True), 1e-9)
    target = (px[nearest] - middle) / size
    equations = np.zeros((len(places), count, 2, 8))
    equations[..., 0, 0:2] = equations[..., 1, 3:5] = source
    equations[..., 0, 2] = equations[..., 1, 5] = 1
    equations[..., 6:8] = -target[..., None] * source[..., None, :]
    rows = equations.reshape(len(places), 2 * count, 8)
    gram = np.swapaxes(rows, -1, -2) @ rows
    # Places whose known points lie in one line have no map.
    spread = np.linalg.eigvalsh(np.swapaxes(source, -1, -2) @ source)[:, 0] / count
    flat = spread < 0.02
    gram[flat] = np.eye(8)
    gram += 1e-9 * np.eye(8)
    h = np.linalg.solve(gram, np.swapaxes(rows, -1, -2) @ target.reshape(len(places), -1, 1))[..., 0]
    h[flat] = np.nan
    place = h[:, [2, 5]]
    right = h[:, [0, 3]] - place * h[:, 6:7]
    down = h[:, [1, 4]] - place * h[:, 7:8]
    return LocalMaps(place * size[:, 0] + middle[:, 0], right * (size / scale)[:, 0], down * (size / scale)[:, 0])


def without_strays(
    points: Float[np.ndarray, "N 2"], square_mm: float, ids: Int[np.ndarray, " n"], px: Float[np.ndarray, "n 2"]
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    """Drop corners that do not lie where their neighbours say, the worst first.

    Args:
        points: Of the board, mm.
        square_mm: The way from one point to the next.
        ids: Which points were found.
        px: Where.
    """
    while len(ids) > 5:
        told = local_maps(points[ids], points[ids], px, 8, without_self=True)
        off = np.linalg.norm(told.px - px, axis=-1) / np.maximum(STRAY_PX, STRAY_SHARE * told.side(square_mm))
        if not np.isfinite(off).any() or np.nanmax(off) <= 1:
            break
        worst = int(np.nanargmax(off))
        ids, px = np.delete(ids, worst), np.delete(px, worst, axis=0)
    return ids, px
