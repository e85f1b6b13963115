"""A board moved before running cameras: who has seen it, where, and what is still missing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.boards import Board
from calib.covisibility import covisibility
from calib.detect import Detection, detect
from calib.observations import BoardViews, coverage, views_of, wishes
from capture.frame import Frame, FrameSet
from capture.pixels import to_bgr
from engine.config import SystemConfig
from nodes.calibrate.live_cameras import LiveCameras
from rigpose.errors import ProtocolError, VerdictError

LOOK_S = 0.05
WORDS_S = 1.0
PLAIN_S = 5.0
DRAWN_A_SECOND = 4
ENOUGH_MOMENTS = 40
"""Moments below which nothing is called enough, whatever they cover."""
MOST_MOMENTS = 1500
MOVED = 0.02
"""Share of the picture's width that the board must have moved for another moment to tell something new."""
_BLOCKS = " ░▒▓█"


@dataclass(slots=True)
class Gathered:
    """What was seen until now. One thread only."""

    board: Board
    names: tuple[str, ...]
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    found: dict[str, dict[int, Detection | None]] = field(default_factory=dict)
    times: dict[str, dict[int, float]] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    looked: int = 0
    kept: int = 0
    _last: dict[str, Detection] = field(default_factory=dict)

    def add(self, frames: FrameSet, answers: dict[str, Detection | None]) -> bool:
        """Take what was found in a set; whether it was new enough to be kept."""
        self.looked += 1
        for frame in frames.frames:
            if frame is not None:
                self.sizes[frame.camera] = frame.size
        self.now = {name: len(found.ids) for name, found in answers.items() if found is not None}
        seen = {name: found for name, found in answers.items() if found is not None}
        if not any(self._is_new(name, found) for name, found in seen.items()) or self.kept >= MOST_MOMENTS:
            return False
        number = frames.tick
        for frame in frames.frames:
            if frame is not None and frame.camera in seen:
                self.found.setdefault(frame.camera, {})[number] = seen[frame.camera]
                self.times.setdefault(frame.camera, {})[number] = frame.exposed_ns / 1e9
        self._last.update(seen)
        self.kept += 1
        return True

    def _is_new(self, name: str, found: Detection) -> bool:
        last = self._last.get(name)
        if last is None:
            return True
        _, a, b = np.intersect1d(found.ids, last.ids, return_indices=True)
        if len(a) < 4:
            return True
        moved = np.linalg.norm(found.px[a] - last.px[b], axis=-1).max()
        return bool(moved > MOVED * self.sizes[name][0])

    def views(self) -> BoardViews | None:
        """All of it; ``None`` while a camera has sent nothing or no board was seen."""
        if not self.found or any(name not in self.sizes for name in self.names):
            return None
        return views_of(
            self.board.points_mm,
            self.names,
            [self.sizes[name] for name in self.names],
            [self.found.get(name, {}) for name in self.names],
            board=self.board.name,
            times=[self.times.get(name, {}) for name in self.names],
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """How far it is, and what is missing, in words."""

    counts: dict[str, int]
    covered: dict[str, float]
    maps: dict[str, np.ndarray]
    words: tuple[str, ...]
    enough: bool


def judge(gathered: Gathered, together: bool) -> Wanted:
    """What to show next.

    Args:
        gathered: What was seen.
        together: Whether cameras must see the board at the same moments (for their places), or each for itself.
    """
    views = gathered.views()
    if views is None:
        silent = [name for name in gathered.names if name not in gathered.sizes]
        said = (
            (f"no picture yet from {', '.join(silent)}",) if silent else ("no board seen yet; show it to the cameras",)
        )
        return Wanted(dict.fromkeys(gathered.names, 0), {}, {}, said, False)
    maps = coverage(views)
    words = list(wishes(views))
    if together and len(views.names) > 1:
        words = [*covisibility(views.usable, views.names).missing, *words]
    counts = dict(zip(views.names, (int(n) for n in views.usable.sum(axis=1)), strict=True))
    least = int(views.usable.any(axis=0).sum())
    return Wanted(
        counts,
        {name: float((maps[v] > 0).mean()) for v, name in enumerate(views.names)},
        {name: maps[v] for v, name in enumerate(views.names)},
        tuple(words),
        not words and least >= ENOUGH_MOMENTS,
    )


def film_live(
    config: SystemConfig,
    board: Board,
    *,
    together: bool,
    seconds: float | None = None,
    quiet: bool = False,
    run_dir: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> BoardViews:
    """Watch a board before running cameras until enough was seen, the time is over, or Enter is pressed.

    Args:
        config: The rig's nodes.
        board: What is shown.
        together: See `judge`.
        seconds: Go on for so long, whether it is enough or not.
        quiet: Show nothing.
        run_dir: Folder for sockets and logs.
        say: Told in lines how it goes where there is no terminal that can be drawn on.

    Raises:
        RigposeError: A camera failed.
        VerdictError: No board was seen.
    """
    gathered = Gathered(board, config.camera_names)
    wanted = judge(gathered, together)
    screen = _Screen(config.camera_names, quiet, say)
    enter = _Enter() if screen.is_terminal else None
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pending: tuple[FrameSet, dict[str, Future[Detection | None]]] | None = None
    newest: FrameSet | None = None
    told = 0.0
    try:
        with LiveCameras(config, run_dir) as cameras, _pool(len(config.camera_names)) as pool, screen:
            end = None if seconds is None else time.monotonic() + seconds
            while not cameras.ended:
                for frames in cameras.sets(LOOK_S):
                    newest = frames
                if pending is not None and all(future.done() for future in pending[1].values()):
                    gathered.add(pending[0], {name: future.result() for name, future in pending[1].items()})
                    pending = None
                if pending is None and newest is not None:
                    # Only the newest set: what the board did meanwhile is over.
                    pending = newest, {f.camera: pool.submit(_look, f, board) for f in newest.frames if f is not None}
                    newest = None
                if time.monotonic() - told > WORDS_S:
                    wanted, told = judge(gathered, together), time.monotonic()
                    if seconds is None and wanted.enough:
                        break
                screen.show(gathered, wanted, None if end is None else end - time.monotonic())
                if (end is not None and time.monotonic() > end) or (enter is not None and enter.pressed):
                    break
            if pending is not None:
                gathered.add(pending[0], {name: future.result() for name, future in pending[1].items()})
            wanted = judge(gathered, together)
            screen.show(gathered, wanted, 0.0, last=True)
    finally:
        cv2.setNumThreads(threads)
    views = gathered.views()
    if views is None:
        raise VerdictError(
            "live cameras",
            f"saw no {board.name} in {gathered.looked} moments",
            "is it the board that was printed? rigpose calibrate doctor tells from some pictures of it",
        )
    return views


def _pool(cameras: int) -> ThreadPoolExecutor:
    import os

    # OpenCV lets go of the interpreter while it works, so threads do, and no picture is copied.
    return ThreadPoolExecutor(min(cameras, os.cpu_count() or 1), thread_name_prefix="detect")


def _look(frame: Frame, board: Board) -> Detection | None:
    try:
        picture = frame.image if frame.pixel_format == "Mono8" else to_bgr(frame)
    except ProtocolError:
        return None
    return None if picture is None else detect(picture, board)


class _Enter:
    """Whether Enter was pressed since."""

    def __init__(self) -> None:
        self.pressed = False
        if sys.stdin is not None and sys.stdin.isatty():
            threading.Thread(target=self._wait, name="enter", daemon=True).start()

    def _wait(self) -> None:
        sys.stdin.readline()
        self.pressed = True


class _Screen(AbstractContextManager["_Screen"]):
    """What the person with the board sees: a table that renews itself, or lines where there is no terminal."""

    def __init__(self, names: tuple[str, ...], quiet: bool, say: Callable[[str], None]) -> None:
        from rich.console import Console

        self._names = names
        self._console = Console(stderr=True)
        self.is_terminal = self._console.is_terminal and not quiet
        self._quiet = quiet
        self._say = say
        self._live: Any = nullcontext()
        self._shown = 0.0
        if self.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=DRAWN_A_SECOND, transient=False)

    def __enter__(self) -> _Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(*exc)

    def show(self, gathered: Gathered, wanted: Wanted, left_s: float | None, last: bool = False) -> None:
        """Renew it, when it is time to."""
        pause = 1 / DRAWN_A_SECOND if self.is_terminal else PLAIN_S
        if self._quiet or (time.monotonic() - self._shown < pause and not last):
            return
        self._shown = time.monotonic()
        if self.is_terminal:
            self._live.update(self._table(gathered, wanted, left_s))
            return
        boards = ", ".join(f"{name} {wanted.counts.get(name, 0)}" for name in self._names)
        self._say(f"{gathered.kept} moments kept, boards: {boards}")
        if wanted.words:
            self._say(
                f"missing: {wanted.words[0]}" + (f" (and {len(wanted.words) - 1} more)" if wanted.words[1:] else "")
            )

    def _table(self, gathered: Gathered, wanted: Wanted, left_s: float | None) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        lines_each = _lines_each(len(self._names), self._console.height)
        table = Table(show_edge=False, pad_edge=False)
        for head in ("camera", "now", "boards", "covered", "where"):
            table.add_column(head, justify="right" if head in ("boards", "covered") else "left")
        for name in self._names:
            points = gathered.now.get(name, 0)
            covered = wanted.covered.get(name)
            table.add_row(
                name,
                Text(f"{points} points", "green") if points else Text("no board", "dim"),
                str(wanted.counts.get(name, 0)),
                "" if covered is None else f"{100 * covered:.0f} %",
                _drawn(wanted.maps.get(name), lines_each),
            )
        lines = [Text(f"- {word}") for word in wanted.words[:6]]
        more = len(wanted.words) - 6
        if more > 0:
            lines.append(Text(f"- and {more} more", "dim"))
        title = Text("still missing:", "bold") if lines else Text("nothing is missing", "bold green")
        rest = "" if left_s is None or left_s <= 0 else f", {left_s:.0f} s left"
        foot = Text(f"{gathered.kept} moments kept of {gathered.looked}{rest}; Enter = solve now, Ctrl-C = stop", "dim")
        return Group(table, Text(), title, *lines, Text(), foot)


def _lines_each(cameras: int, height: int) -> int:
    """Lines of a coverage map so that all cameras and the words below fit on the screen: 6, 3 or none."""
    room = (height - 14) // max(cameras, 1)
    return 6 if room >= 6 else 3 if room >= 3 else 0


def _drawn(counts: np.ndarray | None, lines: int) -> str:
    """A coverage map in letters, a cell two of them wide."""
    if counts is None or not lines:
        return ""
    counts = counts.reshape(lines, -1, counts.shape[1]).max(axis=1)
    # A few points in a cell are something, a board's worth is enough.
    levels = np.where(counts > 0, np.clip(np.ceil(np.log2(counts + 1)).astype(int), 1, len(_BLOCKS) - 1), 0)
    return "\n".join("".join(2 * _BLOCKS[level] for level in row) for row in levels)
