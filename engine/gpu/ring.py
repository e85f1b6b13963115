"""A ring of host buffers that frames are written into, page-locked where a GPU reads them.

Page-locked memory is scarce, so that the ring is of fixed size and is allocated once. A slot holds one frame set; the
receiver writes each view straight into its place, and a slot is used again when the GPU has read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

Allocate = Callable[[int], "UInt8[np.ndarray, ' n']"]
"""Gives so many bytes of host memory."""
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

    Attributes:
        slots: All of them.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], slots: int = 3, allocate: Allocate | None = None) -> None:
        allocate = allocate or (lambda count: np.empty(count, np.uint8))
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])
        self.slots: list[Slot] = []
        for index in range(slots):
            memory = allocate(int(starts[-1]))
            views = tuple(
                memory[start : start + size].reshape(shape)
                for start, size, shape in zip(starts[:-1].tolist(), sizes, shapes, strict=True)
            )
            self.slots.append(Slot(index, views))
        self._next = 0

    def __len__(self) -> int:
        return len(self.slots)

    def take(self) -> Slot | None:
        """The next slot that can be written; ``None`` = the GPU still reads all of them."""
        for step in range(len(self.slots)):
            slot = self.slots[(self._next + step) % len(self.slots)]
            if slot.free:
                slot.gate = None
                self._next = (slot.index + 1) % len(self.slots)
                return slot
        return None
