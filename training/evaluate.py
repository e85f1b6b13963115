"""Judge a model: ``python -m training.evaluate --model mannequin17 --scenario training/scenarios/unseen.yaml``.

The model runs as the engine runs it, in ONNX Runtime, on crops of worlds whose truth is known. Beside its own 3D points
stand others from the same 2D points: robust triangulation with and without the confidences, and all views alike.
Figures are the mean over several seeds of the scenario, with the standard deviation between them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from capture.virtual.scenario import Scenario, load_scenario
from engine.document import find_model
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from training.exam import Exam, Paper
from training.metrics import distribution, errors_mm, from_root, leg_length_mm

log = logging.getLogger(__name__)

METHODS = ("learned", "robust", "ransac", "plain")
_SAID = {
    "learned": "the model: confidences weigh the views",
    "robust": "robust triangulation with confidences",
    "ransac": "robust triangulation without confidences",
    "plain": "all views alike",
}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Judge a model on a scenario of the virtual rig.",
        epilog="Example: python -m training.evaluate --model mannequin17 --scenario training/scenarios/unseen.yaml",
    )
    parser.add_argument("--model", required=True, metavar="MODEL", help="a name of the zoo, an .onnx or a YAML")
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE", help="what it is judged on")
    parser.add_argument("--views", default="", metavar="2,3,4", help="numbers of cameras; by default the scenario's")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds of the scenario")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="frame sets of each seed")
    parser.add_argument(
        "--cover", type=float, default=0.0, metavar="SHARE", help="hide this share of the joints in each view"
    )
    parser.add_argument("--threads", type=int, default=None, metavar="N", help="threads of ONNX Runtime")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    try:
        options.views = [int(view) for view in options.views.split(",") if view]
    except ValueError:
        parser.error(f"--views {options.views}: give numbers, as in 2,3,4")
    if min([*options.views, 2]) < 2 or options.seeds < 1 or options.frames < 1 or not 0 <= options.cover < 1:
        parser.error("give at least two views, one seed and one frame, and a share below 1")
    return options


def figures(papers: Sequence[Paper], skeleton: Any) -> dict[str, Any]:
    """Figures of one number of views.

    Args:
        papers: What each seed gave.
        skeleton: The model's.

    Returns:
        For each method the figures of all frames, and of those that differ between seeds the standard deviation.
    """
    root = list(skeleton.root)
    rows: dict[str, Any] = {}
    for method in METHODS:
        absolute, relative = [], []
        for paper in papers:
            answer = paper.answers[method]
            absolute.append(errors_mm(answer, paper.truth_mm))
            relative.append(errors_mm(from_root(answer, skeleton), from_root(paper.truth_mm, skeleton)))
        together = distribution(np.concatenate(absolute))
        by_seed = [distribution(errors) for errors in absolute]
        known = np.concatenate(relative)
        known = np.delete(known, root, axis=1) if len(root) == 1 else known
        rows[method] = {
            "absolute_mm": together,
            "absolute_between_seeds_mm": {
                key: float(np.std([seed[key] for seed in by_seed])) for key in ("mean", "median", "p95")
            },
            "relative_mm": distribution(known),
            "joints_mm": {
                joint: float(np.nanmean(np.concatenate(absolute)[:, index]))
                for index, joint in enumerate(skeleton.joints)
            },
        }
    shares = np.concatenate([paper.error_share for paper in papers])
    hidden = np.concatenate([paper.hidden for paper in papers])
    rows["picture"] = {
        "error_share_seen": distribution(shares[~hidden]),
        "error_share_hidden": distribution(shares[hidden]),
        "hidden_share": float(hidden.mean()),
    }
    legs = leg_length_mm(np.concatenate([paper.truth_mm for paper in papers]), skeleton)
    if legs is not None:
        rows["leg_length_mm"] = legs
    return rows


def with_views(scenario: Scenario, count: int, path: Path) -> Scenario:
    """The scenario with so many cameras.

    Raises:
        ConfigError: Its cameras are listed, and they are fewer.
    """
    changed = scenario.with_views(count)
    if len(changed.camera_names) != count:
        raise ConfigError(path, f"lists {len(changed.camera_names)} cameras, not {count}", "give fewer --views")
    return changed


def table(result: dict[str, Any]) -> str:
    """The figures to read."""
    lines = [
        f"{result['model']} on {result['scenario']}: {result['seeds']} seeds of {result['frames']} frame sets"
        + (f", {result['cover']:.0%} of the joints hidden" if result["cover"] else ""),
        "",
        f"{'views':>5} {'3D from':8} {'MPJPE mm':>16} {'median':>14} {'p95':>14} {'relative':>9} {'rel. median':>11}"
        f" {'solved':>7}",
    ]
    legs = None
    for views, rows in result["views"].items():
        legs = rows.get("leg_length_mm", legs)
        digits = 1 if legs is None else 4
        for method in METHODS:
            row = rows[method]
            spread = row["absolute_between_seeds_mm"]
            cells = [
                f"{row['absolute_mm'][key]:.{digits}f} +- {spread[key]:.{digits}f}" for key in ("mean", "median", "p95")
            ]
            lines.append(
                f"{views:>5} {method:8} {cells[0]:>16} {cells[1]:>14} {cells[2]:>14}"
                f" {row['relative_mm']['mean']:>9.{digits}f} {row['relative_mm']['median']:>11.{digits}f}"
                f" {row['absolute_mm']['share']:>7.1%}"
            )
        picture = rows["picture"]
        lines.append(
            f"{'':5} 2D error, share of the crop's side: {picture['error_share_seen']['mean']:.4f} where seen,"
            f" {picture['error_share_hidden']['mean']:.4f} where hidden ({picture['hidden_share']:.0%} of all)"
        )
    last = next(reversed(result["views"].values()))
    digits = 1 if legs is None else 4
    lines += ["", f"each joint, learned, {next(reversed(result['views']))} views (mm):"]
    lines += [f"  {joint:20} {value:.{digits}f}" for joint, value in last["learned"]["joints_mm"].items()]
    if legs is not None:
        lines.append(f"a leg is {legs:.2f} mm long: MPJPE of {last['learned']['absolute_mm']['mean'] / legs:.1%} of it")
    lines += ["", *(f"{method:8} {said}" for method, said in _SAID.items())]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    located = find_model(options.model)
    scenario = load_scenario(options.scenario)
    views = options.views or [len(scenario.camera_names)]
    result: dict[str, Any] = {
        "schema": 1,
        "model": located.document.id,
        "sha256": located.sha256,
        "scenario": scenario.name,
        "seeds": options.seeds,
        "frames": options.frames,
        "cover": options.cover,
        "views": {},
    }
    for count in views:
        exam = Exam(located, with_views(scenario, count, options.scenario), count, options.cover, options.threads)
        papers = [exam.sit(seed, options.frames) for seed in range(options.seeds)]
        result["views"][count] = figures(papers, located.document.skeleton)
    print(table(result))
    if options.json is not None:
        partial = options.json.with_name(options.json.name + ".part")
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, options.json)
    return 0


if __name__ == "__main__":
    run_program(main)
