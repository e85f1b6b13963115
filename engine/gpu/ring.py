"""A ring of host buffers for pictures that were not received into page-locked memory (`capture.buffers`).

Page-locked memory is scarce, so that the ring has a fixed number of slots and makes one only when it is needed. A slot
holds one frame set, and is used again when the GPU has read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from capture.buffers import Allocate

_ALIGNED = 256


class Gate(Protocol):
    """What says whether a GPU has passed a point: an event of CUDA."""

    def query(self) -> bool:
        """Whether it has."""
        ...


class Slot:
    """Room for one frame set.

    Attributes:
        index: Its number in the ring.
        views: An array for each view, to be written.
    """

    def __init__(self, index: int, views: tuple[np.ndarray, ...]) -> None:
        self.index, self.views = index, views
        self.gate: Gate | None = None

    @property
    def free(self) -> bool:
        """Whether nobody reads it any more."""
        return self.gate is None or self.gate.query()


class Ring:
    """Slots, used in turn.

    Args:
        shapes: (H, W) or (H, W, 3) of each view's pictures.
        slots: How many frame sets may be under way.
        allocate: Where the memory is from; ordinary memory where left out.

    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], slots: int = 3, allocate: Allocate | None = None) -> None:
        self._allocate: Allocate = allocate or (lambda count: np.empty(count, np.uint8))
        self._shapes, self._most = list(shapes), slots
        self._slots: list[Slot] = []
        self._next = 0

    def __len__(self) -> int:
        return self._most

    def take(self) -> Slot | None:
        """The next slot that can be written; ``None`` = the GPU still reads all of them."""
        if len(self._slots) < self._most:
            self._slots.append(self._new(len(self._slots)))
            return self._slots[-1]
        for step in range(len(self._slots)):
            slot = self._slots[(self._next + step) % len(self._slots)]
            if slot.free:
                slot.gate = None
                self._next = (slot.index + 1) % len(self._slots)
                return slot
        return None

    def _new(self, index: int) -> Slot:
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])
        memory = self._allocate(int(starts[-1]))
        views = tuple(
            memory[start : start + size].reshape(shape)
            for start, size, shape in zip(starts[:-1].tolist(), sizes, self._shapes, strict=True)
        )
        return Slot(index, views)
