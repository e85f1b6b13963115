"""Which other boards one could be that is not found: what people get wrong, and what its traces speak for.

A guess is a description, whether the pictures must be mirrored for it, and what it changes, in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from calib import board_layout
from calib.board_traces import MarkerView, grouped
from calib.boards import Board

Guess = tuple[Board, bool, str]


def mistakes(board: Board) -> Iterator[Guess]:
    """What people get wrong most often, one thing at a time and then together."""
    if board.kind == "chessboard":
        for more in (-1, 1):
            other = _with(board, columns=board.columns + more, rows=board.rows + more)
            if other is not None:
                yield other, False, difference(board, other)
        return
    swap = {"columns": board.rows, "rows": board.columns}
    options = list(product((False, True), repeat=4))
    for inverted, mirrored, swapped, legacy in sorted(options, key=sum):
        if (legacy and board.kind != "charuco") or not any((inverted, mirrored, swapped, legacy)):
            continue
        # More than two mistakes at once are left to what the markers themselves say.
        if inverted + mirrored + swapped + legacy > 2:
            continue
        changes: dict[str, Any] = swap if swapped else {}
        if inverted:
            changes = {**changes, "inverted": not board.inverted}
        if legacy:
            changes = {**changes, "legacy": not board.legacy}
        other = _with(board, **changes)
        if other is None or (legacy and other.rows % 2 and not swapped):
            continue
        yield other, mirrored, difference(board, other, mirrored)


def from_markers(seen: Sequence[MarkerView], given: Board) -> Iterator[Guess]:
    """The boards that the markers themselves speak for, the best first."""
    # Some quads are a marker of a wrong dictionary by chance, but few of one picture are.
    richest = grouped(seen)[:4]
    layouts = []
    for (family, inverted, mirrored), pictures in richest:
        smallest = min((number for number in max(pictures, key=lambda found: len(found))), default=0)
        found = [
            (layout, first_id)
            for first_id in dict.fromkeys((given.first_id, 0, smallest))
            if (layout := board_layout.best_layout(pictures, first_id)) is not None
        ]
        if found:
            # A board that starts at a later marker looks like the lower part of one that starts at the first.
            layout, first_id = max(
                found, key=lambda f: (f[0].explained, (f[0].columns, f[0].rows) == (given.columns, given.rows))
            )
            layouts.append((layout, family, inverted, mirrored, first_id))
    for layout, family, inverted, mirrored, first_id in sorted(layouts, key=lambda entry: -entry[0].explained)[:3]:
        other = board_layout.as_board(layout, family, given, first_id)
        other = _with(other, inverted=inverted) if other is not None and inverted else other
        if other is not None:
            yield other, mirrored, difference(given, other, mirrored)


def from_grids(seen: Iterable[tuple[int, int] | None], given: Board, contain: bool = False) -> Iterator[Guess]:
    """Chessboards of the sizes that were seen; for a board with markers the one that it would be without them.

    Args:
        seen: In some pictures, see `grid_seen`.
        given: The description that is in doubt.
        contain: Only those of which it is a part.
    """
    if given.kind == "aprilgrid":
        return
    wide = given.columns >= given.rows or given.kind != "chessboard"
    sizes: Counter[tuple[int, int]] = Counter()
    for size in seen:
        if size is not None:
            # The grid may lie in the picture either way; columns and rows are counted as in the description.
            long, short = max(size), min(size)
            sizes[(long, short) if wide else (short, long)] += 1
    # Hidden corners make a grid smaller, nothing makes it larger: of equals the larger one.
    for (columns, rows), _ in sorted(sizes.items(), key=lambda entry: (-entry[1], -entry[0][0] * entry[0][1]))[:4]:
        if given.kind == "chessboard" and {columns, rows} == {given.columns, given.rows}:
            continue
        other = _with(
            Board(kind="chessboard", columns=3, rows=4, square_mm=given.square_mm), columns=columns, rows=rows
        )
        if other is not None and (not contain or holds(other, given)):
            yield other, False, difference(given, other)


def difference(given: Board, other: Board, mirrored: bool = False) -> str:
    """What another description changes, in words."""
    if given.kind != other.kind:
        told = [f"it is a board of the kind {other.kind}, not {given.kind}"]
        return ", ".join([*told, *(["the pictures are mirrored"] if mirrored else [])])
    told = []
    if (given.columns, given.rows) != (other.columns, other.rows):
        swapped = (given.columns, given.rows) == (other.rows, other.columns)
        counts = f"{other.columns}x{other.rows}, not {given.columns}x{given.rows}"
        counted = " (its inner corners are counted)" if given.kind == "chessboard" else ""
        told.append(
            f"columns and rows are swapped ({counts})" if swapped else f"columns and rows are {counts}{counted}"
        )
    if given.dictionary != other.dictionary:
        told.append(f"the dictionary is {other.dictionary}, not {given.dictionary}")
    if given.inverted != other.inverted:
        told.append("black and white are exchanged" if other.inverted else "black and white are not exchanged")
    if given.legacy != other.legacy:
        told.append("it is the legacy layout" if other.legacy else "it is not the legacy layout")
    if given.kind == "aprilgrid" and given.layout != other.layout:
        told.append(f"the layout is {other.layout}, not {given.layout}")
    if given.first_id != other.first_id:
        told.append(f"the first marker is {other.first_id}, not {given.first_id}")
    share, true_share = given.marker_mm / given.square_mm, other.marker_mm / other.square_mm
    if given.kind != "chessboard" and abs(share - true_share) > 0.02:
        told.append(f"a marker is {true_share:.2f} of a square wide, not {share:.2f}")
    if mirrored:
        told.append("the pictures are mirrored")
    return ", ".join(told)


def holds(whole: Board, part: Board) -> bool:
    """Whether a chessboard is a part of another one."""
    if {whole.kind, part.kind} != {"chessboard"} or whole.count <= part.count:
        return False
    return all(a >= b for a, b in zip(sorted(whole.grid), sorted(part.grid), strict=True))


def _with(board: Board, **changes: Any) -> Board | None:
    """The board with some fields changed, ``None`` where there is no such board."""
    try:
        return Board.model_validate({**board.model_dump(), **changes})
    except ValueError:
        return None
