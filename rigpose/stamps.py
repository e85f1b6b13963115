"""Time: integer nanoseconds of this host's monotonic clock, each stamp named after where it is taken.

``exposed`` is the middle of the exposure. Its origin is one of

* ``device``: the camera's own clock, brought to the host's by ``capture.clock``;
* ``schedule``: the tick at which a source without a device clock (a video, a rendering) let it go;
* ``arrival``: nothing better than the moment at which the host got it; no latency from the
  exposure may be printed from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, get_args

ExposedFrom = Literal["device", "schedule", "arrival"]
EXPOSED_FROM: tuple[ExposedFrom, ...] = get_args(ExposedFrom)
"""The most trustworthy first."""

STAGES = (
    "exposed_to_received",
    "received_to_grouped",
    "grouped_to_inferred",
    "inferred_to_solved",
    "solved_to_published",
    "received_to_published",
    "exposed_to_published",
)


def now_ns() -> int:
    """This host's monotonic clock; comparable between the processes of one host."""
    return time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class SetStamps:
    """When one frame set passed each stage.

    Attributes:
        exposed_ns: Middle of the exposure of each used view, in rig order; ``None`` = view absent.
        exposed_from: The least trustworthy origin among them.
        received_ns: When the engine had each used view, in rig order; ``None`` = view absent.
        grouped_ns: When the set was complete, or given up on.
        inferred_ns: When the network's outputs were back.
        solved_ns: When the poses were final.
        published_ns: Just before the message was handed to the socket.
    """

    exposed_ns: tuple[int | None, ...]
    exposed_from: ExposedFrom
    received_ns: tuple[int | None, ...]
    grouped_ns: int
    inferred_ns: int = 0
    solved_ns: int = 0
    published_ns: int = 0

    def stages_ms(self) -> dict[str, float]:
        """The time spent in each stage, in ms; a set counts from its newest received view.

        Exposure counts from the oldest view of the set. Stages from the exposure are absent where
        only the arrival is known.
        """
        received = max(ns for ns in self.received_ns if ns is not None)
        stages = {
            "received_to_grouped": self.grouped_ns - received,
            "grouped_to_inferred": self.inferred_ns - self.grouped_ns,
            "inferred_to_solved": self.solved_ns - self.inferred_ns,
            "solved_to_published": self.published_ns - self.solved_ns,
            "received_to_published": self.published_ns - received,
        }
        if self.exposed_from != "arrival":
            exposed = min(ns for ns in self.exposed_ns if ns is not None)
            stages["exposed_to_received"] = received - exposed
            stages["exposed_to_published"] = self.published_ns - exposed
        return {name: ns / 1e6 for name, ns in stages.items()}
