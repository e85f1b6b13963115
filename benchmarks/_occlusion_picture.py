"""A frame set of the occlusion exam with what each method answers, and errors by number of views, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks._occlusion_figures import ONE, Errors, mean_of
from benchmarks._occlusion_methods import ROWS, Comparison, Setup
from benchmarks._report import Report
from benchmarks._sheet import INK, LINE, PALE, WHITE, Colour, Sheet
from calib.triangulate import reproject
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.crops import to_crop
from training.exam import arrays_of
from training.samples import Sample

COLOURS: dict[str, Colour] = {
    "ransac_seed": (150, 150, 150), "ransac": (60, 160, 220), "no_confidences": (200, 130, 60),
    "algebraic": (60, 60, 200), "volumetric": (80, 150, 40), "one_view": (80, 150, 40),
}  # fmt: skip
"""BGR."""
EXAMPLE = ("ransac_seed", "algebraic", "volumetric")
"""Methods whose answers are drawn into the crops, where they are there."""
SIDE, GAP, LEFT, TOP, COLUMNS = 264, 12, 60, 96, 4
CHART_TOP, CHART_BOTTOM, KEY_X = 480, 760, 820
SIZE = (LEFT + COLUMNS * SIDE + (COLUMNS - 1) * GAP + LEFT, 830)
_BEST = "volumetric", "algebraic", "no_confidences"


def picture(
    path: Path, report: Report, setup: Setup, found: Mapping[int, tuple[Errors, Mapping[int, Mapping[str, Any]]]]
) -> None:
    """Write the picture.

    Args:
        path: A PNG file.
        report: With its rows.
        setup: What is compared.
        found: By number of views the errors, and what was kept of each seed.

    Raises:
        ConfigError: The file cannot be written.
    """
    sheet = Sheet(SIZE)
    views = 4 if 4 in found else min(found)
    errors, _ = found[views]
    name = next(name for name in _BEST if name in errors.of)
    row = example(errors.of[name]["absolute"])
    seed = int(errors.seeds[row])
    number = row - int(np.flatnonzero(errors.seeds == seed)[0])
    comparison = Comparison(setup, views)
    question = comparison.questions.ask(seed, number)
    answers = comparison.answer(question)
    skeleton = next(iter(setup.located().values())).document.skeleton
    sheet.text(LEFT, 40, f"{setup.scenario.name}: RANSAC, algebraic and volumetric on the same crops", 18)
    sheet.text(
        LEFT, 66, f"one frame set, that with the median error of {ROWS[name]}: seed {seed}, number {number}; "
        f"{min(views, COLUMNS)} of {views} views", 13, PALE,
    )  # fmt: skip
    shown = [name for name in EXAMPLE if name in answers]
    for view in range(min(views, COLUMNS)):
        _draw_view(sheet, question.sample, view, {name: answers[name] for name in shown}, skeleton)
    _draw_key(sheet, question.sample, answers, shown)
    _draw_chart(sheet, report, sorted(found))
    try:
        sheet.write(path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error}", "name a file in a folder of yours") from None


def example(errors: Float[np.ndarray, "N J"]) -> int:
    """The frame set whose mean error is the median: neither the best nor the worst one."""
    solved = np.isfinite(errors)
    counts = solved.sum(axis=1)
    sums = np.where(solved, errors, 0.0).sum(axis=1)
    means = np.divide(sums, counts, out=np.full(len(errors), np.inf), where=counts > 0)
    return int(np.argsort(means)[(len(means) - 1) // 2])


def seen_at(position: Float[np.ndarray, "J 3"], sample: Sample) -> Float[np.ndarray, "V J 2"]:
    """Where a pose appears in the crops, px."""
    arrays = arrays_of(sample)
    image = reproject(np, (position - arrays.world[:3]) / arrays.world[3], arrays)
    return np.stack([to_crop(px, matrix) for px, matrix in zip(image, sample.crop_to_image, strict=True)])


def _draw_view(sheet: Sheet, sample: Sample, view: int, answers: Mapping[str, np.ndarray], skeleton: Skeleton) -> None:
    left = LEFT + view * (SIDE + GAP)
    sheet.picture(left, TOP, SIDE, sample.crops[view])
    size = sample.crops.shape[1]

    def place(px: np.ndarray) -> tuple[float, float]:
        x, y = np.clip((px + 0.5) * SIDE / size, 2, SIDE - 2)
        return left + float(x), TOP + float(y)

    for name, position in answers.items():
        px = seen_at(np.asarray(position, np.float64), sample)[view]
        for first, second in skeleton.edges:
            if np.isfinite(px[[first, second]]).all():
                sheet.line([place(px[first]), place(px[second])], COLOURS[name], 1.5)
    for joint, px in enumerate(sample.points[view]):
        # The truth: a ring where something is in front of the joint, a disc where it is seen.
        if np.isfinite(px).all():
            sheet.dot(*place(px), 3.2, WHITE, 1.2 if sample.hidden[view, joint] else 0.0)


def _draw_key(sheet: Sheet, sample: Sample, answers: Mapping[str, np.ndarray], shown: list[str]) -> None:
    y = TOP + SIDE + 28
    x = float(LEFT)
    for name in shown:
        mm = float(np.nanmean(np.linalg.norm(np.asarray(answers[name], np.float64) - sample.position_mm, axis=-1)))
        sheet.box(x, y - 9, x + 22, y - 5, COLOURS[name])
        text = f"{ROWS[name]}: {mm:.0f} mm"
        sheet.text(x + 30, y, text, 13)
        x += 60 + sheet.width(text, 13)
    sheet.text(LEFT, y + 24, "discs: the truth where it is seen; rings: where something is in front of it", 13, PALE)


def _draw_chart(sheet: Sheet, report: Report, views: list[int]) -> None:
    lines: dict[str, list[tuple[int, float]]] = {}
    for name in ROWS:
        for count in (ONE, *views):
            figure = mean_of(report, count, name, "absolute")
            if figure is not None:
                lines.setdefault(name, []).append((count, figure[0]))
    highest = max(mm for name, points in lines.items() if name != "one_view" for _, mm in points)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**6) if highest / s <= 6)
    end = step * np.ceil(highest / step)
    right = KEY_X - 40

    def across(count: int) -> float:
        return LEFT + 40 + (right - LEFT - 60) * (count - views[0]) / max(1, views[-1] - views[0])

    def up(mm: float) -> float:
        return CHART_BOTTOM - (CHART_BOTTOM - CHART_TOP) * min(mm, end) / end

    sheet.text(LEFT, CHART_TOP - 18, "MPJPE, mm, by number of views", 15)
    for mm in np.arange(0, end + 1e-9, step):
        sheet.box(LEFT, up(mm) - 0.5, right, up(mm) + 0.5, LINE)
        sheet.text(LEFT - 8, up(mm) + 5, f"{mm:g}", 13, PALE, 1.0)
    for count in views:
        sheet.text(across(count), CHART_BOTTOM + 24, f"{count}", 13, PALE, 0.5)
    for row, (name, points) in enumerate(lines.items()):
        y = CHART_TOP + 10 + 26 * row
        sheet.box(KEY_X, y - 7, KEY_X + 22, y - 3, COLOURS[name])
        if name == "one_view":
            # It stands beside the others' axis, in numbers: a single view's error is of another size.
            sheet.text(KEY_X + 30, y, f"{ROWS[name]}: {points[0][1]:.0f} mm", 13)
            continue
        sheet.text(KEY_X + 30, y, ROWS[name], 13)
        places = [(across(count), up(mm)) for count, mm in points]
        sheet.line(places, COLOURS[name])
        for x, height in places:
            sheet.dot(x, height, 4, COLOURS[name])
    sheet.box(LEFT, CHART_BOTTOM - 0.5, right, CHART_BOTTOM + 1, INK)
