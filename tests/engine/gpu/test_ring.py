"""Slots are written in turn, and none that a GPU still reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.gpu.ring import Ring


class Event:
    """As CUDA's."""

    def __init__(self, passed=False):
        self.passed = passed

    def query(self):
        return self.passed


def taken(ring) -> Any:
    """A slot, or ``None``."""
    return ring.take()


def test_each_view_is_an_array_of_its_own_in_one_piece_of_memory():
    asked = []

    def allocate(count):
        asked.append(count)
        return np.zeros(count, np.uint8)

    ring = Ring([(4, 6, 3), (5, 7)], slots=2, allocate=allocate)
    slot = taken(ring)
    assert [view.shape for view in slot.views] == [(4, 6, 3), (5, 7)]
    slot.views[0][...] = 7
    assert not slot.views[1].any()
    assert all(view.base is slot.views[0].base for view in slot.views)
    assert all(view.flags.c_contiguous for view in slot.views)
    # No slot is made before it is needed, and none beyond their number.
    assert len(asked) == 1 and len(ring) == 2
    for _ in range(3):
        taken(ring)
    assert len(asked) == 2


def test_slots_take_turns_and_busy_ones_are_passed_over():
    ring = Ring([(2, 2)], slots=3)
    first, second, third = taken(ring), taken(ring), taken(ring)
    assert [slot.index for slot in (first, second, third)] == [0, 1, 2]
    first.gate, third.gate = Event(), Event()
    assert taken(ring) is second
    second.gate = Event()
    assert taken(ring) is None
    first.gate.passed = True
    assert taken(ring) is first and first.gate is None


def test_writing_one_slot_leaves_the_others():
    ring = Ring([(3, 3)], slots=2)
    one, other = taken(ring), taken(ring)
    one.views[0][...], other.views[0][...] = 1, 2
    assert one.views[0].sum() == 9
