"""A pool hands out a fixed number of buffers a camera, and none that an array still lies in."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from capture.buffers import BufferPool


class Memory:
    """What is allocated, and how often."""

    def __init__(self, most: int = 100) -> None:
        self.asked: list[int] = []
        self._most = most

    def __call__(self, count: int) -> np.ndarray:
        if len(self.asked) == self._most:
            raise MemoryError("no more pages")
        self.asked.append(count)
        return np.zeros(count, np.uint8)


def test_a_buffer_is_free_when_its_last_array_is_gone() -> None:
    memory = Memory()
    pool = BufferPool(memory, buffers=2)
    first, second = pool.take("a", 12), pool.take("a", 12)
    assert first is not None and second is not None and not np.shares_memory(first, second)
    assert pool.take("a", 12) is None and pool.take("b", 12) is not None
    # A view of a view, of another type and shape, holds it, too.
    part = first.view(np.uint16).reshape(2, 3)[1:]
    del first
    gc.collect()
    assert pool.take("a", 12) is None
    address = part.ctypes.data - 6
    del part
    again = pool.take("a", 12)
    assert again is not None and again.ctypes.data == address
    assert memory.asked == [12, 12, 12]


def test_a_camera_may_begin_to_send_larger_pictures() -> None:
    pool = BufferPool(Memory(), buffers=1)
    small = pool.take("a", 4)
    large = pool.take("a", 9)
    assert small is not None and large is not None and len(large) == 9
    del small
    assert pool.take("a", 9) is None, "the small buffer does not come back as a large one"
    del large
    shorter = pool.take("a", 4)
    assert shorter is not None and len(shorter) == 4


def test_it_knows_its_arrays() -> None:
    pool, other = BufferPool(Memory()), BufferPool(Memory())
    array = pool.take("a", 12)
    assert array is not None
    assert pool.holds(array) and pool.holds(array.view(np.uint16).reshape(2, 3)) and pool.holds(array[4:])
    assert not pool.holds(array[::2]), "a copy of that is not one piece"
    assert not other.holds(array) and not pool.holds(array.copy()) and not pool.holds(np.zeros(3))


def test_without_memory_it_gives_none_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    pool = BufferPool(Memory(most=1), buffers=3)
    held = [pool.take("a", 4) for _ in range(3)]
    assert held[0] is not None and held[1:] == [None, None]
    assert sum("no more pages" in record.message for record in caplog.records) == 1
    del held
    assert pool.take("a", 4) is not None


def test_arrays_may_be_let_go_in_another_thread() -> None:
    pool = BufferPool(Memory(), buffers=4)
    waiting: list[np.ndarray] = []
    lock, done = threading.Condition(), threading.Event()

    def let_go() -> None:
        while not done.is_set() or waiting:
            with lock:
                lock.wait_for(lambda: bool(waiting) or done.is_set(), 1.0)
                if waiting:
                    array = waiting.pop()
                    assert (array == array[0]).all(), "someone else wrote into it"
                    del array

    thread = threading.Thread(target=let_go)
    thread.start()
    taken = 0
    end = time.monotonic() + 10
    while taken < 500 and time.monotonic() < end:
        array = pool.take("a", 64)
        if array is None:
            time.sleep(0.0002)
            continue
        taken += 1
        array[:] = taken % 256
        with lock:
            waiting.append(array)
            lock.notify()
        del array
    done.set()
    with lock:
        lock.notify()
    thread.join(10)
    assert taken == 500 and not thread.is_alive()
