"""How far off something really is, against how far off it says that it is: followed while a subject is.

What was learned elsewhere holds for other bodies and other motion. Where most joints are triangulated, each frame set
shows how large the errors of the lift and the surprises of the motion are this time.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MEMORY_S = 2.0
_PRIOR = 10.0
"""Seconds times degrees of freedom that the expectation counts for, before anything was observed."""
_LIMITS = (0.25, 9.0)
_LONGEST_S = 0.2
"""A set counts for the time since the one before, and for no more than this."""


class RunningRatio:
    """Squared errors over the expected ones, of several things, forgotten with a time constant.

    Args:
        count: How many things.
    """

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self.reset()

    def reset(self) -> None:
        """Forget all that was observed."""
        self._seen = np.zeros(self._count)
        self._expected = np.zeros(self._count)

    @property
    def value(self) -> Float[np.ndarray, " count"]:
        """The ratio of each; 1 before anything was observed."""
        return np.clip((self._seen + _PRIOR) / (self._expected + _PRIOR), *_LIMITS)

    def add(self, seen: Float[np.ndarray, " count"], expected: Float[np.ndarray, " count"], dt_s: float) -> None:
        """Take in what was observed in one frame set.

        Args:
            seen: Sum of squared errors, each over its variance; 0 = nothing was observed.
            expected: What that is in the mean, if the variances are right.
            dt_s: Since the frame set before.
        """
        keep, weight = np.exp(-dt_s / MEMORY_S), min(dt_s, _LONGEST_S)
        self._seen = keep * self._seen + weight * seen
        self._expected = keep * self._expected + weight * expected
