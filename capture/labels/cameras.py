"""Which camera a labelled picture is of, and which pictures show one instant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from capture.labels.labels import LabelledFrame
from rigpose.errors import ConfigError

PLACE = "{camera}"
"""Stands in a pattern where the camera's name does."""
Find = Callable[[str], tuple[str, str]]


def named(frames: Sequence[LabelledFrame], cameras: Sequence[str], where: object) -> tuple[list[LabelledFrame], str]:
    """The frames with their cameras and moments, and a note about it; empty = there is nothing to say.

    A moment is what the picture is called without the camera's name: frame 12 of ``run3_top.mp4`` and of
    ``run3_side.mp4`` are one.

    Args:
        frames: As read; those whose file names their camera keep it where no camera is asked for.
        cameras: Names that stand in the names of files or folders, or one pattern with ``{camera}`` and ``*``; empty
            = the file's own, else what sets the videos and folders apart.
        where: What the user named, for errors.

    Raises:
        ConfigError: A picture is of none of the cameras, or of several.
    """
    if cameras:
        find = finder(cameras, where)
        return [_placed(frame, *find(frame.picture.stated)) for frame in frames], ""
    if all(frame.camera or frame.moment for frame in frames):
        return [frame if frame.moment else _placed(frame, frame.camera, frame.camera) for frame in frames], ""
    sources = list(dict.fromkeys(_source(frame) for frame in frames))
    names = dict(zip(sources, _apart(sources), strict=True))
    done = [_placed(frame, *[names[_source(frame)]] * 2) for frame in frames]
    if len(sources) < 2:
        return done, ""
    return done, "each video or folder of pictures counts as a camera; --cameras says otherwise"


def finder(cameras: Sequence[str], where: object) -> Find:
    """What gives the camera of a file's name, and the word that names it there.

    Args:
        cameras: Names, or one pattern, as in `named`.
        where: What the user named, for errors.

    Raises:
        ConfigError: Names are there twice. What is returned raises it where a name is of none or of several.
    """
    if len(cameras) == 1 and PLACE in cameras[0]:
        return _by_pattern(cameras[0], where)
    return _by_names(cameras, where)


def without_camera(stated: str, word: str) -> str:
    """A file's name with `PLACE` where its camera is named, relative to the root."""
    name = re.sub(_whole(word), PLACE, stated, flags=re.IGNORECASE) if word else stated
    return re.sub(r"^([A-Za-z]:)?/+", "", name)


def _placed(frame: LabelledFrame, camera: str, word: str) -> LabelledFrame:
    """A frame of a camera; ``word`` is what names it in the picture's name."""
    name = without_camera(frame.picture.stated, word)
    moment = name if frame.picture.index is None else f"{name}#{frame.picture.index}"
    return replace(frame, camera=camera, moment=moment)


def _whole(word: str) -> str:
    """A pattern of a word that stands alone; ``cam_01`` and ``cam01`` are one, for programs write both of a camera."""
    parts = re.split(r"[\s_.\-]+|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", word)
    return rf"(?<![A-Za-z0-9]){r'[ _.-]?'.join(re.escape(part) for part in parts if part)}(?![A-Za-z0-9])"


def _by_names(cameras: Sequence[str], where: object) -> Find:
    if len(set(cameras)) < len(cameras) or not all(cameras):
        raise ConfigError("--cameras", f"{', '.join(cameras)} are not names that differ", "name each camera once")

    def find(stated: str) -> tuple[str, str]:
        found = [name for name in cameras if re.search(_whole(name), stated, flags=re.IGNORECASE)]
        # Of cam1 and cam1_left the longer one is meant where it stands.
        found = [name for name in found if not any(name != other and name in other for other in found)]
        if len(found) != 1:
            what = f"is of {' and of '.join(found)}" if found else f"is of none of the cameras {', '.join(cameras)}"
            raise ConfigError(
                where, f"{stated} {what}", f"give a pattern with {PLACE}, as in --cameras 'videos/{PLACE}_*'"
            )
        return found[0], found[0]

    return find


def _by_pattern(pattern: str, where: object) -> Find:
    parts: list[str] = []
    for word in re.split(r"(\{camera\}|\*)", pattern):
        if word == PLACE:
            parts.append("(?P<camera>[^/]+?)" if "(?P<camera>" not in "".join(parts) else "(?P=camera)")
        else:
            parts.append("[^/]*" if word == "*" else re.escape(word))
    # As users write patterns: of the last folders, with or without the file's ending.
    expression = re.compile(rf"(?:^|.*/){''.join(parts)}(?:\.[A-Za-z0-9]+)?$")

    def find(stated: str) -> tuple[str, str]:
        fit = expression.match(stated)
        if fit is None:
            raise ConfigError(where, f"{stated} does not fit {pattern}", f"{PLACE} and * stand for parts of its name")
        return fit["camera"], fit["camera"]

    return find


def _source(frame: LabelledFrame) -> str:
    """The video, or the folder of a picture."""
    stated = frame.picture.stated
    return stated.rpartition(".")[0] or stated if frame.picture.index is not None else stated.rpartition("/")[0]


def _apart(sources: Sequence[str]) -> list[str]:
    """Names for videos and folders: the last parts of their paths without what all of them share."""
    if len(sources) < 2:
        return [source.rpartition("/")[2] for source in sources]
    last = [source.rpartition("/")[2] for source in sources]
    texts = last if len(set(last)) == len(last) else list(sources)
    words = [re.split(r"[\s_.\-/]+", text) for text in texts]
    while all(len(one) > 1 for one in words) and len({one[0] for one in words}) == 1:
        words = [one[1:] for one in words]
    while all(len(one) > 1 for one in words) and len({one[-1] for one in words}) == 1:
        words = [one[:-1] for one in words]
    names = ["_".join(one) for one in words]
    return names if len(set(names)) == len(names) else list(sources)
