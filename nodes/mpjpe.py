"""How far published poses lie from the truth, where there is one: the virtual rig's."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import numpy as np

from rigpose.errors import ProtocolError
from rigpose.pose import PoseSet
from rigpose.stamps import now_ns
from rigpose.summary import Distribution, Mpjpe

KEPT_TICKS = 600
"""Truths and poses that wait for each other: about ten seconds of a fast rig."""


class TruthTally:
    """Holds published poses against true ones of the same tick; either may come first.

    The error is the absolute Euclidean distance of each measured joint, without any alignment; joints
    that the engine gave up do not count here (``joints_solved_share`` tells how many they are).
    """

    def __init__(self) -> None:
        self._truths: OrderedDict[int, tuple[str, np.ndarray]] = OrderedDict()
        self._poses: OrderedDict[int, PoseSet] = OrderedDict()
        self._errors_mm = Distribution()
        self._recent: deque[tuple[int, float, int]] = deque(maxlen=KEPT_TICKS)

    def truth(self, message: dict[str, Any]) -> None:
        """Take in a message of the ``truth`` topic.

        Raises:
            ProtocolError: It is none.
        """
        try:
            tick, skeleton = int(message["tick"]), str(message["skeleton"])
            position = np.asarray(message["position_mm"], dtype=float)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError("truth message", f"field {error} is missing or malformed") from None
        if position.ndim != 2 or position.shape[1] != 3:
            raise ProtocolError("truth message", f"position_mm has the shape {position.shape}, not (J, 3)")
        pose_set = self._poses.pop(tick, None)
        if pose_set is not None:
            self._compare(pose_set, skeleton, position)
        else:
            _keep(self._truths, tick, (skeleton, position))

    def pose(self, pose_set: PoseSet) -> None:
        """Take in a published pose set; one without a tick, or without a subject, has nothing to compare."""
        tick = pose_set.sync.tick
        if tick is None or not pose_set.subjects:
            return
        truth = self._truths.pop(tick, None)
        if truth is not None:
            self._compare(pose_set, *truth)
        else:
            _keep(self._poses, tick, pose_set)

    def _compare(self, pose_set: PoseSet, skeleton: str, position: np.ndarray) -> None:
        for subject in pose_set.subjects:
            if subject.skeleton == skeleton and subject.position_mm.shape == position.shape:
                error = np.linalg.norm(subject.position_mm - position, axis=-1)
                error = error[np.isfinite(error)]
                self._errors_mm.extend(error.tolist())
                self._recent.append((now_ns(), float(error.sum()), len(error)))

    @property
    def n(self) -> int:
        """Joints that were compared."""
        return self._errors_mm.n

    def recent_mm(self, since_ns: int) -> float | None:
        """The mean over the joints that were compared since a moment (``now_ns``); ``None`` = there were none."""
        recent = [(total, n) for at_ns, total, n in self._recent if at_ns >= since_ns]
        n = sum(n for _, n in recent)
        return sum(total for total, _ in recent) / n if n else None

    def result(self) -> Mpjpe | None:
        """The mean per joint position error and its percentiles; ``None`` without a truth."""
        errors = self._errors_mm
        if not errors.n:
            return None
        return Mpjpe(mean=errors.mean, median=errors.percentile(50), p95=errors.percentile(95))


def _keep(waiting: OrderedDict[int, Any], tick: int, value: Any) -> None:
    waiting[tick] = value
    while len(waiting) > KEPT_TICKS:
        waiting.popitem(last=False)
