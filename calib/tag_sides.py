"""Corners of tags that stand alone on white paper: where the straight lines along their sides cross.

Around such a corner only one square is black, so a window around it would pull it inwards; its two sides are
long, and each is placed by many edge points.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from calib import corners
from calib.boards import Board, marker_dictionary

SAMPLES = 48
"""Edge points taken along a side."""

DEPTH = 17
"""Grey levels taken across it for each."""

MIN_STEP = 12.0
"""Grey levels between the border and the paper."""


def find(
    gray: np.ndarray, board: Board, places: Float[np.ndarray, "m 2"], px: Float[np.ndarray, "m 2"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Numbers and places of the corners of tags.

    Args:
        gray: uint8 (H, W).
        board: Its layout is ``plain``.
        places: (4 tags, 2) corners of found tags on the board, mm, four by four.
        px: The same in the picture, to a pixel or two.
    """
    points = board.points_mm[:, :2]
    ids = np.linalg.norm(places[:, None] - points, axis=-1).argmin(axis=-1).reshape(-1, 4)
    # Clockwise from the upper left, whatever the order in which the detector gave them.
    order = np.argsort(ids, axis=1)
    ids, quads = np.take_along_axis(ids, order, 1), np.take_along_axis(px.reshape(-1, 4, 2), order[..., None], 1)
    bit = 1 / (marker_dictionary(board.dictionary).markerSize + 2 * board.border_bits)
    reach = 0.8 * min(board.border_bits * bit, board.gap / 2 if board.gap < 2 * bit else bit)
    # The detector is a pixel or two off at first; then a short profile holds less noise.
    for most_px in (20.0, 6.0, 4.0):
        moved = _crossings(gray, quads, reach, most_px)
        good = np.isfinite(moved).all(axis=(1, 2))
        ids, quads, moved = ids[good], quads[good], moved[good]
        side = np.linalg.norm(quads - np.roll(quads, 1, axis=1), axis=-1).min(axis=1)
        near = np.linalg.norm(moved - quads, axis=-1).max(axis=1) < np.maximum(0.15 * side, 2.5)
        ids, quads = ids[near], moved[near]
    return corners.without_strays(points, board.marker_mm, ids.ravel(), quads.reshape(-1, 2))


def _crossings(
    gray: np.ndarray, quads: Float[np.ndarray, "n 4 2"], reach: float, most_px: float
) -> Float[np.ndarray, "n 4 2"]:
    """The quads' corners from lines along their sides; NaN where a side is not clearly black on white."""
    if not len(quads):
        return quads
    start, end = quads, np.roll(quads, -1, axis=1)
    way = end - start
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    along = way / length
    # Clockwise in a picture whose y points down, the outside is to the left of the way.
    outward = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    share = np.linspace(0.05, 0.95, SAMPLES)
    feet = start[:, :, None] + share[:, None] * way[:, :, None]
    depth = np.clip(reach * length, 2.0, most_px) * np.linspace(-1, 1, DEPTH)
    at = feet[:, :, :, None] + depth[:, :, None, :, None] * outward[:, :, None, None]
    height, width = gray.shape
    inside = ((at >= 1) & (at <= np.array([width - 2, height - 2]))).all(axis=(1, 2, 3, 4))
    values = corners.sample(gray, at)
    slope = np.maximum(np.diff(values, axis=-1), 0)
    # What is far below the steepest step of a profile is noise.
    slope = np.where(slope > 0.25 * slope.max(axis=-1, keepdims=True), slope, 0)
    middle = (depth[..., 1:] + depth[..., :-1])[:, :, None] / 2
    weight = slope.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (slope * middle).sum(axis=-1) / weight
    usable = weight > MIN_STEP
    enough = usable.sum(axis=-1) >= SAMPLES // 2
    # A lens bends a long side, so off = a + b share + c share^2; the second time without the points that lie off it.
    keep = usable
    terms = share[:, None] ** np.arange(3)
    for _ in range(2):
        weighted = keep[..., None] * terms
        gram = np.swapaxes(weighted, -1, -2) @ terms + 1e-9 * np.eye(3)
        curve = np.linalg.solve(gram, np.swapaxes(weighted, -1, -2) @ np.where(keep, off, 0.0)[..., None])
        error = np.abs(off - (terms @ curve)[..., 0])
        typical = np.median(np.where(usable, error, 0.0), axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            keep = usable & (error < np.maximum(3 * typical, 0.15))
    # Where a side begins and ends, and its direction there; a corner is where one ends and the next begins.
    a, b, c = (curve[..., k, 0, None] for k in range(3))
    begin, ends = start + a * outward, end + (a + b + c) * outward
    begins_along, ends_along = way + b * outward, way + (b + 2 * c) * outward
    previous, previous_along = np.roll(ends, 1, axis=1), np.roll(ends_along, 1, axis=1)
    found = _cross(previous, previous_along, begin, begins_along)
    found[~(enough.all(axis=1) & inside)] = np.nan
    return found


def _cross(
    a: Float[np.ndarray, "n 4 2"],
    along_a: Float[np.ndarray, "n 4 2"],
    b: Float[np.ndarray, "n 4 2"],
    along_b: Float[np.ndarray, "n 4 2"],
) -> Float[np.ndarray, "n 4 2"]:
    """Where two lines cross, each given by a point and a direction."""
    apart = b - a
    cross = along_a[..., 0] * along_b[..., 1] - along_a[..., 1] * along_b[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        way = (apart[..., 0] * along_b[..., 1] - apart[..., 1] * along_b[..., 0]) / cross
    return a + way[..., None] * along_a
