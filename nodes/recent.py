"""How a run goes at this moment: the figures of its last seconds, beside those of the whole run."""

from __future__ import annotations

from collections import deque
from typing import Any

from rigpose.pose import PoseSet

WINDOW_S = 2.0
_STILL_S = 0.5
"""A pause that counts as one; shorter ones are the time between two sets."""


class Recent:
    """The published sets of the last ``WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._sets: deque[tuple[int, float]] = deque()
        self.stage = "received_to_published"

    def add(self, pose_set: PoseSet) -> None:
        """Take in a published set; one of too few cameras is none."""
        if pose_set.status == "incomplete":
            return
        stages = pose_set.stamps.stages_ms()
        self.stage = "exposed_to_published" if "exposed_to_published" in stages else "received_to_published"
        self._sets.append((pose_set.stamps.published_ns, stages[self.stage]))
        self._forget(pose_set.stamps.published_ns)

    def result(self, now_ns: int) -> dict[str, Any]:
        """Rate and latency now, for ``status.json``: ``fps``, ``stage`` and its ``p50_ms`` and ``max_ms``.

        ``None`` stands for what nothing can be said of; a rig that gives no sets any more has 0 fps.
        """
        self._forget(now_ns)
        waits_ms = sorted(ms for _, ms in self._sets)
        return {
            "window_s": WINDOW_S,
            "fps": self._fps(now_ns),
            "stage": self.stage,
            "p50_ms": waits_ms[(len(waits_ms) - 1) // 2] if waits_ms else None,
            "max_ms": waits_ms[-1] if waits_ms else None,
        }

    def _fps(self, now_ns: int) -> float:
        if not self._sets:
            return 0.0
        first_ns, last_ns = self._sets[0][0], self._sets[-1][0]
        if now_ns - last_ns < _STILL_S * 1e9 and last_ns > first_ns:
            return (len(self._sets) - 1) / ((last_ns - first_ns) / 1e9)
        return len(self._sets) / WINDOW_S

    def _forget(self, now_ns: int) -> None:
        while self._sets and self._sets[0][0] < now_ns - WINDOW_S * 1e9:
            self._sets.popleft()
