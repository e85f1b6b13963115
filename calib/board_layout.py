"""What board carries the markers that were seen: kind, columns, rows, first square, size of the markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int
from pydantic import ValidationError

from calib.boards import Board, dictionary_size
from calib.marker_codes import Family

MAX_COLUMNS = 30
MIN_MARKERS = 4

Markers = Mapping[int, Float[np.ndarray, "4 2"]]
"""A picture's markers: number and corners in OpenCV's order."""


@dataclass(frozen=True, slots=True)
class Layout:
    """An arrangement of markers and how well it explains pictures.

    Attributes:
        kind: ``charuco`` or ``aprilgrid``.
        columns: Squares, or tags, from left to right.
        rows: At least so many; more may lie below (of an aprilgrid: above) the last marker seen.
        shift: Of a charuco, whether the top left square is white (1) or black (0).
        upward: Of an aprilgrid, whether its numbers grow from the bottom.
        turned: Whether the markers stand on their heads, as OpenCV sees them.
        marker_share: Side of a marker as a share of a square, or of the way from tag to tag.
        explained: Markers that lie where this says.
        markers: All that were seen.
    """

    kind: str
    columns: int
    rows: int
    shift: int
    upward: bool
    turned: bool
    marker_share: float
    explained: int
    markers: int


def best_layout(pictures: Sequence[Markers], first_id: int = 0) -> Layout | None:
    """The arrangement that explains most of the markers in some pictures; ``None`` where none explains half.

    Args:
        pictures: The markers of each.
        first_id: The number of the board's first marker.
    """
    rich = sorted((p for p in pictures if len(p) >= MIN_MARKERS), key=len, reverse=True)[:3]
    if not rich:
        return None
    best: Layout | None = None
    for kind, columns, shift, upward in _hypotheses():
        layout = _tried(rich, first_id, kind, columns, shift, upward)
        if layout is not None and (best is None or layout.explained > best.explained):
            best = layout
    return best if best is not None and best.explained > best.markers / 2 else None


def as_board(layout: Layout, family: Family, given: Board, first_id: int = 0) -> Board | None:
    """The board with that layout, with the lengths of a description that may be wrong; ``None`` where none can be.

    Lengths cannot be seen in a picture: the square's side is taken from ``given``, the marker's as well where
    the picture does not contradict it.
    """
    share = layout.marker_share
    square = given.square_mm
    marker = given.marker_mm
    if given.kind == "aprilgrid" and layout.kind == "aprilgrid":
        # There the tag's side is what people know.
        square = given.square_mm if _alike(given.marker_mm / given.square_mm, share) else given.marker_mm / share
    elif not marker or not _alike(marker / square, share):
        marker = round(square * share, 2)
    rows = layout.rows
    fits = given.kind == layout.kind and given.columns == layout.columns
    swapped = given.kind == layout.kind and given.rows == layout.columns
    if fits and given.rows >= rows:
        rows = given.rows
    elif swapped and given.columns >= rows:
        rows = given.columns
    if layout.kind == "charuco":
        # The last row may hold no marker that was seen.
        rows = max(rows, 3)
        # Only boards with an even number of rows were ever drawn with a white first square.
        rows += layout.shift and rows % 2
    try:
        return Board(
            kind="charuco" if layout.kind == "charuco" else "aprilgrid",
            columns=layout.columns,
            rows=rows,
            square_mm=square,
            marker_mm=marker,
            dictionary=shortest_dictionary(
                family.dictionary, given, first_id + (layout.columns * rows) // (2 if layout.kind == "charuco" else 1)
            ),
            legacy=bool(layout.shift),
            first_id=first_id,
            layout="plain" if layout.kind == "aprilgrid" and not layout.upward else "kalibr",
        )
    except ValidationError:
        return None


def shortest_dictionary(family: str, given: Board, needed: int) -> str:
    """The name for a dictionary whose first markers stand in several: the given one, or one that is long enough."""
    bits = family.partition("_")[0]
    names = [f"{bits}_{size}" for size in (50, 100, 250, 1000)] if bits[:1].isdigit() else [family]
    enough = [name for name in names if dictionary_size(name) >= needed] or [family]
    wanted = f"{bits}_{given.dictionary.partition('_')[2]}"
    return next((name for name in (given.dictionary, wanted) if name in enough), enough[0])


def _alike(a: float, b: float) -> bool:
    return abs(a - b) < 0.08 * b


def _hypotheses() -> Iterator[tuple[str, int, int, bool]]:
    for columns in range(2, MAX_COLUMNS + 1):
        for shift in (0, 1):
            yield "charuco", columns, shift, False
        for upward in (False, True):
            yield "aprilgrid", columns, 0, upward


def _places(
    numbers: Int[np.ndarray, " n"], kind: str, columns: int, shift: int, upward: bool
) -> Float[np.ndarray, "n 2"]:
    """(column, row) of the middle of each marker's square or tag."""
    if kind == "aprilgrid":
        row, column = np.divmod(numbers, columns)
        return np.stack([column, -row if upward else row], axis=-1).astype(float)
    # Rows with the parity of the first one hold `even` markers, the others `odd`.
    even, odd = (columns + shift) // 2, (columns + 1 - shift) // 2
    pair, rest = np.divmod(numbers, even + odd)
    second = rest >= even
    row = 2 * pair + second
    index = np.where(second, rest - even, rest)
    column = 2 * index + np.where(second, shift, 1 - shift)
    return np.stack([column, row], axis=-1).astype(float)


def _tried(
    pictures: Sequence[Markers], first_id: int, kind: str, columns: int, shift: int, upward: bool
) -> Layout | None:
    explained = total = 0
    shares: list[float] = []
    turned: list[bool] = []
    last_row = 0
    for markers in pictures:
        numbers = np.array(sorted(markers))
        total += len(numbers)
        numbers = numbers[numbers >= first_id]
        if len(numbers) < MIN_MARKERS:
            continue
        places = _places(numbers - first_id, kind, columns, shift, upward)
        quads = np.stack([markers[number] for number in numbers])
        middles = _middles(quads)
        size = np.sqrt(np.median([cv2.contourArea(quad.astype(np.float32)) for quad in quads]))
        matrix, inliers = cv2.findHomography(places, middles, cv2.RANSAC, 0.35 * size, maxIters=200)
        if matrix is None or abs(np.linalg.det(matrix)) < 1e-12 or inliers.sum() < MIN_MARKERS:
            continue
        good = inliers.ravel().astype(bool)
        back = cv2.perspectiveTransform(quads[good].reshape(1, -1, 2), np.linalg.inv(matrix))[0].reshape(-1, 4, 2)
        offset = back - places[good][:, None]
        upright = np.sign(offset) == np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        fits, stands_on_head = upright.all(axis=(1, 2)), (~upright).all(axis=(1, 2))
        right = max(fits.sum(), stands_on_head.sum())
        if right < MIN_MARKERS:
            continue
        chosen = fits if fits.sum() >= stands_on_head.sum() else stands_on_head
        explained += int(right)
        turned.append(bool(chosen is stands_on_head))
        # The quads' corners are the outermost dark pixels' centres: half a pixel is missing on each side.
        shares.append(float(2 * np.abs(offset[chosen]).mean() * (1 + 1 / size)))
        last_row = max(last_row, int(np.abs(places[good][chosen][:, 1]).max()))
    if not shares:
        return None
    share = float(np.median(shares))
    if not 0.1 < share < 0.98:
        return None
    return Layout(kind, columns, last_row + 1, shift, upward, turned[0], share, explained, total)


def _middles(quads: Float[np.ndarray, "n 4 2"]) -> Float[np.ndarray, "n 2"]:
    """Where the diagonals cross: a square's middle also in perspective."""
    a, b, c, d = (quads[:, k] for k in range(4))
    along, across = c - a, d - b
    cross = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
    way = ((b - a)[:, 0] * across[:, 1] - (b - a)[:, 1] * across[:, 0]) / cross
    return a + way[:, None] * along
