"""What every source of frames does, and how one is found by its kind.

A source knows one device or file and nothing of sockets, rigs or sessions. It stamps and counts its
own frames; the camera node opens it, reads until ``None``, and sends.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from capture.frame import Counters, Frame
from rigpose.config import Config
from rigpose.errors import ConfigError, MissingError
from rigpose.stamps import now_ns

ENTRY_POINTS = "rigpose.sources"
BUILT_IN = {
    "video": "capture.sources.video:VideoSource",
    "webcam": "capture.sources.webcam:WebcamSource",
    "virtual": "capture.sources.virtual:VirtualSource",
}


@dataclass(frozen=True, slots=True)
class StartClock:
    """The schedule that all cameras of a rig share, so that a restarted node joins at the current tick.

    Attributes:
        start_ns: Tick 0 on the host's monotonic clock.
        period_ns: Between ticks; 0 = each source keeps its own rate.
    """

    start_ns: int
    period_ns: int = 0

    def tick_ns(self, tick: int) -> int:
        """When a tick is."""
        return self.start_ns + tick * self.period_ns

    def tick_at(self, ns: int) -> int:
        """The last tick at or before a moment; -1 before the start."""
        return -1 if ns < self.start_ns else (ns - self.start_ns) // self.period_ns

    @classmethod
    def now(cls, rate: float, delay_s: float = 0.0) -> StartClock:
        """A schedule at ``rate`` per second that begins ``delay_s`` from now."""
        return cls(now_ns() + round(delay_s * 1e9), round(1e9 / rate))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a source's pictures; ``None`` = not before it is opened.

    Attributes:
        size: (width, height) px.
        rate: Frames per second.
    """

    size: tuple[int, int] | None = None
    rate: float | None = None


class SourceConfig(Config):
    """The ``source`` section of a camera; each kind adds its own keys.

    Attributes:
        kind: Which source: ``video``, ``webcam`` or the name of a plug-in.
        serial: Serial number that stands in every frame, where the device does not tell its own.
        real_camera: Whether its pictures are surely of the real world; a plug-in's are, unless it says otherwise.
    """

    real_camera: ClassVar[bool] = True

    kind: str
    serial: str = ""

    def facts(self) -> Facts:
        """What is known before the source is opened; overridden where a file tells it.

        Raises:
            ConfigError: The file cannot be used.
        """
        return Facts()


class Source(Protocol):
    """One device or file that gives frames.

    A source is made from its config, opened once, read by one thread and closed; ``close`` and
    ``stop`` may come from another thread and end a waiting ``read``.

    Attributes:
        Config: The model of its section.
        size: (width, height) of its pictures; known after ``prepare``.
        rate: Frames per second that it gives; known after ``prepare``.
        n_frames: Frames until it ends; ``None`` = endless or unknown.
        counters: What it has counted.
        first_tick: The tick of its first frame; ``None`` before there is one, or when it has no ticks.
    """

    Config: type[SourceConfig]

    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def rate(self) -> float: ...  # noqa: D102

    @property
    def n_frames(self) -> int | None: ...  # noqa: D102

    @property
    def counters(self) -> Counters: ...  # noqa: D102

    @property
    def first_tick(self) -> int | None: ...  # noqa: D102

    def prepare(self) -> None:
        """Reach the device and do what takes long, before the node says that it is ready.

        After it ``size``, ``rate`` and ``n_frames`` are known. Called by ``open`` where it was not before.

        Raises:
            ConfigError: What the config names cannot be used.
            MissingError: The device is not there.
        """

    def open(self, clock: StartClock) -> None:
        """Begin, on the rig's schedule.

        Raises:
            ConfigError: What the config names cannot be used.
            MissingError: The device is not there.
        """

    def read(self) -> Frame | None:
        """The next frame, waiting for it; ``None`` = the source has ended or was closed.

        Raises:
            RigposeError: The device failed for good.
        """

    def stop(self) -> None:
        """End a waiting ``read``; the next one answers ``None``."""

    def close(self) -> None:
        """Let go of the device."""


def create(camera: str, config: Any, *, lossless: bool = False, where: object = "source") -> Source:
    """The source of a camera.

    Args:
        camera: Name of the camera in the rig; stands in its frames.
        config: A mapping of the section ``source``, or a checked ``SourceConfig``.
        lossless: Files wait for their reader instead of keeping a schedule.
        where: What an error names.

    Raises:
        ConfigError: The kind is not known (it lists those that are), or a key is wrong.
        MissingError: A plug-in cannot be loaded.
    """
    kind = config.kind if isinstance(config, SourceConfig) else (config or {}).get("kind")
    source = find(kind, where)
    return source(camera, check(config, where), lossless=lossless)


def check(config: Any, where: object = "source", base: Any = None) -> SourceConfig:
    """A ``source`` section as the config of its kind; paths are relative to ``base``.

    Raises:
        ConfigError: As ``create``.
    """
    from rigpose.config import validate

    if isinstance(config, SourceConfig):
        return config
    if not isinstance(config, dict):
        raise ConfigError(where, "is not a mapping of keys to values", f"give kind: {' | '.join(known())} and its keys")
    return validate(config, find(config.get("kind"), where).Config, where, base)


def known() -> tuple[str, ...]:
    """The kinds of sources on this machine."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))}))


def find(kind: object, where: object = "source") -> Any:
    """The class of a kind of source, imported only now.

    Raises:
        ConfigError: Not known.
        MissingError: It is known, but cannot be imported.
    """
    path = BUILT_IN.get(kind) if isinstance(kind, str) else None
    if path is None:
        for point in entry_points(group=ENTRY_POINTS):
            if point.name == kind:
                path = point.value
    if path is None:
        raise ConfigError(where, f"kind {kind!r} is not known", f"known are: {', '.join(known())}")
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MissingError(where, f"source kind {kind!r} cannot be loaded: {error}", "install what it needs") from None


class Tally:
    """The counters of a source, safe to read from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters = Counters()

    @property
    def now(self) -> Counters:
        """What was counted until now."""
        with self._lock:
            return self._counters

    def seen(self) -> Counters:
        """Count a frame that was exposed and seen."""
        return self._add(1, 0, 1)

    def lost(self, frames: int = 1) -> Counters:
        """Count frames that were exposed and never reached the node."""
        return self._add(frames, frames, 0)

    def _add(self, exposed: int, lost: int, seen: int) -> Counters:
        with self._lock:
            old = self._counters
            self._counters = Counters(old.exposed + exposed, old.lost_upstream + lost, old.seen + seen)
            return self._counters
