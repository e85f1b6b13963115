"""Samples of the virtual rig, made when they are asked for and never stored.

A sample is one world (rig, subject, light, place), one moment and V views, each drawn directly as the
network's crop. All that is random in it follows from the run's seed, the epoch and the sample's number,
never from the process that makes it, so that runs repeat and resume exactly with any number of workers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from calib.rig import Rig
from capture.virtual.scenario import Scenario
from capture.virtual.world import World
from training.config import DataSection
from training.crops import cover, crop_matrix, patch, relit, to_crop, turned
from training.datasets.index import Key

__all__ = [
    "SAMPLE_KEYS",
    "Order",
    "OrderSampler",
    "Sample",
    "VirtualSamples",
    "cover",
    "crop_matrix",
    "draw",
    "patch",
    "random_of",
    "relit",
    "render",
    "stack",
    "to_crop",
    "turned",
]

_LONGEST_S = 60.0
"""Moments lie within so many seconds of a world's beginning."""
_SHARP = 0.9
"""A crop that shows fewer raw px than this times its own is drawn at the camera's resolution and enlarged."""
_SAMPLES, _WORLDS, _VIEWS = 0, 1, 6
_HELD = 128
"""Worlds that a process remembers."""


class Order(NamedTuple):
    """What identifies a sample.

    Attributes:
        epoch: Number of the epoch.
        number: Of the sample in it.
        world: Number of the world that it shows.
        size: Side of the crops in px.
        views: How many of the world's cameras; 0 = the most that the config allows.
    """

    epoch: int
    number: int
    world: int
    size: int
    views: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame set with its truth, or a batch of them with one axis more in front.

    Attributes:
        crops: (V, S, S, 3) BGR.
        crop_to_image: (V, 2, 3) from crop px to raw px.
        points: (V, J, 2) true crop px; NaN = behind the camera or not labelled: nothing is learned from it.
        hidden: (V, J) whether something is in front of the joint.
        position_mm: (J, 3) the truth; NaN = not known.
        K: (V, 3, 3), and so on as in `calib.rig.RigArrays`.
        dist: (V, 14).
        fisheye: (V,).
        Rt: (V, 3, 4).
        world: (4,).
        base_mm: (3,) where a volumetric network lays its cube; NaN = not known.
        key: What it shows. Not an array: a batch has a tuple of them.
    """

    crops: UInt8[np.ndarray, "V S S 3"]
    crop_to_image: Float[np.ndarray, "V 2 3"]
    points: Float[np.ndarray, "V J 2"]
    hidden: Bool[np.ndarray, "V J"]
    position_mm: Float[np.ndarray, "J 3"]
    K: Float[np.ndarray, "V 3 3"]
    dist: Float[np.ndarray, "V 14"]
    fisheye: Float[np.ndarray, " V"]
    Rt: Float[np.ndarray, "V 3 4"]
    world: Float[np.ndarray, " 4"]
    base_mm: Float[np.ndarray, " 3"]
    key: Key


SAMPLE_KEYS = tuple(field.name for field in fields(Sample) if field.name != "key")
"""The arrays of a sample."""


def stack(samples: list[Sample]) -> dict[str, np.ndarray]:
    """The arrays of samples of equal shapes as those of one batch."""
    return {name: np.stack([getattr(sample, name) for sample in samples]) for name in SAMPLE_KEYS}


def random_of(seed: int, order: Order) -> np.random.Generator:
    """The generator of one sample; the size of the pictures changes nothing else about it."""
    return np.random.default_rng(np.random.SeedSequence([seed, _SAMPLES, order.epoch, order.number]))


class VirtualSamples:
    """Samples of a scenario; a map-style dataset whose keys are orders.

    Args:
        scenario: What worlds are drawn from.
        config: Views, crops and what is done to them.
        seed: Of the run; validation has another one.
        augment: ``False`` leaves the pictures as they are drawn.
    """

    def __init__(self, scenario: Scenario, config: DataSection, seed: int, *, augment: bool = True) -> None:
        self.scenario = scenario
        self.config = config
        self.seed = seed
        self.augment = augment
        self._worlds: OrderedDict[int, World] = OrderedDict()

    def world(self, number: int) -> World:
        """A world; the last ones are held, for drawing their backgrounds costs as much as drawing a sample."""
        if number not in self._worlds:
            seeds = np.random.SeedSequence([self.seed, _WORLDS, number])
            self._worlds[number] = World(self.scenario, seed=int(seeds.generate_state(1)[0]))
            while len(self._worlds) > _HELD:
                self._worlds.popitem(last=False)
        return self._worlds[number]

    def __getitem__(self, order: Order) -> Sample:
        """Draw one sample."""
        rng = random_of(self.seed, order)
        world = self.world(order.world)
        t_s = float(rng.uniform(0, _LONGEST_S))
        count = min(order.views or self.config.view_range[1], len(world.rig.cameras))
        views = np.sort(rng.choice(len(world.rig.cameras), count, replace=False))
        sample = draw(world, t_s, views, order.size, self.config, rng, augment=self.augment)
        return replace(sample, key=Key(self.scenario.name, str(order.world), order.number))


def draw(
    world: World,
    t_s: float,
    views: np.ndarray,
    size: int,
    config: DataSection,
    rng: np.random.Generator,
    *,
    augment: bool,
) -> Sample:
    """One moment of a world as some of its cameras see it."""
    truth = world.truth(t_s)
    changed = config.augment if augment else None
    crops, matrices, points, hidden = [], [], [], []
    for view in views:
        seen = truth.points2d[view]
        matrix = crop_matrix(seen, world.rig.cameras[view].size, size, config.crop, rng)
        if changed is not None:
            matrix = turned(matrix, size, config.crop, rng)
        picture = render(world, int(view), t_s, matrix, size)
        crop_px = to_crop(seen, matrix)
        covered = np.array(truth.occluded[view], dtype=bool)
        if changed is not None:
            covered |= patch(picture, crop_px, changed, rng)
            picture = relit(picture, changed, rng)
        crops.append(picture)
        matrices.append(matrix)
        points.append(crop_px)
        hidden.append(covered)
    # A single camera does not know how far it looks; all of them together do.
    known = {"working_distance_mm": world.rig.working[1]} if len(views) == 1 else {}
    rig = Rig(tuple(world.rig.cameras[view] for view in views), known)
    arrays = rig.arrays().astype(np.float32)
    position = np.asarray(truth.position_mm, dtype=np.float32)
    return Sample(
        np.stack(crops),
        np.stack(matrices).astype(np.float32),
        np.stack(points).astype(np.float32),
        np.stack(hidden),
        position,
        *arrays,
        base_mm=position[list(world.skeleton.root)].mean(axis=0),
        key=Key(world.scenario.name, "", 0),
    )


def render(
    world: World, view: int, t_s: float, matrix: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "S S 3"]:
    """A crop as it would be cut from the camera's picture: not sharper than that is, and black where that ends."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    own = size if scale >= _SHARP else min(size, max(16, round(size * scale)))
    if own == size:
        crop = world.render(view, t_s, crop=(matrix, (size, size)))
    else:
        # Pixel edge on pixel edge: px c of the small picture shows where (c + 0.5) * size / own - 0.5 lies.
        ratio = size / own
        small = matrix.copy()
        small[:, 2] += matrix[:, :2] @ np.full(2, 0.5 * ratio - 0.5)
        small[:, :2] *= ratio
        crop = world.render(view, t_s, crop=(small, (own, own)))
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    corners = np.array([[-0.5, -0.5], np.array(world.rig.cameras[view].size) - 0.5])
    if matrix[0, 1] == 0 == matrix[1, 0]:
        (left, top), (right, bottom) = np.clip(np.round(to_crop(corners, matrix) + 0.5), 0, size).astype(int)
        crop[:top], crop[bottom:], crop[:, :left], crop[:, right:] = 0, 0, 0, 0
        return crop
    (left, top), (right, bottom) = corners
    quad = to_crop(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), matrix)
    inside = cv2.fillConvexPoly(np.zeros(crop.shape[:2], np.uint8), np.rint(quad * 16).astype(np.int32), 1, shift=4)
    return crop * inside[..., None]


class OrderSampler:
    """Batches of orders from a step on, without end; a batch sampler for torch's DataLoader.

    A world is shown in several steps that follow each other, each time at another moment, by other cameras and in
    other crops; the worlds of a batch change one after the other. All samples of a step have as many views.

    Args:
        config: Size of an epoch, how often a world is shown, and between which numbers views are drawn.
        first_step: The step that the first batch is for.
        batch_size: Samples in a step.
        size_at: Side of the crops for a step, asked when its batch is ordered.
        seed: Of the run.
    """

    def __init__(
        self,
        config: DataSection,
        first_step: int,
        batch_size: int,
        size_at: Callable[[int], int],
        seed: int = 0,
    ) -> None:
        self._config, self._seed = config, seed
        self._first_step = first_step
        self._batch_size = batch_size
        self._size_at = size_at

    def __iter__(self) -> Iterator[list[Order]]:
        step = self._first_step
        while True:
            yield self.batch(step, self._size_at(step))
            step += 1

    def batch(self, step: int, size: int) -> list[Order]:
        """The orders of one step."""
        shows, count = self._config.shows, self._batch_size
        least, most = self._config.view_range
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, _VIEWS, step]))
        views = int(rng.integers(least, most + 1))
        orders = []
        for slot in range(count):
            epoch, number = divmod(step * count + slot, self._config.epoch_size)
            turn = (step + slot * shows // count) // shows
            orders.append(Order(epoch, number, turn * count + slot, size, views))
        return orders
