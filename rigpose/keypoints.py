"""2D keypoints of several views: where each view saw each joint, and how sure it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Points in raw image pixels; NaN = this view did not see the joint, and no mask travels beside.

    Attributes:
        points: (..., V, J, 2), (0, 0) is the centre of the first pixel.
        confidence: (..., V, J) in 0..1; 0 where the point is NaN.
    """

    points: Float[np.ndarray, "*lead V J 2"]
    confidence: Float[np.ndarray, "*lead V J"]

    def __post_init__(self) -> None:
        if self.points.shape[:-1] != self.confidence.shape or self.points.shape[-1] != 2:
            raise ValueError(f"points {self.points.shape} do not go with confidence {self.confidence.shape}")

    @property
    def seen(self) -> np.ndarray:
        """(..., V, J) bool: where there is a point."""
        return np.isfinite(self.points).all(axis=-1)

    def above(self, min_score: float) -> Keypoints:
        """The same keypoints with those below a score unseen."""
        keep = self.seen & (self.confidence >= min_score)
        return Keypoints(np.where(keep[..., None], self.points, np.nan), np.where(keep, self.confidence, 0))
