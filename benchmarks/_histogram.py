"""A distribution of times as a picture: its histogram, and below it what each stage takes. OpenCV draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._sheet import INK, LINE, PALE, Sheet

SIZE = (1200, 745)
BAR, BAR_TAIL, BEYOND, GOAL = (214, 140, 52), (240, 212, 178), (92, 92, 214), (96, 160, 60)
LEFT, RIGHT, TOP, BOTTOM = 70, 1160, 112, 430
STAGES_TOP, STAGE_PX, NAME_PX = 530, 40, 250


@dataclass(frozen=True)
class Mark:
    """A line across the histogram."""

    at_ms: float
    text: str
    is_goal: bool = False


def end_of_axis(samples: np.ndarray, marks: Sequence[Mark]) -> float:
    """Where the axis ends, ms: the marks are on it, and all but the last hundredth of the samples."""
    wanted = max([1.15 * float(np.percentile(samples, 99)), *(1.12 * mark.at_ms for mark in marks)])
    step = 10.0 ** np.floor(np.log10(wanted))
    return float(min(f * step for f in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if f * step >= wanted))


def draw(
    path: Path,
    samples: np.ndarray,
    stages: Mapping[str, np.ndarray],
    marks: Sequence[Mark],
    title: str,
    lines: Sequence[str],
    bins: int = 90,
) -> None:
    """Write the picture.

    Args:
        path: A PNG file.
        samples: (N,) ms; what lies beyond the axis stands in one bar of its own at its end, none is left out.
        stages: ms of each stage, by name.
        marks: Lines across the histogram.
        title: Over it.
        lines: Below the title.
        bins: Of the histogram.
    """
    sheet = Sheet(SIZE)
    sheet.text(LEFT, 44, title, 21)
    for row, line in enumerate(lines):
        sheet.text(LEFT, 68 + 20 * row, line, 13, PALE)
    end = end_of_axis(samples, marks)
    # The last bar, apart from the others, is all that the axis does not reach.
    right = RIGHT - 60
    counts, _ = np.histogram(samples, bins=bins, range=(0, end))
    beyond = int((samples > end).sum())
    highest = max(int(counts.max()), 1)

    def across(ms: float) -> float:
        return LEFT + (right - LEFT) * ms / end

    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**6) if end / s <= 12)
    for ms in np.arange(0, end + 1e-9, step):
        sheet.box(across(ms) - 0.5, TOP, across(ms) + 0.5, BOTTOM, LINE)
        sheet.text(across(ms), BOTTOM + 22, f"{ms:g}", 13, PALE, 0.5)
    sheet.text((LEFT + right) / 2, BOTTOM + 46, "ms", 13, PALE, 0.5)
    for index, count in enumerate(counts):
        x0, x1 = across(end * index / bins), across(end * (index + 1) / bins)
        sheet.box(x0 + 0.5, BOTTOM - (BOTTOM - TOP - 30) * count / highest, x1 - 0.5, BOTTOM, BAR)
    if beyond:
        height = max(3.0, (BOTTOM - TOP - 30) * beyond / highest)
        sheet.box(RIGHT - 34, BOTTOM - height, RIGHT - 10, BOTTOM, BEYOND)
        sheet.text(RIGHT - 22, BOTTOM - height - 8, str(beyond), 13, INK, 0.5)
        sheet.text(RIGHT - 22, BOTTOM + 22, f"> {end:g}", 13, PALE, 0.5)
    sheet.box(LEFT, BOTTOM - 0.5, RIGHT, BOTTOM + 1, INK)
    # Texts of near marks one below the other.
    row_ends = [-1e9] * 8
    for mark in sorted(marks, key=lambda mark: mark.at_ms):
        x = across(mark.at_ms)
        colour = GOAL if mark.is_goal else INK
        row = next((i for i, row_end in enumerate(row_ends) if x > row_end), len(row_ends) - 1)
        row_ends[row] = x + 10 + 8.2 * len(mark.text)
        sheet.box(x - 1, TOP, x + 1, BOTTOM, colour)
        sheet.text(x + 6, TOP + 12 + 20 * row, mark.text, 13, colour)
    _draw_stages(sheet, stages)
    sheet.write(path)


def _draw_stages(sheet: Sheet, stages: Mapping[str, np.ndarray]) -> None:
    p99s = [float(np.percentile(samples, 99)) for samples in stages.values()]
    end = max([*p99s, 1e-6])
    sheet.text(LEFT, STAGES_TOP - 18, "where it goes:", 15)
    sheet.box(LEFT + 150, STAGES_TOP - 30, LEFT + 166, STAGES_TOP - 18, BAR)
    sheet.text(LEFT + 172, STAGES_TOP - 19, "p50", 13, PALE)
    sheet.box(LEFT + 220, STAGES_TOP - 30, LEFT + 236, STAGES_TOP - 18, BAR_TAIL)
    sheet.text(LEFT + 242, STAGES_TOP - 19, "up to p99", 13, PALE)
    width = RIGHT - 190 - LEFT - NAME_PX
    for index, ((name, samples), p99) in enumerate(zip(stages.items(), p99s, strict=True)):
        y = STAGES_TOP + STAGE_PX * index
        p50 = float(np.percentile(samples, 50))
        x = LEFT + NAME_PX
        sheet.text(LEFT, y + 22, name, 14)
        sheet.box(x, y + 8, x + width * p99 / end, y + 26, BAR_TAIL)
        sheet.box(x, y + 8, x + width * p50 / end, y + 26, BAR)
        sheet.text(RIGHT - 96, y + 22, f"{p50:.1f}", 14, INK, 1.0)
        sheet.text(RIGHT, y + 22, f"{p99:.1f} ms", 14, PALE, 1.0)
