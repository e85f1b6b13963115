"""Normal distributions of points as information: inverse covariances, which add where sources are independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

_EYE = np.eye(3)
_FLOOR = 1e-14
"""1/mm2: keeps what nothing is known of invertible."""
_RIDGE = 1e-10
"""Of the trace: along a ray."""


@dataclass(frozen=True, slots=True)
class RayPoints:
    """What views say of K joints, each with the information of one ray or several.

    Attributes:
        information: (K, 3, 3) 1/mm2; zero = nothing. That of one view has rank two.
        at: (K, 3) mm: where it is fitted best; on the ray of a single view, anywhere along it.
    """

    information: Float[np.ndarray, "K 3 3"]
    at: Float[np.ndarray, "K 3"]

    @classmethod
    def of(
        cls,
        by_view: Float[np.ndarray, "V K 3 3"],
        centers_mm: Float[np.ndarray, "V 3"],
        near_mm: Float[np.ndarray, "K 3"],
    ) -> RayPoints:
        """What rays through the cameras' centres say together; along a single one, the point nearest to ``near_mm``."""
        total = by_view.sum(axis=0)
        # Relative to the near point, so that the ridge draws nowhere else.
        towards = (by_view @ (centers_mm[:, None] - near_mm)[..., None]).sum(axis=0)
        trace = total[:, 0, 0] + total[:, 1, 1] + total[:, 2, 2]
        ridge = np.where(trace > 0, _RIDGE * trace, 1.0)[:, None, None] * _EYE
        return cls(total, near_mm + np.linalg.solve(total + ridge, towards)[..., 0])

    @property
    def there(self) -> Bool[np.ndarray, " K"]:
        """Of which joints anything is said."""
        return np.asarray(self.information[:, 0, 0] + self.information[:, 1, 1] + self.information[:, 2, 2] > 0)

    def without(self, wrong: Bool[np.ndarray, " K"]) -> RayPoints:
        """The same without some joints."""
        return RayPoints(self.information * ~wrong[:, None, None], self.at)


class Known:
    """What is known of K joints.

    Args:
        information: (K, 3, 3) 1/mm2.
        vector: (K, 3) information times place.

    Attributes:
        covariance: (K, 3, 3) mm2.
        position: (K, 3) mm.
    """

    def __init__(self, information: Float[np.ndarray, "K 3 3"], vector: Float[np.ndarray, "K 3"]) -> None:
        self.information, self.vector = information, vector
        covariance = np.linalg.inv(information + _FLOOR * _EYE)
        self.covariance = (covariance + covariance.swapaxes(-1, -2)) / 2
        self.position = (self.covariance @ vector[..., None])[..., 0]

    def within(self, sigma_mm: float) -> Bool[np.ndarray, " K"]:
        """Which joints are known in every direction, with a deviation of at most so much."""
        trace = self.covariance[:, 0, 0] + self.covariance[:, 1, 1] + self.covariance[:, 2, 2]
        return np.asarray((trace > 0) & (trace < sigma_mm**2))

    def joined(self, rays: RayPoints) -> Known:
        """This and what rays say."""
        seen = (rays.information @ rays.at[..., None])[..., 0]
        return Known(self.information + rays.information, self.vector + seen)

    def distance2(
        self, information: Float[np.ndarray, "*views K 3 3"], at_mm: Float[np.ndarray, "*views K 3"]
    ) -> Float[np.ndarray, "*views K"]:
        """Squared Mahalanobis distance of rays from what is known, of two degrees of freedom for a single ray."""
        off = (at_mm - self.position)[..., None]
        # (P + N^-1)^-1 without the inverse of N, which has none.
        apart = information @ np.linalg.solve(_EYE + self.covariance @ information, off)
        return np.asarray((off.swapaxes(-1, -2) @ apart)[..., 0, 0])
