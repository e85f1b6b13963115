"""A source without a device, which makes its pictures: ahead of time, on the rig's schedule.

Live the frame of a tick is exposed at the tick's time and leaves then, neither earlier nor, when the
machine is too slow, ever later than one period: such ticks are skipped and counted ``lost_upstream``,
so that all cameras of a rig stay on the same ticks. Lossless there is no schedule: the next frame
comes as soon as the last one was taken.
"""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from capture.frame import Counters, Frame
from capture.sources.base import SourceConfig, StartClock, Tally
from rigpose.errors import RigposeError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_POLL_S = 0.1


class ScheduledConfig(SourceConfig):
    """Keys of every source that makes its pictures.

    Attributes:
        rate: Frames per second; by default what the pictures come from says.
        max_frames: End after this many ticks.
        ahead: Pictures made ahead.
    """

    rate: float | None = Field(None, gt=0, le=10_000)
    max_frames: int | None = Field(None, ge=1)
    ahead: int = Field(4, ge=1, le=64)


class ScheduledSource(ABC):
    """The schedule, the thread that makes pictures and the account of both; see the module.

    A subclass says what the pictures are: ``size``, ``rate``, ``n_frames``, ``prepare`` and the methods below.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Wait for the reader instead of keeping a schedule.
    """

    making: ClassVar[str]
    """What its thread does, for names and errors: ``decoding``, ``drawing``."""

    def __init__(self, camera: str, config: ScheduledConfig, *, lossless: bool = False) -> None:
        self.camera = camera
        self.lossless = lossless
        self.first_tick: int | None = None
        self._serial = config.serial
        self._tally = Tally()
        self._stop = threading.Event()
        self._ready: queue.Queue[tuple[int, np.ndarray] | RigposeError | None] = queue.Queue(config.ahead)
        self._thread: threading.Thread | None = None
        self._next = 0
        self._seq = 0

    # ------------------------------------------------------------------ what a subclass says

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures; known after ``prepare``."""

    @property
    @abstractmethod
    def rate(self) -> float:
        """Frames per second; known after ``prepare``."""

    @property
    @abstractmethod
    def n_frames(self) -> int | None:
        """Ticks until the end; ``None`` = endless."""

    @abstractmethod
    def prepare(self) -> None:
        """Do what takes long; see ``Source``."""

    @abstractmethod
    def _make(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """Ticks from ``first`` on and their pictures, until the end; live without those that would be too late."""

    @abstractmethod
    def _about(self, tick: int) -> dict[str, Any]:
        """What its frames say beside tick, time and counters: further fields of ``Frame``."""

    @property
    @abstractmethod
    def _origin(self) -> object:
        """The file that an error names."""

    def _first_tick(self, current: int) -> int:
        """The tick to begin with where the schedule has begun and ``current`` is the next one."""
        return current

    def _delay_ns(self, tick: int) -> int:
        """How much later than at its tick a frame leaves."""
        return 0

    def _gives(self, tick: int) -> bool:
        """Whether a frame whose time has come leaves at all."""
        return True

    # ------------------------------------------------------------------ a ``Source``

    @property
    def counters(self) -> Counters:
        """Ticks as ``exposed``, from the one at which it joined."""
        return self._tally.now

    def open(self, clock: StartClock) -> None:
        """Begin: at tick 0, or at the current tick where the schedule has begun already.

        Raises:
            ConfigError: As ``prepare``.
        """
        self.prepare()
        self._clock = clock if clock.period_ns else StartClock(clock.start_ns, round(1e9 / self.rate))
        current = 0 if self.lossless else self._clock.tick_at(now_ns()) + 1
        self._next = self.first_tick = self._first_tick(current) if current else 0
        self._thread = threading.Thread(target=self._make_all, name=f"{self.making} {self.camera}", daemon=True)
        self._thread.start()

    def read(self) -> Frame | None:
        """The next frame at its tick's time (lossless: at once); ``None`` = ended or stopped.

        Raises:
            RigposeError: The pictures cannot be made any more.
        """
        while (item := self._take()) is not None:
            tick, image = item
            delay_ns = self._delay_ns(tick)
            leaves_ns = self._clock.tick_ns(tick) + delay_ns
            wait_ns = delay_ns if self.lossless else leaves_ns - now_ns()
            if wait_ns > 0 and self._stop.wait(wait_ns / 1e9):
                return None
            # One that does not leave, or comes too late, is counted with the next one that leaves.
            if self._gives(tick) and (self.lossless or now_ns() <= leaves_ns + self._clock.period_ns):
                return self._frame(tick, image)
        return None

    def stop(self) -> None:
        """End a waiting ``read``."""
        self._stop.set()

    def close(self) -> None:
        """Stop making pictures."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ------------------------------------------------------------------ the reader's and the maker's thread

    def _take(self) -> tuple[int, np.ndarray] | None:
        while not self._stop.is_set():
            try:
                item = self._ready.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, RigposeError):
                raise item
            if item is None:
                self._stop.set()
                total = self.n_frames
                if total is not None and total > self._next:
                    self._tally.lost(total - self._next)
                    self._next = total
                return None
            return item
        return None

    def _frame(self, tick: int, image: np.ndarray) -> Frame:
        if tick > self._next:
            self._tally.lost(tick - self._next)
        counters = self._tally.seen()
        self._next = tick + 1
        seq, self._seq = self._seq, self._seq + 1
        return Frame(
            camera=self.camera,
            seq=seq,
            image=image,
            exposed_ns=self._clock.tick_ns(tick),
            exposed_from="arrival" if self.lossless else "schedule",
            host_ns=now_ns(),
            size=self.size,
            tick=tick,
            serial=self._serial,
            counters=counters,
            **self._about(tick),
        )

    def _make_all(self) -> None:
        try:
            for item in self._make(self._next):
                if not self._put(item):
                    return
            self._put(None)
        except RigposeError as error:
            self._put(error)
        except Exception as error:
            log.exception("%s for %s failed", self.making, self.camera)
            self._put(RigposeError(self._origin, f"{self.making} failed: {error}", "see the node's log"))

    def _put(self, item: tuple[int, np.ndarray] | RigposeError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False
