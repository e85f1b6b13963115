"""Where the pictures of each camera are: videos, folders of images, a recorded session.

Nothing is decoded here but the first picture of a reel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from nodes.calibrate import moments
from nodes.calibrate.camera_names import listed, match_names
from nodes.calibrate.film import Film, Reel, open_video
from nodes.calibrate.picture_files import PLACE, VIDEOS, by_folder, by_pattern, files_of
from rigpose.errors import ConfigError


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
        groups = {name: files_of(path) for name, path in named.items()}
        where = ", ".join(str(path) for path in named.values())
        beside: Path | None = None
    elif source is None:
        raise ConfigError("calibrate", "no pictures are named", "give a folder, a session, or --camera cam1=cam1.mp4")
    else:
        where = str(source)
        if PLACE in where:
            groups = by_pattern(where)
            beside = Path(where.split(PLACE)[0]).parent if "/" in where.split(PLACE)[0] else Path()
        else:
            path = Path(where).expanduser()
            if not path.exists():
                raise ConfigError(path, "no such file or folder", "check the path")
            if (path / "session.json").is_file():
                from nodes.calibrate.recorded import film_of_session

                return _named_as(film_of_session(path), cameras)
            groups = by_folder(path, cameras)
            beside = path if path.is_dir() else path.parent
    reels = tuple(_reel(name, files) for name, files in groups.items())
    notes: list[str] = []
    names, renamed = match_names([reel.camera for reel in reels], cameras, where)
    if renamed:
        notes.append("cameras by their names: " + ", ".join(f"{old} is {new}" for old, new in renamed.items()))
    reels = tuple(replace(reel, camera=name) for reel, name in zip(reels, names, strict=True))
    if timestamps is None and beside is not None and (beside / "timestamps.csv").is_file():
        timestamps = beside / "timestamps.csv"
    match = moments.match(reels, timestamps)
    return Film(where, reels, match.index, match.times_s, match.numbers, match.how, (*notes, *match.notes))


def _named_as(film: Film, cameras: Sequence[str]) -> Film:
    names, _ = match_names(list(film.cameras), cameras, film.source)
    reels = tuple(replace(reel, camera=name) for reel, name in zip(film.reels, names, strict=True))
    return replace(film, reels=reels)


def _reel(name: str, files: list[Path]) -> Reel:
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    if videos and len(files) > 1:
        raise ConfigError(
            videos[0].parent,
            f"camera {name} has {len(files)} files: {listed(file.name for file in files)}",
            "one video a camera, or images only",
        )
    if videos:
        video = open_video(videos[0])
        try:
            return Reel(name, tuple(files), True, video.size, video.n, video.rate)
        finally:
            video.close()
    first = cv2.imread(str(files[0]), cv2.IMREAD_GRAYSCALE)
    if first is None:
        raise ConfigError(files[0], "cannot be read as an image", "remove it or name the others by a pattern")
    return Reel(name, tuple(files), False, (first.shape[1], first.shape[0]), len(files))
