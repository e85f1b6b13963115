"""A camera that does not exist: draws what it would see of a scenario's world.

Pictures are drawn ahead and leave at their tick, never before it; one that comes more than a period
late is skipped and counted ``lost_upstream``, so that all cameras of a rig stay on the same ticks.
The middle of a picture's exposure is its tick: frame ``tick`` shows the world at ``tick`` periods,
whoever draws it. Lossless there is no schedule: the next frame comes as soon as the last was taken.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from capture.frame import Counters, Frame
from capture.sources.base import Facts, SourceConfig, StartClock, Tally
from capture.virtual.faults import EXIT_CODE, Faults
from capture.virtual.scenario import RingSection, Scenario, load_scenario
from capture.virtual.world import World
from rigpose.config import FilePath
from rigpose.errors import ConfigError, RigposeError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_POLL_S = 0.1
_FIRST_DRAWING_NS = 5_000_000


class VirtualConfig(SourceConfig):
    """A camera of a scenario.

    Attributes:
        scenario: The scenario's file.
        camera: Its name there; by default that of the camera in the rig.
        seed: Which sample of the scenario; by default the scenario's own.
        rate: Frames per second; by default the scenario's.
        max_frames: End after this many ticks; by default there is no end.
        ahead: Pictures drawn ahead.
    """

    real_camera: ClassVar[bool] = False

    kind: Literal["virtual"] = "virtual"
    scenario: FilePath
    camera: str | None = None
    seed: int | None = Field(None, ge=0)
    rate: float | None = Field(None, gt=0, le=10_000)
    max_frames: int | None = Field(None, ge=1)
    ahead: int = Field(4, ge=1, le=64)

    def facts(self) -> Facts:
        """The rate, and the size where all cameras of the scenario have one."""
        scenario = load_scenario(self.scenario)
        sections = [scenario.cameras] if isinstance(scenario.cameras, RingSection) else scenario.cameras
        sizes = {
            section.size
            for section in sections
            if isinstance(section, RingSection) or self.camera is None or section.name == self.camera
        }
        return Facts(sizes.pop() if len(sizes) == 1 else None, self.rate or scenario.rate)


class VirtualSource:
    """See the module; a ``Source``.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Wait for the reader instead of keeping a schedule.
    """

    Config = VirtualConfig

    def __init__(self, camera: str, config: VirtualConfig, *, lossless: bool = False) -> None:
        self.camera = camera
        self.config = config
        self.lossless = lossless
        self.first_tick: int | None = None
        self._tally = Tally()
        self._stop = threading.Event()
        self._ready: queue.Queue[tuple[int, np.ndarray] | RigposeError | None] = queue.Queue(config.ahead)
        self._world: World | None = None
        self._thread: threading.Thread | None = None
        self._next = 0
        self._seq = 0
        self._drawing_ns = float(_FIRST_DRAWING_NS)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self._made.cameras[self._view].size

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.config.rate or self._made.scenario.rate

    @property
    def n_frames(self) -> int | None:
        """Ticks until the end; ``None`` = endless."""
        return self.config.max_frames

    @property
    def counters(self) -> Counters:
        """Ticks as ``exposed``, from the one at which it joined."""
        return self._tally.now

    @property
    def _made(self) -> World:
        if self._world is None:
            raise RuntimeError("the source is not open")
        return self._world

    def prepare(self) -> None:
        """Make the world and draw one picture, so that the first ones of the run are in time.

        Raises:
            ConfigError: The scenario cannot be used, or has no such camera.
        """
        if self._world is not None:
            return
        scenario = load_scenario(self.config.scenario)
        name = self.config.camera or self.camera
        self._view = _view(scenario, name, self.config)
        world = World(scenario, self.config.seed)
        self._faults = Faults(scenario.faults.get(name), world.seed, self._view)
        world.render(self._view, 0.0)
        self._world = world

    def open(self, clock: StartClock) -> None:
        """Begin: at tick 0, or at the current tick where the schedule has begun already.

        Raises:
            ConfigError: The scenario cannot be used.
        """
        self.prepare()
        self._clock = clock if clock.period_ns else StartClock(clock.start_ns, round(1e9 / self.rate))
        self._next = 0 if self.lossless else self._clock.tick_at(now_ns()) + 1
        self.first_tick = self._next
        self._thread = threading.Thread(target=self._draw_all, name=f"draw {self.camera}", daemon=True)
        self._thread.start()

    def read(self) -> Frame | None:
        """The next frame at its tick's time (lossless: at once); ``None`` = ended or stopped.

        Raises:
            RigposeError: Drawing failed.
        """
        while (item := self._take()) is not None:
            tick, image = item
            stall_ns = round(self._faults.stall_ms(tick) * 1e6)
            leaves = self._clock.tick_ns(tick) + stall_ns
            if self.lossless:
                if stall_ns and self._stop.wait(stall_ns / 1e9):
                    return None
            else:
                wait_s = (leaves - now_ns()) / 1e9
                if wait_s > 0 and self._stop.wait(wait_s):
                    return None
            if self._faults.dies(tick):
                log.warning("%s dies at tick %d, as the scenario says", self.camera, tick)
                logging.shutdown()
                os._exit(EXIT_CODE)
            if not self.lossless and now_ns() > leaves + self._clock.period_ns:
                continue  # counted with the next one that leaves
            if self._faults.drops(tick):
                continue
            return self._frame(tick, image)
        return None

    def stop(self) -> None:
        """End a waiting ``read``."""
        self._stop.set()

    def close(self) -> None:
        """Stop drawing."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

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
        world, exposed_ns = self._made, self._clock.tick_ns(tick)
        return Frame(
            camera=self.camera,
            seq=seq,
            image=image,
            pixel_format="BGR8",
            exposed_ns=exposed_ns,
            exposed_from="arrival" if self.lossless else "schedule",
            host_ns=now_ns(),
            size=self.size,
            tick=tick,
            device_ns=self._faults.device_ns(exposed_ns, self._clock.start_ns),
            exposure_ns=round(world.exposure_s * 1e9),
            serial=self.config.serial,
            counters=counters,
        )

    def _draw_all(self) -> None:
        """The drawing thread: pictures in the order of ticks, until the end or ``stop``."""
        try:
            world, tick = self._made, self._next
            while not self._stop.is_set():
                if not self.lossless and now_ns() + self._drawing_ns > self._clock.tick_ns(tick + 1):
                    # Too late for this one; the first that can be drawn in time is next.
                    tick = max(tick, self._clock.tick_at(now_ns() + round(self._drawing_ns)) + 1)
                if self.n_frames is not None and tick >= self.n_frames:
                    break
                begin = now_ns()
                image = world.render(self._view, tick * self._clock.period_ns / 1e9)
                self._drawing_ns += 0.1 * (now_ns() - begin - self._drawing_ns)
                if not self._put((tick, image)):
                    return
                tick += 1
            self._put(None)
        except Exception as error:
            log.exception("drawing %s failed", self.camera)
            self._put(RigposeError(self.config.scenario, f"drawing failed: {error}", "see the node's log"))

    def _put(self, item: tuple[int, np.ndarray] | RigposeError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False


def _view(scenario: Scenario, name: str, config: VirtualConfig) -> int:
    names = scenario.camera_names
    if name not in names:
        raise ConfigError(config.scenario, f"has no camera {name}", f"set source.camera to one of {', '.join(names)}")
    return names.index(name)
