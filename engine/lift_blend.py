"""The lifts of several views as one, in the axes of the world.

Every view is lifted by the same network, which has learned the same bodies: what it does not know it gets wrong in all
views alike. Two lifts are therefore not two measurements. They are weighed by their covariances, and of the information
that this adds only so much is believed as their errors are independent: the variance of a mean of ``n`` estimates with
correlation ``c`` is ``(1 + c (n - 1)) / n`` of one. With ``c = 1`` this is covariance intersection with equal weights
(Julier and Uhlmann 1997), which is right whatever the correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_FLOOR_SHARE = 1e-4
"""Of the subject's size: no lift is surer than that, and a root, which is zero by definition, can be inverted."""
_ROUNDING = 1e-6
"""Of a covariance's trace: what float32 leaves of its least direction."""
_SQUARE = np.array([0, 1, 2, 1, 3, 4, 2, 4, 5])


def square(six: Float[np.ndarray, "*lead 6"]) -> Float[np.ndarray, "*lead 3 3"]:
    """Matrices of upper triangles ``xx xy xz yy yz zz``."""
    return six[..., _SQUARE].reshape(*six.shape[:-1], 3, 3)


@dataclass(frozen=True, slots=True)
class Blend:
    """One lift of all views.

    Attributes:
        shape_mm: (J, 3) relative to each joint's root, in the axes of the world.
        factor_mm: (J, 3, 3) Cholesky factor of each joint's covariance; zero for roots.
    """

    shape_mm: Float[np.ndarray, "J 3"]
    factor_mm: Float[np.ndarray, "J 3 3"]


def blend(
    lifted_mm: Float[np.ndarray, "V J 3"],
    covariance_mm2: Float[np.ndarray, "V J 6"],
    to_world: Float[np.ndarray, "V 3 3"],
    roots: Float[np.ndarray, " J"],
    correlation: float,
    size_mm: float,
) -> Blend | None:
    """Weigh the views' lifts by their covariances.

    Args:
        lifted_mm: In the axes of each camera; NaN for a view that was not lifted.
        covariance_mm2: Of that.
        to_world: Rotations from the cameras' axes to the world's.
        roots: (J,) bool: which joints are roots.
        correlation: Of two views' errors, 0..1.
        size_mm: Of the subject.

    Returns:
        ``None`` where no view was lifted.
    """
    there = np.isfinite(lifted_mm).all(axis=(1, 2)) & np.isfinite(covariance_mm2).all(axis=(1, 2))
    if not there.any():
        return None
    turn = to_world[there][:, None]
    shape = (turn @ np.asarray(lifted_mm[there], np.float64)[..., None])[..., 0]
    spread = turn @ square(np.asarray(covariance_mm2[there], np.float64)) @ turn.swapaxes(-1, -2)
    floor = (_FLOOR_SHARE * size_mm) ** 2 + _ROUNDING * np.trace(spread, axis1=-2, axis2=-1)
    spread = spread + floor[..., None, None] * np.eye(3)
    count = len(shape)
    if count == 1:
        mean, covariance = shape[0], spread[0]
    else:
        information = np.linalg.inv(spread)
        covariance = np.linalg.inv(information.sum(axis=0))
        mean = (covariance @ (information @ shape[..., None]).sum(axis=0))[..., 0]
        covariance = (1 + correlation * (count - 1)) * covariance
    factor = np.linalg.cholesky((covariance + covariance.swapaxes(-1, -2)) / 2)
    factor[roots] = 0.0
    mean = np.where(roots[:, None], 0.0, mean)
    return Blend(mean, factor)
