"""Figures of a lifter to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SAID = {
    "mpjpe_mm": "MPJPE, relative to the roots",
    "p_mpjpe_mm": "P-MPJPE (turn, shift, scale)",
    "n_mpjpe_mm": "N-MPJPE (scale)",
    "per_coordinate_mm": "per coordinate, as LiftPose3D counts",
    "along_view_mm": "along the camera's axis alone",
    "median_mm": "median",
    "p95_mm": "95th percentile",
    "jitter_mm": "jitter, per frame cubed",
    "jitter_of_truth_mm": "jitter of the truth",
}


def table(figures: Mapping[str, Any]) -> str:
    """What `training.metrics.lifted.lifted_figures` found, in lines of text."""
    lines = [f"{figures['poses']} views of poses, {figures['n']} joints, {figures['answered']:.1%} answered; mm", ""]
    for key, said in _SAID.items():
        value = figures.get(key)
        if value is not None:
            lines.append(f"{said:38} {value:10.4g}")
    lines += [f"{f'PCK at {float(share):.0%} of the body':38} {value:10.1%}" for share, value in figures["pck"].items()]
    found = figures.get("calibration")
    if found and found["n"]:
        lines.append(
            f"{'within one and two deviations':38} {found['within_one']:10.1%} {found['within_two']:7.1%}"
            "   (honest: 68 % and 95 %)"
        )
    lines += ["", f"{'joint':38} {'mm':>10}"]
    lines += [f"{joint:38} {value:10.4g}" for joint, value in figures["joints_mm"].items() if value is not None]
    return "\n".join(lines)
