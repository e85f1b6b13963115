"""One Euro smoothing of joints (Casiez, Roussel and Vogel 2012, "1 Euro filter", CHI).

An exponential low-pass whose cut-off rises with speed: a joint at rest does not tremble, one that moves
does not lag. The result stands beside the measurement, never in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from engine.config import SmoothSection

MAX_GAP_S = 0.5
"""A joint that was not seen for longer begins anew where it reappears."""


class OneEuro:
    """The filter of one subject's joints.

    Speed is the length of a joint's velocity in mm/s, so that the result does not depend on the axes.

    Args:
        config: ``min_cutoff_hz`` at rest; ``beta_hz_s_per_mm`` that the cut-off rises by per mm/s: at the
            default of 0.005 a hand at 1 m/s is filtered at 6.5 Hz.
    """

    def __init__(self, config: SmoothSection) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget the subject."""
        self._position: Any = None
        self._velocity: Any = None
        self._seen_ns: Any = None

    def __call__(self, position_mm: Float[np.ndarray, "J 3"], time_ns: int) -> Float[np.ndarray, "J 3"]:
        """The smoothed joints at a time; NaN where the joint was not measured.

        Args:
            position_mm: Measured joints; NaN = not measured.
            time_ns: Of the measurement (mid-exposure); one that is not later than the joint's last
                changes nothing.
        """
        measured = np.array(position_mm, dtype=np.float64)
        seen = np.asarray(np.isfinite(measured).all(axis=-1))
        if self._position is None:
            self._position = np.full_like(measured, np.nan)
            self._velocity = np.zeros_like(measured)
            self._seen_ns = np.zeros(len(measured), dtype=np.int64)
        elapsed_s: np.ndarray = (time_ns - self._seen_ns) / 1e9
        known = np.isfinite(self._position[:, 0]) & (elapsed_s <= MAX_GAP_S)
        new = seen & ~known
        going = seen & known & (elapsed_s > 0)

        self._position[new] = measured[new]
        self._velocity[new] = 0
        dt = elapsed_s[going, None]
        step = (measured[going] - self._position[going]) / dt
        velocity = self._velocity[going]
        velocity += _alpha(self._config.derivative_cutoff_hz, dt) * (step - velocity)
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        cutoff = self._config.min_cutoff_hz + self._config.beta_hz_s_per_mm * speed
        self._velocity[going] = velocity
        self._position[going] += _alpha(cutoff, dt) * (measured[going] - self._position[going])
        self._seen_ns[new | going] = time_ns
        return np.where(seen[:, None], self._position, np.nan).astype(np.float32)


def _alpha(cutoff_hz: Any, dt: Any) -> Any:
    """Weight of the new sample in a first-order low-pass."""
    rate = 2 * np.pi * cutoff_hz * dt
    return rate / (rate + 1)
