"""Between two threads: live the newest set wins, lossless none is lost."""

from __future__ import annotations

import threading

import pytest

from capture.frame import FrameSet
from engine.mailbox import Mailbox
from rigpose.pose import SyncInfo


def a_set(tick: int) -> FrameSet:
    return FrameSet(("a",), (None,), SyncInfo("trigger", 0, tick), 0, tick)


def test_a_newer_set_takes_the_place_of_one_that_waits_and_that_is_told() -> None:
    dropped: list[int] = []
    box = Mailbox(1, lambda frames: dropped.append(frames.tick))
    for tick in range(3):
        box.put(a_set(tick))
    taken = box.take(0)
    assert taken is not None and taken.tick == 2
    assert dropped == [0, 1] and box.take(0) is None


def test_a_lossless_mailbox_keeps_order_and_refuses_to_lose() -> None:
    box = Mailbox(2)
    box.put(a_set(0))
    assert not box.full
    box.put(a_set(1))
    assert box.full
    with pytest.raises(AssertionError):
        box.put(a_set(2))


def test_taking_waits_for_a_set_from_another_thread() -> None:
    box = Mailbox(1)
    threading.Timer(0.05, box.put, (a_set(7),)).start()
    taken = box.take(5)
    assert taken is not None and taken.tick == 7


def test_closing_wakes_who_waits_and_gives_back_what_nobody_will_take() -> None:
    box = Mailbox(2)
    box.put(a_set(0))
    assert [frames.tick for frames in box.close()] == [0]
    assert box.take(5) is None and box.closed
