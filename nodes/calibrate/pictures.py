"""Where the pictures of each camera are: videos, folders of images, a recorded session.

A *reel* is what one camera saw, in order; a *film* is the reels of a rig and which of their pictures belong to
one moment. Nothing is decoded here but the first picture of a reel.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from capture.sources.pictures import Pictures, VideoPictures
from capture.views import View
from nodes.calibrate import moments
from rigpose.errors import ConfigError

VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})
PLACE = "{camera}"
"""Stands in a pattern where the camera's name does."""
_SHOWN = 8
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
        self._video: Pictures | None = _open_video(reel.files[0]) if reel.is_video else None

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


def find_film(
    source: str | Path | None,
    named: Mapping[str, Path] | None = None,
    timestamps: Path | None = None,
    cameras: Sequence[str] = (),
) -> Film:
    """The pictures that a user named.

    Args:
        source: A folder with one video or one sub-folder for each camera (or numbered images such as left01.jpg),
            a recorded session, one video, or a pattern with ``{camera}`` where the camera's name stands.
        named: Instead of it, the video or folder of each camera.
        timestamps: Which frames belong together; by default ``timestamps.csv`` beside the pictures, else equal
            numbers.
        cameras: Names that the rig knows already; what is found is matched with them.

    Raises:
        ConfigError: Nothing is there, or it cannot be told which camera it belongs to. Lists what was found.
    """
    if named:
        if source is not None:
            raise ConfigError(str(source), "stands beside --camera, and both name pictures", "give one of them")
        groups = {name: _files_of(path) for name, path in named.items()}
        where = ", ".join(str(path) for path in named.values())
        beside: Path | None = None
    elif source is None:
        raise ConfigError("calibrate", "no pictures are named", "give a folder, a session, or --camera cam1=cam1.mp4")
    else:
        where = str(source)
        if PLACE in where:
            groups = _by_pattern(where)
            beside = Path(where.split(PLACE)[0]).parent if "/" in where.split(PLACE)[0] else Path()
        else:
            path = Path(where).expanduser()
            if not path.exists():
                raise ConfigError(path, "no such file or folder", "check the path")
            if (path / "session.json").is_file():
                from nodes.calibrate.recorded import film_of_session

                return _named_as(film_of_session(path), cameras)
            groups = _by_folder(path, cameras)
            beside = path if path.is_dir() else path.parent
    reels = tuple(_reel(name, files) for name, files in groups.items())
    notes: list[str] = []
    names, renamed = _match_names([reel.camera for reel in reels], cameras, where)
    if renamed:
        notes.append("cameras by their names: " + ", ".join(f"{old} is {new}" for old, new in renamed.items()))
    reels = tuple(replace(reel, camera=name) for reel, name in zip(reels, names, strict=True))
    if timestamps is None and beside is not None and (beside / "timestamps.csv").is_file():
        timestamps = beside / "timestamps.csv"
    match = moments.match(reels, timestamps)
    return Film(where, reels, match.index, match.times_s, match.numbers, match.how, (*notes, *match.notes))


def _named_as(film: Film, cameras: Sequence[str]) -> Film:
    names, _ = _match_names(list(film.cameras), cameras, film.source)
    reels = tuple(replace(reel, camera=name) for reel, name in zip(film.reels, names, strict=True))
    return replace(film, reels=reels)


def _match_names(found: list[str], known: Sequence[str], where: str) -> tuple[list[str], dict[str, str]]:
    """The rig's name for each camera that was found; what is not known keeps its own."""
    if not known or set(found) <= set(known):
        return found, {}
    names: list[str] = []
    for name in found:
        names.append(_known(name, known))
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            where,
            f"holds pictures of {_list(found)}, but the rig knows {_list(known)}",
            f"say which is which: --camera {known[0]}=PATH, once for each",
        )
    return names, {old: new for old, new in zip(found, names, strict=True) if old != new}


def _known(name: str, known: Sequence[str]) -> str:
    """The one known camera whose name is, or stands in, another name; empty where none or several do."""
    words = _words(name)
    fits = [other for other in known if _words(other) == words]
    if not fits:
        fits = [other for other in known if _stands_in(_words(other), words)]
    return fits[0] if len(fits) == 1 else ""


def _words(name: str) -> list[str]:
    """A name's words and numbers, without case, signs and leading zeros."""
    words = re.findall(r"[a-z]+|\d+", name.lower())
    return [{"camera": "cam"}.get(word, word.lstrip("0") or "0") for word in words]


def _stands_in(some: list[str], words: list[str]) -> bool:
    return any(words[i : i + len(some)] == some for i in range(len(words) - len(some) + 1)) and bool(some)


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# ---------------------------------------------------------------------- what lies where


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts image9 before image10."""
    words = re.findall(r"\d+|\D+", path.name)
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words]


def _inside(folder: Path, kinds: frozenset[str]) -> list[Path]:
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in kinds and not file.name.startswith(".")]
    except OSError as error:
        raise ConfigError(folder, f"cannot be read: {error.strerror}", "name a folder that you may read") from None
    return sorted((file for file in files if file.is_file()), key=natural)


def _files_of(path: Path, depth: int = 2) -> list[Path]:
    """The images, or the one video, of a camera: a file, or a folder that holds them."""
    if not path.exists():
        raise ConfigError(path, "no such file or folder", "check the path")
    if path.is_file():
        if path.suffix.lower() not in VIDEOS | IMAGES:
            raise ConfigError(path, "is neither a video nor an image", f"videos end in {', '.join(sorted(VIDEOS))}")
        return [path]
    images, videos = _inside(path, IMAGES), _inside(path, VIDEOS)
    if images and videos:
        raise ConfigError(
            path,
            f"holds {len(images)} images and {len(videos)} videos ({_list(file.name for file in videos)})",
            f"say which by a pattern, with {PLACE} where the camera's name stands, that ends in /*{images[0].suffix}",
        )
    if len(videos) > 1:
        raise ConfigError(
            path,
            f"holds {len(videos)} videos: {_list(file.name for file in videos)}",
            "name one of them, or that folder itself where each is a camera",
        )
    if images or videos:
        return images or videos
    below = [folder for folder in sorted(path.iterdir()) if folder.is_dir()] if depth else []
    for folder in below:
        if found := _files_of_or_none(folder, depth - 1):
            return found
    raise ConfigError(path, "holds no video and no images", "name the folder that holds them")


def _files_of_or_none(folder: Path, depth: int) -> list[Path] | None:
    try:
        return _files_of(folder, depth)
    except ConfigError as error:
        if "holds no video" in error.what:
            return None
        raise


def _by_folder(path: Path, cameras: Sequence[str]) -> dict[str, list[Path]]:
    """Cameras in a folder: videos, sub-folders, or groups of numbered images."""
    if path.is_file():
        return {path.stem: _files_of(path)}
    videos = _inside(path, VIDEOS)
    if videos:
        return {video.stem: [video] for video in videos}
    images = _inside(path, IMAGES)
    if images:
        return _by_stem(path, images, cameras)
    groups = {}
    for folder in sorted((item for item in path.iterdir() if item.is_dir()), key=natural):
        if not folder.name.startswith(".") and (files := _files_of_or_none(folder, 2)):
            groups[folder.name] = files
    if not groups:
        inside = _list(sorted(item.name for item in path.iterdir())) or "nothing"
        raise ConfigError(
            path,
            f"holds no videos, no images and no folders of them (it holds {inside})",
            "name a folder with one video or one sub-folder for each camera, or use --camera cam1=cam1.mp4",
        )
    return groups


def _by_stem(folder: Path, images: list[Path], cameras: Sequence[str]) -> dict[str, list[Path]]:
    """Images of several cameras in one folder, told apart by a known name in theirs, or as left01 and right01."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        groups[_known(image.stem, cameras)].append(image)
    if len(groups) > 1 and "" not in groups:
        return dict(groups)
    groups.clear()
    for image in images:
        stem = re.sub(r"[\s_.\-]*\d+$", "", image.stem)
        groups[stem].append(image)
    if len(groups) > 1 and len(groups) <= len(images) / 2 and all(groups):
        return dict(groups)
    return {folder.name or "camera": images}


def _by_pattern(pattern: str) -> dict[str, list[Path]]:
    """Files whose path fits a pattern with ``{camera}``, by what stands there."""
    wild = str(Path(pattern).expanduser()).replace(PLACE, "*")
    root = Path(wild).anchor or "."
    found = sorted(Path(root).glob(str(Path(wild).relative_to(root)) if Path(wild).anchor else wild), key=natural)
    expression = _expression(str(Path(pattern).expanduser()))
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in found:
        fit = expression.fullmatch(str(path))
        if fit is None:
            continue
        if path.is_dir():
            groups[fit["camera"]] += _files_of(path)
        elif path.suffix.lower() in VIDEOS | IMAGES:
            groups[fit["camera"]].append(path)
    if not groups:
        raise ConfigError(pattern, "nothing has such a name", "check it; {camera} stands for each camera's name")
    return {name: groups[name] for name in sorted(groups, key=lambda name: natural(Path(name)))}


def _expression(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for word in re.split(r"(\{camera\}|\*|\?|\[[^\]]*\])", pattern):
        if word == PLACE:
            parts.append(r"(?P<camera>[^/]+?)" if "(?P<camera>" not in "".join(parts) else "(?P=camera)")
        elif word in ("*", "?"):
            parts.append("[^/]*" if word == "*" else "[^/]")
        elif word.startswith("[") and word.endswith("]"):
            parts.append(word.replace("[!", "[^"))
        else:
            parts.append(re.escape(word))
    return re.compile("".join(parts))


# ---------------------------------------------------------------------- reading


def _open_video(path: Path) -> Pictures:
    try:
        return VideoPictures(path, "Mono8")
    except ConfigError as error:
        if "cannot be turned" in error.what:
            return VideoPictures(path, "BGR8")
        raise ConfigError(path, error.what.removeprefix("source.file: "), error.remedy) from None


def _reel(name: str, files: list[Path]) -> Reel:
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    if videos and len(files) > 1:
        raise ConfigError(
            videos[0].parent,
            f"camera {name} has {len(files)} files: {_list(file.name for file in files)}",
            "one video a camera, or images only",
        )
    if videos:
        video = _open_video(videos[0])
        try:
            return Reel(name, tuple(files), True, video.size, video.n, video.rate)
        finally:
            video.close()
    first = cv2.imread(str(files[0]), cv2.IMREAD_GRAYSCALE)
    if first is None:
        raise ConfigError(files[0], "cannot be read as an image", "remove it or name the others by a pattern")
    return Reel(name, tuple(files), False, (first.shape[1], first.shape[0]), len(files))


def _cut(picture: np.ndarray, view: View) -> np.ndarray:
    if view.region is not None:
        x, y, width, height = view.region
        picture = picture[y : y + height, x : x + width]
    return picture if view.flip == "none" else cv2.flip(picture, _FLIPS[view.flip])


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
