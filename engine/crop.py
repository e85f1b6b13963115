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


class Picture:
    """A frame's pixels, of which crops can be taken.

    Args:
        frame: A frame with an image; NV12, BGR8 and Mono8 are cut as they are, others are converted.
    """

    def __init__(self, frame: Frame) -> None:
        assert frame.image is not None
        self.size = frame.size
        self._nv12 = frame.pixel_format == "NV12"
        self._image = frame.image if frame.pixel_format in ("NV12", "BGR8", "Mono8") else to_bgr(frame)

    def gray(self) -> UInt8[np.ndarray, "H W"]:
        """Its brightness."""
        if self._nv12:
            return self._image[: self.size[1]]
        return self._image if self._image.ndim == 2 else cv2.cvtColor(self._image, cv2.COLOR_BGR2GRAY)

    def cut(
        self, crop: Crop, out: UInt8[np.ndarray, "h w 3"], border: int = cv2.BORDER_CONSTANT
    ) -> Float[np.ndarray, "2 3"]:
        """Write a crop into ``out`` as BGR and give its crop-to-image matrix."""
        height, width = out.shape[:2]
        # An odd crop has no half of it for the chroma.
        density = 2 if crop.scale > _DENSE_FROM or (self._nv12 and (width % 2 or height % 2)) else 1
        sampled = Crop(crop.center, crop.scale / density)
        size = (width * density, height * density)
        if self._nv12:
            picture = self._sample_nv12(sampled, size, border)
        else:
            picture = _sample(self._image, sampled, size, border)
        if density == 2:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        out[:] = picture if picture.ndim == 3 else picture[..., None]
        return crop.matrix((width, height))

    def _sample_nv12(self, crop: Crop, size: tuple[int, int], border: int) -> UInt8[np.ndarray, "H W 3"]:
        height = self.size[1]
        luma = _sample(self._image[:height], crop, size, border, 16)
        # Chroma has half the pixels; its first one lies between the first two of the brightness.
        half = Crop(((crop.center[0] - 0.5) / 2, (crop.center[1] - 0.5) / 2), crop.scale)
        planes = self._image[height:].reshape(height // 2, self.size[0] // 2, 2)
        chroma = _sample(planes, half, (size[0] // 2, size[1] // 2), border, 128)
        return cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2BGR_NV12)


def _sample(image: np.ndarray, crop: Crop, size: tuple[int, int], border: int, fill: int = 0) -> np.ndarray:
    return cv2.warpAffine(
        image, crop.matrix(size), size, flags=_FLAGS, borderMode=border, borderValue=(fill, fill, fill, fill)
    )
