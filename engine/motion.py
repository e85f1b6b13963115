"""Where joints should be by their own motion: a Kalman filter for each, in the axes of the world.

Velocities are those of Singer's model: they fluctuate about zero and are forgotten with a time constant (an
Ornstein-Uhlenbeck process), so that a joint that is not seen goes on for a while and then stays, while its covariance
grows as it truly wanders. With a long time constant this is the filter of constant velocity. Times between frames may
be any (Singer 1970, "Estimating optimal tracking filter performance for manned maneuvering targets").
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_EYE = np.eye(3)


class Motion:
    """The filters of one subject's joints.

    Args:
        speed_mm: (J,) standard deviation of a joint's velocity along each axis, mm/s.
        memory_s: Seconds after which a velocity has changed to 1/e.
        unknown_mm: Deviation of a place that nothing is known of. Not much more than it can be: what is far less sure
            than what is measured next costs the digits of it.

    Attributes:
        unknown_mm: As given.
    """

    def __init__(self, speed_mm: Float[np.ndarray, " J"], memory_s: float, unknown_mm: float) -> None:
        self.unknown_mm = unknown_mm
        self._variance = np.asarray(speed_mm, float)[:, None, None] ** 2 * _EYE
        self._memory_s = memory_s
        self.reset()

    def reset(self) -> None:
        """Forget the subject."""
        joints = len(self._variance)
        self.position = np.zeros((joints, 3))
        self.velocity = np.zeros((joints, 3))
        self.covariance = np.tile(self.unknown_mm**2 * _EYE, (joints, 1, 1))
        self._cross = np.zeros((joints, 3, 3))
        self._velocity_covariance = self._variance.copy()

    def predict(self, dt_s: float, ratio: Float[np.ndarray, " J"] | None = None) -> None:
        """Let time pass: ``position`` (J, 3) mm and ``covariance`` (J, 3, 3) mm2 are those of then.

        Args:
            dt_s: Since the last time.
            ratio: (J,) factor on the variances of the velocities, as far as it is known by now.
        """
        if dt_s <= 0:
            return
        memory = self._memory_s
        a = dt_s / memory
        variance = self._variance if ratio is None else self._variance * ratio[:, None, None]
        keep = np.exp(-a)
        reach = memory * -np.expm1(-a)
        # Exact integrals of the process's noise; for a short step as its series, where differences cancel.
        grown = memory**2 * (2 * a - 3 + 4 * keep - keep**2) if a > 1e-2 else memory**2 * a**3 * (2 / 3 - a / 2)
        self.position += reach * self.velocity
        self.velocity *= keep
        self.covariance += reach * (self._cross + self._cross.swapaxes(1, 2)) + reach**2 * self._velocity_covariance
        self.covariance += grown * variance
        largest = np.einsum("jaa->j", self.covariance).max()
        if largest > 4 * self.unknown_mm**2:
            far = np.einsum("jaa->j", self.covariance) > 3 * self.unknown_mm**2
            self.covariance[far] = self.unknown_mm**2 * _EYE
            self._cross[far] = 0.0
        self._cross = keep * (self._cross + reach * self._velocity_covariance) + reach**2 / memory * variance
        self._velocity_covariance = keep**2 * self._velocity_covariance + (1 - keep**2) * variance

    def surprise2(
        self, information: Float[np.ndarray, "J 3 3"], at_mm: Float[np.ndarray, "J 3"]
    ) -> tuple[Float[np.ndarray, " J"], Float[np.ndarray, " J"]]:
        """Squared distances of measurements from what was foreseen, and what they should come to.

        Args:
            information: (J, 3, 3) 1/mm2, of rank three; zero where nothing was measured.
            at_mm: (J, 3).

        Returns:
            Both zero for joints that were not measured, or never before.
        """
        off = (at_mm - self.position)[..., None]
        apart = np.linalg.solve(_EYE + information @ self.covariance, information @ off)
        known = (information[:, 0, 0] > 0) & (self.covariance[:, 0, 0] < (0.1 * self.unknown_mm) ** 2)
        return np.where(known, (off * apart).sum(axis=(1, 2)), 0.0), np.where(known, 3.0, 0.0)

    def update(self, information: Float[np.ndarray, "J 3 3"], at_mm: Float[np.ndarray, "J 3"]) -> None:
        """Take in what was measured.

        Args:
            information: (J, 3, 3) 1/mm2: inverse covariances; zero where nothing was seen. One view's has rank two.
            at_mm: (J, 3) a point that fits the measurement best (any of a view's ray); finite.
        """
        # What is left of a covariance, not what is taken from it: an unknown place costs no digits.
        left = np.linalg.inv(_EYE + self.covariance @ information)
        # Symmetric but for rounding, which would grow from frame to frame.
        gain = _symmetric(information @ left)
        towards = gain @ (at_mm - self.position)[:, :, None]
        crossed = self._cross.swapaxes(1, 2)
        self.velocity += (crossed @ towards)[:, :, 0]
        self.position += (self.covariance @ towards)[:, :, 0]
        self._velocity_covariance = _symmetric(self._velocity_covariance - crossed @ gain @ self._cross)
        self._cross = left @ self._cross
        self.covariance = _symmetric(left @ self.covariance)


def _symmetric(matrices: np.ndarray) -> np.ndarray:
    return (matrices + matrices.swapaxes(-1, -2)) / 2
