"""Where samples come from: a scenario of the virtual rig, or a data set of real pictures.

Both give the same `training.samples.Sample`, ordered for the whole batch of a step, so that processes share it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from rigpose.skeleton import Skeleton
from training.config import TrainingConfig
from training.datasets.index import Key
from training.datasets.precalculated import Precalculated
from training.datasets.protocols import Split
from training.datasets.sections import AnySection, opened
from training.datasets.shots import Shots, ShotSampler, ShotSamples, in_order
from training.metrics import Moment
from training.processes import Group
from training.samples import Order, OrderSampler, Sample, VirtualSamples

SPLITS: tuple[Split, ...] = ("train", "val")
Base = Literal["precalculated", "true", "own"]
"""What a cube is laid about where a network is judged: poses that were calculated before; the true root, where the
network cannot do without; or what it finds itself, as live."""


class Samples(Protocol):
    """What makes samples; it is sent to worker processes."""

    def __getitem__(self, order: Any, /) -> Sample:
        """The sample of an order."""


class Judged(NamedTuple):
    """Samples to be judged by, each once.

    Attributes:
        samples: What makes them, without augmentation.
        batches: This process's orders.
        base: What their ``base_mm`` is.
    """

    samples: Samples
    batches: Sequence[Sequence[Any]]
    base: Base


class Source(Protocol):
    """Where samples come from.

    Attributes:
        skeleton: The joints of all of them.
        path: What errors name.
    """

    skeleton: Skeleton
    path: Path

    def taught(
        self, first_step: int, batch_size: int, size_at: Callable[[int], int]
    ) -> tuple[Samples, Iterable[Sequence[Any]]]:
        """What makes samples, and the orders of whole batches from a step on."""

    def judged(self, split: Split, limit: int | None, batch_size: int, group: Group) -> Judged:
        """Samples to be judged by.

        Args:
            split: Of the data set; of the virtual rig's, worlds that are trained on or those that never are.
            limit: At most so many.
            batch_size: At most.
            group: Who share them out.
        """

    def moment(self, key: Key, split: Split) -> Moment:
        """What an answer is reported under."""


class VirtualSource:
    """A scenario of the virtual rig.

    Args:
        config: The run's.

    Raises:
        ConfigError: The scenario cannot be read.
    """

    def __init__(self, config: TrainingConfig) -> None:
        assert config.data.scenario is not None
        self._config, self.path = config, config.data.scenario
        self.scenario = load_scenario(config.data.scenario)
        self.skeleton = World(self.scenario).skeleton

    def taught(
        self, first_step: int, batch_size: int, size_at: Callable[[int], int]
    ) -> tuple[Samples, Iterable[Sequence[Order]]]:
        """What draws samples, and the orders of whole batches from a step on."""
        config = self._config
        samples = VirtualSamples(self.scenario, config.data, config.seed)
        return samples, OrderSampler(config.data, first_step, batch_size, size_at, config.seed)

    def judged(self, split: Split, limit: int | None, batch_size: int, group: Group) -> Judged:
        """Worlds of another seed, or of the run's own; one moment of each, with as many views as there may be."""
        config = self._config
        seed = config.validation.seed if split == "val" else config.seed
        count = config.validation.samples if limit is None else min(limit, config.validation.samples)
        orders = group.part([Order(0, number, number, config.size) for number in range(count)])
        batches = [orders[first : first + batch_size] for first in range(0, len(orders), batch_size)]
        return Judged(VirtualSamples(self.scenario, config.data, seed, augment=False), batches, _base(config, None))

    def moment(self, key: Key, split: Split) -> Moment:
        """The scenario and the world; no moment follows another."""
        return Moment(self.skeleton.name, key.subject, key.action, None)


class ShotsSource:
    """A data set of real pictures.

    Args:
        config: The run's.
        section: The data set.
        splits: What is read of it: all pictures of these are looked for.

    Raises:
        ConfigError: It cannot be read; a picture is missing, or a moment among the precalculated poses.
    """

    def __init__(self, config: TrainingConfig, section: AnySection, splits: Sequence[Split] = SPLITS) -> None:
        self._config, self._section, self.path = config, section, section.root
        self._opened = {split: opened(section, split) for split in splits}
        self.skeleton = self._opened[splits[0]][0].skeleton

    def shots(self, split: Split) -> Shots:
        """A part of the data set."""
        return self._opened[split][0]

    def taught(
        self, first_step: int, batch_size: int, size_at: Callable[[int], int]
    ) -> tuple[Samples, Iterable[Sequence[Any]]]:
        """What reads samples, and the orders of whole batches from a step on."""
        config, (shots, poses) = self._config, self._opened["train"]
        kept = self._section.kept_mb << 20
        samples = ShotSamples(shots, config.data.crop, config.data.augment, config.seed, poses, kept)
        return samples, ShotSampler(shots, self._section.views, config.seed, first_step, batch_size, size_at)

    def judged(self, split: Split, limit: int | None, batch_size: int, group: Group) -> Judged:
        """Moments of a part with all their views, evenly spaced where they are limited."""
        config, (shots, poses) = self._config, self._opened[split]
        count = len(shots.index)
        rows = np.arange(count) if limit is None else np.unique(np.linspace(0, count - 1, limit).astype(int))
        keys = group.part([shots.index[int(row)] for row in rows])
        samples = ShotSamples(shots, config.data.crop, None, config.validation.seed, poses)
        return Judged(samples, list(in_order(shots, keys, batch_size, config.size)), _base(config, poses))

    def moment(self, key: Key, split: Split) -> Moment:
        """As the data set reports it."""
        shots = self.shots(split)
        return Moment(*shots.reported(key), shots.sequence(key), key.frame)


def _base(config: TrainingConfig, poses: Precalculated | None) -> Base:
    if poses is not None:
        return "precalculated"
    return "true" if config.model.needs_base else "own"


def source_of(config: TrainingConfig, splits: Sequence[Split] = SPLITS) -> Source:
    """Where a run's samples come from.

    Raises:
        ConfigError: It cannot be read.
    """
    if config.data.dataset is None:
        return VirtualSource(config)
    return ShotsSource(config, config.data.dataset, splits)
