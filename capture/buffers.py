"""Memory of a reader's own choice, into which pictures are received.

A GPU copies from page-locked memory several times faster than from any other, and without a processor. A receiver of
frames that is given a `BufferPool` writes each picture there as it takes it from its socket, so that nobody has to copy
it again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from jaxtyping import UInt8

log = logging.getLogger(__name__)

Allocate = Callable[[int], "UInt8[np.ndarray, ' n']"]
"""Gives so many bytes of host memory."""


class _Lease:
    """Owns the arrays on a buffer: with the last of them it goes, and the buffer is free."""

    def __init__(self, pool: BufferPool, buffer: np.ndarray, free: deque[np.ndarray]) -> None:
        self.pool, self._buffer, self._free = pool, buffer, free
        self.__array_interface__: dict[str, Any] = buffer.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._buffer)


class _Shelf:
    """The buffers of one camera."""

    def __init__(self, size: int) -> None:
        self.size, self.made = size, 0
        self.free: deque[np.ndarray] = deque()


class BufferPool:
    """A fixed number of buffers a camera, each used again when no array on it is left.

    One thread takes; arrays may be let go in any.

    Args:
        allocate: Where the memory is from; called when a buffer is first needed, in the thread that takes.
        buffers: Most for one camera. Such memory is scarce.
        formats: Of pictures that are wanted in it; ``None`` = all.

    Attributes:
        written: Called with each picture that is whole, in the thread that takes; it must not wait.
    """

    def __init__(self, allocate: Allocate, buffers: int = 6, formats: Collection[str] | None = None) -> None:
        self.written: Callable[[np.ndarray], None] | None = None
        self._allocate, self._most = allocate, buffers
        self._formats = None if formats is None else frozenset(formats)
        self._shelves: dict[str, _Shelf] = {}
        self._exhausted = False

    def wants(self, pixel_format: str) -> bool:
        """Whether pictures of a format are wanted; others stay where they are."""
        return self._formats is None or pixel_format in self._formats

    def take(self, camera: str, size: int) -> UInt8[np.ndarray, " size"] | None:
        """A buffer to be written; ``None`` = all are in use, or there is no more such memory.

        Args:
            camera: Whose picture it is for.
            size: Bytes.
        """
        shelf = self._shelves.get(camera)
        if shelf is None or shelf.size < size:
            # Buffers of a smaller size that are still in use go with the shelf that they return to.
            shelf = self._shelves[camera] = _Shelf(size)
        try:
            buffer = shelf.free.popleft()
        except IndexError:
            if shelf.made == self._most or (made := self._new(shelf.size)) is None:
                return None
            buffer, shelf.made = made, shelf.made + 1
        return np.asarray(_Lease(self, buffer, shelf.free))[:size]

    def _new(self, size: int) -> np.ndarray | None:
        if self._exhausted:
            return None
        try:
            return self._allocate(size)
        except Exception as error:  # noqa: BLE001 - of whatever library it is: pictures stay where they are received
            self._exhausted = True
            log.warning("no more memory for pictures that a GPU reads (%s); they are copied once more instead", error)
            return None

    def holds(self, array: np.ndarray) -> bool:
        """Whether an array lies in a buffer of this pool, in one piece."""
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        return isinstance(base, _Lease) and base.pool is self and array.flags.c_contiguous
