"""How a node learns that it should end: a signal, or the death of the process that started it."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

PARENT_VARIABLE = "RIGPOSE_PARENT"
"""Tells a node the process that started it: one that dies early is somebody else's child when it looks."""
_PR_SET_PDEATHSIG = 1
_CHECK_S = 0.5


def is_orphan() -> bool:
    """Whether the process that started this one as a node is gone; a process that is no node is none."""
    return PARENT_VARIABLE in os.environ and os.getppid() != int(os.environ[PARENT_VARIABLE])


def end_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop`` on SIGTERM and when the parent process is gone, so that no node is left behind.

    Linux sends the signal itself the moment the parent dies; elsewhere, and where that comes too late,
    a thread looks twice a second. One that is gone before this is called counts as well, where it
    stands in ``PARENT_VARIABLE``.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, os.getppid()))
    # A parent with threads dies in steps, and each sends the signal. A second one interrupts whatever the first
    # has begun, so the handler takes no lock: `stop` runs in the thread, once.
    told: queue.SimpleQueue[None] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: told.put(None))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent:
            try:
                told.get(timeout=_CHECK_S)
                break
            except queue.Empty:
                pass
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
