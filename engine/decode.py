"""From what a network answers to points in its input and scores.

One function for each kind of output; numpy or torch arrays, no data-dependent control flow, so that
`engine.export_heads` can export them. All maps are channels-first here, points are pixels of the
network's input with (0, 0) the centre of its first pixel, and scores are as the network gives them
(`engine.graph` brings them to 0..1).

``stride`` and ``shift`` say where cell i lies: ``i * stride + shift``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

WINDOW = 5
"""Side of the window around a peak that the sub-cell position is read from."""
_FLOOR = 0.02
_WIDE = 0.25  # of the middle sum; the rim of a Gaussian of 1.2 cells
_TINY = 1e-12
_FLATTEST = -1e-3


def keypoints(values: Any, matrix: Any, bias: Any) -> tuple[Any, Any]:
    """Coordinates that the network gives itself.

    Args:
        values: (N, J, C) with C = 2 or 3 columns in the network's order and unit.
        matrix: (C, 3) to columns x, y, score.
        bias: (3,).

    Returns:
        Points (N, J, 2) px and scores (N, J).
    """
    xp = array_namespace(values)
    columns = xp.matmul(values, matrix) + bias
    return columns[..., :2], columns[..., 2]


def heatmap(maps: Any, stride: Any, shift: Any) -> tuple[Any, Any]:
    """The highest peak of each heatmap, to a fraction of a cell.

    The peak's surroundings are summed over columns and over rows, and a Gaussian goes through the
    sums about the peak (a parabola through their logarithms; Guo 2011, in the way of Zhang et al.
    2020, "Distribution-aware coordinate representation"): through all five where the peak is wide,
    which noise disturbs five times less, else through the middle three. Exact for a Gaussian of any
    width and height, so that a weak peak of 0.2 is read as well as one of 1; unlike a soft-argmax
    nothing outside the window pulls at it.

    Args:
        maps: (N, J, h, w); negative values count as 0.
        stride: Input pixels in a cell.
        shift: Input pixels from the first cell to the first pixel.

    Returns:
        Points (N, J, 2) px and the values of the peaks (N, J).
    """
    xp = array_namespace(maps)
    n, joints, height, width = maps.shape
    flat = xp.reshape(maps, (n, joints, height * width))
    column, row, _ = _peak(xp, flat, width)
    # Outside the map its border is repeated: a peak there is taken to lie on the border.
    offsets = _constant(xp, np.arange(WINDOW) - WINDOW // 2, column)
    columns = xp.clip(column + offsets, 0, width - 1)
    rows = xp.clip(row + offsets, 0, height - 1)
    index = xp.reshape(rows[..., :, None] * width + columns[..., None, :], (n, joints, WINDOW * WINDOW))
    patch = _gather(xp, flat, index)
    sums = xp.matmul(xp.clip(patch, min=0.0), _constant(xp, _SUMS, maps))
    beside = _vertex(xp, xp.reshape(sums, (n, joints, 2, WINDOW)))
    centre = xp.astype(xp.concat([column, row], axis=-1), maps.dtype)
    return (centre + beside) * stride + shift, patch[..., WINDOW * WINDOW // 2]


def heatmap_offset(maps: Any, offsets: Any, stride: Any, shift: Any, offset_px: Any) -> tuple[Any, Any]:
    """The highest cell of each score map, moved by the offset that the network gives there.

    As DeepLabCut (Insafutdinov et al. 2016; Mathis et al. 2018).

    Args:
        maps: (N, J, h, w) scores.
        offsets: (N, 2 J, h, w), x then y for each joint.
        stride: Input pixels in a cell.
        shift: Input pixels from the first cell's anchor to the first pixel.
        offset_px: Input pixels in one unit of offset (``locref_stdev``).

    Returns:
        Points (N, J, 2) px and the scores of the cells (N, J).
    """
    xp = array_namespace(maps)
    n, joints, height, width = maps.shape
    flat = xp.reshape(maps, (n, joints, height * width))
    column, row, index = _peak(xp, flat, width)
    there = xp.reshape(offsets, (n, joints, 2, height * width))
    both = xp.concat([index, index], axis=-1)[..., None]
    moved = _gather(xp, there, both)[..., 0]
    centre = xp.astype(xp.concat([column, row], axis=-1), maps.dtype)
    return centre * stride + shift + moved * offset_px, _gather(xp, flat, index)[..., 0]


def simcc(x: Any, y: Any, stride: Any, shift: Any) -> tuple[Any, Any]:
    """One classification for x and one for y (Li et al. 2022; RTMPose), to a fraction of a bin.

    Args:
        x: (N, J, bins over the width), logits or scores.
        y: (N, J, bins over the height).
        stride: Input pixels in a bin, 1 / split ratio.
        shift: Input pixels from the first bin to the first pixel.

    Returns:
        Points (N, J, 2) px and the smaller of the two maxima (N, J).
    """
    xp = array_namespace(x)
    column, best_x = _bin(xp, x)
    row, best_y = _bin(xp, y)
    score = xp.where(best_x < best_y, best_x, best_y)
    return xp.concat([column, row], axis=-1) * stride + shift, score[..., 0]


def _bin(xp: Any, values: Any) -> tuple[Any, Any]:
    """Position (N, J, 1) of the highest bin and its value; a parabola goes through it and its neighbours.

    The values are (multiples of) log-probabilities of a Gaussian, so no logarithm is taken.
    """
    bins = values.shape[-1]
    index = xp.argmax(values, axis=-1, keepdims=True)
    around = xp.clip(index + _constant(xp, np.array([-1, 0, 1]), index), 0, bins - 1)
    three = _gather(xp, values, around)
    terms = xp.matmul(three, _constant(xp, _PARABOLA, values))
    beside = xp.clip(terms[..., :1] / xp.clip(terms[..., 1:], max=-_TINY), -0.5, 0.5)
    # At either end the border is repeated and says nothing about a fraction.
    inside = (index > 0) & (index < bins - 1)
    return xp.astype(index, values.dtype) + xp.where(inside, beside, 0.0), three[..., 1:2]


def _peak(xp: Any, flat: Any, width: int) -> tuple[Any, Any, Any]:
    """Column, row and flat index of the highest cell, (N, J, 1) each."""
    index = xp.argmax(flat, axis=-1, keepdims=True)
    # Whole numbers below 2**23 are exact in float32, and a floor division of integers exports as six nodes.
    row = xp.astype(xp.floor((xp.astype(index, flat.dtype) + 0.5) / width), index.dtype)
    return index - row * width, row, index


def _vertex(xp: Any, sums: Any) -> Any:
    """The vertex (..., 2), in cells, of the Gaussian through five sums about a peak (..., 2, 5)."""
    middle = sums[..., 2:3]
    # A neighbour far below the peak would make the logarithm, not the data, decide.
    floor = xp.clip(middle * _FLOOR, min=_TINY)
    terms = xp.matmul(xp.log(xp.where(sums > floor, sums, floor)), _constant(xp, _PARABOLAS, sums))
    vertices = xp.clip(terms[..., :2] / xp.clip(terms[..., 2:], max=_FLATTEST), -1.0, 1.0)
    rim = _WIDE * middle[..., 0]
    wide = (sums[..., 0] > rim) & (sums[..., WINDOW - 1] > rim)
    return xp.where(wide, vertices[..., 1], vertices[..., 0])


def _gather(xp: Any, values: Any, index: Any) -> Any:
    """``take_along_axis`` over the last axis; torch's own gather exports as one node, with free sizes."""
    return values.gather(-1, index) if is_torch_array(values) else xp.take_along_axis(values, index, axis=-1)


def _constant(xp: Any, values: np.ndarray, like: Any) -> Any:
    return xp.asarray(values.tolist(), dtype=like.dtype, device=like.device)


def _sums() -> np.ndarray:
    """(25, 10): the sums over each of the window's columns, then over each of its rows."""
    grid = np.zeros((WINDOW, WINDOW, 2 * WINDOW))
    for k in range(WINDOW):
        grid[:, k, k] = 1
        grid[k, :, WINDOW + k] = 1
    return grid.reshape(WINDOW * WINDOW, 2 * WINDOW)


_SUMS = _sums()
# Numerator and denominator of a parabola's vertex, from its values at -1, 0 and 1.
_PARABOLA = np.array([[0.5, 1.0], [0.0, -2.0], [-0.5, 1.0]])
# The numerators, then the denominators, of the parabola through three and of the least-squares one
# through five, from its values at -2 to 2.
_PARABOLAS = np.array(
    [
        [0.0, 2 / 10, 0.0, 2 / 7],
        [0.5, 1 / 10, 1.0, -1 / 7],
        [0.0, 0.0, -2.0, -2 / 7],
        [-0.5, -1 / 10, 1.0, -1 / 7],
        [0.0, -2 / 10, 0.0, 2 / 7],
    ]
)
