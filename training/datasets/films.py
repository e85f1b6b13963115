"""Pictures of Panoptic's cameras: linked where they were extracted before, else taken from the videos, resumably."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from rigpose.errors import ConfigError, RigposeError
from training.datasets.panoptic import absent_file
from training.datasets.preparing import Progress

log = logging.getLogger(__name__)

_QUALITY = 95
_LISTEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Film:
    """The pictures of one camera in one sequence.

    Attributes:
        source: The video, or the folder of pictures.
        sequence: The prepared sequence's folder.
        camera: Name.
    """

    source: Path
    sequence: Path
    camera: str

    @property
    def folder(self) -> Path:
        """Where its pictures go."""
        return self.sequence / "hdImgs" / self.camera

    def picture(self, frame: int) -> Path:
        """One of them."""
        return self.folder / f"{self.camera}_{frame:08d}.jpg"


def film_of(source: Path, dest: Path, camera: str) -> Film:
    """Where a camera's pictures are.

    Raises:
        ConfigError: Nowhere.
    """
    extracted, video = source / "hdImgs" / camera, source / "hdVideos" / f"hd_{camera}.mp4"
    if extracted.is_dir():
        return Film(extracted, dest, camera)
    if not video.is_file():
        remedy = "download that camera with the panoptic-toolbox, or leave it out with --cameras"
        raise ConfigError(video, "no such file, and no hdImgs either", remedy)
    return Film(video, dest, camera)


def bring(films: Iterable[tuple[Film, list[int]]], jobs: int) -> None:
    """Link or extract pictures; those that are there already are left alone.

    Args:
        films: And the frames that are needed, in rising order.
        jobs: Processes that take frames from videos.

    Raises:
        ConfigError: A video is none, a folder holds no picture, or the disk refuses them.
        RigposeError: One of the processes was killed.
    """
    work: list[tuple[Film, list[int]]] = []
    for film, frames in films:
        if film.source.is_dir():
            _link(film, frames)
            continue
        there, absent = _names(film.folder), set(_absent(film))
        wanted = [frame for frame in frames if film.picture(frame).name not in there and frame not in absent]
        if wanted:
            work.append((film, wanted))
    progress = Progress(sum(len(frames) for _, frames in work), "pictures")
    if jobs == 1 or len(work) < 2:
        for film, frames in work:
            extract(film, frames, partial(progress.did, film.folder))
    else:
        _share(work, jobs, progress)


class _Shared(NamedTuple):
    """What processes that take frames tell each other."""

    stop: Any
    done: Any


_shared: _Shared | None = None


def _begin_worker(shared: _Shared) -> None:
    global _shared
    _shared = shared
    # The parent hears Ctrl-C, and says it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _in_worker(film: Film, frames: list[int]) -> None:
    shared = _shared
    assert shared is not None

    def did() -> None:
        with shared.done.get_lock():
            shared.done.value += 1
        if shared.stop.is_set():
            raise KeyboardInterrupt

    extract(film, frames, did)


def _share(work: list[tuple[Film, list[int]]], jobs: int, progress: Progress) -> None:
    # Never forked: the parent may have threads.
    context = get_context("spawn")
    shared = _Shared(context.Event(), context.Value("q", 0))
    told = 0
    with ProcessPoolExecutor(min(jobs, len(work)), context, _begin_worker, (shared,)) as pool:
        left = {pool.submit(_in_worker, film, frames) for film, frames in work}
        try:
            while left:
                ended, left = wait(left, timeout=_LISTEN_S, return_when=FIRST_COMPLETED)
                for answer in ended:
                    answer.result()
                now = int(shared.done.value)
                progress.did(f"{len(left)} videos left", now - told)
                told = now
        except BrokenProcessPool:
            what = "a process that takes frames was killed"
            raise RigposeError("--jobs", what, "is there memory for so many? Give the command again to go on") from None
        finally:
            # Each ends behind the picture that it is at.
            shared.stop.set()
            pool.shutdown(cancel_futures=True)


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()


def _absent(film: Film) -> list[int]:
    file = absent_file(film.sequence, film.camera)
    return [int(line) for line in file.read_text().split()] if file.is_file() else []


def _note_absent(film: Film, frames: list[int]) -> None:
    if frames:
        log.warning("%s: has no picture of %d frames, the first is %d", film.source, len(frames), frames[0])
        known = sorted({*frames, *_absent(film)})
        absent_file(film.sequence, film.camera).write_text("".join(f"{frame}\n" for frame in known))


def _link(film: Film, frames: list[int]) -> None:
    """Use pictures that were extracted before, where they are."""
    names = _names(film.source)
    lacking = [frame for frame in frames if film.picture(frame).name not in names]
    if len(lacking) == len(frames):
        what = f"holds no picture such as {film.picture(frames[0]).name}" if frames else "is not needed"
        raise ConfigError(film.source, what, "extract them as jpg, or delete the folder and keep hdVideos")
    _note_absent(film, lacking)
    if not film.folder.exists() and film.folder.resolve() != film.source.resolve():
        film.folder.parent.mkdir(parents=True, exist_ok=True)
        film.folder.symlink_to(film.source.resolve(), target_is_directory=True)


def extract(film: Film, frames: list[int], did: Callable[[], None] = lambda: None) -> None:
    """Take frames from a video; each picture is whole or not there.

    Args:
        film: The video and where its pictures go.
        frames: In rising order.
        did: Called behind each.

    Raises:
        ConfigError: It is no video, or the disk refuses the pictures.
    """
    from capture.sources.pictures import open_pictures  # here, for a training machine has no PyAV

    film.folder.mkdir(parents=True, exist_ok=True)
    for left in film.folder.glob(f".{film.camera}_*"):
        left.unlink()  # of a run that was killed
    pictures = open_pictures(film.source, "BGR8")
    absent = []
    try:
        for frame in frames:
            image = pictures.read(frame) if frame < pictures.n else None
            if image is None:
                absent.append(frame)
            else:
                _write(film.picture(frame), image)
            did()
    finally:
        pictures.close()
        _note_absent(film, absent)


def _write(path: Path, image: np.ndarray) -> None:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_bytes(data.tobytes())
        os.replace(half, path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the disk") from None
    finally:
        half.unlink(missing_ok=True)
