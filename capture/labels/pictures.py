"""The pictures that labels belong to: found on this machine, and read one by one."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from capture.labels.labels import Picture
from capture.sources.pictures import Pictures, open_pictures
from rigpose.errors import ConfigError, RigposeError

log = logging.getLogger(__name__)

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_OPEN = 4


def posix(path: str) -> str:
    """A path of any system with ``/`` between folders."""
    return path.replace("\\", "/")


class Finder:
    """Finds files by the names that labels have for them, on whatever machine those were written.

    A name is tried as it stands, then its last parts, the more the better, in each folder.

    Args:
        folders: Where to look, the likeliest first.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._last: tuple[Path, int] | None = None
        self._found: dict[Path, str] = {}

    def find(self, stated: str) -> Path | None:
        """The file; ``None`` where there is none, or where another name already led to the same."""
        path = self._look(posix(stated))
        if path is not None and self._found.setdefault(path, stated) != stated:
            return None  # Two names for one file: only their ends agree, so neither is known to be it.
        return path

    def _look(self, stated: str) -> Path | None:
        if not stated or "\0" in stated:
            return None
        windows = PureWindowsPath(stated)
        parts = windows.parts[1:] if windows.drive else PurePosixPath(stated).parts
        absolute = PurePosixPath(stated).is_absolute()
        if absolute and _is_file(Path(stated)):
            return Path(stated)
        parts = parts[1:] if absolute else parts
        if self._last is not None:
            folder, count = self._last
            if count <= len(parts) and _is_file(path := folder.joinpath(*parts[-count:])):
                return path
        for count in range(len(parts), 0, -1):
            for folder in self._folders:
                if _is_file(path := folder.joinpath(*parts[-count:])):
                    # Many pictures of one folder are found at the first try.
                    self._last = (folder, count) if count > 1 or len(parts) == 1 else None
                    return path
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class PictureReader:
    """Reads labelled pictures; one thread only. A context manager that holds a few videos open."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, str | None], Any] = OrderedDict()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, picture: Picture) -> UInt8[np.ndarray, "H W 3"] | None:
        """A picture in BGR; ``None`` = it was not found, or is damaged.

        Raises:
            ConfigError: It has another size than the labels are for, or its video cannot be read.
            MissingError: It lies in a file that needs an extra.
        """
        if picture.path is None:
            return None
        if picture.dataset is not None:
            image = self._packed(picture)
        elif picture.index is None:
            image = _image(picture.path, picture.size)
        else:
            image = self._frame(picture)
        if image is None:
            log.warning("%s is damaged, or its file ends before it", picture.name)
        elif picture.size is not None and picture.size != (image.shape[1], image.shape[0]):
            now, then = f"{image.shape[1]}x{image.shape[0]}", f"{picture.size[0]}x{picture.size[1]}"
            raise ConfigError(
                picture.path,
                f"is {now}, but was {then} when it was labelled",
                "give the pictures that were labelled, not enlarged or reduced ones",
            )
        return image

    def _frame(self, picture: Picture) -> np.ndarray | None:
        assert picture.path is not None and picture.index is not None
        video: Pictures = self._held((picture.path, None), lambda: open_pictures(picture.path, "BGR8"))  # type: ignore[arg-type]
        if not 0 <= picture.index < video.n:
            return None
        return video.read(picture.index)

    def _packed(self, picture: Picture) -> np.ndarray | None:
        from capture.labels.sleap import open_package

        assert picture.path is not None and picture.dataset is not None and picture.index is not None
        path, dataset = picture.path, picture.dataset
        try:
            packed = self._held((path, dataset), lambda: open_package(path, dataset))
            image = np.asarray(packed[picture.index])
        except RigposeError:
            raise
        except Exception as error:  # A foreign library reads a foreign file: it can be anything.
            log.warning("%s: %s", picture.name, error)
            return None
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.shape[-1] == 1 else cv2.COLOR_RGB2BGR)

    def _held(self, key: tuple[Path, str | None], opened: Any) -> Any:
        if key not in self._open:
            while len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[key] = opened()
        self._open.move_to_end(key)
        return self._open[key]

    def close(self) -> None:
        """Let go of all files."""
        while self._open:
            self._open.popitem()[1].close()


def _image(path: Path, size: tuple[int, int] | None) -> np.ndarray | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is not None and size == image.shape[:2] and size != image.shape[1::-1]:
        # A camera's picture on its side, that was labelled as it lies.
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return image
