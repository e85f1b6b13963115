"""A video file or image sequence as a camera.

Live it keeps the rig's schedule: frame ``tick`` (modulo the length, where it is looped) is exposed at
the tick's time and leaves then, neither earlier nor, when the machine is too slow, ever later than
one period: such ticks are skipped and counted ``lost_upstream``, so that all cameras of a rig stay on
the same ticks. Lossless it has no schedule: the next frame comes as soon as the last one was taken.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from capture.frame import Counters, Frame
from capture.sources.base import Facts, SourceConfig, StartClock, Tally
from capture.sources.pictures import OutputFormat, Pictures, RememberedPictures, open_pictures
from rigpose.config import FilePath
from rigpose.errors import ConfigError, RigposeError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_POLL_S = 0.1
_SEARCH = 2000
_FIRST_DECODE_NS = 10_000_000


class VideoConfig(SourceConfig):
    """A file that plays the camera.

    Attributes:
        file: A video, or a pattern of images such as ``frames/*.png``.
        rate: Frames per second to play at; by default the file's own.
        loop: How often it plays; 0 = without end.
        max_frames: End after this many frames, loops included.
        pixel_format: NV12 is half the bytes of BGR8, and converted only where it is looked at.
        ahead: Pictures decoded ahead.
        remember_mb: A looped clip that fits is decoded once and kept in memory; 0 = never.
    """

    real_camera: ClassVar[bool] = False  # nobody knows what a file shows

    kind: Literal["video"] = "video"
    file: FilePath
    rate: float | None = Field(None, gt=0, le=10_000)
    loop: int = Field(1, ge=0)
    max_frames: int | None = Field(None, ge=1)
    pixel_format: OutputFormat = "BGR8"
    ahead: int = Field(4, ge=1, le=64)
    remember_mb: int = Field(512, ge=0)

    def facts(self) -> Facts:
        """Size and rate, as the file and this section say them."""
        pictures = open_pictures(self.file, self.pixel_format)
        try:
            return Facts(pictures.size, self.rate or pictures.rate)
        finally:
            pictures.close()


class VideoSource:
    """See the module; a ``Source``.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Wait for the reader instead of keeping a schedule.
    """

    Config = VideoConfig

    def __init__(self, camera: str, config: VideoConfig, *, lossless: bool = False) -> None:
        self.camera = camera
        self.config = config
        self.lossless = lossless
        self.first_tick: int | None = None
        self._tally = Tally()
        self._stop = threading.Event()
        self._ready: queue.Queue[tuple[int, np.ndarray] | RigposeError | None] = queue.Queue(config.ahead)
        self._pictures: Pictures | None = None
        self._thread: threading.Thread | None = None
        self._next = 0
        self._seq = 0
        self._decode_ns = float(_FIRST_DECODE_NS)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self._opened.size

    @property
    def rate(self) -> float:
        """Frames per second, from the config or the file.

        Raises:
            ConfigError: Neither says it.
        """
        rate = self.config.rate or self._opened.rate
        if not rate:
            raise ConfigError(self.config.file, "does not say its frame rate", "set source.rate")
        return rate

    @property
    def n_frames(self) -> int | None:
        """Ticks until the end, loops included; ``None`` = endless."""
        total = self._opened.n * self.config.loop or None
        limits = [limit for limit in (total, self.config.max_frames) if limit is not None]
        return min(limits, default=None)

    @property
    def counters(self) -> Counters:
        """Ticks as ``exposed``, from the one at which it joined."""
        return self._tally.now

    @property
    def _opened(self) -> Pictures:
        if self._pictures is None:
            raise RuntimeError("the source is not open")
        return self._pictures

    def prepare(self) -> None:
        """Open the file, and decode it all where it is looped and fits into memory.

        To be called before the node says that it is ready, because it may take seconds.

        Raises:
            ConfigError: The file cannot be used.
        """
        if self._pictures is not None:
            return
        config = self.config
        pictures = open_pictures(config.file, config.pixel_format)
        looped = config.loop != 1 and (config.max_frames or pictures.n + 1) > pictures.n
        if looped and RememberedPictures.bytes_for(pictures, config.pixel_format) <= config.remember_mb * 10**6:
            pictures = RememberedPictures(pictures)
        self._pictures = pictures

    def open(self, clock: StartClock) -> None:
        """Begin to play: at tick 0, or at the current tick where the schedule has begun already.

        Raises:
            ConfigError: The file cannot be used.
        """
        self.prepare()
        self._clock = clock if clock.period_ns else StartClock(clock.start_ns, round(1e9 / self.rate))
        self._next = 0 if self.lossless else self._clock.tick_at(now_ns()) + 1
        if self._next and not self.lossless:
            # Joining late: begin where decoding can be in time, not where the schedule is now.
            self._next = self._reachable(self._next)
        self.first_tick = self._next
        self._thread = threading.Thread(target=self._decode_all, name=f"decode {self.camera}", daemon=True)
        self._thread.start()

    def read(self) -> Frame | None:
        """The next frame at its tick's time (lossless: at once); ``None`` = ended or stopped.

        Raises:
            RigposeError: The file went bad.
        """
        while (item := self._take()) is not None:
            tick, image = item
            due = self._clock.tick_ns(tick)
            if not self.lossless:
                wait_s = (due - now_ns()) / 1e9
                if wait_s > 0 and self._stop.wait(wait_s):
                    return None
                if now_ns() > due + self._clock.period_ns:
                    continue  # counted with the next one that leaves
            return self._frame(tick, image, due)
        return None

    def stop(self) -> None:
        """End a waiting ``read``."""
        self._stop.set()

    def close(self) -> None:
        """Stop decoding and close the file."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pictures is not None:
            self._pictures.close()

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

    def _frame(self, tick: int, image: np.ndarray, due_ns: int) -> Frame:
        if tick > self._next:
            self._tally.lost(tick - self._next)
        counters = self._tally.seen()
        self._next = tick + 1
        seq, self._seq = self._seq, self._seq + 1
        pictures = self._opened
        return Frame(
            camera=self.camera,
            seq=seq,
            image=image,
            pixel_format=self.config.pixel_format,
            exposed_ns=due_ns,
            exposed_from="arrival" if self.lossless else "schedule",
            host_ns=now_ns(),
            size=pictures.size,
            tick=tick,
            serial=self.config.serial,
            video=pictures.name(tick % pictures.n),
            counters=counters,
        )

    def _decode_all(self) -> None:
        """The decoding thread: pictures in the order of ticks, until the end or ``stop``."""
        try:
            tick = self._next
            while not self._stop.is_set():
                total = self.n_frames
                if not self.lossless and now_ns() > self._clock.tick_ns(tick) + self._clock.period_ns:
                    tick = self._reachable(tick + 1)
                if total is not None and tick >= total:
                    break
                image = self._decode(tick)
                if image is not None and not self._put((tick, image)):
                    return
                tick += 1
            self._put(None)
        except RigposeError as error:
            self._put(error)
        except Exception as error:
            log.exception("decoding %s failed", self.config.file)
            self._put(RigposeError(self.config.file, f"decoding failed: {error}", "see the node's log"))

    def _decode(self, tick: int) -> np.ndarray | None:
        pictures = self._opened
        index = tick % pictures.n
        steps = pictures.steps(index)
        begin = now_ns()
        image = pictures.read(index)
        if steps:
            self._decode_ns += 0.2 * ((now_ns() - begin) / steps - self._decode_ns)
        return image

    def _reachable(self, least: int) -> int:
        """The first tick from ``least`` on whose picture can be decoded in time, by what decoding took so far.

        Where decoding is slower than playing, that is one behind the next key frame, or in the next round.
        """
        pictures = self._opened
        now = now_ns()
        best, best_late = least, None
        for tick in range(max(least, self._clock.tick_at(now) + 1), max(least, self._clock.tick_at(now) + 1) + _SEARCH):
            late = now + pictures.steps(tick % pictures.n) * self._decode_ns - self._clock.tick_ns(tick)
            if late <= 0:
                return tick
            if best_late is None or late < best_late:
                best, best_late = tick, late
        return best

    def _put(self, item: tuple[int, np.ndarray] | RigposeError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False
