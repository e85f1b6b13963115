"""An evaluation to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.metrics.figures import MEASURES

_SAID = {
    "absolute": "MPJPE absolute",
    "relative": "MPJPE relative to the root",
    "procrustes": "P-MPJPE (turn, shift, scale)",
    "scaled": "N-MPJPE (root, scale)",
}
_LARGE_MM = 100.0
"""Subjects of this extent are told to a tenth of a mm, smaller ones to a ten thousandth."""


def table(result: Mapping[str, Any]) -> str:
    """What `training.metrics.evaluation` found, in lines of text."""
    digits = 1 if (result["extent_mm"] or _LARGE_MM) >= _LARGE_MM else 4
    level = f"{result['interval']['level']:.0%}"
    lines = [
        f"{result['frames']} poses of {result['sequences']} sequences, {result['skeleton']}; mm; "
        f"{level} intervals by drawing whole sequences",
        "",
        f"{'':30} {'mean':>9} {'interval':>19} {'median':>9} {'p95':>9} {'solved':>7}",
    ]

    def row(name: str, figure: Mapping[str, Any]) -> str:
        cells = [_number(figure.get(key), digits) for key in ("mean", "median", "p95")]
        return (
            f"{name:30} {cells[0]:>9} {_interval(figure['interval'], digits):>19} {cells[1]:>9} {cells[2]:>9}"
            f" {_share(figure.get('solved')):>7}"
        ).rstrip()

    lines += [row(_SAID[name], result["mpjpe_mm"][name]) for name in MEASURES]
    if "all_views_alike" in result:
        lines.append(row("without confidences, absolute", result["all_views_alike"]["absolute"]))
    if len(result["actions"]) > 1:
        lines += [row("mean over actions, absolute", result["mean_over_actions_mm"]["absolute"])]
        lines += [row("mean over actions, relative", result["mean_over_actions_mm"]["relative"])]
    for what in ("subjects", "actions"):
        if len(result[what]) > 1:
            lines += _means(f"each of the {what}", result[what], digits)
    lines += _means("each joint", result["joints"], digits)
    lines += ["", *_nearness(result["pck"]), *_moving(result["smoothness"], digits)]
    if "error_share" in result:
        lines.append(f"2D error: {_number(result['error_share']['mean'], 4)} of the crop's side in the mean")
    return "\n".join(lines)


def _means(title: str, rows: Mapping[str, Mapping[str, Any]], digits: int) -> list[str]:
    names = [name for name in MEASURES if name in next(iter(rows.values()))]
    lines = ["", f"{title:30} " + " ".join(f"{name:>10}" for name in names) + f" {'solved':>7}"]
    for title, row in rows.items():
        cells = " ".join(f"{_number(row[name]['mean'], digits):>10}" for name in names)
        lines.append(f"{title:30} {cells} {_share(row['absolute']['solved']):>7}")
    return lines


def _nearness(pck: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, units in pck.items():
        for unit, found in units.items():
            cells = ", ".join(
                f"{at} mm {_share(figure['mean'])}" if unit == "mm" else f"{float(at):.0%} {_share(figure['mean'])}"
                for at, figure in found["at"].items()
            )
            of = "" if unit == "mm" else " of the extent"
            lines.append(f"PCK {name}, within{of} {cells}; AUC {_share(found['auc']['mean'])}")
    return lines


def _moving(smoothness: Mapping[str, Any], digits: int) -> list[str]:
    if not smoothness["acceleration_error"]["n"]:
        return ["smoothness: no three frames follow each other"]
    bent = smoothness["acceleration_error"]
    words = ["acceleration error", _number(bent["mean"], digits), _interval(bent["interval"], digits), "mm / frame^2"]
    lines = [" ".join(word for word in words if word)]
    if smoothness["jitter"]["n"]:
        jitter, of_truth = (_number(smoothness[name]["mean"], digits) for name in ("jitter", "jitter_of_truth"))
        lines.append(f"jitter {jitter} mm / frame^3, of the truth {of_truth}")
    return lines


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _interval(interval: list[float] | None, digits: int) -> str:
    return "" if interval is None else f"{interval[0]:.{digits}f} .. {interval[1]:.{digits}f}"
