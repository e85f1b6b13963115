"""The goals that benchmarks are held against, each with the line that it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A bar.

    Attributes:
        value: In the row's unit; met where ours is at most (lower is better) or at least this.
        source: Where it was set.
    """

    value: float
    source: str


ISSUE_2_TRIANGULATION = (
    "issue 2, What it must show, 5: rows for plain, robust on clean and robust on hard data (4 x 25 points, an 80 px "
    "outlier view on 3 joints of half the frames, 10 % NaN): robust at most 0.3 ms a frame"
)
ISSUE_2_ENGINE = (
    "issue 2, What it must show, 5: what everything except the network costs for one frame set of 4 views, as a share "
    "of the network's own time; goal 10 % or less"
)

ISSUE_3_DEMO = (
    "issue 3, What it must show, 1: fps at least 28 with four cameras, exposed_to_published p50 at most 35 ms and p99 "
    "at most 70"
)

GOALS: dict[tuple[str, str, str], Goal] = {
    ("triangulation", "robust, clean", "time"): Goal(0.3, ISSUE_2_TRIANGULATION),
    ("triangulation", "robust, hard", "time"): Goal(0.3, ISSUE_2_TRIANGULATION),
    ("engine", "movenet_lightning_coco17", "share"): Goal(10.0, ISSUE_2_ENGINE),
    ("engine", "hourglass_heatmap14", "share"): Goal(10.0, ISSUE_2_ENGINE),
    ("latency", "*", "exposed_to_published p50"): Goal(35.0, ISSUE_3_DEMO),
    ("latency", "*", "exposed_to_published p99"): Goal(70.0, ISSUE_3_DEMO),
    ("latency", "*", "fps"): Goal(28.0, ISSUE_3_DEMO),
}


def goal(benchmark: str, case: str, metric: str) -> float | None:
    """The bar of a row, ``None`` where none was set."""
    found = GOALS.get((benchmark, case, metric)) or GOALS.get((benchmark, "*", metric))
    return found.value if found else None
