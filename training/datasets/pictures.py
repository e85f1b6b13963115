"""Pictures of a data set: read, freed of the lens where a network wants it so, and cut into crops."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from calib import lens
from calib.camera import Camera
from rigpose.errors import ConfigError
from training.datasets.stills import Still, read_still

_DENSEST = 4
_MOST_BORDER = 9.0
"""Times the picture's area that a box may have before what lies around the picture is not made."""
_WHOLE = 1e-6
_ROWS = 256
_TOLD = 3


def read_picture(source: Path | Still, camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as BGR: a file, or one of a recording.

    Raises:
        ConfigError: It is missing or damaged, or has not the size that the camera was calibrated for.
    """
    picture = read_still(source) if isinstance(source, Still) else _decoded(source)
    size = picture.shape[1], picture.shape[0]
    if min(camera.size) > 0 and size != camera.size:
        said, wanted = ("x".join(map(str, s)) for s in (size, camera.size))
        what = f"has {said} px, and camera {camera.name} was calibrated for {wanted}"
        raise ConfigError(source, what, "give the data set's own pictures, not resized ones")
    return picture


def _decoded(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise ConfigError(path, "no such picture", "prepare the data set again, or leave that camera out") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "check the folder") from None
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise ConfigError(path, "is no picture that can be decoded", "delete it and prepare the data set again")
    return picture


def check_pictures(paths: Iterable[Path]) -> None:
    """See that pictures are there before hours are spent: each folder is listed once, nothing is read.

    Raises:
        ConfigError: Some are missing; it says how many and which are the first.
    """
    folders: dict[Path, set[str]] = {}
    missing: list[Path] = []
    count = 0
    for path in paths:
        count += 1
        if path.parent not in folders:
            try:
                folders[path.parent] = {entry.name for entry in os.scandir(path.parent)}
            except OSError:
                folders[path.parent] = set()
        if path.name not in folders[path.parent]:
            missing.append(path)
    if missing:
        told = ", ".join(str(path) for path in missing[1:_TOLD])
        what = f"no such picture, one of {len(missing)} missing ones of {count}" + (
            f"; others are {told}" if told else ""
        )
        raise ConfigError(missing[0], what, "prepare the data set again, or correct the folder of its pictures")


def without_lens(camera: Camera) -> Camera:
    """The camera that `undistorted` makes pictures of: the same without distortion."""
    return replace(camera, dist=np.zeros(0), fisheye=False)


@lru_cache(maxsize=64)
def _maps(K: bytes, dist: bytes, fisheye: bool, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    width, height = size
    # Single precision is exact to a thousandth of a pixel here, and half the time.
    matrix, coefficients = (np.frombuffer(part).astype(np.float32)[None] for part in (K, dist))
    matrix = matrix.reshape(1, 3, 3)
    focal, centre = np.diag(matrix[0])[:2], matrix[0, :2, 2]
    found = np.empty((height, width, 2), dtype=np.float32)
    for first in range(0, height, _ROWS):
        # In strips, for the lens needs many numbers a pixel.
        rows = np.arange(first, min(height, first + _ROWS))
        grid = np.stack(np.meshgrid(np.arange(width), rows), axis=-1).astype(np.float32)
        normalised = ((grid - centre) / focal).reshape(1, -1, 2)
        raw = lens.distort(normalised, matrix, coefficients, np.array([fisheye], dtype=np.float32))
        found[first : first + len(rows)] = raw.reshape(len(rows), width, 2)
    return cv2.convertMaps(found, None, cv2.CV_16SC2)


def undistorted(picture: UInt8[np.ndarray, "H W 3"], camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
    """The picture that the camera would have taken without distortion; what the lens did not see is black.

    The maps are those of `calib.lens` (the true model, Human3.6M's own included) and remembered by lens.
    """
    size = picture.shape[1], picture.shape[0]
    maps = _maps(camera.K.tobytes(), lens.pad(camera.dist).tobytes(), camera.fisheye, size)
    return cv2.remap(picture, *maps, cv2.INTER_CUBIC)


def on_pixels(matrix: Float[np.ndarray, "2 3"], size: int) -> Float[np.ndarray, "2 3"]:
    """An upright crop's matrix moved to whole pixels of the picture; another one as it is.

    Live crops are cut so (`engine.crop`), and so are those of Human3.6M's boxes.
    """
    if matrix[0, 1] or matrix[1, 0] or not math.isclose(matrix[0, 0], matrix[1, 1]):
        return matrix
    side = max(1, round(float(matrix[0, 0]) * size))
    centre = matrix[:, :2] @ np.full(2, (size - 1) / 2) + matrix[:, 2]
    # Halves go up, not to the even neighbour: a box of whole pixels is met again whatever it lies on.
    first = np.floor(centre + 0.5 - side / 2 + 0.5 - _WHOLE)
    scale = side / size
    return np.column_stack([np.eye(2) * scale, first - 0.5 + 0.5 * scale])


def cut(picture: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"], size: int) -> UInt8[np.ndarray, "S S 3"]:
    """A crop of a picture, averaged where it is reduced and black where the picture ends.

    Args:
        picture: BGR.
        matrix: From crop px to px of the picture.
        size: Side of the crop.
    """
    height, width = picture.shape[:2]
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    side = scale * size
    if np.abs(on_pixels(matrix, size) - matrix).max() < _WHOLE and not matrix[0, 1]:
        left, top = (round(float(value)) for value in matrix[:, 2] + 0.5 - 0.5 * scale)
        if side * side <= _MOST_BORDER * width * height:
            how = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
            return cv2.resize(_padded(picture, left, top, round(side)), (size, size), interpolation=how)
    dense = min(_DENSEST, max(1, math.ceil(scale)))
    # Pixel edge on pixel edge: dense px d shows where crop px (d + 0.5) / dense - 0.5 lies.
    finer = np.column_stack([matrix[:, :2] / dense, matrix[:, 2] + matrix[:, :2] @ np.full(2, 0.5 / dense - 0.5)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(picture, finer, (size * dense, size * dense), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return crop if dense == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _padded(picture: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """A square of a picture; black outside of it."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if x0 == left and y0 == top and x1 - x0 == side == y1 - y0:
        return picture[y0:y1, x0:x1]
    box = np.zeros((side, side, 3), np.uint8)
    if x0 < x1 and y0 < y1:
        box[y0 - top : y1 - top, x0 - left : x1 - left] = picture[y0:y1, x0:x1]
    return box
