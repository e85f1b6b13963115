"""`rigpose calibrate doctor`: what is wrong with board pictures, before anything is solved."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from calib.board_doctor import Diagnosis, confirm, diagnose
from calib.boards import Board, read_board
from calib.quality import Finding, Level
from calib.timing import Timing, frame_counts
from calib.timing_motion import offsets
from nodes.calibrate import film_motion
from nodes.calibrate.detecting import detect_film
from nodes.calibrate.film import Film, sample
from nodes.calibrate.pictures import find_film
from nodes.calibrate.solve import named_cameras
from rigpose.errors import ConfigError, ExitCode

FEW = 0.2
"""Share of a camera's pictures with a board below which the board itself is doubted: often it is out of view, but one
that was shown on purpose is seen in every fifth picture."""
FEW_POINTS = 0.3
"""Mean share of its points below which a board is doubted: a wrong layout agrees with a few markers by chance."""
MOST_PICTURES = 10
"""Of each camera, in which it is looked what was printed."""
_EXPLAINED = ("what was printed", "its pictures are mirrored")
_NOT_FOUND = "was found"
_WORST_FIRST = ("bad", "suspect", "note")


@dataclass(frozen=True, slots=True)
class Boards:
    """How often a board was found in a camera's pictures."""

    camera: str
    pictures: int
    found: int
    points: float
    """Mean share of the board's points in those that have one."""

    @property
    def doubted(self) -> bool:
        """Whether it may be another board: seen too rarely, or never as more than a corner of it."""
        return self.found < FEW * self.pictures or self.points < FEW_POINTS


def run(
    source: str | None,
    cameras: Sequence[str],
    timestamps: Path | None,
    board: str | None,
    pictures: int,
    *,
    timing: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Look at pictures, and say in words what fits and what does not.

    Args:
        source: See `find_film`.
        cameras: ``NAME=PATH`` options.
        timestamps: See `find_film`.
        board: What was printed, if that is known.
        pictures: Of each camera, in which boards are tried.
        timing: Whether to estimate the time between cameras.
        json: Print JSON.
        quiet: No progress bar.

    Returns:
        The exit code: 4 where something is bad.
    """
    wanted = None if board is None else read_board(board)
    film = find_film(source, named_cameras(cameras), timestamps)
    findings = list(frame_counts({reel.camera: reel.n for reel in film.reels if reel.is_video}))
    boards: list[Boards] = []
    doubts: dict[str, Diagnosis] = {}
    if wanted is not None:
        doubts = _doubts(film, wanted, quiet)
        boards = _boards(film, wanted, pictures, doubts, quiet)
        findings += _of_boards(boards, wanted)
        doubted = {one.camera for one in boards if one.doubted}
        doubts = {camera: doubt for camera, doubt in doubts.items() if camera in doubted or _other(doubt)}
        findings += [_of_doubt(camera, doubt) for camera, doubt in doubts.items()]
    told, why = _timing(film) if timing else (None, "")
    if told is not None:
        findings += told.findings()
    findings = _together(findings)
    if json:
        print(json_module.dumps(_document(film, wanted, boards, doubts, told, why, findings), indent=2))
    else:
        _say(film, wanted, boards, told, why, findings)
    return int(ExitCode.BAD_VERDICT if any(finding.level == "bad" for finding in findings) else ExitCode.OK)


def _other(doubt: Diagnosis) -> bool:
    """Whether another board was found than the one described."""
    return doubt.best is not None and not doubt.fits


def _boards(film: Film, board: Board, pictures: int, doubts: dict[str, Diagnosis], quiet: bool) -> list[Boards]:
    """How often the board is found; not looked for again where it is known to be another one."""
    rows = [v for v, reel in enumerate(film.reels) if not _other(doubts[reel.camera])]
    found: dict[str, Boards] = {}
    for camera, doubt in doubts.items():
        given = doubt.given
        share = given.points / (given.found * board.count) if given.found else 0.0
        found[camera] = Boards(camera, given.pictures, given.found, share)
    if rows:
        if board.kind == "chessboard" and not any(found[film.reels[v].camera].found for v in rows):
            # To say of a picture that it holds no chessboard takes half a second.
            pictures = min(pictures, MOST_PICTURES)
        part = replace(
            film, reels=tuple(film.reels[v] for v in rows), index=film.index[rows], times_s=film.times_s[rows]
        )
        views = detect_film(part, board, look_at=pictures, quiet=quiet)
        looked = (part.index[:, part.spread(pictures)] >= 0).sum(axis=1)
        for v, reel in enumerate(part.reels):
            counts = views.counts[v][views.usable[v]] if len(views.frames) else np.zeros(0)
            share = float(counts.mean() / board.count) if len(counts) else 0.0
            found[reel.camera] = Boards(reel.camera, int(looked[v]), len(counts), share)
    return [found[reel.camera] for reel in film.reels]


def _of_boards(boards: list[Boards], board: Board) -> list[Finding]:
    findings = []
    for one in boards:
        if one.found < FEW * one.pictures:
            level: Level = "suspect" if one.found else "bad"
            what = f"{board.name} was found in {one.found} of {one.pictures} pictures"
            findings.append(Finding(level, (one.camera,), what, "is it what was printed, in view, sharp and well lit?"))
        elif one.doubted:
            what = f"where {board.name} was found, it was {100 * one.points:.0f} % of its points"
            findings.append(Finding("suspect", (one.camera,), what, "is it what was printed?"))
    if board.ambiguous:
        what = f"{board.name} looks the same turned by 180 degrees"
        findings.append(Finding("note", (), what, "keep it upright, or print one with an odd and an even side"))
    return findings


def _doubts(film: Film, board: Board, quiet: bool) -> dict[str, Diagnosis]:
    """Which board it is in each camera's pictures."""
    pictures: dict[str, list[np.ndarray]] = {reel.camera: [] for reel in film.reels}
    found: dict[str, Diagnosis] = {}
    with _progress(len(pictures), quiet) as advance:
        for reel in film.reels:
            advance(reel.camera, "reading pictures")
            for camera, picture in sample(film, MOST_PICTURES, [reel.camera]):
                pictures[camera].append(picture)
            found[reel.camera] = _doubt(pictures.pop(reel.camera), board, found, partial(advance, reel.camera))
            advance(reel.camera, "", 1)
    return found


def _doubt(some: list[np.ndarray], board: Board, found: dict[str, Diagnosis], tell: Callable[[str], None]) -> Diagnosis:
    # What was printed for one camera most likely was for the others: that is tried before everything else.
    known = next((one for one in found.values() if _other(one)), None)
    if known is not None and known.best is not None:
        tell(known.best.board.name)
        told = confirm(some, known)
        if told is not None:
            return told
    return diagnose(some, board, tell)


@contextmanager
def _progress(cameras: int, quiet: bool) -> Iterator[Callable[..., None]]:
    """A bar over the cameras, with what is being tried."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("what was printed"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=cameras)
        yield lambda camera, what, done=0: bar.update(task, advance=done, description=f"{camera}: {what}")


def _of_doubt(camera: str, doubt: Diagnosis) -> Finding:
    if doubt.fits or doubt.best is None:
        return Finding("note", (camera,), str(doubt).rstrip("."), "look at its pictures")
    best = doubt.best
    if doubt.mirrored:
        what = f"its pictures are mirrored ({best.change})" if best.change else "its pictures are mirrored"
        return Finding("bad", (camera,), what, "switch mirroring off in the camera or the recording program")
    what = f"what was printed is {best.board.name}, not {doubt.given.board.name}: {best.change}"
    return Finding("bad", (camera,), what, f"use --board {best.board.name}")


def _together(findings: list[Finding]) -> list[Finding]:
    """Findings that say the same of several cameras as one; what is explained is not told twice."""
    explained = {camera for one in findings if one.what.startswith(_EXPLAINED) for camera in one.cameras}
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for one in findings:
        if _NOT_FOUND in one.what and set(one.cameras) <= explained:
            continue
        key = (one.level, one.what, one.remedy)
        found[key] = (*found.get(key, ()), *one.cameras)
    merged = [Finding(level, cameras, what, remedy) for (level, what, remedy), cameras in found.items()]  # type: ignore[arg-type]
    return sorted(merged, key=lambda one: _WORST_FIRST.index(one.level))


def _timing(film: Film) -> tuple[Timing | None, str]:
    """The time between the cameras, or why it cannot be told."""
    if len(film.reels) < 2:
        return None, "there is one camera"
    try:
        return offsets(film_motion.signals(film)), ""
    except ConfigError as error:
        return None, str(error)


def _document(
    film: Film,
    board: Board | None,
    boards: list[Boards],
    doubts: dict[str, Diagnosis],
    timing: Timing | None,
    why: str,
    findings: list[Finding],
) -> dict[str, object]:
    return {
        "source": film.source,
        "matched": film.matched,
        "cameras": {
            reel.camera: {"pictures": reel.n, "size": list(reel.size), "rate": reel.rate, "video": reel.is_video}
            for reel in film.reels
        },
        "notes": list(film.notes),
        "board": None if board is None else board.name,
        "boards": [asdict(one) for one in boards],
        "diagnoses": {camera: doubt.document() for camera, doubt in doubts.items()},
        "timing": {"why": why} if timing is None else timing.document(),
        "findings": [asdict(finding) for finding in findings],
    }


def _say(
    film: Film, board: Board | None, boards: list[Boards], timing: Timing | None, why: str, findings: list[Finding]
) -> None:
    print(f"{film.source}: {len(film.reels)} cameras, {film.n_moments} moments by {film.matched}")
    for reel in film.reels:
        kind = f"video, {reel.rate:g} frames per second" if reel.rate else "video" if reel.is_video else "images"
        print(f"  {reel.camera}: {reel.n} pictures of {reel.size[0]}x{reel.size[1]} px ({kind})")
    for note in film.notes:
        print(f"  {note}")
    if board is not None:
        print(f"board {board.name}:")
        for one in boards:
            share = f", {100 * one.points:.0f} % of its points" if one.found else ""
            print(f"  {one.camera}: found in {one.found} of {one.pictures} pictures{share}")
    if timing is not None:
        print(f"time against {timing.reference}, from {timing.source}:")
        for offset in timing.offsets:
            if offset.camera != timing.reference:
                print(f"  {offset}")
    elif why:
        print(f"time between cameras: not told ({why})")
    print("nothing is wrong here" if not findings else "what to look at:")
    for finding in findings:
        print(f"  {finding.level}: {finding}")
