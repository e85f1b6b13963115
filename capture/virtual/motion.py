"""Endless, smooth, seeded motion: what is done when, and how one thing becomes the next.

Time is cut into holds of equal length; in each one kind of motion is done, and at its begin the kind
before fades out by a quintic step, so positions, speeds and accelerations are continuous. All of it
is a pure function of seed and time: nothing is integrated step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from capture.virtual.scenario import MotionSection, Seed, generator, within

_STREAM = 1000
_FADE_SHARE = 0.45


def soft_clip(
    value: np.ndarray, low: float | np.ndarray, high: float | np.ndarray, softness: float = 0.06
) -> np.ndarray:
    """A smooth way to stay within limits; nearly the identity in between."""
    value = low + softness * np.logaddexp(0, (value - low) / softness)
    return high - softness * np.logaddexp(0, (high - value) / softness)


def bump(phase: np.ndarray, sharpness: float = 2.0) -> np.ndarray:
    """0..1, once a turn, smooth, longer low than high for a sharpness above 1."""
    return (0.5 - 0.5 * np.cos(phase)) ** sharpness


class Drift:
    """Slow noise of several values: sums of sinusoids whose periods never meet again.

    Args:
        rng: Chooses periods and phases.
        n: Values.
        speed: Factor on the tempo.
        period_s: Range of periods.
    """

    def __init__(
        self, rng: np.random.Generator, n: int, speed: float = 1.0, period_s: tuple[float, float] = (1.7, 6.0)
    ) -> None:
        self._omega = 2 * np.pi * speed / rng.uniform(*period_s, (n, 3))
        self._phase = rng.uniform(0, 2 * np.pi, (n, 3))
        weight = rng.uniform(0.4, 1.0, (n, 3))
        self._weight = weight / np.linalg.norm(weight, axis=1, keepdims=True)

    def __call__(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "n T"]:
        """Values of about unit variance."""
        waves = np.sin(self._omega[..., None] * t_s + self._phase[..., None])
        return (self._weight[..., None] * waves).sum(axis=1) * np.sqrt(2)


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold.

    Attributes:
        kind: What is done.
        numbers: (8,) 0..1, this hold's own style.
    """

    kind: str
    numbers: Float[np.ndarray, " 8"]


class Mix(NamedTuple):
    """What is done at moments that lie in one hold: the hold before it fades out, this one in."""

    before: Hold
    now: Hold
    share: Float[np.ndarray, " T"]


class Timeline:
    """Which kind when.

    Args:
        seed: Of the sample.
        section: Of the scenario.
        pace: How fast each kind moves along the path, in mm/s; absent = it stands.
    """

    def __init__(self, seed: Seed, section: MotionSection, pace: dict[str, float]) -> None:
        rng = generator(seed, _STREAM)
        self.speed = within(rng, section.speed)
        self.wildness = within(rng, section.wildness)
        self.arena_mm = within(rng, section.arena_mm)
        self._hold_s = within(rng, section.hold_s)
        self._fade_s = self._hold_s * _FADE_SHARE
        self._kinds = section.kinds
        self._seed = seed
        self._pace = pace
        self._travelled = [0.0]
        self._hold = cache(self._make_hold)

    def _make_hold(self, index: int) -> Hold:
        rng = generator(self._seed, _STREAM + 1 + index)
        return Hold(self._kinds[int(rng.integers(len(self._kinds)))], rng.uniform(0, 1, 8))

    def _pace_of(self, index: int) -> float:
        hold = self._hold(index)
        return self._pace.get(hold.kind, 0.0) * self.speed * (0.75 + 0.5 * float(hold.numbers[7]))

    def _index(self, t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # One hold later, so that moments just before 0 have a hold before them as well.
        shifted = np.maximum(t_s + 2 * self._hold_s, self._hold_s)
        index = np.floor(shifted / self._hold_s).astype(int)
        return index, shifted - index * self._hold_s

    def mixes(self, t_s: Float[np.ndarray, " T"]) -> list[tuple[np.ndarray, Mix]]:
        """The mixes of moments: for each hold, where its moments stand, and what is done."""
        index, since = self._index(t_s)
        result = []
        for hold in np.unique(index):
            where = np.flatnonzero(index == hold)
            z = np.clip(since[where] / self._fade_s, 0, 1)
            share = z**3 * (10 - 15 * z + 6 * z**2)
            result.append((where, Mix(self._hold(int(hold) - 1), self._hold(int(hold)), share)))
        return result

    def travelled_mm(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """How far along its path the subject is."""
        index, since = self._index(t_s)
        result = np.empty(len(t_s))
        for number, (hold, u) in enumerate(zip(index.tolist(), since.tolist(), strict=True)):
            result[number] = self._before(hold) + self._within(hold, u)
        return result

    def _within(self, hold: int, since_s: float) -> float:
        z = min(since_s / self._fade_s, 1.0)
        risen = self._fade_s * (z**6 - 3 * z**5 + 2.5 * z**4) + max(0.0, since_s - self._fade_s)
        return self._pace_of(hold - 1) * (since_s - risen) + self._pace_of(hold) * risen

    def _before(self, hold: int) -> float:
        while len(self._travelled) < hold:
            self._travelled.append(self._travelled[-1] + self._within(len(self._travelled), self._hold_s))
        return self._travelled[hold - 1]
