"""Crops: the part of a picture that the network sees, and the way back to raw image pixels.

Only crops are converted and copied, never whole pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from capture.frame import Frame
from capture.pixels import to_bgr

_MAX_ENLARGEMENT = 2.0
"""A crop is never enlarged more than this: the network would see pixels, not a subject."""
_DENSE_FROM = 2.0
"""A picture that is reduced by more than this is sampled at twice the density and averaged, so that thin
limbs do not fall between the samples."""
_MOST_BORDER = 4
"""Times the picture's area that a box may have before what lies around the picture is not drawn."""
_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of the network's aspect in raw image pixels.

    Attributes:
        center: (x, y) of the box's middle; (0, 0) is the centre of the first pixel.
        scale: Raw pixels per crop pixel.
    """

    center: tuple[float, float]
    scale: float

    def matrix(self, size: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
        """The affine map from crop px to raw image px, for a crop of ``size`` (width, height)."""
        width, height = size
        return np.array(
            [
                [self.scale, 0, self.center[0] - self.scale * (width - 1) / 2],
                [0, self.scale, self.center[1] - self.scale * (height - 1) / 2],
            ]
        )


def around(box: tuple[float, float, float, float], size: tuple[int, int], margin: float = 1.0) -> Crop:
    """The smallest crop of the network's aspect that holds a box.

    Args:
        box: (x0, y0, x1, y1) raw px.
        size: (width, height) of the crop in px.
        margin: Factor on the box's sides.
    """
    x0, y0, x1, y1 = box
    scale = max((x1 - x0) / size[0], (y1 - y0) / size[1]) * margin
    return Crop(((x0 + x1) / 2, (y0 + y1) / 2), max(scale, 1 / _MAX_ENLARGEMENT))


def whole(picture: tuple[int, int], size: tuple[int, int]) -> Crop:
    """The crop that holds a whole picture of ``picture`` (width, height) px."""
    return around((-0.5, -0.5, picture[0] - 0.5, picture[1] - 0.5), size)


def placed(crop: Crop, size: tuple[int, int]) -> tuple[Float[np.ndarray, "2 3"], bool]:
    """Where `Picture.cut` really looks: the crop-to-image matrix, and whether it samples twice as densely.

    Args:
        crop: In a picture whose pixels are all sampled where they lie: a GPU's, and a BGR or mono one of the CPU's.
        size: (width, height) of the crop in px.
    """
    return _Box.of(crop, size, 1).matrix(size), crop.scale > _DENSE_FROM


class Picture:
    """A frame's pixels, of which crops can be taken.

    Args:
        frame: A frame with an image; NV12, BGR8 and Mono8 are cut as they are, others are converted.

    Attributes:
        is_nv12: Whether its pixels are luma with chroma of half the size below it.
    """

    def __init__(self, frame: Frame) -> None:
        assert frame.image is not None
        self.size = frame.size
        self.is_nv12 = frame.pixel_format == "NV12"
        self._image = frame.image if frame.pixel_format in ("NV12", "BGR8", "Mono8") else to_bgr(frame)

    @property
    def pixels(self) -> UInt8[np.ndarray, "H W *C"]:
        """Its pixels: mono, BGR, or NV12 where `is_nv12`."""
        return self._image

    def gray(self) -> UInt8[np.ndarray, "H W"]:
        """Its brightness."""
        if self.is_nv12:
            return self._image[: self.size[1]]
        return self._image if self._image.ndim == 2 else cv2.cvtColor(self._image, cv2.COLOR_BGR2GRAY)

    def cut(
        self, crop: Crop, out: UInt8[np.ndarray, "h w 3"], border: int = cv2.BORDER_CONSTANT
    ) -> Float[np.ndarray, "2 3"]:
        """Write a crop into ``out`` as BGR and give its crop-to-image matrix.

        The box is moved to whole pixels (whole pairs of them where the chroma has half of them), for
        that is several times faster to sample; the matrix says where it really is.
        """
        height, width = out.shape[:2]
        grid = 2 if self.is_nv12 else 1
        box = _Box.of(crop, (width, height), grid)
        dense = crop.scale > _DENSE_FROM or (self.is_nv12 and (width % 2 or height % 2))
        size = (2 * width, 2 * height) if dense else (width, height)
        picture = self._sample_nv12(box, size, border) if self.is_nv12 else _sample(self._image, box, size, border, 0)
        if dense:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        out[:] = picture if picture.ndim == 3 else picture[..., None]
        return box.matrix((width, height))

    def _sample_nv12(self, box: _Box, size: tuple[int, int], border: int) -> UInt8[np.ndarray, "H W 3"]:
        width, height = self.size
        luma = _sample(self._image[:height], box, size, border, 16)
        chroma = self._image[height:].reshape(height // 2, width // 2, 2)
        half = _Box(box.x // 2, box.y // 2, box.width // 2, box.height // 2)
        chroma = _sample(chroma, half, (size[0] // 2, size[1] // 2), border, 128)
        return cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2BGR_NV12)


@dataclass(frozen=True, slots=True)
class _Box:
    """Whole pixels of a picture: the first column and row, and how many of each."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, crop: Crop, size: tuple[int, int], grid: int) -> _Box:
        """The box of a crop, moved to multiples of ``grid`` px."""
        width, height = (max(grid, grid * round(crop.scale * side / grid)) for side in size)
        x = grid * round((crop.center[0] + 0.5 - width / 2) / grid)
        y = grid * round((crop.center[1] + 0.5 - height / 2) / grid)
        return cls(x, y, width, height)

    def matrix(self, size: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
        """The affine map from px of the sampled crop to px of the picture, pixel edge on pixel edge."""
        sx, sy = self.width / size[0], self.height / size[1]
        return np.array([[sx, 0, self.x + 0.5 * sx - 0.5], [0, sy, self.y + 0.5 * sy - 0.5]])


def _sample(image: np.ndarray, box: _Box, size: tuple[int, int], border: int, fill: int) -> np.ndarray:
    """A box of an image as ``size`` px; what lies outside of the image is border."""
    rows, columns = image.shape[:2]
    left, top = max(0, -box.x), max(0, -box.y)
    right, bottom = max(0, box.x + box.width - columns), max(0, box.y + box.height - rows)
    if max(left + right, top + bottom) and box.width * box.height > _MOST_BORDER * rows * columns:
        # Mostly border: a picture of that size is not made for it.
        colour = (fill, fill, fill, fill)
        return cv2.warpAffine(image, box.matrix(size), size, flags=_FLAGS, borderMode=border, borderValue=colour)
    inside = image[
        max(0, box.y) : max(0, min(rows, box.y + box.height)), max(0, box.x) : max(0, min(columns, box.x + box.width))
    ]
    if inside.size == 0:
        return np.full((size[1], size[0], *image.shape[2:]), fill, np.uint8)
    if left or top or right or bottom:
        colour = (fill, fill, fill, fill)
        inside = cv2.copyMakeBorder(inside, top, bottom, left, right, border, value=colour)
    return cv2.resize(inside, size, interpolation=cv2.INTER_LINEAR)
