"""Why a board is not found: other descriptions are tried on the same pictures, and the one that fits is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calib.board_guesses import Guess, from_grids, from_markers, holds, mistakes
from calib.board_traces import MarkerView, at_most, flipped, grid_seen, markers_seen, richest_group
from calib.boards import Board
from calib.detect import detect, grey

MAX_PICTURES = 24
"""In which traces of a board are looked for."""
TRIED_PICTURES = 5
"""In so many of them, those with the most traces, descriptions are tried."""
TELLING_SHARE = 0.4
"""Of the traces in the best picture: with fewer a picture holds only a part of the board."""
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
    seen = [markers_seen([gray]) for gray in grays]
    views = [view for some in seen for view in some]
    inferred = list(from_markers(views, board))
    sizes: list[tuple[int, int] | None] = []
    if inferred:
        richest = richest_group(views)
        counts = [max((len(v.markers) for v in some if v.group in richest), default=0) for some in seen]
    else:
        tell("grids")
        sizes = [grid_seen(gray) for gray in grays]
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
    larger = from_grids([size for size in sizes if size], board, contain=board.kind == "chessboard" and _fits(given))
    guesses: tuple[Iterable[Guess], ...] = (inferred, larger, mistakes(board))
    if board.kind != "chessboard":
        # Only when all that people mistake in a board with markers is wrong, it may be one without.
        guesses = (inferred, mistakes(board), larger if sizes else from_grids(map(grid_seen, few), board))
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
        if detect(flipped(gray) if best.mirrored else gray, best.board) is not None:
            there.append(gray)
            if len(there) == TRIED_PICTURES:
                break
    trials = [_try(there, board, False, ""), _try(there, best.board, best.mirrored, best.change)]
    if len(there) < min(2, len(grays)) or not _clear(trials[1], trials[0]):
        return None
    found = _diagnosis(trials[0], trials, [], there)
    return None if found.fits else found


def _diagnosis(given: Trial, trials: list[Trial], seen: Sequence[MarkerView], grays: Sequence[np.ndarray]) -> Diagnosis:
    trials = trials or [given]
    # Of equals the one with the fewest changes, which comes first.
    best = max(trials, key=lambda trial: (trial.points, trial.found))
    # A part of a chessboard is one as well, and it is found where a hand hides the rest of the whole.
    wholes = [one for one in trials if holds(one.board, best.board) and one.found >= max(1, WHOLE_SHARE * best.found)]
    best = max([best, *wholes], key=lambda trial: trial.board.count) if wholes else best
    # A hair's breadth more than the given one is no reason to doubt it.
    if given.points and best.points <= 1.1 * given.points and not holds(best.board, given.board):
        best = given
    chosen = best if best.found else None
    return Diagnosis(given, chosen, tuple(trials), tuple(_words(given, chosen, seen, grays)))


def _clear(trial: Trial, given: Trial) -> bool:
    """Whether nothing else needs to be tried."""
    return (
        trial.found >= max(min(2, trial.pictures), CLEAR_SHARE * trial.pictures)
        and trial.points >= CLEAR_SHARE * trial.board.count * trial.found
        and (trial.points > 1.1 * given.points or holds(trial.board, given.board))
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
    return at_most(gray, TRIAL_GRID_PX if board.kind == "chessboard" else TRIAL_MARKERS_PX)


def _fits(trial: Trial) -> bool:
    enough = ENOUGH_POINTS * trial.board.count * trial.found
    return trial.found > 0 and trial.found >= ENOUGH_SHARE * trial.pictures and trial.points >= enough


def _try(grays: Sequence[np.ndarray], board: Board, mirrored: bool, change: str) -> Trial:
    found = [detect(flipped(gray) if mirrored else gray, board) for gray in grays]
    counts = [len(detection) for detection in found if detection is not None]
    return Trial(board, mirrored, change, len(counts), len(grays), sum(counts))


def _words(given: Trial, best: Trial | None, seen: Sequence[MarkerView], grays: Sequence[np.ndarray]) -> Iterator[str]:
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


def _why_nothing(board: Board, seen: Sequence[MarkerView], grays: Sequence[np.ndarray]) -> Iterator[str]:
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
