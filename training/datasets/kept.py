"""Pictures that are asked for again and again: decoded once, and held while there is room."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from calib.camera import Camera
from training.datasets.pictures import read_picture
from training.datasets.stills import Still


class Kept:
    """Reads pictures; the ones that were used last stay in memory.

    Args:
        most_bytes: So much memory at most; 0 = each is read each time.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._held: OrderedDict[Path | Still, np.ndarray] = OrderedDict()

    def __call__(self, source: Path | Still, camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
        """A picture as BGR, not to be written into.

        Raises:
            ConfigError: As of `training.datasets.pictures.read_picture`.
        """
        picture = self._held.get(source)
        if picture is not None:
            self._held.move_to_end(source)
            return picture
        picture = read_picture(source, camera)
        if picture.nbytes <= self._most:
            picture.setflags(write=False)
            self._held[source] = picture
            self._bytes += picture.nbytes
            while self._bytes > self._most:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return picture
