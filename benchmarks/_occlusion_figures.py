"""From answers to figures: errors by method and number of views, and the two ratios that the paper sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks._occlusion_methods import ROWS
from benchmarks._report import Report
from rigpose.skeleton import Skeleton
from training.metrics.correct import THRESHOLDS_MM, pck
from training.metrics.figures import distances
from training.metrics.resampling import Resampling

MEASURES = ("absolute", "relative")
RATIOS = (("algebraic", "ransac_seed"), ("algebraic", "ransac"), ("volumetric", "algebraic"))
"""Methods whose errors are divided; the first and the last have a bar."""
SPREAD = (5.0, 95.0)
"""Percentiles of the means of the draws that a row's spread is."""
ONE = 1
TOLD = {"absolute": "MPJPE absolute", "relative": "MPJPE relative"}


@dataclass
class Errors:
    """Errors of one number of views, all seeds together.

    Attributes:
        views: Number of cameras.
        seeds: (N,) of the scenario.
        places: (N,) worlds: what lies in one is not independent.
        of: By method and measure, (N, K) mm of N frame sets with K joints (of one view K = V times J).
    """

    views: int
    seeds: np.ndarray
    places: list[str]
    of: dict[str, dict[str, Float[np.ndarray, "N K"]]]


def errors_of(views: int, parts: Mapping[int, Mapping[str, Any]], skeleton: Skeleton) -> Errors:
    """The errors of what was kept of each seed.

    Args:
        views: Number of cameras.
        parts: By seed: ``truth_mm``, ``places`` and ``position_mm`` by method.
        skeleton: The joints.
    """
    truth = np.concatenate([np.array(part["truth_mm"], np.float64) for part in parts.values()])
    seeds = np.concatenate([np.full(len(part["places"]), seed) for seed, part in parts.items()])
    of = {}
    for name in next(iter(parts.values()))["position_mm"]:
        answer = np.concatenate([np.array(part["position_mm"][name], np.float64) for part in parts.values()])
        if answer.ndim == truth.ndim:
            of[name] = distances(answer, truth, skeleton)
        else:  # each view by itself
            each = [distances(answer[:, view], truth, skeleton) for view in range(answer.shape[1])]
            of[name] = {measure: np.concatenate([e[measure] for e in each], axis=1) for measure in each[0]}
    return Errors(views, seeds, [place for part in parts.values() for place in part["places"]], of)


def case_of(views: int) -> str:
    """How the rows of a number of views are called."""
    return f"{views} view" + ("s" if views > 1 else "")


def add_rows(report: Report, errors: Errors) -> None:
    """The rows of one number of views; a spread is that of the mean, by drawing worlds anew."""
    resampling = Resampling(errors.places)
    for name in (name for name in ROWS if name in errors.of):
        case = case_of(ONE if name == "one_view" else errors.views)
        for measure, told in TOLD.items():
            values = errors.of[name][measure]
            _add(report, case, f"{ROWS[name]}: {told}", "mm", resampling, values, 1.0)
            by_seed = [np.nanmean(values[errors.seeds == seed]) for seed in np.unique(errors.seeds)]
            report.add(case, f"{ROWS[name]}: {told}, deviation of seeds", "mm", float(np.std(by_seed)), n=len(by_seed))
        values = errors.of[name]["absolute"]
        report.add(case, f"{ROWS[name]}: median absolute", "mm", _finite(np.nanmedian(values)), n=values.size)
        _add(report, case, f"{ROWS[name]}: P-MPJPE", "mm", resampling, errors.of[name]["procrustes"], 1.0)
        near = pck(values, np.ones(values.shape, bool), THRESHOLDS_MM, resampling)
        for at in ("50", "100"):
            share = 100 * near["at"][at]["mean"]
            report.add(case, f"{ROWS[name]}: PCK within {at} mm", "%", share, n=values.size, better="higher")
        solved = 100 * float(np.isfinite(values).mean())
        report.add(case, f"{ROWS[name]}: solved", "%", solved, n=values.size, better="higher")
    for above, below in RATIOS:
        if above in errors.of and below in errors.of:
            for measure in MEASURES:
                _add_ratio(report, case_of(errors.views), above, below, measure, errors, resampling)


def _add(
    report: Report, case: str, metric: str, unit: str, resampling: Resampling, values: np.ndarray, factor: float
) -> None:
    totals = resampling.totals(values, np.isfinite(values))
    mean = factor * totals[0].sum() / totals[1].sum() if totals[1].sum() else None
    report.add(case, metric, unit, mean, n=int(totals[1].sum()))
    _set_spread(report, factor * resampling.means(totals), resampling)


def _add_ratio(
    report: Report, case: str, above: str, below: str, measure: str, errors: Errors, resampling: Resampling
) -> None:
    """The ratio of two methods' mean errors on the same frame sets, its spread by drawing both alike."""
    first, second = (errors.of[name][measure] for name in (above, below))
    totals = [resampling.totals(values, np.isfinite(values)) for values in (first, second)]
    means = [sums.sum() / counts.sum() if counts.sum() else np.nan for sums, counts in totals]
    report.add(case, ratio_name(above, below, measure), "1", _finite(means[0] / means[1]), n=len(errors.places))
    _set_spread(report, resampling.means(totals[0]) / resampling.means(totals[1]), resampling)


def ratio_name(above: str, below: str, measure: str) -> str:
    """How a ratio's row is called."""
    return f"{ROWS[above]} over {ROWS[below]}, {measure}"


def _set_spread(report: Report, drawn: np.ndarray, resampling: Resampling) -> None:
    drawn = drawn[np.isfinite(drawn)]
    if resampling.sequences > 1 and len(drawn):
        low, high = (float(q) for q in np.percentile(drawn, SPREAD))
        report.rows[-1] = report.rows[-1].model_copy(update={"spread": (low, high)})


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def mean_of(report: Report, views: int, name: str, measure: str) -> tuple[float, float] | None:
    """A method's mean error and its deviation between seeds; ``None`` where there is no figure."""
    metric = f"{ROWS[name]}: {TOLD[measure]}"
    found = {row.metric: row.ours for row in report.rows if row.case == case_of(views)}
    mean, off = found.get(metric), found.get(f"{metric}, deviation of seeds")
    return None if mean is None or off is None else (mean, off)


def table_of(report: Report, views: Sequence[int]) -> str:
    """The table of methods and numbers of views as Markdown: absolute / relative, with the deviation of seeds."""
    shown = [count for count in (ONE, *views) if any(row.case == case_of(count) for row in report.rows)]
    lines = ["| 3D from | " + " | ".join(case_of(count) for count in shown) + " |", "|---|" + "---|" * len(shown)]
    for name, said in ROWS.items():
        cells = []
        for count in shown:
            figures = [mean_of(report, count, name, measure) for measure in MEASURES]
            cells.append(" / ".join(f"{mean:.1f} +- {off:.1f}" for mean, off in filter(None, figures)))
        if any(cells):
            lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
