"""What the engine knows of every frame that reached it: used, or skipped and why."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from capture.frame import Counters, Frame, FrameSet

REASONS = ("lost", "late", "incomplete", "superseded", "implausible", "misfit", "stopping")
MOST_EPOCHS = 16
"""Starts of one node that are told of: whoever listens has kept what was said of earlier ones."""


class FrameAccount:
    """Counts each received frame exactly once, by camera; several threads may count.

    ``lost`` is counted from the gaps in the sequence numbers, less what the node itself says that it
    could not send (``queue_full``), so that no frame is counted at both ends.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._counts = {name: dict.fromkeys(("received", "used", *REASONS), 0) for name in cameras}
        self._newest: dict[str, dict[str, tuple[int, Counters]]] = {name: {} for name in self._counts}

    def received(self, frame: Frame) -> None:
        """A frame came off the socket."""
        with self._lock:
            counts = self._counts[frame.camera]
            counts["received"] += 1
            newest = self._newest[frame.camera]
            if (last := newest.get(frame.node_epoch)) is not None:
                seq, said = last
                refused = frame.counters.queue_full - said.queue_full
                counts["lost"] += max(0, frame.seq - seq - 1 - refused)
            elif len(newest) >= MOST_EPOCHS:
                del newest[next(iter(newest))]
            newest[frame.node_epoch] = (frame.seq, frame.counters)

    def used(self, frames: FrameSet) -> None:
        """A set was published."""
        self._count_set(frames, "used")

    def skipped(self, frames: FrameSet | Frame, reason: str) -> None:
        """A set, or a single frame, will not be published."""
        if isinstance(frames, FrameSet):
            self._count_set(frames, reason)
        else:
            self.add(frames.camera, reason, 1)

    def add(self, camera: str, reason: str, frames: int) -> None:
        """Count frames by reason."""
        with self._lock:
            self._counts[camera][reason] += frames

    def _count_set(self, frames: FrameSet, reason: str) -> None:
        with self._lock:
            for frame in frames.frames:
                if frame is not None:
                    self._counts[frame.camera][reason] += 1

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Counts by camera; ``epochs`` is what each start of its node said in the last frame that came.

        A node that dies has no last word; what stands in its last frame is then the newest that is known.
        """
        with self._lock:
            return {
                name: {
                    **counts,
                    "epochs": {
                        epoch: {
                            "exposed": said.exposed,
                            "lost_upstream": said.lost_upstream,
                            "seen": said.seen,
                            "queue_full": said.queue_full,
                        }
                        for epoch, (_, said) in self._newest[name].items()
                    },
                }
                for name, counts in self._counts.items()
            }
