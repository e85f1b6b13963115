"""A camera that does not exist: draws what it would see of a scenario's world.

Pictures are drawn ahead and leave at their tick, as ``capture.sources.scheduled`` says. The middle of
a picture's exposure is its tick: frame ``tick`` shows the world at ``tick`` periods, whoever draws it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from capture.sources.base import Facts
from capture.sources.scheduled import ScheduledConfig, ScheduledSource
from capture.virtual.faults import EXIT_CODE, Faults
from capture.virtual.scenario import RingSection, Scenario, load_scenario
from capture.virtual.world import World
from rigpose.config import FilePath
from rigpose.errors import ConfigError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_FIRST_DRAWING_NS = 5_000_000
_FORESEEN = 8
"""Ticks whose motion is computed at once."""


class VirtualConfig(ScheduledConfig):
    """A camera of a scenario.

    Attributes:
        scenario: The scenario's file.
        camera: Its name there; by default that of the camera in the rig.
        seed: Which sample of the scenario; by default the scenario's own.
    """

    real_camera: ClassVar[bool] = False

    kind: Literal["virtual"] = "virtual"
    scenario: FilePath
    camera: str | None = None
    seed: int | None = Field(None, ge=0)

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


class VirtualSource(ScheduledSource):
    """See the module; a ``Source``.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Wait for the reader instead of keeping a schedule.
    """

    Config = VirtualConfig
    making = "drawing"

    def __init__(self, camera: str, config: VirtualConfig, *, lossless: bool = False) -> None:
        super().__init__(camera, config, lossless=lossless)
        self.config = config
        self._world: World | None = None
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
    def _made(self) -> World:
        if self._world is None:
            raise RuntimeError("the source is not open")
        return self._world

    @property
    def _origin(self) -> object:
        return self.config.scenario

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

    def _make(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        world, tick, foreseen = self._made, first, first
        while not self._stop.is_set():
            if not self.lossless and now_ns() + self._drawing_ns > self._clock.tick_ns(tick + 1):
                # Too late for this one; the first that can be drawn in time is next.
                tick = max(tick, self._clock.tick_at(now_ns() + round(self._drawing_ns)) + 1)
            if self.n_frames is not None and tick >= self.n_frames:
                return
            begin = now_ns()
            if tick >= foreseen:
                foreseen = tick + _FORESEEN
                world.foresee([self._seconds(next_) for next_ in range(tick, foreseen)])
            image = world.render(self._view, self._seconds(tick))
            self._drawing_ns += 0.1 * (now_ns() - begin - self._drawing_ns)
            yield tick, image
            tick += 1

    def _seconds(self, tick: int) -> float:
        return tick * self._clock.period_ns / 1e9

    def _about(self, tick: int) -> dict[str, Any]:
        return {
            "pixel_format": "BGR8",
            "device_ns": self._faults.device_ns(self._clock.tick_ns(tick), self._clock.start_ns),
            "exposure_ns": round(self._made.exposure_s * 1e9),
        }

    def _delay_ns(self, tick: int) -> int:
        return round(self._faults.stall_ms(tick) * 1e6)

    def _gives(self, tick: int) -> bool:
        if self._faults.dies(tick):
            log.warning("%s dies at tick %d, as the scenario says", self.camera, tick)
            logging.shutdown()
            os._exit(EXIT_CODE)
        return not self._faults.drops(tick)


def _view(scenario: Scenario, name: str, config: VirtualConfig) -> int:
    names = scenario.camera_names
    if name not in names:
        raise ConfigError(config.scenario, f"has no camera {name}", f"set source.camera to one of {', '.join(names)}")
    return names.index(name)
