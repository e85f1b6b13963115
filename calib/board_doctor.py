"""Why a board is not found: other descriptions are tried on the same pictures, and the one that fits is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np

from calib import board_layout, marker_codes
from calib.boards import Board
from calib.detect import detect, grey
from calib.marker_codes import Family

MAX_PICTURES = 24
"""In which traces of a board are looked for."""
TRIED_PICTURES = 5
"""In so many of them, those with the most traces, descriptions are tried."""
TELLING_SHARE = 0.4
"""Of the traces in the best picture: with fewer a picture holds only a part of the board."""
GRID_SEARCH_PX = 800
TRIAL_GRID_PX, TRIAL_MARKERS_PX = 800, 1600
"""Longer side of the pictures in which chessboards and boards with markers are tried."""
CLEAR_SHARE = 0.7
"""Found in so many of the pictures with so many of its points, a description is the right one."""
WHOLE_SHARE = 0.5
"""A chessboard that holds another is the right one when it is found in so many of the pictures of its part."""
ENOUGH_SHARE, ENOUGH_POINTS = 0.5, 0.4
"""A description fits that is found in so many of the pictures, and there with so many of its points."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One description, tried on all pictures.

    Attributes:
        board: The description.
        mirrored: Whether the pictures were mirrored for it.
        change: What it changes of the one that was given; empty = nothing.
        found: Pictures in which the board was found.
        pictures: All pictures.
        points: Points found, all pictures together.
    """

    board: Board
    mirrored: bool
    change: str
    found: int
    pictures: int
    points: int

    def __str__(self) -> str:
        more = f", {self.points / self.found:.0f} of {self.board.count} points each" if self.found else ""
        flipped = " in mirrored pictures" if self.mirrored else ""
        return f"{self.board.name}{flipped}: in {self.found} of {self.pictures} pictures{more}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        given: The description that was given, tried.
        best: What fits, which may be the given one; ``None`` = nothing fits.
        trials: Everything that was tried, the given one first.
        words: In plain sentences, the most important first.
    """

    given: Trial
    best: Trial | None
    trials: tuple[Trial, ...]
    words: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the given description is the right one."""
        return self.best is self.given

    @property
    def mirrored(self) -> bool:
        """Whether the board is there only in mirrored pictures."""
        return self.best is not None and self.best.mirrored

    def __str__(self) -> str:
        return " ".join(self.words)

    def document(self) -> dict[str, Any]:
        """As plain values, for JSON."""

        def plain(trial: Trial) -> dict[str, Any]:
            return {
                "board": trial.board.name,
                "mirrored": trial.mirrored,
                "change": trial.change,
                "found": trial.found,
                "pictures": trial.pictures,
                "points": trial.points,
            }

        return {
            "fits": self.fits,
            "given": plain(self.given),
            "best": plain(self.best) if self.best else None,
            "trials": [plain(trial) for trial in self.trials],
            "words": list(self.words),
        }


def diagnose(pictures: Iterable[np.ndarray], board: Board, tell: Callable[[str], None] | None = None) -> Diagnosis:
    """Find out which board is in some pictures, when the one described is not found, or in few.

    What the pictures show of themselves, markers of any dictionary and grids of any size, says which of them hold a
    board and what to try first; descriptions are tried on few of these, made smaller.

    Args:
        pictures: uint8, (H, W) or (H, W, 3) in BGR; of one camera or of several. A dozen in which a person sees
            the board is enough; of more than `MAX_PICTURES`, that many are taken evenly.
        board: The description that is in doubt.
        tell: Is called with what is being done, for a progress display.
    """
    tell = tell or (lambda _: None)
    grays = [grey(picture) for picture in pictures]
    grays = [grays[k] for k in np.unique(np.linspace(0, len(grays) - 1, MAX_PICTURES).astype(int))] if grays else []
    if board.kind != "chessboard":
        tell(board.name)
        given = _try([_reduced(gray, board) for gray in grays], board, False, "")
        if _fits(given) or not grays:
            return _diagnosis(given, [given], [], grays)
    elif not grays:
        return _diagnosis(_try([], board, False, ""), [], [], grays)
    tell("markers")
    seen = [_markers_seen([gray]) for gray in grays]
    views = [view for some in seen for view in some]
    inferred = list(_inferred(views, board))
    sizes: list[tuple[int, int] | None] = []
    if inferred:
        richest = _richest(views)
        counts = [max((len(v.markers) for v in some if v.group in richest), default=0) for some in seen]
    else:
        tell("grids")
        sizes = [_grid_seen(gray) for gray in grays]
        counts = [size[0] * size[1] if size else 0 for size in sizes]
    chosen = _telling(counts)
    few = [grays[k] for k in chosen]
    small: dict[str, list[np.ndarray]] = {}

    def trial(other: Board, mirrored: bool, change: str) -> Trial:
        tell(other.name)
        key = "grid" if other.kind == "chessboard" else "markers"
        if key not in small:
            small[key] = [_reduced(gray, other) for gray in few]
        return _try(small[key], other, mirrored, change)

    # On the same pictures as the others, so that they can be compared.
    given = trial(board, False, "")
    trials = [given]
    tried = {(board, False)}
    larger = _grids([size for size in sizes if size], board, contain=board.kind == "chessboard" and _fits(given))
    guesses: tuple[Iterable[tuple[Board, bool, str]], ...] = (inferred, larger, _changes(board))
    if board.kind != "chessboard":
        # Only when all that people mistake in a board with markers is wrong, it may be one without.
        guesses = (inferred, _changes(board), larger if sizes else _grids(map(_grid_seen, few), board))
    for some in guesses[: 2 if _fits(given) else 3]:
        for other, mirrored, change in some:
            if (other, mirrored) not in tried:
                tried.add((other, mirrored))
                trials.append(trial(other, mirrored, change))
                if _clear(trials[-1], given):
                    break
        if any(_fits(one) for one in trials[1:]):
            break
    return _diagnosis(given, trials, views, grays)


def confirm(pictures: Iterable[np.ndarray], known: Diagnosis) -> Diagnosis | None:
    """Whether what was found in one camera's pictures is what another one shows; ``None`` = it must be looked for.

    Args:
        pictures: Of the other camera; as in `diagnose`.
        known: What the first one's pictures show.
    """
    if known.best is None or known.fits:
        return None
    best, board = known.best, known.given.board
    grays = [_reduced(grey(picture), best.board) for picture in pictures]
    there = []
    for gray in grays:
        if detect(_flipped(gray) if best.mirrored else gray, best.board) is not None:
            there.append(gray)
            if len(there) == TRIED_PICTURES:
                break
    trials = [_try(there, board, False, ""), _try(there, best.board, best.mirrored, best.change)]
    if len(there) < min(2, len(grays)) or not _clear(trials[1], trials[0]):
        return None
    found = _diagnosis(trials[0], trials, [], there)
    return None if found.fits else found


def _diagnosis(given: Trial, trials: list[Trial], seen: Sequence[_View], grays: Sequence[np.ndarray]) -> Diagnosis:
    trials = trials or [given]
    # Of equals the one with the fewest changes, which comes first.
    best = max(trials, key=lambda trial: (trial.points, trial.found))
    # A part of a chessboard is one as well, and it is found where a hand hides the rest of the whole.
    wholes = [one for one in trials if _holds(one.board, best.board) and one.found >= max(1, WHOLE_SHARE * best.found)]
    best = max([best, *wholes], key=lambda trial: trial.board.count) if wholes else best
    # A hair's breadth more than the given one is no reason to doubt it.
    if given.points and best.points <= 1.1 * given.points and not _holds(best.board, given.board):
        best = given
    chosen = best if best.found else None
    return Diagnosis(given, chosen, tuple(trials), tuple(_words(given, chosen, seen, grays)))


def _holds(whole: Board, part: Board) -> bool:
    """Whether a chessboard is a part of another one."""
    if {whole.kind, part.kind} != {"chessboard"} or whole.count <= part.count:
        return False
    return all(a >= b for a, b in zip(sorted(whole.grid), sorted(part.grid), strict=True))


def _clear(trial: Trial, given: Trial) -> bool:
    """Whether nothing else needs to be tried."""
    return (
        trial.found >= max(min(2, trial.pictures), CLEAR_SHARE * trial.pictures)
        and trial.points >= CLEAR_SHARE * trial.board.count * trial.found
        and (trial.points > 1.1 * given.points or _holds(trial.board, given.board))
    )


def _telling(counts: Sequence[int]) -> list[int]:
    """The pictures that show most of a board; where none shows any, some of all."""
    n = len(counts)
    most = max(counts, default=0)
    if not most:
        return sorted({int(k) for k in np.linspace(0, n - 1, min(n, TRIED_PICTURES)).round()})
    order = sorted(range(n), key=lambda k: -counts[k])[:TRIED_PICTURES]
    return sorted(k for k in order if counts[k] >= TELLING_SHARE * most)


def _reduced(gray: np.ndarray, board: Board) -> np.ndarray:
    """A picture small enough to be tried quickly."""
    return _at_most(gray, TRIAL_GRID_PX if board.kind == "chessboard" else TRIAL_MARKERS_PX)


def _at_most(gray: np.ndarray, longer_px: int) -> np.ndarray:
    scale = longer_px / max(gray.shape)
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray


def _fits(trial: Trial) -> bool:
    enough = ENOUGH_POINTS * trial.board.count * trial.found
    return trial.found > 0 and trial.found >= ENOUGH_SHARE * trial.pictures and trial.points >= enough


def _try(grays: Sequence[np.ndarray], board: Board, mirrored: bool, change: str) -> Trial:
    found = [detect(_flipped(gray) if mirrored else gray, board) for gray in grays]
    counts = [len(detection) for detection in found if detection is not None]
    return Trial(board, mirrored, change, len(counts), len(grays), sum(counts))


def _flipped(gray: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(gray[:, ::-1])


def _with(board: Board, **changes: Any) -> Board | None:
    """The board with some fields changed, ``None`` where there is no such board."""
    try:
        return Board.model_validate({**board.model_dump(), **changes})
    except ValueError:
        return None


def _changes(board: Board) -> Iterator[tuple[Board, bool, str]]:
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


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What one picture shows of one family of markers."""

    family: Family
    inverted: bool
    mirrored: bool
    markers: dict[int, np.ndarray]

    @property
    def group(self) -> tuple[Family, bool, bool]:
        """Views of one group may be of one board."""
        return self.family, self.inverted, self.mirrored


def _markers_seen(grays: Sequence[np.ndarray]) -> list[_View]:
    """The markers of every dictionary in every picture, as it is, inverted and mirrored."""
    views = []
    for gray in grays:
        for inverted in (False, True):
            bright = cv2.bitwise_not(gray) if inverted else gray
            quads = marker_codes.quads(bright)
            for mirrored in (False, True):
                picture, found = bright, quads
                if mirrored:
                    picture = _flipped(bright)
                    found = quads[:, ::-1] * [-1, 1] + [gray.shape[1] - 1, 0]
                for family, entries in marker_codes.read(picture, found).items():
                    often = Counter(entry.number for entry in entries)
                    markers = {entry.number: entry.px for entry in entries if often[entry.number] == 1}
                    views.append(_View(family, inverted, mirrored, markers))
    return views


def _grouped(seen: Sequence[_View]) -> list[tuple[tuple[Family, bool, bool], list[dict[int, np.ndarray]]]]:
    """The pictures' markers by what they may belong to; the richest first."""
    groups: dict[tuple[Family, bool, bool], list[dict[int, np.ndarray]]] = {}
    for view in seen:
        groups.setdefault(view.group, []).append(view.markers)
    return sorted(groups.items(), key=lambda group: -sum(map(len, group[1])))


def _richest(seen: Sequence[_View]) -> set[tuple[Family, bool, bool]]:
    return {group for group, _ in _grouped(seen)[:1]}


def _inferred(seen: Sequence[_View], given: Board) -> Iterator[tuple[Board, bool, str]]:
    """The boards that the markers themselves speak for, the best first."""
    # Some quads are a marker of a wrong dictionary by chance, but few of one picture are.
    richest = _grouped(seen)[:4]
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


def _grid_seen(gray: np.ndarray) -> tuple[int, int] | None:
    """(columns, rows) of the largest chessboard that can be followed in a picture, as it lies there."""
    small = _at_most(gray, GRID_SEARCH_PX)
    flags = cv2.CALIB_CB_LARGER | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_NORMALIZE_IMAGE
    found, _, meta = cv2.findChessboardCornersSBWithMeta(small, (3, 3), flags)
    if not found or meta.shape[0] * meta.shape[1] <= 9:
        return None
    return meta.shape[1], meta.shape[0]


def _grids(
    seen: Iterable[tuple[int, int] | None], given: Board, contain: bool = False
) -> Iterator[tuple[Board, bool, str]]:
    """Chessboards of the sizes that were seen; for a board with markers the one that it would be without them.

    Args:
        seen: In some pictures, see `_grid_seen`.
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
        if other is not None and (not contain or _holds(other, given)):
            yield other, False, difference(given, other)


def _words(given: Trial, best: Trial | None, seen: Sequence[_View], grays: Sequence[np.ndarray]) -> Iterator[str]:
    if not grays:
        yield "There are no pictures to look at."
        return
    if best is None:
        yield f"No board was found in {given.pictures} pictures, neither {given.board.name} nor any other."
        yield from _why_nothing(given.board, seen, grays)
        return
    if best is given:
        yield f"The description fits: {given}."
        if given.found < ENOUGH_SHARE * given.pictures:
            yield "In the other pictures the board is hidden, blurred, too small or not there."
        return
    yield f"{given.board.name} was found in {given.found} of {given.pictures} pictures."
    yield f"What fits is {best}."
    yield f"The difference: {best.change}."
    if best.mirrored:
        yield (
            "Either the pictures are mirrored: turn that off where they are recorded, for a mirrored camera cannot be"
            " calibrated; or they show the back of a board that is printed on both sides: then add :two-sided."
        )
    else:
        yield f"Use --board {best.board.name}."
    if best.board.kind == given.board.kind and best.board.marker_mm != given.board.marker_mm:
        yield "Measure a square and a marker with a ruler: pictures do not show lengths."


def _why_nothing(board: Board, seen: Sequence[_View], grays: Sequence[np.ndarray]) -> Iterator[str]:
    markers = Counter((view.family.dictionary, number) for view in seen for number in view.markers)
    often = sum(count for (name, _), count in markers.items() if name == board.dictionary)
    if board.kind != "chessboard" and often:
        yield f"Only {often} single markers of {board.dictionary} were read, not enough to tell how they lie."
    dark = float(np.median([np.percentile(gray, 99) for gray in grays]))
    if dark < 60:
        yield f"The pictures are dark (their brightest parts have {dark:.0f} of 255): more light or a longer exposure."
    else:
        yield (
            "Look at the pictures: the board must be sharp, whole and evenly lit; a marker needs about 20 px a side,"
            " a chessboard all of its corners and white around it."
        )
