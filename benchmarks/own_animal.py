"""A lab's own animal: a hundred labelled pictures of the virtual fly become a network, judged on what was not labelled.

The labels are a DeepLabCut project with 2 px of noise (`benchmarks._own_labels`). `rigpose train` runs as a lab starts
it. Flies, cameras and motion that judge are others (`benchmarks._own_judge`); what it is held against knows the judged
recordings exactly. At the end `rigpose launch` runs the model on the judging scenario, from finding on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from benchmarks import _own_judge
from benchmarks._own_judge import Judge, Recording, pooled
from benchmarks._own_labels import FLIES, MOMENTS, write_project
from benchmarks._report import ROOT, Report, arguments, finish
from engine.document import find_model
from rigpose.errors import RigposeError
from rigpose.program import run as run_program
from rigpose.summary import Summary

MINUTES, QUICK_MINUTES = 12.0, 0.15
"""Of training; reading the labels and writing the model come on top, and all has a quarter of an hour."""
RECORDINGS, QUICK_RECORDINGS = 24, 3
LIVE_SETS, QUICK_LIVE_SETS = 150, 30
LIVE_HZ = 30.0
CAMERAS = 5
PARTS = {"px": "px", "px, 3D seen by the cameras": "px", "mm": "mm"}
"""What is judged, and its unit: points in each picture where the joint is seen; the 3D answer in all pictures, hidden
joints too; the 3D answer."""
_FIELDS = {"px": "px", "px, 3D seen by the cameras": "reprojected_px", "mm": "mm"}
_BASELINES = {"hold": "the last frame held", "mean": "the mean pose"}


def run(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> str:
    """Run a command of ours as a user does; what it printed.

    Raises:
        RigposeError: It failed; its last line.
    """
    done = subprocess.run(
        [sys.executable, "-m", "nodes", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RigposeError(what, f"ended with {done.returncode}: {lines[-1] if lines else 'it says no more'}")
    return done.stdout


def taught(
    folder: Path, moments: int, minutes: float, init: str, options: Sequence[str] = ()
) -> tuple[Path, float, str]:
    """Label, and train as a lab does.

    Args:
        folder: For all of it.
        moments: That are labelled of each fly.
        minutes: Of training.
        init: What it begins with.
        options: Further ones of `rigpose train`.

    Returns:
        The model's file, the minutes from the labels to it, and what was printed.
    """
    project = write_project(folder / "labels", moments)
    begun = time.monotonic()
    said = run(
        [
            *("train", "--labels", str(project), "--rig", str(project / "rig.toml"), "--model", "fly", "--no-mirror"),
            *("--minutes", str(minutes), "--init", init, "--output", str(folder / "fly"), "--quiet", *options),
        ],
        "rigpose train",
    )  # fmt: skip
    return folder / "fly" / "fly.onnx", (time.monotonic() - begun) / 60, said


def live(model: Path, folder: Path, sets: int) -> Summary:
    """The engine with the model on the judging scenario's own rig, from finding on; every frame is answered."""
    scenario = str(_own_judge.SCENARIO)
    cameras = {f"cam{view + 1}": {"source": {"kind": "virtual", "scenario": scenario}} for view in range(CAMERAS)}
    config = {"version": 1, "name": "fly", "rig": {"scenario": scenario}, "cameras": cameras}
    file, summary = folder / "rig.yaml", folder / "summary.json"
    file.write_text(yaml.safe_dump({**config, "engine": {"model": str(model)}}, sort_keys=False), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="rp") as short:
        run(
            [
                *("launch", str(file), "--lossless", "--rate", str(LIVE_HZ), "--sets", str(sets), "--viewer", "none"),
                *("--quiet", "--no-record", "--summary", str(summary)),
            ],
            "rigpose launch",
            {"RIGPOSE_RUN": short},
        )
    return Summary.model_validate_json(summary.read_text(encoding="utf-8"))


def measure(report: Report, case: str, recordings: list[Recording]) -> None:
    """Add the rows of a model that was judged."""
    for part, unit in PARTS.items():
        errors = {name: pooled(recordings, _FIELDS[part], name) for name in ("ours", *_BASELINES)}
        for name, said in (("ours", "the network"), *_BASELINES.items()):
            report.add(case, f"{part}, {said}", unit, errors[name])
        middle = np.concatenate([getattr(one, _FIELDS[part])["ours"].ravel() for one in recordings])
        report.add(case, f"{part}, the network, median", unit, float(np.nanmedian(middle)), n=middle.size)
        for name, said in _BASELINES.items():
            ratio = float(errors["ours"].mean() / errors[name].mean())
            worst = float((errors["ours"] / errors[name]).max())
            report.add(case, f"{part}, over {said}", "x", ratio, n=len(recordings))
            report.add(case, f"{part}, over {said}, worst recording", "x", worst, n=len(recordings))
    published = np.array([one.published.mean() for one in recordings])
    report.add(case, "joints that the engine publishes", "%", 100 * published, better="higher")


def measure_live(report: Report, case: str, summary: Summary) -> None:
    """Add the rows of a model that ran as the engine runs it."""
    report.add(case, "live: sets with the fly found or tracked", "%", 100 * summary.poses / max(1, summary.sets),
               better="higher", n=summary.sets)  # fmt: skip
    report.add(case, "live: joints solved", "%", 100 * (summary.joints_solved_share or 0), better="higher",
               n=summary.sets)  # fmt: skip
    if summary.mpjpe_mm is not None:
        report.add(case, "live: MPJPE of what is published", "mm", summary.mpjpe_mm.mean, n=summary.sets)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    parser = arguments("own_animal", (__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, metavar="N", help=f"of training, by default {MINUTES:g}")
    parser.add_argument(
        "--moments", type=int, default=MOMENTS, metavar="N", help="that are labelled of each of 5 flies"
    )
    parser.add_argument("--init", default="mannequin17", metavar="MODEL", help="what it begins with, or none")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep labels, run and model there")
    parser.add_argument("--model", type=Path, metavar="FILE", help="judge this model instead of training one")
    options = parser.parse_args(argv)
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    cv2.setNumThreads(1)
    report = Report.begin("own_animal", options.quick, ("torch",))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        model = options.model
        case = "a model that was given"
        if model is None:
            case = f"{FLIES * CAMERAS * options.moments} labelled pictures"
            case += "" if minutes == MINUTES else f", {minutes:g} min"
            case += "" if options.init != "none" else ", from random weights"
            model, took_min, said = taught(folder, options.moments, minutes, options.init)
            report.add(case, "from labels to the model's file", "min", took_min, n=1)
            report.notes += [line for line in said.splitlines() if line and not line.startswith(("next", "  rigpose"))]
        judge = Judge(find_model(str(model)))
        count = QUICK_RECORDINGS if options.quick else RECORDINGS
        measure(report, case, [judge.recording(number) for number in range(count)])
        measure_live(report, case, live(model.resolve(), folder, QUICK_LIVE_SETS if options.quick else LIVE_SETS))
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
