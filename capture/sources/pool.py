"""Arrays that are used again once nobody looks at them: fresh pages for every picture cost more than the picture."""

from __future__ import annotations

import sys

import numpy as np


class ArrayPool:
    """Hands out arrays of one shape; each comes back by itself when the last reference to it is gone.

    Views, memory views and messages that a socket has not sent yet all count as references, so an
    array that is handed out again is seen by nobody. Its old content is not cleared. One thread takes.

    Args:
        shape: Of every array.
        most: Arrays kept; beyond it fresh ones are made and not kept.
    """

    def __init__(self, shape: tuple[int, ...], most: int = 16) -> None:
        self._shape = shape
        self._most = most
        self._arrays: list[np.ndarray] = [np.empty(shape, np.uint8)]
        self._references_when_free = self._references(0)

    def _references(self, position: int) -> int:
        return sys.getrefcount(self._arrays[position])

    def take(self) -> np.ndarray:
        """A writable uint8 array."""
        for position in range(len(self._arrays)):
            if self._references(position) == self._references_when_free:
                array = self._arrays[position]
                array.flags.writeable = True
                return array
        array = np.empty(self._shape, np.uint8)
        if len(self._arrays) < self._most:
            self._arrays.append(array)
        return array
