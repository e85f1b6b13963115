"""Sequences of the virtual rig without pictures: what views would see of a subject, frame after frame.

What stands in front is the scenario's; where a joint is seen, a view has its true projection with a detector's noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from calib.rig import RigArrays
from capture.virtual.scenario import Scenario
from capture.virtual.world import World

FRAMES = 120
"""Of a sequence: four seconds, in which what stands in front changes two or three times."""
STREAM = 9
BEGIN_S = 1.0
"""When a sequence begins: everything that moves has been moving for a while."""

CROP_MARGIN = 1.25
"""Side of a crop over the subject's extent in the picture, as the shipped networks say."""


@dataclass(frozen=True, slots=True)
class DetectorNoise:
    """How far a network's keypoints lie from the truth where the joint is seen, as a share of the crop's side.

    Two normal distributions: most keypoints, and those of a joint that was seen badly. The figures are those of
    ``mannequin17`` in other worlds of its training scenario (`training.fallback` prints them).

    Attributes:
        core: Standard deviation along each axis of most keypoints.
        tail: The same of the others.
        tail_share: How many these are.
        lasts: Whether a joint is off by the same in all frames of a sequence, which no averaging takes away; else
            each frame has an error of its own. Networks are somewhere between.
    """

    core: float = 0.0047
    tail: float = 0.0189
    tail_share: float = 0.119
    lasts: bool = False

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "*shape 2"]:
        """Errors as a share of the crop's side; the first axis is time."""
        if self.lasts:
            return np.broadcast_to(replace(self, lasts=False).draw(shape[1:], rng), (*shape, 2))
        sigma = np.where(rng.random(shape) < self.tail_share, self.tail, self.core)
        return rng.normal(size=(*shape, 2)) * sigma[..., None]


@dataclass(frozen=True, slots=True)
class Scene:
    """One sequence of one world.

    Attributes:
        place: Which world.
        rig: Its cameras.
        time_ns: (T,).
        truth_mm: (T, J, 3).
        points: (T, V, J, 2) raw px; NaN = not seen.
        sigma_px: (T, V) what the engine takes for the deviation of a keypoint.
    """

    place: int
    rig: RigArrays
    time_ns: np.ndarray
    truth_mm: Float[np.ndarray, "T J 3"]
    points: Float[np.ndarray, "T V J 2"]
    sigma_px: Float[np.ndarray, "T V"]

    @property
    def sees(self) -> Bool[np.ndarray, "T V J"]:
        """Which views see a joint."""
        return np.asarray(np.isfinite(self.points).all(axis=-1))

    def left_alone(self, view: int, begin: int, end: int) -> Scene:
        """The sequence until frame ``end``, in which one view goes on from frame ``begin`` and the others do not."""
        points = self.points[:end].copy()
        points[begin:, np.arange(points.shape[1]) != view] = np.nan
        return replace(
            self, time_ns=self.time_ns[:end], truth_mm=self.truth_mm[:end], points=points, sigma_px=self.sigma_px[:end]
        )


def world_of(scenario: Scenario, seed: int, place: int) -> World:
    """One world of a seed."""
    seeds = np.random.SeedSequence([scenario.seed, seed, place, STREAM])
    return World(scenario, seed=int(seeds.generate_state(1)[0]))


def scenes(
    scenario: Scenario,
    seed: int,
    count: int,
    frames: int = FRAMES,
    noise: DetectorNoise | None = None,
    sigma_share: float = 0.01,
) -> Iterator[Scene]:
    """Sequences of so many worlds; what they are follows from scenario and seed alone.

    Args:
        scenario: What is shown.
        seed: Of the worlds.
        count: How many.
        frames: Of each, at the scenario's rate.
        noise: Of the keypoints.
        sigma_share: Deviation of a keypoint that the engine reckons with, as a share of the crop's side.
    """
    noise = noise or DetectorNoise()
    for place in range(count):
        world = world_of(scenario, seed, place)
        times = BEGIN_S + np.arange(frames) / scenario.rate
        world.foresee(times.tolist())
        truths = [world.truth(t) for t in times.tolist()]
        truth, points = np.stack([t.position_mm for t in truths]), np.stack([t.points2d for t in truths])
        sees = ~np.stack([t.occluded for t in truths])
        side = CROP_MARGIN * np.nanmax(np.nanmax(points, axis=2) - np.nanmin(points, axis=2), axis=-1)
        rng = np.random.default_rng([scenario.seed, seed, place, STREAM])
        points = points + noise.draw(sees.shape, rng) * side[:, :, None, None]
        yield Scene(
            place=place,
            rig=world.rig.arrays(),
            time_ns=np.round(times * 1e9).astype(np.int64),
            truth_mm=truth,
            points=np.where(sees[..., None], points, np.nan),
            sigma_px=sigma_share * side,
        )
