"""What cameras saw, in order, and which of their pictures belong to one moment.

A *reel* is what one camera saw; a *film* is the reels of a rig. Pictures are decoded when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from capture.sources.pictures import Pictures, VideoPictures
from capture.views import View
from rigpose.errors import ConfigError

_FLIPS = {"horizontal": 1, "vertical": 0}


@dataclass(frozen=True, slots=True)
class Reel:
    """The pictures of one camera.

    Attributes:
        camera: Its name.
        files: One video, or one file for each image, in order.
        is_video: Which of both.
        size: (width, height) px of the pictures, after ``view``.
        n: How many there are.
        rate: Frames per second; ``None`` = it does not say.
        view: The part of each picture that is this camera's.
    """

    camera: str
    files: tuple[Path, ...]
    is_video: bool
    size: tuple[int, int]
    n: int
    rate: float | None = None
    view: View | None = None

    def __str__(self) -> str:
        return str(self.files[0] if self.is_video or len(self.files) == 1 else self.files[0].parent)


@dataclass(frozen=True, slots=True)
class Film:
    """The reels of a rig, and which pictures belong together.

    Attributes:
        source: What the user named.
        reels: One for each camera, in order.
        index: (V, F) int; the picture of each camera at each moment, -1 = it has none.
        times_s: (V, F) when each was taken, NaN = not known.
        numbers: (F,) what each moment is called: a frame, a number in file names, a tick; increasing.
        matched: How moments were found, in words for the report.
        notes: What a user should know of the pictures (other numbers of frames, names that were matched).
    """

    source: str
    reels: tuple[Reel, ...]
    index: np.ndarray
    times_s: np.ndarray
    numbers: np.ndarray
    matched: str
    notes: tuple[str, ...] = field(default=())

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(reel.camera for reel in self.reels)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(width, height) by camera."""
        return {reel.camera: reel.size for reel in self.reels}

    @property
    def n_moments(self) -> int:
        """F."""
        return int(self.index.shape[1])

    def spread(self, most: int | None) -> np.ndarray:
        """At most so many moments, evenly spread; those that more cameras saw are preferred."""
        seen = (self.index >= 0).sum(axis=0)
        moments_ = np.flatnonzero(seen)
        if most is None or len(moments_) <= most:
            return moments_
        edges = np.linspace(0, len(moments_), most + 1).round().astype(int)
        bins = [moments_[a:b] for a, b in zip(edges, edges[1:], strict=False) if b > a]
        # The middle one of those that most cameras saw.
        best = [bin_[seen[bin_] == seen[bin_].max()] for bin_ in bins]
        return np.array([some[len(some) // 2] for some in best])


class ReelReader:
    """Pictures of one reel by their index, grey. One thread only."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel
        self._video: Pictures | None = open_video(reel.files[0]) if reel.is_video else None

    def read(self, index: int) -> np.ndarray | None:
        """(H, W) or (H, W, 3) uint8; ``None`` = damaged, or of another size than the first."""
        reel = self._reel
        if self._video is not None:
            picture = self._video.read(index)
        else:
            picture = cv2.imread(str(reel.files[index]), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            return None
        if reel.view is not None:
            picture = _cut(picture, reel.view)
        return picture if picture.shape[1::-1] == reel.size else None

    def close(self) -> None:
        """Let go of the file."""
        if self._video is not None:
            self._video.close()


def sample(film: Film, most: int, cameras: Iterable[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Some pictures of every camera (or of these), evenly spread, as (camera, picture)."""
    wanted = film.cameras if cameras is None else tuple(cameras)
    for v, reel in enumerate(film.reels):
        if reel.camera not in wanted:
            continue
        indices = film.index[v][film.index[v] >= 0]
        picks = indices[np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int))]
        reader = ReelReader(reel)
        try:
            for index in picks:
                picture = reader.read(int(index))
                if picture is not None:
                    yield reel.camera, picture
        finally:
            reader.close()


def open_video(path: Path) -> Pictures:
    """A video's pictures, grey where they can be turned into that; to be closed by the caller.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return VideoPictures(path, "Mono8")
    except ConfigError as error:
        if "cannot be turned" in error.what:
            return VideoPictures(path, "BGR8")
        raise ConfigError(path, error.what.removeprefix("source.file: "), error.remedy) from None


def _cut(picture: np.ndarray, view: View) -> np.ndarray:
    if view.region is not None:
        x, y, width, height = view.region
        picture = picture[y : y + height, x : x + width]
    return picture if view.flip == "none" else cv2.flip(picture, _FLIPS[view.flip])
