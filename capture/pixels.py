"""What an image's bytes mean: shapes of the pixel formats and the way to BGR.

Names are GenICam's. NV12 is (H * 3/2, W): a plane of luma over one of interleaved chroma, as hardware
decoders and many cameras give it; half the bytes of BGR8, and ``bgr_region`` converts only what is
looked at.
"""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
from jaxtyping import UInt8

from capture.frame import Frame, PixelFormat
from rigpose.errors import ProtocolError

PIXEL_FORMATS: tuple[str, ...] = get_args(PixelFormat)
_SHIFT = {"Mono10": 2, "Mono12": 4, "Mono16": 8}


def image_shape(pixel_format: str, size: tuple[int, int]) -> tuple[np.dtype, tuple[int, ...]] | None:
    """The dtype and shape that a picture of ``size`` (width, height) has; ``None`` for JPEG.

    Raises:
        ProtocolError: Unknown format, or a size that the format cannot have.
    """
    width, height = size
    match pixel_format:
        case "Mono8" | "BayerRG8":
            return np.dtype("u1"), (height, width)
        case "Mono10" | "Mono12" | "Mono16":
            return np.dtype("<u2"), (height, width)
        case "BGR8":
            return np.dtype("u1"), (height, width, 3)
        case "NV12":
            if width % 2 or height % 2:
                raise ProtocolError("frame", f"NV12 needs even sizes, got {width}x{height}")
            return np.dtype("u1"), (height * 3 // 2, width)
        case "JPEG":
            return None
    raise ProtocolError("frame", f"pixel format {pixel_format!r} is not one of {', '.join(PIXEL_FORMATS)}")


def to_bgr(frame: Frame) -> UInt8[np.ndarray, "H W 3"]:
    """The whole picture as BGR; a BGR8 frame's own (read-only) pixels, else a new array.

    Raises:
        ProtocolError: The frame has no picture, an unknown format, or a JPEG that is broken or has
            another size than its header says.
    """
    width, height = frame.size
    return bgr_region(frame, 0, 0, width, height)


def bgr_region(frame: Frame, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A rectangle of the picture as BGR, converting no more than needed.

    Args:
        frame: The frame.
        x: First column; the rectangle must lie inside the picture.
        y: First row.
        width: Columns.
        height: Rows.

    Raises:
        ProtocolError: As ``to_bgr``.
        ValueError: The rectangle does not lie inside.
    """
    image = frame.image
    if image is None:
        raise ProtocolError(f"camera {frame.camera}", "the frame carries points, not pixels")
    full_width, full_height = frame.size
    if not (0 <= x and 0 <= y and width > 0 and height > 0 and x + width <= full_width and y + height <= full_height):
        raise ValueError(f"region {(x, y, width, height)} is not inside {full_width}x{full_height}")
    rows, columns = slice(y, y + height), slice(x, x + width)
    match frame.pixel_format:
        case "BGR8":
            return image[rows, columns]
        case "Mono8":
            return cv2.cvtColor(image[rows, columns], cv2.COLOR_GRAY2BGR)
        case "Mono10" | "Mono12" | "Mono16":
            grey = np.minimum(image[rows, columns] >> _SHIFT[frame.pixel_format], 255).astype(np.uint8)
            return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        case "NV12":
            return _nv12_region(image, full_height, x, y, width, height)
        case "BayerRG8":
            return _bayer_region(image, x, y, width, height)
        case "JPEG":
            return _decode_jpeg(frame)[rows, columns]
    raise ProtocolError(
        f"camera {frame.camera}", f"pixel format {frame.pixel_format!r} is not one of {', '.join(PIXEL_FORMATS)}"
    )


def _nv12_region(image: np.ndarray, full_height: int, x: int, y: int, width: int, height: int) -> np.ndarray:
    left, top = x & ~1, y & ~1
    right, bottom = (x + width + 1) & ~1, (y + height + 1) & ~1
    chroma = image[full_height:].reshape(full_height // 2, -1, 2)
    bgr = cv2.cvtColorTwoPlane(
        image[top:bottom, left:right], chroma[top // 2 : bottom // 2, left // 2 : right // 2], cv2.COLOR_YUV2BGR_NV12
    )
    return bgr[y - top : y - top + height, x - left : x - left + width]


def _bayer_region(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    # Two pixels more on each side, beginning at an even pixel, so that interpolation has its neighbours.
    full_height, full_width = image.shape
    left, top = max(0, (x & ~1) - 2), max(0, (y & ~1) - 2)
    right, bottom = min(full_width, x + width + 2), min(full_height, y + height + 2)
    # OpenCV names a Bayer pattern after its second row and column: GenICam's RG is its BG.
    bgr = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BayerBG2BGR)
    return bgr[y - top : y - top + height, x - left : x - left + width]


def _decode_jpeg(frame: Frame) -> np.ndarray:
    assert frame.image is not None
    where = f"camera {frame.camera}"
    announced = jpeg_size(frame.image)
    if announced != frame.size:
        raise ProtocolError(where, f"the JPEG is {announced}, its header says {frame.size}")
    bgr = cv2.imdecode(frame.image, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None or bgr.shape[:2] != (frame.size[1], frame.size[0]):
        raise ProtocolError(where, "the JPEG cannot be decoded")
    return bgr


def jpeg_size(data: np.ndarray) -> tuple[int, int] | None:
    """(width, height) that a JPEG announces, without decoding it; ``None`` = no JPEG.

    Read before decoding, so that a picture that lies about its size allocates nothing.
    """
    view = np.ascontiguousarray(data).data.cast("B")
    if bytes(view[:2]) != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(view):
        if view[position] != 0xFF:
            return None
        marker = view[position + 1]
        if marker == 0xFF:
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(view[position + 7 : position + 9], "big"), int.from_bytes(
                view[position + 5 : position + 7], "big"
            )
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + int.from_bytes(view[position + 2 : position + 4], "big")
    return None
