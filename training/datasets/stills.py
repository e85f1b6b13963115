"""Single pictures of recordings, out of videos in any order: each process keeps the last videos open."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from capture.views import View
from rigpose.errors import ConfigError

_OPEN = 16
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
_FLIPS = {"horizontal": 1, "vertical": 0}
_videos: OrderedDict[Path, Any] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Still:
    """One picture of a camera that was recorded.

    Attributes:
        file: A video, or the picture itself.
        number: Of the picture in the video, from 0.
        part: Of the picture that is the camera's.
    """

    file: Path
    number: int
    part: View = View()

    def __str__(self) -> str:
        return f"{self.file}, picture {self.number}"


def read_still(still: Still) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as BGR. Costs least in rising order; elsewhere decoding begins at the key frame before.

    Raises:
        ConfigError: There is no such file, or it has no such picture.
    """
    picture: np.ndarray | None
    if still.file.suffix.lower() in VIDEOS:
        video = _video(still.file)
        picture = video.read(still.number) if still.number < video.n else None
    else:
        picture = cv2.imread(str(still.file), cv2.IMREAD_COLOR)
    if picture is None:
        raise ConfigError(still, "is missing or damaged", "leave that session out")
    if still.part.region is not None:
        x, y, width, height = still.part.region
        picture = picture[y : y + height, x : x + width]
    return picture if still.part.flip == "none" else cv2.flip(picture, _FLIPS[still.part.flip])


def pictures_in(file: Path) -> int:
    """How many pictures a file has.

    Raises:
        ConfigError: It is missing, or no video.
    """
    return int(_video(file).n) if file.suffix.lower() in VIDEOS else 1


def _video(file: Path) -> Any:
    if file not in _videos:
        from capture.sources.pictures import VideoPictures  # here, for a machine that trains may have no PyAV

        if not file.is_file():
            raise ConfigError(file, "no such video", "put it back, or leave that session out")
        try:
            _videos[file] = VideoPictures(file, "BGR8")
        except ConfigError as error:
            raise ConfigError(file, error.what.removeprefix("source.file: "), error.remedy) from None
        while len(_videos) > _OPEN:
            _videos.popitem(last=False)[1].close()
    _videos.move_to_end(file)
    return _videos[file]
