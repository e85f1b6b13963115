"""Where the cube of a volumetric model stands: at the subject's root, as it was last known.

While a subject is followed, the cube stands where its root was in the last set, not where the algebraic answer of the
same set has it. Then one view suffices, and a root that the views lose, or mistake from one set to the next, does not
carry the whole subject away: the network learned with cubes that stand some way off, and the evidence of two views
brings the answer to its place in any case. Without a track, the graph's own root is the middle.

One view may say little of how far away the subject is. A direction of which the answer is not sure stays as it was:
what is read from a cube is drawn to the cube's own middle, and would chase it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rigpose.pose import SubjectPose

KNOWN_SHARE = 0.1
"""Of the rig's working distance: a direction with a larger standard deviation is not known. Cubes are several times as
large, and what says nothing of a direction has a deviation of about a third of their side."""
_UPPER = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


class Base:
    """The middle of the cube while a subject is followed.

    Args:
        root: Joints whose mean is the subject's root.
        unit_mm: The rig's working distance.
        keep_s: Seconds for which the root serves after it was last known in all directions.
    """

    def __init__(self, root: Sequence[int], unit_mm: float, keep_s: float) -> None:
        self._root = list(root)
        self._limit_mm = KNOWN_SHARE * unit_mm
        self._keep_ns = keep_s * 1e9
        self._middle: np.ndarray | None = None
        self._known_ns = 0

    def end(self) -> None:
        """Forget the subject."""
        self._middle = None

    def at(self, time_ns: int) -> Float[np.ndarray, " 3"] | None:
        """The middle in mm at a time; ``None`` = there is none, or it is too old."""
        if self._middle is None or time_ns - self._known_ns > self._keep_ns:
            return None
        return self._middle

    def begin(self, pose: SubjectPose, time_ns: int) -> None:
        """Follow this subject from now on."""
        self.end()
        self.update(pose, time_ns)

    def update(self, pose: SubjectPose, time_ns: int) -> None:
        """Take in a set's pose; one without a root, or not sure of it in any direction, changes nothing."""
        # What the volume says of a root that no view sees is a prediction, and good enough for this.
        position = np.asarray(pose.position_mm, float)
        if pose.predicted_mm is not None:
            position = np.where(np.isfinite(position), position, pose.predicted_mm)
        middle = position[self._root].mean(axis=0)
        # As if the root's joints erred alike.
        covariance = np.asarray(pose.covariance_mm2, float)[self._root].mean(axis=0)[_UPPER]
        if not (np.isfinite(middle).all() and np.isfinite(covariance).all()):
            return
        variances, directions = np.linalg.eigh(covariance)
        known = variances <= self._limit_mm**2
        if known.all():
            self._middle, self._known_ns = middle, time_ns
        elif self._middle is not None:
            step = (middle - self._middle) @ directions
            self._middle = self._middle + directions @ np.where(known, step, 0.0)
