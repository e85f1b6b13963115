"""A source that makes its pictures keeps the schedule, whatever the pictures are; here they are numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from capture.frame import Frame
from capture.sources.base import StartClock
from capture.sources.scheduled import ScheduledConfig, ScheduledSource
from rigpose.errors import RigposeError
from rigpose.stamps import now_ns

RATE = 100.0
PERIOD = round(1e9 / RATE)


class Numbers(ScheduledSource):
    """Gives its ticks as pictures; ``before`` is called before each is made."""

    making = "counting"
    size = (4, 3)  # type: ignore[assignment]
    rate = RATE  # type: ignore[assignment]
    _origin = "the numbers"  # type: ignore[assignment]

    def __init__(self, n: int | None, *, lossless: bool = False, before: Callable[[int], None] | None = None) -> None:
        super().__init__("cam", ScheduledConfig(kind="numbers"), lossless=lossless)
        self._n = n
        self._before = before or (lambda _: None)
        self.delays: dict[int, int] = {}
        self.withheld: set[int] = set()
        self.joined_at: int | None = None

    @property
    def n_frames(self) -> int | None:
        return self._n

    def prepare(self) -> None:
        pass

    def _make(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        tick = first
        while self._n is None or tick < self._n:
            self._before(tick)
            yield tick, np.full((3, 4, 3), tick, np.uint8)
            tick += 1

    def _about(self, tick: int) -> dict[str, Any]:
        return {"pixel_format": "BGR8"}

    def _first_tick(self, current: int) -> int:
        self.joined_at = current
        return current + 2

    def _delay_ns(self, tick: int) -> int:
        return self.delays.get(tick, 0)

    def _gives(self, tick: int) -> bool:
        return tick not in self.withheld


def play(source: Numbers, start_ns: int | None = None) -> list[tuple[Frame, int]]:
    """Every frame and when it left."""
    source.open(StartClock(now_ns() if start_ns is None else start_ns, PERIOD))
    frames = []
    try:
        while (frame := source.read()) is not None:
            frames.append((frame, now_ns()))
    finally:
        source.close()
    return frames


def test_each_frame_leaves_at_its_tick_and_says_so() -> None:
    start_ns = now_ns() + 50_000_000
    played = play(Numbers(20), start_ns)
    assert played[0][0].tick == 0 and played[-1][0].tick is not None
    for number, (frame, left_ns) in enumerate(played):
        assert frame.tick is not None and frame.seq == number
        assert frame.exposed_ns == start_ns + frame.tick * PERIOD <= left_ns
        assert frame.exposed_from == "schedule" and frame.image is not None and (frame.image == frame.tick).all()


def test_whoever_comes_late_joins_where_it_can() -> None:
    source = Numbers(60)
    played = play(source, now_ns() - 30 * PERIOD)
    assert source.joined_at is not None and source.joined_at >= 31
    assert source.first_tick == source.joined_at + 2
    assert source.counters.exposed == 60 - source.first_tick, "what was before it joined is not its own"
    assert played[0][0].tick is not None and played[0][0].tick >= source.first_tick


def test_what_is_made_too_late_is_skipped_and_counted() -> None:
    source = Numbers(40, before=lambda tick: time.sleep(20 * PERIOD / 1e9) if tick == 5 else None)
    played = play(source, now_ns() + 50_000_000)
    ticks = [frame.tick or 0 for frame, _ in played]
    assert 5 not in ticks and ticks == sorted(set(ticks))
    assert all(frame.host_ns - frame.exposed_ns < 5 * PERIOD for frame, _ in played)
    counters = source.counters
    assert counters.exposed == 40 and counters.lost_upstream == 40 - len(played) and counters.seen == len(played)


def test_a_delayed_frame_leaves_later_and_a_withheld_one_never() -> None:
    source = Numbers(10)
    source.delays = {9: 5 * PERIOD}
    source.withheld = {3}
    played = {frame.tick: left - frame.exposed_ns for frame, left in play(source, now_ns() + 20_000_000)}
    assert 3 not in played and played[9] >= 5 * PERIOD
    assert source.counters.lost_upstream >= 1


def test_the_last_frames_count_where_they_never_left() -> None:
    source = Numbers(10, lossless=True)
    source.withheld = {8, 9}
    assert len(play(source)) == 8
    assert (source.counters.exposed, source.counters.lost_upstream) == (10, 2)


def test_lossless_nothing_waits_and_nothing_is_lost() -> None:
    begin = time.monotonic()
    played = play(Numbers(200, lossless=True))
    assert [frame.tick for frame, _ in played] == list(range(200))
    assert {frame.exposed_from for frame, _ in played} == {"arrival"}
    assert time.monotonic() - begin < 200 / RATE


def test_a_failure_is_one_line_that_names_where() -> None:
    def fail(tick: int) -> None:
        if tick == 2:
            raise ZeroDivisionError("no such number")

    source = Numbers(9, lossless=True, before=fail)
    with pytest.raises(RigposeError, match=r"the numbers: counting failed: no such number"):
        play(source)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_waiting_read_ends_when_told(end: str) -> None:
    source = Numbers(None)
    source.open(StartClock(now_ns() + 60 * 10**9, PERIOD))
    threading.Timer(0.05, getattr(source, end)).start()
    begin = time.monotonic()
    assert source.read() is None
    assert time.monotonic() - begin < 5
    source.close()
