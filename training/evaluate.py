"""Judge a model: ``python -m training.evaluate --model mannequin17 --scenario training/scenarios/unseen.yaml``.

The model runs as the engine runs it, in ONNX Runtime, on crops of worlds whose truth is known. Beside its own 3D points
stand others from the same 2D points: robust triangulation with and without the confidences, and all views alike.
Figures are the mean over several seeds of the scenario, with the standard deviation between them.

A volumetric model looks in a cube. As live that stands about its own algebraic root, which needs two views; with
``--base truth`` about the true root, off by ``--base-error`` of the subject's extent, as live about the last pose.
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
from rigpose.skeleton import Skeleton
from training.exam import BASE_ERROR, METHODS, Exam, Paper
from training.metrics import distribution, errors_mm, from_root, leg_length_mm
from training.metrics.correct import THRESHOLDS_MM, THRESHOLDS_SHARE, pck
from training.metrics.distances import aligned, extents_mm
from training.metrics.resampling import Resampling

log = logging.getLogger(__name__)

_SAID = {
    "volumetric": "the model: what its volume says",
    "learned": "the model: confidences weigh the views",
    "robust": "robust triangulation with confidences",
    "ransac": "robust triangulation without confidences",
    "plain": "all views alike",
}
_SMALL_MM = 100.0
"""Subjects below this extent are told to a ten thousandth of a mm."""


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
    parser.add_argument(
        "--base", choices=("own", "truth"), default="own", help="what a volumetric model's cube stands about"
    )
    parser.add_argument(
        "--base-error",
        type=float,
        default=BASE_ERROR,
        metavar="SHARE",
        help="of the subject's extent: how far --base truth is off along each axis (standard deviation)",
    )
    parser.add_argument("--threads", type=int, default=None, metavar="N", help="threads of ONNX Runtime")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    try:
        options.views = [int(view) for view in options.views.split(",") if view]
    except ValueError:
        parser.error(f"--views {options.views}: give numbers, as in 2,3,4")
    if min([*options.views, 2]) < 1 or options.seeds < 1 or options.frames < 1 or not 0 <= options.cover < 1:
        parser.error("give at least one view, one seed and one frame, and a share below 1")
    if options.base_error < 0:
        parser.error("--base-error must be 0 or more")
    return options


def figures(papers: Sequence[Paper], skeleton: Skeleton) -> dict[str, Any]:
    """Figures of one number of views.

    Args:
        papers: What each seed gave.
        skeleton: The model's.

    Returns:
        For each method the figures of all frames, and of those that differ between seeds the standard deviation;
        an interval holds the middle 95 % of the means when whole worlds are drawn anew.
    """
    truth = np.concatenate([paper.truth_mm for paper in papers])
    resampling = Resampling([place for paper in papers for place in paper.places])
    rows: dict[str, Any] = {}
    for method in METHODS:
        if method not in papers[0].answers:
            continue
        answer = np.concatenate([paper.answers[method] for paper in papers])
        rows[method] = _row(answer, truth, skeleton, resampling)
        by_seed = [distribution(errors_mm(paper.answers[method], paper.truth_mm)) for paper in papers]
        rows[method]["absolute_between_seeds_mm"] = {
            key: float(np.std([seed[key] for seed in by_seed])) for key in ("mean", "median", "p95")
        }
    shares = np.concatenate([paper.error_share for paper in papers])
    hidden = np.concatenate([paper.hidden for paper in papers])
    rows["picture"] = {
        "error_share_seen": distribution(shares[~hidden]),
        "error_share_hidden": distribution(shares[hidden]),
        "hidden_share": float(hidden.mean()),
    }
    rows["worlds"] = resampling.sequences
    rows["extent_mm"] = float(np.nanmedian(extents_mm(truth)))
    legs = leg_length_mm(truth, skeleton)
    if legs is not None:
        rows["leg_length_mm"] = legs
    return rows


def _row(answer: np.ndarray, truth: np.ndarray, skeleton: Skeleton, resampling: Resampling) -> dict[str, Any]:
    """One method's figures, of all seeds; what is relative to a root leaves that out where it is a joint."""
    absolute = errors_mm(answer, truth)
    relative = errors_mm(from_root(answer, skeleton), from_root(truth, skeleton))
    if len(skeleton.root) == 1:
        relative = np.delete(relative, skeleton.root[0], axis=1)
    known = np.isfinite(truth).all(axis=-1)
    extent = extents_mm(truth)[:, None]

    def told(errors: np.ndarray) -> dict[str, Any]:
        return distribution(errors) | {"interval": resampling.figure(errors, np.isfinite(errors))["interval"]}

    return {
        "absolute_mm": told(absolute),
        "relative_mm": told(relative),
        "procrustes_mm": told(errors_mm(aligned(answer, truth), truth)),
        "pck": {
            "mm": pck(absolute, known, THRESHOLDS_MM, resampling),
            "share_of_extent": pck(absolute / extent, known, THRESHOLDS_SHARE, resampling),
        },
        "joints_mm": {joint: distribution(absolute[:, index])["mean"] for index, joint in enumerate(skeleton.joints)},
    }


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
    base = result["base"]
    lines = [
        f"{result['model']} on {result['scenario']}: {result['seeds']} seeds of {result['frames']} frame sets"
        + (f", {result['cover']:.0%} of the joints hidden" if result["cover"] else "")
        + (f", {_about(base)}" if base else ""),
        "",
        f"{'views':>5} {'3D from':10} {'MPJPE mm':>16} {'median':>14} {'p95':>14} {'relative':>9} {'rel. median':>11}"
        f" {'P-MPJPE':>8} {'solved':>7}",
    ]
    for views, rows in result["views"].items():
        digits = 4 if rows["extent_mm"] < _SMALL_MM else 1
        for method in (method for method in METHODS if method in rows):
            row = rows[method]
            spread = row["absolute_between_seeds_mm"]
            cells = [
                f"{row['absolute_mm'][key]:.{digits}f} +- {spread[key]:.{digits}f}" for key in ("mean", "median", "p95")
            ]
            lines.append(
                f"{views:>5} {method:10} {cells[0]:>16} {cells[1]:>14} {cells[2]:>14}"
                f" {row['relative_mm']['mean']:>9.{digits}f} {row['relative_mm']['median']:>11.{digits}f}"
                f" {row['procrustes_mm']['mean']:>8.{digits}f} {row['absolute_mm']['share']:>7.1%}"
            )
        picture = rows["picture"]
        lines.append(
            f"{'':5} 2D error, share of the crop's side: {picture['error_share_seen']['mean']:.4f} where seen,"
            f" {picture['error_share_hidden']['mean']:.4f} where hidden ({picture['hidden_share']:.0%} of all)"
        )
    count, last = next(reversed(result["views"].items()))
    digits = 4 if last["extent_mm"] < _SMALL_MM else 1
    own = next(method for method in METHODS if method in last)
    lines += ["", f"each joint, {own}, {count} views (mm):"]
    lines += [f"  {joint:20} {value:.{digits}f}" for joint, value in last[own]["joints_mm"].items()]
    legs = last.get("leg_length_mm")
    if legs is not None:
        lines.append(f"a leg is {legs:.2f} mm long: MPJPE of {last[own]['absolute_mm']['mean'] / legs:.1%} of it")
    told = [method for method in METHODS if any(method in rows for rows in result["views"].values())]
    return "\n".join([*lines, "", *(f"{method:10} {_SAID[method]}" for method in told)])


def _about(base: dict[str, Any]) -> str:
    if base["kind"] == "own":
        return "cube about the model's own root"
    return f"cube about the true root, off by {base['error_share']:.1%} of the extent along each axis"


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
        "base": None,
        "views": {},
    }
    for count in views:
        shown = with_views(scenario, count, options.scenario)
        exam = Exam(located, shown, count, options.cover, options.threads, options.base, options.base_error)
        if exam.candidate.volumetric:
            off = {"error_share": options.base_error} if options.base == "truth" else {}
            result["base"] = {"kind": options.base, **off}
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
