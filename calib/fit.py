"""A camera for pictures of another size than it was calibrated with.

Pictures are shifted and scaled about pixel edges, not centres: with (0, 0) the centre of the first
pixel, ``x' + 0.5 = s (x + 0.5) + o``. The lens does not change, only K does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from calib.camera import Camera
from rigpose.errors import ConfigError

FitName = Literal["crop", "scale", "letterbox"]
Fit = FitName | Sequence[Sequence[float]]
"""How the picture was made from the calibrated one: the centre cut out; stretched to the new size;
scaled alike in x and y with bars on two sides; or ``[[sx, 0, ox], [0, sy, oy]]`` in the equation above."""

OFFER = "say how the picture was made: fit: crop | scale | letterbox | [[sx, 0, ox], [0, sy, oy]]"


def fit_camera(
    camera: Camera,
    size: tuple[int, int],
    how: Fit | None = None,
    roi_offset: tuple[int, int] | None = None,
    binning: tuple[int, int] | None = None,
) -> Camera:
    """The camera whose K belongs to pictures of ``size``.

    A region of interest or a binning other than the calibrated one shifts and scales K by itself;
    any other change of size must be named.

    Args:
        camera: As calibrated.
        size: (width, height) of the pictures in px.
        how: What was done to the picture, ``None`` = nothing.
        roi_offset: (x, y) of the picture's first pixel on the sensor; ``None`` = as calibrated.
        binning: Sensor px per picture px; ``None`` = as calibrated.

    Raises:
        ConfigError: The size differs and nothing explains it, or the explanation cannot be.
    """
    where = f"camera {camera.name}"
    roi_offset = camera.roi_offset if roi_offset is None else (int(roi_offset[0]), int(roi_offset[1]))
    binning = camera.binning if binning is None else (int(binning[0]), int(binning[1]))
    if (roi_offset, binning) != (camera.roi_offset, camera.binning):
        if min(binning) < 1 or min(roi_offset) < 0:
            raise ConfigError(
                where, f"ROI offset {roi_offset} or binning {binning} cannot be", "check the camera's settings"
            )
        if how is not None:
            what = f"its ROI or binning is not the calibrated one, and its pictures are changed by fit {how} as well"
            raise ConfigError(where, what, "drop fit, or set the calibrated ROI and binning")
        scale = np.array(camera.binning) / binning
        offset = (np.array(camera.roi_offset) - roi_offset) / binning
        return _moved(camera, scale, offset, size, roi_offset, binning)
    old, new = np.array(camera.size, float), np.array(size, float)
    if how is None:
        if camera.size == tuple(size) or camera.size == (0, 0):
            return replace(camera, size=size)
        raise ConfigError(where, f"pictures are {_text(size)} px, the rig says {_text(camera.size)}", OFFER)
    if isinstance(how, str):
        scale, offset = _named(how, old, new, where)
    else:
        scale, offset = _affine(how, where)
    return _moved(camera, scale, offset, size, roi_offset, binning)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _moved(
    camera: Camera,
    scale: np.ndarray,
    offset: np.ndarray,
    size: tuple[int, int],
    roi_offset: tuple[int, int],
    binning: tuple[int, int],
) -> Camera:
    K = camera.K.copy()
    K[[0, 1], [0, 1]] *= scale
    K[0, 1] *= scale[0]
    K[:2, 2] = scale * (K[:2, 2] + 0.5) + offset - 0.5
    return replace(camera, K=K, size=size, roi_offset=roi_offset, binning=binning)


def _named(how: str, old: np.ndarray, new: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    if old.min() <= 0:
        raise ConfigError(where, f"fit {how} needs the calibrated size, which the rig file lacks", "add size = [w, h]")
    if how == "crop":
        if (new > old).any():
            raise ConfigError(where, f"{new.astype(int)} cannot be cut out of {old.astype(int)}", OFFER)
        return np.ones(2), -np.floor((old - new) / 2)
    if how == "scale":
        return new / old, np.zeros(2)
    if how == "letterbox":
        scale = float((new / old).min())
        return np.full(2, scale), (new - scale * old) / 2
    raise ConfigError(where, f"fit {how!r} is not known", OFFER)


def _affine(how: Sequence[Sequence[float]], where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        matrix = np.array(how, dtype=float)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise ConfigError(where, "the affine fit is not two rows of three numbers", OFFER)
    scale = matrix[[0, 1], [0, 1]]
    if matrix[0, 1] or matrix[1, 0] or scale.min() <= 0:
        raise ConfigError(
            where, "the affine fit turns, shears or mirrors the picture", "only scale and shift are possible"
        )
    return scale, matrix[:, 2]
