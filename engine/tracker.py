"""Following a subject: the crop in each view follows the last 3D pose, reprojected.

A track that cannot be trusted for some sets in a row is lost, and the finder looks again; a track that
can be is still compared with what the finder sees every few seconds, so that a crop cannot lock on to
the wrong thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engine.config import TrackerSection
from engine.crop import Crop, around
from rigpose.pose import SubjectPose

_SHRINK = 0.9
"""A crop may shrink by at most this factor a set: one set with few joints must not cut the subject."""
_OUTSIDE = 1.0
"""Of the picture's side, how far a crop follows joints out of it: near a camera's plane they reproject anywhere."""
_MAX_AHEAD = 3
"""Sets that the motion is extrapolated over at most."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How far a pose can be trusted.

    Attributes:
        solved_share: Share of joints that are measured.
        residual_sigma: Median residual in units of the 2D noise; infinite without measurements.
        score: Mean confidence over all joints, those without position counting zero.
    """

    solved_share: float
    residual_sigma: float
    score: float


def quality(pose: SubjectPose, sigma_px: Float[np.ndarray, " V"]) -> Quality:
    """The quality of a pose whose views have a 2D noise of ``sigma_px``."""
    measured = pose.measured
    if not measured.any():
        return Quality(0.0, np.inf, 0.0)
    sigmas = (pose.residual_px / sigma_px[:, None])[:, measured]
    sigmas = sigmas[np.isfinite(sigmas)]
    residual = float(_median(sigmas)) if sigmas.size else np.inf
    joints = len(measured)
    score = float(np.add.reduce(pose.confidence, where=measured)) / joints
    return Quality(np.count_nonzero(measured) / joints, residual, score)


def _median(values: np.ndarray) -> np.ndarray:
    """``np.median(values, axis=0)`` of a few numbers, none of which is NaN, several times faster."""
    ordered = np.sort(values, axis=0)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Track:
    """One subject between the set in which it was found and the set in which it is lost."""

    def __init__(self, config: TrackerSection, crop_size: tuple[int, int], margin: float) -> None:
        self._config = config
        self._size = crop_size
        self._margin = margin
        self._positions: np.ndarray | None = None
        self._velocity = np.zeros(3)
        self._tick = 0
        self._scales: dict[int, float] = {}
        self._bad = 0
        self.quality = Quality(0.0, np.inf, 0.0)

    @property
    def active(self) -> bool:
        """Whether there is a subject to follow."""
        return self._positions is not None

    @property
    def tick(self) -> int:
        """Of the last set that was trusted."""
        return self._tick

    @property
    def positions_mm(self) -> Float[np.ndarray, "J 3"]:
        """Where each joint was last; NaN where it never was."""
        assert self._positions is not None
        return self._positions

    def plausible(self, found: Quality) -> bool:
        """Whether what the finder sees is a subject."""
        return (
            found.solved_share >= self._config.found_share and found.residual_sigma <= self._config.max_residual_sigma
        )

    def begin(self, pose: SubjectPose, tick: int, found: Quality) -> None:
        """Follow this pose from now on."""
        self._positions = np.array(pose.position_mm, float)
        self._velocity = np.zeros(3)
        self._tick = tick
        self._scales = {}
        self._bad = 0
        self.quality = found

    def end(self) -> None:
        """Forget the subject."""
        self._positions = None

    def predict(self, tick: int) -> Float[np.ndarray, "J 3"]:
        """Where the joints should be at a tick, by the motion of the whole subject."""
        ahead = min(max(tick - self._tick, 0), _MAX_AHEAD)
        return self.positions_mm + self._velocity * ahead

    def crops(
        self, points: Float[np.ndarray, "V J 2"], pictures: Sequence[tuple[int, int] | None]
    ) -> list[Crop | None]:
        """A crop around the predicted joints in each view.

        Args:
            points: The predicted joints in raw image px; NaN = behind the camera or never seen.
            pictures: (width, height) of each view's picture; ``None`` = view absent.

        Returns:
            One crop a view; ``None`` where the view is absent or the subject is outside of it.
        """
        crops: list[Crop | None] = []
        seen = np.isfinite(points).all(axis=-1)[..., None]
        low = np.where(seen, points, np.inf).min(axis=1).tolist()
        high = np.where(seen, points, -np.inf).max(axis=1).tolist()
        for view, (picture, (x0, y0), (x1, y1)) in enumerate(zip(pictures, low, high, strict=True)):
            # Where no joint is seen the bounds are infinite the wrong way round: outside of any picture.
            if picture is None or x1 < 0 or y1 < 0 or x0 > picture[0] - 1 or y0 > picture[1] - 1:
                crops.append(None)
                continue
            width, height = picture
            box = (
                max(x0, -_OUTSIDE * width), max(y0, -_OUTSIDE * height),
                min(x1, (1 + _OUTSIDE) * width), min(y1, (1 + _OUTSIDE) * height),
            )  # fmt: skip
            crop = around(box, self._size, self._margin)
            scale = max(crop.scale, _SHRINK * self._scales.get(view, 0.0))
            self._scales[view] = scale
            crops.append(Crop(crop.center, scale))
        return crops

    def update(self, pose: SubjectPose, tick: int, seen: Quality) -> bool:
        """Take in a set's pose; whether the subject is still to be trusted afterwards."""
        self.quality = seen
        bad = seen.solved_share < self._config.lost_share or seen.residual_sigma > self._config.max_residual_sigma
        self._bad = self._bad + 1 if bad else 0
        if self._bad >= self._config.lost_after:
            self.end()
            return False
        if bad:
            return True
        measured = pose.measured
        predicted = self.predict(tick)
        known = measured & np.isfinite(np.add.reduce(self.positions_mm, axis=-1))
        if known.any() and tick > self._tick:
            # The median over the joints is the motion of the whole; single limbs stay inside the margin.
            step = _median(pose.position_mm[known] - self.positions_mm[known])
            self._velocity = 0.5 * self._velocity + 0.5 * step / (tick - self._tick)
        self._positions = np.where(measured[:, None], pose.position_mm, predicted)
        self._tick = tick
        return True

    def contradicted_by(self, other: SubjectPose, seen: Quality, own: SubjectPose) -> bool:
        """Whether the finder's pose shows that this track follows the wrong thing.

        Args:
            other: What the finder sees.
            seen: How far that can be trusted.
            own: The track's pose in the same set.
        """
        if not self.plausible(seen):
            return False
        both = other.measured & own.measured
        if not both.any():
            return seen.score > self.quality.score
        extent = np.ptp(other.position_mm[other.measured], axis=0).max()
        distance = np.median(np.linalg.norm(other.position_mm[both] - own.position_mm[both], axis=-1))
        return bool(distance > 0.5 * extent and seen.score > self.quality.score)
