"""Each frame is counted once, at the end where that can be known."""

from __future__ import annotations

from capture.frame import Counters, Frame, FrameSet
from engine.account import MOST_EPOCHS, FrameAccount
from rigpose.pose import SyncInfo


def frame(seq: int, *, epoch: str = "e", queue_full: int = 0, camera: str = "a") -> Frame:
    counters = Counters(seq + 1, 0, seq + 1, queue_full)
    return Frame(camera, seq, None, "BGR8", 0, "schedule", 0, (4, 4), node_epoch=epoch, counters=counters)


def test_a_gap_is_lost_less_what_the_node_could_not_send() -> None:
    account = FrameAccount(["a"])
    account.received(frame(0))
    account.received(frame(6, queue_full=3))
    assert account.snapshot()["a"]["lost"] == 2


def test_a_restarted_node_begins_anew() -> None:
    account = FrameAccount(["a"])
    account.received(frame(9))
    account.received(frame(0, epoch="f"))
    counts = account.snapshot()["a"]
    assert counts["lost"] == 0 and counts["received"] == 2
    assert counts["epochs"]["e"]["seen"] == 10 and counts["epochs"]["f"]["seen"] == 1


def test_a_set_counts_for_the_cameras_that_are_in_it() -> None:
    account = FrameAccount(["a", "b"])
    account.used(FrameSet(("a", "b"), (frame(0), None), SyncInfo("trigger", 0, 0), 0, 0))
    account.skipped(frame(0, camera="b"), "stopping")
    snapshot = account.snapshot()
    assert (snapshot["a"]["used"], snapshot["b"]["used"], snapshot["b"]["stopping"]) == (1, 0, 1)


def test_a_node_that_starts_again_and_again_does_not_fill_the_memory() -> None:
    account = FrameAccount(["a"])
    for start in range(100):
        account.received(frame(0, epoch=f"e{start}"))
    epochs = account.snapshot()["a"]["epochs"]
    assert len(epochs) == MOST_EPOCHS and "e99" in epochs and "e0" not in epochs
