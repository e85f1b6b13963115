"""Where to look for a subject that is not tracked yet.

A finder gives rounds of crops, one a view; the pipeline runs the network on each round and keeps, for
each view, the round in which the network was most sure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from engine.config import FinderSection
from engine.crop import Crop, Picture, around, whole
from rigpose.errors import ConfigError

View = Picture | None
Round = list[Crop | None]

_SMALL = 320
_LEAST_MOVING = 0.002
_HALF_OF_THE_JOINTS = 1.25
"""What the box of half of the joints lacks of the box of all."""


class Finder:
    """Looks at the whole picture of each view.

    Args:
        size: (width, height) of the network's input.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def watch(self, pictures: Sequence[View]) -> None:
        """See the pictures of a set before its rounds are asked for."""

    def rounds(self, pictures: Sequence[View]) -> Iterator[Round]:
        """Crops to try, one a view and round; ``None`` where the view is absent."""
        yield [None if picture is None else whole(picture.size, self.size) for picture in pictures]


class TilesFinder(Finder):
    """Looks at the whole picture, then at overlapping tiles: for subjects that are small in it."""

    def __init__(self, size: tuple[int, int], tiles: int) -> None:
        super().__init__(size)
        self.tiles = tiles

    def rounds(self, pictures: Sequence[View]) -> Iterator[Round]:
        """The whole picture, then each tile."""
        yield from super().rounds(pictures)
        if self.tiles == 1:
            return
        for row in range(self.tiles):
            for column in range(self.tiles):
                yield [None if p is None else self._tile(p.size, column, row) for p in pictures]

    def _tile(self, picture: tuple[int, int], column: int, row: int) -> Crop:
        # Neighbours share half a tile, so that a subject on a border is whole in one of them.
        width, height = (2 * side / (self.tiles + 1) for side in picture)
        x, y = column * width / 2 - 0.5, row * height / 2 - 0.5
        return around((x, y, x + width, y + height), self.size)


class MotionFinder(Finder):
    """Looks where the picture differs from its background; at the whole picture where nothing moves."""

    def __init__(self, size: tuple[int, int], n_views: int, margin: float) -> None:
        super().__init__(size)
        self.margin = margin
        self._models = [cv2.createBackgroundSubtractorMOG2(history=200, detectShadows=False) for _ in range(n_views)]
        self._boxes: list[tuple[float, float, float, float] | None] = [None] * n_views

    def watch(self, pictures: Sequence[View]) -> None:
        """Learn the background and note what moves before it."""
        for view, picture in enumerate(pictures):
            if picture is None:
                self._boxes[view] = None
                continue
            factor = max(1.0, max(picture.size) / _SMALL)
            small = cv2.resize(picture.gray(), None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            mask = cv2.medianBlur(self._models[view].apply(small), 3)
            self._boxes[view] = _moving_box(mask, factor)

    def rounds(self, pictures: Sequence[View]) -> Iterator[Round]:
        """One round: the moving parts."""
        crops: Round = []
        for picture, box in zip(pictures, self._boxes, strict=True):
            if picture is None:
                crops.append(None)
            else:
                crops.append(whole(picture.size, self.size) if box is None else around(box, self.size, self.margin))
        yield crops


class FixedFinder(Finder):
    """Looks at boxes that the config names: a tethered or head-fixed animal."""

    def __init__(self, size: tuple[int, int], cameras: Sequence[str], section: FinderSection) -> None:
        super().__init__(size)
        unknown = sorted(set(section.boxes) - set(cameras))
        if unknown:
            raise ConfigError("engine.finder.boxes", f"names camera {unknown[0]}, which the rig does not have",
                              f"the cameras are {', '.join(cameras)}")  # fmt: skip
        self._boxes = [section.boxes.get(name) for name in cameras]

    def rounds(self, pictures: Sequence[View]) -> Iterator[Round]:
        """One round: the boxes."""
        crops: Round = []
        for picture, box in zip(pictures, self._boxes, strict=True):
            if picture is None:
                crops.append(None)
            elif box is None:
                crops.append(whole(picture.size, self.size))
            else:
                x, y, width, height = box
                crops.append(around((x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5), self.size))
        yield crops


def closer(points: np.ndarray, confidence: np.ndarray, size: tuple[int, int], margin: float) -> Round:
    """Crops around what each view believes to have seen: the surer half of its joints.

    Args:
        points: (V, J, 2) raw image px; NaN = not seen.
        confidence: (V, J).
        size: (width, height) of the network's input.
        margin: Factor on the box of the joints.
    """
    crops: Round = []
    for view, sure in zip(points, confidence, strict=True):
        seen = np.isfinite(view).all(axis=-1) & (sure > 0)
        if not seen.any():
            crops.append(None)
            continue
        near = view[seen & (sure >= np.median(sure[seen]))]
        (x0, y0), (x1, y1) = near.min(axis=0), near.max(axis=0)
        crops.append(around((x0, y0, x1, y1), size, margin * _HALF_OF_THE_JOINTS))
    return crops


def create(section: FinderSection, size: tuple[int, int], cameras: Sequence[str], margin: float) -> Finder:
    """The finder that a config asks for."""
    if section.kind == "tiles":
        return TilesFinder(size, section.tiles)
    if section.kind == "motion":
        return MotionFinder(size, len(cameras), margin)
    if section.kind == "fixed":
        return FixedFinder(size, cameras, section)
    return Finder(size)


def _moving_box(mask: np.ndarray, factor: float) -> tuple[float, float, float, float] | None:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = [stats[i] for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= _LEAST_MOVING * mask.size]
    if not large:
        return None
    x0 = min(s[cv2.CC_STAT_LEFT] for s in large)
    y0 = min(s[cv2.CC_STAT_TOP] for s in large)
    x1 = max(s[cv2.CC_STAT_LEFT] + s[cv2.CC_STAT_WIDTH] for s in large)
    y1 = max(s[cv2.CC_STAT_TOP] + s[cv2.CC_STAT_HEIGHT] for s in large)
    return x0 * factor - 0.5, y0 * factor - 0.5, x1 * factor - 0.5, y1 * factor - 0.5
