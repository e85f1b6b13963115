"""A video file or image sequence as a camera.

Pictures are decoded ahead and leave at their tick, as ``capture.sources.scheduled`` says: frame
``tick`` of the rig's schedule (modulo the length, where it is looped).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from capture.sources.base import Facts
from capture.sources.pictures import OutputFormat, Pictures, RememberedPictures, open_pictures
from capture.sources.scheduled import ScheduledConfig, ScheduledSource
from rigpose.config import FilePath
from rigpose.errors import ConfigError
from rigpose.stamps import now_ns

_SEARCH = 2000
_FIRST_DECODE_NS = 10_000_000


class VideoConfig(ScheduledConfig):
    """A file that plays the camera.

    Attributes:
        file: A video, or a pattern of images such as ``frames/*.png``.
        loop: How often it plays; 0 = without end. ``max_frames`` counts all loops.
        pixel_format: NV12 is half the bytes of BGR8, and converted only where it is looked at.
        remember_mb: A looped clip that fits is decoded once and kept in memory; 0 = never.
    """

    real_camera: ClassVar[bool] = False  # nobody knows what a file shows

    kind: Literal["video"] = "video"
    file: FilePath
    loop: int = Field(1, ge=0)
    pixel_format: OutputFormat = "BGR8"
    remember_mb: int = Field(512, ge=0)

    def facts(self) -> Facts:
        """Size and rate, as the file and this section say them."""
        pictures = open_pictures(self.file, self.pixel_format)
        try:
            return Facts(pictures.size, self.rate or pictures.rate)
        finally:
            pictures.close()


class VideoSource(ScheduledSource):
    """See the module; a ``Source``.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Wait for the reader instead of keeping a schedule.
    """

    Config = VideoConfig
    making = "decoding"

    def __init__(self, camera: str, config: VideoConfig, *, lossless: bool = False) -> None:
        super().__init__(camera, config, lossless=lossless)
        self.config = config
        self._pictures: Pictures | None = None
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
    def _opened(self) -> Pictures:
        if self._pictures is None:
            raise RuntimeError("the source is not open")
        return self._pictures

    @property
    def _origin(self) -> object:
        return self.config.file

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

    def close(self) -> None:
        """Stop decoding and close the file."""
        super().close()
        if self._pictures is not None:
            self._pictures.close()

    def _first_tick(self, current: int) -> int:
        # Joining late: begin where decoding can be in time, not where the schedule is now.
        return self._reachable(current)

    def _make(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        tick = first
        while not self._stop.is_set():
            total = self.n_frames
            if not self.lossless and now_ns() > self._clock.tick_ns(tick) + self._clock.period_ns:
                tick = self._reachable(tick + 1)
            if total is not None and tick >= total:
                return
            image = self._decode(tick)
            if image is not None:
                yield tick, image
            tick += 1

    def _about(self, tick: int) -> dict[str, Any]:
        pictures = self._opened
        return {"pixel_format": self.config.pixel_format, "video": pictures.name(tick % pictures.n)}

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
