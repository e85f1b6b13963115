"""Boards found in many pictures: in processes of their own, with a progress bar, and kept for the next time."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import platformdirs

import calib
from calib.boards import Board
from calib.detect import Detection, detect
from calib.observations import BROKEN_NPZ, BoardViews, views_of
from nodes.calibrate.film import Film, Reel, ReelReader
from rigpose.errors import RigposeError

log = logging.getLogger(__name__)

CHUNK = 8
SOON_S = 2.0
"""Work that takes less than this is done here: starting processes takes about a second."""
KEPT_FILES = 200
CACHE_VARIABLE = "RIGPOSE_CACHE"
_OPEN_READERS = 2
_SOURCES = ("board*.py", "corners.py", "detect*.py")
"""What decides on a detection: kept ones are of no use when it changes."""

Found = dict[int, Detection | None]
"""What was found in each picture of a reel, by its index."""


@dataclass(frozen=True, slots=True)
class _Task:
    reel: Reel
    board: Board
    indices: tuple[int, ...]


class _Readers:
    """The reels that a process read last; going on in a video costs nothing, opening it does."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, ...], ReelReader] = OrderedDict()

    def of(self, reel: Reel) -> ReelReader:
        reader = self._open.pop(reel.files, None) or ReelReader(reel)
        self._open[reel.files] = reader
        while len(self._open) > _OPEN_READERS:
            self._open.popitem(last=False)[1].close()
        return reader

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()
        self._open.clear()


_readers = _Readers()


def _begin() -> None:
    """A worker's start: Ctrl-C is the parent's affair, and a parent that dies takes it along."""
    from rigpose.parent import end_with_parent

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(lambda: os._exit(1))
    cv2.setNumThreads(1)


def _work(task: _Task) -> list[tuple[int, Detection | None]]:
    reader = _readers.of(task.reel)
    answer: list[tuple[int, Detection | None]] = []
    for index in task.indices:
        picture = reader.read(index)
        answer.append((index, None if picture is None else detect(picture, task.board)))
    return answer


def detect_film(
    film: Film,
    board: Board,
    *,
    look_at: int | None = None,
    workers: int | None = None,
    keep: bool = True,
    quiet: bool = False,
) -> BoardViews:
    """What every camera of a film saw of a board.

    Args:
        film: The pictures.
        board: What to look for.
        look_at: At most so many moments, evenly spread; ``None`` = all.
        workers: Processes; by default one a core.
        keep: Use and renew what is kept of earlier times.
        quiet: No progress bar.

    Returns:
        The moments at which any camera found something; ``frames`` are the film's numbers.

    Raises:
        RigposeError: A worker died.
        KeyboardInterrupt: As it came; what was found until then is kept.
    """
    moments = film.spread(look_at)
    wanted = {
        reel.camera: [int(index) for index in film.index[v, moments] if index >= 0] for v, reel in enumerate(film.reels)
    }
    found = detect_reels(film.reels, board, wanted, workers=workers, keep=keep, quiet=quiet)
    detections: list[Mapping[int, Detection | None]] = []
    times: list[Mapping[int, float]] = []
    for v, reel in enumerate(film.reels):
        mine = [(f, int(film.index[v, f])) for f in moments if film.index[v, f] >= 0]
        detections.append({int(film.numbers[f]): found[reel.camera].get(index) for f, index in mine})
        times.append({int(film.numbers[f]): float(film.times_s[v, f]) for f, _ in mine})
    timed = np.isfinite(film.times_s).any()
    return views_of(
        board.points_mm,
        film.cameras,
        [reel.size for reel in film.reels],
        detections,
        board=board.name,
        times=times if timed else None,
        still=not any(reel.is_video for reel in film.reels),
    )


def detect_reels(
    reels: Iterable[Reel],
    board: Board,
    wanted: Mapping[str, Iterable[int]],
    *,
    workers: int | None = None,
    keep: bool = True,
    quiet: bool = False,
) -> dict[str, Found]:
    """What was found in the wanted pictures of each reel, by camera; arguments as in `detect_film`."""
    reels = tuple(reels)
    caches = {reel.camera: _Cache(reel, board) if keep else None for reel in reels}
    found: dict[str, Found] = {}
    tasks: list[_Task] = []
    for reel in reels:
        cache = caches[reel.camera]
        known = cache.read() if cache is not None else {}
        indices = sorted(set(wanted[reel.camera]))
        found[reel.camera] = {index: known[index] for index in indices if index in known}
        left = [index for index in indices if index not in known]
        tasks += [_Task(reel, board, tuple(left[i : i + CHUNK])) for i in range(0, len(left), CHUNK)]
    begin = time.monotonic()
    if tasks:
        try:
            with _progress(reels, tasks, quiet) as advance:
                for task, answer in _run(tasks, workers or os.cpu_count() or 1):
                    found[task.reel.camera].update(answer)
                    advance(task.reel.camera, answer)
        finally:
            _readers.close()
            for reel in reels:
                cache = caches[reel.camera]
                if cache is not None:
                    cache.write(found[reel.camera])
        n = sum(len(task.indices) for task in tasks)
        log.info("looked for the board in %d pictures in %.1f s", n, time.monotonic() - begin)
    return found


def _run(tasks: list[_Task], workers: int) -> Iterator[tuple[_Task, list[tuple[int, Detection | None]]]]:
    """Every task's answer: here while it is little, else in a pool of spawned processes."""
    tasks = list(tasks)
    before = cv2.getNumThreads()
    begin, done = time.monotonic(), 0
    total = sum(len(task.indices) for task in tasks)
    try:
        cv2.setNumThreads(1)
        while tasks:
            task = tasks.pop(0)
            head = _Task(task.reel, task.board, task.indices[:2])
            if done == 0 and len(task.indices) > 2 and workers > 1:
                # Two pictures tell how long all will take.
                tasks.insert(0, _Task(task.reel, task.board, task.indices[2:]))
                task = head
            yield task, _work(task)
            done += len(task.indices)
            each_s = (time.monotonic() - begin) / done
            if workers > 1 and each_s * (total - done) > SOON_S:
                break
    finally:
        cv2.setNumThreads(before)
    if tasks:
        yield from _run_in_pool(tasks, min(workers, len(tasks)))


def _run_in_pool(tasks: list[_Task], workers: int) -> Iterator[tuple[_Task, list[tuple[int, Detection | None]]]]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    processes: list[Any] = []
    finished = False
    try:
        waiting: dict[Future[list[tuple[int, Detection | None]]], _Task] = {}
        left = iter(tasks)
        # Few at a time, so that Ctrl-C finds little to wait for.
        for task in left:
            waiting[pool.submit(_work, task)] = task
            if len(waiting) >= 2 * workers:
                break
        processes = list((getattr(pool, "_processes", None) or {}).values())
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                task = waiting.pop(future)
                yield task, future.result()
                if (following := next(left, None)) is not None:
                    waiting[pool.submit(_work, following)] = following
        finished = True
    except BrokenProcessPool:
        raise RigposeError("calibrate", "a process that looks for the board died", "is the memory full?") from None
    finally:
        pool.shutdown(wait=finished, cancel_futures=True)
        if not finished:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(2.0)


@contextmanager
def _progress(reels: tuple[Reel, ...], tasks: list[_Task], quiet: bool) -> Iterator[Any]:
    """A bar for each camera; tells also how often the board was found."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    totals = {reel.camera: 0 for reel in reels}
    for task in tasks:
        totals[task.reel.camera] += len(task.indices)
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("board in {task.fields[boards]}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bars:
        rows = {name: bars.add_task(name, total=n, boards=0) for name, n in totals.items() if n}
        boards_found = dict.fromkeys(totals, 0)

        def advance(camera: str, answer: list[tuple[int, Detection | None]]) -> None:
            boards_found[camera] += sum(detection is not None for _, detection in answer)
            bars.update(rows[camera], advance=len(answer), boards=boards_found[camera])

        yield advance


# ---------------------------------------------------------------------- what is kept


def cache_folder() -> Path:
    """Where detections are kept: ``RIGPOSE_CACHE``, else the user's cache folder."""
    override = os.environ.get(CACHE_VARIABLE)
    base = Path(override) if override else Path(platformdirs.user_cache_dir("rigpose", appauthor=False))
    return base / "boards"


class _Cache:
    """What was found in one reel, in a file whose name says of which pictures, board and detector.

    A file that cannot be read or written is as if it were not there.
    """

    def __init__(self, reel: Reel, board: Board) -> None:
        digest = hashlib.sha256()
        for pattern in _SOURCES:
            for source in sorted(Path(calib.__file__ or "").parent.glob(pattern)):
                digest.update(source.read_bytes())
        digest.update(f"{cv2.__version__}|{board.model_dump_json()}|{reel.view}|{reel.size}".encode())
        for file in reel.files:
            status = file.stat()
            digest.update(f"{file.absolute()}|{status.st_size}|{status.st_mtime_ns}\n".encode())
        self._path = cache_folder() / f"{digest.hexdigest()[:32]}.npz"
        self._known: Found = {}

    def read(self) -> Found:
        """What is known."""
        try:
            with np.load(self._path, allow_pickle=False) as data:
                ends = np.cumsum(np.maximum(data["counts"], 0))
                ids, px = data["ids"], data["px"]
                for index, count, end in zip(data["index"], data["counts"], ends, strict=True):
                    part = slice(int(end - max(count, 0)), int(end))
                    self._known[int(index)] = None if count < 0 else Detection(ids[part], px[part])
        except (*BROKEN_NPZ, TypeError, IndexError):
            self._known = {}
        return self._known

    def write(self, found: Found) -> None:
        """Add to what is known."""
        known = {**self._known, **found}
        if len(known) == len(self._known):
            return
        index = sorted(known)
        some = [known[i] for i in index]
        arrays: dict[str, Any] = {
            "index": np.array(index),
            "counts": np.array([-1 if detection is None else len(detection.ids) for detection in some]),
            "ids": np.concatenate([np.zeros(0, int), *(d.ids for d in some if d is not None)]),
            "px": np.concatenate([np.zeros((0, 2)), *(d.px for d in some if d is not None)]),
        }
        temporary = self._path.with_name(f".{self._path.stem}.{os.getpid()}.npz")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(temporary, **arrays)
            temporary.replace(self._path)
            self._forget_old()
        except OSError as error:
            log.warning("%s: detections are not kept: %s", self._path.parent, error.strerror)
        finally:
            temporary.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        files = sorted(self._path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)
        for file in files[:-KEPT_FILES]:
            file.unlink(missing_ok=True)
