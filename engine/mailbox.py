"""How a frame set gets from the thread that receives to the thread that solves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from capture.frame import FrameSet


class Mailbox:
    """A bounded place for frame sets between two threads.

    Live it has one slot, and a newer set takes the place of one that still waits, which is counted;
    lossless it has a few, and ``full`` tells the receiver to take nothing more from the sockets.

    Args:
        slots: Sets that may wait.
        superseded: Called with each set whose place was taken; ``None`` = that must not happen.
    """

    def __init__(self, slots: int = 1, superseded: Callable[[FrameSet], None] | None = None) -> None:
        self._slots = slots
        self._superseded = superseded
        self._waiting: deque[FrameSet] = deque()
        self._condition = threading.Condition()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether another set would not fit."""
        with self._condition:
            return len(self._waiting) >= self._slots

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        with self._condition:
            return self._closed

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._condition:
            return not self._waiting

    def put(self, frames: FrameSet) -> None:
        """Leave a set; the oldest waiting one makes room."""
        with self._condition:
            dropped = self._waiting.popleft() if len(self._waiting) >= self._slots else None
            self._waiting.append(frames)
            self._condition.notify()
        if dropped is not None:
            assert self._superseded is not None, "a lossless mailbox was filled beyond its slots"
            self._superseded(dropped)

    def take(self, wait_s: float) -> FrameSet | None:
        """The oldest waiting set; ``None`` = nothing came in time, or closed and empty."""
        with self._condition:
            if not self._waiting and not self._closed:
                self._condition.wait(wait_s)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> list[FrameSet]:
        """Take nothing more; gives back what nobody will solve."""
        with self._condition:
            self._closed = True
            rest = list(self._waiting)
            self._waiting.clear()
            self._condition.notify_all()
        return rest
