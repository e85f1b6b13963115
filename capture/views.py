"""Several cameras out of one picture: regions of it, flipped where they look into a mirror.

Mice and flies are often filmed by one camera and mirrors, or several videos come side by side in one
file. Each region then is a camera of its own in the rig, calibrated on the picture as it is given
here; the source knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol

import cv2
import numpy as np

from capture.frame import Frame, PixelFormat
from capture.pixels import to_bgr
from rigpose.config import Config
from rigpose.errors import ConfigError
from rigpose.keypoints import Keypoints

Flip = Literal["none", "horizontal", "vertical"]
_AXIS = {"horizontal": 1, "vertical": 0}


class ViewLike(Protocol):
    """What a view needs to say of itself."""

    @property
    def region(self) -> tuple[int, int, int, int] | None:
        """``(x, y, width, height)`` px of the source's picture; ``None`` = all of it."""

    @property
    def flip(self) -> Flip:
        """How the region is turned after it was cut out."""


class View(Config):
    """One view of a source; the attributes are those of ``ViewLike``."""

    region: tuple[int, int, int, int] | None = None
    flip: Flip = "none"


class Views:
    """Splits a source's frames into those of its cameras.

    Args:
        node: Name of the source, for errors.
        views: The cameras by name.
    """

    def __init__(self, node: str, views: Mapping[str, ViewLike]) -> None:
        self._node = node
        self._views = dict(views)

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras, in order."""
        return tuple(self._views)

    def sizes(self, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """The (width, height) of each camera's picture, given the source's.

        Raises:
            ConfigError: A region does not lie inside the picture.
        """
        return {name: self._region(name, size)[2:] for name in self._views}

    def split(self, frame: Frame) -> list[Frame]:
        """A frame of each camera; they share the source's stamps, number and counters.

        ``roi_offset`` of a view is the sensor pixel of its region's upper left corner before it was
        flipped. Regions are views into the source's pixels where they can be.

        Raises:
            ConfigError: A region does not lie inside the picture.
            ProtocolError: A picture that has to be converted for it cannot be.
        """
        return [self._view(name, view, frame) for name, view in self._views.items()]

    def _region(self, name: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = size
        region = self._views[name].region
        if region is None:
            return 0, 0, width, height
        x, y, w, h = region
        if not (x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height):
            raise ConfigError(
                f"camera {self._node}",
                f"views.{name}.region {list(region)} is not inside the picture of {width}x{height}",
                "give [x, y, width, height] in its pixels",
            )
        return region

    def _view(self, name: str, view: ViewLike, frame: Frame) -> Frame:
        x, y, width, height = self._region(name, frame.size)
        whole = (x, y, width, height) == (0, 0, *frame.size)
        if whole and view.flip == "none":
            return frame if frame.camera == name else replace(frame, camera=name)
        changed: dict[str, object] = {
            "camera": name,
            "size": (width, height),
            "roi_offset": (frame.roi_offset[0] + x * frame.binning[0], frame.roi_offset[1] + y * frame.binning[1]),
            "flip": view.flip,
        }
        if frame.points is not None:
            changed["points"] = _points(frame.points, x, y, width, height, view.flip)
        if frame.image is not None:
            changed["image"], changed["pixel_format"] = _pixels(frame, x, y, width, height, view.flip)
        return replace(frame, **changed)  # type: ignore[arg-type]


def _points(points: Keypoints, x: int, y: int, width: int, height: int, flip: Flip) -> Keypoints:
    moved = points.points - (x, y)
    inside = np.logical_and(moved >= -0.5, moved < (width - 0.5, height - 0.5)).min(axis=-1)
    if flip != "none":
        axis = 0 if flip == "horizontal" else 1
        moved[..., axis] = (width, height)[axis] - 1 - moved[..., axis]
    return Keypoints(
        np.where(inside[..., None], moved, np.nan).astype(points.points.dtype), np.where(inside, points.confidence, 0)
    )


def _pixels(frame: Frame, x: int, y: int, width: int, height: int, flip: Flip) -> tuple[np.ndarray, PixelFormat]:
    image, pixel_format = frame.image, frame.pixel_format
    assert image is not None
    odd = any(value % 2 for value in (x, y, width, height))
    if (
        pixel_format == "JPEG"
        or (pixel_format == "BayerRG8" and (odd or flip != "none"))
        or (pixel_format == "NV12" and odd)
    ):
        image, pixel_format = to_bgr(frame), "BGR8"
    if pixel_format == "NV12":
        return _nv12(image, frame.size[1], x, y, width, height, flip), pixel_format
    part = image[y : y + height, x : x + width]
    return (part if flip == "none" else cv2.flip(part, _AXIS[flip])), pixel_format


def _nv12(image: np.ndarray, full_height: int, x: int, y: int, width: int, height: int, flip: Flip) -> np.ndarray:
    out = np.empty((height * 3 // 2, width), np.uint8)
    luma = image[y : y + height, x : x + width]
    chroma = image[full_height + y // 2 : full_height + (y + height) // 2, x : x + width].reshape(
        height // 2, width // 2, 2
    )
    if flip != "none":
        luma, chroma = cv2.flip(luma, _AXIS[flip]), cv2.flip(chroma, _AXIS[flip])
    out[:height] = luma
    out[height:].reshape(height // 2, width // 2, 2)[:] = chroma
    return out
