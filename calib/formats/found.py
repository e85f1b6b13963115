"""What goes into a reader of a foreign camera file, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from calib.camera import DIST_LENGTHS, Camera
from calib.formats.tables import MM_PER
from rigpose.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user says about a file because the file does not.

    Attributes:
        units: mm, cm or m; ``None`` = as the format has it, and an error where it has none.
        size: (width, height) in px of the pictures, for formats that do not hold it.
        upright: Whether the pictures were turned upright, as the file says (Qualisys's
            ``viewrotation``, caliscope's ``rotation_count``); else they are as the sensor gave them.
        pick: Which part of a file that holds several: a subject of Human3.6M, a camera type of Panoptic.
    """

    units: str | None = None
    size: tuple[int, int] | None = None
    upright: bool = False
    pick: str | None = None

    def millimetres(self, fixed: str | None, where: str, hint: str = "") -> float:
        """How many mm one unit of the file is; the user's word goes before the format's.

        Raises:
            ConfigError: Neither says it, or it is no unit known here.
        """
        chosen = self.units or fixed
        if chosen is None:
            remedy = f"give --units mm|cm|m{hint}"
            raise ConfigError(where, "does not say in which unit its translations are", remedy)
        if chosen not in MM_PER:
            raise ConfigError("--units", f"{chosen!r} is no unit known here", "give mm, cm or m")
        return MM_PER[chosen]


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Points that a file holds in 3D and in the pictures, so that its cameras can be tried on them.

    Attributes:
        what: What they are, for a person.
        px: (V, N, 2) raw px, NaN = not seen.
        points_mm: (N, 3).
    """

    what: str
    px: Float[np.ndarray, "V N 2"]
    points_mm: Float[np.ndarray, "N 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What stands in a file.

    Attributes:
        cameras: In the file's order.
        metadata: For the rig.
        notes: One line each on what was decided or left out while reading.
        views: Points to try the cameras on, where the file holds them.
    """

    cameras: tuple[Camera, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    views: Views | None = None


def lens_list(values: Any, where: str) -> np.ndarray:
    """Distortion coefficients in OpenCV's order, filled with zeros up to a number that OpenCV knows.

    Raises:
        ConfigError: There are more than 14.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    for length in DIST_LENGTHS:
        if length >= len(flat):
            return np.pad(flat, (0, length - len(flat)))
    raise ConfigError(where, f"{len(flat)} distortion coefficients", f"give at most {DIST_LENGTHS[-1]}")


def sized(cameras: Iterable[Camera], how: Reading, title: str) -> tuple[tuple[Camera, ...], tuple[str, ...]]:
    """Cameras with the size that the user gave where the file has none, and a note where nobody says it."""
    cameras = tuple(cameras)
    bare = [camera.name for camera in cameras if min(camera.size) <= 0]
    if bare and how.size is not None:
        return tuple(c if min(c.size) > 0 else replace(c, size=how.size) for c in cameras), ()
    if bare:
        return cameras, (f"{title} holds no picture size for {', '.join(bare)}: give --size WIDTHxHEIGHT",)
    return cameras, ()
