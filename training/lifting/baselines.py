"""What a lifter has to beat: the mean pose, the ten nearest neighbours, and ridge regression. numpy alone.

They see the 2D points as the ``liftpose`` network does, z-scored joints relative to their roots, and answer with the
joints relative to their roots in mm. A coordinate that is NaN counts as its mean in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 10
STRENGTHS = tuple(10.0**exponent for exponent in np.arange(-6.0, 1.01, 0.5))
"""Ridge strengths that are tried, as a share of the number of samples: inputs are z-scores."""
_CHUNK = 256


@dataclass(frozen=True)
class MeanPose:
    """The mean of the training poses, whatever is seen."""

    mean_mm: Float[np.ndarray, " out"]

    @staticmethod
    def fit(x: Float[np.ndarray, "n F"], y: Float[np.ndarray, "n out"]) -> MeanPose:
        """From training samples."""
        return MeanPose(np.nanmean(y, axis=0))

    def predict(self, x: Float[np.ndarray, "m F"]) -> Float[np.ndarray, "m out"]:
        """For each sample."""
        return np.tile(self.mean_mm, (len(x), 1))


@dataclass(frozen=True)
class Neighbours:
    """The mean of the poses whose 2D points are nearest."""

    x: Float[np.ndarray, "n F"]
    y: Float[np.ndarray, "n out"]
    centre: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    k: int = NEIGHBOURS

    @staticmethod
    def fit(x: Float[np.ndarray, "n F"], y: Float[np.ndarray, "n out"], k: int = NEIGHBOURS) -> Neighbours:
        """From training samples; distances are those of z-scores."""
        centre, scale = np.nanmean(x, axis=0), _scale(x)
        return Neighbours(_scored(x, centre, scale), _filled(y), centre, scale, min(k, len(x)))

    def predict(self, x: Float[np.ndarray, "m F"]) -> Float[np.ndarray, "m out"]:
        """For each sample."""
        z = _scored(x, self.centre, self.scale)
        power = (self.x * self.x).sum(axis=1)
        answers = []
        for part in np.split(z, range(_CHUNK, len(z), _CHUNK)):
            distance = power - 2 * part @ self.x.T
            nearest = np.argpartition(distance, self.k - 1, axis=1)[:, : self.k]
            answers.append(self.y[nearest].mean(axis=1))
        return np.concatenate(answers)


@dataclass(frozen=True)
class Ridge:
    """Linear regression of z-scores with a penalty."""

    weight: Float[np.ndarray, "F out"]
    centre: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    mean_mm: Float[np.ndarray, " out"]
    strength: float

    @staticmethod
    def fit(
        x: Float[np.ndarray, "n F"],
        y: Float[np.ndarray, "n out"],
        x_validation: Float[np.ndarray, "v F"] | None = None,
        y_validation: Float[np.ndarray, "v out"] | None = None,
        strengths: Sequence[float] = STRENGTHS,
    ) -> Ridge:
        """From training samples, with the strength that does best on the validation part.

        Args:
            x: 2D points.
            y: Poses in mm.
            x_validation: What chooses among several strengths.
            y_validation: Likewise.
            strengths: Which are tried.
        """
        centre, scale, mean = np.nanmean(x, axis=0), _scale(x), np.nanmean(y, axis=0)
        z = _scored(x, centre, scale)
        values, vectors = np.linalg.eigh(z.T @ z / len(z))
        right = vectors.T @ (z.T @ (_filled(y) - mean)) / len(z)
        fits = [
            Ridge(vectors @ (right / (np.maximum(values, 0) + strength)[:, None]), centre, scale, mean, strength)
            for strength in strengths
        ]
        if len(fits) == 1:
            return fits[0]
        if x_validation is None or y_validation is None:
            raise ValueError("several strengths need a validation part")
        return min(fits, key=lambda fit: distance_mm(fit.predict(x_validation), y_validation))

    def predict(self, x: Float[np.ndarray, "m F"]) -> Float[np.ndarray, "m out"]:
        """For each sample."""
        return _scored(x, self.centre, self.scale) @ self.weight + self.mean_mm


def distance_mm(answer: Float[np.ndarray, "n out"], truth: Float[np.ndarray, "n out"]) -> float:
    """Mean distance of joints that are known."""
    return float(np.nanmean(np.linalg.norm((answer - truth).reshape(len(answer), -1, 3), axis=-1)))


def _scale(x: np.ndarray) -> np.ndarray:
    scale = np.nanstd(x, axis=0)
    return np.where(scale > 0, scale, 1.0)


def _scored(x: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.nan_to_num((x - centre) / scale, nan=0.0)


def _filled(y: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(y), np.nanmean(y, axis=0), y)
