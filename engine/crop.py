"""Crops: the part of a picture that the network sees, and the way back to raw image pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_MAX_ENLARGEMENT = 2.0
"""A crop is never enlarged more than this: the network would see pixels, not a subject."""


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


def cut(
    image: UInt8[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W"],
    crop: Crop,
    out: UInt8[np.ndarray, "h w 3"],
    border: int = cv2.BORDER_CONSTANT,
) -> Float[np.ndarray, "2 3"]:
    """Write a crop into ``out`` and give its crop-to-image matrix.

    Where the picture is reduced by more than two, it is sampled at twice the density and averaged, so
    that thin limbs do not fall between the samples.
    """
    height, width = out.shape[:2]
    matrix = crop.matrix((width, height))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if crop.scale <= 2:
        picture = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=border)
    else:
        dense = crop_at_double(image, crop, (width, height), flags, border)
        picture = cv2.resize(dense, (width, height), interpolation=cv2.INTER_AREA)
    out[:] = picture if picture.ndim == 3 else picture[..., None]
    return matrix


def crop_at_double(
    image: np.ndarray, crop: Crop, size: tuple[int, int], flags: int, border: int
) -> UInt8[np.ndarray, "H W ..."]:
    """The crop at twice the density of pixels."""
    double = (size[0] * 2, size[1] * 2)
    matrix = Crop(crop.center, crop.scale / 2).matrix(double)
    return cv2.warpAffine(image, matrix, double, flags=flags, borderMode=border)
